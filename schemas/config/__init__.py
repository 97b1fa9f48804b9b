"""The configuration: what may be said in config.yaml, its defaults and its checks.

Every default of the program stands in this package and nowhere else; a module for each block.
"""

from schemas.config.blocks import Block, bins_covering, is_multiple
from schemas.config.complaints import REPLACED_KEYS, blocks_in
from schemas.config.digests import READ_BY, WITHOUT_EFFECT, changes, digest, result_keys
from schemas.config.histograms import Acceptance, HistogramCreation, PtResolution, PtResolutions
from schemas.config.masses import MassCalculation
from schemas.config.model import Config
from schemas.config.overrides import Assignment, chosen_tasks, named_tasks, read_assignments
from schemas.config.parsing import DEMO, Layout, Parsing
from schemas.config.post_processing import KnownResonance, PostProcessing
from schemas.config.reading import from_dict, load
from schemas.config.run import TASK_NAMES, TaskName
from schemas.config.selection import (
    OVERLAP_PRESETS,
    CountRange,
    KinematicCut,
    KinematicCuts,
    MissingTrigger,
    OverlapRule,
    ParticleCounts,
    SelectionProfile,
    Trigger,
    types_meant,
)
from schemas.config.writing import SCHEMA_FILE, json_schema, to_yaml

__all__ = [
    "DEMO",
    "OVERLAP_PRESETS",
    "READ_BY",
    "REPLACED_KEYS",
    "SCHEMA_FILE",
    "TASK_NAMES",
    "WITHOUT_EFFECT",
    "Acceptance",
    "Assignment",
    "Block",
    "Config",
    "CountRange",
    "HistogramCreation",
    "KinematicCut",
    "KinematicCuts",
    "KnownResonance",
    "Layout",
    "MassCalculation",
    "MissingTrigger",
    "OverlapRule",
    "Parsing",
    "ParticleCounts",
    "PostProcessing",
    "PtResolution",
    "PtResolutions",
    "SelectionProfile",
    "TaskName",
    "Trigger",
    "bins_covering",
    "blocks_in",
    "changes",
    "chosen_tasks",
    "digest",
    "from_dict",
    "is_multiple",
    "json_schema",
    "load",
    "named_tasks",
    "read_assignments",
    "result_keys",
    "to_yaml",
    "types_meant",
]

"""The configuration: what may be said in config.yaml, its defaults and its checks.

Every default of the program stands here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from schemas.errors import ConfigError, did_you_mean
from schemas.labels import CombinationPattern
from schemas.particles import BY_KEY, ORDER, PARTICLES
from schemas.releases import layout_names, layout_of_release

SCHEMA_FILE = "config.schema.json"
DEMO = "demo"
# A real selection above 1 TeV keeps nothing; 25000 is a cut somebody took over from MeV.
_LARGEST_PT_CUT_GEV = 1000.0

TaskName = Literal["parsing", "mass_calculating", "post_processing", "histogram_creation"]
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)
ParticleName = Literal["Electrons", "Muons", "Jets", "Photons", "Taus", "BJets"]

# Keys of older configurations, wherever they stand, and what replaces them.
REPLACED_KEYS = {
    "use_multiprocessing": "remove it: `parallel_processes: 1` is one process, more are more",
    "env_threshold_memory_mb": "write `chunk_yield_threshold_bytes` (parsing_task_config)",
    "create_dirs": "remove it: the run directory is always made",
    "testing_config": "write `max_files_to_process` (parsing_task_config)",
    "fs_chunk_threshold_bytes": "write `chunk_yield_threshold_bytes` (parsing_task_config)",
    "max_total_particles_in_combination": "write `max_particles_in_combination`",
}

_BYTES = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?[bB])\s*$"
_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _read_bytes(value: object) -> object:
    """Turn `500 MB` into 500000000; leave everything else to the type check."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    match = re.match(_BYTES, value) if isinstance(value, str) else None
    if match:
        return int(Decimal(match[1]) * _BYTE_UNITS[match[2].upper()])
    return value


Bytes = Annotated[
    int,
    BeforeValidator(_read_bytes),
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _BYTES},
            ]
        }
    ),
]


def _sensible_pt(value: float) -> float:
    if value > _LARGEST_PT_CUT_GEV:
        msg = f"cuts are in GeV: did you mean {value / 1000.0}?"
        raise ValueError(msg)
    return value


T = TypeVar("T")
# Types are strict (no "8" for 8), but YAML has lists only.
Items = Annotated[tuple[T, ...], Field(strict=False)]
PtCut = Annotated[float, Field(ge=0), AfterValidator(_sensible_pt)]
PositiveGeV = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Block(BaseModel):
    """Base of every block: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
    )


class Paths(Block):
    """Folders of a run, named once; stage paths that are left out take their entry here."""

    parsed_data_path: str = "parsed_data"
    """Selected events, written by parsing."""
    im_arrays_path: str = "im_arrays"
    """Invariant masses, written by the mass calculation."""
    im_arrays_processed_path: str = "im_arrays_processed"
    """Masses after post-processing, with the plan."""
    histograms_path: str = "histograms"
    """The ROOT histograms."""
    metadata_cache_path: str = "metadata_cache.json"
    """The list of input files."""
    jobs_logs_path: str = "logs"
    """State, reports and log files."""


class RunMetadata(Block):
    """Where the run is written and what it is called."""

    run_name: str = Field("atlas_opendata", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """First part of the run directory's name: letters, digits, dot, underscore and hyphen."""
    base_output_dir: str = Field("./output", min_length=1)
    """Folder that holds the run directories, relative to the current directory."""
    batch_job_index: int | None = Field(None, ge=1)
    """Number of this job among those that share the run, from 1; null is a single job."""
    total_batch_jobs: int | None = Field(None, ge=1)
    """How many jobs share the run."""
    barrier_wait_seconds: float = Field(120.0, ge=0)
    """How long a job waits for what other jobs have still to show, in seconds."""

    @model_validator(mode="after")
    def _index_of_total(self) -> Self:
        index, total = self.batch_job_index, self.total_batch_jobs
        if index is not None and total is None:
            msg = "batch_job_index needs total_batch_jobs; give both, or neither"
            raise ValueError(msg)
        if index is not None and total is not None and index > total:
            msg = f"batch_job_index ({index}) is above total_batch_jobs ({total}); it counts from 1"
            raise ValueError(msg)
        return self


class Tasks(Block):
    """Which stages run."""

    do_parsing: bool = True
    """List and read the input files, select objects and events."""
    do_mass_calculating: bool = True
    """Compute the invariant masses of all combinations."""
    do_post_processing: bool = True
    """Decide peaks and cuts per channel and split the masses."""
    do_histogram_creation: bool = True
    """Write the ROOT histograms."""

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.enabled():
            msg = "no task is enabled; set at least one of the do_... keys to true"
            raise ValueError(msg)
        return self

    def enabled(self) -> tuple[TaskName, ...]:
        """Return the names of the enabled tasks, in the order of the stages."""
        return tuple(name for name in TASK_NAMES if getattr(self, f"do_{name}"))


class CountRange(Block):
    """How many objects of a type a kept event has."""

    min: int = Field(0, ge=0)
    """Fewest."""
    max: int | None = Field(None, ge=0)
    """Most; null is no limit."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            msg = f"max ({self.max}) is below min ({self.min}); no event could be kept"
            raise ValueError(msg)
        return self


def _rising_eta(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] < value[1]:
        msg = "expected [lo, hi] in |eta| with 0 <= lo < hi"
        raise ValueError(msg)
    return value


EtaRange = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising_eta)]
# What a branch of an object is called behind its container: `mediumId` of `Muon_mediumId`.
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
TypeKey = Literal["electrons", "muons", "jets", "photons", "taus", "bjets"]


class KinematicCut(Block):
    """Cuts on the objects of one type, in GeV. Fields are the layout's, in the file's own unit."""

    pt_min: PtCut | None = None
    """Smallest transverse momentum in GeV."""
    pt_max: PtCut | None = None
    """Largest transverse momentum in GeV."""
    eta_max: float | None = Field(None, gt=0)
    """Largest |eta|."""
    eta_exclude: EtaRange | None = None
    """Between these two |eta|, [lo, hi], objects are removed: a gap of the detector."""
    rel_isolation_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Largest isolation relative to pt; the layout says which field that is."""
    require: Items[FieldName] = ()
    """Flags that must all be set, for example [mediumId]."""
    require_any: Items[FieldName] = ()
    """Flags of which at least one must be set."""
    field_min: dict[FieldName, float] = {}
    """Smallest value per field, for example {cutBased: 3}."""
    field_max: dict[FieldName, float] = {}
    """Largest value per field, for example {quality: 1}."""
    bits: dict[FieldName, Annotated[int, Field(gt=0, lt=2**63)]] = {}
    """Per field of bits the mask that must be set in full, for example {jetId: 2}."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.pt_min is not None and self.pt_max is not None and self.pt_max < self.pt_min:
            msg = f"pt_max ({self.pt_max}) is below pt_min ({self.pt_min}); nothing could be kept"
            raise ValueError(msg)
        for name in sorted(set(self.field_min) & set(self.field_max)):
            low, high = self.field_min[name], self.field_max[name]
            if high < low:
                msg = f"field_max of {name} ({high}) is below its field_min ({low})"
                raise ValueError(msg)
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the cuts name, each once."""
        named = (*self.require, *self.require_any, *self.field_min, *self.field_max, *self.bits)
        return tuple(dict.fromkeys(named))


class ParticleCounts(Block):
    """Multiplicities of a kept event; a type that is not named has no condition."""

    electrons: CountRange | None = None
    """How many electrons a kept event has; null is any number."""
    muons: CountRange | None = None
    """How many muons a kept event has; null is any number."""
    jets: CountRange | None = None
    """How many jets that are not b-tagged a kept event has; null is any number."""
    photons: CountRange | None = None
    """How many photons a kept event has; null is any number."""
    taus: CountRange | None = None
    """How many hadronically decaying tau leptons a kept event has; null is any number."""
    bjets: CountRange | None = None
    """How many b-tagged jets a kept event has; null is any number."""


class KinematicCuts(Block):
    """Cuts per type; a type that is not named has none."""

    electrons: KinematicCut | None = None
    """Which electrons are kept; null is all."""
    muons: KinematicCut | None = None
    """Which muons are kept; null is all."""
    jets: KinematicCut | None = None
    """Which jets that are not b-tagged are kept; null is all."""
    photons: KinematicCut | None = None
    """Which photons are kept; null is all."""
    taus: KinematicCut | None = None
    """Which hadronically decaying tau leptons are kept; null is all."""
    bjets: KinematicCut | None = None
    """Which b-tagged jets are kept; null is all."""


def _default_counts() -> ParticleCounts:
    return ParticleCounts(**{particle.key: CountRange(min=0, max=4) for particle in PARTICLES})


def _default_cuts() -> KinematicCuts:
    return KinematicCuts(
        electrons=KinematicCut(pt_min=25.0, eta_max=2.47),
        muons=KinematicCut(pt_min=25.0, eta_max=2.5),
        jets=KinematicCut(pt_min=30.0, eta_max=4.5),
        photons=KinematicCut(pt_min=25.0, eta_max=2.37),
        taus=KinematicCut(pt_min=20.0, eta_max=2.5),
        bjets=KinematicCut(pt_min=30.0, eta_max=4.5),
    )


class OverlapRule(Block):
    """One rule of overlap removal: of two objects that are one, which goes."""

    remove: TypeKey
    """What is removed; `jets` means jets and b-jets."""
    near: Items[TypeKey] = Field(min_length=1)
    """If it is close to one of these; `jets` means jets and b-jets."""
    delta_r: float = Field(gt=0, allow_inf_nan=False)
    """Closer than this, in sqrt(delta eta^2 + delta phi^2)."""

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        both = set(types_meant(self.remove)) & {
            name for key in self.near for name in types_meant(key)
        }
        if both:
            msg = (
                f"remove: {self.remove} near {', '.join(self.near)} would remove "
                f"{' and '.join(sorted(both))} near themselves; name different types"
            )
            raise ValueError(msg)
        return self

    def __str__(self) -> str:
        """Return for example `jets near electrons, muons (0.4)`."""
        return f"{self.remove} near {', '.join(self.near)} ({self.delta_r})"


def types_meant(key: str) -> tuple[str, ...]:
    """Return the names of the types that a key of an overlap rule means."""
    return ("Jets", "BJets") if key == "jets" else (BY_KEY[key].name,)


def _rules(*rows: tuple[TypeKey, tuple[TypeKey, ...], float]) -> tuple[OverlapRule, ...]:
    return tuple(OverlapRule(remove=what, near=near, delta_r=size) for what, near, size in rows)


_LEPTONS: tuple[TypeKey, ...] = ("electrons", "muons")
OVERLAP_PRESETS: dict[str, tuple[OverlapRule, ...]] = {
    "atlas": _rules(
        ("taus", _LEPTONS, 0.2),
        ("jets", ("electrons",), 0.2),
        ("electrons", ("jets",), 0.4),
        ("jets", ("muons",), 0.2),
        ("muons", ("jets",), 0.4),
        ("jets", ("taus",), 0.2),
        ("photons", _LEPTONS, 0.4),
        ("jets", ("photons",), 0.4),
    ),
    "cms": _rules(
        ("photons", _LEPTONS, 0.4),
        ("jets", ("electrons", "muons", "photons"), 0.4),
        ("taus", _LEPTONS, 0.4),
        ("jets", ("taus",), 0.4),
    ),
    "none": (),
}


def _name_or_rules(value: object) -> str:
    return "[rules]" if isinstance(value, list | tuple) else "[name]"


OverlapRemoval = Annotated[
    Annotated[Literal["default", "atlas", "cms", "none"], Tag("[name]")]
    | Annotated[Items[OverlapRule], Tag("[rules]")],
    Discriminator(_name_or_rules),
]


def _name_or_number(value: object) -> str:
    return "[name]" if isinstance(value, str) else "[number]"


Threshold = Annotated[
    Annotated[float, Tag("[number]")] | Annotated[str, Tag("[name]")],
    Discriminator(_name_or_number),
]


class Trigger(Block):
    """Which boolean branches must be true for an event to be kept: `any` of some, or `all`."""

    any: Items[str] = ()
    """At least one of these."""
    all: Items[str] = ()
    """Every one of these."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.any) == bool(self.all):
            msg = "expected branches under either `any` or `all`, for example {any: [trigE, trigM]}"
            raise ValueError(msg)
        return self

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches, each once."""
        return tuple(dict.fromkeys(self.any or self.all))


def _in_folder(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    folder = Path(info.context["folder"] if info.context else ".").absolute()
    return tuple(str(folder / Path(path).expanduser()) for path in value)


FilePaths = Annotated[Items[str], AfterValidator(_in_folder)]
# YAML reads 30529 as a number; some ids are words.
MissingTrigger = Literal["error", "reject"]


class SelectionProfile(Block):
    """What replaces the selection for some inputs; a key that is left out stays as it is there."""

    particle_counts: ParticleCounts | None = None
    """Multiplicities of a kept event, instead of all of the general ones."""
    kinematic_cuts: KinematicCuts | None = None
    """Cuts per object type, instead of all of the general ones."""
    overlap_removal: OverlapRemoval | None = None
    """Which rules remove one object reconstructed as two."""
    enable_jet_tagging: bool | None = None
    """Make b-jets of jets at or above the threshold."""
    jet_btag_field: FieldName | None = None
    """What jets are b-tagged with."""
    jet_btag_threshold: Threshold | None = None
    """A number, or the name of a working point."""
    trigger: Trigger | None = None
    """Boolean branches that must be true."""
    missing_trigger: MissingTrigger | None = None
    """What a trigger branch that a file lacks means."""
    good_run_lists: FilePaths | None = None
    """Lists of certified runs."""


def _known_layout(name: str) -> str:
    if name not in layout_names():
        msg = f"{name!r} is not a data layout{did_you_mean(name, layout_names())}"
        raise ValueError(msg)
    return name


def _known_release(name: str) -> str:
    if name != DEMO:
        try:
            layout_of_release(name)
        except ConfigError as error:
            # The validator collects ValueErrors only.
            raise ValueError(str(error)) from error
    return name


def _as_text(value: object) -> object:
    """Turn the number of a record or dataset into text: some have letters as well."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _each_named_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{', '.join(twice)} is named twice, so its events would count twice; name it once"
        raise ValueError(msg)
    return names


Layout = Annotated[str, AfterValidator(_known_layout)]
Release = Annotated[str, AfterValidator(_known_release)]
_NUMBER_OR_TEXT = WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]})
RecordId = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=64),
    _NUMBER_OR_TEXT,
]
DatasetKey = Annotated[str, BeforeValidator(_as_text), Field(min_length=1), _NUMBER_OR_TEXT]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Parsing(Block):
    """Which files are read and which objects and events are kept."""

    output_path: str
    """Folder of the selected events."""
    file_urls_path: str
    """File that lists the input files."""
    jobs_logs_path: str
    """Folder of state, reports and logs."""
    release_years: Annotated[Items[Release], AfterValidator(_each_named_once)] = ()
    """ATLAS releases (see --list-releases); `demo` makes generated events on this machine."""
    demo_events: int = Field(200_000, ge=1)
    """How many events the demo release has."""
    specific_record_ids: Annotated[Items[RecordId], AfterValidator(_each_named_once)] = ()
    """Records of the CERN Open Data portal to read, for example [30529, 30530]."""
    parse_mc: bool | Literal["only"] = False
    """Read a release's simulation: false, true (beside the data) or only."""
    datasets: Annotated[Items[DatasetKey], AfterValidator(_each_named_once)] = ()
    """Datasets of the releases to read, by number or short name; `data` is collision data."""
    skim: str | None = Field(None, min_length=1)
    """Which of a release's preselections to read; null reads the files without any."""
    local_files: dict[Layout, Items[str]] = {}
    """Files on disk per data layout: paths or globs, relative to the configuration file."""
    max_files_to_process: int | None = Field(None, ge=1)
    """At most so many files per source, data and simulation apart; null reads all."""
    parallel_processes: int | None = Field(None, ge=1)
    """Worker processes for parsing; null takes the cores given to the job."""
    file_order: Literal["catalog", "shuffled"] = "catalog"
    """Order of the files; with shuffled, max_files_to_process is an unbiased sample."""
    file_order_seed: int = 1
    """Which of the shuffled orders."""
    read_mode: Literal["stream", "download"] = "stream"
    """Read only the needed parts of remote files, or keep whole files in download_dir."""
    protocol: Literal["https", "root", "file"] = "https"
    """How CERN's files are reached: https, XRootD, or /eos mounted on this machine."""
    threads: int = Field(8, ge=1, le=128)
    """Remote files that are downloaded, or parts of one that are requested, at the same time."""
    download_dir: str | None = None
    """Folder of downloaded files, relative to the configuration file; null: the run's inputs."""
    max_cache_gb: float | None = Field(100.0, gt=0, allow_inf_nan=False)
    """Room for downloaded files in GB; those not used for longest go first. null: no limit."""
    fetching_metadata_timeout: Seconds = 60.0
    """Seconds that listing one release or record may take in all."""
    metadata_max_age_days: float = Field(30.0, ge=0)
    """Lists of remote files that are older, in days, are fetched anew for a new run."""
    request_connect_timeout: Seconds = 10.0
    """Seconds to wait for a connection."""
    request_read_timeout: Seconds = 30.0
    """Seconds without a byte after which a request has failed."""
    request_total_timeout: Seconds = 120.0
    """Seconds after which a request has failed even if bytes trickle in."""
    request_retries: int = Field(5, ge=0)
    """How often a request is tried again after a passing failure."""
    request_backoff_seconds: float = Field(0.5, ge=0, allow_inf_nan=False)
    """Pause before a request is tried again; it doubles each time and varies at random."""
    count_retries_failed_files: int = Field(3, ge=0)
    """How often a file is tried again, each time in another way, after its requests failed."""
    chunk_input_bytes: Bytes = 500_000_000
    """Files are grouped into chunks of about this size on disk: the unit of work and restart."""
    chunk_yield_threshold_bytes: Bytes = 64_000_000
    """Memory for events, in bytes: whatever is held beyond it is written out."""
    parsed_format: Literal["rntuple", "ttree"] = "rntuple"
    """How selected events are stored: an RNTuple is faster, older ROOT reads only the TTree."""
    max_failed_file_fraction: float = Field(0.0, ge=0, le=1)
    """Largest fraction of files that may fail before the run does."""
    keep_partial_files: bool = False
    """Keep what was read of a file before it failed, instead of leaving the file out whole.

    Such a file is counted as partly read and listed, but does not count as failed.
    """
    show_progress_bar: bool = True
    """Show a progress bar per stage on a terminal."""
    possible_data_tree_names: Items[str] = ()
    """Tree names tried before the layout's own."""
    combine_releases: bool = False
    """Allow inputs of different experiments or collision energies in one run."""
    particle_counts: ParticleCounts = Field(default_factory=_default_counts)
    """Multiplicities of a kept event."""
    kinematic_cuts: KinematicCuts = Field(default_factory=_default_cuts)
    """Cuts per object type, in GeV."""
    overlap_removal: OverlapRemoval = "default"
    """Which rules remove one object reconstructed as two: the layout's own, a preset, or a list."""
    enable_jet_tagging: bool = False
    """Make b-jets (BJets) of jets at or above the threshold; they are no Jets any more."""
    jet_btag_field: FieldName | None = None
    """What jets are b-tagged with; null is the layout's own choice."""
    jet_btag_threshold: Threshold | None = None
    """A number, or the name of a working point (`medium`); null is the layout's own choice."""
    trigger: Trigger | None = None
    """Boolean branches that must be true: {any: [...]} or {all: [...]}; null is no condition."""
    missing_trigger: MissingTrigger = "error"
    """A trigger branch that a file lacks fails the file, or counts as not fired (`reject`)."""
    good_run_lists: FilePaths = ()
    """Certified runs, as CMS JSON or ATLAS XML files: data outside all of them is removed."""
    selection_by_release: dict[str, SelectionProfile] = {}
    """Other selections by release, or by `local_{layout}` for local files of a layout."""
    selection_by_record: dict[RecordId, SelectionProfile] = {}
    """Other selections by portal record."""
    layout_by_record: dict[RecordId, Layout] = {}
    """Data layouts of portal records, where they cannot be found out or are found out wrongly."""
    local_sample: Literal["auto", "data", "mc"] = "auto"
    """What local files are; `auto` goes by branches, and by file names where those do not tell."""

    @field_validator("local_files")
    @classmethod
    def _absolute(
        cls, value: dict[str, tuple[str, ...]], info: ValidationInfo
    ) -> dict[str, tuple[str, ...]]:
        folder = Path(info.context["folder"] if info.context else ".").absolute()
        return {
            layout: tuple(str(folder / Path(pattern).expanduser()) for pattern in patterns)
            for layout, patterns in value.items()
            if patterns
        }

    @field_validator("download_dir")
    @classmethod
    def _absolute_folder(cls, value: str | None, info: ValidationInfo) -> str | None:
        folder = Path(info.context["folder"] if info.context else ".").absolute()
        return None if value is None else str(folder / Path(value).expanduser())

    @model_validator(mode="after")
    def _profiles_used(self) -> Self:
        inputs = (*self.release_years, *(f"local_{layout}" for layout in self.local_files))
        for key in ("selection_by_record", "layout_by_record"):
            for name in getattr(self, key):
                if name not in self.specific_record_ids:
                    msg = (
                        f"{key}: {name!r} is not a record of this run"
                        f"{did_you_mean(name, self.specific_record_ids)}"
                    )
                    raise ValueError(msg)
        for name in self.selection_by_release:
            if name not in inputs:
                msg = (
                    f"selection_by_release: {name!r} is not an input of this run"
                    f"{did_you_mean(name, inputs)}"
                )
                raise ValueError(msg)
        return self

    def for_source(self, source: str) -> Parsing:
        """Return the same with the selection of a source (release, `record_{id}`, `local_...`)."""
        profile = self.selection_by_record.get(source.removeprefix("record_"))
        if profile is None or not source.startswith("record_"):
            profile = self.selection_by_release.get(source)
        if profile is None:
            return self
        given = {key: getattr(profile, key) for key in type(profile).model_fields}
        return self.model_copy(update={key: v for key, v in given.items() if v is not None})

    @model_validator(mode="after")
    def _demo_alone(self) -> Self:
        others = len(self.release_years) > 1 or self.specific_record_ids or self.local_files
        if DEMO in self.release_years and others:
            msg = (
                "release_years: [demo] gives generated events, which must not be mixed with "
                "other input; remove `demo`, or the other input"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _choices_of_releases(self) -> Self:
        if (self.datasets or self.skim) and not set(self.release_years) - {DEMO}:
            msg = (
                "datasets and skim choose within releases, and release_years names none; name a "
                "release, or remove them"
            )
            raise ValueError(msg)
        return self

    @property
    def names_input(self) -> bool:
        """Whether anything is named that could be read."""
        return bool(self.release_years or self.specific_record_ids or self.local_files)


def _at_least_two(value: int) -> int:
    # One object has no invariant mass of interest; older configurations wrote 1.
    return max(value, 2)


MassOf = Annotated[int, Field(ge=1), AfterValidator(_at_least_two)]


class MassCalculation(Block):
    """Which combinations get an invariant mass, and in which final states."""

    input_dir: str
    """Folder of the selected events."""
    output_dir: str
    """Folder of the masses."""
    field_to_slice_by: Literal["pt"] = "pt"
    """Objects are ranked by this quantity, largest first."""
    parallel_processes: int | None = Field(None, ge=1)
    """Worker processes for the later stages; null takes the cores given to the job."""
    objects_to_calculate: Items[ParticleName] = ("Electrons", "Muons", "Jets", "Photons")
    """Types that combinations are made of."""
    final_state_objects: Items[ParticleName] = ()
    """Types whose multiplicities make the final state; left out: objects_to_calculate."""
    min_particles_in_combination: MassOf = 2
    """Fewest objects in a combination; 1 is read as 2."""
    max_particles_in_combination: MassOf = 4
    """Most objects in a combination."""
    min_count_particle_in_combination: int = Field(1, ge=1)
    """Fewest objects of a type that takes part."""
    max_count_particle_in_combination: int = Field(4, ge=1)
    """Most objects of a type that takes part."""
    min_types_in_combination: int | None = Field(None, ge=1)
    """Fewest different types in a combination."""
    max_types_in_combination: int | None = Field(None, ge=1)
    """Most different types in a combination."""
    min_events_per_fs: int = Field(100, ge=1)
    """Final states with fewer events in the whole run are not computed."""
    include_subleading: bool = False
    """Also windows that do not start at the leading object."""
    max_subleading_index: int = Field(1, ge=0)
    """With include_subleading: the last rank that a window may reach (or its own length)."""

    @model_validator(mode="before")
    @classmethod
    def _same_objects(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("final_state_objects"):
            default = cls.model_fields["objects_to_calculate"].default
            return data | {"final_state_objects": data.get("objects_to_calculate", default)}
        return data

    @field_validator("objects_to_calculate", "final_state_objects")
    @classmethod
    def _table_order(cls, value: tuple[ParticleName, ...]) -> tuple[ParticleName, ...]:
        if not value:
            msg = "at least one type is needed, for example [Electrons, Muons]"
            raise ValueError(msg)
        if len(set(value)) != len(value):
            msg = "a type is named twice; name each once"
            raise ValueError(msg)
        return tuple(sorted(value, key=ORDER.__getitem__))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("particles_in", "count_particle_in", "types_in"):
            low, high = (getattr(self, f"{end}_{what}_combination") for end in ("min", "max"))
            if low is not None and high is not None and high < low:
                msg = (
                    f"max_{what}_combination ({high}) is below min_{what}_combination ({low}); "
                    "no combination is possible"
                )
                raise ValueError(msg)
        missing = sorted(set(self.objects_to_calculate) - set(self.final_state_objects))
        if missing:
            msg = (
                f"final_state_objects lacks {', '.join(missing)} of objects_to_calculate; add "
                "it, or leave out final_state_objects: a final state must count every type that "
                "combinations are made of"
            )
            raise ValueError(msg)
        return self


def is_multiple(value: float, unit: float) -> bool:
    """Whether `value` is a whole multiple of `unit`, as their decimals are written."""
    return Fraction(str(value)) % Fraction(str(unit)) == 0


def bins_covering(window_gev: tuple[float, float], width: float) -> tuple[int, int]:
    """Return the bins `first .. stop - 1` of a grid that a window touches: it is widened to edges.

    The decimals are taken as they are written, so that 0.3 lies on the edges of a grid of 0.1.
    """
    low, high = (Decimal(str(end)) / Decimal(str(width)) for end in window_gev)
    return math.floor(low), math.ceil(high)


def _rising(window: tuple[float, float]) -> tuple[float, float]:
    low, high = window
    if not 0 <= low < high < math.inf:
        msg = "expected [low, high] in GeV with 0 <= low < high"
        raise ValueError(msg)
    return window


WindowGeV = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]


def _names_combination(text: str) -> str:
    CombinationPattern.parse(text)
    return text


CombinationLabel = Annotated[str, AfterValidator(_names_combination)]


class KnownResonance(Block):
    """A particle whose peak would hide what lies below or beside it, and what is done about it."""

    name: str = Field(pattern=r"^\S+$")
    """What tables call it, without spaces."""
    mass_gev: PositiveGeV
    """Where its peak is, in GeV."""
    window_gev: WindowGeV
    """What its peak covers, [low, high] in GeV; widened to edges of the grid."""
    test_window_gev: WindowGeV
    """Where it is looked for; left out: window_gev. Widened to edges of the grid."""
    combinations: Items[CombinationLabel] = Field(min_length=1)
    """In which combinations, of any final state: `e0e1` is that one, `2e` any two electrons."""
    action: Literal["floor", "veto"]
    """`floor` removes everything below the window's upper edge, `veto` the window."""
    only_if_detected: bool = True
    """Act only where it is detected; false acts always."""
    min_significance: float = Field(5.0, ge=0)
    """Detected is an excess n - B of the test window of more than so many sqrt(B) ..."""
    min_excess: float = Field(0.3, ge=0)
    """... and of more than this fraction of B, the mean of the neighbouring windows."""

    @model_validator(mode="before")
    @classmethod
    def _tested_where_it_is(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("test_window_gev") is None and "window_gev" in data:
            return data | {"test_window_gev": data["window_gev"]}
        return data

    @model_validator(mode="after")
    def _around_its_mass(self) -> Self:
        for key in ("window_gev", "test_window_gev"):
            low, high = getattr(self, key)
            if not low <= self.mass_gev <= high:
                msg = (
                    f"{self.name}: mass_gev ({self.mass_gev}) is outside {key} ([{low}, {high}]); "
                    "a window must hold the peak it is meant for"
                )
                raise ValueError(msg)
        return self

    @property
    def patterns(self) -> tuple[CombinationPattern, ...]:
        """What `combinations` says."""
        return tuple(CombinationPattern.parse(label) for label in self.combinations)


# Masses: Particle Data Group 2024. A lepton pair has its turn-on where the Z is, so the Z must also
# stand out by a fraction; the Higgs boson is a small peak on a large background.
_Z = KnownResonance(
    name="Z",
    mass_gev=91.19,
    window_gev=(70.0, 110.0),
    test_window_gev=(80.0, 100.0),
    combinations=("e0e1", "m0m1"),
    action="floor",
    min_excess=0.3,
)
_H = KnownResonance(
    name="H",
    mass_gev=125.2,
    window_gev=(120.0, 130.0),
    test_window_gev=(120.0, 130.0),
    combinations=("g0g1", "e0e1e2e3", "m0m1m2m3", "e0e1m0m1"),
    action="veto",
    min_excess=0.01,
)


class PostProcessing(Block):
    """What is removed from each spectrum, and on which grid that is decided."""

    input_dir: str
    """Folder of the masses."""
    output_dir: str
    """Folder of the masses after post-processing."""
    peak_detection_bin_width_gev: PositiveGeV = 10.0
    """Bin width of the grid on which peaks and cuts are decided, in GeV."""
    max_mass_gev: PositiveGeV = 10000.0
    """End of the grid in GeV; masses from here on are overflow."""
    known_resonances: Items[KnownResonance] = (_Z, _H)
    """Known peaks that are looked for, and removed where they are found; [] is none."""
    remove_turn_on: bool = True
    """Remove everything below the peak."""
    split_outliers: bool = True
    """Split off what lies beyond the first empty bin above the peak."""

    @model_validator(mode="after")
    def _whole_grid(self) -> Self:
        if not is_multiple(self.max_mass_gev, self.peak_detection_bin_width_gev):
            msg = (
                f"max_mass_gev ({self.max_mass_gev}) is not a multiple of "
                f"peak_detection_bin_width_gev ({self.peak_detection_bin_width_gev}); the grid "
                "must end on a bin edge"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _resonances_on_grid(self) -> Self:
        width = self.peak_detection_bin_width_gev
        names = [rule.name for rule in self.known_resonances]
        for name in names:
            if names.count(name) > 1:
                msg = f"known_resonances: {name} is named twice; give each rule its own name"
                raise ValueError(msg)
        for rule in self.known_resonances:
            highest = max(rule.window_gev[1], rule.test_window_gev[1])
            if highest > self.max_mass_gev:
                msg = (
                    f"known_resonances: {rule.name}: a window ends at {highest}, beyond "
                    f"max_mass_gev ({self.max_mass_gev}); move the window or the end of the grid"
                )
                raise ValueError(msg)
            first, stop = bins_covering(rule.test_window_gev, width)
            if first == 0 and stop * width >= self.max_mass_gev:
                msg = (
                    f"known_resonances: {rule.name}: test_window_gev covers the whole grid, which "
                    "leaves nothing beside it to compare with; make it narrower"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _resonances_agree(self) -> Self:
        width = self.peak_detection_bin_width_gev
        for one, other in combinations(self.known_resonances, 2):
            (low, high), (start, stop) = (
                bins_covering(rule.window_gev, width) for rule in (one, other)
            )
            shared = [
                f"{a}" if a == b else f"{a} and {b}"
                for a in one.patterns
                for b in other.patterns
                if a.shares(b)
            ]
            if one.action != other.action and shared and low < stop and start < high:
                msg = (
                    f"known_resonances: the windows of {one.name} ({one.action}) and {other.name} "
                    f"({other.action}) overlap, on the grid of {width} GeV, in {shared[0]}; give "
                    "both the same action, or windows or combinations that do not meet"
                )
                raise ValueError(msg)
        return self


class PtResolution(Block):
    """Relative pt resolution of an object: the terms, with pt in GeV, are added in quadrature."""

    noise_gev: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that falls as 1/pt, in GeV."""
    stochastic: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that falls as 1/sqrt(pt), in sqrt(GeV)."""
    constant: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that does not depend on pt."""
    linear_per_gev: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that grows with pt, as that of tracks does, per GeV."""


class PtResolutions(Block):
    """Relative pt resolution per type; the defaults are round numbers typical of LHC detectors."""

    electrons: PtResolution = PtResolution(noise_gev=0.3, stochastic=0.1, constant=0.01)
    """Electrons, measured by the calorimeter."""
    muons: PtResolution = PtResolution(constant=0.02, linear_per_gev=0.0001)
    """Muons, measured as tracks: worse with rising pt."""
    jets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.8, constant=0.04)
    """Jets that are not b-tagged."""
    photons: PtResolution = PtResolution(noise_gev=0.3, stochastic=0.1, constant=0.01)
    """Photons, measured by the calorimeter as electrons are."""
    taus: PtResolution = PtResolution(stochastic=0.6, constant=0.05)
    """Hadronically decaying tau leptons: the neutrino is lost."""
    bjets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.9, constant=0.05)
    """B-tagged jets: neutrinos of b decays make them worse than other jets."""


class Acceptance(Block):
    """The rule by which BumpNet takes a histogram."""

    last_bin_above: float = Field(0.35, ge=0, allow_inf_nan=False)
    """Everything after the last bin with more than this is cut away."""
    min_bins: int = Field(25, ge=1)
    """Fewest bins that must be left."""
    min_sum: float = Field(100.0, ge=0, allow_inf_nan=False)
    """Smallest sum of the bins that are left."""


# Names without BumpNet's form, for `use_bumpnet_naming: false`.
_PLAIN_TEMPLATE = "{prefix}{combination}_{final_state}_{width}"
_TEMPLATE_FIELDS = frozenset({"prefix", "combination", "category", "final_state", "width"})


def _makes_names(template: str) -> str:
    parts = list(Formatter().parse(template))
    fields = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts):
        msg = "a field in braces is a name alone, without a format"
        raise ValueError(msg)
    unknown = sorted(set(fields) - _TEMPLATE_FIELDS)
    if unknown:
        msg = f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_TEMPLATE_FIELDS))}"
        raise ValueError(msg)
    if not template.startswith("{prefix}"):
        msg = "must begin with {prefix}: BumpNet reads only keys that begin with ROI"
        raise ValueError(msg)
    if "combination" not in fields or not {"category", "final_state"} & set(fields):
        msg = "{combination} and {category} (or {final_state}) are needed to tell channels apart"
        raise ValueError(msg)
    text = "".join(literal for literal, _, _, _ in parts)
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", text):
        msg = "letters, digits, dot, underscore and hyphen only: others mean something in ROOT keys"
        raise ValueError(msg)
    return template


_WIDTH = {"type": "number", "exclusiveMinimum": 0}
_ONE_OR_MANY = WithJsonSchema(
    {"anyOf": [_WIDTH, {"type": "array", "items": _WIDTH, "minItems": 1, "uniqueItems": True}]}
)


class HistogramCreation(Block):
    """Which histograms are written."""

    input_dir: str
    """Folder of the masses after post-processing."""
    output_dir: str
    """Folder of the ROOT files."""
    binning: Literal["fixed", "resolution"] = "fixed"
    """Bins of equal width, or bins that grow with the mass resolution of the combination."""
    bin_width_gev: Annotated[Items[PositiveGeV], _ONE_OR_MANY] = Field((10.0,), min_length=1)
    """Bin width in GeV, a number or a list; one histogram per width. For `binning: fixed`."""
    pt_resolution: PtResolutions = PtResolutions()
    """Relative pt resolution of each type. For `binning: resolution`."""
    min_bin_width_gev: PositiveGeV = 1.0
    """Bins are at least so wide, in GeV. For `binning: resolution`."""
    histogram_type: Literal["TH1D", "TH1F"] = "TH1D"
    """ROOT class; TH1F is half the size, and exact up to 16,777,216 entries in a bin."""
    single_output_file: bool = True
    """All histograms in one file; false writes one file per final state."""
    output_filename: str = Field(
        "atlas_opendata_bumpnet.root", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.root$"
    )
    """Name of the ROOT file; simulation goes to the same name with `_mc`."""
    exclude_outliers: bool = True
    """Leave out what was split off as outliers."""
    also_save_unprocessed: bool = False
    """Also write raw_mass_...: all masses of every channel, on the whole grid."""
    use_bumpnet_naming: bool = True
    """Names as BumpNet expects, and the copies it reads; false: combination_final state_width."""
    histogram_name_template: Annotated[str, AfterValidator(_makes_names)] = (
        "{prefix}mass_{combination}_cat_{category}_width_{width}"
    )
    """Names with use_bumpnet_naming. Fields: prefix, combination, category, final_state, width."""
    bumpnet_acceptance: Acceptance = Acceptance()
    """Which histograms are written a second time as ROI_mass_..., the only ones BumpNet reads."""

    @field_validator("bin_width_gev", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("bin_width_gev")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            msg = "a width is given twice; give each once"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        several = self.binning == "fixed" and len(self.bin_width_gev) > 1
        if several and "{width}" not in self.name_template:
            msg = (
                "histogram_name_template: without {width} the histograms of several bin widths "
                "would have the same name; add {width}, or give one bin_width_gev"
            )
            raise ValueError(msg)
        return self

    @property
    def name_template(self) -> str:
        """The template of the names in use."""
        return self.histogram_name_template if self.use_bumpnet_naming else _PLAIN_TEMPLATE


# (section, key, its entry in `paths`)
_STAGE_PATHS = (
    ("parsing_task_config", "output_path", "parsed_data_path"),
    ("parsing_task_config", "file_urls_path", "metadata_cache_path"),
    ("parsing_task_config", "jobs_logs_path", "jobs_logs_path"),
    ("mass_calculation_task_config", "input_dir", "parsed_data_path"),
    ("mass_calculation_task_config", "output_dir", "im_arrays_path"),
    ("post_processing_task_config", "input_dir", "im_arrays_path"),
    ("post_processing_task_config", "output_dir", "im_arrays_processed_path"),
    ("histogram_creation_task_config", "input_dir", "im_arrays_processed_path"),
    ("histogram_creation_task_config", "output_dir", "histograms_path"),
)


class Config(Block):
    """The whole configuration. Energies are in GeV."""

    paths: Paths = Paths()
    """Folders of a run, named once."""
    run_metadata: RunMetadata = RunMetadata()
    """Where the run is written, what it is called, and which part of it this job does."""
    tasks: Tasks = Tasks()
    """Which stages run; the command line's --tasks replaces it."""
    parsing_task_config: Parsing
    """Input files to selected events."""
    mass_calculation_task_config: MassCalculation
    """Selected events to invariant masses."""
    post_processing_task_config: PostProcessing
    """Invariant masses to main part and outliers of each channel."""
    histogram_creation_task_config: HistogramCreation
    """Main parts to ROOT histograms."""

    @model_validator(mode="before")
    @classmethod
    def _stage_paths(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        filled = {key: {} if block is None else block for key, block in data.items()}
        given = filled.get("paths", {})
        for section, key, entry in _STAGE_PATHS:
            block = filled.setdefault(section, {})
            if isinstance(block, dict):
                default = Paths.model_fields[entry].default
                chosen = given.get(entry, default) if isinstance(given, dict) else default
                filled[section] = {key: chosen} | block
        return filled

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        parsing = self.parsing_task_config
        if self.tasks.do_parsing and not parsing.names_input:
            msg = (
                "parsing_task_config: there is nothing to read; name input under release_years "
                "(for example [demo]), specific_record_ids or local_files, or set "
                "tasks.do_parsing to false"
            )
            raise ValueError(msg)
        self._refuse_missing_b_jets()
        grid = self.post_processing_task_config.peak_detection_bin_width_gev
        histograms = self.histogram_creation_task_config
        for width in histograms.bin_width_gev if histograms.binning == "fixed" else ():
            if not is_multiple(grid, width):
                msg = (
                    f"histogram_creation_task_config.bin_width_gev: {width} does not divide "
                    f"post_processing_task_config.peak_detection_bin_width_gev ({grid}); cuts lie "
                    "on that grid, so choose a width that divides it, or another grid"
                )
                raise ValueError(msg)
        return self

    def _refuse_missing_b_jets(self) -> None:
        """Raise ValueError if masses are asked of b-jets that parsing does not make."""
        masses, parsing = self.mass_calculation_task_config, self.parsing_task_config
        profiles = (*parsing.selection_by_release.values(), *parsing.selection_by_record.values())
        is_made = parsing.enable_jet_tagging or any(p.enable_jet_tagging for p in profiles)
        if self.tasks.do_parsing and "BJets" in masses.final_state_objects and not is_made:
            msg = (
                "mass_calculation_task_config: BJets are named, but nothing makes them; set "
                "parsing_task_config.enable_jet_tagging: true, or leave BJets out"
            )
            raise ValueError(msg)


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would settle by the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As written: merging anchors, later, adds keys that the block may override.
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            line = key_node.start_mark.line + 1
            if key in seen:
                msg = f"the key {key!r} is given twice, in lines {seen[key]} and {line}"
                raise yaml.constructor.ConstructorError(None, None, msg, key_node.start_mark)
            seen[key] = line
        return node


def _parse_yaml(text: str) -> Any:
    """Return what a text means.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"not valid YAML: {_yaml_problem(error)}"
        raise ConfigError(msg) from error


# What a frequent slip makes the reader of YAML say, and how to mend it.
_YAML_MENDS = {
    r"'\\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "is the line before it indented as it should be?",
    "expected <block end>": "keys of one block start in the same column",
    "could not find expected ':'": "a key ends in a colon and a space",
}


def _yaml_problem(error: Exception) -> str:
    """Return what is wrong, with its line and column where the reader tells them."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split()) or type(error).__name__
    mark = error.problem_mark
    said = f"{error.problem}" + (f" ({error.context})" if error.context else "")
    mends = [mend for sign, mend in _YAML_MENDS.items() if re.search(sign, said)]
    return f"line {mark.line + 1}, column {mark.column + 1}: {'; '.join([said, *mends])}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: expected a configuration file, found none; name one with --config FILE"
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path}: the configuration cannot be read ({reason}); expected a UTF-8 text file"
        raise ConfigError(msg) from error
    try:
        data = _parse_yaml(text)
    except ConfigError as error:
        msg = f"{path}: {error}; correct the file at that place"
        raise ConfigError(msg) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        msg = (
            f"{path}: expected blocks such as `parsing_task_config:`, found "
            f"{type(data).__name__}; start from the shipped config.yaml"
        )
        raise ConfigError(msg)
    return {
        key: value
        for key, value in data.items()
        if not (key == "names" or str(key).startswith("x-"))
    }


# Where something stands in a configuration: section, key, keys of inner blocks.
_Location = tuple[int | str, ...]


def _take_refused(data: dict[str, Any]) -> list[tuple[_Location, str]]:
    """Remove from `data` the keys refused by table, and return the place and a sentence of each."""
    complaints: list[tuple[_Location, str]] = []
    for section, block in [("", data), *((s, b) for s, b in data.items() if isinstance(b, dict))]:
        for key in list(block):
            where = f"{section}.{key}".lstrip(".")
            if key in REPLACED_KEYS:
                said = f"{where}: this key is no longer known; {REPLACED_KEYS[key]}"
                complaints.append((tuple(where.split(".")), said))
                del block[key]
    return complaints


def _blocks_in(annotation: Any) -> list[type[Block]]:
    """Return the blocks that a type mentions: itself, or inside of lists, dictionaries, choices."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return [annotation]
    return [block for inner in get_args(annotation) for block in _blocks_in(inner)]


def _block_at(location: _Location) -> type[Block] | None:
    """Return the model of the block that a validator's location points into."""
    annotation: Any = Config
    for part in location:
        fields = [block.model_fields.get(str(part)) for block in _blocks_in(annotation)]
        # What is no field is a place in a list, a key of a dictionary, or a kind of value.
        annotation = next((field.annotation for field in fields if field), annotation)
    return next(iter(_blocks_in(annotation)), None)


# The validator's words, in terms of a configuration file.
_REWORDED = (
    (r"^Input should be (?=greater|less)", "expected a value "),
    (r"^Input should be a valid dictionary.*", "expected a block of keys"),
    (r"^Input should be a valid (tuple|list|array)", "expected a list in brackets"),
    (r"^Input should be", "expected"),
    (r"^Tuple should have at least (\d+) items?.*", r"expected at least \1 in the list"),
    # `{pt_min: 25,5}` has the key 5.
    (r"^Keys should be strings", "expected a name (a decimal number has a point, not a comma)"),
)


def _without_echoes(details: Sequence[Any]) -> list[Any]:
    """Return the complaints without those of a list that is too short for its wrong items."""
    places = [tuple(detail["loc"]) for detail in details]
    return [
        detail
        for detail, place in zip(details, places, strict=True)
        if detail["type"] != "too_short"
        or not any(other != place and other[: len(place)] == place for other in places)
    ]


def _explain(error: Any) -> str:
    """Turn one complaint of the validator into a sentence for the user."""
    location = tuple(error["loc"])
    # Parts in brackets say which kind of value was tried, not where it stands.
    where = ".".join(str(part) for part in location if not str(part).startswith("["))
    found = error["input"]
    if error["type"] == "extra_forbidden":
        block = _block_at(location[:-1])
        known = tuple(block.model_fields) if block else ()
        return f"{where}: unknown key{_belongs_to(str(location[-1]), known)}"
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        if not where or isinstance(found, dict):
            return f"{where}: {text}".removeprefix(": ")
        return f"{where}: {text} (found {_as_written(found)})"
    expected = error["msg"]
    for said, meant in _REWORDED:
        expected = re.sub(said, meant, expected, count=1)
    return f"{where}: {expected}, found {_as_written(found)}{_mend(error)}{_meaning(location)}"


def _meaning(location: _Location) -> str:
    """Return what the key at a place, or around it, is for, and its default."""
    fields = _fields_of(location[:-1])
    name = next((str(part) for part in reversed(location) if part in fields), "")
    field = fields.get(name)
    if field is None or not field.description:
        return ""
    is_given = not field.is_required() and field.default_factory is None
    default = (
        f" Default: {_as_written(field.default)}." if is_given and _is_short(field.default) else ""
    )
    last = max(at for at, part in enumerate(location) if part == name)
    where = ".".join(map(str, location[: last + 1]))
    return f". {where}: {field.description}{default}"


def _mend(error: Any) -> str:
    """Return how to write what was probably meant: a list, or a number that YAML reads as text."""
    found, complaint = error["input"], error["type"]
    if complaint == "tuple_type" and isinstance(found, str):
        return f": write [{found}]"
    if complaint == "string_type" and isinstance(found, int | float):
        return f": write it in quotes, '{found}'"
    if complaint not in ("int_type", "float_type") or not isinstance(found, str):
        return ""
    try:
        number = float(found)
    except ValueError:
        return ""
    is_whole = complaint == "int_type" and number.is_integer()
    return f", which YAML reads as text: write {int(number) if is_whole else number}"


def _as_written(found: object) -> str:
    """Return a value as YAML writes it, where Python has other words."""
    if isinstance(found, tuple):
        return f"[{', '.join(map(_as_written, found))}]"
    return json.dumps(found) if found is None or isinstance(found, bool) else repr(found)


def _belongs_to(key: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown key: the section that has it, or a guess."""
    sections = [name for name in Config.model_fields if key in _fields_of((name,))]
    if sections:
        return f"; it belongs to {' or '.join(sections)}"
    return did_you_mean(key, known)


def _fields_of(location: _Location) -> dict[str, FieldInfo]:
    """Return the keys that a block at this place knows."""
    block = _block_at(location)
    return block.model_fields if block else {}


def _is_short(default: object) -> bool:
    """Whether a default is a value, and no block of keys or list of blocks."""
    values = default if isinstance(default, tuple) else (default,)
    return not any(isinstance(value, Block) for value in values)


@dataclass(frozen=True)
class Assignment:
    """One key that the command line sets: `--set section.key=value`."""

    keys: tuple[str, ...]
    value: Any

    @property
    def name(self) -> str:
        """The key as it was written."""
        return ".".join(self.keys)

    def concerns(self, location: _Location) -> bool:
        """Whether what stands at a place is what was set, or the block it was set in."""
        n_shared = min(len(location), len(self.keys))
        is_named = n_shared >= _WITHIN_SECTION or self.keys[0] not in Config.model_fields
        return is_named and tuple(map(str, location[:n_shared])) == self.keys[:n_shared]


# Section and key: what is said of a whole section is not said of one key in it.
_WITHIN_SECTION = 2


def read_assignments(texts: Iterable[str]) -> tuple[Assignment, ...]:
    """Return what `--set section.key=value` means, with values read as YAML.

    Raises:
        ConfigError: some are no assignment; all of them are named.
    """
    found, complaints = [], []
    for text in texts:
        name, equals, value = text.partition("=")
        keys = tuple(part.strip() for part in name.split("."))
        if not equals or not all(keys):
            complaints.append(f"--set: expected section.key=value, found {text!r}")
        elif len(keys) < _WITHIN_SECTION:
            is_section = name in Config.model_fields
            known = f"; name one of its keys: {', '.join(_fields_of(keys))}"
            hint = known if is_section else _belongs_to(name, Config.model_fields)
            missing = "key" if is_section else "section"
            complaints.append(f"--set {name}: expected section.key=value, found no {missing}{hint}")
        else:
            try:
                found.append(Assignment(keys, _parse_yaml(value)))
            except ConfigError as error:
                complaints.append(f"--set {name}: {error}; write the value as in a configuration")
    if complaints:
        raise ConfigError(_listed("command line", complaints))
    return tuple(found)


def _assign(data: dict[str, Any], assignment: Assignment) -> None:
    """Set one key in `data`; an inner block that it leaves out starts from its default.

    Raises:
        ConfigError: a key on the way holds something else than keys.
    """
    block = data
    for depth, key in enumerate(assignment.keys[:-1]):
        location = assignment.keys[:depth]
        inner = block[key] if key in block else _default_block(_fields_of(location).get(key))
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            where = ".".join((*location, key))
            msg = (
                f"--set {assignment.name}: expected keys in {where}, found {inner!r}; set it whole "
                f"with --set {where}=..."
            )
            raise ConfigError(msg)
        # Aliases of one YAML anchor are one object, and only one of them is meant.
        block[key] = dict(inner)
        block = block[key]
    block[assignment.keys[-1]] = assignment.value


def _default_block(field: FieldInfo | None) -> object:
    """Return what a key holds that is left out, as a configuration would write it."""
    if field is None or field.is_required():
        return None
    default = field.get_default(call_default_factory=True)
    return default.model_dump(mode="json") if isinstance(default, Block) else default


def from_dict(
    data: dict[str, Any], *, where: str, folder: Path, assigned: Sequence[Assignment] = ()
) -> Config:
    """Return the configuration that `data` describes; relative input paths start at `folder`.

    Raises:
        ConfigError: anything in `data` or `assigned` is wrong; every complaint has its own line.
    """
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for assignment in assigned:
        _assign(copy, assignment)
    complaints = _take_refused(copy)
    try:
        config = Config.model_validate(copy, context={"folder": folder})
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        complaints += [(tuple(detail["loc"]), _explain(detail)) for detail in details]
    if complaints:
        is_set = [any(a.concerns(location) for a in assigned) for location, _ in complaints]
        said = [
            f"--set {text}" if by_option else text
            for by_option, (_, text) in zip(is_set, complaints, strict=True)
        ]
        if all(is_set):
            where = "command line"
        elif assigned:
            where += f" with --set {', '.join(assignment.name for assignment in assigned)}"
        raise ConfigError(_listed(where, said))
    return config


def _listed(where: str, complaints: Sequence[str]) -> str:
    lines = "\n".join(f"  {complaint}" for complaint in complaints)
    return f"{where}: {len(complaints)} error{'s'[: len(complaints) > 1]}\n{lines}"


def named_tasks(option: str, names: str) -> tuple[TaskName, ...]:
    """Return the tasks that an option of the command line names, separated by commas.

    Raises:
        ConfigError: one of them is no task.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in TASK_NAMES:
            msg = f"{option}: {name!r} is not a task{did_you_mean(name, TASK_NAMES)}"
            raise ConfigError(msg)
    return tuple(name for name in TASK_NAMES if name in chosen)


def chosen_tasks(names: str) -> dict[str, object]:
    """Return the `tasks` block that enables just the tasks that --tasks names.

    Raises:
        ConfigError: one of them is no task.
    """
    chosen = named_tasks("--tasks", names)
    return {f"do_{name}": name in chosen for name in TASK_NAMES}


def load(
    path: Path,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    assigned: Sequence[Assignment] = (),
) -> Config:
    """Read a configuration file; relative input paths start at its folder.

    `overrides` are keys by section that replace what the file says; `assigned` are single keys
    that do, in their order.

    Raises:
        ConfigError: the file is missing, is not YAML, or says something that cannot be meant.
    """
    data = _read_yaml(path)
    for section, keys in (overrides or {}).items():
        block = data.get(section) or {}
        if isinstance(block, dict):
            data[section] = {**block, **keys}
    return from_dict(data, where=str(path), folder=path.parent, assigned=assigned)


# Keys, of whatever block, that cannot change what a stage makes: where things lie and what they are
# called, how fast and how loud the work is, and what is judged anew in every run.
_WITHOUT_EFFECT = frozenset(
    {
        "input_dir",
        "output_dir",
        "output_path",
        "file_urls_path",
        "jobs_logs_path",
        "output_filename",
        "chunk_yield_threshold_bytes",
        "parsed_format",
        "max_failed_file_fraction",
        "show_progress_bar",
        "parallel_processes",
        "threads",
        "count_retries_failed_files",
        "fetching_metadata_timeout",
        "metadata_max_age_days",
        "read_mode",
        "protocol",
        "download_dir",
        "max_cache_gb",
        "request_connect_timeout",
        "request_read_timeout",
        "request_total_timeout",
        "request_retries",
        "request_backoff_seconds",
    }
)
_ALL: tuple[str, ...] = ()
# What each stage reads of the configuration: block -> keys, `_ALL` for all with an effect.
_READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "fetching": {
        "parsing_task_config": (
            "release_years",
            "demo_events",
            "local_files",
            "local_sample",
            "specific_record_ids",
            "layout_by_record",
            "parse_mc",
            "datasets",
            "skim",
            "file_order",
            "file_order_seed",
            "possible_data_tree_names",
            "combine_releases",
        )
    },
    "parsing": {
        "parsing_task_config": _ALL,
        # A file without a type that masses need counts as failed.
        "mass_calculation_task_config": ("objects_to_calculate", "final_state_objects"),
    },
    "mass_calculating": {
        "mass_calculation_task_config": _ALL,
        "post_processing_task_config": ("peak_detection_bin_width_gev", "max_mass_gev"),
    },
    "post_processing": {"post_processing_task_config": _ALL},
    "histogram_creation": {"histogram_creation_task_config": _ALL},
}


def result_keys(config: Config, stage: str) -> dict[str, dict[str, Any]]:
    """Return what a stage's result depends on in the configuration: block -> key -> value."""
    values = config.model_dump(mode="json")
    return {
        block: {
            key: value
            for key, value in values[block].items()
            if (key in keys if keys else key not in _WITHOUT_EFFECT)
        }
        for block, keys in _READ_BY[stage].items()
    }


def changes(before: Config, after: Config, stage: str) -> tuple[str, ...]:
    """Return which keys that a stage's result depends on differ, each with both values."""
    return tuple(_differences("", result_keys(before, stage), result_keys(after, stage)))


def _differences(where: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{where}.{key}".lstrip(".")
            yield from _differences(inner, before.get(key), after.get(key))
    elif before != after:
        yield f"{where} was {_as_written(before)}, is {_as_written(after)}"


def digest(config: Config, *stages: str) -> str:
    """Return the SHA-256 of what the results of these stages, or of all, depend on.

    What a stage reads of others' output is not in it: two runs of the same digest and the same
    inputs have the same results.
    """
    relevant = {stage: result_keys(config, stage) for stage in stages or _READ_BY}
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML: every key, input paths absolute."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors: every key is optional there."""
    schema = Config.model_json_schema()
    # Stage paths have their default in `paths`; a test window is the window unless it is given.
    filled_in = {*Config.model_fields, *(key for _, key, _ in _STAGE_PATHS), "test_window_gev"}
    for definition in (schema, *schema["$defs"].values()):
        required = [key for key in definition.pop("required", ()) if key not in filled_in]
        if required:
            definition["required"] = required
    schema["patternProperties"] = {"^(names$|x-)": True}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

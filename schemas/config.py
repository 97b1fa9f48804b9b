"""The configuration: what may be said in config.yaml, its defaults and its checks.

Every default of the program stands here and nowhere else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
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
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from schemas.errors import ConfigError
from schemas.labels import CombinationPattern
from schemas.particles import ORDER, PARTICLES

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

# Keys with a fixed name that nothing reads yet: refused, so that nobody believes they act.
UNAVAILABLE_KEYS = {
    "run_metadata": ("batch_job_index", "total_batch_jobs"),
    "parsing_task_config": (
        "specific_record_ids",
        "parse_mc",
        "threads",
        "parallel_processes",
        "count_retries_failed_files",
        "fetching_metadata_timeout",
    ),
    "mass_calculation_task_config": ("parallel_processes",),
}

_BYTE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _read_bytes(value: object) -> object:
    """Turn `500 MB` into 500000000; leave everything else to the type check."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B?)\s*", str(value), re.IGNORECASE)
    if isinstance(value, str) and match and match[2].upper() in _BYTE_UNITS:
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
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[kKMGT]?B\s*$"},
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


class KinematicCut(Block):
    """Cuts on the objects of one type, in GeV."""

    pt_min: PtCut | None = None
    """Smallest transverse momentum in GeV."""
    eta_max: float | None = Field(None, gt=0)
    """Largest |eta|."""


class ParticleCounts(Block):
    """Multiplicities of a kept event; a type that is not named has no condition."""

    electrons: CountRange | None = None
    muons: CountRange | None = None
    jets: CountRange | None = None
    photons: CountRange | None = None
    taus: CountRange | None = None
    bjets: CountRange | None = None


class KinematicCuts(Block):
    """Cuts per type; a type that is not named has none."""

    electrons: KinematicCut | None = None
    muons: KinematicCut | None = None
    jets: KinematicCut | None = None
    photons: KinematicCut | None = None
    taus: KinematicCut | None = None
    bjets: KinematicCut | None = None


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


@cache
def layout_names() -> tuple[str, ...]:
    """Return the keys of the shipped layouts, sorted: the file names of schemas/releases."""
    names = (entry.name for entry in files("schemas").joinpath("releases").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def _known_layout(name: str) -> str:
    if name not in layout_names():
        msg = f"{name!r} is not a data layout{_did_you_mean(name, layout_names())}"
        raise ValueError(msg)
    return name


def _known_release(name: str) -> str:
    if name != DEMO:
        msg = (
            f"release {name!r} is not available in this version: write `{DEMO}`, or name files "
            "on disk under local_files"
        )
        raise ValueError(msg)
    return name


Layout = Annotated[str, AfterValidator(_known_layout)]
Release = Annotated[str, AfterValidator(_known_release)]


class Parsing(Block):
    """Which files are read and which objects and events are kept."""

    output_path: str
    """Folder of the selected events."""
    file_urls_path: str
    """File that lists the input files."""
    jobs_logs_path: str
    """Folder of state, reports and logs."""
    release_years: Items[Release] = ()
    """Releases to read; `demo` makes generated events on this machine."""
    demo_events: int = Field(200_000, ge=1)
    """How many events the demo release has."""
    local_files: dict[Layout, Items[str]] = {}
    """Files on disk per data layout: paths or globs, relative to the configuration file."""
    max_files_to_process: int | None = Field(None, ge=1)
    """At most so many files per source, data and simulation apart; null reads all."""
    chunk_input_bytes: Bytes = 500_000_000
    """Files are grouped into chunks of about this size on disk: the unit of work and restart."""
    chunk_yield_threshold_bytes: Bytes = 64_000_000
    """Memory for events, in bytes: whatever is held beyond it is written out."""
    max_failed_file_fraction: float = Field(0.0, ge=0, le=1)
    """Largest fraction of files that may fail before the run does."""
    keep_partial_files: bool = False
    """Keep what was read of a file before it failed, instead of leaving the file out whole."""
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
    overlap_removal: Literal["none"] = "none"
    """Which rules remove one object reconstructed as two."""

    @field_validator("local_files")
    @classmethod
    def _absolute(
        cls, value: dict[str, tuple[str, ...]], info: ValidationInfo
    ) -> dict[str, tuple[str, ...]]:
        folder = Path(info.context["folder"] if info.context else ".").absolute()
        return {
            layout: tuple(str(folder / Path(pattern).expanduser()) for pattern in patterns)
            for layout, patterns in value.items()
        }

    @model_validator(mode="after")
    def _demo_alone(self) -> Self:
        if self.release_years and self.local_files:
            msg = (
                "release_years: [demo] gives generated events, which must not be mixed with "
                "other input; remove `demo`, or the other input"
            )
            raise ValueError(msg)
        return self


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
                f"final_state_objects lacks {', '.join(missing)} of objects_to_calculate; a final "
                "state must count every type that combinations are made of"
            )
            raise ValueError(msg)
        return self


def is_multiple(value: float, unit: float) -> bool:
    """Whether `value` is a whole multiple of `unit`, as their decimals are written."""
    return Decimal(str(value)) % Decimal(str(unit)) == 0


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
    muons: PtResolution = PtResolution(constant=0.02, linear_per_gev=0.0001)
    jets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.8, constant=0.04)
    photons: PtResolution = PtResolution(noise_gev=0.3, stochastic=0.1, constant=0.01)
    taus: PtResolution = PtResolution(stochastic=0.6, constant=0.05)
    bjets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.9, constant=0.05)


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
    run_metadata: RunMetadata = RunMetadata()
    tasks: Tasks = Tasks()
    parsing_task_config: Parsing
    mass_calculation_task_config: MassCalculation
    post_processing_task_config: PostProcessing
    histogram_creation_task_config: HistogramCreation

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
        if not self.tasks.enabled():
            msg = "tasks: no task is enabled; set at least one of the do_... keys to true"
            raise ValueError(msg)
        parsing = self.parsing_task_config
        if self.tasks.do_parsing and not (parsing.release_years or parsing.local_files):
            msg = (
                "parsing_task_config: there is nothing to read; name input under release_years "
                "(for example [demo]) or local_files, or set tasks.do_parsing to false"
            )
            raise ValueError(msg)
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


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would settle by the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the library's signature
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
        self.flatten_mapping(node)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: expected a configuration file, found none; name one with --config FILE"
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: the configuration cannot be read ({error}); expected a UTF-8 text file"
        raise ConfigError(msg) from error
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{path}: not valid YAML: {reason}; correct the file at that place"
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


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"; {hint}"


def _take_refused(data: dict[str, Any]) -> list[str]:
    """Remove from `data` the keys refused by table, and return a sentence for each."""
    complaints = []
    for section, block in [("", data), *((s, b) for s, b in data.items() if isinstance(b, dict))]:
        for key in list(block):
            where = f"{section}.{key}".lstrip(".")
            if key in REPLACED_KEYS:
                complaints.append(f"{where}: this key is no longer known; {REPLACED_KEYS[key]}")
                del block[key]
            elif key in UNAVAILABLE_KEYS.get(section, ()):
                complaints.append(f"{where}: not available in this version; remove the key")
                del block[key]
    return complaints


def _block_at(location: tuple[int | str, ...]) -> type[Block] | None:
    """Return the model of the block that a validator's location points into."""
    model: type[Block] = Config
    for part in location:
        if isinstance(part, int):  # a place in a list of blocks
            continue
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        candidates = [field.annotation, *get_args(field.annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, Block)]
        if not models:
            return None
        model = models[0]
    return model


# The validator's words, in terms of a configuration file.
_REWORDED = (
    (r"^Input should be (?=greater|less)", "expected a value "),
    (r"^Input should be a valid dictionary.*", "expected a block of keys"),
    (r"^Input should be a valid (tuple|list|array)", "expected a list in brackets"),
    (r"^Input should be", "expected"),
)


def _explain(error: Any) -> str:
    """Turn one complaint of the validator into a sentence for the user."""
    location = tuple(error["loc"])
    where = ".".join(str(part) for part in location if part != "[key]")
    found = error["input"]
    if error["type"] == "extra_forbidden":
        block = _block_at(location[:-1])
        known = tuple(block.model_fields) if block else ()
        return f"{where}: unknown key{_did_you_mean(str(location[-1]), known)}"
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        if not where or isinstance(found, dict):
            return f"{where}: {text}".removeprefix(": ")
        return f"{where}: {text} (found {found!r})"
    expected = error["msg"]
    for said, meant in _REWORDED:
        expected = re.sub(said, meant, expected, count=1)
    block = _block_at(location[:-1])
    field = block.model_fields.get(str(location[-1])) if block else None
    hint = ""
    if field and field.description:
        default = "" if field.is_required() else f" Default: {field.get_default()!r}."
        hint = f". {where}: {field.description}{default}"
    return f"{where}: {expected}, found {found!r}{hint}"


def from_dict(data: dict[str, Any], *, where: str, folder: Path) -> Config:
    """Return the configuration that `data` describes; relative input paths start at `folder`.

    Raises:
        ConfigError: anything in `data` is wrong; every complaint has a line of its own.
    """
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    complaints = _take_refused(copy)
    try:
        config = Config.model_validate(copy, context={"folder": folder})
    except ValidationError as error:
        complaints += [_explain(detail) for detail in error.errors(include_url=False)]
    if complaints:
        lines = "\n".join(f"  {complaint}" for complaint in complaints)
        msg = f"{where}: {len(complaints)} error{'s'[: len(complaints) > 1]}\n{lines}"
        raise ConfigError(msg)
    return config


def load(path: Path, tasks: Sequence[str] | None = None) -> Config:
    """Read a configuration file; relative input paths start at its folder.

    `tasks`, if given, are the only ones to run, whatever the file says.

    Raises:
        ConfigError: the file is missing, is not YAML, or says something that cannot be meant.
    """
    data = _read_yaml(path)
    if tasks is not None:
        data = data | {"tasks": {f"do_{name}": name in tasks for name in TASK_NAMES}}
        for name in tasks:
            if name not in TASK_NAMES:
                msg = f"--tasks: {name!r} is not a task{_did_you_mean(name, TASK_NAMES)}"
                raise ConfigError(msg)
    return from_dict(data, where=str(path), folder=path.parent)


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
        "max_failed_file_fraction",
        "show_progress_bar",
        "parallel_processes",
        "threads",
        "count_retries_failed_files",
        "fetching_metadata_timeout",
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

"""The configuration: what may be said in config.yaml, its defaults and its checks.

Every default of the program stands here and nowhere else.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
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
from schemas.particles import ORDER, PARTICLES
from schemas.releases import RELEASES

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
    "parsing_task_config": ("parallel_processes",),
    "mass_calculation_task_config": ("parallel_processes",),
    "post_processing_task_config": ("known_resonances",),
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
    known = (DEMO, *RELEASES)
    if name not in known:
        msg = f"{name!r} is not a release{_did_you_mean(name, known)}"
        raise ValueError(msg)
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
    """ATLAS releases to read; `demo` makes generated events on this machine."""
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

    @field_validator("download_dir")
    @classmethod
    def _absolute_folder(cls, value: str | None, info: ValidationInfo) -> str | None:
        folder = Path(info.context["folder"] if info.context else ".").absolute()
        return None if value is None else str(folder / Path(value).expanduser())

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


class HistogramCreation(Block):
    """Which histograms are written."""

    input_dir: str
    """Folder of the masses after post-processing."""
    output_dir: str
    """Folder of the ROOT files."""
    bin_width_gev: Items[PositiveGeV] = Field((10.0,), min_length=1)
    """Bin width in GeV, a number or a list; one histogram per width."""
    single_output_file: Literal[True] = True
    """All histograms in one file."""
    output_filename: str = Field(
        "atlas_opendata_bumpnet.root", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.root$"
    )
    """Name of the ROOT file; simulation goes to the same name with `_mc`."""
    exclude_outliers: bool = True
    """Leave out what was split off as outliers."""
    use_bumpnet_naming: bool = True
    """Name histograms as BumpNet expects: mass_<combination>_cat_<category>_width_<width>."""

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
        if self.tasks.do_parsing and not parsing.names_input:
            msg = (
                "parsing_task_config: there is nothing to read; name input under release_years "
                "(for example [demo]), specific_record_ids or local_files, or set "
                "tasks.do_parsing to false"
            )
            raise ValueError(msg)
        grid = self.post_processing_task_config.peak_detection_bin_width_gev
        for width in self.histogram_creation_task_config.bin_width_gev:
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


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML: every key, input paths absolute."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors: every key is optional there."""
    schema = Config.model_json_schema()
    for definition in (schema, *schema["$defs"].values()):
        # Stage paths have their default in `paths`, so nothing is required of a file.
        definition.pop("required", None)
    schema["patternProperties"] = {"^(names$|x-)": True}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

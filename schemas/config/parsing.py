"""The block of parsing: which files are read and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from schemas.config.blocks import Block, Bytes, FieldName, Items, Seconds
from schemas.config.selection import (
    FilePaths,
    KinematicCuts,
    MissingTrigger,
    OverlapRemoval,
    ParticleCounts,
    SelectionProfile,
    Threshold,
    Trigger,
    default_counts,
    default_cuts,
)
from schemas.errors import ConfigError, did_you_mean
from schemas.releases import layout_names, layout_of_release

DEMO = "demo"


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
    """Show how far each stage is: a bar on a terminal, a line every 30 s elsewhere."""
    possible_data_tree_names: Items[str] = ()
    """Tree names tried before the layout's own."""
    combine_releases: bool = False
    """Allow inputs of different experiments or collision energies in one run."""
    particle_counts: ParticleCounts = Field(default_factory=default_counts)
    """Multiplicities of a kept event."""
    kinematic_cuts: KinematicCuts = Field(default_factory=default_cuts)
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

"""The library: a run's channels, masses, four-vectors, spectra and reports as Python objects.

    import bumphunt

    run = bumphunt.open_run("output/atlas_opendata_20260131_120000")
    channel = run.channel("2e_0m_0j_0g/e0e1")
    masses = channel.masses()  # one NumPy array, in GeV

Nothing here changes a run. docs/library.md shows all of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import awkward as ak
import numpy as np
import numpy.typing as npt

from schemas import config as configuration
from schemas.config import Config, is_multiple
from schemas.errors import (
    BarrierError,
    ConfigError,
    DataError,
    PipelineError,
    StorageError,
    did_you_mean,
)
from schemas.inputs import Sample, Slice
from schemas.labels import Channel, Combination, FinalState, mass_histogram_name
from schemas.particles import BY_NAME
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from schemas.reports import (
    ChunkReport,
    HistogramReport,
    MassReport,
    ParseReport,
    PostProcessingReport,
    SliceReport,
)
from schemas.statistics import Statistics
from services import contents, run_directory
from services.barriers import completed_slices, missing_slices
from services.calculations.binning import RESOLUTION_LABEL, Axis, axes, fixed_axis
from services.calculations.filling import Bins, Counts
from services.calculations.kinematics import rank_by_pt
from services.calculations.objects import Events
from services.calculations.spectra import Grid
from services.chunks import digest_of
from services.pipeline import STAGES, Stage
from services.run_directory import RunDirectory, chunk_report, events_file
from services.storage import reports
from services.storage.arrays import ArrayFolder, open_arrays
from services.storage.atomic import appearing, storage_errors
from services.storage.parsed import read_events

if TYPE_CHECKING:
    import hist

__all__ = [
    "BarrierError",
    "ChannelPlan",
    "ConfigError",
    "DataError",
    "PipelineError",
    "ResonanceTest",
    "Run",
    "RunChannel",
    "StorageError",
    "open_run",
]

Part = Literal["all", "main", "outliers"]
# How the arrays of each part are called, behind the name of their channel.
_ENDINGS: dict[Part, str] = {"all": "", "main": "_main", "outliers": "_outliers"}
_PARSING, _MASSES, _PROCESSING, _HISTOGRAMS = (stage for stage in STAGES if stage.output)
_NAMED = 3
_RANGE_BYTES = 64_000_000

_CHUNK_REPORTS: dict[str, type[ChunkReport]] = {
    _PARSING.name: ParseReport,
    _MASSES.name: MassReport,
    _PROCESSING.name: PostProcessingReport,
}


def open_run(path: Path | str) -> Run:
    """Return the run at a directory, of a single job or merged, finished or not.

    It is a snapshot: open the run again to see what has been done since.

    Raises:
        ConfigError: there is no run, or its configuration is damaged.
    """
    root = Path(path).expanduser().absolute()
    if not run_directory.is_run(root):
        msg = f"{root}: expected a run's directory (it has a config.yaml), found none; correct it"
        raise ConfigError(msg)
    config = configuration.load(root / "config.yaml")
    return Run(config, run_directory.layout(root, config))


@dataclass(frozen=True)
class Run:
    """An open run: its configuration, where its files are, and what can be had of them.

    Of a stage that the run does not do itself, what it was told to read is taken. Collision data
    (`sample="data"`) and simulation (`sample="mc"`) are never mixed.
    """

    config: Config
    paths: RunDirectory = field(repr=False)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What there are events of: `data`, `mc`, or both."""
        found = {sample for report in self._slices(_PARSING) for sample in report.samples}
        return tuple(sample for sample in Sample if sample in found)

    def origin(self, sample: str = "data") -> str:
        """Return what must be said wherever such events are shown; nothing for collision data.

        Raises:
            BarrierError: parsing is not complete.
        """
        chosen = _sample(sample)
        of_sample = {r.source for r in self._chunk_reports(_PARSING) if r.sample is chosen}
        return contents.origin_note(of_sample, chosen)

    def channels(self, sample: str = "data") -> tuple[RunChannel, ...]:
        """Return all channels of a sample, in the order of their names.

        Raises:
            BarrierError: the masses are not complete.
        """
        chosen = _sample(sample)
        of_plan = None if self.plan is None else self.plan.channels.get(chosen, {})
        names = self._populations[chosen] if of_plan is None else of_plan
        return tuple(self._channel(chosen, name) for name in names)

    def channel(self, name: str, sample: str = "data") -> RunChannel:
        """Return one channel, for example `2e_0m_0j_0g/e0e1`.

        Raises:
            BarrierError: the masses are not complete.
            DataError: the run has no such channel.
        """
        found = {channel.name: channel for channel in self.channels(sample)}
        if name not in found:
            close = difflib.get_close_matches(name, found, n=_NAMED)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "see channels()"
            msg = (
                f"{self.paths.root}: expected one of its {len(found):,} channels of {sample}, "
                f"found {name!r}; {hint}"
            )
            raise DataError(msg)
        return found[name]

    def events(
        self,
        sample: str = "data",
        *,
        types: Collection[str] = tuple(BY_NAME),
        n_bytes: int = _RANGE_BYTES,
    ) -> Iterator[ak.Array]:
        """Yield the selected events in ranges of about `n_bytes`, so that memory is bounded.

        Each range is an array of records, shape (n_events,): run, lumi and event, and for each of
        the `types` (`Electrons`, `Jets`, ...) its objects as four-momenta of the library vector,
        shape (n_events, var), leading first: pt and mass in GeV, float64. Events are in the order
        of the files, whatever the chunks.

        Raises:
            BarrierError: parsing is not complete.
            DataError: a file is damaged, or there is no such type.
        """
        for name in types:
            if name not in BY_NAME:
                msg = f"events: {name!r} is not a type of object{did_you_mean(name, BY_NAME)}"
                raise DataError(msg)
        folder = self._folder(_PARSING)
        for chunk in self._chunks(_PARSING, _sample(sample)):
            # Four-momenta take twice the bytes that are stored.
            for found in read_events(events_file(folder, chunk), types, max(1, n_bytes // 2)):
                yield _with_vectors(found)

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return what each complete stage reports, by its name, as dictionaries.

        `slices` are the sums of each job, `chunks` (not of histograms) the reports of the chunks,
        and `merged`, of a merged run's histograms alone, what was added up.
        """
        found: dict[str, dict[str, Any]] = {}
        for stage in (_PARSING, _MASSES, _PROCESSING, _HISTOGRAMS):
            folder = self._folder(stage)
            if missing_slices(folder, stage.name, Slice()):
                continue
            slices = self._slices(stage)
            found[stage.name] = {"slices": [report.model_dump(mode="json") for report in slices]}
            if stage.name in _CHUNK_REPORTS:
                chunks = [report.model_dump(mode="json") for report in self._chunk_reports(stage)]
                found[stage.name]["chunks"] = chunks
            elif self.paths.merge_report.exists():
                merged = reports.read(self.paths.merge_report, SliceReport)
                found[stage.name]["merged"] = merged.model_dump(mode="json")
        return found

    def statistics(self) -> dict[str, Any]:
        """Return the sums over all jobs, by stage: what `logs/aggregated_stats.json` says.

        Raises:
            DataError: the run is not finished, or not merged.
        """
        return reports.read(self.paths.aggregated_statistics, Statistics).model_dump(mode="json")

    def export(self, folder: Path | str, part: Part = "all", sample: str = "data") -> list[Path]:
        """Write the masses of each channel to `{folder}/{final state}/{combination}.npy`.

        They are float32, shape (n,), in GeV. The folder must be absent or empty; it appears when
        everything is in it. A channel without masses of that part gets no file. Return the files.

        Raises:
            BarrierError: the stage that makes them is not complete.
            ConfigError: the folder is not empty.
            StorageError: the files cannot be written.
        """
        target = Path(folder).expanduser().absolute()
        with storage_errors(target, "read"):
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                msg = f"{target}: expected an absent or empty folder, found files; name another"
                raise ConfigError(msg)
        stage, ending = _stored_as(part)
        chunks, channels = self._chunks(stage, _sample(sample)), self.channels(sample)
        with (
            appearing(target, Slice(), folder=True) as temporary,
            ArrayFolder(temporary) as exported,
        ):
            for chunk in chunks:
                with open_arrays(self._folder(stage), chunk) as stored:
                    for name in stored.names:
                        if not name.endswith(ending):
                            continue
                        for masses in stored.read(name, _RANGE_BYTES):
                            exported.append(name.removesuffix(ending), masses)
                            if exported.held_bytes >= _RANGE_BYTES:
                                exported.flush()
            exported.flush()
            written = exported.lengths()
            for channel in channels:
                _check_books(self._folder(stage), channel, part, written.get(channel.name, 0))
        return [target / f"{name}.npy" for name in sorted(written)]

    @cached_property
    def plan(self) -> Plan | None:
        """What was decided for every channel; None where post-processing has not begun."""
        path = self._folder(_PROCESSING) / self.paths.plan_file.name
        return reports.read(path, Plan) if path.exists() else None

    @cached_property
    def _populations(self) -> dict[Sample, dict[str, int]]:
        """Masses per channel and sample, of all slices together."""
        grid = Grid.of(self.config.post_processing_task_config)
        summed = contents.sum_spectra(self._folder(_MASSES), self._slices(_MASSES), grid)
        return {sample: spectra.entries() for sample, spectra in summed.items()}

    @cached_property
    def _verdicts(self) -> dict[Sample, HistogramReport]:
        """What BumpNet would take, per sample; empty where that is not known."""
        folder = self.paths.histograms
        if missing_slices(folder, _HISTOGRAMS.name, Slice()):
            return {}
        filled = completed_slices(folder, _HISTOGRAMS.name, Slice())
        processed = self._slices(_PROCESSING)
        if not contents.are_filled_of(filled, processed, self.config):
            return {}
        whole = filled
        if len(filled) > 1:
            # A job's own histograms have not been judged: that is for their sum.
            if not self.paths.merge_report.exists():
                return {}
            merged = reports.read(self.paths.merge_report, SliceReport)
            if merged.inputs != digest_of([report.content for report in filled]):
                return {}
            whole = (merged,)
        return {of.sample: of for report in whole for of in report.histograms}

    def _channel(self, sample: Sample, name: str) -> RunChannel:
        decided = None if self.plan is None else self.plan.channels[sample][name]
        population = self._populations[sample][name] if decided is None else decided.population
        return RunChannel(
            name, sample, population, decided, self._rejected(sample, name, decided), self
        )

    def _rejected(
        self, sample: Sample, name: str, decided: ChannelPlan | None
    ) -> dict[str, str] | None:
        histograms = self.config.histogram_creation_task_config
        verdicts = self._verdicts.get(sample)
        if verdicts is None or decided is None or not histograms.use_bumpnet_naming:
            return None
        if decided.dropped is not None:
            return dict.fromkeys(_widths(self.config), f"dropped: {decided.dropped}")
        template, channel = histograms.name_template, Channel.parse(name)
        names = {
            w: mass_histogram_name(channel, w, template=template) for w in _widths(self.config)
        }
        return {w: verdicts.rejected[n] for w, n in names.items() if n in verdicts.rejected}

    def _folder(self, stage: Stage) -> Path:
        """Return where a stage's output is: the run's own, or what the stage after it reads."""
        paths = self.paths
        read_from = {
            _PARSING.name: paths.masses_input,
            _MASSES.name: paths.processing_input,
            _PROCESSING.name: paths.histograms_input,
        }
        is_own = stage.task in self.config.tasks.enabled() or stage.name not in read_from
        return stage.folder(paths) if is_own else read_from[stage.name]

    def _slices(self, stage: Stage) -> tuple[SliceReport, ...]:
        return completed_slices(self._folder(stage), stage.name, Slice())

    @cached_property
    def _read_reports(self) -> dict[str, list[ChunkReport]]:
        """What `_chunk_reports` has read, by the name of the stage."""
        return {}

    def _chunk_reports(self, stage: Stage) -> list[ChunkReport]:
        """Return the reports of a stage's chunks, in an order that does not depend on the slices.

        Sources come by name, and the chunks of each in the order of its files.
        """
        if stage.name not in self._read_reports:
            folder, model = self._folder(stage), _CHUNK_REPORTS[stage.name]
            names = (chunk for report in self._slices(stage) for chunk in report.chunks)
            found = [reports.read(chunk_report(folder, name), model) for name in names]
            # Of two numbers, the longer one is the larger.
            found.sort(key=lambda report: (report.source, len(report.chunk), report.chunk))
            self._read_reports[stage.name] = found
        return self._read_reports[stage.name]

    def _chunks(self, stage: Stage, sample: Sample) -> list[str]:
        return [r.chunk for r in self._chunk_reports(stage) if r.sample is sample]


@dataclass(frozen=True)
class RunChannel:
    """One combination in one final state of an open run. `str()` of it is its name."""

    name: str
    """For example `2e_0m_0j_0g/e0e1`."""
    sample: Sample
    population: int
    """Masses before post-processing: the events of the final state."""
    plan: ChannelPlan | None = field(repr=False)
    """What post-processing decided: edges in GeV, entries per class; None before it."""
    rejected: dict[str, str] | None
    """Why BumpNet does not take the histogram, by bin width; None where that is not known."""
    run: Run = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def final_state(self) -> FinalState:
        """The multiplicities."""
        return Channel.parse(self.name).final_state

    @property
    def combination(self) -> Combination:
        """The objects whose mass this is."""
        return Channel.parse(self.name).combination

    @property
    def dropped(self) -> str | None:
        """Why it has no main part; None of a channel that has one."""
        return None if self.plan is None else self.plan.dropped

    @property
    def resonances(self) -> tuple[ResonanceTest, ...]:
        """The known resonances that were looked for, with what was found and done."""
        return () if self.plan is None else self.plan.resonances

    @property
    def accepted(self) -> bool | None:
        """Whether BumpNet takes a histogram, of any bin width; None where that is not known."""
        if self.rejected is None:
            return None
        return any(width not in self.rejected for width in _widths(self.run.config))

    def masses(self, part: Part = "all") -> npt.NDArray[np.float32]:
        """Return the masses in GeV, shape (n,), in the order of the events.

        `all` is what was computed, `main` and `outliers` what post-processing made of it; what it
        removed is in neither. It is one array, whatever the chunks and jobs.

        Raises:
            BarrierError: the stage that makes them is not complete.
            DataError: a file is damaged.
        """
        pieces = [np.zeros(0, dtype=np.float32), *self._pieces(part)]
        return np.concatenate(pieces)

    def spectrum(
        self, part: Literal["all", "main"] = "main", bin_width_gev: float | None = None
    ) -> hist.Hist[Any]:
        """Return the histogram of the masses: axis `mass`, in GeV, and whole numbers of entries.

        Bins are those of the run's first histogram, or of the width that is asked for. `main`
        covers the main part, `all` the whole grid from 0; masses beyond the grid are overflow.

        Raises:
            BarrierError: the stage that makes the masses is not complete.
            ConfigError: the width does not divide that of the grid.
            DataError: the channel has no main part, or a file is damaged.
        """
        import hist

        axis, grid = self._axis(part, bin_width_gev)
        bins = Bins((axis,), ((0, axis.n_bins),), planned=self.population)
        counts = Counts.empty(bins)
        for masses in self._pieces(part):
            counts.fill(masses, bins, grid)
        # Equal steps from the first edge would not meet the others in their last digit.
        drawn = hist.axis.Variable(axis.edges, name="mass", label="m [GeV]")
        filled = hist.Hist(drawn, storage=hist.storage.Int64(), name=self.name, label="entries")
        filled.view(flow=True)[1:] = [*counts.of_axes[0], counts.overflow]
        return filled

    def _pieces(self, part: Part) -> Iterator[npt.NDArray[np.float32]]:
        stage, ending = _stored_as(part)
        folder = self.run._folder(stage)  # noqa: SLF001 - a channel is a part of its run
        n_read = 0
        for chunk in self.run._chunks(stage, self.sample):  # noqa: SLF001
            with open_arrays(folder, chunk) as stored:
                for masses in stored.read(f"{self.name}{ending}", _RANGE_BYTES):
                    n_read += len(masses)
                    yield masses
        _check_books(folder, self, part, n_read)

    def _axis(self, part: str, bin_width_gev: float | None) -> tuple[Axis, Grid]:
        config, plan = self.run.config, self.plan
        grid = Grid.of(config.post_processing_task_config)
        if self.run.plan is not None:
            of_plan = self.run.plan
            grid = Grid(of_plan.bin_width_gev, round(of_plan.max_mass_gev / of_plan.bin_width_gev))
        end_gev = grid.width * grid.n_bins
        within = (0.0, end_gev)
        if part == "main":
            if plan is None or plan.dropped is not None:
                why = (
                    "post-processing has not begun" if plan is None else f"dropped, {plan.dropped}"
                )
                msg = (
                    f"{self.run.paths.root}: {self.name} has no main part ({why}); take "
                    "spectrum('all')"
                )
                raise DataError(msg)
            within = (plan.low_gev, plan.end_gev)
        if bin_width_gev is None:
            histograms = config.histogram_creation_task_config
            return axes(self.combination, histograms, end_gev, within)[0], grid
        if bin_width_gev <= 0 or not is_multiple(grid.width, bin_width_gev):
            msg = (
                f"spectrum: expected a bin width that divides the grid's ({grid.width} GeV), found "
                f"{bin_width_gev}; choose one that does"
            )
            raise ConfigError(msg)
        return fixed_axis(bin_width_gev, *within), grid


def _widths(config: Config) -> tuple[str, ...]:
    """Return what the names of histograms say of their bins."""
    histograms = config.histogram_creation_task_config
    if histograms.binning == "fixed":
        return tuple(str(width) for width in histograms.bin_width_gev)
    return (RESOLUTION_LABEL,)


def _stored_as(part: Part) -> tuple[Stage, str]:
    """Return which stage stores a part of the masses, and how its arrays' names end."""
    if part not in _ENDINGS:
        msg = f"masses: {part!r} is not a part of a channel{did_you_mean(part, _ENDINGS)}"
        raise DataError(msg)
    return (_MASSES if part == "all" else _PROCESSING), _ENDINGS[part]


def _check_books(folder: Path, channel: RunChannel, part: Part, n_read: int) -> None:
    """Raise DataError unless there are as many masses as the plan, or the spectra, say."""
    n_expected = channel.population
    if part != "all" and channel.plan is not None:
        classes = channel.plan.classes
        n_expected = classes.main if part == "main" else classes.outliers
    if n_read != n_expected:
        msg = (
            f"{folder}: expected {n_expected:,} masses ({part}) of {channel.name}, found "
            f"{n_read:,}: the run was changed and is not finished; continue it, then open it again"
        )
        raise DataError(msg)


def _sample(name: str) -> Sample:
    if name not in [*Sample]:
        msg = f"sample: {name!r} is neither of data and mc{did_you_mean(name, [*Sample])}"
        raise DataError(msg)
    return Sample(name)


def _with_vectors(events: Events) -> ak.Array:
    """Return events as records, their objects ranked by pt and with the behaviour of vectors."""
    import vector

    columns: dict[str, Any] = {"run": events.run, "lumi": events.lumi, "event": events.event}
    for name, objects in events.objects.items():
        ranked = rank_by_pt(objects)
        flat = {q: column.astype(np.float64) for q, column in ranked.columns.items()}
        columns[name] = ak.unflatten(vector.zip(flat), ranked.counts)
    return ak.zip(columns, depth_limit=1)

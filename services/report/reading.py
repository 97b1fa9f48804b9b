"""A run's files -> what the report says, finished or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from schemas.config import DEMO, Config, load, to_yaml
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import CutRow, HistogramReport, MassReport, SliceReport
from schemas.state import RunState, StageRecord
from schemas.statistics import StageStatistics
from services.barriers import absent_slices, completed_slices, missing_slices
from services.calculations.spectra import Grid
from services.chunks import digest_of
from services.contents import (
    are_filled_of,
    is_made_of,
    listed_chunks,
    origin_note,
    sources,
    sum_spectra,
)
from services.progress import Progress
from services.report import books
from services.report.channels import packed_spectra, rows
from services.run_directory import RunDirectory, slice_report
from services.software import versions
from services.storage import reports
from services.storage.atomic import storage_errors

# Whether the jobs' histograms are merged is read from the files: the state says so only later.
_MERGE = "merge"


@dataclass(frozen=True)
class StageLine:
    """One stage in the table of times: what was done, by how many of its slices."""

    name: str
    status: str
    n_done: int
    n_slices: int
    wall_seconds: float | None
    """From start to end of its only job, where there is only one."""
    done: StageStatistics | None


@dataclass(frozen=True)
class Browser:
    """What the browser of channels shows; spectra are packed, in the order of the channels."""

    width_gev: float
    channels: tuple[dict[str, Any], ...]
    spectra: tuple[str, ...]
    notes: dict[str, str]
    """What must be said wherever events of a sample are shown."""


@dataclass(frozen=True)
class Picture:
    """A figure that lies beside the report: its name without ending, and all files of it."""

    stem: str
    png: bytes
    files: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """Everything that the report says."""

    name: str
    started: datetime | None
    ended: datetime | None
    is_generated: bool
    missing: tuple[str, ...]
    stages: tuple[StageLine, ...]
    balances: tuple[books.Balance, ...]
    cut_flows: dict[str, tuple[CutRow, ...]]
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    configuration: str
    changed: tuple[str, ...]
    """Keys that have other values now than in the run's own configuration."""
    software: dict[str, str]
    pictures: tuple[Picture, ...]
    browser: Browser | None
    no_browser: str
    """Why there is no browser of channels."""


@dataclass
class _Found:
    """The reports of the stages: all that are there, and those of stages that are complete."""

    parsed: StageStatistics | None
    computed: StageStatistics | None
    processed: StageStatistics | None
    plan: Plan | None = None
    why_no_plan: str = ""
    of_masses: tuple[SliceReport, ...] = ()
    sources: dict[Sample, set[str]] = field(default_factory=dict)
    written: tuple[HistogramReport, ...] = ()
    is_unmerged: bool = False
    by_stage: dict[str, StageStatistics] = field(default_factory=dict)


def read_run(config: Config, paths: RunDirectory, progress: Sequence[Progress]) -> Content:
    """Return what the files of a run say.

    Raises:
        DataError: a file of the run is damaged.
    """
    found = _find(config, paths)
    states = _states(paths)
    times = [record for state in states for record in state.stages.values()]
    started = [record.started for record in times if record.started]
    ended = [record.ended for record in times if record.ended]
    progress = [one for one in progress if one.stage != _MERGE]
    stages = tuple(_stage_lines(states, progress, found.by_stage))
    done = [line.done for line in stages if line.done]
    flows = found.parsed.cut_flows if found.parsed else {}
    configuration, changed = _configuration(config, paths)
    return Content(
        name=paths.root.name,
        started=min(started, default=None),
        ended=max(ended, default=None),
        is_generated=_is_generated(found),
        missing=tuple(_missing(progress, found)),
        stages=stages,
        balances=tuple(_balances(config, paths, progress, found)),
        cut_flows=books.rows_that_cut(flows),
        failures=found.parsed.failures if found.parsed else (),
        notes=tuple(f"{one.stage}: {note}" for one in done for note in one.notes),
        configuration=configuration,
        changed=changed,
        software=versions(),
        pictures=_pictures(paths.plots),
        browser=_browser(config, paths, found),
        no_browser=found.why_no_plan,
    )


def _find(config: Config, paths: RunDirectory) -> _Found:
    folders = (paths.masses_input, paths.processing_input, paths.histograms_input)
    total = config.run_metadata.total_batch_jobs or 1
    parsed, computed, processed = (_present(folder, total) for folder in folders)
    found = _Found(_sum(parsed), _sum(computed), _sum(processed))
    own = (paths.parsed_data, paths.masses, paths.processed, paths.histograms)
    for folder in own:
        of_stage = _sum(_present(folder, total))
        if of_stage:
            found.by_stage[of_stage.stage] = of_stage
    found.why_no_plan = _why_no_plan(paths)
    if found.why_no_plan:
        return found
    of_masses = completed_slices(paths.processing_input, "mass_calculating", Slice())
    of_plan = completed_slices(paths.histograms_input, "post_processing", Slice())
    if not is_made_of(of_plan, of_masses, config, "post_processing"):
        found.why_no_plan = "The plan is out of date; run post_processing again."
        return found
    found.of_masses = of_masses
    found.sources = sources(paths.processing_input, of_masses, MassReport)
    found.plan = reports.read(paths.histograms_input / paths.plan_file.name, Plan)
    _read_histograms(config, paths, of_plan, found)
    return found


def _why_no_plan(paths: RunDirectory) -> str:
    """Return what there must be before channels can be shown; nothing if all is there."""
    needed = (
        (paths.processing_input, "mass_calculating", "The masses are not complete yet"),
        (paths.histograms_input, "post_processing", "Nothing is decided about the channels yet"),
    )
    for folder, stage, why in needed:
        if missing_slices(folder, stage, Slice()):
            return f"{why}: run {stage}."
    return ""


def _read_histograms(
    config: Config, paths: RunDirectory, processed: Sequence[SliceReport], found: _Found
) -> None:
    """Keep what the histograms of the whole run are, if they are of this plan."""
    if missing_slices(paths.histograms, "histogram_creation", Slice()):
        return
    filled = completed_slices(paths.histograms, "histogram_creation", Slice())
    if not are_filled_of(filled, processed, config):
        return
    if filled[0].slice_total == 1:
        found.written = filled[0].histograms
        return
    if paths.merge_report.exists():
        merged = reports.read(paths.merge_report, SliceReport)
        if merged.inputs == digest_of([report.content for report in filled]):
            found.written = merged.histograms
    found.is_unmerged = not found.written


def _present(folder: Path, total: int) -> list[SliceReport]:
    """Return the reports that are there: of so many slices, or else of as many as there are."""
    absent = absent_slices(folder, total)
    parts = [Slice(i, total) for i in range(1, total + 1) if i not in absent]
    if parts:
        return [reports.read(slice_report(folder, part), SliceReport) for part in parts]
    # Another run's folder, cut into other slices.
    return [reports.read(path, SliceReport) for path in sorted(folder.glob("slice_*_of_*.json"))]


def _sum(of_slices: Sequence[SliceReport]) -> StageStatistics | None:
    return reduce(add, map(StageStatistics.of, of_slices)) if of_slices else None


def _states(paths: RunDirectory) -> list[RunState]:
    """Return how far the jobs have come: the whole if there is one, else each for itself."""
    whole = paths.state_file(Slice())
    files = [whole] if whole.exists() else []
    files += sorted(paths.logs.glob("state_batch*.json"))
    return [reports.read(path, RunState) for path in files]


def _stage_lines(
    states: Sequence[RunState], progress: Sequence[Progress], by_stage: dict[str, StageStatistics]
) -> Iterator[StageLine]:
    of_stage = {one.stage: one for one in progress}
    for name in dict.fromkeys([*(name for state in states for name in state.stages), *by_stage]):
        records = [state.stages[name] for state in states if name in state.stages]
        done, known = by_stage.get(name), of_stage.get(name)
        seconds = records[0].seconds if len(records) == 1 else None
        if known is None:
            n_done = done.slices if done else 0
            yield StageLine(name, _status(records, done), n_done, n_done, seconds, done)
            continue
        n_done = known.total - known.n_open
        status = "failed" if known.failed else "running" if known.running else "unfinished"
        if not known.n_open:
            status = "done"
        elif not n_done and status == "unfinished":
            status = "not begun"
        yield StageLine(name, status, n_done, known.total, seconds, done)


def _status(records: Sequence[StageRecord], done: StageStatistics | None) -> str:
    if done:
        return "done"
    found = {record.status.value for record in records}
    return found.pop() if len(found) == 1 else "in part"


def _missing(progress: Sequence[Progress], found: _Found) -> Iterator[str]:
    """Yield, in words, what has still to be done."""
    for one in progress:
        if not one.n_open:
            continue
        if one.total == 1:
            done = "has failed" if one.failed else "is not done, or out of date"
            yield f"{one.stage} {done}"
        else:
            numbers = sorted((*one.running, *one.failed, *one.waiting))
            yield (
                f"{one.stage}: {one.n_open} of {one.total} slices are not done, or out of date: "
                f"{', '.join(map(str, numbers))}"
            )
    if found.is_unmerged:
        yield "the histograms of the jobs are not merged"


def _balances(
    config: Config, paths: RunDirectory, progress: Sequence[Progress], found: _Found
) -> Iterator[books.Balance]:
    if found.parsed:
        planned = found.parsed.taken["files"]
        is_complete = not any(one.n_open for one in progress if one.stage == found.parsed.stage)
        if paths.masses_input == paths.parsed_data and paths.file_list.exists():
            planned = sum(len(chunk.files) for chunk in listed_chunks(config, paths))
        yield books.of_files(planned, found.parsed, is_complete=is_complete)
        yield books.of_events(found.parsed)
    if found.computed and found.processed and found.plan:
        yield books.of_final_states(found.computed, found.plan)
        yield books.of_masses(found.computed, found.processed)
        if found.written:
            histograms = config.histogram_creation_task_config
            yield from books.of_histograms(found.processed, found.written, histograms)


def _is_generated(found: _Found) -> bool:
    """Whether events of the demo release are among those of the run."""
    flows = found.parsed.cut_flows if found.parsed else {}
    of_demo = (f"{DEMO}{sample.suffix}" in flows for sample in Sample)
    return any(of_demo) or any(DEMO in of_sample for of_sample in found.sources.values())


def _configuration(config: Config, paths: RunDirectory) -> tuple[str, tuple[str, ...]]:
    """Return the run's own configuration as YAML, and which keys have other values now."""
    kept = load(paths.config_file) if paths.config_file.exists() else config
    before, now = kept.model_dump(mode="json"), config.model_dump(mode="json")
    # Which tasks, and as which job, is a matter of each call.
    sections = [section for section in now if section not in ("tasks", "run_metadata")]
    changed = tuple(
        f"{section}.{key}: {before[section][key]!r} in config.yaml, {value!r} now"
        for section in sections
        for key, value in now[section].items()
        if before[section][key] != value
    )
    return to_yaml(kept), changed


def _pictures(folder: Path) -> tuple[Picture, ...]:
    pictures = []
    for path in sorted(folder.glob("*.png")):
        with storage_errors(path, "read"):
            png = path.read_bytes()
        files = sorted(other.name for other in folder.glob("*.*") if other.stem == path.stem)
        pictures.append(Picture(path.stem, png, tuple(files)))
    return tuple(pictures)


def _browser(config: Config, paths: RunDirectory, found: _Found) -> Browser | None:
    if found.plan is None:
        return None
    grid = Grid.of(config.post_processing_task_config)
    summed = sum_spectra(paths.processing_input, found.of_masses, grid)
    packed = {sample.value: packed_spectra(spectra, grid) for sample, spectra in summed.items()}
    channels = tuple(rows(found.plan, found.written, config.histogram_creation_task_config))
    names = (f"{row['state']}/{row['combination']}" for row in channels)
    spectra = tuple(
        packed[row["sample"]].get(name, "") for row, name in zip(channels, names, strict=True)
    )
    notes = {sample.value: origin_note(found.sources.get(sample, ()), sample) for sample in Sample}
    return Browser(grid.width, channels, spectra, notes)

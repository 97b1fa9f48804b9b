"""What the stages of a run have left: reports, plan, histograms; and what is still missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add, attrgetter
from pathlib import Path

from schemas.config import DEMO, Config
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport, MassReport, SliceReport
from schemas.state import RunState, StageRecord, StageStatus, State
from schemas.statistics import StageStatistics
from schemas.summary import Exit, RunSummary
from services.barriers import absent_slices, completed_slices, missing_slices
from services.chunks import digest_of
from services.contents import are_filled_of, is_made_of, sources
from services.progress import StageProgress
from services.run_directory import RunDirectory, slice_report
from services.storage import reports


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


@dataclass
class Found:
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

    @property
    def is_generated(self) -> bool:
        """Whether events of the demo release are among those of the run."""
        flows = self.parsed.cut_flows if self.parsed else {}
        of_demo = (f"{DEMO}{sample.suffix}" in flows for sample in Sample)
        return any(of_demo) or any(DEMO in of_sample for of_sample in self.sources.values())


def find(config: Config, paths: RunDirectory) -> Found:
    """Return what the stages have left.

    Raises:
        DataError: a file of the run is damaged.
    """
    folders = (paths.masses_input, paths.processing_input, paths.histograms_input)
    total = config.run_metadata.total_batch_jobs or 1
    parsed, computed, processed = (_present(folder, total) for folder in folders)
    found = Found(_sum(parsed), _sum(computed), _sum(processed))
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
    config: Config, paths: RunDirectory, processed: Sequence[SliceReport], found: Found
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


def read_states(config: Config, paths: RunDirectory) -> dict[Slice, RunState]:
    """Return how far the jobs have come, and the whole, which is that of the merge, before them."""
    total = config.run_metadata.total_batch_jobs or 1
    parts = dict.fromkeys([Slice(), *(Slice(i, total) for i in range(1, total + 1))])
    files = {part: paths.state_file(part) for part in parts}
    return {part: reports.read(path, RunState) for part, path in files.items() if path.exists()}


def why_failed(paths: RunDirectory, states: Mapping[Slice, RunState]) -> Iterator[str]:
    """Yield, for every job that has failed, the reason."""
    for part, state in states.items():
        if state.state is not State.FAILED:
            continue
        who = f"job {part.index}: " if part.total > 1 else "merge: " if len(states) > 1 else ""
        summary = _summary(paths, part)
        if summary is None or summary.exit not in (Exit.FAILED, Exit.STOPPED):
            yield f"{who}it was cut off; {paths.log_file(part).name} has how far it came"
        else:
            how = "stopped: " if summary.exit is Exit.STOPPED else ""
            yield f"{who}{how}{summary.reason}"


def _summary(paths: RunDirectory, part: Slice) -> RunSummary | None:
    file = paths.summary_file(part)
    return reports.read(file, RunSummary) if file.exists() else None


def stage_lines(
    states: Sequence[RunState],
    progress: Sequence[StageProgress],
    by_stage: dict[str, StageStatistics],
) -> Iterator[StageLine]:
    """Yield the lines of the table of times, in the order of the stages."""
    of_stage = {one.stage: one for one in progress}
    is_complete = not any(one.n_open for one in progress)
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
            # All of it was made, and the whole judged then: for example too many files failed.
            is_judged = not is_complete and _newest(records) is StageStatus.FAILED
            status = "failed" if is_judged else "done"
        elif not n_done and status == "unfinished":
            status = "not begun"
        yield StageLine(name, status, n_done, known.total, seconds, done)


def _newest(records: Sequence[StageRecord]) -> StageStatus | None:
    ended = [record for record in records if record.ended]
    return max(ended, key=attrgetter("ended")).status if ended else None


def _status(records: Sequence[StageRecord], done: StageStatistics | None) -> str:
    if done:
        return "done"
    found = {record.status.value for record in records}
    return found.pop() if len(found) == 1 else "in part"


def missing(progress: Sequence[StageProgress], found: Found) -> Iterator[str]:
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

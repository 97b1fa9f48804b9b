"""The state machine: the only place where the order of the stages is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.config import Config
from schemas.errors import BarrierError, ConfigError
from schemas.inputs import Slice
from schemas.reports import SliceReport
from schemas.state import RunState, StageRecord, StageStatus, State
from services import fetch, histograms, masses, parse, plots, post_processing
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.atomic import remove_leftovers
from services.storage.locks import only_writer
from services.workers import Workers, available_cores

log = logging.getLogger(__name__)

Run = Callable[[Config, RunDirectory, Slice, Workers], SliceReport]


@dataclass(frozen=True)
class Stage:
    """One stage: `task` is what enables it, `state` the machine's state while it runs."""

    name: str
    task: str
    state: State
    run: Run


STAGES = (
    Stage("fetching", "parsing", State.FETCHING, fetch.run),
    Stage("parsing", "parsing", State.PARSING, parse.run),
    Stage("mass_calculating", "mass_calculating", State.MASS_CALCULATING, masses.run),
    Stage("post_processing", "post_processing", State.POST_PROCESSING, post_processing.run),
    Stage("histogram_creation", "histogram_creation", State.HISTOGRAM_CREATION, histograms.run),
)


@dataclass(frozen=True)
class Done:
    """How a run ended: what its stages did, and what it waits for, if it does."""

    reports: tuple[SliceReport, ...]
    waiting_for: str | None = None


def run(
    config: Config, paths: RunDirectory, part: Slice, *, waits: bool = False, draws: bool = True
) -> Done:
    """Run the enabled stages of a slice in order; a run of one job also `draws` its figures.

    The state file follows each step. A batch job that meets a barrier other slices have not
    reached waits for them for the configured time and then fails, if it `waits`; else it ends
    there, having done what it can.

    Raises:
        PipelineError: a stage failed, or the figures; the state is FAILED then.
    """
    enabled = config.tasks.enabled()
    if not waits:
        metadata = config.run_metadata.model_copy(update={"barrier_wait_seconds": 0.0})
        config = config.model_copy(update={"run_metadata": metadata})
    done: list[SliceReport] = []
    with only_writer(paths.lock_file(part)), ExitStack() as stack:
        _tidy(paths, part)
        machine = _Machine(paths, part, enabled)
        pools: dict[int, Workers] = {}
        for stage in STAGES:
            if stage.task not in enabled:
                continue
            count = _worker_count(config, stage)
            if count not in pools:
                pools[count] = stack.enter_context(Workers(count))
            try:
                done.append(machine.walk(stage, config, pools[count]))
            except BarrierError as error:
                if part.total == 1 or waits:
                    raise
                machine.wait(stage)
                return Done(tuple(done), str(error))
        if draws and part.total == 1:
            machine.draw(config)
        machine.finish()
    return Done(tuple(done))


def slice_of(config: Config) -> Slice:
    """Return the part of the run that this job does."""
    metadata = config.run_metadata
    if metadata.batch_job_index is None and metadata.total_batch_jobs is not None:
        msg = (
            f"this run is cut into {metadata.total_batch_jobs} jobs: say which one this is with "
            f"--batch-job-index N --total-batch-jobs {metadata.total_batch_jobs}"
        )
        raise ConfigError(msg)
    return Slice(metadata.batch_job_index or 1, metadata.total_batch_jobs or 1)


def _tidy(paths: RunDirectory, part: Slice) -> None:
    folders = (paths.root, paths.inputs, paths.parsed_data, paths.masses, paths.processed)
    for folder in (*folders, paths.histograms, paths.plots, paths.logs):
        for path in remove_leftovers(folder, part):
            log.info("removed %s, which an earlier start had not finished", path)


def _worker_count(config: Config, stage: Stage) -> int:
    is_parsing = stage.task == "parsing"
    section = config.parsing_task_config if is_parsing else config.mass_calculation_task_config
    return section.parallel_processes or available_cores()


class _Machine:
    """Keeps the state file in step with the work."""

    def __init__(self, paths: RunDirectory, part: Slice, enabled: Sequence[str]) -> None:
        self._paths = paths
        self._part = part
        self._stages = {
            stage.name: StageRecord(
                status=StageStatus.PENDING if stage.task in enabled else StageStatus.DISABLED
            )
            for stage in STAGES
        }
        self._enter(State.IDLE)

    def walk(self, stage: Stage, config: Config, workers: Workers) -> SliceReport:
        started = datetime.now(UTC)
        self._stages[stage.name] = StageRecord(status=StageStatus.RUNNING, started=started)
        self._enter(stage.state)
        log.info("%s starts", stage.name)
        try:
            report = stage.run(config, self._paths, self._part, workers)
        except BaseException:
            self._end(stage, StageStatus.FAILED, started)
            self._enter(State.FAILED)
            raise
        self._end(stage, StageStatus.DONE, started)
        for note in report.notes:
            log.info("%s: %s", stage.name, note)
        log.info(
            "%s done in %.1f s: in %s; out %s; lost %s",
            stage.name,
            report.seconds,
            describe_counts(report.taken),
            describe_counts(report.made),
            describe_counts(report.lost),
        )
        return report

    def draw(self, config: Config) -> None:
        try:
            plots.run(config, self._paths, self._part)
        except BaseException:
            self._enter(State.FAILED)
            raise

    def finish(self) -> None:
        self._enter(State.COMPLETED)

    def wait(self, stage: Stage) -> None:
        self._stages[stage.name] = StageRecord(status=StageStatus.PENDING)
        self._enter(State.WAITING)

    def _end(self, stage: Stage, status: StageStatus, started: datetime) -> None:
        ended = datetime.now(UTC)
        seconds = (ended - started).total_seconds()
        self._stages[stage.name] = StageRecord(
            status=status, started=started, ended=ended, seconds=seconds
        )

    def _enter(self, state: State) -> None:
        record = RunState(state=state, stages=self._stages)
        reports.write(self._paths.state_file(self._part), record, self._part)


def describe_counts(counts: dict[str, int]) -> str:
    """Return counts for people: `8 files, 200,000 events`; what is zero is left out."""
    return ", ".join(f"{count:,} {unit}" for unit, count in counts.items() if count) or "nothing"


def closing_table(done: Sequence[SliceReport]) -> str:
    """Return the table that a run ends with: stage, seconds, in, out, lost; then the notes."""
    header = ("stage", "seconds", "in", "out", "lost")
    rows = [
        (
            report.stage,
            f"{report.seconds:.1f}",
            describe_counts(report.taken),
            describe_counts(report.made),
            describe_counts(report.lost),
        )
        for report in done
    ]
    notes = [f"{report.stage}: {note}" for report in done for note in report.notes]
    return "\n".join([_aligned(header, rows), *notes])


def cut_flow_table(done: Sequence[SliceReport]) -> str:
    """Return the cut flow of each source: cuts on events, and cuts that removed objects."""
    header = ("source", "step", "of", "before", "removed", "left")
    rows = [
        (source, row.step, row.of, f"{row.before:,}", f"{row.removed:,}", f"{row.after:,}")
        for report in done
        for source, flow in report.cut_flows.items()
        for row in flow
        if row.removed
    ]
    return "\n" + _aligned(header, rows) + "\n" if rows else ""


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

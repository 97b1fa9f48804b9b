"""The state machine: the only place where the order of the stages is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from schemas.config import Config
from schemas.inputs import Slice
from schemas.reports import SliceReport
from schemas.state import RunState, StageRecord, StageStatus, State
from services import fetch, histograms, masses, parse, post_processing
from services.run_directory import RunDirectory
from services.storage import reports

log = logging.getLogger(__name__)

Run = Callable[["Config", RunDirectory, Slice], "SliceReport"]


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


def run(
    config: Config, paths: RunDirectory, *, refresh_metadata: bool = False
) -> tuple[SliceReport, ...]:
    """Run the enabled stages in order and return their reports; the state file follows each step.

    With `refresh_metadata` the catalogs are asked even if their lists are known.

    Raises:
        PipelineError: a stage failed; the state is FAILED then.
    """
    part = Slice()
    enabled = config.tasks.enabled()
    machine = _Machine(paths, part, enabled)
    stages = [
        replace(stage, run=partial(fetch.run, refresh=refresh_metadata))
        if stage.run is fetch.run
        else stage
        for stage in STAGES
    ]
    done = tuple(machine.walk(stage, config) for stage in stages if stage.task in enabled)
    machine.finish()
    return done


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

    def walk(self, stage: Stage, config: Config) -> SliceReport:
        started = datetime.now(UTC)
        self._stages[stage.name] = StageRecord(status=StageStatus.RUNNING, started=started)
        self._enter(stage.state)
        log.info("%s starts", stage.name)
        try:
            report = stage.run(config, self._paths, self._part)
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

    def finish(self) -> None:
        self._enter(State.COMPLETED)

    def _end(self, stage: Stage, status: StageStatus, started: datetime) -> None:
        ended = datetime.now(UTC)
        seconds = (ended - started).total_seconds()
        self._stages[stage.name] = StageRecord(
            status=status, started=started, ended=ended, seconds=seconds
        )

    def _enter(self, state: State) -> None:
        record = RunState(state=state, stages=self._stages)
        reports.write(self._paths.state_file, record, self._part)


def describe_counts(counts: dict[str, int]) -> str:
    """Return counts for people: `8 files, 200,000 events`; what is zero is left out."""
    return ", ".join(f"{count:,} {unit}" for unit, count in counts.items() if count) or "nothing"


def closing_table(done: Sequence[SliceReport]) -> str:
    """Return the table that a run ends with: stage, seconds, in, out, lost."""
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
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

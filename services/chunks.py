"""Making the chunks of a stage: what is done is kept, the rest is made by workers."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from schemas.errors import DataError, PipelineError
from schemas.inputs import Slice
from schemas.reports import ChunkReport, Output
from services.monitoring import Planned, Progress
from services.run_directory import chunk_report
from services.storage import reports
from services.workers import Outcome, WorkerDiedError, Workers

log = logging.getLogger(__name__)

Report = TypeVar("Report", bound=ChunkReport)

# A chunk whose worker ran out of memory is tried again with this part of the range.
_SMALLER = 4


@dataclass(frozen=True)
class ChunkTask:
    """One chunk to make: what it is made of, as a digest, and what the work needs to know."""

    chunk: str
    inputs: str
    source: Any
    threshold_bytes: int
    planned: Planned = field(default_factory=lambda: {"chunks": 1})


@dataclass(frozen=True)
class ChunkStage(Generic[Report]):
    """How a stage makes chunks; `make` runs in a worker and leaves the output and its report."""

    name: str
    folder: Path
    model: type[Report]
    make: Callable[[ChunkTask], Report]
    describe: Callable[[str], Output]
    """Describes, from the files alone, what the stage has made of a chunk."""
    is_final: Callable[[Report], bool] = lambda _report: True
    """Whether a finished chunk is kept on restart; one with failed files is tried again."""


def digest_of(*parts: object) -> str:
    """Return one digest over values that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def make_or_keep(
    stage: ChunkStage[Report],
    tasks: Sequence[ChunkTask],
    workers: Workers,
    *,
    show: bool,
    ahead: Callable[[Sequence[ChunkTask]], None] = lambda _tasks: None,
) -> tuple[list[Report], int]:
    """Return the reports of all chunks, in the order of the tasks, and how many were kept.

    `ahead` is told, at the start and whenever a chunk is done, which ones are still to be made.

    Raises:
        PipelineError: a chunk cannot be made; whole chunks stay for the next start.
    """
    done = {task.chunk: report for task in tasks if (report := kept(stage, task))}
    n_kept = len(done)
    if n_kept:
        log.info("%s: %d of %d chunks are done and kept", stage.name, n_kept, len(tasks))
    waiting = [task for task in tasks if task.chunk not in done]
    with Progress(stage.name, {t.chunk: t.planned for t in waiting}, show=show) as progress:
        killed = []
        ahead(waiting)

        def hear(task: ChunkTask | None, counts: Mapping[str, int]) -> None:
            progress.hear(None if task is None else task.chunk, counts)

        for outcome in workers.map(stage.make, waiting, hear):
            if outcome.result is None:
                _tell(stage.name, outcome)
                progress.forget(outcome.task.chunk)
                killed.append(outcome.task)
            else:
                done[outcome.task.chunk] = outcome.result
                progress.finish(outcome.task.chunk)
        again = [replace(t, threshold_bytes=smaller(t.threshold_bytes)) for t in killed]
        for outcome in workers.map(stage.make, again, hear):
            if outcome.result is None:
                _tell(stage.name, outcome)
                chunk, n_bytes = outcome.task.chunk, outcome.task.threshold_bytes
                msg = died_twice(stage.name, chunk, outcome.died, n_bytes)
                raise DataError(msg)
            done[outcome.task.chunk] = outcome.result
            progress.finish(outcome.task.chunk)
    return [done[task.chunk] for task in tasks], n_kept


def _tell(stage: str, outcome: Outcome[ChunkTask, Report]) -> None:
    at = f" at {outcome.position}" if outcome.position else ""
    log.error("%s: %s%s: %s", stage, outcome.task.chunk, at, outcome.died)


def smaller(n_bytes: int) -> int:
    """Return how much is held at a time when a worker is tried again after it was killed."""
    return max(1, n_bytes // _SMALLER)


def died_twice(stage: str, chunk: str, died: WorkerDiedError | None, n_bytes: int) -> str:
    """Return what there is to say of a chunk whose second worker has died too."""
    return (
        f"{stage}: {chunk} could not be made: {died}, even with {n_bytes} bytes of events at a "
        "time; give the job more memory, or set parallel_processes lower"
    )


def kept(stage: ChunkStage[Report], task: ChunkTask) -> Report | None:
    """Return the report of a chunk that is done, from the same inputs, with its files whole."""
    path = chunk_report(stage.folder, task.chunk)
    if not path.exists():
        return None
    try:
        report = reports.read(path, stage.model)
        is_same = report.inputs == task.inputs and stage.is_final(report)
        if is_same and stage.describe(task.chunk) == report.output:
            return report
        reason = (
            "its files are not those of its report" if is_same else "what it is made of changed"
        )
    except PipelineError as error:
        reason = str(error)
    log.info("%s: %s is made again: %s", stage.name, task.chunk, reason)
    return None


def summed_up(
    part: Slice, made: Sequence[ChunkReport], n_kept: int, started: float
) -> dict[str, Any]:
    """Return what the slice report of every stage says of its chunks; `started` is monotonic."""
    return {
        "slice_index": part.index,
        "slice_total": part.total,
        "chunks": tuple(report.chunk for report in made),
        "kept": n_kept,
        "seconds": time.monotonic() - started,
        "peak_memory_bytes": max((report.peak_memory_bytes for report in made), default=0),
        "bytes_in": sum(report.bytes_in for report in made),
        "bytes_out": sum(report.output.size for report in made),
        "samples": tuple(dict.fromkeys(report.sample for report in made)),
    }

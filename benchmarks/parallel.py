"""Two workers against one, and how uproot alone scales on the same machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import Setting, Spread, divided, seconds_of
from benchmarks.results import Result, Row, at_least
from benchmarks.runs import FETCHING, PER_EVENT, RAREST, new_run, read_plainly
from benchmarks.samples import make_sample
from services.monitoring import peak_memory_bytes
from services.workers import Workers

EVENTS = 4_000_000
FILES = 8
WORKERS = (1, 2)


def read_all(paths: Sequence[Path], workers: Workers) -> None:
    """Read the files with uproot alone, one at a time in each worker."""
    for outcome in workers.map(partial(read_plainly), [[path] for path in paths]):
        assert outcome.died is None


def run_all(
    paths: Sequence[Path], folder: Path, n_events: int, workers: Workers
) -> tuple[float, int]:
    """Return what the stages take that cost by events: seconds, and the peak memory of a worker.

    Each file is a chunk.
    """
    run = new_run(paths, folder, n_events // RAREST, chunk_input_bytes=1)
    run.seconds("wall", (FETCHING,))
    seconds = sum(run.seconds("wall", PER_EVENT, workers).values())
    return seconds, max(run.reports[name].peak_memory_bytes for name in PER_EVENT)


def measure(setting: Setting) -> Result:
    """Return how many times faster two workers are; the workers are started before the clock.

    Seconds are always those on the wall: that is what more workers are for.
    """
    n_events = setting.size(EVENTS)
    paths = make_sample(setting.samples, n_events, FILES)
    ours: dict[int, list[float]] = {n: [] for n in WORKERS}
    plain: dict[int, list[float]] = {n: [] for n in WORKERS}
    peaks: dict[int, list[int]] = {n: [] for n in WORKERS}
    for _ in range(setting.repeat):
        for n_workers in WORKERS:
            with Workers(n_workers) as workers:
                # The first task of a worker imports what it needs.
                read_all(paths[: 2 * n_workers], workers)
                plain[n_workers].append(seconds_of(partial(read_all, paths, workers), "wall"))
                seconds, peak = run_all(paths, setting.new_folder(), n_events, workers)
                ours[n_workers].append(seconds)
                peaks[n_workers].append(peak)
    one, two = WORKERS
    faster = divided(ours[one], ours[two])
    plainly = divided(plain[one], plain[two])
    rows = (
        Row("two workers against one", Spread.of(faster), "times faster", at_least(1.7)),
        Row("two workers against one, plain uproot", Spread.of(plainly), "times faster"),
        Row("two workers against one, ratio of both", Spread.of(divided(faster, plainly)), "times"),
    )
    details = {"seconds": ours, "seconds of uproot": plain, "peak bytes of a worker": peaks}
    return Result(rows, {**details, "peak bytes of this process": peak_memory_bytes()})

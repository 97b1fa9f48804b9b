"""Peak memory and cost per event of each stage, on one sample and on ten times as much.

Each stage runs in a process of its own, on one chunk, so that its peak is its own.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Setting, Spread, alone
from benchmarks.results import Result, Row, at_most
from benchmarks.runs import FETCHING, HISTOGRAMS, PER_EVENT, RAREST, new_run
from benchmarks.samples import make_sample

EVENTS = 400_000
TIMES = 10
FILES = 8
THRESHOLD_BYTES = 16_000_000
MEASURED = (*PER_EVENT, HISTOGRAMS)


@dataclass(frozen=True)
class OneSize:
    """What the stages of a run took."""

    n_events: int
    peak_bytes: dict[str, int]
    seconds: dict[str, float]

    @property
    def per_event(self) -> float:
        """Seconds per event, of what costs by events."""
        return sum(self.seconds[name] for name in PER_EVENT) / self.n_events


def make_stage(paths: list[Path], folder: Path, n_events: int, name: str, clock: str) -> float:
    """Make one stage of a run and return its seconds, the program's start apart."""
    run = new_run(paths, folder, n_events // RAREST, chunk_yield_threshold_bytes=THRESHOLD_BYTES)
    return run.seconds(clock, (name,))[name]  # type: ignore[arg-type]


def measure_size(setting: Setting, n_events: int) -> OneSize:
    """Return what the stages take of so many events."""
    paths = make_sample(setting.folder / "samples", n_events, FILES)
    folder = setting.folder / f"memory_{n_events}"
    peaks, seconds = {}, {}
    for name in (FETCHING, *MEASURED):
        made = alone(make_stage, paths, folder, n_events, name, setting.clock)
        peaks[name], seconds[name] = made.peak_bytes, made.result
    shutil.rmtree(folder)
    return OneSize(n_events, peaks, seconds)


def measure(setting: Setting) -> Result:
    """Return peaks, their growth, and the growth of the cost per event."""
    n_events = setting.size(EVENTS)
    repeat = max(1, setting.repeat // 2)
    pairs = [
        (measure_size(setting, n_events), measure_size(setting, TIMES * n_events))
        for _ in range(repeat)
    ]
    highest = Spread.of([max(large.peak_bytes.values()) / 1e6 for _, large in pairs])
    costs = Spread.of([large.per_event / small.per_event for small, large in pairs])
    sizes = f"{TIMES * n_events:,} against {n_events:,} events"
    rows = [
        Row(f"peak memory of a worker, {TIMES * n_events:,} events", highest, "MB", at_most(1000))
    ]
    rows += [
        Row(
            f"peak memory of {name}, {sizes}",
            Spread.of([large.peak_bytes[name] / small.peak_bytes[name] for small, large in pairs]),
            "times",
            at_most(1.1),
        )
        for name in MEASURED
    ]
    rows.append(Row(f"cost per event, {sizes}", costs, "times", at_most(1.1)))
    details = [
        {"events": of.n_events, "peak bytes": of.peak_bytes, "seconds": of.seconds}
        for pair in pairs
        for of in pair
    ]
    return Result(tuple(rows), {"threshold bytes": THRESHOLD_BYTES, "runs": details})

"""Peak memory and cost per event of each stage, on one sample and on ten times as much.

Each stage runs in a process of its own, on one chunk, so that its peak is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measuring import Clock, Setting, Spread, alone
from benchmarks.results import Result, Row, at_most
from benchmarks.runs import FETCHING, HISTOGRAMS, PER_EVENT, RAREST, Run, new_run
from benchmarks.samples import make_sample

EVENTS = 400_000
TIMES = 10
FILES = 4
# Small ones, as real files have: a basket is decompressed whole, whatever may be held.
EVENTS_PER_BASKET = 10_000
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


def make_stage(new: Callable[[], Run], name: str, clock: Clock) -> float:
    """Make one stage of a run and return its seconds, the program's start apart."""
    return new().seconds(clock, (name,))[name]


def measure_size(
    setting: Setting, paths: list[Path], n_events: int, threshold: int = THRESHOLD_BYTES
) -> OneSize:
    """Return what the stages take of so many events, holding so many bytes of them at a time."""
    folder = setting.new_folder()
    new = partial(new_run, paths, folder, n_events // RAREST, chunk_yield_threshold_bytes=threshold)
    peaks, seconds = {}, {}
    for name in (FETCHING, *MEASURED):
        made = alone(make_stage, new, name, setting.clock)
        peaks[name], seconds[name] = made.peak_bytes, made.result
    return OneSize(n_events, peaks, seconds)


def measure(setting: Setting) -> Result:
    """Return peaks, their growth, and the growth of the cost per event."""
    n_events = setting.size(EVENTS)
    repeat = max(1, setting.repeat // 2)
    samples = {
        n: make_sample(setting.samples, n, FILES, EVENTS_PER_BASKET)
        for n in (n_events, TIMES * n_events)
    }
    pairs = [
        tuple(measure_size(setting, paths, n) for n, paths in samples.items())
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

"""How everything here is measured: clocks, repeats that take turns, and processes of their own."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from services.monitoring import peak_memory_bytes

Clock = Literal["wall", "processor"]


@dataclass(frozen=True)
class Setting:
    """What the command line asks of all benchmarks."""

    samples: Path
    """Where samples are made, and found again."""
    runs: Path
    """Where runs are made. None is removed before the end: for a minute after many files were
    deleted, ext4 takes ten times as long to create others."""
    is_quick: bool = False
    repeat: int = 5
    clock: Clock = "wall"
    """`processor` counts the seconds that a process was at work: for a machine that is shared."""

    def size(self, full: int) -> int:
        """Return the size of a sample: a tenth where it shall be quick."""
        return full // 10 if self.is_quick else full

    def new_folder(self) -> Path:
        """Return the path of a folder, not made yet, for one run."""
        return self.runs / uuid.uuid4().hex


@dataclass(frozen=True)
class Spread:
    """What a measurement gave when it was repeated."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass
class Stopwatch:
    """Adds up the seconds that blocks of code take, children that were waited for included."""

    clock: Clock
    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the seconds of a `with` block."""
        started = self._now()
        yield
        self.seconds += self._now() - started

    def _now(self) -> float:
        if self.clock == "wall":
            return time.perf_counter()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime


def seconds_of(work: Callable[[], object], clock: Clock) -> float:
    """Return the seconds of one call; what earlier ones left behind is tidied up before."""
    gc.collect()
    watch = Stopwatch(clock)
    with watch.running():
        work()
    return watch.seconds


def taking_turns(
    works: Mapping[str, Callable[[], object]], repeat: int, clock: Clock
) -> dict[str, list[float]]:
    """Return the seconds of each of some works, so many times.

    They take turns, so that what disturbs the machine for a while disturbs all; each is done once
    before, which does not count.
    """
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            taken[name].append(seconds_of(work, clock))
    return taken


def divided(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratios, turn by turn."""
    return [one / other for one, other in zip(above, below, strict=True)]


@dataclass(frozen=True)
class Alone:
    """What a call in a process of its own gave, and what it took."""

    result: Any
    peak_bytes: int
    seconds: dict[Clock, float] = field(default_factory=dict)


def alone(call: Callable[..., Any], *arguments: object) -> Alone:
    """Make a call in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(_measured, call, arguments).result()


def _measured(call: Callable[..., Any], arguments: tuple[object, ...]) -> Alone:
    wall, processor = Stopwatch("wall"), Stopwatch("processor")
    with wall.running(), processor.running():
        result = call(*arguments)
    seconds: dict[Clock, float] = {"wall": wall.seconds, "processor": processor.seconds}
    return Alone(result, peak_memory_bytes(), seconds)

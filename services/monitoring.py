"""What a stage shows and measures while it works: how far it is, and memory."""

from __future__ import annotations

import logging
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TextIO

from services.closing import short
from services.terminal import is_terminal

log = logging.getLogger(__name__)

# ru_maxrss is in kilobytes, but for macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
# Seconds between two lines in the log, and between two looks of the bar.
_TELL_EVERY = 30.0
_DRAW_EVERY = 0.1

# How much there is to do, by unit, what matters most first; None where nobody knows.
Planned = Mapping[str, int | None]


class Progress:
    """How far a stage is: a bar on a terminal, and now and then a line in the log.

    Pieces of work have keys. Nothing here runs by itself: what is heard of the work drives it.
    """

    def __init__(
        self,
        stage: str,
        planned: Mapping[str, Planned],
        *,
        show: bool,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._planned = planned
        units = dict.fromkeys(unit for of_key in planned.values() for unit in of_key)
        self._totals = {unit: _total(planned, unit) for unit in units}
        self._base = next((unit for unit in units if self._totals[unit]), None)
        """The unit by which time is told: the first of which it is known how much there is."""
        self._finished: Counter[str] = Counter()
        self._heard: dict[str, Counter[str]] = {}
        self._clock = clock
        self._started = self._told_at = self._drawn_at = clock()
        stream = stream or sys.stderr
        self._bar = _bar(stream, self._totals.get(self._base or "")) if show else None
        # Beside a bar, or where nothing is to be shown, the lines are for the log file alone.
        self._level = logging.INFO if show and self._bar is None else logging.DEBUG
        self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def hear(self, key: str | None, counts: Mapping[str, int]) -> None:
        """Count what has been done of a piece of work; without a key, only time has gone by."""
        if key is not None:
            self._heard.setdefault(key, Counter()).update(counts)
        self._show()

    def forget(self, key: str) -> None:
        """Count nothing of a piece of work: it is done again."""
        self._heard.pop(key, None)

    def finish(self, key: str) -> None:
        """Count a piece of work as done: as was planned, or as was heard where nobody knew."""
        heard = self._heard.pop(key, Counter())
        for unit, planned in self._planned[key].items():
            self._finished[unit] += heard[unit] if planned is None else planned
        self._show()

    def __str__(self) -> str:
        """Return for example `2M of 3M events, 4 of 7 files, 1.2M events/s, 00:08 left`."""
        from tqdm import tqdm

        elapsed = self._clock() - self._started
        parts = []
        for unit, total in self._totals.items():
            done = self._done(unit)
            of = f" of {short(total)}" if total else ""
            if done or of:
                parts.append(f"{short(done)}{of} {unit}")
        main = next(iter(self._totals), "")
        if elapsed > 0 and self._done(main):
            parts.append(f"{short(self._done(main) / elapsed)} {main}/s")
        if self._base and 0 < self._fraction < 1:
            left = elapsed * (1 / self._fraction - 1)
            parts.append(f"{tqdm.format_interval(left)} left")
        return ", ".join(parts)

    @property
    def _fraction(self) -> float:
        total = self._totals[self._base] if self._base else None
        return min(1.0, self._done(self._base or "") / total) if total else 0.0

    def _done(self, unit: str) -> int:
        return self._finished[unit] + sum(heard[unit] for heard in self._heard.values())

    def _show(self) -> None:
        now = self._clock()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            log.log(self._level, "%s: %.0f %%: %s", self._stage, 100 * self._fraction, self)
        if now - self._drawn_at >= _DRAW_EVERY:
            self._drawn_at = now
            self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            return
        scale = "{percentage:3.0f}% |{bar}| " if self._base else ""
        self._bar.bar_format = f"{self._stage} {scale}{self}"
        self._bar.n = self._done(self._base or "")
        self._bar.refresh()


def _total(planned: Mapping[str, Planned], unit: str) -> int | None:
    known = [of_key.get(unit) for of_key in planned.values()]
    return None if None in known else sum(n for n in known if n is not None)


def _bar(stream: TextIO, total: int | None) -> Any:
    """Return a bar; None where a line cannot be written over."""
    if not is_terminal(stream):
        return None
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        # Otherwise a thread looks after all bars.
        monitor_interval = 0

    # With a delay it is first drawn when there is something to say.
    return Bar(total=total, file=stream, leave=False, dynamic_ncols=True, delay=1e-9)


_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    # Where the system tells: what getrusage says begins with the memory of the process that
    # started this one.
    with suppress(OSError):
        if found := _PEAK.search(_STATUS.read_text(encoding="ascii", errors="replace")):
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

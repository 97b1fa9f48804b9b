"""Where the seconds of each stage go: which of our modules is at work, looked at many times.

What a library does counts for the module that called it.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from benchmarks.measuring import Setting
from benchmarks.results import Result
from benchmarks.runs import FETCHING, HISTOGRAMS, PER_EVENT, RAREST, new_run, read_plainly
from benchmarks.samples import make_sample

EVENTS = 400_000
EVERY_SECONDS = 0.002
CHECKOUT = Path(__file__).resolve().parents[1]
OURS = tuple(str(CHECKOUT / name) for name in ("services", "schemas", "benchmarks"))


def sampled(call: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of the processor that a call takes, by module."""
    found: dict[str, float] = {}
    last = time.process_time()

    def look(_signal: int, frame: FrameType | None) -> None:
        nonlocal last
        # Python looks up only between its own steps: a long one of a library counts as a whole.
        now = time.process_time()
        module = _our_module(frame)
        found[module] = found.get(module, 0.0) + now - last
        last = now

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return found


def _our_module(frame: FrameType | None) -> str:
    """Return the innermost module of ours that waits for what is done, as `storage.arrays`."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            parts = Path(file).relative_to(CHECKOUT).with_suffix("").parts
            return ".".join(parts[1:] if parts[0] == "services" else parts)
        frame = frame.f_back
    return "other"


def measure(setting: Setting) -> Result:
    """Return, in the details, the seconds by module of each stage and of uproot alone."""
    n_events = setting.size(EVENTS)
    paths = make_sample(setting.samples, n_events)
    total: dict[str, Counter[str]] = {}

    def add(what: str, call: Callable[[], object]) -> None:
        total.setdefault(what, Counter()).update(sampled(call))

    read_plainly(paths)
    for _ in range(setting.repeat):
        run = new_run(paths, setting.new_folder(), n_events // RAREST)
        run.seconds(setting.clock, (FETCHING,))
        add("plain uproot", lambda: read_plainly(paths))
        for stage in (*PER_EVENT, HISTOGRAMS):
            add(stage, lambda stage=stage, run=run: run.seconds(setting.clock, (stage,)))
    mean = {
        what: {module: seconds / setting.repeat for module, seconds in by_module.most_common()}
        for what, by_module in total.items()
    }
    return Result((), {"seconds": mean})

"""SIGTERM, which schedulers send when a job's time is over: the program ends, whatever it does.

The signal becomes an exception, so that what is at work cleans up. Where that takes too long,
because the interpreter is in a library's long call, a thread ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TERMINATED = 143
# Seconds for an orderly end; schedulers and users expect one within five.
PATIENCE_SECONDS = 3.5


class TerminatedError(BaseException):
    """SIGTERM has come."""

    def __str__(self) -> str:
        return "stopped by SIGTERM, as schedulers send it at the end of a job's time"


_last_acts: list[Callable[[], None]] = []


@contextmanager
def last_act(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` called if the process has to be ended in the midst of the body.

    It is called in another thread, while the body is in a call that does not return.
    """
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


@contextmanager
def ending_on_sigterm(patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Raise TerminatedError in the body on SIGTERM; end the process if that does not end it.

    To be entered in the main thread.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGTERM, _raise)
    # The interpreter's own handler writes the signal's number here at once, the main thread or not.
    fd_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, patience_seconds), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        if signal.getsignal(signal.SIGTERM) is _raise:
            # Else the process is ending, and goes on ignoring any further one.
            signal.signal(signal.SIGTERM, before)
        # The thread sees the end of the pipe and closes its side.
        os.close(writing)


def _raise(_signal: int, _frame: object) -> None:
    # Once is enough: a second one must not cut off the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise TerminatedError


def _watch(reading: int, patience_seconds: float) -> None:
    while number := os.read(reading, 1):
        if number[0] == signal.SIGTERM:
            time.sleep(patience_seconds)
            for act in reversed(_last_acts):
                # Nothing is left to tell of its failure to.
                with suppress(Exception):
                    act()
            os._exit(TERMINATED)
    os.close(reading)

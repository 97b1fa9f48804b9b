"""SIGTERM ends the process soon: in order where that is possible, and else all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
# What is at work when the signal comes. The key takes minutes to derive, in one call of a library.
LONG_CALL = "hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)"
WAIT = "threading.Event().wait(300)"
SLEEP = "time.sleep(300)"
SWALLOWED = "swallow()"
CODE = """
import hashlib, pathlib, sys, threading, time
from services.termination import TerminatedError, ending_on_sigterm, last_act

def swallow():
    for _ in range(300):
        try:
            time.sleep(1)
        except BaseException:
            pass

try:
    with ending_on_sigterm(1.0), last_act(lambda: pathlib.Path(sys.argv[1]).write_text("ended")):
        print("ready", flush=True)
        WORK
except TerminatedError:
    print("in order", flush=True)
    sys.exit(143)
"""


def ended(work: str, folder: Path, n_signals: int = 1) -> tuple[int, str, float]:
    """Return exit code, output and seconds of a process that gets SIGTERM while it works."""
    command = [sys.executable, "-c", CODE.replace("WORK", work), str(folder / "last")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        time.sleep(0.2)
        started = time.monotonic()
        for _ in range(n_signals):
            running.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        output, _ = running.communicate(timeout=60)
        return running.returncode, output, time.monotonic() - started


@pytest.mark.parametrize("work", [WAIT, SLEEP], ids=["wait", "sleep"])
@pytest.mark.parametrize("n_signals", [1, 3])
def test_a_wait_is_ended_in_order(work: str, n_signals: int, tmp_path: Path) -> None:
    code, output, _ = ended(work, tmp_path, n_signals)
    assert (code, output) == (143, "in order\n")
    assert not (tmp_path / "last").exists()


@pytest.mark.parametrize("work", [LONG_CALL, SWALLOWED], ids=["long call", "swallowed"])
def test_what_does_not_end_is_ended_after_a_last_act(work: str, tmp_path: Path) -> None:
    code, output, seconds = ended(work, tmp_path)
    assert (code, output) == (143, "")
    assert (tmp_path / "last").read_text() == "ended"
    assert 1.0 <= seconds < 5.0


def test_nothing_happens_to_a_process_that_ends_before(tmp_path: Path) -> None:
    code = CODE.replace("WORK", "pass")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "last")],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ready\n")

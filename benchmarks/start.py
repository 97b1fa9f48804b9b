"""How long the command line takes until it has said something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import Setting, Spread, taking_turns
from benchmarks.results import Result, Row, at_most

CHECKOUT = Path(__file__).resolve().parents[1]
MOST_SECONDS = {"--help": 0.5, "--dry-run": 1.5}


def call(*arguments: str) -> None:
    """Start Python with these arguments, and wait until it has ended."""
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True)


def measure(setting: Setting) -> Result:
    """Return the seconds of each, and of Python alone."""
    works = {option: lambda option=option: call("main.py", option) for option in MOST_SECONDS}
    works["python"] = lambda: call("-c", "pass")
    taken = taking_turns(works, setting.repeat, setting.clock)
    rows = tuple(
        Row(f"python main.py {option}", Spread.of(taken[option]), "s", at_most(most))
        for option, most in MOST_SECONDS.items()
    )
    return Result(rows, {"seconds": taken})

"""Ctrl-C ends everything at once, wherever the workers are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
MOST_SECONDS = 5.0
CONFIG = {
    "parsing_task_config": {
        "release_years": ["demo"],
        "demo_events": 60_000,
        "chunk_input_bytes": 1,
        "parallel_processes": 2,
    },
    "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 2},
}


def still_there(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that live; in a container nobody may ask an orphan how it ended."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("folder", ["parsed_data", "im_arrays"])
def test_ctrl_c_stops_busy_workers_promptly(tmp_path: Path, folder: str) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with subprocess.Popen(
        [sys.executable, CHECKOUT / "main.py", "--config=config.yaml", "--run-dir=run"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        deadline = time.monotonic() + 60
        # Something half-written: a worker is in the midst of a chunk.
        while not list((tmp_path / "run" / folder).glob("*.tmp-*")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 2
        interrupted = time.monotonic()
        # As the terminal does it: the whole group is told.
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    while still_there(children) and time.monotonic() < interrupted + MOST_SECONDS:
        time.sleep(0.01)
    assert still_there(children) == []
    assert time.monotonic() < interrupted + MOST_SECONDS

"""submit.sh's chain on a real Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from main import main
from schemas.config import load
from services import run_directory
from services.run_directory import RunDirectory
from tests.chain.identity import assert_identical
from tests.slurm.real_slurm import running_slurm, why_not

CHECKOUT = Path(__file__).parents[2]
CHAIN = ("parse", "masses", "histograms", "merge")
CONFIG = {
    "run_metadata": {"barrier_wait_seconds": 1.0, "run_name": "demo"},
    "parsing_task_config": {
        "release_years": ["demo"],
        "demo_events": 4_000,
        "chunk_input_bytes": 60_000,
        "parallel_processes": 1,
    },
    "mass_calculation_task_config": {"parallel_processes": 1, "min_events_per_fs": 5},
}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_figures")]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm here: {reason}")
    with running_slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def work(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("SCHEDULER", "slurm")
    monkeypatch.setenv("JOB_ENVIRONMENT", "none")
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.chdir(tmp_path)
    for name, value in (("CPUS", "1"), ("MEMORY_GB", "1"), ("WALLTIME", "00:10:00")):
        monkeypatch.setenv(name, value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def submit(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(CHECKOUT / "submit.sh"), *arguments],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_of(done: subprocess.CompletedProcess[str]) -> tuple[Path, dict[str, str]]:
    """Return the run's directory and the ids of its jobs by name."""
    assert done.returncode == 0, done.stderr
    found = re.search(r"^run directory: (.*)$", done.stdout, re.MULTILINE)
    assert found
    ids = dict(line.split() for line in done.stdout.splitlines()[:-2])
    return Path(found[1]), ids


def wait_until_empty(seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout.strip():
            return
        time.sleep(0.5)
    listed = subprocess.run(["squeue"], capture_output=True, text=True, check=True).stdout
    pytest.fail(f"jobs do not end:\n{listed}")


def said(root: Path, name: str) -> str:
    return "\n".join(path.read_text() for path in sorted((root / "logs").glob(f"{name}.*.out")))


def one_job(folder: Path) -> RunDirectory:
    assert main(["--config", "config.yaml", "--run-dir", str(folder)]) == 0
    return paths_of(folder)


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def test_the_daemons_listen_on_the_loopback_device_only(slurm: Path) -> None:
    ports = {int(port) for port in re.findall(r"Port=([0-9]+)", slurm.read_text())}
    listening = {
        (entry.laddr.ip, entry.laddr.port)
        for entry in psutil.net_connections("inet")
        if entry.status == psutil.CONN_LISTEN and entry.laddr.port in ports
    }
    assert listening == {("127.0.0.1", port) for port in ports}


def test_a_chain_of_arrays_ends_with_the_merged_file(work: Path) -> None:
    root, ids = run_of(submit(NUM_JOBS=3))
    assert tuple(ids) == CHAIN
    wait_until_empty()
    assert said(root, "merge").startswith("complete\n"), said(root, "*")
    assert_identical(one_job(work / "single"), paths_of(root))
    assert len(list((root / "logs").glob("parse.*_?.out"))) == 3


def test_a_task_that_fails_does_not_let_anything_be_made_of_a_part(work: Path) -> None:
    # The third slice's place for its lock is taken, so that its job cannot begin.
    root = work / "run"
    arguments = ["--config", "config.yaml", "--run-dir", str(root), "--total-batch-jobs", "3"]
    assert main(["--fetch-only", *arguments]) == 0
    obstacle = root / "logs" / "slice_3_of_3.lock"
    obstacle.mkdir()
    run_of(submit(RUN_DIR=root, NUM_JOBS=3))
    wait_until_empty()
    assert "expected 3 slices of parsing, found 2; missing: 3" in said(root, "masses")
    assert not list(root.glob("im_arrays/slice_*"))
    assert not list(root.glob("histograms/*.root"))
    obstacle.rmdir()
    run_of(submit("--resume", str(root)))
    wait_until_empty()
    assert_identical(one_job(work / "single"), paths_of(root))
    table = submit("--status", str(root)).stdout.splitlines()
    assert table[-1].split() == ["merge", "1", "0", "0", "0"]


def test_a_partition_that_is_not_there_submits_nothing(work: Path) -> None:
    done = submit(NUM_JOBS=2, QUEUE="N")
    assert done.returncode == 1
    assert "invalid partition" in done.stderr
    assert subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout == b""
    assert work.exists()

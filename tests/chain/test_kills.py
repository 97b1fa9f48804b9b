"""Jobs killed or told to end anywhere: what is whole is kept, and the result is the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from main import main
from schemas.config import load
from schemas.inputs import Slice
from schemas.reports import SliceReport
from schemas.state import RunState, StageStatus, State
from schemas.summary import Exit, RunSummary
from services import run_directory
from services.run_directory import RunDirectory
from services.storage import reports
from tests.chain.completeness import CHUNK_REPORTS, classify, half_written
from tests.chain.identity import assert_identical

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
ARRAYS = ("parsing", "mass_calculating", "post_processing,histogram_creation")
N_JOBS = 3
KILLS_PER_STEP = 5
SECONDS_TO_END = 5.0


def configure(folder: Path, *, n_workers: int, wait_seconds: float = 0.0) -> Path:
    data: dict[str, dict[str, Any]] = {
        "run_metadata": {"barrier_wait_seconds": wait_seconds},
        "parsing_task_config": {
            "release_years": ["demo"],
            "demo_events": 24_000,
            "chunk_input_bytes": 1,
            "parallel_processes": n_workers,
        },
        "mass_calculation_task_config": {
            "parallel_processes": n_workers,
            "min_events_per_fs": 20,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def options_of(root: Path, index: int, tasks: str) -> list[str]:
    jobs = ["--batch-job-index", str(index), "--total-batch-jobs", str(N_JOBS)]
    return ["--run-dir", str(root), "--tasks", tasks, *jobs]


def fetch(config: Path, root: Path) -> None:
    arguments = ["--fetch-only", "--config", str(config), "--run-dir", str(root)]
    assert main([*arguments, "--total-batch-jobs", str(N_JOBS)]) == 0


WITHOUT_FIGURES = """\
import sys
from services import plots
from main import main
plots.run = lambda *_: ()
sys.exit(main())
"""


def start(arguments: list[str], *, draws: bool = False) -> subprocess.Popen[bytes]:
    """Start the program in a group of processes of its own."""
    program = [str(CHECKOUT / "main.py")] if draws else ["-c", WITHOUT_FIGURES]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=CHECKOUT,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )


def wait_until(is_so: Callable[[], bool], running: subprocess.Popen[bytes]) -> bool:
    """Return whether it came to be so before the process ended."""
    deadline = time.monotonic() + 120
    while running.poll() is None:
        if is_so():
            return True
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return False


def workers_of(program: psutil.Process) -> list[psutil.Process]:
    # Workers are forked by a server, which is the program's child. What ends meanwhile is none.
    with suppress(psutil.NoSuchProcess):
        return [worker for child in program.children() for worker in child.children()]
    return []


def start_and_freeze(arguments: list[str], root: Path, stage: str) -> subprocess.Popen[bytes]:
    """Return the program, halted with its workers in a stage that the arguments do again."""
    for _ in range(20):
        running = start(arguments)
        if freeze_in(stage, root, running):
            return running
        assert running.wait(timeout=120) == 0
    pytest.fail("it is never so for long enough to be seen")


def freeze_in(stage: str, root: Path, running: subprocess.Popen[bytes]) -> bool:
    """Halt the program with its workers when it is in a stage; return whether it still is."""
    program = psutil.Process(running.pid)

    def is_there() -> bool:
        return is_at(root, Slice(), stage) and bool(workers_of(program))

    if not wait_until(is_there, running):
        return False
    os.killpg(running.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    # Between the look and the signal the stage may have ended.
    if is_there():
        return True
    os.killpg(running.pid, signal.SIGCONT)
    return False


@cache
def state_file_of(root: Path, part: Slice) -> Path:
    """Return where the state is: reading the configuration takes longer than some stages."""
    return paths_of(root).state_file(part)


def state_of(root: Path, part: Slice) -> RunState | None:
    path = state_file_of(root, part)
    return reports.read(path, RunState) if path.exists() else None


def is_at(root: Path, part: Slice, stage: str) -> bool:
    state = state_of(root, part)
    return bool(state) and state.stages[stage].status is StageStatus.RUNNING


# SIGKILL


def kill_at_some_moment(
    arguments: list[str], state: Path, seconds: float, rng: random.Random
) -> bool:
    """Kill a job so many seconds at most after its first sign; return whether it was alive."""
    before = state.stat().st_mtime_ns if state.exists() else 0
    running = start(arguments)
    try:
        began = wait_until(lambda: state.exists() and state.stat().st_mtime_ns != before, running)
        if began:
            time.sleep(rng.uniform(0.0, seconds))
        return running.poll() is None
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def made_before(root: Path) -> dict[str, set[str]]:
    """Return which chunks have their report, per folder."""
    return {
        folder: {path.stem for path in (root / folder).glob("parsed_*chunk*.json")}
        for folder in CHUNK_REPORTS
    }


@pytest.mark.slow
def test_twenty_kills_of_jobs_and_of_the_merge_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    calm = tmp_path / "undisturbed" / "run"
    fetch(configure(tmp_path / "undisturbed", n_workers=1), calm)
    seconds = []
    for tasks in ARRAYS:
        began = time.monotonic()
        for index in range(1, N_JOBS + 1):
            assert main(options_of(calm, index, tasks)) == 0
        seconds.append((time.monotonic() - began) / N_JOBS)
    began = time.monotonic()
    assert main(["--merge-only", "--run-dir", str(calm)]) == 0
    seconds.append(time.monotonic() - began)

    rng = random.Random(5)
    root = tmp_path / "run"
    fetch(configure(tmp_path, n_workers=2), root)
    n_kills = 0
    for tasks, of_job in zip(ARRAYS, seconds, strict=False):
        n_kills += kill_jobs(root, tasks, of_job, rng)
        before = made_before(root)
        # The last job is left to the merge.
        for index in rng.sample(range(1, N_JOBS + 1), N_JOBS):
            if tasks != ARRAYS[-1] or index != N_JOBS:
                assert main(options_of(root, index, tasks)) == 0
                assert_kept(root, Slice(index, N_JOBS), tasks, before)
    merging = ["--merge-only", "--run-dir", str(root)]
    for _ in range(KILLS_PER_STEP):
        # Besides the merge itself, the last job's part and the figures are at stake.
        n_kills += kill_at_some_moment(
            merging, paths_of(root).state_file(Slice()), 2 * seconds[-1], rng
        )
        classify(root)
    assert main(merging) == 0
    assert n_kills >= 4 * KILLS_PER_STEP - 2
    assert half_written(root) == []
    assert classify(root)["temporary"] == 0
    assert_identical(paths_of(calm), paths_of(root))
    counted = sorted(path.name for path in paths_of(calm).histograms.glob("batch_*.npz"))
    assert len(counted) == N_JOBS
    for name in counted:
        one, other = (paths_of(run).histograms / name for run in (calm, root))
        assert one.read_bytes() == other.read_bytes(), name


def kill_jobs(root: Path, tasks: str, seconds: float, rng: random.Random) -> int:
    """Kill jobs of one array at seeded moments, and look at what is there; return how many."""
    n_kills = 0
    for attempt in range(4 * KILLS_PER_STEP):
        index = rng.randint(1, N_JOBS)
        part = Slice(index, N_JOBS)
        arguments = options_of(root, index, tasks)
        folder = paths_of(root).histograms if "," in tasks else root / FOLDERS[tasks]
        if run_directory.slice_report(folder, part).exists():
            # It was faster than the kill: there shall be work for the next one.
            arguments += ["--redo", tasks]
        n_kills += kill_at_some_moment(arguments, paths_of(root).state_file(part), seconds, rng)
        classify(root)
        if n_kills == KILLS_PER_STEP:
            break
        assert attempt < 4 * KILLS_PER_STEP - 1
    return n_kills


FOLDERS = {
    "parsing": "parsed_data",
    "mass_calculating": "im_arrays",
    "post_processing": "im_arrays_processed",
}


def assert_kept(root: Path, part: Slice, tasks: str, before: dict[str, set[str]]) -> None:
    """Assert that a job has made nothing again that was whole before it started."""
    for task in tasks.split(","):
        if task in FOLDERS:
            report = reports.read(
                run_directory.slice_report(root / FOLDERS[task], part), SliceReport
            )
            assert report.kept == len(before[FOLDERS[task]] & {*report.chunks})


# SIGTERM


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of one job with two workers; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    config = configure(folder, n_workers=2)
    assert main(["--config", str(config), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


def terminate(running: subprocess.Popen[bytes], *, everyone: bool = False) -> None:
    """Send SIGTERM, and assert that the process ends in time with the exit code of that.

    Its workers must end too. Processes that are halted go on with the signal.
    """
    family = psutil.Process(running.pid).children(recursive=True)
    if everyone:
        os.killpg(running.pid, signal.SIGTERM)
    else:
        running.terminate()
    sent = time.monotonic()
    os.killpg(running.pid, signal.SIGCONT)
    assert running.wait(timeout=60) == 143
    assert time.monotonic() - sent < SECONDS_TO_END
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_END)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    ("stage", "everyone"),
    [
        pytest.param("mass_calculating", False, id="masses"),
        pytest.param("parsing", False, id="parsing", marks=pytest.mark.slow),
        pytest.param("parsing", True, id="parsing, all processes", marks=pytest.mark.slow),
        pytest.param("post_processing", False, id="post-processing", marks=pytest.mark.slow),
        pytest.param("histogram_creation", False, id="histograms", marks=pytest.mark.slow),
    ],
)
def test_sigterm_ends_a_run_with_its_workers_in_time(
    finished: Path, tmp_path: Path, stage: str, everyone: bool
) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    redoing = ["--run-dir", str(root), "--redo", stage]
    running = start_and_freeze(redoing, root, stage)
    terminate(running, everyone=everyone)
    state = state_of(root, Slice())
    assert state is not None
    assert (state.state, state.stages[stage].status) == (State.FAILED, StageStatus.FAILED)
    summary = reports.read(paths_of(root).summary_file(Slice()), RunSummary)
    assert summary.exit is Exit.STOPPED
    assert "SIGTERM" in summary.reason
    assert not paths_of(root).lock_file(Slice()).exists()
    classify(root)
    assert main(["--run-dir", str(root)]) == 0
    assert half_written(root) == []
    assert_identical(paths_of(finished), paths_of(root))


@pytest.mark.slow
def test_sigterm_ends_the_drawing_of_figures_in_time(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    running = start(["--run-dir", str(root)], draws=True)
    assert wait_until(lambda: stands_at(root, State.DRAWING), running)
    assert wait_until(lambda: any((root / "plots").glob("*.png")), running)
    terminate(running)
    assert stands_at(root, State.FAILED)
    assert reports.read(paths_of(root).summary_file(Slice()), RunSummary).exit is Exit.STOPPED
    classify(root)
    assert main(["--run-dir", str(root)]) == 0
    assert half_written(root) == []


def stands_at(root: Path, expected: State) -> bool:
    state = state_of(root, Slice())
    return state is not None and state.state is expected


# A worker that the system kills


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("parsing", marks=pytest.mark.slow),
        pytest.param("mass_calculating", marks=pytest.mark.slow),
        pytest.param("post_processing", marks=pytest.mark.slow),
        "histogram_creation",
    ],
)
def test_a_killed_worker_is_named_with_its_chunk_which_is_tried_again(
    finished: Path, tmp_path: Path, stage: str
) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    running = start(["--run-dir", str(root), "--tasks", stage, "--redo", stage])
    program = psutil.Process(running.pid)
    workers: list[psutil.Process] = []

    def works() -> bool:
        workers[:] = workers_of(program)
        return bool(workers)

    assert wait_until(works, running)
    workers[0].kill()
    assert running.wait(timeout=120) == 0
    said = paths_of(root).log_file(Slice()).read_text()
    assert re.search(
        rf"ERROR .*{stage}: parsed_demo_chunk\d.*: the worker process was killed", said
    )
    assert_identical(paths_of(finished), paths_of(root))


def test_a_job_that_waits_is_named_to_a_second_one_and_ends_on_sigterm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    fetch(configure(tmp_path, n_workers=1, wait_seconds=600.0), root)
    arguments = options_of(root, 2, "mass_calculating")
    running = start(arguments)
    assert wait_until(lambda: is_at(root, Slice(2, N_JOBS), "mass_calculating"), running)
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert f"process {running.pid} on " in told
    assert "is working on this part of the run" in told
    terminate(running)
    state = state_of(root, Slice(2, N_JOBS))
    assert state is not None
    assert state.state is State.FAILED

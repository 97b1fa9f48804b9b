"""One job or a hundred, in any order, killed and started again: the same histograms."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml

from main import main
from schemas.config import TASK_NAMES, load
from schemas.inputs import Sample, Slice
from schemas.state import RunState, StageStatus
from schemas.statistics import Statistics
from services import run_directory
from services.run_directory import RunDirectory
from services.storage import reports
from tests.chain.identity import assert_identical
from tests.factory import write_nanoaod

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
ARRAYS = ("parsing", "mass_calculating", "post_processing,histogram_creation")
# The demo release is eight files of about 160 kB with so many events.
DEMO: dict[str, dict[str, Any]] = {
    "run_metadata": {"barrier_wait_seconds": 0.0},
    "parsing_task_config": {
        "release_years": ["demo"],
        "demo_events": 16_000,
        "chunk_input_bytes": 300_000,
        "parallel_processes": 1,
        "show_progress_bar": False,
    },
    "mass_calculation_task_config": {"parallel_processes": 1, "min_events_per_fs": 10},
    "histogram_creation_task_config": {"bin_width_gev": [10.0, 5.0], "also_save_unprocessed": True},
}

OTHER_PARSING = {"parsing_task_config": {"keep_partial_files": True}}
OTHER_MASSES = {"mass_calculation_task_config": {"min_events_per_fs": 15}}
OTHER_PLAN = {"post_processing_task_config": {"remove_turn_on": False}}


@pytest.fixture(autouse=True)
def without_hadd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has ROOT makes no difference to the tests."""
    path = [d for d in os.environ["PATH"].split(os.pathsep) if not (Path(d) / "hadd").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(path))


def configure(path: Path, **sections: dict[str, Any]) -> Path:
    data = {key: DEMO.get(key, {}) | sections.get(key, {}) for key in {*DEMO, *sections}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return path


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def job(root: Path, index: int, total: int, *more: str) -> int:
    of_slice = ["--batch-job-index", str(index), "--total-batch-jobs", str(total)]
    return main(["--run-dir", str(root), *of_slice, *more])


def fetch(config: Path, root: Path, total: int) -> None:
    arguments = ["--fetch-only", "--config", str(config), "--run-dir", str(root)]
    assert main([*arguments, "--total-batch-jobs", str(total)]) == 0


def merge(root: Path) -> int:
    return main(["--merge-only", "--run-dir", str(root)])


def run_arrays(root: Path, total: int, order: Callable[[list[int]], None] = list.reverse) -> None:
    """Run a job per slice and barrier, as submit.sh submits them."""
    for tasks in ARRAYS:
        indices = list(range(1, total + 1))
        order(indices)
        for index in indices:
            assert job(root, index, total, "--tasks", tasks) == 0


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a finished run of one job."""
    root = tmp_path_factory.mktemp("single")
    config = configure(root / "config.yaml")
    arguments = ["--config", str(config), "--run-dir", str(root / "run")]
    assert main(arguments) == 0
    return paths_of(root / "run")


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a finished run of three jobs; not to be changed."""
    root = tmp_path_factory.mktemp("merged")
    fetch(configure(root / "config.yaml"), root / "run", 3)
    run_arrays(root / "run", 3)
    assert merge(root / "run") == 0
    return paths_of(root / "run")


@pytest.fixture
def copied(merged: RunDirectory, tmp_path: Path) -> RunDirectory:
    """Return a copy of the finished run of three jobs, to do harm to."""
    root = tmp_path / "run"
    subprocess.run(["cp", "-a", str(merged.root), str(root)], check=True)
    return paths_of(root)


def test_three_jobs_give_the_histograms_of_one(single: RunDirectory, merged: RunDirectory) -> None:
    assert_identical(single, merged)


@pytest.mark.parametrize(
    ("total", "chunk_input_bytes"),
    [
        pytest.param(7, 300_000, id="seven jobs", marks=pytest.mark.slow),
        pytest.param(3, 30_000, id="chunks ten times smaller"),
        pytest.param(11, 300_000, id="more jobs than chunks"),
    ],
)
def test_the_result_does_not_depend_on_jobs_and_chunks(
    single: RunDirectory, tmp_path: Path, total: int, chunk_input_bytes: int
) -> None:
    parsing = {"chunk_input_bytes": chunk_input_bytes}
    fetch(configure(tmp_path / "config.yaml", parsing_task_config=parsing), tmp_path / "run", total)
    run_arrays(tmp_path / "run", total)
    assert merge(tmp_path / "run") == 0
    assert_identical(single, paths_of(tmp_path / "run"))


def test_plain_jobs_in_any_order_and_one_merge(single: RunDirectory, tmp_path: Path) -> None:
    root, config = tmp_path / "run", configure(tmp_path / "config.yaml")
    for index in (2, 4, 1, 3):
        assert job(root, index, 4, "--config", str(config)) == 0
    assert merge(root) == 0
    assert_identical(single, paths_of(root))


def test_jobs_killed_half_way_and_a_merge_run_twice(single: RunDirectory, tmp_path: Path) -> None:
    root = tmp_path / "run"
    fetch(configure(tmp_path / "config.yaml"), root, 3)
    rng = random.Random(7)
    for tasks in ARRAYS:
        indices = [1, 2, 3]
        rng.shuffle(indices)
        if tasks != ARRAYS[2]:
            kill_when_at_work(root, indices[0], 3, tasks)
        for index in indices:
            assert job(root, index, 3, "--tasks", tasks) == 0
    for _ in range(2):
        assert merge(root) == 0
        assert_identical(single, paths_of(root))


def kill_when_at_work(root: Path, index: int, total: int, tasks: str) -> None:
    """Start a job, and kill it as soon as it is in the midst of a stage."""
    command = [sys.executable, CHECKOUT / "main.py", "--run-dir", root, "--tasks", tasks]
    slice_options = ["--batch-job-index", str(index), "--total-batch-jobs", str(total)]
    part = Slice(index, total)
    state = paths_of(root).state_file(part)
    before = state.read_bytes() if state.exists() else b""
    with subprocess.Popen([*command, *slice_options], start_new_session=True) as running:
        deadline = time.monotonic() + 60
        while not is_at_work(state, before) and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
    assert paths_of(root).lock_file(part).exists()


def is_at_work(state: Path, before: bytes) -> bool:
    if not state.exists() or state.read_bytes() == before:
        return False
    # Listing the files is over in a moment, and is no work of the slice's own.
    stages = reports.read(state, RunState).stages
    of_slice = [record for name, record in stages.items() if name != "fetching"]
    return any(record.status is StageStatus.RUNNING for record in of_slice)


def test_samples_are_merged_apart(tmp_path: Path) -> None:
    pair = [[(45.0, 0.0, 0.0), (45.0, 0.0, 3.14159265)]]
    for number, simulation in enumerate([False, True, True, False]):
        path = tmp_path / f"in{number}.root"
        write_nanoaod(path, electrons=pair * (number + 2), simulation=simulation)
    parsing = {
        "release_years": [],
        "local_files": {"cms-nanoaod": [str(tmp_path / "in*.root")]},
        "chunk_input_bytes": 1,
        "kinematic_cuts": {},
    }
    masses = {"min_events_per_fs": 1}
    config = configure(
        tmp_path / "config.yaml", parsing_task_config=parsing, mass_calculation_task_config=masses
    )
    assert main(["--config", str(config), "--run-dir", str(tmp_path / "single")]) == 0
    fetch(config, tmp_path / "run", 3)
    run_arrays(tmp_path / "run", 3)
    assert merge(tmp_path / "run") == 0
    assert_identical(paths_of(tmp_path / "single"), paths_of(tmp_path / "run"))
    assert paths_of(tmp_path / "run").histogram_file(Sample.SIMULATION).exists()


def test_arrays_of_batch_jobs_are_one_file_per_chunk(merged: RunDirectory) -> None:
    for folder in (merged.masses, merged.processed):
        assert not [path for path in folder.iterdir() if path.is_dir()]
        assert len(list(folder.glob("*chunk?.npz"))) == 4


# What is counted


def test_statistics_of_three_jobs_are_those_of_one(
    single: RunDirectory, merged: RunDirectory
) -> None:
    one, three = (
        reports.read(run.aggregated_statistics, Statistics).stages for run in (single, merged)
    )
    assert list(one) == list(three)
    for stage, mine in one.items():
        for name in ("taken", "made", "lost", "decided", "populations", "notes"):
            assert getattr(mine, name) == getattr(three[stage], name), (stage, name)
        assert mine.cut_flows == three[stage].cut_flows
        assert three[stage].slices == 3


def test_each_job_leaves_its_numbers(merged: RunDirectory) -> None:
    read = [
        reports.read(merged.statistics_file(Slice(index, 3)), Statistics) for index in (1, 2, 3)
    ]
    events = [one.stages["parsing"].taken["events"] for one in read]
    assert sum(events) == 16_000
    assert min(events) > 0
    assert all(list(one.stages)[-1] == "histogram_creation" for one in read)


# What is refused, and what waits


def test_a_job_sent_to_a_stage_whose_input_is_incomplete_fails_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(configure(tmp_path / "config.yaml"), tmp_path / "run", 3)
    assert job(tmp_path / "run", 2, 3, "--tasks", "parsing") == 0
    assert job(tmp_path / "run", 2, 3, "--tasks", "mass_calculating") == 1
    assert "expected 3 slices of parsing, found 1; missing: 1, 3" in capsys.readouterr().err
    assert not (tmp_path / "run" / "im_arrays").exists()


def test_a_job_without_tasks_ends_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path / "config.yaml")
    assert job(tmp_path / "run", 1, 2, "--config", str(config)) == 0
    assert "waiting: " in capsys.readouterr().out
    state = json.loads((tmp_path / "run" / "logs" / "state_batch1.json").read_text())
    assert state["state"] == "WAITING"


def test_another_number_of_jobs_is_refused(
    copied: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(copied.root, 1, 4) == 2
    assert "run_metadata.total_batch_jobs: 3 in the run, 4 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "tasks", "stale"),
    [
        (OTHER_PARSING, ARRAYS[1], "3 slices of parsing, found 3; made of other input"),
        (OTHER_MASSES, ARRAYS[2], "3 slices of mass_calculating, found 3; made of other input"),
        (OTHER_PARSING, ARRAYS[2], "3 slices of parsing, found 3; made of other input"),
        (OTHER_PLAN, "histogram_creation", "slice 1 of post_processing, made of this run's masses"),
    ],
    ids=["parsing", "masses", "two stages before", "post-processing"],
)
def test_reports_of_an_earlier_configuration_are_not_taken_for_complete(
    copied: RunDirectory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    tasks: str,
    stale: str,
) -> None:
    config = configure(tmp_path / "changed.yaml", **changed)
    assert job(copied.root, 1, 3, "--config", str(config), "--tasks", tasks) == 1
    assert f"expected {stale}" in capsys.readouterr().err


def test_merging_by_another_configuration_redoes_what_depends_on_it(
    copied: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"histogram_creation_task_config": {"bin_width_gev": [2.0]}}
    config = configure(tmp_path / "changed.yaml", **changed)
    assert main(["--merge-only", "--run-dir", str(copied.root), "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "histogram_creation: 3 of 3 slices: 1, 2, 3" in out
    assert "mass_calculating: 3 of 3" not in out
    arguments = ["--config", str(config), "--run-dir", str(tmp_path / "one")]
    assert main(arguments) == 0
    assert_identical(paths_of(tmp_path / "one"), copied)


def test_the_merge_says_first_what_is_missing(
    copied: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run_directory.slice_report(copied.processed, Slice(2, 3)).unlink()
    assert merge(copied.root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["missing, and done here:", "post_processing: 1 of 3 slices: 2"]
    assert lines[2].startswith("stage")


def test_a_merge_of_what_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(tmp_path / "none") == 2
    assert "expected a run's directory, found none" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def untouched(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.histograms.glob("batch_*"))}


def test_the_merge_leaves_the_files_of_the_jobs_as_they_are(copied: RunDirectory) -> None:
    before = untouched(copied)
    assert merge(copied.root) == 0
    assert untouched(copied) == before
    assert len(before) == 6


@pytest.mark.parametrize("harm", ["configuration", "edges", "one count", "cut off"])
def test_a_file_that_is_not_what_a_job_left_is_refused_by_name(
    copied: RunDirectory, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    victim = copied.batch_counts(Slice(2, 3), Sample.DATA)
    with np.load(victim) as stored:
        content = dict(stored)
    if harm == "configuration":
        about = json.loads(bytes(content["about"])) | {"configuration_digest": "0" * 64}
        content["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    elif harm == "edges":
        content["edges_sha256"][1] = b"0" * 64
    elif harm == "one count":
        content["counts"][0] += 1
    np.savez(victim, **content)
    if harm == "cut off":
        victim.write_bytes(victim.read_bytes()[:-100])
    before = untouched(copied)
    result = copied.histogram_file(Sample.DATA).read_bytes()
    assert merge(copied.root) == 1
    assert str(victim) in capsys.readouterr().err
    assert untouched(copied) == before
    assert copied.histogram_file(Sample.DATA).read_bytes() == result
    victim.unlink()
    assert merge(copied.root) == 0


def test_a_slice_that_a_job_works_on_is_not_done_twice(
    copied: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run_directory.slice_report(copied.histograms, Slice(3, 3)).unlink()
    lock = copied.lock_file(Slice(3, 3))
    code = (
        "import sys, pathlib\n"
        "from services.storage.locks import only_writer\n"
        "with only_writer(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(lock)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert merge(copied.root) == 1
        assert "is working on this part of the run" in capsys.readouterr().err
        assert main(["--list-missing", "--run-dir", str(copied.root)]) == 1
        assert "a job of this run is still at work" in capsys.readouterr().err
        other.communicate()
    assert merge(copied.root) == 0


# hadd


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Make a stand-in for ROOT's hadd, which cannot be installed everywhere."""
    program = folder / "bin" / "hadd"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


HADD = """
import sys
import numpy as np
import uproot
from uproot.writing.identify import to_TAxis, to_TH1x
assert sys.argv[1] == "-f"
target, *parts = sys.argv[2:]
total = {}
for part in parts:
    with uproot.open(part) as file:
        for key, kind in file.classnames(cycle=False).items():
            if kind.startswith("TH1"):
                edges, contents = file[key].axis().edges(), file[key].values(flow=True)
                entries = file[key].member("fEntries")
                if key in total:
                    assert np.array_equal(total[key][0], edges)
                    contents, entries = contents + total[key][1], entries + total[key][2]
                total[key] = (edges, contents, entries)
with uproot.recreate(target) as file:
    for key, (edges, contents, entries) in total.items():
        CHANGE
        axis = to_TAxis("xaxis", "", len(edges) - 1, edges[0], edges[-1], fXbins=edges)
        file[key] = to_TH1x(None, "", contents, entries, 0.0, 0.0, 0.0, 0.0, None, axis)
"""


def test_hadd_is_asked_and_agrees(
    copied: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path, monkeypatch, HADD.replace("CHANGE", "pass"))
    assert main(["--merge-only", "--run-dir", str(copied.root)]) == 0
    assert "makes the same sums of 3 files" in (copied.logs / "pipeline.log").read_text()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("entries += 1", "with other entries"),
        ("contents[1] += 1", "with other contents"),
        ("if key.startswith('mass_j0j1_'): continue", "which it has not"),
    ],
)
def test_a_sum_that_hadd_does_not_confirm_does_not_stay(
    copied: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    found: str,
) -> None:
    put_on_path(tmp_path, monkeypatch, HADD.replace("CHANGE", change))
    before = untouched(copied)
    assert merge(copied.root) == 1
    assert found in capsys.readouterr().err
    assert not copied.histogram_file(Sample.DATA).exists()
    assert untouched(copied) == before


def test_a_hadd_that_fails_is_told(
    copied: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_on_path(tmp_path, monkeypatch, "import sys; sys.exit('no libCore')")
    assert merge(copied.root) == 1
    assert "it ended with exit code 1: no libCore" in capsys.readouterr().err


# Progress


def test_progress_tells_done_failed_and_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    fetch(configure(tmp_path / "config.yaml"), root, 3)
    assert job(root, 1, 3, "--tasks", "parsing") == 0
    kill_when_at_work(root, 2, 3, "parsing")
    assert job(root, 1, 3, "--tasks", "mass_calculating") == 1
    capsys.readouterr()
    assert main(["--status", "--run-dir", str(root)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:5] == ["parsing", "1", "0", "1", "1"]
    assert rows[3] == ["mass_calculating", "0", "0", "1", "2", "failed:", "1"]
    assert rows[-1] == ["merge", "0", "0", "0", "1"]
    assert main(["--list-missing", "--run-dir", str(root), "--tasks", "parsing"]) == 0
    assert capsys.readouterr().out == "3 parsing 2 3\n"


def test_a_finished_run_is_done_in_every_stage(
    merged: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--status", "--run-dir", str(merged.root)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1:] for row in rows] == [["3", "0", "0", "0"]] * 4 + [["1", "0", "0", "0"]]
    assert main(["--list-missing", "--run-dir", str(merged.root)]) == 0
    every = ",".join(TASK_NAMES)
    assert capsys.readouterr().out == f"3 {every}\n"


def test_a_merge_of_a_run_of_one_job_makes_its_statistics_again(
    single: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = reports.read(single.aggregated_statistics, Statistics)
    single.aggregated_statistics.unlink()
    assert merge(single.root) == 0
    assert capsys.readouterr().out.startswith("complete\n")
    assert reports.read(single.aggregated_statistics, Statistics) == before


def test_the_histograms_of_a_job_are_those_of_its_chunks(merged: RunDirectory) -> None:
    total = 0.0
    for index in (1, 2, 3):
        with uproot.open(merged.batch_histograms(Slice(index, 3), Sample.DATA)) as file:
            keys = file.keys(cycle=False)
            assert not [key for key in keys if key.startswith("ROI")]
            total += sum(file[key].member("fEntries") for key in keys if key.startswith("mass_"))
    with uproot.open(merged.histogram_file(Sample.DATA)) as file:
        keys = [key for key in file.keys(cycle=False) if key.startswith("mass_")]
        assert sum(file[key].member("fEntries") for key in keys) == total

"""`--redo` makes again what is done, and what hangs on it only where that came out different."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from main import main
from schemas.config import load
from schemas.inputs import Slice
from schemas.reports import SliceReport
from services import run_directory
from services.run_directory import RunDirectory
from services.storage import reports
from tests.chain.identity import assert_identical
from tests.factory import write_nanoaod

pytestmark = pytest.mark.usefixtures("without_figures")

PAIR = [[(45.0, 0.0, 0.0), (45.0, 0.0, 3.14159265)]]
FOLDERS = {
    "parsing": "parsed_data",
    "mass_calculating": "im_arrays",
    "post_processing": "im_arrays_processed",
}
CHECKOUT = Path(__file__).parents[2]


def write_inputs(folder: Path, n_files: int) -> dict[str, dict[str, object]]:
    for number in range(1, n_files + 1):
        write_nanoaod(folder / f"in{number}.root", electrons=PAIR * (number + 2))
    return {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(folder / "in*.root")]},
            "chunk_input_bytes": 1,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
    }


def configure(path: Path, data: dict[str, dict[str, object]]) -> Path:
    path.write_text(yaml.safe_dump(data))
    return path


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def copy_of(root: Path, folder: Path) -> Path:
    shutil.copytree(root, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def single_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of one job and two chunks; not to be changed."""
    folder = tmp_path_factory.mktemp("single")
    config = configure(folder / "config.yaml", write_inputs(folder, 2))
    assert main(["--config", str(config), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def merged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of two jobs and four chunks; not to be changed."""
    folder = tmp_path_factory.mktemp("merged")
    config = configure(folder / "config.yaml", write_inputs(folder, 4))
    root = str(folder / "run")
    fetch = ["--fetch-only", "--config", str(config), "--run-dir", root]
    assert main([*fetch, "--total-batch-jobs", "2"]) == 0
    assert main(["--merge-only", "--run-dir", root]) == 0
    return folder / "run"


def job(root: Path, index: int, *more: str) -> int:
    jobs = ["--batch-job-index", str(index), "--total-batch-jobs", "2"]
    return main(["--run-dir", str(root), *jobs, *more])


def made_at(root: Path, pattern: str = "parsed_*chunk?.json") -> dict[str, dict[str, int]]:
    """Return when each stage's chunk reports were written, by the name of the task."""
    return {
        task: {path.name: path.stat().st_mtime_ns for path in (root / folder).glob(pattern)}
        for task, folder in FOLDERS.items()
    }


def remade(before: dict[str, dict[str, int]], root: Path) -> dict[str, list[str]]:
    """Return the numbers of the chunks that were made again, by the name of the task."""
    return {
        task: sorted(
            name.removesuffix(".json")[-1]
            for name, at in of_task.items()
            if before[task][name] < at
        )
        for task, of_task in made_at(root).items()
    }


def kept(root: Path, part: Slice) -> list[int]:
    return [
        reports.read(run_directory.slice_report(root / folder, part), SliceReport).kept
        for folder in FOLDERS.values()
    ]


# A run of one job


@pytest.mark.parametrize(
    ("redo", "n_kept"),
    [
        ("parsing", [0, 2, 2]),
        ("mass_calculating", [2, 0, 2]),
        ("post_processing", [2, 2, 0]),
        ("histogram_creation", [2, 2, 2]),
        ("mass_calculating, parsing", [0, 0, 2]),
    ],
)
def test_what_is_named_is_made_again_and_what_hangs_on_it_is_kept_if_it_came_out_the_same(
    single_run: Path, tmp_path: Path, redo: str, n_kept: list[int]
) -> None:
    root = copy_of(single_run, tmp_path)
    assert main(["--run-dir", str(root), "--redo", redo]) == 0
    assert kept(root, Slice()) == n_kept
    assert_identical(paths_of(single_run), paths_of(root))


def test_what_hangs_on_a_stage_that_came_out_different_is_made_again(tmp_path: Path) -> None:
    data = write_inputs(tmp_path, 2)
    data["parsing_task_config"]["max_failed_file_fraction"] = 0.5
    config = configure(tmp_path / "config.yaml", data)
    root = tmp_path / "run"
    (tmp_path / "in2.root").write_bytes(b"this is no ROOT file yet")
    assert main(["--config", str(config), "--run-dir", str(root)]) == 0
    before = made_at(root)
    write_nanoaod(tmp_path / "in2.root", electrons=PAIR * 4)
    assert main(["--run-dir", str(root), "--redo", "parsing"]) == 0
    again = remade(before, root)
    assert again["parsing"] == ["1", "2"]
    assert again["mass_calculating"] == ["2"]


def test_a_redo_that_is_stopped_leaves_work_to_be_redone(single_run: Path, tmp_path: Path) -> None:
    root = copy_of(single_run, tmp_path)
    victim = next((root / "parsed_data").glob("*chunk2.root"))
    whole = victim.read_bytes()
    victim.unlink()
    # Without its events the second chunk of masses cannot be made.
    assert main(["--run-dir", str(root), "--tasks", TASKS, "--redo", "mass_calculating"]) == 1
    victim.write_bytes(whole)
    assert not (root / "im_arrays" / "slice_1_of_1.json").exists()
    assert main(["--run-dir", str(root), "--tasks", TASKS]) == 0
    report = reports.read(root / "im_arrays" / "slice_1_of_1.json", SliceReport)
    assert report.kept == 1
    assert_identical(paths_of(single_run), paths_of(root))


TASKS = "mass_calculating,post_processing,histogram_creation"


def test_what_a_stage_had_made_before_it_was_cut_off_is_made_again_too(
    single_run: Path, tmp_path: Path
) -> None:
    root = copy_of(single_run, tmp_path)
    for folder in FOLDERS.values():
        (root / folder / "slice_1_of_1.json").unlink()
    assert main(["--run-dir", str(root), "--redo", ",".join(FOLDERS)]) == 0
    assert kept(root, Slice()) == [0, 0, 0]


def test_a_damaged_report_does_not_keep_a_stage_from_being_redone(
    single_run: Path, tmp_path: Path
) -> None:
    root = copy_of(single_run, tmp_path)
    (root / "parsed_data" / "slice_1_of_1.json").write_text("{")
    assert main(["--run-dir", str(root), "--redo", "parsing"]) == 0
    assert kept(root, Slice())[0] == 0


def test_the_newest_unfinished_run_can_be_redone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_inputs(tmp_path, 2)
    configure(tmp_path / "config.yaml", data)
    assert main(["--tasks", "parsing"]) == 0
    (root,) = (tmp_path / "output").iterdir()
    state = root / "logs" / "state.json"
    state.write_text(state.read_text().replace("COMPLETED", "FAILED"))
    assert main(["--resume", "--redo", "parsing"]) == 0
    assert kept(root, Slice())[0] == 0


# Jobs and merge


def test_a_job_redoes_its_own_part_alone(merged_run: Path, tmp_path: Path) -> None:
    root = copy_of(merged_run, tmp_path)
    before = made_at(root)
    redo = ["--tasks", "mass_calculating", "--redo", "mass_calculating"]
    assert job(root, 2, *redo) == 0
    mine = reports.read(root / "im_arrays" / "slice_2_of_2.json", SliceReport)
    assert mine.kept == 0
    assert len(mine.chunks) == 2
    expected = sorted(chunk[-1] for chunk in mine.chunks)
    again = {"parsing": [], "mass_calculating": expected, "post_processing": []}
    assert remade(before, root) == again
    assert main(["--merge-only", "--run-dir", str(root)]) == 0
    assert remade(before, root) == again
    assert_identical(paths_of(merged_run), paths_of(root))


def test_a_merge_redoes_the_parts_of_all_jobs(
    merged_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(merged_run, tmp_path)
    before = made_at(root)
    assert main(["--merge-only", "--run-dir", str(root), "--redo", "post_processing"]) == 0
    every = ["1", "2", "3", "4"]
    assert remade(before, root) == {
        "parsing": [],
        "mass_calculating": [],
        "post_processing": every,
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["missing, and done here:", "post_processing: 2 of 2 slices: 1, 2"]
    assert_identical(paths_of(merged_run), paths_of(root))


def test_a_merge_does_not_redo_what_a_job_is_at(
    merged_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(merged_run, tmp_path)
    code = (
        "import sys, pathlib\n"
        "from services.storage.locks import only_writer\n"
        "with only_writer(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(paths_of(root).lock_file(Slice(1, 2)))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        before = made_at(root)
        assert main(["--merge-only", "--run-dir", str(root), "--redo", "parsing"]) == 1
        assert f"process {other.pid} on " in capsys.readouterr().err
        assert made_at(root) == before
        other.communicate()


# Folders elsewhere


def test_another_runs_output_that_is_read_is_left_alone(single_run: Path, tmp_path: Path) -> None:
    source = copy_of(single_run, tmp_path)
    data = {
        "tasks": {"do_parsing": False},
        "mass_calculation_task_config": {
            "input_dir": str(source / "parsed_data"),
            "min_events_per_fs": 1,
            "parallel_processes": 1,
        },
    }
    config = configure(tmp_path / "second.yaml", data)
    root = tmp_path / "second"
    assert main(["--config", str(config), "--run-dir", str(root)]) == 0
    theirs = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    before = made_at(root)
    assert main(["--run-dir", str(root), "--redo", "mass_calculating"]) == 0
    assert remade(before, root)["mass_calculating"] == ["1", "2"]
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == theirs


def test_reports_of_other_chunks_in_a_folder_elsewhere_are_left_alone(tmp_path: Path) -> None:
    data = write_inputs(tmp_path, 2)
    data["mass_calculation_task_config"]["output_dir"] = str(tmp_path / "shared")
    data["post_processing_task_config"] = {"input_dir": str(tmp_path / "shared")}
    config = configure(tmp_path / "config.yaml", data)
    root = tmp_path / "run"
    assert main(["--config", str(config), "--run-dir", str(root)]) == 0
    other = tmp_path / "shared" / "parsed_local_another_chunk1.json"
    other.write_text("of another run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").glob("*_chunk?.json")}
    assert main(["--run-dir", str(root), "--redo", "mass_calculating"]) == 0
    changed = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed == {*before} - {other}


# What is refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--redo", "mass"], "--redo makes stages of a run again; name it with --run-dir"),
        (["--run-dir", "RUN", "--redo", "masses"], "--redo: 'masses' is not a task"),
        (["--run-dir", "RUN", "--redo", ","], "post_processing, histogram_creation), found none"),
        (
            ["--run-dir", "RUN", "--tasks", "parsing", "--redo", "mass_calculating"],
            "(parsing), found mass_calculating, which is not among them",
        ),
        (["--run-dir", "ABSENT", "--redo", "parsing"], "expected a run's directory, found none"),
        (["--status", "--run-dir", "RUN", "--redo", "parsing"], "leaves no room for --redo"),
    ],
    ids=["no run", "no task", "nothing", "not done in this call", "absent run", "status"],
)
def test_a_redo_that_cannot_be_meant_is_refused_with_a_sentence(
    single_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    configure(tmp_path / "config.yaml", {"parsing_task_config": {"release_years": ["demo"]}})
    places = {"RUN": str(single_run), "ABSENT": str(tmp_path / "absent")}
    before = made_at(single_run)
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    assert expected in capsys.readouterr().err
    assert made_at(single_run) == before
    assert not (tmp_path / "absent").exists()

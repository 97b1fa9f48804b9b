"""Killed anywhere and started again, a run gives what an undisturbed one gives."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from main import main
from schemas.config import load
from schemas.inputs import Slice
from schemas.reports import SliceReport
from schemas.state import RunState, State
from services import pipeline, run_directory
from services.run_directory import RunDirectory
from services.storage import reports
from tests.chain.completeness import CHUNK_REPORTS, chunk_reports, classify, half_written
from tests.chain.identity import assert_identical
from tests.factory import write_nanoaod

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
PAIR = [[(45.0, 0.0, 0.0), (45.0, 0.0, 3.14159265)]]


def configure(path: Path, data: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return path


def start(config: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHECKOUT / "main.py"), "--run-dir", str(root)]
    if not (root / "config.yaml").exists():
        command += ["--config", str(config)]
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


DEMO = {
    "parsing_task_config": {
        "release_years": ["demo"],
        "demo_events": 30_000,
        "chunk_input_bytes": 1,
        "parallel_processes": 2,
    },
    "mass_calculation_task_config": {"parallel_processes": 2},
}


N_RUNS = 4
SECONDS_OF_DRAWING = 5.0


@pytest.mark.slow
def test_kills_in_every_stage_change_nothing(tmp_path: Path) -> None:
    config = configure(tmp_path / "config.yaml", DEMO)
    undisturbed = tmp_path / "undisturbed"
    assert main(["--config", str(config), "--run-dir", str(undisturbed)]) == 0
    state = reports.read(paths_of(undisturbed).state_file(Slice()), RunState)
    seconds = {
        stage.state: state.stages[stage.name].seconds or 0.0 for stage in pipeline.STAGES
    } | {State.DRAWING: SECONDS_OF_DRAWING}

    rng = random.Random(20)
    hit = []
    for number in range(N_RUNS):
        root = tmp_path / f"run{number}"
        for moment, at_most in seconds.items():
            before = written(root)
            # A stage that was over sooner than this time is killed at its beginning.
            for seconds_in in (rng.uniform(0.0, at_most), 0.0):
                hit.append(kill_at(config, root, moment, seconds_in))
                if hit[-1] is moment:
                    break
            classify(root)
            assert len(in_flight(root)) <= 2
            # What was whole is kept, so that only what was in flight is made again.
            assert before.items() <= written(root).items()
        done = chunk_reports(root)
        assert main(["--run-dir", str(root)]) == 0
        assert half_written(root) == []
        assert classify(root)["temporary"] == 0
        assert kept_chunks(root) == list(done.values())
        assert_identical(paths_of(undisturbed), paths_of(root))
    assert len([killed_in for killed_in in hit if killed_in]) >= 20
    assert {*hit} >= {*seconds}


def kill_at(config: Path, root: Path, moment: State, seconds: float) -> State | None:
    """Kill a run so long after it came to a state, and return the state in which that was."""
    state = root / "logs" / "state.json"
    of_earlier_start = state.stat().st_mtime_ns if state.exists() else None

    def is_there() -> bool:
        return state_at(state) is moment and state.stat().st_mtime_ns != of_earlier_start

    running = start(config, root)
    deadline = time.monotonic() + 120
    try:
        while running.poll() is None and not is_there():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(seconds)
        was_alive = running.poll() is None
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    return state_at(state) if was_alive else None


def state_at(path: Path) -> State | None:
    return reports.read(path, RunState).state if path.exists() else None


def written(root: Path) -> dict[Path, int]:
    """Return when the report of each chunk was written."""
    found = [
        path for folder in CHUNK_REPORTS for path in (root / folder).glob("parsed_*chunk*.json")
    ]
    return {path: path.stat().st_mtime_ns for path in found}


def in_flight(root: Path) -> set[str]:
    """Return the chunks that were being made when the run was killed."""
    names = {path.name for folder in CHUNK_REPORTS for path in (root / folder).glob("*.tmp-*")}
    return {name.partition(".")[0] for name in names if "_chunk" in name}


def test_a_second_start_keeps_every_chunk(tmp_path: Path) -> None:
    write_nanoaod(tmp_path / "a.root", electrons=PAIR * 3)
    write_nanoaod(tmp_path / "b.root", electrons=PAIR * 4)
    data = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]},
            "chunk_input_bytes": 1,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
    }
    config = configure(tmp_path / "config.yaml", data)
    root = tmp_path / "run"
    assert main(["--config", str(config), "--run-dir", str(root)]) == 0
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/parsed_*chunk?.json")}
    assert len(before) == 6
    assert main(["--run-dir", str(root)]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for folder in ("parsed_data", "im_arrays", "im_arrays_processed"):
        report = reports.read(root / folder / "slice_1_of_1.json", SliceReport)
        assert report.kept == 2


@pytest.fixture(scope="module")
def finished_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, dict[str, object]]]:
    tmp_path = tmp_path_factory.mktemp("finished")
    write_nanoaod(tmp_path / "a.root", electrons=PAIR * 3)
    write_nanoaod(tmp_path / "b.root", electrons=PAIR * 4)
    data: dict[str, dict[str, object]] = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]},
            "chunk_input_bytes": 1,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
    }
    config = configure(tmp_path / "config.yaml", data)
    assert main(["--config", str(config), "--run-dir", str(tmp_path / "run")]) == 0
    return tmp_path / "run", data


@pytest.fixture
def finished(
    finished_once: tuple[Path, dict[str, dict[str, object]]], tmp_path: Path
) -> tuple[Path, dict[str, dict[str, object]]]:
    """Return a finished run of two chunks, a copy to change, and its configuration."""
    root, data = finished_once
    shutil.copytree(root, tmp_path / "run")
    return tmp_path / "run", data


def kept_chunks(root: Path) -> list[int]:
    return [
        reports.read(root / folder / "slice_1_of_1.json", SliceReport).kept
        for folder in ("parsed_data", "im_arrays", "im_arrays_processed")
    ]


@pytest.mark.parametrize(
    ("section", "key", "value", "kept"),
    [
        ("histogram_creation_task_config", "bin_width_gev", 5.0, [2, 2, 2]),
        ("post_processing_task_config", "remove_turn_on", False, [2, 2, 0]),
        # The masses are made again but come out the same, so what follows is kept.
        ("mass_calculation_task_config", "max_particles_in_combination", 3, [2, 0, 2]),
        ("parsing_task_config", "kinematic_cuts", {"electrons": {"pt_min": 40.0}}, [0, 0, 2]),
        ("parsing_task_config", "show_progress_bar", False, [2, 2, 2]),
    ],
    ids=["bin width", "turn-on", "combinations", "cuts", "progress bar"],
)
def test_a_changed_key_redoes_what_depends_on_it_and_nothing_else(
    finished: tuple[Path, dict[str, dict[str, object]]],
    section: str,
    key: str,
    value: object,
    kept: list[int],
) -> None:
    root, data = finished
    changed = configure(
        root.parent / "changed.yaml", data | {section: data.get(section, {}) | {key: value}}
    )
    assert main(["--config", str(changed), "--run-dir", str(root)]) == 0
    assert kept_chunks(root) == kept


@pytest.mark.parametrize(
    "damage", ["parsed_data/*chunk2.root", "im_arrays/*chunk2/*/e0e1.npy"], ids=["events", "masses"]
)
def test_a_damaged_file_is_made_again(
    finished: tuple[Path, dict[str, dict[str, object]]], damage: str
) -> None:
    root, _ = finished
    (victim,) = root.glob(damage)
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-4] + b"\xff\xff\xff\xff")
    assert main(["--run-dir", str(root)]) == 0
    assert 1 in kept_chunks(root)
    if victim.suffix == ".npy":
        assert victim.read_bytes() == whole


def test_other_inputs_are_refused_for_an_existing_run(
    finished: tuple[Path, dict[str, dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, data = finished
    parsing = data["parsing_task_config"] | {"chunk_input_bytes": 10**9}
    changed = configure(root.parent / "changed.yaml", data | {"parsing_task_config": parsing})
    assert main(["--config", str(changed), "--run-dir", str(root)]) == 2
    assert "parsing_task_config.chunk_input_bytes: 1 in the run" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").touch()
    config = configure(tmp_path / "config.yaml", DEMO)
    assert main(["--config", str(config), "--run-dir", str(tmp_path / "folder")]) == 2
    assert "found other files" in capsys.readouterr().err


def test_a_file_that_failed_at_first_is_read_on_restart(tmp_path: Path) -> None:
    write_nanoaod(tmp_path / "a.root", electrons=PAIR * 3)
    whole = write_nanoaod(tmp_path / "b.root", electrons=PAIR * 4).read_bytes()
    data: dict[str, dict[str, object]] = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]},
            "chunk_input_bytes": 1,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
    }
    config = configure(tmp_path / "config.yaml", data)
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "run"
    assert main(["--config", str(config), "--run-dir", str(undisturbed)]) == 0
    assert main(["--config", str(config), "--run-dir", str(root), "--tasks", "parsing"]) == 0
    (tmp_path / "b.root").write_bytes(b"nothing")
    (root / "parsed_data").rename(root / "lost")
    assert main(["--run-dir", str(root)]) == 1
    (tmp_path / "b.root").write_bytes(whole)
    assert main(["--run-dir", str(root)]) == 0
    assert_identical(paths_of(undisturbed), paths_of(root))


def test_a_run_is_resumed_with_its_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_nanoaod(tmp_path / "in.root", jets=[[(50.0, 0.1, 0.2, 5.0)] * 2] * 9)
    configure(
        tmp_path / "config.yaml",
        {
            "parsing_task_config": {"local_files": {"cms-nanoaod": ["in.root"]}},
            "mass_calculation_task_config": {"objects_to_calculate": ["Jets"]},
        },
    )
    # The cut into chunks, which no other configuration may change.
    begun_with = ["--set", "parsing_task_config.chunk_input_bytes=12345"]
    assert main(["--tasks", "parsing", *begun_with]) == 0
    (root,) = (tmp_path / "output").iterdir()
    state = root / "logs" / "state.json"
    state.write_text(state.read_text().replace("COMPLETED", "FAILED"))
    assert main(["--resume"]) == 0
    assert load(root / "config.yaml").parsing_task_config.chunk_input_bytes == 12345
    assert reports.read(state, RunState).state is State.COMPLETED

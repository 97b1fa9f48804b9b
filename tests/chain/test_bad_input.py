"""Every kind of bad input ends in a sentence and an exit code, and leaves nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from main import main
from schemas.state import RunState
from services.storage import reports
from tests.factory import write_nanoaod, write_tree

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
PAIR = [[(45.0, 0.0, 0.0), (45.0, 0.0, 3.14159265)]]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_nanoaod(tmp_path / "good.root", electrons=PAIR * 3)


def configure(folder: Path, files: list[Path], **parsing: object) -> Path:
    data = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(file) for file in files]},
            "kinematic_cuts": {},
            "particle_counts": {},
            "parallel_processes": 1,
            **parsing,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def run(config: Path, run_dir: Path, *more: str) -> int:
    return main(["--config", str(config), "--run-dir", str(run_dir), *more])


def leftovers(run_dir: Path) -> list[Path]:
    return [path for path in run_dir.rglob("*") if ".tmp-" in path.name]


def message(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_good_file_is_read(good: Path, tmp_path: Path) -> None:
    assert run(configure(tmp_path, [good]), tmp_path / "run") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, "expected a configuration file, found none", id="missing"),
        pytest.param("a: [1", "not valid YAML", id="bad YAML"),
        pytest.param("tasks: {do_parse: true}", "did you mean 'do_parsing'?", id="unknown key"),
        pytest.param("tasks: {do_parsing: 3}", "expected a valid boolean, found 3", id="type"),
        pytest.param(
            "tasks: {do_parsing: false, do_mass_calculating: false, do_post_processing: false, "
            "do_histogram_creation: false}",
            "no task is enabled",
            id="no task",
        ),
        pytest.param("{}", "there is nothing to read", id="nothing to read"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_written(
    text: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    assert run(path, tmp_path / "run") == 2
    assert expected in message(capsys)
    assert not (tmp_path / "run").exists()


def not_root(folder: Path) -> Path:
    path = folder / "bad.root"
    path.write_text("this is no ROOT file, but it is long enough to be looked at" * 20)
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "bad.root"
    path.touch()
    return path


def truncated(folder: Path) -> Path:
    whole = write_nanoaod(folder / "whole.root", electrons=PAIR * 2000)
    path = folder / "bad.root"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def other_tree(folder: Path) -> Path:
    return write_tree(folder / "bad.root", "Other", {"x": np.arange(3.0)})


def branch_missing(folder: Path) -> Path:
    identity = {name: np.arange(3, dtype=np.uint32) for name in ("run", "luminosityBlock", "event")}
    return write_tree(folder / "bad.root", "Events", identity)


BAD_FILES = [
    pytest.param(not_root, "expected a readable ROOT file", id="not ROOT"),
    pytest.param(empty_file, "expected a readable ROOT file", id="no bytes"),
    pytest.param(truncated, "expected a readable ROOT file", id="truncated"),
    pytest.param(other_tree, "expected a tree named Events, found Other", id="tree missing"),
    pytest.param(branch_missing, "expected the branch Electron_pt", id="branch missing"),
]


@pytest.mark.parametrize(("make", "expected"), BAD_FILES)
def test_a_bad_file_fails_the_run(
    make: object, expected: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path, [good, make(tmp_path)])
    assert run(config, tmp_path / "run") == 1
    text = message(capsys)
    assert "1 of 2 files failed" in text
    assert expected in text
    assert leftovers(tmp_path / "run") == []
    assert reports.read(tmp_path / "run/logs/state.json", RunState).state == "FAILED"


@pytest.mark.parametrize(("make", "expected"), BAD_FILES)
def test_a_bad_file_is_left_out_where_the_configuration_allows_it(
    make: object, expected: str, good: Path, tmp_path: Path
) -> None:
    config = configure(tmp_path, [good, make(tmp_path)], max_failed_file_fraction=0.5)
    assert run(config, tmp_path / "run") == 0
    report = next((tmp_path / "run" / "parsed_data").glob("parsed_*.json")).read_text()
    assert expected in report
    assert '"events_kept": 3' in report


def test_one_empty_file_among_others_is_fine(good: Path, tmp_path: Path) -> None:
    empty = write_nanoaod(tmp_path / "empty.root", electrons=[])
    assert run(configure(tmp_path, [good, empty]), tmp_path / "run") == 0


def test_no_event_in_the_whole_run_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_nanoaod(tmp_path / "empty.root", electrons=[])
    assert run(configure(tmp_path, [empty]), tmp_path / "run") == 1
    assert "there is no event in 1 files" in message(capsys)


def test_cutting_all_events_away_is_an_error_that_names_the_cut(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path, [good], particle_counts={"muons": {"min": 1}})
    assert run(config, tmp_path / "run") == 1
    assert "all 3 events were cut away, most (3) by 'number of muons'" in message(capsys)


def test_an_unwritable_output_directory_is_an_error(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(configure(tmp_path, [good]), tmp_path / "file" / "run") == 1
    assert "the run directory cannot be made" in message(capsys)


def test_a_pattern_that_matches_nothing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(configure(tmp_path, [tmp_path / "no*.root"]), tmp_path / "run") == 1
    assert "expected a file, or a pattern that matches some, found none" in message(capsys)


def test_a_file_named_twice_is_an_error(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(configure(tmp_path, [good, tmp_path / "g*.root"]), tmp_path / "run") == 1
    assert "is named twice" in message(capsys)


def test_a_file_that_breaks_in_its_middle_takes_its_events_with_it(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_nanoaod(tmp_path / "a_bad.root", electrons=PAIR * 3000, events_per_basket=300)
    data = bytearray(whole.read_bytes())
    # Damage in later baskets leaves the header and the first ranges readable.
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    whole.write_bytes(data)
    config = configure(
        tmp_path,
        [whole, good],
        max_failed_file_fraction=0.5,
        chunk_yield_threshold_bytes=20_000,
    )
    assert run(config, tmp_path / "run") == 0
    # Some of its events had been written out.
    assert f"is made again without {whole}" in message(capsys)
    report = next((tmp_path / "run" / "parsed_data").glob("parsed_*.json")).read_text()
    assert '"events_kept": 3' in report


def test_the_program_ends_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "main.py"), "--config", "absent.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: absent.yaml: expected a configuration file")
    assert "Traceback" not in done.stderr

"""What a stage has made is checked against its report before another uses it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from main import main
from schemas.config import load
from schemas.errors import DataError
from services import run_directory
from services.calculations.spectra import Grid
from services.run_directory import RunDirectory
from services.storage.arrays import open_arrays, read_spectra
from tests.chain.identity import assert_identical
from tests.factory import write_nanoaod

pytestmark = pytest.mark.usefixtures("without_figures")

PAIR = [[(45.0, 0.0, 0.0), (45.0, 0.0, 3.14159265)]]


def make_run(folder: Path, jobs: int = 0) -> Path:
    """Return a finished run of two chunks, of one job or of several that were merged."""
    for number in (1, 2):
        write_nanoaod(folder / f"in{number}.root", electrons=PAIR * (2 + number))
    sections: dict[str, dict[str, Any]] = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(folder / "in*.root")]},
            "chunk_input_bytes": 1,
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
        "post_processing_task_config": {"known_resonances": []},
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(sections))
    root = str(folder / "run")
    if jobs:
        fetch = ["--fetch-only", "--config", str(config), "--run-dir", root]
        assert main([*fetch, "--total-batch-jobs", str(jobs)]) == 0
        assert main(["--merge-only", "--run-dir", root]) == 0
    else:
        assert main(["--config", str(config), "--run-dir", root]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("merged"), jobs=2)


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def copy_of(root: Path, folder: Path) -> Path:
    shutil.copytree(root, folder / "run")
    return folder / "run"


def harm(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "changed":
        # The last bit of a mass, of a number of the plan, or of what is compressed or stored.
        of_plan = content.find(b'"population": ') + len(b'"population": ')
        places = {".npy": len(content) - 4, ".json": of_plan}
        place = places.get(path.suffix, len(content) // 2)
        content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    else:
        content = content[: -len(content) // 4]
    path.write_bytes(content)


# What is harmed, what makes it, and what uses it.
CASES = {
    "events": ("parsed_data/*chunk2.root", "parsing", "mass_calculating"),
    "masses": ("im_arrays/*chunk2/*/e0e1.npy", "mass_calculating", "post_processing"),
    "spectra": ("im_arrays/*chunk2_spectra.npz", "mass_calculating", "post_processing"),
    "summed spectra": ("im_arrays/slice_*_spectra.npz", "mass_calculating", "post_processing"),
    "main": (
        "im_arrays_processed/*chunk2/*/e0e1_main.npy",
        "post_processing",
        "histogram_creation",
    ),
    "plan": ("im_arrays_processed/plan.json", "post_processing", "histogram_creation"),
}


@pytest.mark.parametrize("how", ["changed", "cut off"])
@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_not_what_its_report_says_is_refused(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, how: str
) -> None:
    pattern, maker, user = CASES[case]
    root = copy_of(single, tmp_path)
    (victim,) = root.glob(pattern)
    harm(victim, how)
    before = {path: path.read_bytes() for path in paths_of(root).histograms.glob("*.root")}
    capsys.readouterr()
    assert main(["--run-dir", str(root), "--tasks", user, "--redo", user]) == 1
    told = capsys.readouterr().err.splitlines()
    where = victim.parents[2 if victim.suffix == ".npy" else 0]
    assert [line for line in told if line.startswith(f"error: {where}")]
    assert {path: path.read_bytes() for path in before} == before
    assert main(["--run-dir", str(root), "--redo", maker]) == 0
    assert_identical(paths_of(single), paths_of(root))


@pytest.mark.parametrize("pattern", [pattern for pattern, *_ in CASES.values()], ids=CASES)
def test_a_start_makes_again_what_was_harmed(single: Path, tmp_path: Path, pattern: str) -> None:
    root = copy_of(single, tmp_path)
    (victim,) = root.glob(pattern)
    harm(victim, "cut off")
    assert main(["--run-dir", str(root)]) == 0
    assert_identical(paths_of(single), paths_of(root))


@pytest.mark.parametrize("how", ["changed", "cut off"])
@pytest.mark.parametrize(
    ("pattern", "user"),
    [
        ("im_arrays/*chunk2.npz", "post_processing"),
        ("im_arrays_processed/*chunk2.npz", "histogram_creation"),
    ],
    ids=["masses", "processed"],
)
def test_an_archive_of_another_job_is_checked_too(
    merged: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pattern: str,
    user: str,
    how: str,
) -> None:
    root = copy_of(merged, tmp_path)
    (victim,) = root.glob(pattern)
    harm(victim, how)
    assert main(["--merge-only", "--run-dir", str(root), "--redo", user]) == 1
    assert str(victim.parent) in capsys.readouterr().err


def test_a_plan_that_is_not_that_of_the_jobs_is_refused_in_the_merge(
    merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(merged, tmp_path)
    plan = paths_of(root).plan_file
    harm(plan, "changed")
    assert main(["--merge-only", "--run-dir", str(root)]) == 1
    assert f"error: {plan}: expected the file that its report" in capsys.readouterr().err
    assert main(["--merge-only", "--run-dir", str(root), "--redo", "post_processing"]) == 0
    assert_identical(paths_of(merged), paths_of(root))


def test_another_runs_output_is_checked_before_it_is_read(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copy_of(single, tmp_path)
    (victim,) = source.glob("parsed_data/*chunk2.root")
    harm(victim, "changed")
    data = {
        "tasks": {"do_parsing": False},
        "mass_calculation_task_config": {
            "input_dir": str(source / "parsed_data"),
            "min_events_per_fs": 1,
        },
    }
    config = tmp_path / "second.yaml"
    config.write_text(yaml.safe_dump(data))
    assert main(["--config", str(config), "--run-dir", str(tmp_path / "second")]) == 1
    assert f"{victim}: expected the file that its report describes" in capsys.readouterr().err


def test_an_outlier_that_is_not_filled_is_checked_with_its_chunk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_run(tmp_path)
    (main_array,) = root.glob("im_arrays_processed/*chunk2/*/e0e1_main.npy")
    shutil.copy(main_array, main_array.with_name("e0e1_outliers.npy"))
    assert main(["--run-dir", str(root), "--tasks", "histogram_creation"]) == 1
    assert "found others" in capsys.readouterr().err


# Names


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil/x", "2e/../../evil", "evil", "a/b/c", "..\\x/y"]
)
def test_no_name_in_an_archive_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "chunk.npz", "w") as archive:
        archive.writestr(f"{name}.npy", b"")
    with pytest.raises(DataError, match=r"found damage \(the name"), open_arrays(tmp_path, "chunk"):
        pass


@pytest.mark.parametrize("name", ["../../evil", "/evil/x", "2e/../../evil"])
def test_no_name_of_a_spectrum_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    grid = Grid(10.0, 5)
    none = np.zeros(0, dtype=np.int64)
    np.savez(
        tmp_path / "spectra.npz",
        channels=np.array([name.encode()]),
        first=np.zeros(2, dtype=np.int64),
        bins=none,
        counts=none,
        grid=np.array([10.0, 5]),
    )
    with pytest.raises(DataError, match="the name"):
        read_spectra(tmp_path / "spectra.npz", grid)


@pytest.mark.parametrize("field", ["chunks", "outputs"])
def test_no_name_in_a_report_leads_out_of_its_folder(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    root = copy_of(single, tmp_path)
    report = root / "im_arrays" / "slice_1_of_1.json"
    text = report.read_text()
    name = "parsed_local_cms-nanoaod_chunk2" if field == "chunks" else "slice_1_of_1_spectra.npz"
    report.write_text(text.replace(f'"{name}"', '"../../../evil"'))
    assert report.read_text() != text
    assert main(["--run-dir", str(root), "--tasks", "post_processing"]) == 1
    assert f"{report}: expected a SliceReport, found at {field}." in capsys.readouterr().err
    assert not list(tmp_path.rglob("*evil*"))

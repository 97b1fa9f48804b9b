"""A disk that is full, or cannot be written to, ends in a sentence, and the run goes on later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from main import main
from schemas.config import load
from schemas.errors import StorageError
from schemas.inputs import InputFile, Sample, Slice
from services import run_directory
from services.storage.atomic import appearing, remove_leftovers, require_space, temporary_name
from services.storage.downloads import Downloads
from services.storage.retries import Limits
from tests.chain.identity import assert_identical
from tests.chain.test_identity import random_collection
from tests.factory import write_nanoaod
from tests.servers import OpenDataServer

pytestmark = pytest.mark.usefixtures("without_figures")

DISK_BYTES = 1_200_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a file system of its own, little more than a megabyte large."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_runs_full_stops_the_run_which_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    rng = np.random.default_rng(9)
    for name in ("a", "b"):
        write_nanoaod(
            tmp_path / f"{name}.root",
            electrons=random_collection(rng, 4000, 2.0),
            muons=random_collection(rng, 4000, 2.0),
        )
    data = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]},
            "chunk_input_bytes": 1,
            "chunk_yield_threshold_bytes": 100_000,
            "kinematic_cuts": {},
            "particle_counts": {},
            "parallel_processes": 1,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 100, "parallel_processes": 1},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(data))
    assert main(["--config", str(config), "--run-dir", str(tmp_path / "undisturbed")]) == 0
    blocker = small_disk / "blocker"
    blocker.write_bytes(bytes(DISK_BYTES // 2))
    root = small_disk / "run"
    capsys.readouterr()
    assert main(["--config", str(config), "--run-dir", str(root)]) == 1
    text = capsys.readouterr().err
    assert "cannot be written (No space left on device)" in text or "expected room for" in text
    assert "Traceback" not in text
    assert [path for path in root.rglob("*") if ".tmp-" in path.name] == []
    blocker.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert main(["--run-dir", str(root)]) == 0
    done = [
        run_directory.layout(path, load(path / "config.yaml"))
        for path in (tmp_path / "undisturbed", root)
    ]
    assert_identical(*done)


def test_a_file_that_the_disk_has_no_room_for_is_not_downloaded(
    server: OpenDataServer, small_disk: Path
) -> None:
    content = b"root" + bytes(2 * DISK_BYTES)
    file = InputFile(
        url=server.put("a.root", content),
        source="record_1",
        layout="cms-nanoaod",
        sample=Sample.DATA,
        size=len(content),
    )
    limits = Limits(1.0, 1.0, 5.0, retries=0, backoff=0.001)
    downloads = Downloads(small_disk / "files", limits, None, 1)
    with pytest.raises(StorageError, match=r"files/record_1: expected room for 2,400,004 bytes"):
        downloads.local_copy(file, server.address("a.root"))
    assert server.sent < DISK_BYTES


def test_less_room_than_needed_is_told_before_writing(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_space(tmp_path, free // 2)
    with pytest.raises(StorageError, match=r"expected room for .* bytes, found"):
        require_space(tmp_path, free * 2)


def test_a_start_removes_what_its_own_slice_left_and_nothing_else(tmp_path: Path) -> None:
    own, other = Slice(1, 3), Slice(2, 3)
    for part in (own, other):
        temporary_name(tmp_path / "chunk.root", part).touch()
        temporary_name(tmp_path / "chunk", part).mkdir()
    (tmp_path / "chunk.json").touch()
    remove_leftovers(tmp_path, own)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chunk.json",
        "chunk.root.tmp-2_of_3",
        "chunk.tmp-2_of_3",
    ]


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="cannot be written"),
        appearing(tmp_path / "file" / "x", Slice()) as temporary,
    ):
        temporary.touch()

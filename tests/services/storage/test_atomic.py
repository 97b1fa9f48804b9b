"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from schemas.errors import DataError, StorageError
from schemas.inputs import Slice
from services.storage.atomic import appearing, storage_errors, temporary_name, write_text

PART = Slice(2, 5)
file_or_folder = pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])


class InterruptedByUser(BaseException):
    """Stands for Ctrl-C: not an Exception."""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_work_is_done(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with appearing(path, PART) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names_in(path.parent) == ["out.txt"]


def test_the_temporary_lies_beside_and_names_the_slice(tmp_path: Path) -> None:
    with appearing(tmp_path / "out.txt", PART) as temporary:
        assert temporary.parent == tmp_path
        assert "2_of_5" in temporary.name
        temporary.touch()


def test_slices_do_not_share_a_temporary(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    assert temporary_name(path, Slice(1, 5)) != temporary_name(path, Slice(2, 5))


@pytest.mark.parametrize("error", [DataError, RuntimeError, InterruptedByUser])
@file_or_folder
def test_nothing_is_left_behind_an_exception(
    tmp_path: Path, error: type[BaseException], folder: bool
) -> None:
    with (  # noqa: PT012 - what was done before the error matters
        pytest.raises(error),
        appearing(tmp_path / "out", PART, folder=folder) as temporary,
    ):
        (temporary / "part.txt" if folder else temporary).write_text("half")
        raise error
    assert names_in(tmp_path) == []


@file_or_folder
def test_the_old_output_stays_behind_an_exception(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "out"
    with appearing(path, PART, folder=folder) as temporary:
        (temporary / "a.txt" if folder else temporary).write_text("old")
    with pytest.raises(DataError), appearing(path, PART, folder=folder):
        raise DataError
    assert (path / "a.txt" if folder else path).read_text() == "old"


def test_a_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    write_text(path, "new: größer", PART)
    assert path.read_text(encoding="utf-8") == "new: größer"


def test_a_folder_replaces_one_that_has_files(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old.txt").touch()
    with appearing(path, PART, folder=True) as temporary:
        (temporary / "new.txt").touch()
    assert names_in(path) == ["new.txt"]


@file_or_folder
def test_what_an_interrupted_job_left_is_cleared_away(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "out"
    left = temporary_name(path, PART)
    left.mkdir()
    (left / "half.txt").touch()
    with appearing(path, PART, folder=folder) as temporary:
        (temporary / "whole.txt" if folder else temporary).touch()
    assert names_in(tmp_path) == ["out"]
    assert not (path / "half.txt").exists()


@file_or_folder
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out"
    with (
        pytest.raises(StorageError, match=r"out: cannot be written \(.+\); free space or correct"),
        appearing(path, PART, folder=folder),
    ):
        pytest.fail("the work must not begin")


def test_a_folder_in_place_of_a_file_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    with pytest.raises(StorageError, match="out: cannot be written"):
        write_text(path, "text", PART)
    assert names_in(tmp_path) == ["out"]


def test_what_the_disk_refuses_is_told_with_its_reason() -> None:
    with (
        pytest.raises(StorageError, match=r"here: cannot be read \(No space left on device\)"),
        storage_errors(Path("here"), "read"),
    ):
        raise OSError(28, "No space left on device")


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), storage_errors(Path("here")):
        raise KeyError

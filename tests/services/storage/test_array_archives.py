"""The arrays of a chunk in one file, as batch jobs store them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError, PipelineError
from schemas.inputs import Slice
from services.storage.arrays import describe_arrays, open_arrays, storing_arrays

SINGLE, JOB = Slice(), Slice(2, 3)
CHUNK = "parsed_demo_chunk1"
NAMES = ("0e_2m/m0m1", "2e_0m/e0e1")


def store(folder: Path, part: Slice, n_masses: int = 3000, flush_every: int = 0) -> None:
    with storing_arrays(folder, CHUNK, part) as arrays:
        for number in range(4):
            masses = np.arange(n_masses, dtype=np.float32) + number
            arrays.append(NAMES[number % 2], masses)
            if flush_every and number % flush_every == 0:
                arrays.flush()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def read(folder: Path, n_bytes: int = 1 << 20) -> dict[str, list[float]]:
    with open_arrays(folder, CHUNK) as arrays:
        return {
            name: [mass for piece in arrays.read(name, n_bytes) for mass in piece.tolist()]
            for name in arrays.names
        }


@pytest.mark.parametrize("n_bytes", [1, 10_000, 1 << 20])
def test_both_forms_are_read_alike(tmp_path: Path, n_bytes: int) -> None:
    store(tmp_path / "folder", SINGLE)
    store(tmp_path / "file", JOB)
    assert (tmp_path / "folder" / CHUNK).is_dir()
    assert names_in(tmp_path / "file") == [f"{CHUNK}.npz"]
    assert read(tmp_path / "file", n_bytes) == read(tmp_path / "folder", n_bytes)
    assert list(read(tmp_path / "file")) == list(NAMES)


def test_both_forms_are_described_alike(tmp_path: Path) -> None:
    store(tmp_path / "folder", SINGLE)
    store(tmp_path / "file", JOB)
    folder, file = (describe_arrays(tmp_path / form, CHUNK) for form in ("folder", "file"))
    assert folder == file
    assert file.size == 4 * 3000 * 4


def test_the_writer_describes_what_the_file_holds(tmp_path: Path) -> None:
    with storing_arrays(tmp_path, CHUNK, JOB) as arrays:
        arrays.append(NAMES[0], np.array([91.2], dtype=np.float32))
    assert arrays.output(CHUNK) == describe_arrays(tmp_path, CHUNK)
    assert arrays.lengths() == {NAMES[0]: 1}


def test_numpy_reads_the_file(tmp_path: Path) -> None:
    store(tmp_path, JOB, n_masses=2)
    with np.load(tmp_path / f"{CHUNK}.npz") as stored:
        assert stored[NAMES[1]].tolist() == [1.0, 2.0, 3.0, 4.0]
        assert stored[NAMES[1]].dtype == np.dtype("<f4")


@given(st.lists(st.tuples(st.sampled_from("cab"), st.integers(0, 5), st.booleans()), max_size=8))
def test_the_same_masses_are_the_same_bytes_however_often_memory_was_full(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, int, bool]]
) -> None:
    contents = []
    for flushes in (False, True):
        folder = tmp_path_factory.mktemp("arrays")
        with storing_arrays(folder, CHUNK, JOB) as arrays:
            for letter, n_masses, is_full in pieces:
                arrays.append(f"1e/{letter}", np.arange(n_masses, dtype=np.float32))
                if flushes and is_full:
                    arrays.flush()
                    assert arrays.held_bytes == 0
        contents.append((folder / f"{CHUNK}.npz").read_bytes())
    assert contents[0] == contents[1]


def test_what_did_not_fit_into_memory_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(local))
    store(tmp_path / "run", JOB, flush_every=1)
    assert list(local.iterdir()) == []
    assert names_in(tmp_path / "run") == [f"{CHUNK}.npz"]


def test_a_chunk_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), storing_arrays(tmp_path, CHUNK, JOB) as arrays:  # noqa: PT012 - written before it
        arrays.append(NAMES[0], np.zeros(3, dtype=np.float32))
        arrays.flush()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_has_one_form(tmp_path: Path) -> None:
    store(tmp_path, SINGLE)
    store(tmp_path, JOB, n_masses=1)
    assert names_in(tmp_path) == [f"{CHUNK}.npz"]
    store(tmp_path, SINGLE)
    assert names_in(tmp_path) == [CHUNK]


def test_a_chunk_without_arrays_is_no_missing_chunk(tmp_path: Path) -> None:
    with storing_arrays(tmp_path, CHUNK, JOB):
        pass
    assert read(tmp_path) == {}
    with (
        pytest.raises(DataError, match="expected the arrays of other"),
        open_arrays(tmp_path, "other"),
    ):
        pass


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    store(tmp_path, JOB)
    path = tmp_path / f"{CHUNK}.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="found damage"):
        read(tmp_path)


def test_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    store(tmp_path, JOB, n_masses=3)
    path = tmp_path / f"{CHUNK}.npz"
    whole = path.read_bytes()
    expected, described = read(tmp_path), describe_arrays(tmp_path, CHUNK)
    n_harmless = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read(tmp_path)
        except PipelineError:
            continue
        # Dates, versions and rights in the zip mean nothing here. A member that the list of
        # members has lost shows in the description, and in the books of the next stage.
        assert found == expected or describe_arrays(tmp_path, CHUNK) != described, position
        n_harmless += found == expected
    assert n_harmless < len(whole) // 4


def test_an_array_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / f"{CHUNK}.npz", **{NAMES[0]: np.zeros(3)})
    with pytest.raises(DataError, match=f"expected in {NAMES[0]} a whole array of float32"):
        read(tmp_path)

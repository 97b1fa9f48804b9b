"""Mass arrays and summed spectra: written, read back, damaged."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError, StorageError
from services.calculations.spectra import Grid, Spectra, SpectrumSum
from services.storage import arrays as storage
from services.storage.arrays import (
    ArrayFolder,
    describe_arrays,
    list_arrays,
    read_array,
    read_spectra,
    write_spectra,
)

NAME = "2e_0m/e0e1"


def floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def write(folder: Path) -> Path:
    """Write 5000 masses and return their file."""
    with ArrayFolder(folder) as arrays:
        arrays.append(NAME, np.arange(5000, dtype=np.float32))
    return folder / f"{NAME}.npy"


def read(folder: Path, n_bytes: int = 10**6) -> list[float]:
    return [mass for piece in read_array(folder, NAME, n_bytes) for mass in piece.tolist()]


@given(st.lists(st.tuples(st.lists(st.floats(0, 1e4, width=32), max_size=5), st.booleans())))
def test_pieces_and_flushes_do_not_show_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[list[float], bool]]
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    at_once, in_pieces = ArrayFolder(folder / "at_once"), ArrayFolder(folder / "in_pieces")
    everything = [mass for masses, _ in pieces for mass in masses]
    if pieces:
        at_once.append(NAME, floats(*everything))
    for masses, flushed in pieces:
        in_pieces.append(NAME, floats(*masses))
        if flushed:
            in_pieces.flush()
    for arrays in (at_once, in_pieces):
        arrays.flush()
    assert in_pieces.lengths() == at_once.lengths() == ({NAME: len(everything)} if pieces else {})
    assert in_pieces.output("chunk") == at_once.output("chunk")
    for name in at_once.lengths():
        first, second = (folder / kind / f"{name}.npy" for kind in ("at_once", "in_pieces"))
        assert first.read_bytes() == second.read_bytes()
        assert np.load(second).tolist() == everything


def test_arrays_can_be_read_without_this_program(tmp_path: Path) -> None:
    masses = np.load(write(tmp_path), allow_pickle=False)
    assert masses.dtype == np.dtype("<f4")
    assert masses.tolist() == list(range(5000))


def test_other_number_types_are_stored_as_float32(tmp_path: Path) -> None:
    with ArrayFolder(tmp_path) as arrays:
        arrays.append(NAME, np.array([91.1876]))
    assert np.load(tmp_path / f"{NAME}.npy").tolist() == [float(np.float32(91.1876))]


def test_what_is_held_is_counted_until_it_is_written(tmp_path: Path) -> None:
    arrays = ArrayFolder(tmp_path)
    arrays.append(NAME, floats(1, 2))
    arrays.append("3e/e0e1", floats(3))
    assert (arrays.held_bytes, list_arrays(tmp_path)) == (12, ())
    arrays.flush()
    assert (arrays.held_bytes, list_arrays(tmp_path)) == (0, ("2e_0m/e0e1", "3e/e0e1"))


def test_what_is_held_behind_an_error_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError), ArrayFolder(tmp_path) as arrays:  # noqa: PT012 - held before it
        arrays.append(NAME, floats(1))
        raise DataError
    assert list_arrays(tmp_path) == ()


def test_the_digest_depends_on_names_and_masses(tmp_path: Path) -> None:
    digests = set()
    contents = [(NAME, [1.0, 2.0]), (NAME, [2.0, 1.0]), ("2e/e0e1", [1.0, 2.0]), (NAME, [1.0])]
    for number, (name, masses) in enumerate(contents):
        with ArrayFolder(tmp_path / str(number)) as arrays:
            arrays.append(name, floats(*masses))
        digests.add(arrays.output("chunk").xxh128)
    assert len(digests) == len(contents)


def test_the_digest_does_not_depend_on_the_order_of_arrays(tmp_path: Path) -> None:
    digests = set()
    for names in (("a/x", "b/y"), ("b/y", "a/x")):
        with ArrayFolder(tmp_path / names[0][0]) as arrays:
            for name in names:
                arrays.append(name, floats(1))
        digests.add(arrays.output("chunk").xxh128)
    assert len(digests) == 1


@pytest.mark.parametrize("n_bytes", [1, 4096, 5000 * 4, 10**9])
def test_arrays_are_read_in_pieces_of_any_size(tmp_path: Path, n_bytes: int) -> None:
    write(tmp_path)
    assert read(tmp_path, n_bytes) == list(range(5000))


def test_a_piece_is_about_as_large_as_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    sizes = [len(piece) for piece in read_array(tmp_path, NAME, 2000 * 4)]
    assert sizes == [2000, 2000, 1000]


def test_an_array_that_does_not_exist_has_no_masses(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_an_empty_array_is_read_back(tmp_path: Path) -> None:
    with ArrayFolder(tmp_path) as arrays:
        arrays.append(NAME, floats())
    assert read(tmp_path) == []
    assert arrays.lengths() == {NAME: 0}


@pytest.mark.parametrize("n_bytes", [0, 1, 5, 9, 60, 127, 128, 129, 20127])
def test_a_truncated_array_is_refused(tmp_path: Path, n_bytes: int) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match="expected a whole array of float32 masses, found damage"):
        read(tmp_path)


def test_an_array_with_more_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4))
    with pytest.raises(DataError, match="found damage"):
        read(tmp_path)


@pytest.mark.parametrize("position", range(128))
def test_a_damaged_header_is_refused_or_harmless(tmp_path: Path, position: int) -> None:
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[position] ^= 0x08
    path.write_bytes(content)
    try:
        masses = read(tmp_path)
    except DataError:
        return
    assert masses == list(range(5000))


@pytest.mark.parametrize(
    "other",
    [
        np.array([1, 2], dtype=np.float64),
        np.array([1, 2], dtype=np.int32),
        np.array([[1, 2]], dtype=np.float32),
        np.array([1, 2], dtype=">f4"),
    ],
    ids=["float64", "integers", "two dimensions", "big-endian"],
)
def test_an_array_of_another_kind_is_refused(
    tmp_path: Path, other: npt.NDArray[np.generic]
) -> None:
    path = tmp_path / f"{NAME}.npy"
    path.parent.mkdir()
    np.save(path, other)
    with pytest.raises(DataError, match="expected a whole array of float32 masses"):
        read(tmp_path)


def test_an_array_behind_a_shorter_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.npy"
    path.parent.mkdir()
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    path.write_bytes(start + text + floats(1, 2, 3).tobytes())
    assert read(tmp_path) == [1, 2, 3]


@given(
    st.lists(st.binary(max_size=7), max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_what_a_system_call_leaves_is_taken_by_the_next(
    contents: list[bytes], most: list[int]
) -> None:
    buffers = [memoryview(bytearray(len(content))) for content in contents]
    source = io.BytesIO(b"".join(contents))
    limits = itertools.cycle(most)

    def read_some(_descriptor: int, into: Sequence[memoryview]) -> int:
        taken = source.read(min(next(limits), sum(map(len, into))))
        left = taken
        for buffer in into:
            part, left = left[: len(buffer)], left[len(buffer) :]
            buffer[: len(part)] = part
        return len(taken)

    storage._transfer(read_some, -1, buffers)  # noqa: SLF001 - no file can be told where to stop
    assert b"".join(buffers) == b"".join(contents)
    with pytest.raises(EOFError):
        storage._transfer(read_some, -1, [memoryview(bytearray(1))])  # noqa: SLF001


class Trap:
    """An object whose unpickling would be noticed."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was run",)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.npy"
    path.parent.mkdir()
    np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="found damage"):
        read(tmp_path)


# Spectra


GRID = Grid(10.0, 100)


def some_spectra() -> Spectra:
    total = SpectrumSum()
    total.add_masses(["2e_0m/e0e1"], np.array([floats(5, 91, 92, 1e9)]), GRID)
    total.add_masses(["10j/j9j10"], np.array([floats(7)]), GRID)
    return total.total()


@pytest.mark.parametrize("spectra", [some_spectra(), SpectrumSum().total()], ids=["two", "none"])
def test_spectra_are_read_back(tmp_path: Path, spectra: Spectra) -> None:
    path = tmp_path / "spectra.npz"
    write_spectra(path, spectra, GRID)
    found = read_spectra(path, GRID)
    assert found.channels == spectra.channels
    for name in ("first", "bins", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(spectra, name))


def damaged(content: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "cut in the middle": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "flipped": content[:90] + bytes([content[90] ^ 0xFF]) + content[91:],
        "text": b"no spectra\n",
        "begun": b"\x93NUMPY\x01\x00",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["empty", "cut in the middle", "cut at the end", "flipped", "text", "begun"]
)
def test_damaged_spectra_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spectra.npz"
    write_spectra(path, some_spectra(), GRID)
    path.write_bytes(damaged(path.read_bytes(), kind))
    with pytest.raises(DataError, match="expected summed spectra, found"):
        read_spectra(path, GRID)


@pytest.mark.parametrize("other", [Grid(5.0, 100), Grid(10.0, 200)], ids=["width", "end"])
def test_spectra_of_another_grid_are_refused(tmp_path: Path, other: Grid) -> None:
    path = tmp_path / "spectra.npz"
    write_spectra(path, some_spectra(), GRID)
    with pytest.raises(DataError, match=r"bins of .* GeV, found 100 of 10\.0 GeV"):
        read_spectra(path, other)


def test_missing_spectra_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected summed spectra, found no such file"):
        read_spectra(tmp_path / "none.npz", GRID)


def test_spectra_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be read \(Is a directory\)"):
        read_spectra(tmp_path, GRID)


def test_an_archive_of_other_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, masses=floats(1))
    with pytest.raises(DataError, match="expected summed spectra"):
        read_spectra(path, GRID)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "other.npy"
    np.save(path, floats(1))
    with pytest.raises(DataError, match="expected summed spectra"):
        read_spectra(path, GRID)


# Described from the files


def test_arrays_are_described_from_their_files_as_when_they_were_written(tmp_path: Path) -> None:
    with ArrayFolder(tmp_path / "chunk") as arrays:
        arrays.append("2e/e0e1", floats(2))
        arrays.append("10j/j0j1", floats(1, 2, 3))
        arrays.append("2e/e0e1", floats(1))
    assert describe_arrays(tmp_path, "chunk") == arrays.output("chunk")


def test_a_changed_mass_changes_the_description(tmp_path: Path) -> None:
    write(tmp_path / "chunk")
    before = describe_arrays(tmp_path, "chunk")
    path = tmp_path / "chunk" / f"{NAME}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert describe_arrays(tmp_path, "chunk") != before


@pytest.mark.parametrize("length", [0, 1, 999, 10**12])
def test_the_header_is_that_of_numpy(length: int) -> None:
    ours, numpys = io.BytesIO(), io.BytesIO()
    ours.write(storage._header(length))  # noqa: SLF001 - the bytes that readers meet
    np.lib.format.write_array_header_1_0(
        numpys, {"descr": "<f4", "fortran_order": False, "shape": (length,)}
    )
    assert ours.getvalue() == numpys.getvalue()

"""Mass arrays (.npy, one per channel) and sums of spectra (.npz)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import BinaryIO, Self
from zipfile import BadZipFile

import numpy as np

from schemas.errors import DataError
from schemas.reports import Output
from services.calculations.objects import Array
from services.calculations.spectra import Grid, Spectra
from services.storage.atomic import storage_errors

_TYPE = np.dtype("<f4")
# Rounded down, a block is this many masses: enough that reading it costs more than asking for it.
_SMALLEST_BLOCK = 1024


_BLOCK_BYTES = 1 << 24


class ArrayFolder:
    """Writes one array of masses per name below a folder, piece by piece.

    Pieces are held until `flush`, so that what fits in memory is one write per array.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, list[Array]] = {}
        self._lengths: dict[str, int] = {}
        self._digests: dict[str, hashlib._Hash] = {}
        self.held_bytes = 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is held, unless the work failed."""
        if kind is None:
            self.flush()

    def append(self, name: str, masses: Array) -> None:
        """Add masses, shape (n,), behind those that an array has."""
        self._held.setdefault(name, []).append(masses.astype(_TYPE, copy=False))
        self.held_bytes += masses.nbytes

    def flush(self) -> None:
        """Write what is held to disk."""
        for name, pieces in self._held.items():
            self._write(name, np.concatenate(pieces) if len(pieces) > 1 else pieces[0])
        self._held = {}
        self.held_bytes = 0

    def _write(self, name: str, masses: Array) -> None:
        path = self._folder / f"{name}.npy"
        is_new = name not in self._lengths
        length = self._lengths.get(name, 0) + len(masses)
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._digests[name] = hashlib.sha256()
        data = np.ascontiguousarray(masses)
        with path.open("wb" if is_new else "r+b") as file:
            # The header has room for a growing length, so it can be written again in place.
            _write_header(file, length)
            file.seek(0, 2)
            file.write(data.data)
        self._digests[name].update(data.data)
        self._lengths[name] = length

    def lengths(self) -> dict[str, int]:
        """Return the number of masses written per array."""
        return dict(self._lengths)

    def output(self, name: str) -> Output:
        """Return the description of the folder as reports carry it: over names and content."""
        contents = {array: digest.hexdigest() for array, digest in self._digests.items()}
        return _describe(name, self._lengths, contents)


def _describe(name: str, lengths: Mapping[str, int], contents: Mapping[str, str]) -> Output:
    total = hashlib.sha256()
    for array in sorted(lengths):
        total.update(f"{array} {lengths[array]} {contents[array]}\n".encode())
    size = sum(lengths.values()) * _TYPE.itemsize
    return Output(name=name, size=size, sha256=total.hexdigest())


def describe_arrays(folder: Path, chunk: str) -> Output:
    """Return what `ArrayFolder.output` gave when it wrote a chunk's arrays, from the files.

    Raises:
        DataError: an array is damaged.
        StorageError: an array cannot be read.
    """
    lengths: dict[str, int] = {}
    contents: dict[str, str] = {}
    for array in list_arrays(folder / chunk):
        digest = hashlib.sha256()
        lengths[array] = 0
        for masses in read_array(folder / chunk, array, _BLOCK_BYTES):
            digest.update(masses.data)
            lengths[array] += len(masses)
        contents[array] = digest.hexdigest()
    return _describe(chunk, lengths, contents)


def _write_header(file: BinaryIO, length: int) -> None:
    np.lib.format.write_array_header_1_0(
        file, {"descr": _TYPE.str, "fortran_order": False, "shape": (length,)}
    )


def list_arrays(folder: Path) -> tuple[str, ...]:
    """Return the names of the arrays below a folder, sorted."""
    return tuple(
        sorted(
            path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.npy")
        )
    )


def read_array(folder: Path, name: str, n_bytes: int) -> Iterator[Array]:
    """Yield the masses of an array in pieces of about `n_bytes`; nothing if there is no such array.

    Raises:
        DataError: the file is not an array of masses.
        StorageError: the file cannot be read.
    """
    path = folder / f"{name}.npy"
    block = max(_SMALLEST_BLOCK, n_bytes // _TYPE.itemsize)
    if not path.exists():
        return
    with storage_errors(path, "read"), path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            left = (path.stat().st_size - file.tell()) // _TYPE.itemsize
            is_sound = version == (1, 0) and dtype == _TYPE and shape == (left,)
        except (ValueError, SyntaxError, TokenError):
            is_sound = False
        if not is_sound:
            msg = f"{path}: expected a whole array of float32 masses, found damage; make it again"
            raise DataError(msg)
        while left:
            masses = np.fromfile(file, dtype=_TYPE, count=min(block, left))
            left -= len(masses)
            yield masses


def write_spectra(path: Path, spectra: Spectra, grid: Grid) -> None:
    """Write spectra on a grid; the same spectra are the same bytes."""
    with path.open("wb") as file:
        np.savez(
            file,
            channels=np.array([name.encode() for name in spectra.channels], dtype=np.bytes_),
            first=spectra.first,
            bins=spectra.bins,
            counts=spectra.counts,
            grid=np.array([grid.width, grid.n_bins]),
        )


def _existing(path: Path, what: str) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        msg = f"{path}: expected {what}, found no such file; run the stage that makes it"
        raise DataError(msg) from error


def read_spectra(path: Path, grid: Grid) -> Spectra:
    """Read spectra on a grid.

    Raises:
        DataError: the file is missing, or holds no spectra, or those of another grid.
        StorageError: the file cannot be read.
    """
    try:
        # Opened here, because the library leaves damaged archives open.
        with (
            storage_errors(path, "read"),
            _existing(path, "summed spectra") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            width, n_bins = stored["grid"].tolist()
            if (width, n_bins) != (grid.width, grid.n_bins):
                msg = (
                    f"{path}: expected spectra in {grid.n_bins} bins of {grid.width} GeV, found "
                    f"{n_bins:.0f} of {width} GeV; compute the masses again, or set "
                    "peak_detection_bin_width_gev and max_mass_gev as they were then"
                )
                raise DataError(msg)
            return Spectra(
                channels=tuple(name.decode() for name in stored["channels"].tolist()),
                first=stored["first"],
                bins=stored["bins"],
                counts=stored["counts"],
            )
    except (KeyError, ValueError, EOFError, TypeError, RuntimeError, BadZipFile) as error:
        msg = f"{path}: expected summed spectra, found {error}; make them again"
        raise DataError(msg) from error

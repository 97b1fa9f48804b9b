"""Mass arrays (.npy, one per channel; in batch jobs one .npz per chunk) and sums of spectra."""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from tokenize import TokenError
from types import TracebackType
from typing import IO, BinaryIO, Protocol, Self
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import xxhash

from schemas.errors import DataError
from schemas.inputs import Slice
from schemas.reports import Output
from services.calculations.objects import Array
from services.calculations.spectra import Grid, Spectra
from services.storage.atomic import appearing, remove, storage_errors

_TYPE = np.dtype("<f4")
# Rounded down, a block is this many masses: enough that reading it costs more than asking for it.
_SMALLEST_BLOCK = 1024


_BLOCK_BYTES = 1 << 24
# Names of arrays become paths, so those that are read from files must look like ours.
_NAME = re.compile(r"[A-Za-z0-9_]+/[A-Za-z0-9_]+")


def _harmless(name: str) -> str:
    """Return the name of an array as it is.

    Raises:
        ValueError: it is not `{final_state}/{combination}`.
    """
    if not _NAME.fullmatch(name):
        msg = f"the name {name!r}"
        raise ValueError(msg)
    return name


class ArrayFolder:
    """Writes one array of masses per name below a folder, piece by piece.

    Pieces are held until `flush`, so that what fits in memory is one write per array.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, list[Array]] = {}
        self._lengths: dict[str, int] = {}
        self._digests: dict[str, xxhash.xxh128] = {}
        self._made: set[str] = set()
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
        masses = np.ascontiguousarray(masses, dtype=_TYPE)
        self._held.setdefault(name, []).append(masses)
        self.held_bytes += masses.nbytes

    def flush(self) -> None:
        """Write what is held to disk."""
        for name, pieces in self._held.items():
            self._write(name, pieces)
        self._held = {}
        self.held_bytes = 0

    def _write(self, name: str, pieces: Sequence[Array]) -> None:
        final_state = name.rpartition("/")[0]
        if final_state not in self._made:
            (self._folder / final_state).mkdir(parents=True, exist_ok=True)
            self._made.add(final_state)
        is_new = name not in self._lengths
        self._note(name, pieces)
        _write_file(f"{self._folder}/{name}.npy", self._lengths[name], pieces, is_new=is_new)

    def _note(self, name: str, pieces: Sequence[Array]) -> None:
        """Take masses into the description of the whole."""
        digest = self._digests.get(name)
        if digest is None:
            digest = self._digests[name] = xxhash.xxh128()
            self._lengths[name] = 0
        for piece in pieces:
            digest.update(piece.data)
            self._lengths[name] += len(piece)

    def lengths(self) -> dict[str, int]:
        """Return the number of masses written per array."""
        return dict(self._lengths)

    def output(self, name: str) -> Output:
        """Return the description of the folder as reports carry it: over names and content."""
        contents = {array: digest.hexdigest() for array, digest in self._digests.items()}
        return _describe(name, self._lengths, contents)


class ArrayArchive(ArrayFolder):
    """Writes the same arrays as members of one file: an uncompressed zip, numpy's .npz.

    What `flush` takes out of memory lies in a temporary folder of this machine until the end. The
    same masses are the same bytes, however often that was.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._spilled: TemporaryDirectory[str] | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the file, unless the work failed."""
        try:
            if kind is None:
                self._write_archive()
        finally:
            if self._spilled:
                self._spilled.cleanup()

    def flush(self) -> None:
        """Move what is held out of memory."""
        if self._spilled is None:
            self._spilled = TemporaryDirectory(prefix="mass-arrays-")
            self._folder = Path(self._spilled.name)
        super().flush()

    def _write_archive(self) -> None:
        if self._spilled:
            self.flush()
        # Stored members need no closing compression: the file is whole when the list is written.
        with ZipFile(self._path, "w") as archive:
            for name in sorted({*self._lengths, *self._held}):
                # Without a date, so that the same arrays are the same bytes.
                info = ZipInfo(f"{name}.npy")
                if not self._spilled:
                    pieces = self._held.pop(name)
                    self._note(name, pieces)
                info.file_size = self._lengths[name] * _TYPE.itemsize + _HEADER_ROOM
                with archive.open(info, "w") as member:
                    if self._spilled:
                        with (self._folder / info.filename).open("rb") as file:
                            shutil.copyfileobj(file, member, _BLOCK_BYTES)
                    else:
                        member.write(_header(self._lengths[name]))
                        for piece in pieces:
                            member.write(piece.data)
        self.held_bytes = 0


# The size of a member decides its form in the zip; a header takes less than this.
_HEADER_ROOM = 256


@contextmanager
def storing_arrays(folder: Path, chunk: str, part: Slice) -> Iterator[ArrayFolder]:
    """Yield a writer of a chunk's arrays, which appear whole at the end.

    In batch jobs they are one file: shared file systems do not survive a million small ones.

    Raises:
        StorageError: they cannot be written.
    """
    as_folder, as_file = folder / chunk, _archive(folder, chunk)
    is_batch = part.total > 1
    path, other_form = (as_file, as_folder) if is_batch else (as_folder, as_file)
    writer = ArrayArchive if is_batch else ArrayFolder
    with storage_errors(other_form):
        remove(other_form)
    with (
        appearing(path, part, folder=not is_batch) as temporary,
        writer(temporary) as arrays,
    ):
        yield arrays


def _archive(folder: Path, chunk: str) -> Path:
    return folder / f"{chunk}.npz"


def _describe(name: str, lengths: Mapping[str, int], contents: Mapping[str, str]) -> Output:
    total = xxhash.xxh128()
    for array in sorted(lengths):
        total.update(f"{array} {lengths[array]} {contents[array]}\n".encode())
    size = sum(lengths.values()) * _TYPE.itemsize
    return Output(name=name, size=size, xxh128=total.hexdigest())


def describe_arrays(folder: Path, chunk: str) -> Output:
    """Return what `output` of the writer gave for a chunk's arrays, from the files.

    Raises:
        DataError: an array is damaged, or there are none.
        StorageError: an array cannot be read.
    """
    with open_arrays(folder, chunk) as arrays:
        return _Described(arrays).output(chunk)


class Arrays(Protocol):
    """The arrays of a chunk, in whatever form they are stored."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, sorted."""

    def read(self, name: str, n_bytes: int) -> Iterator[Array]:
        """Yield an array in pieces of about `n_bytes`; nothing if there is no such array."""


@contextmanager
def open_arrays(folder: Path, chunk: str) -> Iterator[Arrays]:
    """Yield what reads a chunk's arrays, of a single job or of a batch job.

    Raises:
        DataError: there are none, or they are damaged.
        StorageError: they cannot be read.
    """
    path = _archive(folder, chunk)
    if not path.exists():
        if not (folder / chunk).is_dir():
            msg = (
                f"{folder}: expected the arrays of {chunk} ({chunk}/ or {path.name}), found none; "
                "run the stage that makes them"
            )
            raise DataError(msg)
        yield _ArraysInFolder(folder / chunk)
        return
    with storage_errors(path, "read"):
        file = path.open("rb")
    with file:
        yield _ArraysInFile(path, file)


@contextmanager
def checked_arrays(folder: Path, chunk: str, described: Output) -> Iterator[Arrays]:
    """Yield what reads a chunk's arrays, and make sure that they are what their report describes.

    That is known at the end, since nothing is read twice for it: put what is made of the arrays
    aside until then. If the body fails, this is made sure of first.

    Raises:
        DataError: they are others, damaged, or there are none.
        StorageError: they cannot be read.
    """
    with open_arrays(folder, chunk) as arrays:
        read = _Described(arrays)
        try:
            yield read
        except DataError:
            _refuse_others(folder, read.output(chunk), described)
            raise
        _refuse_others(folder, read.output(chunk), described)


def _refuse_others(folder: Path, found: Output, described: Output) -> None:
    if found != described:
        msg = (
            f"{folder}: expected of {described.name} the arrays that its report describes "
            f"({described.size:,} bytes of masses, digest {described.xxh128[:16]}), found others "
            f"({found.size:,} bytes, {found.xxh128[:16]}); make them again, with --redo"
        )
        raise DataError(msg)


class _Described:
    """Reads arrays, and describes what it has read."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._lengths: dict[str, int] = {}
        self._contents: dict[str, str] = {}
        self.names = arrays.names

    def read(self, name: str, n_bytes: int) -> Iterator[Array]:
        digest = xxhash.xxh128()
        length = 0
        for masses in self._arrays.read(name, n_bytes):
            digest.update(masses.data)
            length += len(masses)
            yield masses
        self._lengths[name] = length
        self._contents[name] = digest.hexdigest()

    def output(self, chunk: str) -> Output:
        """Return the description of all arrays; what has not been read is read."""
        for name in self.names:
            if name not in self._lengths:
                for _ in self.read(name, _BLOCK_BYTES):
                    pass
        lengths = {name: self._lengths[name] for name in self.names}
        return _describe(chunk, lengths, self._contents)


class _ArraysInFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = list_arrays(folder)

    def read(self, name: str, n_bytes: int) -> Iterator[Array]:
        return read_array(self._folder, name, n_bytes)


# What reading damaged bytes raises, in zip files and in headers of arrays.
_DAMAGE = (
    BadZipFile,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
    struct.error,
)


@contextmanager
def _noticing_damage(path: Path, name: str) -> Iterator[None]:
    try:
        with storage_errors(path, "read"):
            yield
    except _DAMAGE as error:
        msg = f"{path}: expected {name}, found damage ({error}); make it again"
        raise DataError(msg) from error


class _ArraysInFile:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        with _noticing_damage(path, "a whole archive of float32 masses"):
            # The list of members is read here, once for all of them.
            self._zip = ZipFile(file)
            self._members = {
                _harmless(info.filename.removesuffix(".npy")): info for info in self._zip.infolist()
            }
        self.names = tuple(sorted(self._members))

    def read(self, name: str, n_bytes: int) -> Iterator[Array]:
        member = self._members.get(name)
        if member is None:
            return
        block = max(_SMALLEST_BLOCK, n_bytes // _TYPE.itemsize)
        what = f"in {name} a whole array of float32 masses"
        with _noticing_damage(self._path, what):
            file = self._zip.open(member)
        with file:
            with _noticing_damage(self._path, what):
                left = _read_header(file, member.file_size)
            while left:
                with _noticing_damage(self._path, what):
                    n_masses = min(block, left)
                    # At its end the library compares the checksum.
                    masses = np.frombuffer(file.read(n_masses * _TYPE.itemsize), dtype=_TYPE)
                    if len(masses) != n_masses:
                        raise EOFError
                left -= n_masses
                yield masses


def _read_header(file: IO[bytes], file_size: int) -> int:
    """Return how many masses an array has, by its header and by its size.

    Raises:
        ValueError: these differ, or it is an array of something else.
    """
    version = np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    length = (file_size - file.tell()) // _TYPE.itemsize
    if version != (1, 0) or dtype != _TYPE or shape != (length,):
        msg = f"an array of shape {shape} and type {dtype}"
        raise ValueError(msg)
    return length


def _header(length: int) -> bytes:
    """Return what `numpy.save` begins an array of masses with; as long, whatever the length."""
    return _HEADER % f"({length},), }}".ljust(_SHAPE_ROOM).encode()


# Format version 1.0: magic, length of the text, and the text, in 128 bytes. numpy's own writer
# makes the same bytes, but thinks about every type that there is.
_HEADER_SIZE = 128
_HEADER_START = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_SIZE - 10)
_HEADER_TEXT = f"{{'descr': '{_TYPE.str}', 'fortran_order': False, 'shape': ".encode()
_SHAPE_ROOM = _HEADER_SIZE - len(_HEADER_START) - len(_HEADER_TEXT) - 1
_HEADER = _HEADER_START + _HEADER_TEXT + b"%s\n"


def _write_file(path: str, length: int, pieces: Sequence[Array], *, is_new: bool) -> None:
    """Write masses behind those that a file has, and the header for all, `length`, of them.

    A new file takes three system calls; opened in the usual way it would take eight, and a chunk
    has thousands of files.
    """
    header = _header(length)
    content = [piece.data for piece in pieces]
    flags = os.O_TRUNC if is_new else 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, _FILE_MODE)
    try:
        if is_new:
            _transfer(os.writev, descriptor, [memoryview(header), *content])
        else:
            os.pwrite(descriptor, header, 0)
            os.lseek(descriptor, 0, os.SEEK_END)
            _transfer(os.writev, descriptor, content)
    finally:
        os.close(descriptor)


# As of any file that a program makes: the user's mask takes rights away.
_FILE_MODE = 0o666
# The system takes at least so many buffers at once.
_MOST_BUFFERS = 16


def _transfer(
    call: Callable[[int, Sequence[memoryview]], int],
    descriptor: int,
    buffers: Sequence[memoryview],
) -> None:
    """Read into buffers, or write them, to their end: a system call may take only a part of them.

    Raises:
        EOFError: the file ends before.
    """
    left = [buffer for buffer in buffers if buffer.nbytes]
    n_left = sum([buffer.nbytes for buffer in left])
    while n_left:
        n_bytes = call(descriptor, left[:_MOST_BUFFERS])
        if not n_bytes:
            raise EOFError
        n_left -= n_bytes
        if n_left:
            left = _behind(left, n_bytes)


def _behind(buffers: Sequence[memoryview], n_bytes: int) -> list[memoryview]:
    """Return what buffers have behind so many bytes."""
    left = [buffer.cast("B") for buffer in buffers]
    while n_bytes >= len(left[0]):
        n_bytes -= len(left.pop(0))
    left[0] = left[0][n_bytes:]
    return left


def list_arrays(folder: Path) -> tuple[str, ...]:
    """Return the names of the arrays below a folder, sorted."""
    return tuple(
        sorted(
            f"{state.name}/{file.name.removesuffix('.npy')}"
            for state in os.scandir(folder)
            if state.is_dir()
            for file in os.scandir(state)
            if file.name.endswith(".npy")
        )
    )


def read_array(folder: Path, name: str, n_bytes: int) -> Iterator[Array]:
    """Yield the masses of an array in pieces of about `n_bytes`; nothing if there is no such array.

    Raises:
        DataError: the file is not an array of masses.
        StorageError: the file cannot be read.
    """
    path = f"{folder}/{name}.npy"
    block = max(_SMALLEST_BLOCK, n_bytes // _TYPE.itemsize)
    with storage_errors(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            yield from _read_file(descriptor, block)
        except (EOFError, ValueError, SyntaxError, TokenError) as error:
            msg = f"{path}: expected a whole array of float32 masses, found damage; make it again"
            raise DataError(msg) from error
        finally:
            os.close(descriptor)


def _read_file(descriptor: int, block: int) -> Iterator[Array]:
    """Yield the masses of a file in pieces of `block`; header and first piece are one system call.

    Raises:
        EOFError, ValueError, SyntaxError, TokenError: it is no whole array of masses.
    """
    size = os.fstat(descriptor).st_size
    left = max(0, size - _HEADER_SIZE) // _TYPE.itemsize
    header = bytearray(_HEADER_SIZE)
    masses = np.empty(min(block, left), dtype=_TYPE)
    try:
        _transfer(os.readv, descriptor, [memoryview(header), masses.data])
        is_ours = header == _header(left)
    except EOFError:
        is_ours = False
    if not is_ours:
        # Thirty times slower, but knows every header that there may be.
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            left = _read_header(file, size)
        masses = np.empty(min(block, left), dtype=_TYPE)
        _transfer(os.readv, descriptor, [masses.data])
    while left:
        yield masses
        left -= len(masses)
        if left:
            masses = np.empty(min(block, left), dtype=_TYPE)
            _transfer(os.readv, descriptor, [masses.data])


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
                channels=tuple(_harmless(name.decode()) for name in stored["channels"].tolist()),
                first=stored["first"],
                bins=stored["bins"],
                counts=stored["counts"],
            )
    except (KeyError, ValueError, EOFError, TypeError, RuntimeError, BadZipFile) as error:
        msg = f"{path}: expected summed spectra, found {error}; make them again"
        raise DataError(msg) from error

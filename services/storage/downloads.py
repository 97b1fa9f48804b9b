"""Whole remote files on disk: resumed, verified, atomic, and never more than there is room for."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from schemas.errors import DataError, TransferError
from schemas.inputs import LARGEST_FILE, InputFile
from services.storage.atomic import require_space, storage_errors
from services.storage.background import Task, start
from services.storage.locks import locked
from services.storage.retries import Limits, RequestError
from services.storage.transports import RangesMissingError, failure, open_transport
from services.storage.web import BLOCK, WebClient

log = logging.getLogger(__name__)

# Only files that were named by this module are ever removed.
_OURS = re.compile(r"[0-9a-f]{16}_[A-Za-z0-9][A-Za-z0-9._-]*")
_PART = ".part"
_LOCK = ".lock"
_LONGEST_NAME = 100
# Another process may be at the same file for this long, in seconds: hours for a large one.
_LONGEST_WAIT = 6 * 3600.0


class Downloads:
    """A folder of downloaded files; several processes may share it.

    At most `threads` files are downloaded ahead at the same time. `room` is how many bytes may lie
    in the folder, None for no limit.
    """

    def __init__(self, folder: Path, limits: Limits, room: int | None, threads: int) -> None:
        self.folder = folder
        self._limits = limits
        self._room = room
        self._threads = threads
        self._gate = threading.BoundedSemaphore(threads)
        self._ahead: dict[str, Task[Path]] = {}
        self._promised: dict[Path, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Let worker processes have one of their own, at the same folder."""
        return Downloads, (self.folder, self._limits, self._room, self._threads)

    def path_of(self, file: InputFile) -> Path:
        """Return where a file's copy lies; no name that a catalog gives leads elsewhere."""
        digest = hashlib.sha256(file.url.encode()).hexdigest()[:16]
        name = _harmless(file.url.rpartition("/")[2])[-_LONGEST_NAME:]
        return self.folder / _harmless(file.source) / f"{digest}_{_harmless(name)}"

    def prefetch(self, files: Sequence[tuple[InputFile, str]]) -> None:
        """Begin to download files from their addresses, where that has not begun yet."""
        new = {
            file.url: Task(partial(self._made_in_turn, file, address))
            for file, address in files
            if file.url not in self._ahead
        }
        self._ahead.update(new)
        start(list(new.values()), self._threads)

    def local_copy(self, file: InputFile, address: str) -> Path:
        """Return the path of a file's complete copy, downloaded from `address` if need be.

        Raises:
            DataError: it cannot be had; TransferError if another try may succeed.
            StorageError: it cannot be written.
        """
        begun = self._ahead.pop(file.url, None)
        path = begun.result() if begun else self._made(file, address)
        if not path.exists():
            # Its place was needed by others.
            path = self._made(file, address)
        with suppress(OSError):
            os.utime(path)
        return path

    def discard(self, file: InputFile) -> None:
        """Remove a copy that cannot be read, unless a checksum says that it is what is listed."""
        if file.checksum is None:
            self.path_of(file).unlink(missing_ok=True)

    def _made_in_turn(self, file: InputFile, address: str) -> Path:
        with self._gate:
            return self._made(file, address)

    def _made(self, file: InputFile, address: str) -> Path:
        path = self.path_of(file)
        if _is_whole(path, file):
            return path
        with locked(path.with_name(path.name + _LOCK), _LONGEST_WAIT):
            if not _is_whole(path, file):
                self._download(file, address, path)
        return path

    def _download(self, file: InputFile, address: str, path: Path) -> None:
        part = path.with_name(path.name + _PART)
        try:
            with storage_errors(path):
                try:
                    self._copy_parts(file, address, part)
                except RangesMissingError:
                    self._copy_whole(file, address, part)
                try:
                    _verify(part, file, address)
                except TransferError:
                    part.unlink(missing_ok=True)
                    raise
                part.replace(path)
        finally:
            self._promised.pop(part, None)
        log.debug("downloaded %s", address)

    def _copy_parts(self, file: InputFile, address: str, part: Path) -> None:
        """Download what is missing of a file, block by block behind what is there."""
        transport = open_transport(address, self._limits, 1)
        try:
            size = transport.size
            check_size(file, size, address)
            self._make_room(size, part)
            with part.open("ab") as target:
                at = target.tell()
                if at > size:
                    target.truncate(0)
                    at = 0
                require_space(part.parent, size - at)
                while at < size:
                    stop = min(at + BLOCK, size)
                    target.write(transport.read([(at, stop)])[0])
                    at = stop
        finally:
            transport.close()

    def _copy_whole(self, file: InputFile, address: str, part: Path) -> None:
        """Download a file in one answer, from a server that cannot give parts."""
        size = LARGEST_FILE if file.size is None else file.size
        self._make_room(0 if file.size is None else size, part)
        try:
            with WebClient(self._limits) as client:
                client.copy(address, part, size)
        except RequestError as error:
            raise failure(error) from error

    def _make_room(self, n_bytes: int, part: Path) -> None:
        """Remove the files that were not used for longest until so many bytes fit."""
        if self._room is None:
            return
        if n_bytes > self._room:
            msg = (
                f"{part}: {n_bytes / 1e9:g} GB are more than parsing_task_config.max_cache_gb "
                f"({self._room / 1e9:g}) allows; raise it"
            )
            raise DataError(msg)
        self._promised[part] = n_bytes
        promised = dict(self._promised)
        held = [found for found in _files(self.folder) if found[2] not in promised]
        taken = sum(size for _, size, _ in held) + sum(promised.values())
        for _, size, path in sorted(held):
            if taken <= self._room:
                break
            is_busy = path.with_name(path.name.removesuffix(_PART) + _LOCK).exists()
            if not is_busy:
                log.debug("removed to make room: %s", path)
                path.unlink(missing_ok=True)
                taken -= size


def _harmless(name: str) -> str:
    """Return a name of letters, digits, `.`, `_` and `-` that begins with a letter or digit."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-") or "file"


def _files(folder: Path) -> Iterable[tuple[float, int, Path]]:
    """Yield last use, bytes and path of what was downloaded to a folder."""
    for path in folder.glob("*/*"):
        if _OURS.fullmatch(path.name) and not path.name.endswith(_LOCK):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _is_whole(path: Path, file: InputFile) -> bool:
    """Whether a copy is there, and is what the catalog lists: disks damage files too."""
    try:
        _verify(path, file, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except TransferError as error:
        log.warning("%s: downloaded again", error)
        return False
    return True


def check_size(file: InputFile, size: int, address: str) -> None:
    """Raise TransferError unless a file has the size that its catalog lists, if it does."""
    if file.size not in (None, size):
        msg = (
            f"{address}: expected the {file.size} bytes that the catalog lists, found {size}; "
            "list the files again with --refresh-metadata"
        )
        raise TransferError(msg)


def _verify(part: Path, file: InputFile, address: str) -> None:
    """Raise TransferError unless a downloaded file is what the catalog lists."""
    check_size(file, part.stat().st_size, address)
    if file.checksum is None:
        return
    algorithm, _, expected = file.checksum.rpartition(":")
    if algorithm == "adler32":
        # Leading zeros are not always written.
        expected, found = expected.rjust(8, "0"), f"{_adler32(part):08x}"
    elif algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake"):
        with part.open("rb") as content:
            found = hashlib.file_digest(content, algorithm).hexdigest()
    else:
        log.warning("%s: checksums of the kind %s are not verified", address, algorithm)
        return
    if found != expected:
        msg = (
            f"{address}: expected the checksum {file.checksum}, found {algorithm}:{found}; "
            "it was damaged on its way, or replaced"
        )
        raise TransferError(msg)


def _adler32(path: Path) -> int:
    value = 1
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.adler32(block, value)
    return value

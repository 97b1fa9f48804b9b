"""Parts of a remote file, by https or XRootD: ranges of bytes in, their bytes out."""

from __future__ import annotations

import importlib.util
import math
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, Protocol, TypeVar

from schemas.errors import DataError, TransferError
from services.storage.addresses import speaks_xrootd
from services.storage.background import Task, in_parallel, start
from services.storage.retries import Limits, RangesIgnoredError, RequestError, try_again
from services.storage.web import BLOCK, WebClient

T = TypeVar("T")
Range = tuple[int, int]

# The beginning of a file, asked for to learn its size; the header of a ROOT file is in it.
_BEGINNING = 1 << 16
# More connections to one server are not faster, and not welcome.
_MOST_CONNECTIONS = 4
_CLOSING_SECONDS = 1.0


class RangesMissingError(TransferError):
    """The server gives whole files only; a download would do."""


class Transport(Protocol):
    """An open remote file."""

    size: int
    """Bytes."""
    beginning: bytes
    """Its first bytes."""

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes `start .. stop - 1` of each range; none goes beyond the file.

        Raises:
            DataError: they could not be had; TransferError if another try may.
        """
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


def failure(error: RequestError) -> DataError:
    """Return the failure of a request as the failure of a file."""
    if isinstance(error, RangesIgnoredError):
        return RangesMissingError(f"{error}; read_mode: download reads it as a whole")
    if error.is_passing:
        return TransferError(f"{error}, after all tries; try again later")
    return DataError(f"{error}; leave the file out, or list the files again")


class WebTransport:
    """A file behind http or https."""

    def __init__(self, address: str, limits: Limits, threads: int) -> None:
        self._address = address
        self._threads = min(threads, _MOST_CONNECTIONS)
        self._client = WebClient(limits, self._threads)
        try:
            part = self._client.get_part(address, 0, _BEGINNING)
        except RequestError as error:
            self.close()
            raise failure(error) from error
        self.size = part.file_size
        self.beginning = part.data

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """Ask for each range in a request of its own, several at a time."""
        try:
            return in_parallel(self._part, ranges, self._threads)
        except RequestError as error:
            raise failure(error) from error

    def _part(self, wanted: Range) -> bytes:
        part = self._client.get_part(self._address, *wanted)
        if part.file_size != self.size:
            msg = f"its size was {self.size}, and is {part.file_size} now"
            raise RequestError(self._address, msg, is_passing=False)
        return part.data

    def close(self) -> None:
        """Close the connections; requests that are under way fail."""
        self._client.__exit__()


class XRootDTransport:
    """A file behind XRootD, read through the reading library's own source."""

    def __init__(self, address: str, limits: Limits) -> None:
        self._address = address
        self._limits = limits
        self._stop = threading.Event()
        self._source: Any = None
        _prepare_xrootd(address, limits)
        try:
            self.size = self._again(lambda source: int(source.num_bytes))
        except RequestError as error:
            raise failure(error) from error
        self.beginning = self.read([(0, min(_BEGINNING, self.size))])[0] if self.size else b""

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """Ask for many ranges in few requests."""
        found: list[bytes] = []
        try:
            for group in _groups(ranges):
                found += self._again(partial(_vector, ranges=group))
        except RequestError as error:
            raise failure(error) from error
        return found

    def close(self) -> None:
        """Close the file; a server that does not answer is not waited for."""
        self._stop.set()
        self._drop()

    def _again(self, call: Callable[[Any], T]) -> T:
        """Make a call on the open source; after a failure on a new one."""
        return try_again(lambda: self._once(call), self._limits, self._stop)

    def _once(self, call: Callable[[Any], T]) -> T:
        # The library's calls cannot be interrupted, so they are made where nobody waits for them.
        task: Task[T] = Task(lambda: call(self._opened()))
        start([task], 1)
        try:
            return task.result(self._limits.total_timeout)
        except Exception as error:
            self._drop()
            raise RequestError(
                self._address, _xrootd_reason(error), is_passing=_is_passing(error)
            ) from error

    def _opened(self) -> Any:
        if self._source is None:
            from uproot.source.xrootd import XRootDSource

            timeout = math.ceil(self._limits.total_timeout)
            self._source = XRootDSource(self._address, timeout=timeout)
        return self._source

    def _drop(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            closing = Task(source.close)
            start([closing], 1)
            with suppress(Exception):
                closing.result(_CLOSING_SECONDS)


def _groups(ranges: Sequence[Range]) -> Iterator[list[Range]]:
    """Yield ranges in groups that one request can ask for in bounded time."""
    group: list[Range] = []
    n_bytes = 0
    for wanted in ranges:
        length = wanted[1] - wanted[0]
        if group and n_bytes + length > BLOCK:
            yield group
            group, n_bytes = [], 0
        group.append(wanted)
        n_bytes += length
    if group:
        yield group


def _vector(source: Any, ranges: Sequence[Range]) -> list[bytes]:
    chunks = source.chunks(list(ranges), queue.Queue())
    return [bytes(chunk.raw_data) for chunk in chunks]


# Errors of a server that it will give again: no right, no such file, no file, not supported.
_LASTING_CODE = re.compile(r"\[30(?:00|01|02|06|10|11|13|15|16|30)\]")


def _is_passing(error: Exception) -> bool:
    return not _LASTING_CODE.search(str(error))


def _xrootd_reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) or re.search("timeout|expired", str(error), re.IGNORECASE):
        return "no answer within the time-out"
    found = re.search(r"\[(?:ERROR|FATAL)\][^\n)]*", str(error))
    return found[0] if found else " ".join(str(error).split())[:200] or type(error).__name__


def has_xrootd() -> bool:
    """Whether the optional packages for XRootD are installed."""
    return importlib.util.find_spec("XRootD") is not None


WITHOUT_XROOTD = (
    "reading by XRootD needs the optional package xrootd; install it (python -m pip install "
    "'.[xrootd]', in the folder of the program) or set parsing_task_config.protocol: https"
)


@cache
def _set_up_xrootd(limits: Limits) -> None:
    """Tell the client library, once, how long to wait; what it says by itself is far longer."""
    from XRootD.client import EnvPutInt

    for name, value in (
        ("ConnectionWindow", limits.connect_timeout),
        ("ConnectionRetry", 1),
        # A server that failed is asked again; by itself the library waits half an hour.
        ("StreamErrorWindow", 0),
        ("StreamTimeout", limits.read_timeout),
        ("RequestTimeout", limits.total_timeout),
        ("TimeoutResolution", 1),
    ):
        EnvPutInt(name, math.ceil(value))


def _prepare_xrootd(address: str, limits: Limits) -> None:
    if not has_xrootd():
        msg = f"{address}: {WITHOUT_XROOTD}"
        raise DataError(msg)
    _set_up_xrootd(limits)


def open_transport(address: str, limits: Limits, threads: int) -> Transport:
    """Open a remote file.

    Raises:
        DataError: it cannot be had; TransferError if another try may.
    """
    if speaks_xrootd(address):
        return XRootDTransport(address, limits)
    return WebTransport(address, limits, threads)

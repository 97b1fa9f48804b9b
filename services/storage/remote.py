"""Remote ROOT files: opened for the reading library, with few requests for what it needs."""

from __future__ import annotations

import queue
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import uproot
from uproot.source.chunk import Chunk, Source
from uproot.source.futures import TrivialFuture

from schemas.config import Parsing
from schemas.errors import ConfigError, DataError, TransferError
from schemas.inputs import InputFile
from services.storage.addresses import speaks_xrootd, ways
from services.storage.downloads import Downloads, check_size
from services.storage.local_files import open_local
from services.storage.retries import Limits
from services.storage.transports import (
    WITHOUT_XROOTD,
    Range,
    RangesMissingError,
    Transport,
    has_xrootd,
    open_transport,
)
from services.storage.web import BLOCK

# Keys, headers and the like lie close together: what follows a small one is fetched with it.
_AHEAD = 1 << 16
_HELD_AHEAD = 1 << 22
# Neighbouring baskets are one request if what lies between them is no more than this ...
_LARGEST_GAP = 1 << 18
# ... and if all that is transferred in vain stays below this part of what is needed.
_IN_VAIN = 0.2
# Baskets are kept for the next range of entries, at least all that one range needed.
_KEPT = 1 << 24

# Reading less at once than this, in bytes, makes no request smaller.
_SMALLEST_PART = 1 << 20

_MAGIC = b"root"


def plan_requests(ranges: Iterable[Range]) -> list[Range]:
    """Return what to ask for to have all ranges: few requests, few bytes in vain.

    What is longer than a block is asked for in blocks.
    """
    ordered = _disjoint(ranges)
    budget = _IN_VAIN * sum(stop - start for start, stop in ordered)
    gaps = []
    for number, ((_, stop), (following, _)) in enumerate(pairwise(ordered)):
        gap = following - stop
        if gap <= _LARGEST_GAP:
            gaps.append((gap, number))
    joined = set()
    for gap, number in sorted(gaps):
        budget -= gap
        if budget < 0:
            break
        joined.add(number)
    merged: list[list[int]] = []
    for number, (start, stop) in enumerate(ordered):
        if merged and number - 1 in joined and stop - merged[-1][0] <= BLOCK:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    return [
        (at, min(at + BLOCK, stop)) for start, stop in merged for at in range(start, stop, BLOCK)
    ]


def _disjoint(ranges: Iterable[Range]) -> list[Range]:
    """Return the same bytes as ranges that do not overlap, sorted."""
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        elif start < stop:
            found.append((start, stop))
    return found


class _Pieces:
    """Bytes of a file by where they start, those not used for longest let go first."""

    def __init__(self) -> None:
        self._held: OrderedDict[Range, bytes] = OrderedDict()
        self._n_bytes = 0

    def add(self, wanted: Range, data: bytes, at_most: int) -> None:
        self._n_bytes += len(data) - len(self._held.pop(wanted, b""))
        self._held[wanted] = data
        while self._n_bytes > at_most and len(self._held) > 1:
            self._n_bytes -= len(self._held.popitem(last=False)[1])

    def exactly(self, wanted: Range) -> bytes | None:
        if wanted in self._held:
            self._held.move_to_end(wanted)
        return self._held.get(wanted)

    def around(self, wanted: Range) -> bytes | None:
        for (start, stop), data in self._held.items():
            if start <= wanted[0] and wanted[1] <= stop:
                return data[wanted[0] - start : wanted[1] - start]
        return None


class RemoteSource(Source):  # type: ignore[misc] # the library has no types
    """What the reading library reads a remote file through."""

    def __init__(self, file_path: str, *, transport: Transport, **_: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._transport = transport
        self._num_bytes = transport.size
        self._num_requests = self._num_requested_chunks = self._num_requested_bytes = 0
        self._closed = False
        self._ahead = _Pieces()
        self._baskets = _Pieces()
        self._ahead.add((0, len(transport.beginning)), transport.beginning, _HELD_AHEAD)

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return one range of bytes: as a rule a key or an object."""
        data = self._single(start, min(stop, self._num_bytes))
        return Chunk(self, start, stop, TrivialFuture(data))

    def chunks(self, ranges: Sequence[Range], notifications: queue.Queue[Chunk]) -> list[Chunk]:
        """Return many ranges of bytes: as a rule all baskets that a range of entries needs."""
        wanted = list(dict.fromkeys((int(start), int(stop)) for start, stop in ranges))
        found = {}
        for basket in wanted:
            data = self._baskets.exactly(basket)
            if data is not None:
                found[basket] = data
        found |= self._fetch([basket for basket in wanted if basket not in found])
        room = max(_KEPT, sum(map(len, found.values())))
        for basket, data in found.items():
            self._baskets.add(basket, data, room)
        chunks = [Chunk(self, *basket, TrivialFuture(found[basket])) for basket in wanted]
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def _single(self, start: int, stop: int) -> bytes:
        wanted = (start, max(start, stop))
        data = self._ahead.around(wanted)
        if data is None:
            further = (start, min(max(stop, start + _AHEAD), self._num_bytes))
            data = b"".join(self._transport.read(plan_requests([further])))
            self._ahead.add(further, data, _HELD_AHEAD)
            data = data[: wanted[1] - start]
        return data

    def _fetch(self, wanted: Sequence[Range]) -> dict[Range, bytes]:
        for start, stop in wanted:
            if not 0 <= start <= stop <= self._num_bytes:
                msg = (
                    f"{self._file_path}: it points to its bytes {start} to {stop}, but has "
                    f"{self._num_bytes}; the file is damaged"
                )
                raise DataError(msg)
        requests = plan_requests(wanted)
        data = self._transport.read(requests) if requests else []
        return {basket: _assembled(basket, requests, data) for basket in wanted}

    @property
    def closed(self) -> bool:
        """Whether the connections are closed."""
        return self._closed

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._closed = True
        self._transport.close()


def _assembled(wanted: Range, requests: Sequence[Range], data: Sequence[bytes]) -> bytes:
    """Return a range's bytes out of the answers; a large one came in several, in a row."""
    start, stop = wanted
    number = bisect_right(requests, start, key=itemgetter(0)) - 1
    pieces = []
    while start < stop:
        first, last = requests[number]
        pieces.append(data[number][start - first : min(stop, last) - first])
        start = last
        number += 1
    return b"".join(pieces)


def open_remote(address: str, file: InputFile, limits: Limits, threads: int) -> Any:
    """Open a remote file for the reading library.

    Raises:
        DataError: it cannot be had or is no ROOT file; TransferError if another try may succeed.
    """
    transport = open_transport(address, limits, threads)
    try:
        check_size(file, transport.size, address)
        _refuse_other_than_root(transport.beginning, address)
        return uproot.open(
            {address: None}, handler=RemoteSource, transport=transport, array_cache=None
        )
    except BaseException:
        transport.close()
        raise


def _refuse_other_than_root(beginning: bytes, address: str) -> None:
    if not beginning.startswith(_MAGIC):
        msg = (
            f"{address}: expected a ROOT file, found one that starts with {beginning[:8]!r}; "
            "leave the file out"
        )
        raise DataError(msg)


def _open_mounted(path: str) -> Any:
    if not Path(path).exists():
        msg = f"{path}: expected a file (protocol: file), found none; is CERN's /eos mounted here?"
        raise TransferError(msg)
    return open_local(path)


@dataclass(frozen=True)
class Access:
    """How input files that are not on this machine are had."""

    read_mode: str
    protocol: str
    threads: int
    limits: Limits
    downloads: Downloads

    @classmethod
    def of(cls, parsing: Parsing, download_dir: Path) -> Self:
        """Return the configured way.

        Raises:
            ConfigError: it needs a package that is not installed.
        """
        if parsing.protocol == "root" and not has_xrootd():
            msg = f"parsing_task_config.protocol: root: {WITHOUT_XROOTD}"
            raise ConfigError(msg)
        limits = Limits.of(parsing)
        room = None if parsing.max_cache_gb is None else int(parsing.max_cache_gb * 10**9)
        return cls(
            read_mode=parsing.read_mode,
            protocol=parsing.protocol,
            threads=parsing.threads,
            limits=limits,
            downloads=Downloads(download_dir, limits, room, parsing.threads),
        )

    def address(self, file: InputFile, tried: int) -> str:
        """Return where a file is had after so many tries: each way it has, in turn."""
        found = ways(file.url, self.protocol)
        usable = [way for way in found if has_xrootd() or not speaks_xrootd(way)] or found
        return usable[tried % len(usable)]

    def opener(
        self, file: InputFile, tried: int, failure: TransferError | None
    ) -> Callable[[], Any] | None:
        """Return how to open a file after so many tries, the last with this failure.

        None where it lies on this machine.
        """
        is_whole = isinstance(failure, RangesMissingError)
        # A server that gives whole files is there: it is asked again, for one.
        address = self.address(file, tried - 1 if is_whole else tried)
        if "://" not in address:
            return None if address == file.url else lambda: _open_mounted(address)
        if self.read_mode == "download" or is_whole:
            if failure:
                self.downloads.discard(file)
            return lambda: open_local(self.downloads.local_copy(file, address))
        return lambda: open_remote(address, file, self.limits, self.threads)

    def prefetch(self, files: Iterable[InputFile]) -> None:
        """Begin to download files that will be opened soon."""
        if self.read_mode == "download":
            ahead = [file for file in files if "://" in self.address(file, 0)]
            self.downloads.prefetch([(file, self.address(file, 0)) for file in ahead])


def part_of_range(n_bytes: int, tried: int) -> int:
    """Return how much of a file to read at once after so many tries: a quarter each time."""
    return max(n_bytes >> (2 * tried), min(n_bytes, _SMALLEST_PART))

"""HTTP requests that end in time, whatever the server does, and are tried again."""

from __future__ import annotations

import errno
import http.client
import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager

from services.storage.retries import Limits, RangesIgnoredError, RequestError, try_again

T = TypeVar("T")

# The catalog of the largest release has about 10 MB.
LARGEST_ANSWER = 1 << 28
# The largest part of a file that one request asks for, so that its time is bounded.
BLOCK = 8 << 20

_PIECE = 1 << 16
# How often a waiting request looks whether it is still wanted, in seconds.
_GLANCE = 0.2
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
# These are about the moment, not about what was asked for.
_PASSING_STATUS = (408, 421, 425, _TOO_MANY_REQUESTS)
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+)")


class _Clock(threading.local):
    """When the request of this thread must be over."""

    read_timeout = 0.0
    until = 0.0
    stop = threading.Event()


_clock = _Clock()


class _TimedReader(io.RawIOBase):
    """Reads a socket, but neither waits longer than allowed nor after the request's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        # Keeps the socket open for as long as the answer is read.
        self._holder = cast("io.RawIOBase", connection.makefile("rb", buffering=0))
        self._until = _clock.until
        self._read_timeout = _clock.read_timeout
        self._stop = _clock.stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        silent_until = min(time.monotonic() + self._read_timeout, self._until)
        while True:
            left = silent_until - time.monotonic()
            if left <= 0 or self._stop.is_set():
                raise TimeoutError(errno.ETIMEDOUT, "no more bytes in time")
            self._socket.settimeout(min(left, _GLANCE))
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                continue

    def extend(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def close(self) -> None:
        self._holder.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer of which headers and body arrive in time."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self._timed = _TimedReader(sock)
        self.fp = io.BufferedReader(self._timed)

    def extend(self, seconds: float) -> None:
        """Allow so many more seconds."""
        self._timed.extend(seconds)


class _TimedHTTPConnection(HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPSConnection(HTTPSConnection):
    response_class = _TimedResponse


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


_POOLS = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}


class _Adapter(HTTPAdapter):
    """Makes requests over the connections above."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> PoolManager:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return cast("PoolManager", manager)


@dataclass(frozen=True)
class Part:
    """A range of bytes of a file, and how large the file is."""

    data: bytes
    file_size: int


class WebClient:
    """Asks web servers within limits; safe to use from several threads.

    Nothing is asked, nor waited for, after `until` (monotonic seconds), or once `abort` is called.
    """

    def __init__(self, limits: Limits, threads: int = 1, until: float | None = None) -> None:
        self._limits = limits
        self._until = until
        self._stop = threading.Event()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(max_retries=0, pool_maxsize=threads))
        # Compressed answers have no honest length, and ranges of them no meaning.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.abort()
        self._session.close()

    def abort(self) -> None:
        """Let every request fail that is under way, in whatever thread."""
        self._stop.set()

    def get(
        self, url: str, params: Mapping[str, Any] | None = None, *, at_most: int = LARGEST_ANSWER
    ) -> bytes:
        """Return the body of an answer.

        Raises:
            RequestError: there is none, or it is larger than `at_most` bytes.
        """
        return self._again(lambda: self._get(url, params, at_most))

    def get_json(self, url: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return what the JSON of an answer says.

        Raises:
            RequestError: there is no answer, or it is no JSON.
        """
        body = self.get(url, params)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            start = body[:40].decode("utf-8", "replace")
            msg = f"expected JSON, found {start!r}"
            raise RequestError(url, msg, is_passing=False) from error

    def get_part(self, url: str, start: int, stop: int) -> Part:
        """Return the bytes `start .. stop - 1` of a file, fewer only where it ends.

        Raises:
            RequestError: they could not be had.
            RangesIgnoredError: the server gives whole files only.
        """
        return self._again(lambda: self._get_part(url, start, stop))

    def copy(self, url: str, path: Path, at_most: int) -> None:
        """Write a whole file to `path`, from its beginning at each try.

        Raises:
            RequestError: it broke off, or is larger than `at_most` bytes.
        """
        self._again(lambda: self._copy(url, path, at_most))

    def _copy(self, url: str, path: Path, at_most: int) -> None:
        with self._answer(url, None, {}) as answer, path.open("wb") as target:
            for piece in self._pieces(url, answer, at_most):
                target.write(piece)

    def _again(self, once: Callable[[], T]) -> T:
        return try_again(once, self._limits, self._stop, self._until)

    def _get(self, url: str, params: Mapping[str, Any] | None, at_most: int) -> bytes:
        with self._answer(url, params, {}) as answer:
            return b"".join(self._pieces(url, answer, at_most))

    def _get_part(self, url: str, start: int, stop: int) -> Part:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        with self._answer(url, None, headers) as answer:
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status_code == requests.codes.ok:
                self._refuse_other_than_root(url, answer, start)
                raise RangesIgnoredError(url)
            if not match or match[1] is None or int(match[1]) != start:
                found = f"status {answer.status_code}, {answer.headers.get('Content-Range')}"
                msg = f"expected the bytes from {start}, found {found}"
                raise RequestError(url, msg, is_passing=True)
            size = int(match[3])
            expected = min(stop, size) - start
            data = b"".join(self._pieces(url, answer, expected))
        if len(data) != expected:
            msg = f"expected {expected} bytes from {start}, found {len(data)}"
            raise RequestError(url, msg, is_passing=True)
        return Part(data, size)

    def _refuse_other_than_root(self, url: str, answer: requests.Response, start: int) -> None:
        """Raise unless an answer without range looks like the whole file.

        Under load, a page that says so has been seen to arrive with status 200.
        """
        beginning = next(self._pieces(url, answer, LARGEST_ANSWER), b"")
        if not beginning.startswith(b"root"):
            msg = f"expected the bytes from {start}, found a page: {beginning[:40]!r}"
            raise RequestError(url, msg, is_passing=True)

    @contextmanager
    def _answer(
        self, url: str, params: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Iterator[requests.Response]:
        """Yield an answer of which only the headers have been read; its status is a good one."""
        limits = self._limits
        now = time.monotonic()
        until = now + limits.total_timeout
        until = until if self._until is None else min(until, self._until)
        if until <= now or self._stop.is_set():
            raise RequestError(url, "there is no time left for it", is_passing=False)
        _clock.until, _clock.read_timeout, _clock.stop = until, limits.read_timeout, self._stop
        left = until - now
        with _request_errors(url):
            answer = self._session.get(
                url,
                params=params,
                headers=dict(headers),
                stream=True,
                timeout=(min(limits.connect_timeout, left), min(limits.read_timeout, left)),
            )
        try:
            _refuse_status(url, answer)
            yield answer
        except BaseException:
            # What is left of the body would be taken for the next answer.
            answer.raw.close()
            raise
        finally:
            answer.close()

    def _pieces(self, url: str, answer: requests.Response, at_most: int) -> Iterator[bytes]:
        """Yield a body as it comes; each block of it may take as long as one request."""
        n_bytes, in_block = 0, 0
        while piece := _read_piece(url, answer):
            n_bytes += len(piece)
            in_block += len(piece)
            if n_bytes > at_most:
                msg = f"expected at most {at_most} bytes, found more"
                raise RequestError(url, msg, is_passing=False)
            if in_block >= BLOCK and self._until is None:
                in_block = 0
                timed: Any = answer.raw._original_response  # noqa: SLF001 - the only way to it
                timed.extend(self._limits.total_timeout)
            yield piece
        stated = answer.headers.get("Content-Length", "")
        if stated.isdigit() and int(stated) != n_bytes:
            msg = f"expected {stated} bytes, found {n_bytes}"
            raise RequestError(url, msg, is_passing=True)


def _read_piece(url: str, answer: requests.Response) -> bytes:
    with _request_errors(url):
        return cast("bytes", answer.raw.read(_PIECE, decode_content=False))


def _refuse_status(url: str, answer: requests.Response) -> None:
    status = answer.status_code
    if status in (requests.codes.ok, requests.codes.partial_content):
        return
    is_passing = status >= _SERVER_ERROR or status in _PASSING_STATUS
    asked = answer.headers.get("Retry-After", "")
    pause = float(asked) if asked.isdigit() else None
    msg = f"the server answers {status} {answer.reason or ''}".rstrip()
    raise RequestError(url, msg, is_passing=is_passing, pause=pause)


@contextmanager
def _request_errors(url: str) -> Iterator[None]:
    """Turn what goes wrong on the network into a RequestError."""
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise RequestError(url, f"not an address ({error})", is_passing=False) from error
    except requests.exceptions.TooManyRedirects as error:
        raise RequestError(url, "it is redirected without end", is_passing=False) from error
    except (OSError, HTTPError, http.client.HTTPException, requests.RequestException) as error:
        # A certificate that is not trusted will not be at the next try either.
        is_passing = "CERTIFICATE_VERIFY_FAILED" not in str(error)
        raise RequestError(url, _cause(error), is_passing=is_passing) from error


def _cause(error: BaseException) -> str:
    """Return the innermost reason: the libraries wrap one into the other."""
    text = " ".join(str(error).split())
    if "no more bytes in time" in text or "timed out" in text:
        return "no answer within the time-out"
    if "refused" in text:
        return "the connection is refused"
    if "Failed to resolve" in text:
        return "there is no network, or no server of that name"
    return f"{type(error).__name__}: {text[:200]}"

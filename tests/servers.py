"""Servers on this machine: the ATLAS catalog and CERN's portal, with faults, and XRootD."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

STORE = "root://eospublic.cern.ch//eos/opendata/"
_INVERTED = bytes(range(255, -1, -1))
ERROR_PAGE = b"<html><body>Too many requests, try again later.</body></html>".ljust(3846)


@dataclass
class Request:
    """What was asked for, and what it got."""

    number: int
    path: str
    query: dict[str, str]
    range: tuple[int, int] | None
    sent: int = 0
    fault: str | None = None


Fault = Callable[[Request], str | None]


@dataclass
class Record:
    """A record of the portal. `shown` is how many files the record itself lists, None for all."""

    files: list[dict[str, Any]] = field(default_factory=list)
    indexes: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    shown: int | None = None
    """The record lists only so many files and indexes; its pages list all."""
    paged: int | None = None
    """The pages list only so many."""


class OpenDataServer:
    """Serves what it is given, and counts; `fault` is asked about every request.

    Faults: a status such as `503` or `429`, `reset` (the connection is torn down), `stall`
    (nothing is sent), `stall body`, `trickle` and `trickle headers` (a byte now and then), `short`
    (half the body), `page` (an error page with status 200), `whole` (ranges are ignored),
    `damaged` (the bytes are wrong), `endless` (a body without an end), `slow` (after a while).
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.replies: dict[str, bytes] = {}
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.counts: dict[str, Any] = {}
        self.records: dict[str, Record] = {}
        self.requests: list[Request] = []
        self.n_connections = 0
        self.at_once = self.most_at_once = 0
        self.fault: Fault = lambda _: None
        self.retry_after: str | None = None
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self)
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, content: bytes) -> str:
        """Serve a file of the store under the address that catalogs list; return that."""
        self.files[f"/eos/opendata/{name}"] = content
        return STORE + name

    def address(self, name: str) -> str:
        return f"{self.url}/eos/opendata/{name}"

    def release(self, name: str, datasets: Mapping[str, Sequence[str]], **more: Any) -> None:
        """List datasets of a release by key; `more` are fields that all of them have."""
        self.releases[name] = [
            {"dataset_number": key, "file_list": list(urls), "skims": [], **more}
            for key, urls in datasets.items()
        ]

    def record(
        self, name: str, urls: Sequence[str], *, kind: str = "Collision", **metadata: Any
    ) -> Record:
        """List a CMS NanoAOD record with these files."""
        total = metadata.pop("number_files", len(urls))
        record = Record(
            files=[self.entry(url) for url in urls],
            metadata={
                "recid": name,
                "title": f"/Example{name}/NANOAOD",
                "experiment": ["CMS"],
                "type": {"primary": "Dataset", "secondary": [kind]},
                "distribution": {"number_files": total, "formats": ["nanoaod", "root"]},
                **metadata,
            },
        )
        self.records[name] = record
        return record

    def entry(self, url: str) -> dict[str, Any]:
        """Return what the portal says about a file, as far as it is served here."""
        content = self.files.get("/eos/opendata/" + url.removeprefix(STORE), b"")
        # The portal leaves out leading zeros.
        return {
            "uri": url,
            "key": url.rpartition("/")[2],
            "size": len(content),
            "checksum": f"adler32:{zlib.adler32(content):x}",
        }

    def asked(self, beginning: str = "/") -> list[Request]:
        return [request for request in self.requests if request.path.startswith(beginning)]

    @property
    def sent(self) -> int:
        """Bytes of files that were sent."""
        return sum(request.sent for request in self.asked("/eos/"))

    def note(self, path: str, query: dict[str, str], wanted: tuple[int, int] | None) -> Request:
        with self._lock:
            request = Request(len(self.requests), path, query, wanted)
            self.requests.append(request)
            request.fault = self.fault(request)
        return request

    def busy(self, change: int) -> None:
        with self._lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def reply(self, path: str, query: Mapping[str, str]) -> bytes | None:
        if path in self.replies:
            return self.replies[path]
        found = (
            self._atlas(path, query) if path.startswith("/datasets") else self._portal(path, query)
        )
        return None if found is None else json.dumps(found).encode()

    def _atlas(self, path: str, query: Mapping[str, str]) -> Any:
        name = query.get("release_name", "")
        rows = self.releases.get(name, [])
        if path == "/datasets/count":
            return {"count": self.counts.get(name, len(rows))}
        skip = int(query.get("skip", "0"))
        return rows[skip : skip + int(query.get("limit", "1000"))]

    def _portal(self, path: str, query: Mapping[str, str]) -> Any:
        match = re.fullmatch(r"/(?:api/records|record)/([^/]+)(/.*)?", path)
        record = self.records.get(match[1]) if match else None
        if not match or not record:
            return None
        if path.startswith("/api/"):
            shown = {
                "files": record.files[: record.shown],
                "_file_indices": record.indexes[: record.shown],
            }
            return {"id": match[1], "metadata": record.metadata | shown}
        rest = match[2] or ""
        if page := re.fullmatch(r"/filepage/([0-9]+)", rest):
            rows = record.files if query.get("type") == "files" else record.indexes
            size = int(query.get("perPage", "5"))
            first = (int(page[1]) - 1) * size
            listed = rows[: record.paged][first : first + size]
            return {"total": len(rows), "files": listed}
        if index := re.fullmatch(r"/file_index/(.+)", rest):
            for row in record.indexes:
                if row["key"] == unquote(index[1]):
                    return row.get("all_files", row["files"])
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: OpenDataServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that break off are what is tested."""


def now_and_then(one_in: int, seed: int, faults: Iterable[str]) -> Fault:
    """Return a fault that hits one request of so many, at random."""
    chance = random.Random(seed)
    kinds = list(faults)
    return lambda _: chance.choice(kinds) if chance.randrange(one_in) == 0 else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the acknowledgement of those before.
    disable_nagle_algorithm = True

    @property
    def owner(self) -> OpenDataServer:
        assert isinstance(self.server, _Server)
        return self.server.owner

    def setup(self) -> None:
        self.owner.n_connections += 1
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        bounds = (int(wanted[1]), int(wanted[2]) + 1) if wanted else None
        request = self.owner.note(unquote(parts.path), query, bounds)
        self.owner.busy(1)
        try:
            self.answer(request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.owner.busy(-1)

    def answer(self, request: Request) -> None:
        fault = request.fault
        if fault == "reset":
            # Closing with this option sends a reset instead of an orderly end.
            option = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self.close_connection = True
            self.connection.close()
        elif fault == "stall":
            self.owner.closing.wait(30)
            self.close_connection = True
        elif fault and fault.isdigit():
            self.send(request, int(fault), b"sorry")
        elif fault == "page":
            self.send(request, 200, ERROR_PAGE)
        elif fault == "endless":
            self.endless(request)
        else:
            if fault == "slow":
                self.owner.closing.wait(0.05)
            self.content(request)

    def content(self, request: Request) -> None:
        body = self.owner.files.get(request.path)
        if body is None:
            body = self.owner.reply(request.path, request.query)
            self.send(request, 404 if body is None else 200, body or b"not here")
            return
        if request.range is None or request.fault == "whole":
            self.send(request, 200, body)
            return
        start, stop = request.range
        if start >= len(body):
            self.send(request, 416, b"", f"bytes */{len(body)}")
            return
        stop = min(stop, len(body))
        self.send(request, 206, body[start:stop], f"bytes {start}-{stop - 1}/{len(body)}")

    def send(self, request: Request, status: int, body: bytes, range_: str = "") -> None:
        if request.fault == "trickle headers":
            self.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if range_:
            self.send_header("Content-Range", range_)
        if status in (429, 503) and self.owner.retry_after:
            self.send_header("Retry-After", self.owner.retry_after)
        self.end_headers()
        if request.fault == "stall body":
            self.wfile.write(body[: len(body) // 2])
            self.owner.closing.wait(30)
            self.close_connection = True
        elif request.fault == "trickle":
            self.trickle(body)
        elif request.fault == "short":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif request.fault == "damaged":
            self.wfile.write(body.translate(_INVERTED))
        else:
            self.wfile.write(body)
        request.sent += len(body)

    def trickle(self, body: bytes) -> None:
        self.close_connection = True
        for position in range(len(body)):
            if self.owner.closing.wait(0.02):
                return
            self.wfile.write(body[position : position + 1])

    def endless(self, request: Request) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            self.wfile.write(b"[" * 65536)
            request.sent += 65536


class XRootDServer:
    """A real XRootD server that serves the folder `store` as /eos/opendata."""

    def __init__(self) -> None:
        # The server does not run as root, and must be able to look into the folder.
        self.root = Path(tempfile.mkdtemp(prefix="xrootd-"))
        self.root.chmod(0o755)
        self.store = self.root / "eos" / "opendata"
        self.store.mkdir(parents=True)
        (self.root / "admin").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"root://127.0.0.1:{self.port}"
        (self.root / "server.cf").write_text(
            f"all.export /eos r/o\noss.localroot {self.root}\nall.adminpath {self.root}/admin\n"
            f"all.pidpath {self.root}/admin\nxrd.port {self.port}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> None:
        user = []
        if os.geteuid() == 0:
            user = ["-R", "nobody"]
            shutil.chown(self.root / "admin", "nobody")
        command = ["xrootd", *user, "-c", str(self.root / "server.cf"), "-n", "test"]
        command += ["-l", str(self.root / "admin" / "log")]
        self._process = subprocess.Popen(command, cwd=self.root)
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        message = "the XRootD server does not start"
        raise RuntimeError(message)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stall(self) -> None:
        """Let it accept connections, but say nothing any more."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

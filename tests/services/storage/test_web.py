"""Requests against a real server that misbehaves: in time, again, and never for ever."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NameResolutionError

from services.storage import web
from services.storage.retries import Limits, RangesIgnoredError, RequestError
from services.storage.web import WebClient
from tests.servers import ERROR_PAGE, OpenDataServer, Request

LIMITS = Limits(connect_timeout=1.0, read_timeout=0.4, total_timeout=0.8, retries=3, backoff=0.001)
ONCE = replace(LIMITS, retries=0)
# Bounds are wide: a busy machine is slow, but not as slow as what would not end.
SILENT = replace(ONCE, total_timeout=10.0)
CONTENT = b"root" + bytes(range(256)) * 8


@pytest.fixture
def address(server: OpenDataServer) -> str:
    server.put("file.root", CONTENT)
    return server.address("file.root")


@pytest.fixture
def client() -> Iterator[WebClient]:
    with WebClient(LIMITS) as made:
        yield made


def first(n: int, fault: str) -> Callable[[Request], str | None]:
    """Return a fault that hits the first n requests."""
    return lambda request: fault if request.number < n else None


def seconds_of(call: Callable[[], object]) -> float:
    started = time.monotonic()
    with pytest.raises(RequestError):
        call()
    return time.monotonic() - started


def test_a_part_comes_with_the_size_of_the_file(client: WebClient, address: str) -> None:
    part = client.get_part(address, 10, 20)
    assert (part.data, part.file_size) == (CONTENT[10:20], len(CONTENT))


def test_a_part_ends_where_the_file_ends(client: WebClient, address: str) -> None:
    assert client.get_part(address, 2000, 9000).data == CONTENT[2000:]


def test_several_parts_come_over_one_connection(
    server: OpenDataServer, client: WebClient, address: str
) -> None:
    for start in range(5):
        client.get_part(address, start, start + 1)
    assert server.n_connections == 1


@pytest.mark.parametrize(
    "fault",
    ["500", "502", "503", "504", "429", "408", "reset", "short", "page", "stall", "stall body"],
)
def test_what_passes_is_tried_again(
    server: OpenDataServer, client: WebClient, address: str, fault: str
) -> None:
    server.fault = first(2, fault)
    assert client.get_part(address, 0, 1000).data == CONTENT[:1000]
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", ["404", "403", "401", "410", "whole"])
def test_what_lasts_is_not_tried_again(
    server: OpenDataServer, client: WebClient, address: str, fault: str
) -> None:
    server.fault = lambda _: fault
    with pytest.raises(RequestError, match=r"http://127\.0\.0\.1.*file\.root") as caught:
        client.get_part(address, 0, 10)
    assert not caught.value.is_passing
    assert len(server.requests) == 1


def test_after_all_tries_it_is_an_error(
    server: OpenDataServer, client: WebClient, address: str
) -> None:
    server.fault = lambda _: "503"
    with pytest.raises(RequestError, match="answers 503") as caught:
        client.get_part(address, 0, 10)
    assert caught.value.is_passing
    assert len(server.requests) == 1 + LIMITS.retries


def test_nobody_at_the_address_is_a_passing_failure(client: WebClient) -> None:
    with pytest.raises(RequestError, match="refused") as caught:
        client.get("http://127.0.0.1:1/x")
    assert caught.value.is_passing


def test_a_server_whose_name_is_not_known_is_told_in_words() -> None:
    unknown = NameResolutionError("catalog", HTTPConnection("catalog"), socket.gaierror(-3, "no"))
    with (
        pytest.raises(
            RequestError, match="there is no network, or no server of that name"
        ) as error,
        web._request_errors("https://catalog"),  # noqa: SLF001 - the tests ask no name server
    ):
        raise unknown
    assert error.value.is_passing


def test_pauses_grow_and_are_no_longer_than_they_should_be(
    server: OpenDataServer, address: str
) -> None:
    server.fault = lambda _: "503"
    with WebClient(replace(LIMITS, backoff=0.1)) as client:
        # 0.1 + 0.2 + 0.4 seconds, each varied by half.
        assert 0.35 <= seconds_of(lambda: client.get(address)) < 3


def test_a_server_that_asks_for_a_pause_gets_it(
    server: OpenDataServer, client: WebClient, address: str
) -> None:
    server.fault = first(1, "429")
    server.retry_after = "1"
    started = time.monotonic()
    client.get(address)
    assert 1.0 <= time.monotonic() - started < 4


def test_a_server_that_asks_for_hours_does_not_get_them(
    server: OpenDataServer, client: WebClient, address: str
) -> None:
    server.fault = first(1, "503")
    server.retry_after = "7200"
    assert seconds_of(lambda: client.get(address)) < 3


@pytest.mark.parametrize("fault", ["stall", "stall body"])
def test_silence_fails_after_the_read_time_out(
    server: OpenDataServer, address: str, fault: str
) -> None:
    server.fault = lambda _: fault
    with WebClient(SILENT) as client:
        assert 0.35 <= seconds_of(lambda: client.get_part(address, 0, 2000)) < 3


@pytest.mark.parametrize("fault", ["trickle", "trickle headers"])
def test_trickling_bytes_fail_after_the_total_time_out(
    server: OpenDataServer, address: str, fault: str
) -> None:
    server.fault = lambda _: fault
    with WebClient(ONCE) as client:
        assert 0.75 <= seconds_of(lambda: client.get_part(address, 0, 2000)) < 4


def test_nothing_is_tried_beyond_the_end_of_all(server: OpenDataServer, address: str) -> None:
    server.fault = lambda _: "stall"
    with WebClient(replace(LIMITS, retries=100), until=time.monotonic() + 1.0) as client:
        assert seconds_of(lambda: client.get(address)) < 4


def test_a_request_ends_when_it_is_not_wanted_any_more(
    server: OpenDataServer, address: str
) -> None:
    server.fault = lambda _: "stall"
    with WebClient(replace(ONCE, read_timeout=20.0, total_timeout=20.0)) as client:
        threading.Timer(0.2, client.abort).start()
        assert seconds_of(lambda: client.get(address)) < 5


def test_a_server_without_ranges_is_told_from_an_error_page(
    server: OpenDataServer, client: WebClient, address: str
) -> None:
    server.fault = lambda _: "whole"
    with pytest.raises(RangesIgnoredError):
        client.get_part(address, 100, 200)
    server.fault = lambda _: "page"
    with pytest.raises(RequestError, match="found a page") as caught:
        client.get_part(address, 100, 200)
    assert caught.value.is_passing


def test_an_endless_answer_is_cut(server: OpenDataServer, address: str) -> None:
    server.fault = lambda _: "endless"
    with WebClient(ONCE) as client, pytest.raises(RequestError, match="at most 1000000 bytes"):
        client.get(address, at_most=1_000_000)


def test_json_is_read(server: OpenDataServer, client: WebClient) -> None:
    server.replies["/a"] = json.dumps({"b": [1]}).encode()
    assert client.get_json(f"{server.url}/a") == {"b": [1]}


@pytest.mark.parametrize("body", [ERROR_PAGE, b"", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_an_error_that_names_the_address(
    server: OpenDataServer, client: WebClient, body: bytes
) -> None:
    server.replies["/a"] = body
    with pytest.raises(RequestError, match=rf"{server.url}/a: expected JSON"):
        client.get_json(f"{server.url}/a")


def test_an_address_that_is_none_is_not_tried_again(client: WebClient) -> None:
    with pytest.raises(RequestError, match="not an address") as caught:
        client.get("nonsense://x")
    assert not caught.value.is_passing


# The same over TLS, as it is on the way to CERN.


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the certificate of a test server")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", "-"]
    made = subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


def test_tls_is_spoken_and_its_silence_is_timed(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with OpenDataServer(certificate) as server, WebClient(ONCE) as client:
        server.put("file.root", CONTENT)
        address = server.address("file.root")
        for start in range(3):
            assert client.get_part(address, start, 2000).data == CONTENT[start:2000]
        assert server.n_connections == 1
        server.fault = lambda _: "stall body"
        assert 0.35 <= seconds_of(lambda: client.get_part(address, 0, 2000)) < 4
        server.fault = lambda _: "trickle"
        assert 0.75 <= seconds_of(lambda: client.get_part(address, 0, 2000)) < 4


def test_a_certificate_that_is_not_trusted_is_a_lasting_failure(certificate: Path) -> None:
    with OpenDataServer(certificate) as server, WebClient(LIMITS) as client:
        with pytest.raises(RequestError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            client.get(server.address("file.root"))
        assert not caught.value.is_passing

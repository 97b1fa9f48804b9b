"""Reading by XRootD, from a real server."""

import shutil
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataError, TransferError
from schemas.inputs import InputFile, Sample
from schemas.releases import load_layout
from services.storage.downloads import Downloads
from services.storage.events import open_events
from services.storage.remote import open_remote
from services.storage.retries import Limits
from services.storage.transports import open_transport
from tests.factory import make_config, run_pipeline, write_nanoaod
from tests.servers import STORE, OpenDataServer, XRootDServer

if shutil.which("xrootd") is None:
    pytest.skip("no XRootD server here: apt-get install xrootd-server", allow_module_level=True)
if find_spec("XRootD") is None:
    pytest.skip("no XRootD client here: pip install xrootd", allow_module_level=True)

LIMITS = Limits(connect_timeout=1.0, read_timeout=1.0, total_timeout=2.0, retries=1, backoff=0.1)
PATIENT = Limits(connect_timeout=1.0, read_timeout=1.0, total_timeout=2.0, retries=8, backoff=0.1)
CONTENT = b"root" + np.random.default_rng(1).bytes(3_000_000)


@pytest.fixture
def xrootd(monkeypatch: pytest.MonkeyPatch) -> Iterator[XRootDServer]:
    with XRootDServer() as running:
        (running.store / "a.root").write_bytes(CONTENT)
        monkeypatch.setenv("OPENDATA_XROOTD_URL", running.url)
        yield running


def address(xrootd: XRootDServer, name: str = "a.root") -> str:
    return f"{xrootd.url}//eos/opendata/{name}"


def listed(url: str) -> InputFile:
    return InputFile(url=url, source="record_1", layout="cms-nanoaod", sample=Sample.DATA)


def test_ranges_are_what_is_in_the_file(xrootd: XRootDServer) -> None:
    transport = open_transport(address(xrootd), LIMITS, 1)
    ranges = [(0, 4), (2_000_000, 2_999_999), (100, 100_000), (2_999_000, 3_000_004)]
    assert transport.size == len(CONTENT)
    assert transport.beginning == CONTENT[: 1 << 16]
    assert transport.read(ranges) == [CONTENT[start:stop] for start, stop in ranges]
    transport.close()


def test_a_file_that_is_not_there_is_no_passing_failure(xrootd: XRootDServer) -> None:
    with pytest.raises(DataError, match=r"none\.root: .* no such file") as caught:
        open_transport(address(xrootd, "none.root"), LIMITS, 1)
    assert type(caught.value) is DataError


def test_nobody_at_the_address_is_a_passing_failure() -> None:
    with pytest.raises(TransferError, match="1//a"):
        open_transport("root://127.0.0.1:1//a.root", LIMITS, 1)


def test_a_server_that_stalls_fails_within_the_time_out(xrootd: XRootDServer) -> None:
    transport = open_transport(address(xrootd), LIMITS, 1)
    xrootd.stall()
    started = time.monotonic()
    with pytest.raises(TransferError, match="no answer within the time-out"):
        transport.read([(1_000_000, 2_000_000)])
    # Two tries of two seconds, and a second at most to close the first.
    assert time.monotonic() - started < 9
    transport.close()


def test_a_server_that_comes_back_is_asked_again(xrootd: XRootDServer) -> None:
    transport = open_transport(address(xrootd), PATIENT, 1)
    xrootd.stop()
    threading.Timer(0.5, xrootd.start).start()
    assert transport.read([(5, 5_000)]) == [CONTENT[5:5_000]]
    transport.close()


def test_events_are_streamed(xrootd: XRootDServer, tmp_path: Path) -> None:
    events = [[(50.0 + i, 0.1, 0.2)] * (i % 3) for i in range(100)]
    path = write_nanoaod(tmp_path / "events.root", electrons=events)
    shutil.copy(path, xrootd.store)
    url, layout = address(xrootd, "events.root"), load_layout("cms-nanoaod")
    with (
        open_events(url, layout, (), (), lambda: open_remote(url, listed(url), LIMITS, 1)) as far,
        open_events(str(path), layout, (), ()) as near,
    ):
        one, other = far.read(10, 90), near.read(10, 90)
    columns = one.objects["Electrons"].columns
    assert len(columns["pt"]) == 81
    assert np.array_equal(columns["pt"], other.objects["Electrons"].columns["pt"])


def test_files_are_downloaded(xrootd: XRootDServer, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, LIMITS, None, 1)
    path = downloads.local_copy(listed(STORE + "a.root"), address(xrootd))
    assert path.read_bytes() == CONTENT


def test_a_file_that_https_does_not_give_is_read_by_xrootd(
    server: OpenDataServer, xrootd: XRootDServer, tmp_path: Path
) -> None:
    path = write_nanoaod(tmp_path / "e.root", muons=[[(30.0, 0.0, 0.0), (40.0, 0.0, 1.0)]] * 20)
    shutil.copy(path, xrootd.store)
    server.record("1", [server.put("e.root", path.read_bytes())])
    server.fault = lambda r: "503" if r.path.startswith("/eos/") else None
    settings = {
        "specific_record_ids": [1],
        "request_retries": 0,
        "request_backoff_seconds": 0.0,
        "count_retries_failed_files": 1,
    }
    run = run_pipeline(make_config({"parsing_task_config": settings}, tmp_path), tmp_path / "run")
    assert run.histogram_file(Sample.DATA).exists()
    assert len(server.asked("/eos/")) == 1

"""Streaming: few bytes, few requests, the right columns, and every try another way."""

import io
import queue
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from schemas.errors import DataError, TransferError
from schemas.inputs import InputFile, Sample
from schemas.releases import load_layout
from services.storage.events import open_events
from services.storage.remote import Access, RemoteSource, part_of_range, plan_requests
from services.storage.transports import Range, RangesMissingError
from services.storage.web import BLOCK
from tests.factory import NANOAOD, make_config, write_nanoaod
from tests.servers import OpenDataServer

MEBIBYTE = 1 << 20
FAST: dict[str, Any] = {
    "request_read_timeout": 0.4,
    "request_total_timeout": 0.8,
    "request_backoff_seconds": 0.001,
    "request_retries": 2,
}


def config(folder: Path, **parsing: Any) -> Config:
    wanted = {"specific_record_ids": ["1"], **FAST, **parsing}
    return make_config({"parsing_task_config": wanted}, folder)


def access(folder: Path, **parsing: Any) -> Access:
    return Access.of(config(folder, **parsing).parsing_task_config, folder / "downloads")


def listed(url: str, **more: Any) -> InputFile:
    return InputFile(url=url, source="record_1", layout="cms-nanoaod", sample=Sample.DATA, **more)


def interleaved_file(path: Path, n_clusters: int, *, cluster: int = 2000) -> bytes:
    """Write a NanoAOD-like file: of its bytes a tenth, all over it, belong to needed branches."""
    rng = np.random.default_rng(5)
    n_events = n_clusters * cluster
    branches: dict[str, Any] = {
        "run": np.ones(n_events, np.uint32),
        "luminosityBlock": np.ones(n_events, np.uint32),
        "event": rng.integers(0, 1 << 60, n_events).astype(np.uint64),
    }
    counts = rng.integers(0, 3, n_events)
    for collection in NANOAOD.values():
        for quantity in ("pt", "eta", "phi", "mass"):
            name = f"{collection}_{quantity}"
            values = rng.exponential(30, counts.sum()).astype(np.float32)
            branches[name] = ak.unflatten(values, counts)
            branches |= {f"other_{name}_{i}": rng.normal(size=n_events) for i in range(7)}
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        types = {
            name: "var * float32" if isinstance(column, ak.Array) else column.dtype
            for name, column in branches.items()
        }
        tree = file.mktree("Events", types)
        for start in range(0, n_events, cluster):
            tree.extend({name: c[start : start + cluster] for name, c in branches.items()})
    return path.read_bytes()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return interleaved_file(tmp_path_factory.mktemp("large") / "large.root", 10)


def needed_branches(file: Any) -> list[str]:
    names = ["run", "luminosityBlock", "event"]
    for key, collection in NANOAOD.items():
        quantities = ["pt", "eta", "phi"] + (["mass"] if key in ("jets", "taus") else [])
        names += [f"{collection}_{quantity}" for quantity in quantities]
    return [name for name in names if name in file]


def test_streaming_transfers_little_more_than_the_needed_baskets(
    server: OpenDataServer, tmp_path: Path, large: bytes
) -> None:
    url = server.put("large.root", large)
    with uproot.open(io.BytesIO(large)) as file:
        tree = file["Events"]
        sizes = {name: tree[name].compressed_bytes for name in tree.keys()}  # noqa: SIM118
        needed = sum(sizes[name] for name in needed_branches(tree))
    metadata = len(large) - sum(sizes.values())
    assert 0.07 < needed / len(large) < 0.13
    assert len(large) > 10 * MEBIBYTE
    opener = access(tmp_path).opener(listed(url), 0, None)
    layout = load_layout("cms-nanoaod")
    with open_events(url, layout, (), (), opener) as source:
        for start, stop in source.ranges(400_000):
            source.read(start, stop)
    assert needed < server.sent <= 1.3 * needed + metadata + MEBIBYTE
    assert len(server.asked("/eos/")) < 200


def test_a_basket_in_two_ranges_is_fetched_once(
    server: OpenDataServer, tmp_path: Path, large: bytes
) -> None:
    url = server.put("large.root", large)
    opener = access(tmp_path).opener(listed(url), 0, None)
    with open_events(url, load_layout("cms-nanoaod"), (), (), opener) as source:
        source.read(0, 1500)
        before = len(server.requests)
        source.read(1500, 1999)
        assert len(server.requests) == before
        # The next needs what is new only, though it begins within a basket.
        source.read(1500, 2100)
        ranges = [request.range for request in server.asked("/eos/") if request.range]
    asked = sorted(ranges[before:])
    assert asked
    fetched = set(ranges[:before])
    assert not fetched & set(asked)


def test_what_is_streamed_is_what_is_in_the_file(server: OpenDataServer, tmp_path: Path) -> None:
    events = [[(50.0 + i, 0.1 * i, 0.2)] * (i % 3) for i in range(100)]
    path = write_nanoaod(tmp_path / "small.root", electrons=events)
    url = server.put("small.root", path.read_bytes())
    layout = load_layout("cms-nanoaod")
    opener = access(tmp_path).opener(listed(url), 0, None)
    with (
        open_events(url, layout, (), (), opener) as far,
        open_events(str(path), layout, (), ()) as near,
    ):
        for start, stop in [(0, 30), (30, 31), (31, 100)]:
            one, other = far.read(start, stop), near.read(start, stop)
            for name in one.objects:
                assert np.array_equal(one.objects[name].offsets, other.objects[name].offsets)
                for quantity, column in one.objects[name].columns.items():
                    assert np.array_equal(column, other.objects[name].columns[quantity])


# Planning


FILE = 2 * MEBIBYTE
CONTENT = np.random.default_rng(3).bytes(FILE)
ranges_of_a_file = st.lists(
    st.tuples(st.integers(0, FILE - 300_000), st.integers(1, 300_000)).map(
        lambda pair: (pair[0], pair[0] + pair[1])
    ),
    min_size=1,
    max_size=30,
)


@given(ranges_of_a_file)
def test_every_needed_byte_is_asked_for_and_few_others(ranges: list[Range]) -> None:
    needed, asked = np.zeros(FILE, bool), np.zeros(FILE, bool)
    for start, stop in ranges:
        needed[start:stop] = True
    planned = plan_requests(ranges)
    for start, stop in planned:
        assert 0 < stop - start <= BLOCK
        assert not asked[start:stop].any()
        asked[start:stop] = True
    assert asked[needed].all()
    assert asked.sum() <= 1.2 * needed.sum()


@pytest.mark.parametrize(
    ("ranges", "planned"),
    [
        ([(0, 100), (100, 200)], [(0, 200)]),
        ([(100, 200), (0, 100)], [(0, 200)]),
        ([(0, 100), (110, 200)], [(0, 200)]),
        ([(0, 100), (180, 200)], [(0, 100), (180, 200)]),
        ([(0, 1000), (1001, 2000), (2600, 3000)], [(0, 2000), (2600, 3000)]),
        ([(0, 100), (0, 100)], [(0, 100)]),
        ([(0, 600), (100, 200), (400, 700)], [(0, 700)]),
        ([(0, BLOCK + 5)], [(0, BLOCK), (BLOCK, BLOCK + 5)]),
        ([(0, BLOCK), (BLOCK, 2 * BLOCK)], [(0, BLOCK), (BLOCK, 2 * BLOCK)]),
    ],
)
def test_neighbours_are_one_request(ranges: list[Range], planned: list[Range]) -> None:
    assert plan_requests(ranges) == planned


class InMemory:
    """A file that is all there."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.beginning = content[:64]

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        return [self.content[start:stop] for start, stop in ranges]

    def close(self) -> None:
        pass


@given(ranges_of_a_file)
def test_the_library_gets_the_bytes_that_it_asks_for(ranges: list[Range]) -> None:
    source = RemoteSource("x", transport=InMemory(CONTENT))
    for part in (ranges, ranges[::-1]):
        for chunk in source.chunks(part, queue.Queue()):
            assert bytes(chunk.raw_data) == CONTENT[chunk.start : chunk.stop]
        for start, stop in part:
            assert bytes(source.chunk(start, stop).raw_data) == CONTENT[start:stop]


def test_a_damaged_file_cannot_ask_for_bytes_that_it_has_not() -> None:
    source = RemoteSource("x", transport=InMemory(b"root" * 100))
    with pytest.raises(DataError, match="x: it points to its bytes 300 to 500, but has 400"):
        source.chunks([(300, 500)], queue.Queue())


# Tries


def test_each_try_of_a_file_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENDATA_PORTAL_URL", "https://portal.example")
    monkeypatch.setenv("OPENDATA_XROOTD_URL", "root://door.example")
    package = ModuleType("XRootD")
    package.__spec__ = ModuleSpec("XRootD", None)
    monkeypatch.setitem(sys.modules, "XRootD", package)
    file = listed("root://eospublic.cern.ch//eos/opendata/a.root")
    addresses = [access(tmp_path).address(file, tried) for tried in range(3)]
    https = "https://portal.example/eos/opendata/a.root"
    assert addresses == [https, "root://door.example//eos/opendata/a.root", https]
    sizes = [part_of_range(64_000_000, tried) for tried in range(5)]
    assert sizes == [64_000_000, 16_000_000, 4_000_000, MEBIBYTE, MEBIBYTE]
    assert part_of_range(1000, 3) == 1000


def test_without_xrootd_a_file_is_tried_by_https_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "XRootD", None)
    file = listed("root://eospublic.cern.ch//eos/opendata/a.root")
    addresses = {access(tmp_path).address(file, tried) for tried in range(3)}
    assert addresses == {"https://opendata.cern.ch/eos/opendata/a.root"}


def test_a_server_without_ranges_is_read_by_download(
    server: OpenDataServer, tmp_path: Path
) -> None:
    path = write_nanoaod(tmp_path / "small.root", muons=[[(30.0, 0.0, 0.0)]])
    url = server.put("small.root", path.read_bytes())
    server.fault = lambda _: "whole"
    file, way = listed(url), access(tmp_path)
    opener = way.opener(file, 0, None)
    assert opener
    with pytest.raises(RangesMissingError) as caught:
        opener()
    again = way.opener(file, 1, caught.value)
    assert again
    with open_events(url, load_layout("cms-nanoaod"), (), (), again) as source:
        assert source.n_events == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("503", TransferError),
        ("stall", TransferError),
        ("page", TransferError),
        ("404", DataError),
    ],
)
def test_passing_failures_of_a_file_are_told_from_lasting_ones(
    server: OpenDataServer, tmp_path: Path, fault: str, error: type[DataError]
) -> None:
    url = server.put("a.root", b"root")
    server.fault = lambda _: fault
    opener = access(tmp_path).opener(listed(url), 0, None)
    with (
        pytest.raises(DataError) as caught,
        open_events(url, load_layout("cms-nanoaod"), (), (), opener),
    ):
        pass
    assert type(caught.value) is error


def test_what_is_no_root_file_is_not_tried_again(server: OpenDataServer, tmp_path: Path) -> None:
    url = server.put("a.root", b"PK\x03\x04" * 100)
    opener = access(tmp_path).opener(listed(url), 0, None)
    layout = load_layout("cms-nanoaod")
    with (
        pytest.raises(DataError, match="expected a ROOT file") as caught,
        open_events(url, layout, (), (), opener),
    ):
        pass
    assert type(caught.value) is DataError


def test_bytes_that_were_damaged_on_the_way_are_tried_again(
    server: OpenDataServer, tmp_path: Path, large: bytes
) -> None:
    url = server.put("large.root", large)
    server.fault = lambda r: "damaged" if r.range and r.range[0] > 100_000 else None
    opener = access(tmp_path).opener(listed(url), 0, None)
    layout = load_layout("cms-nanoaod")
    with pytest.raises(TransferError), open_events(url, layout, (), (), opener) as source:
        source.read(0, 100)


def test_a_file_of_another_size_than_listed_is_not_read(
    server: OpenDataServer, tmp_path: Path
) -> None:
    url = server.put("a.root", b"root" * 10)
    opener = access(tmp_path).opener(listed(url, size=41), 0, None)
    assert opener
    with pytest.raises(TransferError, match=r"expected the 41 bytes .* found 40"):
        opener()


def test_a_file_that_changes_while_it_is_read_is_an_error(
    server: OpenDataServer, tmp_path: Path, large: bytes
) -> None:
    url = server.put("large.root", large)
    opener = access(tmp_path).opener(listed(url), 0, None)
    layout = load_layout("cms-nanoaod")
    with open_events(url, layout, (), (), opener) as source:
        server.put("large.root", large + b"more")
        with pytest.raises(DataError, match=f"its size was {len(large)}"):
            source.read(0, 100)


def test_a_mounted_store_is_read_from_its_path(server: OpenDataServer, tmp_path: Path) -> None:
    way = access(tmp_path, protocol="file")
    file = listed(server.put("a.root", b"root"))
    assert way.address(file, 0) == "/eos/opendata/a.root"
    opener = way.opener(file, 0, None)
    assert opener
    with pytest.raises(TransferError, match=r"/eos/opendata/a\.root: .* is CERN's /eos mounted"):
        opener()
    assert way.address(file, 1) == server.address("a.root")

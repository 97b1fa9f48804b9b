"""Ranges of events: they cover the file once and end where baskets end."""

from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from schemas.releases import load_layout
from services.storage.events import open_events

# Where all branches end a basket.
CLUSTERS = [0, 100, 250, 300, 1000, 1300]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with uproot.recreate(tmp_path / "clusters.root") as file:
        types = {
            "run": np.dtype("u4"),
            "luminosityBlock": np.dtype("u4"),
            "event": np.dtype("u8"),
            **{f"Muon_{quantity}": "var * float32" for quantity in ("pt", "eta", "phi")},
        }
        tree = file.mktree("Events", types)
        for start, stop in pairwise(CLUSTERS):
            numbers = np.arange(start, stop)
            objects = ak.unflatten(np.ones(len(numbers), np.float32), np.ones_like(numbers))
            one = np.ones(len(numbers), np.uint32)
            columns = {"run": one, "luminosityBlock": one, "event": numbers.astype(np.uint64)}
            tree.extend(columns | {f"Muon_{name}": objects for name in ("pt", "eta", "phi")})
    return tmp_path / "clusters.root"


def ranges(path: Path, n_events: int, start: int = 0) -> list[tuple[int, int]]:
    with open_events(str(path), load_layout("cms-nanoaod"), (), ()) as file:
        n_bytes = bisect_left(range(1 << 20), n_events, key=file.events_within)
        assert file.events_within(n_bytes) == n_events
        return list(file.ranges(n_bytes, start))


@pytest.mark.parametrize("n_events", [1, 7, 99, 100, 180, 350, 700, 1200, 5000])
@pytest.mark.parametrize("start", [0, 1, 299, 1299, 1300])
def test_ranges_cover_the_rest_of_the_file_once(path: Path, n_events: int, start: int) -> None:
    found = ranges(path, n_events, start)
    edges = [start, *(stop for _, stop in found)]
    assert found == list(pairwise(edges))
    assert edges[-1] == 1300
    assert all(0 < stop - first <= n_events for first, stop in found)


@pytest.mark.parametrize(
    ("n_events", "edges"),
    [
        # As many events as fit, down to an eighth.
        (100, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300]),
        (160, [0, 100, 250, 300, 460, 620, 780, 940, 1000, 1160, 1300]),
        (300, [0, 300, 600, 900, 1000, 1300]),
        (700, [0, 300, 1000, 1300]),
        (1300, [0, 1300]),
    ],
)
def test_ranges_end_where_baskets_end(path: Path, n_events: int, edges: list[int]) -> None:
    assert ranges(path, n_events) == list(pairwise(edges))


def test_a_file_without_events_has_no_range(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "empty.root") as file:
        names = ("run", "luminosityBlock", "event")
        file.mktree("Events", dict.fromkeys(names, np.dtype("u8")))
    with open_events(str(tmp_path / "empty.root"), load_layout("cms-nanoaod"), (), ()) as events:
        assert list(events.ranges(1000)) == []

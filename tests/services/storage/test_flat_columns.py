"""Branches read as flat arrays, against the same branches as awkward arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from services.storage.flat_columns import Column, Jagged, read_columns
from services.storage.local_files import open_local
from tests.factory import jagged, write_tree

ROWS = [[], [1.5, -2.0], [3.0], [], [4.0, 5.0, 6.0], [7.0], []]
N_EVENTS = len(ROWS)


def read(
    path: Path, tree: str, names: Sequence[str], start: int, stop: int
) -> Mapping[str, Column]:
    with open_local(path) as file:
        return read_columns(file[tree], names, start, stop)


def as_lists(column: Column) -> Any:
    if isinstance(column, Jagged):
        bounds = zip(column.offsets[:-1], column.offsets[1:], strict=True)
        return [column.values[start:stop].tolist() for start, stop in bounds]
    return column.tolist()


@pytest.fixture(scope="module")
def path_by_baskets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("baskets")
    branches = {"run": np.arange(N_EVENTS, dtype=np.uint32), "x": jagged(ROWS)}
    return {
        n: write_tree(folder / f"{n}.root", "Events", branches, events_per_basket=n)
        for n in (1, 2, 3, N_EVENTS)
    }


@given(st.sampled_from([1, 2, 3, N_EVENTS]), st.integers(0, N_EVENTS), st.integers(0, N_EVENTS))
def test_any_range_of_events_is_had_however_they_lie_in_baskets(
    path_by_baskets: dict[int, Path], per_basket: int, one: int, other: int
) -> None:
    start, stop = sorted((one, other))
    columns = read(path_by_baskets[per_basket], "Events", ["run", "x"], start, stop)
    assert as_lists(columns["run"]) == list(range(start, stop))
    assert as_lists(columns["x"]) == ROWS[start:stop]
    assert columns["x"].offsets[0] == 0


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint64", "bool"]
)
def test_numbers_come_as_they_are_stored_in_the_order_of_this_machine(
    tmp_path: Path, kind: str
) -> None:
    lists = jagged([[1, 0], [], [1]], dtype=np.dtype(kind))
    path = write_tree(tmp_path / "a.root", "Events", {"x": lists, "y": ak.num(lists)})
    columns = read(path, "Events", ["x", "y"], 0, 3)
    assert columns["x"].values.dtype == np.dtype(kind)
    assert as_lists(columns["x"]) == [[1, 0], [], [1]]
    assert as_lists(columns["y"]) == [2, 0, 1]


def test_branches_of_one_name_and_other_types_are_told_apart(tmp_path: Path) -> None:
    for kind in ("float32", "float64", "int32", "uint32"):
        path = write_tree(
            tmp_path / f"{kind}.root",
            "Events",
            {"x": jagged([[3], []], dtype=np.dtype(kind)), "y": np.array([7, 8], dtype=kind)},
        )
        columns = read(path, "Events", ["x", "y"], 0, 2)
        assert columns["x"].values.dtype == columns["y"].dtype == np.dtype(kind)
        assert (as_lists(columns["x"]), as_lists(columns["y"])) == ([[3], []], [7, 8])


def test_what_is_no_list_of_numbers_comes_as_awkward_has_it(tmp_path: Path) -> None:
    squares = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    with uproot.recreate(tmp_path / "a.root") as file:
        tree = file.mktree("Events", {"square": np.dtype(("f4", (2, 2))), "run": np.int64})
        tree.extend({"square": squares, "run": np.arange(3)})
    columns = read(tmp_path / "a.root", "Events", ["square", "run"], 1, 3)
    assert isinstance(columns["square"], ak.Array)
    assert as_lists(columns["square"]) == squares[1:].tolist()
    assert as_lists(columns["run"]) == [1, 2]


def test_fields_of_rntuples_come_as_awkward_has_them(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("Events", {"x": jagged(ROWS)})
    columns = read(tmp_path / "a.root", "Events", ["x"], 2, 5)
    assert isinstance(columns["x"], ak.Array)
    assert as_lists(columns["x"]) == ROWS[2:5]


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("atlas_physlite_mc.root", "CollectionTree"),
        ("cms_nanoaod_2015_ttbar.root", "Events"),
        ("cms_nanoaod_v12_ttbar.root", "Events"),
        ("cms_run2011a_zmumu.root", "Events"),
    ],
)
def test_real_files_give_what_awkward_reads(real_data: Path, name: str, tree: str) -> None:
    with open_local(real_data / name) as file:
        source = file[tree]
        kinds = {uproot.AsDtype, uproot.AsJagged}
        names = [key for key, branch in source.items() if type(branch.interpretation) in kinds]
        columns = read_columns(source, names, 3, 35)
        n_flat = 0
        for key in names:
            expected = source[key].array(entry_start=3, entry_stop=35, library="ak")
            # As text, so that what is no number is equal to itself.
            assert str(as_lists(columns[key])) == str(expected.tolist()), key
            n_flat += not isinstance(columns[key], ak.Array)
    assert n_flat > len(names) / 2

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataError
from services.storage.peeking import has_branch
from tests.factory import write_daod, write_nanoaod, write_tree

PAIR = [[(45.0, 0.0, 0.0)]]
WEIGHTS = "EventInfoAuxDyn.mcEventWeights"
TREES = ("CollectionTree", "EventData", "Events")


@pytest.mark.parametrize("simulation", [False, True], ids=["data", "simulation"])
def test_a_branch_of_nanoaod_is_found_where_it_is(tmp_path: Path, *, simulation: bool) -> None:
    file = write_nanoaod(tmp_path / "a.root", electrons=PAIR, simulation=simulation)
    assert has_branch(str(file), TREES, ["genWeight"]) is simulation


@pytest.mark.parametrize("rntuple", [False, True], ids=["tree", "RNTuple"])
@pytest.mark.parametrize("simulation", [False, True], ids=["data", "simulation"])
def test_a_branch_of_physlite_is_found_where_it_is(
    tmp_path: Path, *, simulation: bool, rntuple: bool
) -> None:
    file = write_daod(
        tmp_path / "a.root", electrons=[[(45.0, 0.0, 0.0, 0.0)]], simulation=simulation,
        rntuple=rntuple,
    )  # fmt: skip
    names = [WEIGHTS, WEIGHTS.replace(".", ":", 1)]
    assert has_branch(str(file), TREES, names) is simulation


@pytest.mark.parametrize("other", ["not_genWeight", "genWeights", "LHE_genWeight_up"])
def test_a_longer_name_is_another_branch(tmp_path: Path, other: str) -> None:
    file = write_tree(tmp_path / "a.root", "Events", {other: np.ones(3)})
    assert not has_branch(str(file), TREES, ["genWeight"])


def test_only_the_first_tree_counts(tmp_path: Path) -> None:
    file = write_tree(tmp_path / "a.root", "Runs", {"genWeight": np.ones(3)})
    assert has_branch(str(file), ["Events", "Runs"], ["genWeight"])
    assert not has_branch(str(file), ["Events"], ["genWeight"])


def test_a_file_that_is_not_root_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "a.root"
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.root"):
        has_branch(str(file), TREES, ["genWeight"])

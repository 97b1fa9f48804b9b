"""Histograms in ROOT files, with the statistics that ROOT expects."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from schemas.errors import DataError
from services.storage.histograms import MassHistogram, read_histograms, write_histograms

NAME = "mass_e0e1_cat_2ex_0mx_width_10.0"
MASSES = np.array([80.5, 81.0, 91.2, 91.3, 92.0, 119.9], dtype=np.float32).astype(np.float64)
HISTOGRAM = MassHistogram(
    name=NAME,
    title="e0e1 in 2e_0m",
    low=80.0,
    high=120.0,
    counts=np.array([2, 3, 0, 1]),
    sum_m=float(MASSES.sum()),
    sum_m2=float(np.square(MASSES).sum()),
)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "out.root"
    write_histograms(path, [HISTOGRAM], "about this file")
    with uproot.open(path) as file:
        yield file[NAME]


def test_it_is_a_th1d_under_its_name_and_title(stored: Any) -> None:
    assert (stored.classname, stored.name, stored.title) == ("TH1D", NAME, "e0e1 in 2e_0m")


def test_edges_and_contents_are_kept(stored: Any) -> None:
    counts, edges = stored.to_numpy()
    assert counts.tolist() == [2, 3, 0, 1]
    assert edges.tolist() == [80, 90, 100, 110, 120]


def test_nothing_is_below_or_above(stored: Any) -> None:
    assert stored.values(flow=True)[[0, -1]].tolist() == [0, 0]


def test_entries_are_the_masses(stored: Any) -> None:
    assert stored.member("fEntries") == 6


def test_mean_and_spread_are_those_of_the_masses(stored: Any) -> None:
    total, of_m, of_m2 = (stored.member(f"fTsumw{kind}") for kind in ("", "x", "x2"))
    mean = of_m / total
    assert mean == pytest.approx(MASSES.mean(), rel=1e-12)
    assert np.sqrt(of_m2 / total - mean**2) == pytest.approx(MASSES.std(), rel=1e-9)


def test_no_sum_of_squared_weights_is_stored(stored: Any) -> None:
    assert len(stored.member("fSumw2")) == 0
    assert stored.member("fTsumw2") == 6


def test_errors_are_the_roots_of_the_counts(stored: Any) -> None:
    assert stored.errors() == pytest.approx(np.sqrt([2, 3, 0, 1]))


def test_the_axis_says_what_it_is(stored: Any) -> None:
    assert stored.axis().member("fTitle") == "m [GeV]"


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    write_histograms(tmp_path / "out.root", [], "about this file")
    with uproot.open(tmp_path / "out.root") as file:
        assert str(file["about"]) == "about this file"


def test_histograms_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.root"
    write_histograms(path, [HISTOGRAM], "")
    found = read_histograms(path, [NAME])[NAME]
    assert found.counts.tolist() == HISTOGRAM.counts.tolist()
    for name in ("name", "title", "low", "high", "sum_m", "sum_m2"):
        assert getattr(found, name) == getattr(HISTOGRAM, name)


def test_large_counts_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "out.root"
    large = MassHistogram(NAME, "", 0.0, 10.0, np.array([2**53 - 1]), 0.0, 0.0)
    write_histograms(path, [large], "")
    assert read_histograms(path, [NAME])[NAME].counts.tolist() == [2**53 - 1]


def test_a_histogram_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_histograms(tmp_path / "out.root", [HISTOGRAM], "")
    with pytest.raises(DataError, match=r"out\.root: expected the histograms of a run.*missing"):
        read_histograms(tmp_path / "out.root", ["missing"])


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.root: expected the histograms of a run"):
        read_histograms(tmp_path / "none.root", [NAME])


@pytest.mark.parametrize("percent", [0, 1, 5, 20, 50, 80, 95])
def test_of_a_truncated_file_only_whole_histograms_are_read(tmp_path: Path, percent: int) -> None:
    # The last fifth of so small a file describes the classes that are stored in it.
    path = tmp_path / "out.root"
    names = [f"h{number}" for number in range(50)]
    write_histograms(path, [replace(HISTOGRAM, name=name) for name in names], "")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * percent // 100])
    n_refused = 0
    for name in names:
        try:
            found = read_histograms(path, [name])[name]
        except DataError:
            n_refused += 1
        else:
            assert found.counts.tolist() == HISTOGRAM.counts.tolist()
    assert n_refused or percent >= 80


def test_a_file_that_is_not_root_is_told(tmp_path: Path) -> None:
    path = tmp_path / "out.root"
    path.write_text("no histograms\n" * 100)
    with pytest.raises(DataError, match=r"out\.root: expected the histograms of a run"):
        read_histograms(path, [NAME])

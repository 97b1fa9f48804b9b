"""The largest local excess, by hand and against a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calculations.excess import LocalExcess, largest_local_excess


def largest(spectrum: list[int], searched: list[bool] | None = None) -> LocalExcess | None:
    mask = [True] * len(spectrum) if searched is None else searched
    return largest_local_excess(np.array(spectrum, dtype=np.int64), np.array(mask, dtype=np.bool_))


@pytest.mark.parametrize(
    ("spectrum", "expected", "significance"),
    [
        pytest.param([4] * 3 + [7] * 3 + [4] * 3, (3, 21, 12.0), 9 / math.sqrt(12), id="step"),
        pytest.param([6] * 3 + [9] * 3 + [2] * 3, (3, 27, 12.0), 15 / math.sqrt(12), id="slope"),
        pytest.param([0, 0, 0, 1, 2, 1, 0, 0, 0], (3, 4, 1.0), 3.0, id="at least 1 expected"),
        pytest.param([9, 8, 7, 6, 5, 4, 3, 2, 1], (3, 15, 15.0), 0.0, id="straight line"),
        pytest.param([3] * 3 + [0] * 3 + [3] * 3, (3, 0, 9.0), -3.0, id="only a deficit"),
        pytest.param([0] * 5 + [9] + [0] * 9, (3, 9, 1.0), 8.0, id="leftmost of equal windows"),
    ],
)
def test_the_window_is_compared_with_the_mean_of_its_neighbours(
    spectrum: list[int], expected: tuple[int, int, float], significance: float
) -> None:
    found = largest(spectrum)
    assert found == LocalExcess(*expected)
    assert found.significance == pytest.approx(significance)


@pytest.mark.parametrize("n_bins", [0, 1, 3, 8])
def test_fewer_than_nine_bins_have_no_window_with_two_neighbours(n_bins: int) -> None:
    assert largest([5] * n_bins) is None


def test_a_neighbour_must_be_searched_too() -> None:
    spectrum = [4] * 3 + [7] * 3 + [4] * 3
    for hole in range(9):
        assert largest(spectrum, [i != hole for i in range(9)]) is None


def test_bins_that_are_not_searched_do_not_hide_a_smaller_excess() -> None:
    spectrum = [1, 1, 1, 50, 50, 50, 1, 1, 1] + [4] * 3 + [7] * 3 + [4] * 3
    assert largest(spectrum) == LocalExcess(3, 150, 3.0)
    assert largest(spectrum, [False] * 9 + [True] * 9) == LocalExcess(12, 21, 12.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans() | st.just(value=True)), max_size=40))
def test_it_is_what_a_loop_over_all_windows_finds(bins: list[tuple[int, bool]]) -> None:
    best: tuple[float, int] | None = None
    for start in range(len(bins) - 8):
        nine = bins[start : start + 9]
        if all(searched for _, searched in nine):
            left, here, right = (sum(n for n, _ in nine[i : i + 3]) for i in (0, 3, 6))
            background = max(1.0, (left + right) / 2)
            significance = (here - background) / math.sqrt(background)
            if best is None or significance > best[0]:
                best = (significance, start + 3)
    found = largest([n for n, _ in bins], [searched for _, searched in bins])
    assert (found and (pytest.approx(found.significance), found.first_bin)) == best

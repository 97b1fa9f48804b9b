"""BumpNet's acceptance rule, on contents that are easy to count."""

import numpy as np
import pytest

from schemas.config import Acceptance
from services.calculations.bumpnet import Verdict, filled_range, judge, kind_of, longest_stretch

RULE = Acceptance()


def test_25_bins_with_100_entries_are_accepted() -> None:
    assert judge(np.full(25, 4), RULE) == Verdict(None, 25, 100.0)


@pytest.mark.parametrize(
    ("contents", "verdict"),
    [
        (np.full(24, 100), Verdict("24 bins, fewer than 25", 24, 2400.0)),
        ([4.0] * 24 + [3.0], Verdict("sum 99, below 100", 25, 99.0)),
        ([0.0] + [10.0] * 24, Verdict("the first bin is empty", 25, 240.0)),
        ([0.0] * 30, Verdict("no bin above 0.35", 0, 0.0)),
        ([], Verdict("no bin above 0.35", 0, 0.0)),
        ([0.35] * 400, Verdict("no bin above 0.35", 0, 0.0)),
        ([-1.0] + [10.0] * 24, Verdict("the first bin is empty", 25, 239.0)),
        ([float("nan")] + [10.0] * 24, Verdict("sum nan, below 100", 25, float("nan"))),
    ],
)
def test_what_fails_first_is_the_reason(contents: list[float], verdict: Verdict) -> None:
    found = judge(np.array(contents), RULE)
    assert (found.reason, found.n_bins) == (verdict.reason, verdict.n_bins)
    assert found.total == pytest.approx(verdict.total, nan_ok=True)


def test_bins_after_the_last_filled_one_do_not_count() -> None:
    contents = np.array([10.0] * 24 + [0.35] * 100)
    assert judge(contents, RULE) == Verdict("24 bins, fewer than 25", 24, 240.0)
    contents[24] = 0.36
    assert judge(contents, RULE).is_accepted


def test_empty_bins_between_filled_ones_count() -> None:
    assert judge(np.array([99.0] + [0.0] * 23 + [1.0]), RULE).is_accepted


def test_the_numbers_are_configurable() -> None:
    rule = Acceptance(last_bin_above=2.0, min_bins=2, min_sum=5.0)
    assert judge(np.array([3.0, 3.0, 2.0]), rule) == Verdict(None, 2, 6.0)


@pytest.mark.parametrize(
    ("vetoed", "stretch"),
    [
        ("", (0, 0)),
        ("...", (0, 3)),
        ("x..", (1, 3)),
        ("..x...x.", (3, 6)),
        ("..x..", (0, 2)),
        ("xxx", (0, 0)),
        (".x...", (2, 5)),
    ],
)
def test_the_longest_stretch_is_the_first_of_the_longest(
    vetoed: str, stretch: tuple[int, int]
) -> None:
    assert longest_stretch(np.array([bin_ == "x" for bin_ in vetoed], dtype=bool)) == stretch


def test_the_filled_range_is_looked_for_inside_the_stretch() -> None:
    contents = np.array([5, 0, 0, 1, 0, 2, 0, 7])
    assert filled_range(contents, 1, 7) == (3, 6)
    assert filled_range(contents, 0, 8) == (0, 8)
    assert filled_range(contents, 1, 3) == (1, 1)


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        ([5] * 24, "bins: fewer than 25"),
        ([1] * 30, "sum: below 1,000"),
        ([0, *[2000] * 30], "the first bin is empty"),
        ([0] * 30, "no bin above 0.35"),
    ],
    ids=str,
)
def test_reasons_of_one_kind_are_called_the_same(contents: list[int], kind: str) -> None:
    verdict = judge(np.array(contents), Acceptance(min_sum=1000.0))
    assert verdict.reason is not None
    assert kind_of(verdict.reason) == kind

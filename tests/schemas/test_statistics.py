"""Numbers of jobs add up, in any order and grouping."""

from __future__ import annotations

from functools import reduce
from operator import add

from hypothesis import given
from hypothesis import strategies as st

from schemas.inputs import Sample
from schemas.reports import CutRow, SliceReport
from schemas.statistics import StageStatistics


def numbers(events: int, removed: int, kept: int) -> StageStatistics:
    report = SliceReport(
        stage="parsing",
        slice_index=1,
        slice_total=1,
        chunks=("a", "b"),
        inputs="",
        content="",
        kept=kept,
        seconds=0.5,
        peak_memory_bytes=100 * events,
        taken={"events": events},
        made={"events": events - removed},
        lost={"events cut": removed},
        decided={"channels dropped": 3},
        populations={Sample.DATA: {"2e": events}} if events else {},
        cut_flows={"demo": (CutRow(step="pt_min", of="events", before=events, removed=removed),)},
    )
    return StageStatistics.of(report)


jobs = st.builds(numbers, st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 2))


@given(st.lists(jobs, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_jobs_makes_no_difference(parts: list[StageStatistics], rng: object) -> None:
    shuffled = list(parts)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce(add, shuffled) == reduce(add, parts)


@given(jobs, jobs, jobs)
def test_the_grouping_of_jobs_makes_no_difference(
    a: StageStatistics, b: StageStatistics, c: StageStatistics
) -> None:
    assert (a + b) + c == a + (b + c)


def test_what_adds_up_is_added_and_what_does_not_is_not() -> None:
    both = numbers(10, 4, 1) + numbers(5, 0, 2)
    assert (both.slices, both.chunks, both.kept, both.seconds) == (2, 4, 3, 1.0)
    assert both.peak_memory_bytes == 1000
    assert (both.taken, both.made, both.lost) == ({"events": 15}, {"events": 11}, {"events cut": 4})
    assert both.decided == {"channels dropped": 3}
    assert both.populations == {Sample.DATA: {"2e": 15}}
    (row,) = both.cut_flows["demo"]
    assert (row.before, row.removed) == (15, 4)

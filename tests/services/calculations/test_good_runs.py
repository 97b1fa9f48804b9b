"""Certified luminosity blocks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.calculations.good_runs import Block, GoodRuns

numbers = st.integers(1, 12)
blocks = st.lists(
    st.tuples(st.integers(1, 4), numbers, numbers).map(lambda b: (b[0], *sorted(b[1:])))
)


@given(blocks, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 13))))
def test_an_event_is_good_if_any_block_holds_it(
    table: list[Block], events: list[tuple[int, int]]
) -> None:
    run, lumi = np.array(events, dtype=np.uint32).reshape(-1, 2).T
    expected = [any(r == b[0] and b[1] <= n <= b[2] for b in table) for r, n in events]
    assert GoodRuns.of(table).contain(run, lumi).tolist() == expected


def test_the_largest_numbers_do_not_run_over() -> None:
    most = 2**32 - 1
    good = GoodRuns.of([(most, 1, most)])
    run, lumi = np.array([[most, most], [most, 0], [most - 1, most]], dtype=np.uint32).T
    assert good.contain(run, lumi).tolist() == [True, False, False]


def test_blocks_that_hold_others_reach_as_far_as_the_longest() -> None:
    good = GoodRuns.of([(1, 1, 100), (1, 5, 6), (1, 50, 120)])
    assert len(good.first) == 1
    assert good.contain(np.array([1, 1]), np.array([119, 121])).tolist() == [True, False]

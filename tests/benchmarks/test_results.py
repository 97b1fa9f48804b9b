from __future__ import annotations

import pytest

from benchmarks.measuring import Spread
from benchmarks.results import Row, at_least, at_most, table

HALF = Spread(0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (at_most(0.5), "met"),
        (at_most(0.4), "NOT MET"),
        (at_least(0.5), "met"),
        (at_least(0.6), "NOT MET"),
        (None, ""),
    ],
    ids=str,
)
def test_the_median_is_held_against_the_aim(aim: object, verdict: str) -> None:
    assert Row("speed", HALF, "s", aim).verdict == verdict  # type: ignore[arg-type]


def test_the_table_in_markdown_has_a_line_per_row() -> None:
    lines = table([Row("speed", HALF, "s", at_most(1))], markdown=True).splitlines()
    assert lines[0] == "| what | measured (median) | min to max | aim |  |"
    assert lines[2:] == ["| speed | 0.5 s | 0.25 to 1 | at most 1 | met |"]

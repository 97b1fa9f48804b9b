"""What a run ends with."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.reports import SliceReport
from services.closing import WIDTH, aligned, closing_table, describe_counts, losses


def summary(stage: str, seconds: float, **changes: Any) -> SliceReport:
    values: dict[str, Any] = {
        "stage": stage,
        "slice_index": 1,
        "slice_total": 1,
        "chunks": (),
        "inputs": "",
        "content": "",
        "seconds": seconds,
        "peak_memory_bytes": 1,
        "taken": {},
        "made": {},
        "lost": {},
    }
    return SliceReport(**(values | changes))


def test_the_closing_table_is_aligned_and_ends_with_the_notes() -> None:
    done = [
        summary("fetching", 0.04, taken={"sources": 1}, made={"files": 8}),
        summary(
            "parsing",
            12.06,
            taken={"files": 8, "events": 200_000},
            made={"events": 150_000},
            lost={"files": 0, "partial files": 0, "events cut": 50_000},
            notes=("demo: Taus: no mass", "demo: one more"),
        ),
    ]
    assert closing_table(done).splitlines() == [
        "stage     seconds  in                       out             lost",
        "-----------------------------------------------------------------------------",
        "fetching      0.0  1 source                 8 files         nothing",
        "parsing      12.1  8 files, 200,000 events  150,000 events  50,000 events cut",
        "parsing: demo: Taus: no mass",
        "parsing: demo: one more",
    ]


def test_a_run_that_did_nothing_has_an_empty_table() -> None:
    header, line = closing_table([]).splitlines()
    assert header.split() == ["stage", "seconds", "in", "out", "lost"]
    assert line == "-" * len(header)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "nothing"),
        ({"files": 0}, "nothing"),
        ({"files": 1, "events": 1, "masses": 1}, "1 file, 1 event, 1 mass"),
        ({"events cut": 1, "partial files": 1}, "1 event cut, 1 partial file"),
        ({"below resonances": 1, "ROI copies": 1}, "1 below resonances, 1 ROI copy"),
        ({"events in rare final states": 1}, "1 event in rare final states"),
        ({"files": 8, "partial files": 0, "events": 1_234_567}, "8 files, 1,234,567 events"),
    ],
    ids=str,
)
def test_counts_are_told_without_zeros(counts: dict[str, int], text: str) -> None:
    assert describe_counts(counts) == text


def test_a_table_too_wide_for_a_screen_is_broken_between_counts() -> None:
    lost = {"below resonances": 123_456, "in vetoes": 12_345, "turn-on": 1_234_567}
    row = summary(
        "post_processing",
        1.0,
        taken={"masses": 12_345_678},
        made={"main": 1_234_567, "outliers": 1_234},
        lost=lost,
        decided={"channels dropped": 17},
    )
    lines = closing_table([row]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    for count in ("12,345,678 masses", "123,456 below resonances", "17 channels dropped"):
        assert count in text
    assert [line[:15].strip() for line in lines[2:]] == [
        "post_processing",
        *[""] * (len(lines) - 3),
    ]


def test_a_column_of_numbers_ends_in_line() -> None:
    assert aligned(("of", "left"), [("a", "1,000"), ("b", "5")]).splitlines()[2:] == [
        "a   1,000",
        "b       5",
    ]


@pytest.mark.parametrize("cells", [("a", "b"), ()], ids=["two rows", "no rows"])
def test_a_column_may_be_empty(cells: tuple[str, ...]) -> None:
    table = aligned(("of", ""), [(cell, "") for cell in cells])
    assert table.splitlines() == ["of", "--", *cells]


def test_files_that_were_lost_are_told_with_the_first_reasons() -> None:
    reasons = tuple(f"{name}.root: not a ROOT file" for name in "abcde")
    parsed = summary("parsing", 1.0, taken={"files": 9}, failures=reasons)
    assert losses([parsed]).splitlines() == [
        "LOST: 5 of 9 files could not be read whole:",
        "  a.root: not a ROOT file",
        "  b.root: not a ROOT file",
        "  c.root: not a ROOT file",
        "  and 2 more, in the reports",
    ]


@pytest.mark.parametrize(
    ("n_histograms", "n_jobs", "is_told"), [(0, 1, True), (1, 1, False), (0, 2, False)]
)
def test_a_run_without_histograms_is_told(n_histograms: int, n_jobs: int, *, is_told: bool) -> None:
    made = {"histograms": n_histograms, "ROI copies": 0}
    report = summary("histogram_creation", 1.0, made=made, slice_total=n_jobs)
    assert losses([report]).startswith("NO HISTOGRAM") is is_told


def test_where_no_file_was_lost_nothing_is_said_of_it() -> None:
    assert losses([summary("parsing", 1.0, taken={"files": 9})]) == ""

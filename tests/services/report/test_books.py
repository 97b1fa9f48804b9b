"""The books of a run: each line is worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, CutRow, HistogramReport
from schemas.statistics import StageStatistics
from services.report import books
from services.report.books import Balance, Part


def stage(**counts: Any) -> StageStatistics:
    empty: dict[str, Any] = {"taken": {}, "made": {}, "lost": {}, "decided": {}}
    empty |= {"populations": {}, "cut_flows": {}, "failures": (), "notes": ()}
    return StageStatistics(
        **{"stage": "s", "chunks": 1, "kept": 0, "seconds": 1.0, "peak_memory_bytes": 1}
        | empty
        | counts
    )


def counts_of(balance: Balance) -> dict[str, int]:
    return {part.name: part.count for part in balance.parts}


@pytest.mark.parametrize(("total", "expected"), [(5, True), (4, False), (6, False)])
def test_a_line_balances_if_its_parts_are_the_total(total: int, *, expected: bool) -> None:
    line = Balance("x", total, "y", (Part("a", 2, "kept"), Part("b", 3, "cut")))
    assert line.is_balanced is expected


PARSED = stage(
    taken={"files": 8, "events": 100},
    made={"events": 70},
    lost={"files": 2, "partial files": 1, "events cut": 30},
    cut_flows={
        "one": (
            CutRow(step="trigger", of="events", before=60, removed=10),
            CutRow(step="pt_min", of="Jets", before=500, removed=400),
            CutRow(step="number of jets", of="events", before=50, removed=5),
        ),
        "two": (CutRow(step="number of jets", of="events", before=40, removed=15),),
    },
)


def test_files_were_read_or_failed() -> None:
    line = books.of_files(8, PARSED, is_complete=True)
    assert counts_of(line) == {"read": 5, "read in part": 1, "failed": 2}
    assert line.is_balanced


def test_a_file_that_nobody_read_is_missed_once_all_is_done() -> None:
    assert not books.of_files(9, PARSED, is_complete=True).is_balanced


def test_a_file_that_nobody_read_is_expected_while_jobs_are_missing() -> None:
    line = books.of_files(9, PARSED, is_complete=False)
    assert counts_of(line)["not read yet"] == 1
    assert line.is_balanced


def test_more_files_than_are_planned_now_are_no_fault_while_jobs_are_missing() -> None:
    line = books.of_files(5, PARSED, is_complete=False)
    assert (line.total, counts_of(line)["not read yet"]) == (8, 0)


def test_events_are_kept_or_rejected_by_a_cut_whatever_their_source() -> None:
    line = books.of_events(PARSED)
    assert line.total == 100
    assert counts_of(line) == {"kept": 70, "trigger": 10, "number of jets": 20}
    assert line.is_balanced


def decided(population: int) -> ChannelPlan:
    return ChannelPlan(
        population=population,
        peak_gev=10.0,
        low_gev=10.0,
        high_gev=None,
        last_gev=20.0,
        classes=ClassCounts(main=population),
        dropped=None,
    )


def test_events_of_a_final_state_count_once_however_many_channels_it_has() -> None:
    channels = {
        Sample.DATA: {"2e_1m/e0e1": decided(40), "2e_1m/e0m0": decided(40)},
        Sample.SIMULATION: {"2e_1m/e0e1": decided(7)},
    }
    plan = Plan(bin_width_gev=10.0, max_mass_gev=100.0, channels=channels)
    lost = {"events in rare final states": 3, "events without combination": 20}
    line = books.of_final_states(70, stage(lost=lost), plan)
    assert counts_of(line) == {
        "with masses": 47,
        "in rare final states": 3,
        "without combination": 20,
    }
    assert line.is_balanced


PROCESSED = stage(
    made={"main": 60, "outliers": 5},
    lost={"below resonances": 20, "in vetoes": 5, "turn-on": 10},
)


def test_masses_are_main_outliers_or_removed() -> None:
    line = books.of_masses(stage(made={"masses": 100}), PROCESSED)
    assert [part.count for part in line.parts] == [60, 5, 20, 5, 10]
    assert [part.kind for part in line.parts] == ["main", "tail", "floor", "veto", "turn_on"]
    assert line.is_balanced


WRITTEN = HistogramReport(
    sample=Sample.DATA,
    channels=2,
    histograms=4,
    roi_copies=3,
    rejected={"mass_e0e1": "sum 3, below 100"},
    masses_in=65,
    entries={"10.0": 64, "res": 64},
    overflow=1,
    outputs=(),
)


def test_each_bin_width_has_all_masses() -> None:
    with_outliers = HistogramCreation(input_dir="", output_dir="", exclude_outliers=False)
    *widths, accepted = books.of_histograms(PROCESSED, [WRITTEN], with_outliers)
    assert [line.what for line in widths] == ["Histograms, 10 GeV", "Histograms, by resolution"]
    assert all(counts_of(line) == {"filled": 64, "overflow": 1} for line in widths)
    assert all(line.is_balanced for line in [*widths, accepted])
    assert counts_of(accepted) == {"accepted": 3, "rejected": 1}


def test_without_its_names_nothing_is_said_of_bumpnet() -> None:
    plain = HistogramCreation(input_dir="", output_dir="", use_bumpnet_naming=False)
    lines = [*books.of_histograms(PROCESSED, [WRITTEN], plain)]
    assert [line.what for line in lines] == ["Histograms, 10 GeV", "Histograms, by resolution"]
    # The main part alone has 60 masses, not 65.
    assert not lines[0].is_balanced


def test_rows_that_removed_no_object_are_left_out() -> None:
    rows = (
        CutRow(step="pt_min", of="Jets", before=5, removed=0),
        CutRow(step="pt_max", of="Jets", before=5, removed=1),
        CutRow(step="trigger", of="events", before=5, removed=0),
    )
    assert books.rows_that_cut({"one": rows}) == {"one": rows[1:]}

"""Barriers: what is waited for, and what is judged of the whole run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import BarrierError, DataError
from schemas.inputs import Slice
from schemas.reports import CutRow, SliceReport
from services import barriers
from services.barriers import completed_slices, dealt_chunks, judge_parsing
from services.run_directory import slice_report
from services.storage import reports
from tests.factory import make_config


def summary(index: int = 1, total: int = 1, **changes: Any) -> SliceReport:
    """Return the report of a slice that read 5 events of one file and kept all."""
    values: dict[str, Any] = {
        "stage": "parsing",
        "slice_index": index,
        "slice_total": total,
        "chunks": (f"chunk{index}",),
        "inputs": "the same",
        "content": f"content {index}",
        "seconds": 1.0,
        "peak_memory_bytes": 1,
        "taken": {"files": 1, "events": 5},
        "made": {"events": 5},
        "lost": {},
    }
    return SliceReport(**(values | changes))


def leave(folder: Path, *found: SliceReport) -> None:
    folder.mkdir(exist_ok=True)
    for report in found:
        part = Slice(report.slice_index, report.slice_total)
        reports.write(slice_report(folder, part), report, part)


# Which slices are complete


def test_slices_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    slices = [summary(index, 12) for index in range(1, 13)]
    leave(tmp_path, *reversed(slices))
    assert completed_slices(tmp_path, "parsing", Slice(3, 12)) == tuple(slices)


@pytest.mark.parametrize("part", [Slice(1, 4), Slice()], ids=["job", "single job"])
def test_missing_slices_are_named(tmp_path: Path, part: Slice) -> None:
    leave(tmp_path, summary(1, 4), summary(3, 4))
    complaint = r"expected 4 slices of parsing, found 2; missing: 2, 4$"
    with pytest.raises(BarrierError, match=complaint):
        completed_slices(tmp_path, "parsing", part)


def test_a_job_knows_how_many_slices_there_must_be_before_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(BarrierError, match="expected 2 slices of parsing, found 0; missing: 1, 2"):
        completed_slices(tmp_path / "absent", "parsing", Slice(1, 2))


def test_a_single_job_is_told_which_stage_to_run_first(tmp_path: Path) -> None:
    (tmp_path / "slice_1_of_1_spectra.npz").touch()
    with pytest.raises(BarrierError, match="the slice reports of parsing, found none; run parsing"):
        completed_slices(tmp_path, "parsing", Slice())


def test_a_single_job_takes_the_slices_of_another_run(tmp_path: Path) -> None:
    slices = (summary(1, 2), summary(2, 2))
    leave(tmp_path, *slices)
    assert completed_slices(tmp_path, "parsing", Slice()) == slices


def test_jobs_take_the_slices_of_a_run_cut_otherwise(tmp_path: Path) -> None:
    slices = (summary(1, 2), summary(2, 2))
    leave(tmp_path, *slices)
    assert completed_slices(tmp_path, "parsing", Slice(3, 5)) == slices


@pytest.mark.parametrize("part", [Slice(), Slice(1, 5)], ids=["single job", "job"])
def test_slices_of_several_totals_are_refused(tmp_path: Path, part: Slice) -> None:
    leave(tmp_path, summary(1, 12), summary(1, 2), summary(2, 2))
    with pytest.raises(DataError, match="runs of 2, 12 slices, expected those of one"):
        completed_slices(tmp_path, "parsing", part)


def test_a_job_takes_those_of_its_own_total_among_others(tmp_path: Path) -> None:
    slices = (summary(1, 2), summary(2, 2))
    leave(tmp_path, summary(1, 3), *slices)
    assert completed_slices(tmp_path, "parsing", Slice(1, 2)) == slices


def test_the_output_of_another_stage_is_refused(tmp_path: Path) -> None:
    leave(tmp_path, summary(1, 2), summary(2, 2, stage="mass_calculating"))
    with pytest.raises(DataError, match="output of parsing, found that of mass_calculating"):
        completed_slices(tmp_path, "parsing", Slice(1, 2))


def test_slices_made_of_different_inputs_do_not_go_together(tmp_path: Path) -> None:
    leave(tmp_path, summary(1, 2), summary(2, 2, inputs="others"))
    with pytest.raises(BarrierError, match="the slices of parsing were made of different inputs"):
        completed_slices(tmp_path, "parsing", Slice(1, 2))


# Waiting


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for slices more often than a run does."""
    monkeypatch.setattr(barriers, "_LOOK_EVERY", 0.02)


@pytest.mark.usefixtures("hurry")
def test_a_job_waits_for_slices_that_come_late(tmp_path: Path) -> None:
    leave(tmp_path, summary(1, 3), summary(3, 3))
    late = threading.Timer(0.3, leave, (tmp_path, summary(2, 3)))
    late.start()
    found = completed_slices(tmp_path, "parsing", Slice(1, 3), wait_seconds=30)
    late.join()
    assert [report.slice_index for report in found] == [1, 2, 3]


@pytest.mark.usefixtures("hurry")
def test_a_job_that_has_waited_long_enough_names_what_is_missing(tmp_path: Path) -> None:
    leave(tmp_path, summary(1, 3), summary(3, 3))
    began = time.monotonic()
    with pytest.raises(BarrierError, match=r"missing: 2$"):
        completed_slices(tmp_path, "parsing", Slice(1, 3), wait_seconds=0.2)
    assert time.monotonic() - began >= 0.2


def test_a_single_job_waits_for_nobody(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(BarrierError):
        completed_slices(tmp_path, "parsing", Slice(), wait_seconds=600)
    assert time.monotonic() - began < 60


# The judgement on parsing


def judge(parsed: Sequence[SliceReport], **parsing: object) -> None:
    config = make_config({"parsing_task_config": {"release_years": ["demo"]} | parsing}, Path())
    judge_parsing(parsed, config)


def failing(index: int, n_files: int, *failures: str) -> SliceReport:
    return summary(index, 2, taken={"files": n_files, "events": 5}, failures=failures)


@pytest.mark.parametrize(
    ("allowed", "is_allowed"), [(0.0, False), (0.24, False), (0.25, True), (1.0, True)]
)
def test_the_fraction_of_failed_files_is_that_of_the_whole_run(
    allowed: float, *, is_allowed: bool
) -> None:
    # One slice has lost half of its files, the whole a quarter.
    parsed = [failing(1, 2, "a.root: not ROOT"), failing(2, 2)]
    if is_allowed:
        judge(parsed, max_failed_file_fraction=allowed)
        return
    complaint = (
        f"parsing: 1 of 4 files failed, expected at most a fraction of {allowed} "
        r".*max_failed_file_fraction\):\n  a\.root: not ROOT$"
    )
    with pytest.raises(DataError, match=complaint):
        judge(parsed, max_failed_file_fraction=allowed)


@pytest.mark.parametrize(
    ("n_failures", "ending"),
    [
        (3, "\n  file 1\n  file 2\n  file 3"),
        (4, "\n  file 1\n  file 2\n  file 3\n  and 1 more, listed in the reports of parsed_data"),
        (
            1200,
            "\n  file 1\n  file 2\n  file 3\n  and 1197 more, listed in the reports of parsed_data",
        ),
    ],
)
def test_the_first_three_failures_are_named_and_the_others_counted(
    n_failures: int, ending: str
) -> None:
    names = [f"file {number}" for number in range(1, n_failures + 1)]
    with pytest.raises(DataError) as caught:
        judge([failing(1, 2000, *names[:2]), failing(2, 2000, *names[2:])])
    assert str(caught.value).endswith(f"max_failed_file_fraction):{ending}")


def test_a_slice_without_events_is_fine_where_another_has_some() -> None:
    empty = summary(1, 2, taken={"files": 3, "events": 0}, made={"events": 0})
    judge([empty, summary(2, 2)])


def test_no_event_in_the_whole_run_is_an_error() -> None:
    empty = [summary(i, 2, taken={"files": 3, "events": 0}, made={"events": 0}) for i in (1, 2)]
    with pytest.raises(DataError, match="parsing: there is no event in 6 files"):
        judge(empty)


def cutting(index: int, flows: dict[str, list[tuple[str, str, int, int]]]) -> SliceReport:
    rows = {
        source: tuple(
            CutRow(step=step, of=of, before=before, removed=removed)
            for step, of, before, removed in flow
        )
        for source, flow in flows.items()
    }
    return summary(index, 2, taken={"files": 1, "events": 1000}, made={"events": 0}, cut_flows=rows)


def test_of_events_that_are_all_cut_away_the_worst_cut_is_named() -> None:
    # In one slice muons cut most (450), in the other photons (600), in the whole jets: 250 + 150 +
    # 400. More objects than events are removed, which is not what is asked.
    of_data = [
        ("pt_min", "Jets", 5000, 4000),
        ("number of muons", "events", 700, 300),
        ("number of photons", "events", 400, 150),
        ("number of jets", "events", 250, 250),
    ]
    of_simulation = [
        ("number of muons", "events", 300, 150),
        ("number of jets", "events", 150, 150),
    ]
    of_other_slice = [
        ("number of photons", "events", 1000, 600),
        ("number of jets", "events", 400, 400),
    ]
    parsed = [
        cutting(1, {"demo": of_data, "demo_mc": of_simulation}),
        cutting(2, {"demo": of_other_slice}),
    ]
    complaint = r"all 2,000 events were cut away, most \(800\) by 'number of jets'; loosen"
    with pytest.raises(DataError, match=complaint):
        judge(parsed)


def test_a_slice_that_keeps_nothing_is_fine_where_another_keeps_some() -> None:
    judge([cutting(1, {"demo": [("number of jets", "events", 1000, 1000)]}), summary(2, 2)])


# Which chunks a slice has

UPSTREAM = [
    summary(1, 3, chunks=("a", "b", "c")),
    summary(2, 3, chunks=()),
    summary(3, 3, chunks=("d", "e")),
]


def test_a_slice_keeps_the_chunks_that_it_had() -> None:
    dealt = [dealt_chunks(UPSTREAM, Slice(index, 3)) for index in (1, 2, 3)]
    assert dealt == [("a", "b", "c"), (), ("d", "e")]


@pytest.mark.parametrize("total", [1, 2, 4, 7])
def test_chunks_of_a_run_cut_otherwise_are_dealt_once_each_and_evenly(total: int) -> None:
    dealt = [dealt_chunks(UPSTREAM, Slice(index, total)) for index in range(1, total + 1)]
    assert sorted(chunk for part in dealt for chunk in part) == ["a", "b", "c", "d", "e"]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1

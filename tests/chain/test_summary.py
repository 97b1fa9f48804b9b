"""logs/summary.json tells how a run went, whatever it came to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import uproot
import yaml

from main import main
from schemas.config import load
from schemas.inputs import Slice
from schemas.reports import ClassCounts, FileCounts, FileStatus, SliceReport
from schemas.state import StageStatus, State
from schemas.statistics import StageStatistics
from schemas.summary import Exit, RunSummary
from services import run_directory, software
from services.storage import reports
from services.summary import imbalances
from tests.factory import write_nanoaod

pytestmark = pytest.mark.usefixtures("without_figures")

PAIR = [[(45.0, 0.0, 0.0), (45.0, 0.0, math.pi)]]
FORWARD = [[(45.0, 3.0, 0.0), (45.0, 3.0, math.pi)]]


def configure(folder: Path, **parsing: Any) -> list[str]:
    """Write a configuration, and return the options of a run by it."""
    data = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(folder / "in*.root")]},
            "chunk_input_bytes": 1,
            "kinematic_cuts": {"electrons": {"eta_max": 2.5}},
            "particle_counts": {},
            "parallel_processes": 1,
            **parsing,
        },
        "mass_calculation_task_config": {"min_events_per_fs": 1, "parallel_processes": 1},
        "post_processing_task_config": {"known_resonances": []},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return ["--config", str(path), "--run-dir", str(folder / "run")]


def write_inputs(folder: Path) -> None:
    """Write two files: three pairs and two that are cut away; four pairs."""
    write_nanoaod(folder / "in1.root", electrons=PAIR * 3 + FORWARD * 2)
    write_nanoaod(folder / "in2.root", electrons=PAIR * 4)


def break_second(folder: Path) -> Path:
    path = folder / "in2.root"
    path.write_bytes(b"this is no ROOT file")
    return path


WHOLE = Slice()


def told(folder: Path, part: Slice = WHOLE) -> RunSummary:
    root = folder / "run"
    paths = run_directory.layout(root, load(root / "config.yaml"))
    return reports.read(paths.summary_file(part), RunSummary)


def test_a_complete_run_is_told_with_its_books(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    assert main(configure(tmp_path)) == 0
    summary = told(tmp_path)
    assert (summary.exit, summary.reason, summary.state) == (Exit.COMPLETE, "", State.COMPLETED)
    assert (summary.balanced, summary.imbalances, summary.failed_files) == (True, (), ())
    assert (summary.job, summary.total_batch_jobs) == (None, 1)
    assert summary.software == software.versions()
    assert summary.started < summary.ended
    assert {record.status for record in summary.records.values()} == {StageStatus.DONE}
    parsing, masses, processing, histograms = [*summary.stages.values()][1:]
    assert parsing.files == FileCounts(planned=2, done=2)
    sizes = [(tmp_path / name).stat().st_size for name in ("in1.root", "in2.root")]
    assert parsing.bytes_in == sum(sizes)
    assert (parsing.taken["events"], masses.taken["events"]) == (9, 9)
    # 2 of 9 events have no electron left, so 7 masses of 4 bytes are made of the others.
    assert masses.made == {"masses": 7}
    assert masses.bytes_in == parsing.bytes_out
    assert masses.bytes_out == processing.bytes_in == 28
    assert processing.classes == ClassCounts(main=7)
    assert processing.bytes_out == 28
    assert histograms.taken["masses"] == 7
    assert (parsing.chunks, parsing.kept) == (2, 0)
    assert parsing.peak_memory_bytes > 0


def test_a_second_start_tells_what_was_kept(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    options = configure(tmp_path)
    assert main(options) == 0
    assert main([*options, "--redo", "mass_calculating"]) == 0
    summary = told(tmp_path)
    assert summary.redone == ("mass_calculating",)
    kept = {name: stage.kept for name, stage in summary.stages.items()}
    assert (kept["parsing"], kept["mass_calculating"], kept["post_processing"]) == (2, 0, 2)


def test_a_run_that_lost_too_much_tells_what_and_why(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    bad = break_second(tmp_path)
    assert main(configure(tmp_path)) == 1
    summary = told(tmp_path)
    assert (summary.exit, summary.state) == (Exit.FAILED, State.FAILED)
    assert summary.reason.startswith("parsing: 1 of 2 files failed")
    assert summary.stages["parsing"].files == FileCounts(planned=2, done=1, failed=1)
    (lost,) = summary.failed_files
    assert (lost.url, lost.status, lost.events) == (str(bad), FileStatus.FAILED, 0)
    assert "expected a readable ROOT file" in str(lost.reason)
    assert list(summary.stages) == ["fetching", "parsing"]


def test_files_that_may_fail_are_listed_though_the_run_is_complete(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    bad = break_second(tmp_path)
    assert main(configure(tmp_path, max_failed_file_fraction=0.5)) == 0
    summary = told(tmp_path)
    assert summary.exit is Exit.COMPLETE
    assert [file.url for file in summary.failed_files] == [str(bad)]
    assert summary.balanced


def test_a_run_without_input_tells_why_it_failed(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    assert main([*configure(tmp_path), "--tasks", "post_processing"]) == 1
    summary = told(tmp_path)
    assert summary.exit is Exit.FAILED
    assert "expected the slice reports of mass_calculating, found none" in summary.reason
    assert summary.stages == {}


def test_damaged_reports_do_not_hide_why_a_run_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(tmp_path)
    assert main(configure(tmp_path)) == 0
    report = tmp_path / "run" / "im_arrays" / "slice_1_of_1.json"
    report.write_text("{")
    assert main(["--run-dir", str(tmp_path / "run"), "--tasks", "post_processing"]) == 1
    assert f"error: {report}: expected a SliceReport" in capsys.readouterr().err
    assert told(tmp_path).reason.startswith(f"{report}: expected a SliceReport")


def test_a_job_that_waits_and_the_merge_have_summaries_of_their_own(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    options = configure(tmp_path)
    job = ["--batch-job-index", "2", "--total-batch-jobs", "2"]
    assert main([*options, *job]) == 0
    waiting = told(tmp_path, Slice(2, 2))
    assert (waiting.exit, waiting.state) == (Exit.WAITING, State.WAITING)
    assert "expected 2 slices of parsing, found 1; missing: 1" in waiting.reason
    assert waiting.stages["parsing"].files == FileCounts(planned=1, done=1)
    assert (waiting.job, waiting.total_batch_jobs) == (2, 2)
    assert main(["--merge-only", "--run-dir", str(tmp_path / "run")]) == 0
    merged = told(tmp_path)
    assert (merged.exit, merged.job, merged.total_batch_jobs) == (Exit.COMPLETE, None, 2)
    assert merged.stages["parsing"].files == FileCounts(planned=2, done=2)
    assert merged.stages["parsing"].slices == 2
    assert merged.stages["post_processing"].classes == ClassCounts(main=7)
    assert told(tmp_path, Slice(2, 2)) == waiting


def test_a_merge_that_fails_tells_of_all_jobs(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    bad = break_second(tmp_path)
    options = configure(tmp_path)
    assert main([*options, "--fetch-only", "--total-batch-jobs", "2"]) == 0
    assert main(["--merge-only", "--run-dir", str(tmp_path / "run")]) == 1
    summary = told(tmp_path)
    assert summary.reason.startswith("parsing: 1 of 2 files failed")
    assert [file.url for file in summary.failed_files] == [str(bad)]


def test_a_job_that_waits_is_never_shown_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path)
    states: list[str] = []
    write = reports.write

    def watch(path: Path, report: Any, part: Slice) -> None:
        write(path, report, part)
        if path.name == "state_batch1.json":
            states.append(json.loads(path.read_text())["state"])

    monkeypatch.setattr(reports, "write", watch)
    job = ["--batch-job-index", "1", "--total-batch-jobs", "2"]
    assert main([*configure(tmp_path), *job]) == 0
    assert states == ["IDLE", "FETCHING", "PARSING", "MASS_CALCULATING", "WAITING"]


def statistics(stage: str, **numbers: Any) -> StageStatistics:
    counts: dict[str, Any] = {"taken": {}, "made": {}, "lost": {}, **numbers}
    report = SliceReport(
        stage=stage,
        slice_index=1,
        slice_total=1,
        chunks=(),
        inputs="",
        content="",
        seconds=1.0,
        peak_memory_bytes=1,
        **counts,
    )
    return StageStatistics.of(report)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ({"one": {"made": {"events": 5}}, "two": {"taken": {"events": 5}}}, ()),
        (
            {"one": {"made": {"events": 5}}, "two": {"taken": {"events": 4}}},
            ("the books do not balance: events made by one and taken by two: 5 against 4",),
        ),
        ({"one": {"made": {"events": 5}}}, ()),
        (
            {"one": {"files": FileCounts(planned=3, done=1, failed=1)}},
            ("one: the books do not balance: files planned and accounted for: 3 against 2",),
        ),
        (
            {"two": {"taken": {"masses": 3}, "classes": ClassCounts(main=1, veto=1)}},
            ("two: the books do not balance: masses in and out: 3 against 2",),
        ),
    ],
    ids=["balance", "events lost between", "one alone", "a file lost", "a mass lost"],
)
def test_what_does_not_balance_is_said(
    stages: dict[str, dict[str, Any]], expected: tuple[str, ...]
) -> None:
    found = {name: statistics(name, **numbers) for name, numbers in stages.items()}
    assert imbalances(found, [("one", "two")]) == expected


def test_a_run_whose_books_do_not_balance_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(tmp_path)
    options = configure(tmp_path)
    assert main(options) == 0
    report = tmp_path / "run" / "im_arrays" / "parsed_local_cms-nanoaod_chunk1.json"
    # Two events that parsing never made.
    text = report.read_text().replace('"events_in": 5', '"events_in": 7')
    assert text != report.read_text()
    report.write_text(text)
    assert main(options) == 1
    complaint = "events made by parsing and taken by mass_calculating: 9 against 11"
    assert complaint in capsys.readouterr().err
    summary = told(tmp_path)
    assert (summary.exit, summary.balanced) == (Exit.FAILED, False)
    assert complaint in summary.imbalances[0]


def break_behind(path: Path, first_bad: int) -> None:
    """Damage a file of baskets of 100 events so that only so many events can be read."""
    with uproot.open(path) as file:
        place = int(file["Events/Electron_pt"].member("fBasketSeek")[first_bad // 100])
    content = bytearray(path.read_bytes())
    # Behind the header of the basket lies what is compressed.
    content[place + 80 : place + 120] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize(("is_kept", "code"), [(True, 0), (False, 1)])
def test_a_partly_read_file_counts_as_failed_only_where_it_is_not_kept(
    tmp_path: Path, is_kept: bool, code: int
) -> None:
    write_inputs(tmp_path)
    electrons = [[(30.0 + n / 100, 0.1 * (n % 7), 0.0), (40.0, 0.2, 3.0)] for n in range(300)]
    bad = write_nanoaod(tmp_path / "in2.root", electrons=electrons, events_per_basket=100)
    break_behind(bad, 200)
    options = configure(tmp_path, keep_partial_files=is_kept, chunk_yield_threshold_bytes=2_000)
    assert main(options) == code
    summary = told(tmp_path)
    (lost,) = summary.failed_files
    n_read = lost.events
    assert lost.status is (FileStatus.PARTIAL if is_kept else FileStatus.FAILED)
    assert 0 < n_read <= 200 if is_kept else n_read == 0
    books = summary.stages["parsing"].files
    assert (books.done, books.partial, books.failed) == (1, is_kept, not is_kept)
    assert summary.stages["parsing"].taken["events"] == 5 + n_read

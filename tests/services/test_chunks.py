"""Chunks that are kept, made again, or lost with their worker."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import DataError
from schemas.inputs import Sample, Slice
from schemas.reports import ChunkReport, Output
from services.chunks import ChunkStage, ChunkTask, digest_of, make_or_keep
from services.monitoring import Progress
from services.storage import reports
from services.workers import Workers, tell_position, tell_progress

NAMES = ("one", "two", "three")


def task(name: str, inputs: str = "as before", threshold: int = 1000) -> ChunkTask:
    return ChunkTask(name, inputs, source=None, threshold_bytes=threshold)


TASKS = [task(name) for name in NAMES]


def output_file(folder: Path, chunk: str) -> Path:
    return folder / f"{chunk}.txt"


def describe(folder: Path, chunk: str) -> Output:
    return reports.describe(output_file(folder, chunk))


def make(folder: Path, of_chunk: ChunkTask) -> ChunkReport:
    """Write what the chunk was made of and the threshold it was made with."""
    path = output_file(folder, of_chunk.chunk)
    path.write_text(f"{of_chunk.inputs}, {of_chunk.threshold_bytes} bytes at a time")
    report = ChunkReport(
        chunk=of_chunk.chunk,
        sample=Sample.DATA,
        source="demo",
        inputs=of_chunk.inputs,
        seconds=0.0,
        peak_memory_bytes=1,
        output=reports.describe(path),
    )
    reports.write(folder / f"{of_chunk.chunk}.json", report, Slice())
    return report


def make_in_little_memory(most_bytes: int, folder: Path, of_chunk: ChunkTask) -> ChunkReport:
    """Be killed, as for want of memory, by a second chunk that is held beyond `most_bytes`."""
    tell_position(f"{of_chunk.chunk}.root")
    with (folder / "tried").open("a") as tried:
        tried.write(f"{of_chunk.chunk} {of_chunk.threshold_bytes}\n")
    if of_chunk.chunk == "two" and of_chunk.threshold_bytes > most_bytes:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(folder, of_chunk)


def fail_at_two(folder: Path, of_chunk: ChunkTask) -> ChunkReport:
    if of_chunk.chunk == "two":
        msg = "two.root: expected events, found none"
        raise DataError(msg)
    return make(folder, of_chunk)


def stage(folder: Path) -> ChunkStage[ChunkReport]:
    return ChunkStage(
        "parsing", folder, ChunkReport, partial(make, folder), partial(describe, folder)
    )


def run(of_stage: ChunkStage[ChunkReport], tasks: list[ChunkTask]) -> tuple[list[ChunkReport], int]:
    with Workers(1) as workers:
        return make_or_keep(of_stage, tasks, workers, show=False)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_reports_come_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    with Workers(2) as workers:
        made, n_kept = make_or_keep(stage(tmp_path), TASKS, workers, show=False)
    assert [report.chunk for report in made] == [*NAMES]
    assert n_kept == 0


def test_finished_chunks_are_kept_untouched(tmp_path: Path) -> None:
    made, _ = run(stage(tmp_path), TASKS)
    before = times(tmp_path)
    assert run(stage(tmp_path), TASKS) == (made, 3)
    assert times(tmp_path) == before


def lose_output(folder: Path) -> None:
    output_file(folder, "two").unlink()


def change_output(folder: Path) -> None:
    output_file(folder, "two").write_text("as before, 1001 bytes at a time")


def lose_report(folder: Path) -> None:
    (folder / "two.json").unlink()


def cut_report(folder: Path) -> None:
    path = folder / "two.json"
    path.write_bytes(path.read_bytes()[:-10])


def write_other_report(folder: Path) -> None:
    (folder / "two.json").write_text('{"stage": "parsing"}')


DAMAGES = {
    "output lost": (lose_output, "cannot be read"),
    "output changed": (change_output, "its files are not those of its report"),
    "report lost": (lose_report, ""),
    "report cut": (cut_report, "expected a ChunkReport"),
    "report of another kind": (write_other_report, "expected a ChunkReport"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_chunk_that_is_not_whole_is_made_again_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    do_damage, reason = DAMAGES[damage]
    made, _ = run(stage(tmp_path), TASKS)
    before = times(tmp_path)
    do_damage(tmp_path)
    with caplog.at_level(logging.INFO):
        assert run(stage(tmp_path), TASKS) == (made, 2)
    changed = {name for name, time in times(tmp_path).items() if time != before[name]}
    assert changed == {"two.txt", "two.json"}
    assert reason in caplog.text


def test_a_chunk_of_other_inputs_is_made_again_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(stage(tmp_path), TASKS)
    with caplog.at_level(logging.INFO):
        made, n_kept = run(stage(tmp_path), [TASKS[0], task("two", "other"), TASKS[2]])
    assert n_kept == 2
    assert [report.inputs for report in made] == ["as before", "other", "as before"]
    assert output_file(tmp_path, "two").read_text() == "other, 1000 bytes at a time"
    assert "parsing: two is made again: what it is made of changed" in caplog.text


def test_how_much_is_held_at_a_time_changes_no_chunk(tmp_path: Path) -> None:
    run(stage(tmp_path), TASKS)
    _, n_kept = run(stage(tmp_path), [task(name, threshold=7) for name in NAMES])
    assert n_kept == 3


def is_not_two(report: ChunkReport) -> bool:
    return report.chunk != "two"


def test_a_chunk_that_is_not_final_is_tried_again(tmp_path: Path) -> None:
    lossy = ChunkStage(
        "parsing",
        tmp_path,
        ChunkReport,
        partial(make, tmp_path),
        partial(describe, tmp_path),
        is_final=is_not_two,
    )
    run(lossy, TASKS)
    before = times(tmp_path)
    _, n_kept = run(lossy, TASKS)
    assert n_kept == 2
    assert {name for name, time in times(tmp_path).items() if time != before[name]} == {
        "two.txt",
        "two.json",
    }


def test_what_is_whole_stays_when_a_chunk_fails(tmp_path: Path) -> None:
    failing = ChunkStage(
        "parsing",
        tmp_path,
        ChunkReport,
        partial(fail_at_two, tmp_path),
        partial(describe, tmp_path),
    )
    with pytest.raises(DataError, match=r"two\.root: expected events"):
        run(failing, TASKS)
    _, n_kept = run(stage(tmp_path), TASKS)
    assert n_kept == 1


# Killed workers


def in_little_memory(folder: Path, most_bytes: int) -> ChunkStage[ChunkReport]:
    work = partial(make_in_little_memory, most_bytes, folder)
    return ChunkStage("parsing", folder, ChunkReport, work, partial(describe, folder))


def tried(folder: Path, chunk: str) -> list[int]:
    lines = [line.split() for line in (folder / "tried").read_text().splitlines()]
    return [int(threshold) for name, threshold in lines if name == chunk]


def test_a_chunk_that_kills_its_worker_is_tried_again_with_a_quarter_of_the_range(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Workers(2) as workers:
        made, n_kept = make_or_keep(in_little_memory(tmp_path, 250), TASKS, workers, show=False)
    assert [report.chunk for report in made] == [*NAMES]
    assert n_kept == 0
    assert {name: tried(tmp_path, name) for name in NAMES} == {
        "one": [1000],
        "two": [1000, 250],
        "three": [1000],
    }
    assert output_file(tmp_path, "two").read_text() == "as before, 250 bytes at a time"
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    [error] = errors
    assert error.startswith("parsing: two at two.root: the worker process was killed by the system")


def test_a_chunk_made_with_a_quarter_of_the_range_is_kept(tmp_path: Path) -> None:
    with Workers(2) as workers:
        made, _ = make_or_keep(in_little_memory(tmp_path, 250), TASKS, workers, show=False)
    assert run(stage(tmp_path), TASKS) == (made, 3)


def test_a_chunk_that_kills_its_worker_twice_fails_the_stage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    complaint = (
        "^parsing: two could not be made: the worker process was killed by the system, .* even "
        "with 250 bytes of events at a time; give the job more memory"
    )
    with Workers(2) as workers, pytest.raises(DataError, match=complaint):
        make_or_keep(in_little_memory(tmp_path, 249), TASKS, workers, show=False)
    assert tried(tmp_path, "two") == [1000, 250]
    assert caplog.text.count("parsing: two at two.root: ") == 2
    # The others are whole and stay.
    _, n_kept = run(stage(tmp_path), TASKS)
    assert n_kept == 2


def test_the_range_is_never_nothing(tmp_path: Path) -> None:
    tasks = [task(name, threshold=3) for name in NAMES]
    with Workers(2) as workers:
        make_or_keep(in_little_memory(tmp_path, 1), tasks, workers, show=False)
    assert tried(tmp_path, "two") == [3, 1]


# Progress


def count_and_make(folder: Path, of_chunk: ChunkTask) -> ChunkReport:
    tell_progress(events=5)
    return make(folder, of_chunk)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_progress_of_a_stage_is_that_of_the_chunks_that_are_made(
    n_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(stage(tmp_path), TASKS[:1])
    told: list[str] = []

    class Told(Progress):
        def __exit__(self, *_error: object) -> None:
            told.append(str(self).rsplit(", ", 1)[0])

    monkeypatch.setattr("services.chunks.Progress", Told)
    counting = ChunkStage(
        "parsing",
        tmp_path,
        ChunkReport,
        partial(count_and_make, tmp_path),
        partial(describe, tmp_path),
    )
    planned = [replace(t, planned={"events": 10, "files": 2}) for t in TASKS]
    with Workers(n_workers) as workers:
        make_or_keep(counting, planned, workers, show=False)
    # The first chunk was kept. What was planned counts, whatever the work has said.
    assert told == ["20 of 20 events, 4 of 4 files"]


# Digests


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_different_values_have_different_digests() -> None:
    values = [(), ("a",), ("a", "b"), (["a", "b"],), ("ab",), ("b", "a"), (1,), ("1",), (None,)]
    assert len({digest_of(*parts) for parts in values}) == len(values)

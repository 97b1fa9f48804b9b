"""The state machine: its order, how it waits and fails, and what it says at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import pi
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.errors import BarrierError, ConfigError, DataError
from schemas.inputs import Slice
from schemas.state import RunState, StageStatus, State
from services import pipeline, run_directory
from services.pipeline import Done
from services.run_directory import RunDirectory
from services.storage import reports
from tests.factory import make_config, write_nanoaod

STAGES = ["fetching", "parsing", "mass_calculating", "post_processing", "histogram_creation"]
Watched = list[RunState]


def state_of(paths: RunDirectory, part: Slice) -> RunState:
    return reports.read(paths.state_file(part), RunState)


def statuses(state: RunState) -> dict[str, str]:
    return {name: record.status.value for name, record in state.stages.items()}


class StateReader(logging.Handler):
    """Reads the state file whenever something is logged."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.found: Watched = []

    def emit(self, _record: logging.LogRecord) -> None:
        if self.path.exists():
            self.found.append(reports.read(self.path, RunState))


@contextmanager
def watching(path: Path) -> Iterator[Watched]:
    """Yield the states that a state file has, one for each line of the log."""
    reader = StateReader(path)
    root = logging.getLogger()
    level = root.level
    root.addHandler(reader)
    root.setLevel(logging.INFO)
    try:
        yield reader.found
    finally:
        root.setLevel(level)
        root.removeHandler(reader)


def prepare(folder: Path, *, n_files: int = 2, **sections: Any) -> tuple[Config, RunDirectory]:
    """Return an opened run over files of three Z bosons each, every file a chunk."""
    pair = [(45.0, 0.0, 0.0), (45.0, 0.0, pi)]
    for number in range(n_files):
        write_nanoaod(folder / f"in{number}.root", electrons=[pair] * 3)
    parsing = {
        "local_files": {"cms-nanoaod": [str(folder / "in*.root")]},
        "chunk_input_bytes": 1,
        **sections.pop("parsing", {}),
    }
    config = make_config({"parsing_task_config": parsing, **sections}, folder)
    return config, run_directory.open_run(config, folder / "run", datetime.now(UTC))


def job(folder: Path, index: int, total: int = 2, **metadata: Any) -> tuple[Config, RunDirectory]:
    jobs = {"batch_job_index": index, "total_batch_jobs": total, **metadata}
    return prepare(folder, run_metadata=jobs)


def run(prepared: tuple[Config, RunDirectory], *, waits: bool = False) -> Done:
    config, paths = prepared
    return pipeline.run(config, paths, pipeline.slice_of(config), waits=waits, draws=False)


# A run of one job


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Done, Watched]:
    prepared = prepare(tmp_path_factory.mktemp("finished"))
    with watching(prepared[1].state_file(Slice())) as states:
        done = run(prepared)
    return prepared[1], done, states


def test_states_follow_one_another_in_order(
    finished: tuple[RunDirectory, Done, Watched],
) -> None:
    paths, _, states = finished
    seen = list(dict.fromkeys(state.state for state in states))
    assert seen == [
        State.FETCHING,
        State.PARSING,
        State.MASS_CALCULATING,
        State.POST_PROCESSING,
        State.HISTOGRAM_CREATION,
    ]
    assert state_of(paths, Slice()).state is State.COMPLETED


def test_one_stage_runs_behind_those_that_are_done(
    finished: tuple[RunDirectory, Done, Watched],
) -> None:
    for state in finished[2]:
        found = list(statuses(state).values())
        n_done = found.count("done")
        running = ["running"] if "running" in found else []
        n_pending = len(STAGES) - n_done - len(running)
        assert found == ["done"] * n_done + running + ["pending"] * n_pending


def test_the_state_says_when_each_stage_ran_and_how_long(
    finished: tuple[RunDirectory, Done, Watched],
) -> None:
    state = state_of(finished[0], Slice())
    assert list(state.stages) == STAGES
    before = None
    for record in state.stages.values():
        assert record.status is StageStatus.DONE
        assert record.started
        assert record.ended
        assert record.seconds == (record.ended - record.started).total_seconds()
        assert before is None or before <= record.started
        before = record.ended


def test_what_the_stages_did_is_returned_in_order(
    finished: tuple[RunDirectory, Done, Watched],
) -> None:
    _, done, _ = finished
    assert [report.stage for report in done.reports] == STAGES
    assert done.waiting_for is None


def test_the_lock_is_given_back(finished: tuple[RunDirectory, Done, Watched]) -> None:
    assert not finished[0].lock_file(Slice()).exists()


def test_disabled_stages_are_stepped_over_and_keep_what_was_said_of_them(tmp_path: Path) -> None:
    run(prepare(tmp_path))
    only = {f"do_{task}": task == "post_processing" for task in ("parsing", *STAGES[2:])}
    prepared = prepare(tmp_path, tasks=only)
    done = run(prepared)
    assert [report.stage for report in done.reports] == ["post_processing"]
    state = state_of(prepared[1], Slice())
    assert state.state is State.COMPLETED
    assert statuses(state) == dict.fromkeys(STAGES, "done")


def test_stages_that_were_never_enabled_are_disabled(tmp_path: Path) -> None:
    only = {f"do_{task}": task == "parsing" for task in ("parsing", *STAGES[2:])}
    prepared = prepare(tmp_path, tasks=only)
    run(prepared)
    parsed = dict.fromkeys(("fetching", "parsing"), "done")
    state = state_of(prepared[1], Slice())
    assert statuses(state) == dict.fromkeys(STAGES, "disabled") | parsed


# Failing


def test_a_failed_stage_is_where_the_state_stops(tmp_path: Path) -> None:
    prepared = prepare(tmp_path)
    (tmp_path / "in1.root").write_bytes(b"nothing")
    with pytest.raises(DataError, match="1 of 2 files failed"):
        run(prepared)
    state = state_of(prepared[1], Slice())
    assert state.state is State.FAILED
    assert statuses(state) == {
        "fetching": "done",
        "parsing": "failed",
        "mass_calculating": "pending",
        "post_processing": "pending",
        "histogram_creation": "pending",
    }
    parsing = state.stages["parsing"]
    assert parsing.started
    assert parsing.ended
    assert not prepared[1].lock_file(Slice()).exists()


def test_a_stage_without_its_input_fails_a_run_of_one_job(tmp_path: Path) -> None:
    only = {f"do_{task}": task == "post_processing" for task in ("parsing", *STAGES[2:])}
    prepared = prepare(tmp_path, tasks=only)
    with pytest.raises(BarrierError, match="found none; run mass_calculating first"):
        run(prepared)
    assert state_of(prepared[1], Slice()).state is State.FAILED


def test_a_second_start_after_a_failure_ends_completed(tmp_path: Path) -> None:
    prepared = prepare(tmp_path)
    whole = (tmp_path / "in1.root").read_bytes()
    (tmp_path / "in1.root").write_bytes(b"nothing")
    with pytest.raises(DataError):
        run(prepared)
    (tmp_path / "in1.root").write_bytes(whole)
    run(prepared)
    state = state_of(prepared[1], Slice())
    assert state.state is State.COMPLETED
    assert set(statuses(state).values()) == {"done"}


# Batch jobs


def test_a_job_does_what_it_can_and_waits_for_the_others(tmp_path: Path) -> None:
    prepared = job(tmp_path, 2)
    done = run(prepared)
    assert [report.stage for report in done.reports] == ["fetching", "parsing"]
    assert done.waiting_for is not None
    assert "expected 2 slices of parsing, found 1; missing: 1" in done.waiting_for
    state = state_of(prepared[1], Slice(2, 2))
    assert state.state is State.WAITING
    assert statuses(state) == {
        "fetching": "done",
        "parsing": "done",
        "mass_calculating": "pending",
        "post_processing": "pending",
        "histogram_creation": "pending",
    }


def test_a_job_waits_again_at_the_next_barrier(tmp_path: Path) -> None:
    run(job(tmp_path, 1))
    done = run(job(tmp_path, 2))
    assert done.reports[-1].stage == "mass_calculating"
    assert done.waiting_for is not None
    assert "slices of mass_calculating, found 1; missing: 1" in done.waiting_for


def test_jobs_have_a_state_of_their_own(tmp_path: Path) -> None:
    run(job(tmp_path, 1))
    paths = job(tmp_path, 2)[1]
    assert state_of(paths, Slice(1, 2)).state is State.WAITING
    assert not paths.state_file(Slice(2, 2)).exists()
    assert not paths.state_file(Slice()).exists()


def test_a_job_that_is_sent_to_a_stage_fails_at_its_barrier(tmp_path: Path) -> None:
    prepared = job(tmp_path, 1, barrier_wait_seconds=0.0)
    with pytest.raises(BarrierError, match="found 1; missing: 2"):
        run(prepared, waits=True)
    state = state_of(prepared[1], Slice(1, 2))
    assert state.state is State.FAILED
    assert statuses(state)["mass_calculating"] == "failed"


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        ({}, Slice(1, 1)),
        ({"batch_job_index": 3, "total_batch_jobs": 5}, Slice(3, 5)),
        ({"batch_job_index": 1, "total_batch_jobs": 1}, Slice(1, 1)),
    ],
    ids=["single job", "one of five", "one of one"],
)
def test_a_job_knows_its_part(tmp_path: Path, metadata: dict[str, int], part: Slice) -> None:
    demo = {"parsing_task_config": {"release_years": ["demo"]}}
    config = make_config(demo | {"run_metadata": metadata}, tmp_path)
    assert pipeline.slice_of(config) == part


def test_a_job_of_several_must_say_which_it_is(tmp_path: Path) -> None:
    demo = {"parsing_task_config": {"release_years": ["demo"]}}
    config = make_config(demo | {"run_metadata": {"total_batch_jobs": 4}}, tmp_path)
    with pytest.raises(ConfigError, match=r"cut into 4 jobs: say which .* --total-batch-jobs 4"):
        pipeline.slice_of(config)

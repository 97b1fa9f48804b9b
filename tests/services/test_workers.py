from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from schemas.errors import DataError
from services.workers import Workers, available_cores, tell_progress

CHECKOUT = Path(__file__).parents[2]


def square(number: int) -> int:
    return number * number


def process_id(_task: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def fail(number: int) -> int:
    msg = f"number {number} is bad"
    raise DataError(msg)


def die_of_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def warn(number: int) -> int:
    logging.getLogger("some.module").warning("careful with %d", number)
    return number


def lives(number: int) -> bool:
    """Whether a process is at work; in a container nobody may ask an orphan how it ended."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_every_task_is_done_once(n_workers: int) -> None:
    with Workers(n_workers) as workers:
        results = {o.task: o.result for o in workers.map(square, range(7))}
    assert results == {n: n * n for n in range(7)}


def test_one_worker_is_this_process() -> None:
    with Workers(1) as workers:
        assert {o.result for o in workers.map(process_id, [1, 2])} == {os.getpid()}


def test_two_workers_are_two_other_processes_that_live_on() -> None:
    with Workers(2) as workers:
        first = {o.result for o in workers.map(process_id, range(6))}
        second = {o.result for o in workers.map(process_id, range(6))}
    assert len(first) == 2
    assert first == second
    assert os.getpid() not in first


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_of_the_work_is_raised_as_it_is(n_workers: int) -> None:
    with pytest.raises(DataError, match="number 1 is bad"), Workers(n_workers) as workers:
        list(workers.map(fail, [1]))


def test_a_killed_worker_is_noticed_with_its_task_and_the_others_go_on() -> None:
    with Workers(2) as workers:
        outcomes = {o.task: o for o in workers.map(die_of_two, range(6))}
    died = outcomes.pop(2).died
    assert died is not None
    assert died.exit_code == -signal.SIGKILL
    assert "killed by the system" in str(died)
    assert {task: o.result for task, o in outcomes.items()} == {n: n for n in (0, 1, 3, 4, 5)}


def test_a_worker_that_is_killed_before_it_has_a_task_is_noticed_too() -> None:
    with Workers(2) as workers:
        idle = {o.result for o in workers.map(process_id, range(6))}
        killed = psutil.Process(idle.pop())
        killed.kill()
        psutil.wait_procs([killed], timeout=10)
        outcomes = list(workers.map(process_id, range(6)))
    (died,) = [o.died for o in outcomes if o.died]
    assert died.exit_code == -signal.SIGKILL
    assert sorted(o.task for o in outcomes) == [*range(6)]
    assert all(o.result or o.died for o in outcomes)
    assert killed.pid not in {o.result for o in outcomes}


def test_what_workers_log_arrives_here(caplog: pytest.LogCaptureFixture) -> None:
    with Workers(2) as workers:
        list(workers.map(warn, [4]))
    assert ("some.module", logging.WARNING, "careful with 4") in caplog.record_tuples


def variable(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("once", "again"):
        monkeypatch.setenv("SOME_VARIABLE", value)
        with Workers(2) as workers:
            assert {o.result for o in workers.map(variable, ["SOME_VARIABLE"] * 2)} == {value}


def test_no_worker_is_left_behind() -> None:
    with Workers(2) as workers:
        ids = {o.result for o in workers.map(process_id, range(4))}
    assert not any(lives(number) for number in ids if number)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from services.workers import Workers\n"
        "from tests.services.test_workers import process_id\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2) as workers:\n"
        "        print(*{o.result for o in workers.map(process_id, range(6))}, flush=True)\n"
        "        time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        ids = [int(number) for number in parent.stdout.readline().split()]
        parent.kill()
    assert len(ids) == 2
    deadline = time.monotonic() + 10
    while any(lives(number) for number in ids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(lives(number) for number in ids)


def test_the_scheduler_can_give_fewer_cores_than_the_machine_has() -> None:
    assert available_cores({"NCPUS": "1"}) == 1
    assert available_cores({}) == len(os.sched_getaffinity(0))
    assert available_cores({"SLURM_CPUS_PER_TASK": "", "NCPUS": "many"}) == available_cores({})


def count_up(number: int) -> int:
    for _ in range(number):
        tell_progress(events=2)
    tell_progress(files=1)
    return number


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_the_work_counts_is_heard_in_full_and_before_its_outcome(n_workers: int) -> None:
    heard: dict[int, Counter[str]] = {}

    def hear(task: int | None, counts: Mapping[str, int]) -> None:
        if task is not None:
            heard.setdefault(task, Counter()).update(counts)

    with Workers(n_workers) as workers:
        for outcome in workers.map(count_up, [3, 0, 1000], hear):
            assert heard[outcome.task] == Counter(events=2 * outcome.task, files=1)
    assert len(heard) == 3


def test_thousands_of_counts_are_a_few_messages() -> None:
    messages = []
    with Workers(2) as workers:
        list(workers.map(count_up, [20_000, 1], lambda *said: messages.append(said)))
    assert 2 <= len([said for said in messages if said[0] is not None]) < 30


def sleep_long(_task: int) -> None:
    time.sleep(1.3)


def test_silence_is_heard_as_well() -> None:
    heard = []
    with Workers(2) as workers:
        list(workers.map(sleep_long, [1], lambda *said: heard.append(said)))
    assert (None, {}) in heard


def test_work_that_nobody_hears_counts_into_the_void() -> None:
    tell_progress(events=1)
    assert count_up(2) == 2


def control_groups(tmp_path: Path, quotas: dict[str, str]) -> tuple[Path, Path]:
    """Return folders as Linux has them, for a process in the group /batch/job."""
    membership = tmp_path / "cgroup"
    membership.write_text("0::/batch/job\n")
    for group, quota in quotas.items():
        folder = tmp_path / "groups" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(f"{quota} 100000\n")
    return tmp_path / "groups", membership


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"batch/job": "100000", "batch": "max"}, 1),
        ({"batch/job": "max", "batch": "100000"}, 1),
        ({"batch/job": "50000"}, 1),
        ({"batch/job": "max", "other": "100000"}, None),
        ({"batch/job": "nonsense"}, None),
        ({}, None),
    ],
    ids=["of the group", "of one around it", "less than one", "of another", "unreadable", "none"],
)
def test_a_container_can_give_fewer_cores_than_the_machine_has(
    tmp_path: Path, quotas: dict[str, str], cores: int | None
) -> None:
    expected = len(os.sched_getaffinity(0)) if cores is None else cores
    assert available_cores({}, *control_groups(tmp_path, quotas)) == expected


def test_a_quota_is_counted_in_whole_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)))
    groups = control_groups(tmp_path, {"batch/job": "350000", "batch": "1600000"})
    assert available_cores({}, *groups) == 3
    assert available_cores({"SLURM_CPUS_PER_TASK": "2"}, *groups) == 2

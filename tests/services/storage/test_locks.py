from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from schemas.errors import StorageError
from services.storage import locks
from services.storage.locks import Holder, locked, only_writer

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "slice.lock"


def leave(lock: Path, holder: Holder) -> None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps(asdict(holder)))


def test_the_lock_is_there_while_the_work_runs_and_gone_after(lock: Path) -> None:
    with only_writer(lock):
        assert lock.exists()
    assert list(lock.parent.iterdir()) == []


def test_the_lock_is_gone_after_a_failure(lock: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(lock):
        raise ZeroDivisionError
    assert list(lock.parent.iterdir()) == []


def test_a_second_writer_is_told_who_the_first_is(lock: Path) -> None:
    with (
        only_writer(lock),
        pytest.raises(StorageError, match=f"process {os.getpid()} on .* is working on this part"),
        only_writer(lock),
    ):
        pass
    assert not lock.exists()


def test_the_lock_of_a_process_that_is_gone_is_taken_over(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(lock, replace(Holder.this_process(), process=ended.pid, process_started="1"))
    with only_writer(lock):
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert "taken over from process" in caplog.text


def test_a_process_number_in_use_again_does_not_keep_the_lock(lock: Path) -> None:
    leave(lock, replace(Holder.this_process(), process_started="1"))
    with only_writer(lock):
        pass


def test_a_restart_of_the_machine_ends_all_locks(lock: Path) -> None:
    leave(lock, replace(Holder.this_process(), boot_id="the boot before"))
    with only_writer(lock):
        pass


def test_another_host_is_believed_while_its_heart_beats(lock: Path) -> None:
    leave(lock, replace(Holder.this_process(), host="elsewhere", process=1))
    with pytest.raises(StorageError, match="process 1 on elsewhere"), only_writer(lock):
        pass


def test_another_host_without_heartbeat_for_five_minutes_is_gone(lock: Path) -> None:
    leave(lock, replace(Holder.this_process(), host="elsewhere"))
    past = time.time() - locks.STALE_SECONDS - 1
    os.utime(lock, (past, past))
    with only_writer(lock):
        pass


def test_the_heart_beats(lock: Path) -> None:
    with only_writer(lock, heartbeat_seconds=0.02):
        os.utime(lock, (1, 1))
        deadline = time.monotonic() + 5
        while lock.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.stat().st_mtime > 2


def test_a_short_work_is_waited_for(lock: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from services.storage.locks import locked\n"
        "with locked(Path(sys.argv[1]), 0):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, lock], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        began = time.monotonic()
        with locked(lock, 30):
            assert other.poll() is not None or time.monotonic() - began > 0.2


def test_waiting_ends_with_an_error_that_names_the_holder(lock: Path) -> None:
    began = time.monotonic()
    with (
        only_writer(lock),
        pytest.raises(StorageError, match=f"process {os.getpid()} on"),
        locked(lock, 0.3),
    ):
        pass
    assert 0.3 <= time.monotonic() - began < 5

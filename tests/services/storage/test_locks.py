"""The lock between processes: one at a time, and the dead hold nothing."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import StorageError
from services.storage import locks
from services.storage.locks import locked

CHECKOUT = Path(__file__).parents[3]
# Adds one to a number in a file, so slowly that two at a time would lose an addition.
COUNT_UP = """
import sys, time
from pathlib import Path
from services.storage.locks import locked
for _ in range(5):
    with locked(Path(sys.argv[1]), 30):
        total = Path(sys.argv[2])
        number = int(total.read_text())
        time.sleep(0.01)
        total.write_text(str(number + 1))
"""


def test_processes_do_it_one_after_the_other(tmp_path: Path) -> None:
    total = tmp_path / "total"
    total.write_text("0")
    command = [sys.executable, "-c", COUNT_UP, str(tmp_path / "lock"), str(total)]
    started = [subprocess.Popen(command, cwd=CHECKOUT) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert total.read_text() == "15"


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "new" / "lock", 1):
        assert (tmp_path / "new" / "lock").exists()
    assert list((tmp_path / "new").iterdir()) == []


def test_waiting_ends_with_an_error_that_names_the_lock(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock", 1),
        pytest.raises(StorageError, match=r"lock: .* remove"),
        locked(tmp_path / "lock", 0.3),
    ):
        pass


def test_a_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock", 1):
        raise KeyError
    with locked(tmp_path / "lock", 0.1):
        pass


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "lock").write_text(f"{socket.gethostname()} {dead.pid} token")
    started = time.monotonic()
    with locked(tmp_path / "lock", 5):
        assert time.monotonic() - started < 4


def test_the_lock_of_another_machine_is_taken_when_it_shows_no_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_DEAD_AFTER_SECONDS", 0.5)
    (tmp_path / "lock").write_text("elsewhere 1 token")
    started = time.monotonic()
    with locked(tmp_path / "lock", 5):
        assert 0.5 <= time.monotonic() - started < 4


def test_a_lock_that_shows_life_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_DEAD_AFTER_SECONDS", 0.5)
    path = tmp_path / "lock"
    path.write_text("elsewhere 1 token")
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.1):
            os.utime(path)

    alive = threading.Thread(target=live)
    alive.start()
    try:
        with pytest.raises(StorageError), locked(path, 1.2):
            pass
    finally:
        stop.set()
        alive.join()


def test_who_holds_a_lock_shows_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.05)
    with locked(tmp_path / "lock", 1):
        before = (tmp_path / "lock").stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / "lock").stat().st_mtime_ns > before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"), locked(tmp_path / "file" / "lock", 1):
        pass

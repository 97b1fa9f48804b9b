"""One writer per slice of a run: a lock file with its holder and a heartbeat."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.errors import StorageError
from services.storage.atomic import storage_errors

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
# A holder that has not been heard of for so long is gone, whatever host it is on.
STALE_SECONDS = 300.0
# The same for short works: who waits for one should not wait long for the dead.
_SHORT_HEARTBEAT_SECONDS = 2.0
_SHORT_STALE_SECONDS = 30.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock; its number alone would be reused."""

    host: str
    boot_id: str
    process: int
    process_started: str
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        """Return this process as a holder."""
        number = os.getpid()
        return cls(
            socket.gethostname(), _boot_id(), number, _process_start(number), uuid.uuid4().hex
        )

    def is_gone(self) -> bool:
        """Whether the process is known to have ended: only its own host can tell."""
        if self.host != socket.gethostname():
            return False
        if self.boot_id != _boot_id():
            return True
        return _process_start(self.process) != self.process_started


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _process_start(number: int) -> str:
    """Return when a process started, as the system counts; nothing if there is no such process."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _ask_by_signal(number)
    # The command's name, in brackets, may hold spaces and brackets; the start is field 22.
    fields = stat.rpartition(")")[2].split()
    is_zombie = fields[0] == "Z"
    return "" if is_zombie else fields[19]


def _ask_by_signal(number: int) -> str:
    # Without /proc (macOS) all that can be asked is whether the number is taken.
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "other user"
    return "running"


@contextmanager
def only_writer(
    path: Path,
    *,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    stale_seconds: float = STALE_SECONDS,
    wait_seconds: float = 0.0,
) -> Iterator[None]:
    """Hold the lock at `path` while the body runs.

    A holder that has not been heard of for `stale_seconds` is gone; for a live one `wait_seconds`
    are waited.

    Raises:
        StorageError: a live process holds it, or the folder cannot be written to.
    """
    me = Holder.this_process()
    deadline = time.monotonic() + wait_seconds
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _create(path, me):
            live = _take_over_if_stale(path, stale_seconds)
            if live is None:
                continue
            if time.monotonic() >= deadline:
                raise StorageError(live)
            time.sleep(_LOOK_SECONDS)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, me, stop, heartbeat_seconds), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _holder(path) == me:
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold a lock for a short work that others wait for, such as fetching a list once for all.

    Raises:
        StorageError: a live process held it for all that time, or it cannot be created.
    """
    with only_writer(
        path,
        heartbeat_seconds=_SHORT_HEARTBEAT_SECONDS,
        stale_seconds=_SHORT_STALE_SECONDS,
        wait_seconds=wait_seconds,
    ):
        yield


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock at `path`, as far as this host can tell."""
    holder = _holder(path)
    return holder is not None and not holder.is_gone() and _age(path) < STALE_SECONDS


def _create(path: Path, holder: Holder) -> bool:
    try:
        # The one way of making a file that fails where it exists, on network file systems too.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(holder), file)
    return True


def _holder(path: Path) -> Holder | None:
    """Return who holds a lock; None if it is gone, or is just being written."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _age(path: Path) -> float:
    """Return the seconds since the last heartbeat, by the file system's own clock."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _take_over_if_stale(path: Path, stale_seconds: float) -> str | None:
    """Return who holds a lock, as a sentence; None if nobody does, any more or for a moment."""
    holder = _holder(path)
    age = _age(path)
    if age < stale_seconds and not (holder and holder.is_gone()):
        if holder is None:
            # The other process is between making the file and writing its name.
            time.sleep(0.05)
            if not path.exists() or _holder(path):
                return None
        who = f"process {holder.process} on {holder.host}" if holder else "another process"
        return (
            f"{path}: {who} is working on this part of the run (last heard of {age:.0f} s ago); "
            "wait for it, or stop it, before starting another"
        )
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        # Of several that see a stale lock, one succeeds in moving it away.
        path.rename(aside)
    except FileNotFoundError:
        return None
    if _holder(aside) != holder:
        # Another was faster, and this is its fresh lock: it goes back, unless there is one again.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return None
    aside.unlink()
    who = f"process {holder.process} on {holder.host}" if holder else "a process unknown"
    log.warning("%s: taken over from %s, which is gone", path, who)
    return None


def _beat(path: Path, me: Holder, stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        if _holder(path) != me:
            # Suspended for long, this process was taken for gone; two writers must not go on.
            log.critical("%s: taken over by another process; this one ends", path)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            os.utime(path)
        except OSError as error:
            log.warning("%s: no heartbeat (%s)", path, error)

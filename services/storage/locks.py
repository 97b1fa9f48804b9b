"""A lock between processes, of one machine or several, as a file that only one can create."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from schemas.errors import StorageError
from services.storage.atomic import storage_errors

# Creating a file exclusively works on every shared file system, which locking a file does not. A
# holder that lives changes its file; one that has not for so long is dead. Clocks of machines are
# not compared: who waits measures on its own.
_BEAT_SECONDS = 2.0
_DEAD_AFTER_SECONDS = 30.0
_LOOK_SECONDS = 0.1


def _is_dead_here(text: str) -> bool:
    """Whether a lock was left by a process of this machine that is no more."""
    host, _, rest = text.partition(" ")
    number = rest.partition(" ")[0]
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _create(path: Path, token: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(token)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> tuple[str, int] | None:
    """Return what a lock says and when it last changed; None if there is none."""
    try:
        # Opening it makes a network file system look anew.
        with path.open(encoding="utf-8") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _is_ours(path: Path, token: str) -> bool:
    found = _read(path)
    return found is not None and found[0] == token


def _beat(path: Path, token: str, released: threading.Event) -> None:
    while not released.wait(_BEAT_SECONDS):
        with suppress(OSError):
            if _is_ours(path, token):
                os.utime(path)


def _remove(path: Path, text: str) -> None:
    """Remove a dead lock, unless somebody did already and holds it anew."""
    grave = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(OSError):
        path.rename(grave)
        if not _is_ours(grave, text):
            # A living one was taken: it goes back, unless its place is taken.
            with suppress(OSError):
                os.link(grave, path)
        grave.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock at `path`; locks of dead processes are removed.

    Raises:
        StorageError: a living process held it for so long, or it cannot be created.
    """
    token = f"{socket.gethostname()} {os.getpid()} {uuid4().hex}"
    until = time.monotonic() + wait_seconds
    seen: tuple[str, int] | None = None
    seen_at = time.monotonic()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _create(path, token):
            found = _read(path)
            if found is None:
                continue
            now = time.monotonic()
            if found != seen:
                seen, seen_at = found, now
            text = found[0]
            if now - seen_at > _DEAD_AFTER_SECONDS or _is_dead_here(text):
                _remove(path, text)
            elif now > until:
                msg = (
                    f"{path}: expected another process to end its work within {wait_seconds:g} s, "
                    f"it still holds this lock ({text}); wait for it, or remove the file"
                )
                raise StorageError(msg)
            else:
                time.sleep(_LOOK_SECONDS)
    released = threading.Event()
    threading.Thread(target=_beat, args=(path, token, released), daemon=True).start()
    try:
        yield
    finally:
        released.set()
        with suppress(OSError):
            if _is_ours(path, token):
                path.unlink(missing_ok=True)

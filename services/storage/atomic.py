"""Outputs that appear whole or not at all: written aside under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import StorageError
from schemas.inputs import Slice

_TEMPORARY = ".tmp-"


@contextmanager
def storage_errors(path: Path | str, what: str = "written") -> Iterator[None]:
    """Turn an OSError about `path` into a StorageError that a user can act on.

    Raises:
        StorageError: the body met a full disk, missing rights, or the like.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{path}: cannot be {what} ({reason}); free space or correct the path or its rights"
        raise StorageError(msg) from error


def temporary_name(path: Path, part: Slice) -> Path:
    """Return the name beside `path` under which a slice writes until the work is whole."""
    return path.with_name(f"{path.name}{_TEMPORARY}{part}")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def appearing(path: Path, part: Slice, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary name; what the body wrote there takes the place of `path` at the end.

    With `folder` the temporary is made as a folder. If the body raises, nothing is left of it.

    Raises:
        StorageError: the disk is full, the folder is not writable, or the like.
    """
    temporary = temporary_name(path, part)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        if folder:
            temporary.mkdir()
        try:
            yield temporary
            if folder and path.exists():
                # os.replace does not replace a folder that has files in it.
                remove(path)
            os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its usual name
        except BaseException:
            remove(temporary)
            raise


def write_text(path: Path, text: str, part: Slice) -> None:
    """Write a text file so that it appears whole.

    Raises:
        StorageError: it cannot be written.
    """
    with appearing(path, part) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path, part: Slice) -> tuple[Path, ...]:
    """Remove what a slice had not finished when it was stopped; others' work is left alone.

    Raises:
        StorageError: something cannot be removed.
    """
    found = tuple(sorted(folder.glob(f"*{_TEMPORARY}{part}")))
    for path in found:
        with storage_errors(path, "removed"):
            remove(path)
    return found


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise StorageError if a file system has less room than is about to be written."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < n_bytes:
        msg = (
            f"{folder}: expected room for {n_bytes:,} bytes, found {free:,} free; free some and "
            "start again, what is done is kept"
        )
        raise StorageError(msg)

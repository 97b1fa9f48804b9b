"""Lists of remote files, kept per user so that the next run need not ask the catalogs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from schemas.errors import DataError, StorageError
from schemas.inputs import FileList, Slice
from services.storage import reports
from services.storage.locks import locked

log = logging.getLogger(__name__)

_PROGRAM = "bumphunt-pipeline"
# Whoever waits gives the one who asks a little longer than that one takes at most.
_SPARE_SECONDS = 30.0


def digest(request: Mapping[str, Any]) -> str:
    """Return the digest of a request: equal for equal ones, whatever the order of keys."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def kept(
    request: Mapping[str, Any],
    ask: Callable[[], FileList],
    *,
    max_age_days: float,
    seconds: float,
) -> FileList:
    """Return the kept list of a request, or what `ask` returns, which is kept then.

    Processes that start together ask once; `ask` takes at most so many seconds.

    Raises:
        CatalogError: what `ask` raises.
    """
    key = digest(request)
    folder = user_cache_path(_PROGRAM, appauthor=False) / "catalogs"
    path = folder / f"{key[:32]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("%s: file lists cannot be kept there (%s)", folder, error.strerror)
        return ask().sealed(key, datetime.now(UTC))
    started = datetime.now(UTC)
    with locked(path.with_suffix(".lock"), seconds + _SPARE_SECONDS):
        found = _read(path, key)
        oldest = started - timedelta(days=max_age_days)
        if found and found.listed_at and found.listed_at >= oldest:
            log.info("file list of %s is from %s", request.get("name"), found.listed_at.date())
            return found
        listed = ask().sealed(key, datetime.now(UTC))
        try:
            reports.write(path, listed, Slice())
        except StorageError as error:
            log.warning("the file list is not kept: %s", error)
        return listed


def _read(path: Path, key: str) -> FileList | None:
    """Return a kept list; None, with a warning, if it cannot be used."""
    if not path.exists():
        return None
    try:
        found = reports.read(path, FileList)
    except DataError as error:
        log.warning("a kept file list is refused and asked for again: %s", error)
        return None
    if found.request != key:
        log.warning("%s: a kept file list is of another request, and is asked for again", path)
        return None
    return found

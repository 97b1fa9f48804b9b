"""Lists of remote files, kept per user so that the next run need not ask the catalogs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path

from schemas.errors import CatalogError, DataError, StorageError
from schemas.inputs import FileList, Slice
from schemas.offers import Offer
from services.storage import reports
from services.storage.locks import locked

log = logging.getLogger(__name__)

Kept = TypeVar("Kept", FileList, Offer)

_PROGRAM = "bumphunt-pipeline"
# Whoever waits gives the one who asks a little longer than that one takes at most.
_SPARE_SECONDS = 30.0


def digest(request: Mapping[str, Any]) -> str:
    """Return the digest of a request: equal for equal ones, whatever the order of keys."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def kept(
    request: Mapping[str, Any],
    kind: type[Kept],
    ask: Callable[[], Kept],
    *,
    max_age_days: float,
    seconds: float,
    even_old: bool = False,
) -> Kept:
    """Return the kept list of a request, or what `ask` returns, which is kept then.

    Processes that start together ask once; `ask` takes at most so many seconds. With `even_old` a
    list that is too old will do where the catalog cannot be asked.

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
        found = _read(path, kind, key)
        oldest = started - timedelta(days=max_age_days)
        if found and found.listed_at and found.listed_at >= oldest:
            log.info("file list of %s is from %s", request.get("name"), found.listed_at.date())
            return found
        try:
            listed = ask().sealed(key, datetime.now(UTC))
        except CatalogError as error:
            if not even_old or not found or not found.listed_at:
                raise
            log.warning("%s; this is the list of %s", error, found.listed_at.date())
            return found
        try:
            reports.write(path, listed, Slice())
        except StorageError as error:
            log.warning("the file list is not kept: %s", error)
        return listed


def _read(path: Path, kind: type[Kept], key: str) -> Kept | None:
    """Return a kept list; None, with a warning, if it cannot be used."""
    if not path.exists():
        return None
    try:
        found = reports.read(path, kind)
    except DataError as error:
        log.warning("a kept file list is refused and asked for again: %s", error)
        return None
    if found.request != key:
        log.warning("%s: a kept file list is of another request, and is asked for again", path)
        return None
    return found

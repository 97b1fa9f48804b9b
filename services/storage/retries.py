"""Trying again: what may pass is tried again after a pause, what will not is an error at once."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from schemas.config import Parsing

log = logging.getLogger(__name__)

T = TypeVar("T")

# A server that asks for more patience than this is treated as one that is down.
_LONGEST_PAUSE_SECONDS = 120.0


@dataclass(frozen=True)
class Limits:
    """How long a request may take, in seconds, and how often it is tried again."""

    connect_timeout: float
    read_timeout: float
    total_timeout: float
    retries: int
    backoff: float

    @classmethod
    def of(cls, parsing: Parsing) -> Self:
        """Return the configured limits."""
        return cls(
            connect_timeout=parsing.request_connect_timeout,
            read_timeout=parsing.request_read_timeout,
            total_timeout=parsing.request_total_timeout,
            retries=parsing.request_retries,
            backoff=parsing.request_backoff_seconds,
        )


class RequestError(Exception):
    """A request failed: `is_passing` if another try may succeed."""

    def __init__(
        self, url: str, reason: str, *, is_passing: bool, pause: float | None = None
    ) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason
        self.is_passing = is_passing
        self.pause = pause
        """Seconds that the server asks to wait."""


class RangesIgnoredError(RequestError):
    """The server sends whole files whatever part is asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "the server ignores byte ranges", is_passing=False)


def try_again(
    once: Callable[[], T], limits: Limits, stop: threading.Event, until: float | None = None
) -> T:
    """Return what `once` returns, after as many tries as the limits allow.

    Pauses double from `limits.backoff` seconds and vary at random by half, so that many clients
    do not come back together. Nothing is tried after `until` (monotonic seconds) or `stop`.

    Raises:
        RequestError: the last failure.
    """
    tried = 0
    while True:
        try:
            return once()
        except RequestError as error:
            pause = limits.backoff * 2**tried * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
            pause = max(min(pause, _LONGEST_PAUSE_SECONDS), error.pause or 0.0)
            is_late = until is not None and time.monotonic() + pause > until
            if (
                not error.is_passing
                or tried == limits.retries
                or pause > _LONGEST_PAUSE_SECONDS
                or is_late
                or stop.wait(pause)
            ):
                raise
            log.debug("trying again after %.1f s: %s", pause, error)
        tried += 1

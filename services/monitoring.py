"""What a stage shows and measures while it works: progress bars and memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

# ru_maxrss is in kilobytes, but for macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def bar(items: Sequence[T], stage: str, *, show: bool) -> Iterator[T]:
    """Yield the items behind a progress bar, which is shown on terminals only."""
    # tqdm reads `disable=None` as: unless the output is no terminal.
    yield from tqdm(items, desc=stage, unit="chunk", disable=None if show else True, leave=False)


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

"""What a stage shows and measures while it works: progress bars and memory."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from tqdm import tqdm

# ru_maxrss is in kilobytes, but for macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Progress:
    """A progress bar over the chunks of a stage, shown on terminals only."""

    def __init__(self, stage: str, n_chunks: int, *, show: bool) -> None:
        # tqdm reads `disable=None` as: unless the output is no terminal.
        self._bar = tqdm(
            total=n_chunks, desc=stage, unit="chunk", disable=None if show else True, leave=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def advance(self) -> None:
        """Count one chunk as done."""
        self._bar.update()


_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    # Where the system tells: what getrusage says begins with the memory of the process that
    # started this one.
    with suppress(OSError):
        if found := _PEAK.search(_STATUS.read_text(encoding="ascii", errors="replace")):
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

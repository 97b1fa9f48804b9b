"""Files of this machine, opened for the reading library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uproot


def open_local(path: str | Path) -> Any:
    """Open a ROOT file that lies on this machine.

    It is read by the thread that asks: the library would start one more for each file and hand it
    every block, which takes a quarter of the time that a small file takes. What was read is not
    read again, so that the library keeps none of it, where it would keep 100 MB.

    Raises:
        OSError: it cannot be opened; and whatever damage makes the library raise.
    """
    return uproot.open(
        {str(path): None},
        handler=uproot.MultithreadedFileSource,
        use_threads=False,
        array_cache=None,
    )

"""Paths and globs -> the files that they name."""

from __future__ import annotations

import glob
from pathlib import Path


def matching_files(pattern: str) -> list[Path]:
    """Return the files that a path or glob names, sorted; a path that exists is meant as it is.

    So it may hold [ or *.
    """
    is_there = Path(pattern).exists()
    # pathlib has no absolute globs.
    names = [pattern] if is_there else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    return [Path(name).resolve() for name in names if not Path(name).is_dir()]

"""What a run was made with: versions of the program, of Python and of the libraries."""

from __future__ import annotations

import platform
from importlib import metadata

PROGRAM = "bumphunt-pipeline"
# Those that decide what is read, computed, written and drawn.
_LIBRARIES = (
    *("numpy", "awkward", "uproot", "vector", "hist", "boost-histogram", "pydantic"),
    *("matplotlib", "mplhep", "requests", "xrootd"),
)


def versions() -> dict[str, str]:
    """Return the version of each part by its name; what is not installed is left out."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in (PROGRAM, *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

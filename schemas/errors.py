"""The errors a user can meet. Each is one sentence: where, expected, found, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """Base of every error that is told to the user in one sentence; exit code 1."""


class ConfigError(PipelineError):
    """The configuration or the command line cannot mean anything; exit code 2."""


class CatalogError(PipelineError):
    """The list of input files could not be made."""


class DataError(PipelineError):
    """An input file, or a file of an earlier stage, does not hold what it must."""


class TransferError(DataError):
    """An input file could not be transferred, but another try may have more luck."""


class StorageError(PipelineError):
    """A file could not be written or read for a reason outside its content (disk, rights)."""


class BarrierError(PipelineError):
    """Other slices of the run have not completed what this step needs."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the closest known one, or all."""
    names = tuple(known)
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    return f"; {hint}"

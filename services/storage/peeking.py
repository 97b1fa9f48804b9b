"""What can be told of a file of events without understanding all of it."""

from __future__ import annotations

from collections.abc import Sequence

from services.storage.events import data_errors
from services.storage.local_files import open_local


def has_branch(url: str, trees: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the first of the trees that is in a file has a branch of one of the names.

    A tree of 1,300 branches takes a third of a second to understand; to find a name in its
    description takes a millisecond.

    Raises:
        DataError: the file cannot be read.
    """
    with data_errors(url), open_local(url) as file:
        tree = next((name for name in trees if name in file), None)
        if tree is None:
            return False
        key = file.key(tree)
        if key.fClassName != "TTree":
            return not {*names}.isdisjoint(file[tree].keys())
        chunk, _ = key.get_uncompressed_chunk_cursor()
        described = bytes(chunk.raw_data)
    return any(_stored(name) in described for name in names)


def _stored(name: str) -> bytes:
    """Return a name as ROOT writes it: behind its length, so that no other name ends with it."""
    text = name.encode()
    return bytes([len(text)]) + text

"""Branches of a tree -> flat arrays, as directly as the reading library can give them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import uproot

from services.calculations.objects import Array, Integers


class Jagged(NamedTuple):
    """Lists of numbers of many events: those of event i are `values[offsets[i]:offsets[i + 1]]`."""

    offsets: Integers
    """Shape (n_events + 1,), from 0."""
    values: Array
    """Shape (n_objects,), as stored."""


# Jagged, one value per event as an array, or an awkward array of whatever is neither.
Column = Any


class _FlatLists(uproot.AsJagged):  # type: ignore[misc]
    """Lists of numbers that stay in two arrays: no awkward array is made and taken apart again."""

    def final_array(
        self,
        basket_arrays: Mapping[int, Any],
        entry_start: int,
        entry_stop: int,
        entry_offsets: Sequence[int],
        *_for_other_libraries: Any,
    ) -> Jagged:
        """Return the lists of the events `entry_start .. entry_stop - 1`, baskets joined."""
        offsets = np.zeros(entry_stop - entry_start + 1, dtype=np.int64)
        # Joining brings bytes into this machine's order.
        contents = [np.zeros(0, dtype=self.content.to_dtype)]
        n_events = n_values = 0
        for number in sorted(basket_arrays):
            lists, first = basket_arrays[number], entry_offsets[number]
            bounds = lists.offsets[max(0, entry_start - first) : entry_stop - first + 1]
            start, stop = int(bounds[0]), int(bounds[-1])
            contents.append(lists.content[start:stop])
            filled = offsets[n_events + 1 : n_events + len(bounds)]
            np.add(bounds[1:], n_values - start, out=filled, dtype=np.int64)
            n_events += len(filled)
            n_values += stop - start
        return Jagged(offsets, np.concatenate(contents))


def read_columns(
    tree: Any, branches: Collection[str], start: int, stop: int
) -> Mapping[str, Column]:
    """Return the events `start .. stop - 1` of branches, or of fields of an RNTuple.

    Numbers and lists of numbers of a TTree are flat; everything else is as awkward has it, parts of
    RNTuple fields inside of the field.
    """
    flat = {} if is_rntuple(tree) else _flat_branches(tree, branches)
    others = [name for name in branches if name not in flat]
    found: dict[str, Column] = {}
    if flat:
        asked = [*flat.items()]
        found |= tree.arrays(asked, entry_start=start, entry_stop=stop, library="np", how=dict)
    if others:
        arrays = tree.arrays(others, entry_start=start, entry_stop=stop, library="ak")
        found |= {name: arrays[name] for name in arrays.fields}
    return found


def is_rntuple(tree: Any) -> bool:
    """Whether what the reading library has opened is an RNTuple and no TTree."""
    return bool(tree.classname == "ROOT::RNTuple")


def _flat_branches(tree: Any, branches: Collection[str]) -> dict[str, Any]:
    """Return how to read those branches whose numbers can stay flat."""
    read_as = {name: _interpretation(tree[name]) for name in branches}
    return {name: how for name, how in read_as.items() if how is not None}


def _interpretation(branch: Any) -> Any:
    """Return how to read a branch flat; None if it cannot be.

    Finding that out takes the library as long as reading 500 events, and files of one run have the
    same branches. For a plain branch of one leaf it depends on what is compared here alone.
    """
    leaves = branch.member("fLeaves")
    if branch.classname != "TBranch" or len(leaves) != 1 or len(branch.branches):
        return _flat_version(branch.interpretation)
    (leaf,) = leaves
    counter = leaf.member("fLeafCount")
    kind = (
        leaf.classname,
        *(leaf.member(name) for name in ("fTitle", "fLen", "fIsUnsigned")),
        None if counter is None else counter.parent.name,
    )
    if kind not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[kind] = _flat_version(branch.interpretation)
    return _KNOWN[kind]


_KNOWN: dict[tuple[Any, ...], Any] = {}
_MOST_KNOWN = 1 << 14


def _flat_version(interpretation: Any) -> Any:
    """Return how to read flat what the library would read in this way; None if it cannot be."""
    if type(interpretation) is uproot.AsJagged:
        content = interpretation.content
        if _is_number(content):
            return _FlatLists(content, interpretation.header_bytes)
    return interpretation if _is_number(interpretation) else None


def _is_number(interpretation: Any) -> bool:
    return (
        type(interpretation) is uproot.AsDtype
        and interpretation.inner_shape == ()
        and interpretation.to_dtype.names is None
    )

"""b-tag discriminants of jets, where the file does not store them ready for use."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from services.calculations.objects import Array, Integers, Mask

# What a link holds that points nowhere: the largest unsigned 32-bit number.
NO_LINK = 2**32 - 1


def log_ratio(b: Array, charm: Array, light: Array, charm_fraction: float) -> Array:
    """Return ln(b / (f charm + (1 - f) light)), shape (n,), in float64.

    It is infinite where one side is 0, and nan (not computed) where both are.
    """
    background = charm_fraction * charm.astype(np.float64)
    background += (1.0 - charm_fraction) * light.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        score: Array = np.log(b.astype(np.float64) / background)
    return score


def without_sentinels(values: Array, sentinels: Collection[float]) -> Array:
    """Return values, shape (n,), with nan in place of those that mean `not computed`."""
    floats = values if values.dtype.kind == "f" else values.astype(np.float64)
    if not sentinels:
        return floats
    return np.where(np.isin(floats, list(sentinels)), np.asarray(np.nan, floats.dtype), floats)


def is_computed(scores: Array) -> Mask:
    """Return which scores a tagger computed; an infinite one is computed."""
    return ~np.isnan(scores)


def links_fit(position: Array, jets: Integers, offsets: Integers) -> bool:
    """Return whether every link points nowhere or to an object of its own event."""
    counts = np.repeat(np.diff(offsets), np.diff(jets))
    return bool(np.all((position == NO_LINK) | (position < counts)))


def linked(scores: Array, offsets: Integers, position: Array, jets: Integers) -> Array:
    """Return the score that each jet links to, shape (n_jets,); nan where it links to none.

    `scores` lie in events by `offsets`, jets by `jets`; `position` (n_jets,) counts in the event.
    """
    has_link = position != NO_LINK
    index = np.repeat(offsets[:-1], np.diff(jets)) + position.astype(np.int64)
    of_jets = np.full(len(position), np.nan, dtype=scores.dtype)
    of_jets[has_link] = scores[index[has_link]]
    return of_jets

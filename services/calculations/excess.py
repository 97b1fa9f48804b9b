"""The largest local excess of a spectrum over its neighbourhood: a guide to the eye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.calculations.objects import Integers, Mask

WINDOW_BINS = 3
# A window and its two neighbours.
_SPAN_BINS = 3 * WINDOW_BINS


@dataclass(frozen=True)
class LocalExcess:
    """Entries in the bins `first_bin .. first_bin + WINDOW_BINS - 1` above what is around them.

    `background` is the mean of the entries in the windows on either side, at least 1.
    """

    first_bin: int
    entries: int
    background: float

    @property
    def significance(self) -> float:
        """(n - B) / sqrt(B), without the uncertainty of B: no probability belongs to it."""
        return float((self.entries - self.background) / np.sqrt(self.background))


def largest_local_excess(spectrum: Integers, is_searched: Mask) -> LocalExcess | None:
    """Return the window with the largest (n - B) / sqrt(B); of equal ones the leftmost.

    `spectrum`: entries per bin, shape (n_bins,). Only windows are compared that lie, with both
    neighbours, in bins where `is_searched`, shape (n_bins,), holds; None if there is no such
    window. Nothing accounts for how many windows were looked at.
    """
    outside = _sliding_sums((~is_searched).astype(np.int64), _SPAN_BINS)
    left = np.flatnonzero(outside == 0)
    if not len(left):
        return None
    sums = _sliding_sums(spectrum, WINDOW_BINS)
    entries = sums[left + WINDOW_BINS]
    background = np.maximum((sums[left] + sums[left + 2 * WINDOW_BINS]) / 2.0, 1.0)
    best = int(np.argmax((entries - background) / np.sqrt(background)))
    return LocalExcess(
        first_bin=int(left[best]) + WINDOW_BINS,
        entries=int(entries[best]),
        background=float(background[best]),
    )


def _sliding_sums(counts: Integers, n_bins: int) -> Integers:
    """Return the sums of `n_bins` neighbouring counts, by their first; none if there are fewer."""
    total = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    return total[n_bins:] - total[:-n_bins]

"""Which luminosity blocks are certified: many events looked up at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.calculations.objects import Array, Mask

Keys = npt.NDArray[np.uint64]
# Run number, first and last luminosity block, both ends included.
Block = tuple[int, int, int]

# Run and luminosity block are unsigned 32-bit numbers, so both fit in one key.
_RUN_SHIFT = np.uint64(32)


@dataclass(frozen=True)
class GoodRuns:
    """Certified luminosity blocks as ranges of keys that neither touch nor overlap, sorted.

    A key is run number and luminosity block in one integer; both ends belong to a range.
    """

    first: Keys
    last: Keys

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> GoodRuns:
        """Make one table of blocks in any order; those that overlap are merged."""
        rows = np.array(sorted(set(blocks)), dtype=np.uint64).reshape(-1, 3)
        first, last = _keys(rows[:, 0], rows[:, 1]), _keys(rows[:, 0], rows[:, 2])
        reached = np.maximum.accumulate(last) if len(last) else last
        starts = np.ones(len(first), dtype=bool)
        starts[1:] = first[1:] > reached[:-1]
        ends = np.append(starts[1:], True)[: len(first)]
        return cls(first[starts], reached[ends])

    def contain(self, run: Array, lumi: Array) -> Mask:
        """Return which events, given by run number and luminosity block (n_events,), are good."""
        if not len(self.first):
            return np.zeros(len(run), dtype=bool)
        keys = _keys(run, lumi)
        before = np.searchsorted(self.first, keys, side="right")
        good: Mask = (before > 0) & (keys <= self.last[before - 1])
        return good


def _keys(run: Array, lumi: Array) -> Keys:
    keys: Keys = (run.astype(np.uint64) << _RUN_SHIFT) | lumi.astype(np.uint64)
    return keys

"""pt, eta and multiplicity of every object type, before and after the selection, in fixed bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.particles import BY_NAME
from schemas.reports import Distribution, Distributions, ObjectDistributions
from services.calculations.kinematics import Floats
from services.calculations.objects import Array, Events, Integers, multiplicities_of


@dataclass(frozen=True)
class FixedAxis:
    """Bins `k * width .. (k + 1) * width` for `first <= k < stop`, the same for all input.

    Widths are 5 or a power of 2: divided by these a float32 never rounds up to a whole number, so
    that its floor is exact.
    """

    first: int
    stop: int
    width: float

    @property
    def n_bins(self) -> int:
        """How many bins there are."""
        return self.stop - self.first

    @property
    def edges(self) -> Floats:
        """The edges of the bins, shape (n_bins + 1,)."""
        return np.arange(self.first, self.stop + 1, dtype=np.float64) * self.width

    def count(self, values: Array) -> Integers:
        """Return how many values, shape (n,), lie below, in each bin, above, and are no number.

        The result has the shape (n_bins + 3,), and its sum is n: an infinite value lies below or
        above.
        """
        total = np.zeros(self.n_bins + 3, dtype=np.int64)
        places = np.empty(min(len(values), _BLOCK), dtype=np.float32)
        indices = np.empty(len(places), dtype=np.intp)
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            self._place(block, places[: len(block)])
            np.copyto(indices, places, casting="unsafe")
            total += np.bincount(indices[: len(block)], minlength=self.n_bins + 3)
        return total

    def _place(self, values: Array, places: Array) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            np.divide(values, np.float32(self.width), out=places)
            np.floor(places, out=places)
            places += np.float32(1 - self.first)
            np.clip(places, 0, self.n_bins + 1, out=places)
        # What is no number has passed all this as such. To replace it takes a fifth of the time of
        # counting, to look for it a twentieth.
        if np.isnan(np.max(places, initial=0)):
            np.fmin(places, self.n_bins + 2, out=places)


# So many values at a time stay in the processor's cache and take 3 ns each, together half of the
# time of `numpy.histogram`, which would lose what is no number.
_BLOCK = 1 << 15

PT_GEV = FixedAxis(0, 100, 5.0)
ETA = FixedAxis(-20, 20, 0.25)
MULTIPLICITY = FixedAxis(0, 20, 1.0)


class DistributionSum:
    """Adds the distributions of ranges of events, in any order."""

    def __init__(self) -> None:
        self._of_read: dict[tuple[str, str], Integers] = {}
        self._of_kept: dict[tuple[str, str], Integers] = {}

    def add(self, read: Events, kept: Events) -> None:
        """Count a range of events: all objects as read, and the kept objects of kept events.

        As read means in GeV, before anything was cut on events or objects or tagged: jets that
        become b-jets are jets before the selection and b-jets after it.
        """
        for total, events in ((self._of_read, read), (self._of_kept, kept)):
            for name, objects in events.objects.items():
                _add(total, (name, "pt"), PT_GEV.count(objects.columns["pt"]))
                _add(total, (name, "eta"), ETA.count(objects.columns["eta"]))
        for name, objects in read.objects.items():
            _add(self._of_read, (name, "multiplicity"), _count_multiplicities(objects.offsets))

    def absorb(self, other: DistributionSum) -> None:
        """Take over what was counted elsewhere."""
        for total, counted in (
            (self._of_read, other._of_read),
            (self._of_kept, other._of_kept),
        ):
            for key, counts in counted.items():
                _add(total, key, counts)

    def total(self, populations: Mapping[str, int]) -> Distributions:
        """Return the sum of everything added, as reports carry it.

        `populations` are the kept events per exact multiplicity of all types, by label.
        """
        of_kept = dict(self._of_kept)
        names = dict.fromkeys(name for name, _ in of_kept)
        for name, counts in _multiplicities(populations, list(names)).items():
            of_kept[name, "multiplicity"] = counts
        return Distributions(before=_reported(self._of_read), after=_reported(of_kept))


def _add(total: dict[tuple[str, str], Integers], key: tuple[str, str], counts: Integers) -> None:
    # Never in place: what was taken over belongs to another sum as well.
    total[key] = total[key] + counts if key in total else counts


def _count_multiplicities(offsets: Integers) -> Integers:
    """Count events, as `FixedAxis.count` does values, by their number of objects."""
    n_bins = MULTIPLICITY.n_bins
    counts = np.zeros(n_bins + 3, dtype=np.int64)
    n_objects = np.empty(min(len(offsets) - 1, _BLOCK), dtype=np.int64)
    for start in range(0, len(offsets) - 1, _BLOCK):
        ends = offsets[start + 1 : start + 1 + _BLOCK]
        block = np.subtract(ends, offsets[start : start + len(ends)], out=n_objects[: len(ends)])
        np.minimum(block, n_bins, out=block)
        counts[1:-1] += np.bincount(block, minlength=n_bins + 1)
    return counts


def _multiplicities(populations: Mapping[str, int], names: Sequence[str]) -> dict[str, Integers]:
    """Count events, as `FixedAxis.count` does values, by their number of objects of each type."""
    letters = tuple(BY_NAME[name].letter for name in names)
    rows = [multiplicities_of(label, letters) for label in populations]
    places = np.minimum(np.array(rows, dtype=np.int64), MULTIPLICITY.n_bins)
    n_events = np.array([*populations.values()], dtype=np.int64)
    found = {}
    for name, of_type in zip(names, places.reshape(len(rows), len(names)).T, strict=True):
        found[name] = np.zeros(MULTIPLICITY.n_bins + 3, dtype=np.int64)
        np.add.at(found[name], 1 + of_type, n_events)
    return found


def _reported(counted: Mapping[tuple[str, str], Integers]) -> dict[str, ObjectDistributions]:
    types: dict[str, dict[str, Distribution]] = {}
    for (name, quantity), counts in counted.items():
        types.setdefault(name, {})[quantity] = _distribution(counts)
    return {name: ObjectDistributions(**quantities) for name, quantities in types.items()}


def _distribution(counts: Integers) -> Distribution:
    bins = counts[1:-2]
    n_filled = int(np.max(np.flatnonzero(bins), initial=-1)) + 1
    return Distribution(
        bins=tuple(bins[:n_filled].tolist()),
        below=int(counts[0]),
        above=int(counts[-2]),
        not_a_number=int(counts[-1]),
    )


def dense(distribution: Distribution, axis: FixedAxis) -> Integers:
    """Return the counts of all bins of the axis, shape (n_bins,)."""
    counts = np.zeros(axis.n_bins, dtype=np.int64)
    counts[: len(distribution.bins)] = distribution.bins
    return counts

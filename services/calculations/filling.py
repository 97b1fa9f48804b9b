"""Counting masses into bins: additive, so that chunks and jobs can be added in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.labels import Channel
from schemas.plan import ChannelPlan, Plan
from services.calculations.binning import Axis, axes
from services.calculations.bumpnet import longest_stretch
from services.calculations.objects import Array, Integers
from services.calculations.spectra import Grid


@dataclass(frozen=True)
class Bins:
    """Where the masses of a channel go: decided by plan and configuration, before anything is read.

    One axis per histogram. `stretches`, one per axis, are the bins `first .. stop - 1` of the
    longest run without a vetoed window. `planned` is how many masses there must be.
    """

    axes: tuple[Axis, ...]
    stretches: tuple[tuple[int, int], ...]
    planned: int


def main_bins(plan: Plan, sample: Sample, config: HistogramCreation) -> dict[str, Bins]:
    """Return the bins of every kept channel: its main range, and the tail if that is asked for."""
    found = {}
    for name, decided in plan.kept(sample).items():
        high, planned = decided.end_gev, decided.classes.main
        if not config.exclude_outliers:
            high, planned = decided.last_gev, planned + decided.classes.outliers
        combination = Channel.parse(name).combination
        of_channel = axes(combination, config, plan.max_mass_gev, (decided.low_gev, high))
        stretches = tuple(_stretch(axis, decided) for axis in of_channel)
        found[name] = Bins(of_channel, stretches, planned)
    return found


def unprocessed_bins(plan: Plan, sample: Sample, config: HistogramCreation) -> dict[str, Bins]:
    """Return bins over the whole grid for every channel, kept or dropped."""
    found = {}
    for name, decided in plan.channels.get(sample, {}).items():
        combination = Channel.parse(name).combination
        whole = axes(combination, config, plan.max_mass_gev, (0.0, plan.max_mass_gev))
        stretches = tuple((0, axis.n_bins) for axis in whole)
        found[name] = Bins(whole, stretches, decided.population)
    return found


def _stretch(axis: Axis, decided: ChannelPlan) -> tuple[int, int]:
    if not decided.vetoes_gev:
        return 0, axis.n_bins
    is_vetoed = np.zeros(axis.n_bins, dtype=bool)
    for low, high in decided.vetoes_gev:
        first, stop = axis.touched_by(low, high)
        is_vetoed[first:stop] = True
    return longest_stretch(is_vetoed)


# Every float64 is a whole multiple of this power of 2.
_BITS = 1074


@dataclass
class Moments:
    """Sums over masses in GeV: of m and of m^2. Taken of the masses, not of bin centres.

    What is added is added exactly, as whole numbers: rounded sums would depend on the order, and so
    on which worker counted what.
    """

    exact_m: int = 0
    exact_m2: int = 0

    @classmethod
    def of(cls, exact: Array) -> Self:
        """Return the sums over masses in float64, shape (n,)."""
        return cls.of_sums(float(exact.sum()), float(np.square(exact).sum()))

    @classmethod
    def of_sums(cls, sum_m: float, sum_m2: float) -> Self:
        """Return sums that were worked out elsewhere."""
        return cls(_whole(sum_m), _whole(sum_m2))

    @property
    def sum_m(self) -> float:
        """The sum of m, rounded once."""
        return self.exact_m / (1 << _BITS)

    @property
    def sum_m2(self) -> float:
        """The sum of m^2, rounded once."""
        return self.exact_m2 / (1 << _BITS)

    def __iadd__(self, other: Self) -> Self:
        """Add the sums of other masses."""
        self.exact_m += other.exact_m
        self.exact_m2 += other.exact_m2
        return self


def _whole(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    # The denominator is a power of 2.
    return numerator << (_BITS + 1 - denominator.bit_length())


@dataclass
class Counts:
    """What was counted of one channel: entries per axis and bin, and moments.

    `masses` came in, `overflow` of them lie at or beyond the end of the grid and are in no bin.
    The moments are those of all masses in bins, and per axis of those in its stretch.
    """

    of_axes: list[Integers]
    of_stretches: list[Moments]
    whole: Moments = field(default_factory=Moments)
    masses: int = 0
    overflow: int = 0

    @classmethod
    def empty(cls, bins: Bins) -> Self:
        """Return zero of everything."""
        return cls(
            [np.zeros(axis.n_bins, dtype=np.int64) for axis in bins.axes],
            [Moments() for _ in bins.axes],
        )

    def fill(self, masses: Array, bins: Bins, grid: Grid) -> None:
        """Count masses in GeV, shape (n,)."""
        inside = masses[grid.bins(masses) < grid.n_bins]
        self.masses += len(masses)
        self.overflow += len(masses) - len(inside)
        exact = inside.astype(np.float64)
        everything = Moments.of(exact)
        self.whole += everything
        for number, axis in enumerate(bins.axes):
            place = axis.bins(exact)
            self.of_axes[number] += np.bincount(place, minlength=axis.n_bins)
            first, stop = bins.stretches[number]
            is_whole = (first, stop) == (0, axis.n_bins)
            in_stretch = (first <= place) & (place < stop)
            self.of_stretches[number] += everything if is_whole else Moments.of(exact[in_stretch])

    def __iadd__(self, other: Self) -> Self:
        """Add what was counted of other masses of the same channel, in the same bins."""
        self.masses += other.masses
        self.overflow += other.overflow
        self.whole += other.whole
        for number, counts in enumerate(other.of_axes):
            self.of_axes[number] += counts
            self.of_stretches[number] += other.of_stretches[number]
        return self


def add(parts: Iterable[Mapping[str, Counts]], bins: Mapping[str, Bins]) -> dict[str, Counts]:
    """Return the counts per channel of chunks or jobs together."""
    total = {name: Counts.empty(of_channel) for name, of_channel in bins.items()}
    for part in parts:
        for name, counts in part.items():
            total[name] += counts
    return total

"""Mass spectra on the fixed grid: counting, adding, and the cuts they decide."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from schemas.config import PostProcessing
from schemas.reports import ClassCounts
from services.calculations.objects import Array, Integers, Mask


@dataclass(frozen=True)
class Grid:
    """Bins `k * width .. (k + 1) * width` in GeV from 0; bin `n_bins` is the overflow."""

    width: float
    n_bins: int

    @classmethod
    def of(cls, config: PostProcessing) -> Grid:
        """Return the grid on which the configuration wants peaks and cuts decided."""
        width = config.peak_detection_bin_width_gev
        return cls(width, round(config.max_mass_gev / width))

    def bins(self, masses: Array) -> Integers:
        """Return floor(m / width) in float64, shape (n,); overflow for what lies beyond the grid.

        A mass that is no number (of momenta beyond floating point) is overflow too.
        """
        quotient = masses.astype(np.float64)
        quotient /= self.width
        np.fmin(quotient, self.n_bins, out=quotient)
        return quotient.astype(np.int64)

    def count(self, masses: Array) -> Integers:
        """Return the entries per bin, shape (n_bins + 1,), overflow last."""
        return np.bincount(self.bins(masses), minlength=self.n_bins + 1)

    def lowest_masses(self) -> npt.NDArray[np.float32]:
        """Return the lowest stored mass of each bin, shape (n_bins + 1,), overflow last.

        The bin of a mass never falls where the mass rises, so that comparing with these is the
        same as comparing bins, without computing them.
        """
        return _lowest_masses(self)


@lru_cache(maxsize=16)
def _lowest_masses(grid: Grid) -> npt.NDArray[np.float32]:
    number = np.arange(grid.n_bins + 1)
    edge = (number * grid.width).astype(np.float32)
    # The edge as a float32 may lie a little below or above what the division makes of it.
    lowest = np.nextafter(edge, np.float32(np.inf))
    for lower in (edge, np.nextafter(edge, np.float32(-np.inf))):
        lowest = np.where(grid.bins(lower) >= number, lower, lowest)
    # The array is shared by all who ask for it.
    lowest.flags.writeable = False
    return lowest


@dataclass(frozen=True)
class Spectra:
    """Entries of many channels on one grid, without the empty bins.

    Channel i, `channels[i]`, has the entries `counts[first[i]:first[i + 1]]` in the bins of the
    same positions. Channels are sorted by name, bins rise, counts are positive: the same sums are
    the same arrays, whatever the order of adding.
    """

    channels: tuple[str, ...]
    first: Integers
    bins: npt.NDArray[np.int32]
    counts: Integers

    def dense(self, position: int, grid: Grid) -> Integers:
        """Return the entries of one channel per bin, shape (n_bins + 1,), overflow last."""
        part = slice(self.first[position], self.first[position + 1])
        spectrum = np.zeros(grid.n_bins + 1, dtype=np.int64)
        spectrum[self.bins[part]] = self.counts[part]
        return spectrum

    def between(self, low: str, high: str | None) -> Spectra:
        """Return the channels from the name `low` up to, but without, the name `high`."""
        start = bisect_left(self.channels, low)
        stop = len(self.channels) if high is None else bisect_left(self.channels, high)
        part = slice(self.first[start], self.first[stop])
        return Spectra(
            self.channels[start:stop],
            self.first[start : stop + 1] - self.first[start],
            self.bins[part],
            self.counts[part],
        )

    def entries(self) -> dict[str, int]:
        """Return the entries per channel."""
        total = np.concatenate(([0], np.cumsum(self.counts)))[self.first]
        return dict(zip(self.channels, np.diff(total).tolist(), strict=True))


class SpectrumSum:
    """Adds spectra of channels, piece by piece, in any order."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._pieces: list[tuple[Integers, Integers]] = []
        self._held = 0
        self._most = self._COMPACT_AT

    _COMPACT_AT = 100_000

    def _add(self, keys: Integers, counts: Integers) -> None:
        self._pieces.append((keys, counts))
        self._held += len(keys)
        if self._held > self._most:
            self._pieces = [self._summed()]
            self._held = len(self._pieces[0][0])
            # Twice what is left: however large the sum, it is not made anew for every piece.
            self._most = max(self._COMPACT_AT, 2 * self._held)

    def add_masses(self, channels: Sequence[str], masses: Array, grid: Grid) -> None:
        """Count masses in GeV, shape (n_channels, n), of channels with as many each."""
        n_bins = grid.n_bins + 1
        numbers = np.array([self._number_of(channel) for channel in channels], dtype=np.int64)
        # As many channels at a time as have few bins together.
        step = max(1, _BINS_AT_ONCE // n_bins)
        for start in range(0, len(channels), step):
            bins = grid.bins(masses[start : start + step])
            bins += np.arange(len(bins))[:, np.newaxis] * n_bins
            counts = np.bincount(bins.ravel())
            # Of truth values, which are searched twice as fast as counts.
            filled = np.flatnonzero(counts > 0)
            row, of_row = np.divmod(filled, n_bins)
            self._add((numbers[start + row] << 32) + of_row, counts[filled])

    def add(self, spectra: Spectra) -> None:
        """Add the spectra of a chunk or slice."""
        numbers = np.array([self._number_of(name) for name in spectra.channels], dtype=np.int64)
        of_bin = np.repeat(numbers, np.diff(spectra.first))
        self._add((of_bin << 32) + spectra.bins, spectra.counts)

    def _number_of(self, channel: str) -> int:
        return self._number.setdefault(channel, len(self._number))

    def _summed(self) -> tuple[Integers, Integers]:
        keys = np.concatenate([keys for keys, _ in self._pieces])
        counts = np.concatenate([counts for _, counts in self._pieces])
        self._pieces = []
        return _sum_by_key(keys, counts)

    def total(self) -> Spectra:
        """Return the sum of everything added."""
        if not self._pieces:
            empty = np.zeros(0, dtype=np.int64)
            return Spectra((), np.zeros(1, dtype=np.int64), empty.astype(np.int32), empty)
        channels = tuple(sorted(self._number))
        rank = np.empty(len(channels), dtype=np.int64)
        rank[[self._number[channel] for channel in channels]] = np.arange(len(channels))
        # From now on channels are numbered in the order of their names.
        self._number = {channel: number for number, channel in enumerate(channels)}
        self._pieces = [
            ((rank[keys >> 32] << 32) + (keys & _BIN), counts) for keys, counts in self._pieces
        ]
        keys, counts = self._summed()
        self._pieces = [(keys, counts)]
        first = np.searchsorted(keys, np.arange(len(channels) + 1) << 32)
        return Spectra(channels, first, (keys & _BIN).astype(np.int32), counts)


# Their counts stay in the processor's cache.
_BINS_AT_ONCE = 1 << 17
# A key is the channel's number in the upper half, the bin in the lower.
_BIN = 0xFFFFFFFF


def _sum_by_key(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Return the different keys, rising, and the sum of the counts of each."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    counts = counts[order]
    del order
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(counts, starts)


def add_spectra(parts: Iterable[Spectra]) -> Spectra:
    """Return the sum of spectra on the same grid; it does not depend on their order.

    Two at a time and block by block of channels, so that no more than the sum, one part and one
    block are held.
    """
    total = SpectrumSum().total()
    for part in parts:
        total = _merge(total, part) if total.channels else part
    return total


# How many channels are summed at a time.
_BLOCK = 10_000


def _merge(one: Spectra, other: Spectra) -> Spectra:
    channels = sorted({*one.channels, *other.channels})
    # What both together have at most; memory that is not written to is not taken.
    bins = np.empty(len(one.bins) + len(other.bins), dtype=np.int32)
    counts = np.empty(len(bins), dtype=np.int64)
    first = np.zeros(len(channels) + 1, dtype=np.int64)
    filled = 0
    for start in range(0, len(channels), _BLOCK):
        stop = min(start + _BLOCK, len(channels))
        next_name = channels[stop] if stop < len(channels) else None
        summing = SpectrumSum()
        for part in (one, other):
            summing.add(part.between(channels[start], next_name))
        block = summing.total()
        first[start + 1 : stop + 1] = filled + block.first[1:]
        end = filled + len(block.bins)
        bins[filled:end] = block.bins
        counts[filled:end] = block.counts
        filled = end
    return Spectra(tuple(channels), first, bins[:filled], counts[:filled])


# Every mass has one class, the first of these that applies.
CLASSES = ("overflow", "floor", "veto", "turn_on", "tail", "main")
_OVERFLOW, _FLOOR, _VETO, _TURN_ON, _TAIL, _MAIN = range(len(CLASSES))

Vetoes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cuts:
    """What becomes of a channel, in bins of the grid.

    Main entries lie in `low <= bin < high`, except in `vetoes`; `high` is None where nothing was
    split off. Everything below `floor` is removed because of a known resonance. Without a `peak`
    the channel is dropped.
    """

    peak: int | None
    low: int
    high: int | None
    floor: int = 0
    vetoes: Vetoes = ()

    def _class_of(self, number: int, n_bins: int) -> int:
        """Return the place in CLASSES of one bin: the first class that applies."""
        if number >= n_bins:
            return _OVERFLOW
        if number < self.floor:
            return _FLOOR
        if any(first <= number < stop for first, stop in self.vetoes):
            return _VETO
        if number < self.low:
            return _TURN_ON
        if self.high is not None and number >= self.high:
            return _TAIL
        return _MAIN

    def runs(self, grid: Grid) -> Runs:
        """Return the bins of the grid as runs of one class each."""
        edges = {0, grid.n_bins, self.floor, self.low, *chain.from_iterable(self.vetoes)}
        if self.high is not None:
            edges.add(self.high)
        starts: list[int] = []
        classes: list[int] = []
        for start in sorted(edges):
            of_class = self._class_of(start, grid.n_bins)
            if classes[-1:] != [of_class]:
                starts.append(start)
                classes.append(of_class)
        return Runs(grid, tuple(starts), tuple(classes))


@dataclass(frozen=True)
class Runs:
    """The bins of a grid from 0 to the overflow, as runs of bins of one class.

    Run i begins at bin `starts[i]`; `classes[i]` is the place of its class in CLASSES.
    """

    grid: Grid
    starts: tuple[int, ...]
    classes: tuple[int, ...]

    def class_of_bin(self) -> npt.NDArray[np.int8]:
        """Return the place in CLASSES of each bin of the grid, shape (n_bins + 1,)."""
        lengths = [stop - start for start, stop in self._bounds()]
        return np.repeat(np.array(self.classes, dtype=np.int8), lengths)

    def _bounds(self) -> list[tuple[int, int]]:
        """Return each run as bins `start .. stop - 1`."""
        return list(pairwise((*self.starts, self.grid.n_bins + 1)))

    def last_stored(self, spectrum: Integers) -> int | None:
        """Return the last bin with main or tail entries of a spectrum, shape (n_bins + 1,)."""
        stored = [
            start + int(filled[-1])
            for (start, stop), of_class in zip(self._bounds(), self.classes, strict=True)
            if of_class in (_MAIN, _TAIL) and len(filled := np.flatnonzero(spectrum[start:stop]))
        ]
        return stored[-1] if stored else None

    def count(self, spectrum: Integers) -> Integers:
        """Return how many of the entries, shape (n_bins + 1,), each class has, shape (6,)."""
        return self._per_class(np.add.reduceat(spectrum, self.starts).tolist())

    def split(self, masses: Array) -> Split:
        """Return what becomes of masses in GeV, shape (n,); their order is kept.

        They are compared with the lowest masses of the runs: ten times faster than finding the bin
        of each. What is no number is below nothing, and so is overflow.
        """
        lowest = self.grid.lowest_masses()
        below = [masses < lowest[start] for start in self.starts[1:]]
        n_below = [0, *(int(np.count_nonzero(mask)) for mask in below), len(masses)]
        counts = self._per_class([stop - start for start, stop in pairwise(n_below)])
        stored = {
            ending: self._only(masses, below, wanted)
            for ending, wanted in STORED.items()
            if counts[list(wanted)].any()
        }
        return Split(counts, stored)

    def _per_class(self, entries: Iterable[int]) -> Integers:
        """Return the sums over runs by class, shape (6,), of one number per run."""
        counts = [0] * len(CLASSES)
        for of_class, n_entries in zip(self.classes, entries, strict=True):
            counts[of_class] += n_entries
        return np.array(counts)

    def _only(self, masses: Array, below: Sequence[Mask], wanted: Collection[int]) -> Array:
        """Return the masses in runs of some classes; `below` tells which lie below each edge."""
        is_wanted = [of_class in wanted for of_class in self.classes]
        # From edge to edge wanted and unwanted runs take turns.
        edges = [
            mask
            for mask, (one, next_one) in zip(below, pairwise(is_wanted), strict=True)
            if one != next_one
        ]
        if not edges:
            return masses
        mask = reduce(np.logical_xor, edges)
        return masses[~mask if is_wanted[-1] else mask]


# Which classes are stored, by the ending of the array's name.
STORED = {"main": (_MAIN,), "outliers": (_TAIL, _OVERFLOW)}


@dataclass(frozen=True)
class Split:
    """Masses of a channel by class: how many of each, shape (6,), and the arrays to store.

    `stored` has them by the ending of the array's name, without those that are empty.
    """

    counts: Integers
    stored: Mapping[str, Array]


def decide_cuts(
    spectrum: Integers, config: PostProcessing, *, floor: int = 0, vetoes: Vetoes = ()
) -> Cuts:
    """Return the cuts of one channel from its spectrum, shape (n_bins + 1,), overflow last.

    Bins below `floor` and in `vetoes` are gone before anything else is decided. The peak is the
    rightmost highest bin. With `remove_turn_on` all below it goes. With `split_outliers` the tail
    begins at the first empty bin above the peak, unless fewer than two bins would be left; a bin
    that is vetoed is neither empty nor left.
    """
    gone = np.zeros(len(spectrum) - 1, dtype=bool)
    gone[:floor] = True
    for first, stop in vetoes:
        gone[first:stop] = True
    left = np.where(gone, 0, spectrum[:-1])
    if not left.any():
        return Cuts(peak=None, low=floor, high=None, floor=floor, vetoes=vetoes)
    peak = len(left) - 1 - int(np.argmax(left[::-1]))
    low = peak if config.remove_turn_on else floor
    high = None
    if config.split_outliers:
        empty = np.flatnonzero((left[peak:] == 0) & ~gone[peak:])
        # An empty bin with nothing behind it splits nothing off.
        if len(empty) and left[peak + empty[0] :].any():
            high = peak + int(empty[0])
        if high is not None and np.count_nonzero(~gone[low:high]) < _FEWEST_BINS:
            high = None
    return Cuts(peak=peak, low=low, high=high, floor=floor, vetoes=vetoes)


# One bin is no spectrum: a tail that would leave only that is not split off.
_FEWEST_BINS = 2


def by_name(counts: Integers) -> ClassCounts:
    """Return entries per class, shape (6,), as reports tell them."""
    return ClassCounts(**dict(zip(CLASSES, counts.tolist(), strict=True)))

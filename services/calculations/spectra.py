"""Mass spectra on the fixed grid: counting, adding, and the cuts they decide."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
        return self._part(start, stop)

    def blocks(self, grid: Grid) -> Iterator[Spectra]:
        """Yield the channels in their order, as many at a time as have few bins together."""
        step = max(1, _BINS_AT_ONCE // grid.n_bins)
        for start in range(0, len(self.channels), step):
            yield self._part(start, min(start + step, len(self.channels)))

    def _part(self, start: int, stop: int) -> Spectra:
        part = slice(self.first[start], self.first[stop])
        return Spectra(
            self.channels[start:stop],
            self.first[start : stop + 1] - self.first[start],
            self.bins[part],
            self.counts[part],
        )

    def inside(self, grid: Grid) -> Integers:
        """Return the entries of all channels per bin, without the overflow.

        The shape is (n_channels, n): the grid as far as there are entries.
        """
        is_inside = self.bins < grid.n_bins
        bins = self.bins[is_inside]
        spectra = np.zeros((len(self.channels), bins.max(initial=0) + 1), dtype=np.int64)
        spectra[self.numbers()[is_inside], bins] = self.counts[is_inside]
        return spectra

    def numbers(self) -> Integers:
        """Return the place in `channels` of the channel of each bin that is kept."""
        return np.repeat(np.arange(len(self.channels)), np.diff(self.first))

    def entries(self) -> dict[str, int]:
        """Return the entries per channel."""
        total = np.concatenate(([0], np.cumsum(self.counts)))[self.first]
        return dict(zip(self.channels, np.diff(total).tolist(), strict=True))


# Of channels that are counted or decided together: what they have stays in the processor's cache.
_BINS_AT_ONCE = 1 << 17


class SpectrumSum:
    """Adds spectra of channels, piece by piece, in any order."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        # Piece by piece: the keys, and the counts of each.
        self._keys: list[Integers] = []
        self._counts: list[Integers] = []
        self._held = 0
        self._most = self._COMPACT_AT

    _COMPACT_AT = 100_000

    def _add(self, keys: Integers, counts: Integers) -> None:
        self._keys.append(keys)
        self._counts.append(counts)
        self._held += len(keys)
        if self._held > self._most:
            self._sum_up()
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

    def _sum_up(self) -> None:
        """Make all pieces one: different keys, rising, with the sum of the counts of each.

        Nothing is kept longer than it is needed, since this is the most that a worker holds.
        """
        keys = _put_together(self._keys)
        counts = _put_together(self._counts)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        counts = counts[order]
        del order
        is_first = np.ones(len(keys), dtype=bool)
        np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
        starts = np.flatnonzero(is_first)
        self._keys = [keys[starts]]
        self._counts = [np.add.reduceat(counts, starts)]
        self._held = len(starts)

    def total(self) -> Spectra:
        """Return the sum of everything added."""
        if not self._keys:
            empty = np.zeros(0, dtype=np.int64)
            return Spectra((), np.zeros(1, dtype=np.int64), empty.astype(np.int32), empty)
        channels = tuple(sorted(self._number))
        rank = np.empty(len(channels), dtype=np.int64)
        rank[[self._number[channel] for channel in channels]] = np.arange(len(channels))
        # From now on channels are numbered in the order of their names.
        self._number = {channel: number for number, channel in enumerate(channels)}
        self._keys = [(rank[keys >> 32] << 32) + (keys & _BIN) for keys in self._keys]
        self._sum_up()
        (keys,), (counts,) = self._keys, self._counts
        first = np.searchsorted(keys, np.arange(len(channels) + 1) << 32)
        return Spectra(channels, first, (keys & _BIN).astype(np.int32), counts)


# A key is the channel's number in the upper half, the bin in the lower.
_BIN = 0xFFFFFFFF


def _put_together(pieces: list[Integers]) -> Integers:
    """Return pieces as one array, and let go of them."""
    joined = np.concatenate(pieces)
    pieces.clear()
    return joined


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
        if self.vetoes and any(first <= number < stop for first, stop in self.vetoes):
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

    def split(self, masses: Array) -> Split:
        """Return what becomes of masses in GeV, shape (n,); their order is kept.

        They are compared with the lowest masses of the runs: ten times faster than finding the bin
        of each. What is no number is below nothing, and so is overflow.
        """
        lowest = self.grid.lowest_masses()
        below = [masses < lowest[start] for start in self.starts[1:]]
        counts = [0] * len(CLASSES)
        n_below = 0
        for of_class, mask in zip(self.classes, below, strict=False):
            n_before, n_below = n_below, int(np.count_nonzero(mask))
            counts[of_class] += n_below - n_before
        counts[self.classes[-1]] += len(masses) - n_below
        stored = {
            ending: self._only(masses, below, wanted)
            for ending, wanted in STORED.items()
            if any(counts[of_class] for of_class in wanted)
        }
        return Split(counts, stored)

    def _only(self, masses: Array, below: Sequence[Mask], wanted: Collection[int]) -> Array:
        """Return the masses in runs of some classes; `below` tells which lie below each edge."""
        is_wanted = [of_class in wanted for of_class in self.classes]
        # From edge to edge wanted and unwanted runs take turns.
        edges = [
            mask
            for mask, one, next_one in zip(below, is_wanted, is_wanted[1:], strict=False)
            if one != next_one
        ]
        if not edges:
            return masses
        mask = reduce(np.logical_xor, edges)
        # Half the time that indexing with the mask takes.
        return masses.compress(~mask if is_wanted[-1] else mask)


@dataclass(frozen=True)
class EntriesByRun:
    """Entries of channels in the runs of their cuts, one run after the other.

    Run k belongs to the channel `channel[k]`, by its place, and has the class `of_class[k]`, by its
    place in CLASSES. Its entries are those of the spectra from `first[k]` up to `first[k + 1]`.
    """

    spectra: Spectra
    channel: Integers
    of_class: Integers
    first: Integers

    @classmethod
    def of(cls, spectra: Spectra, runs: Sequence[Runs], grid: Grid) -> EntriesByRun:
        """Look up the entries of spectra in the runs of each channel."""
        channel = np.repeat(np.arange(len(runs)), [len(of_channel.starts) for of_channel in runs])
        starts = _joined(of_channel.starts for of_channel in runs)
        of_class = _joined(of_channel.classes for of_channel in runs)
        # The grids of the channels, one behind the other.
        n_bins = grid.n_bins + 1
        where = spectra.numbers() * n_bins + spectra.bins
        first = np.searchsorted(where, channel * n_bins + starts)
        return cls(spectra, channel, of_class, np.append(first, len(where)))

    def per_class(self) -> Integers:
        """Return the entries of each class, shape (n_channels, 6)."""
        below = np.concatenate(([0], np.cumsum(self.spectra.counts)))
        total = np.zeros((len(self.spectra.channels), len(CLASSES)), dtype=np.int64)
        np.add.at(total, (self.channel, self.of_class), np.diff(below[self.first]))
        return total

    def last_stored(self) -> list[int | None]:
        """Return the last bin of each channel that has main or tail entries."""
        is_stored = np.isin(self.of_class, (_MAIN, _TAIL)) & (np.diff(self.first) > 0)
        last_of_run = self.spectra.bins[self.first[1:][is_stored] - 1]
        # Of the runs of a channel the last one stays, which is the highest.
        last = dict(zip(self.channel[is_stored].tolist(), last_of_run.tolist(), strict=True))
        return [last.get(position) for position in range(len(self.spectra.channels))]


def _joined(parts: Iterable[Sequence[int]]) -> Integers:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int64)


# Which classes are stored, by the ending of the array's name.
STORED = {"main": (_MAIN,), "outliers": (_TAIL, _OVERFLOW)}


@dataclass(frozen=True)
class Split:
    """Masses of a channel by class: how many of each of CLASSES, and the arrays to store.

    `stored` has them by the ending of the array's name, without those that are empty.
    """

    counts: Sequence[int]
    stored: Mapping[str, Array]


def decide_cuts(
    entries: Integers, removed: Sequence[tuple[int, Vetoes]], config: PostProcessing
) -> list[Cuts]:
    """Return the cuts of channels from their entries per bin, shape (n_channels, n_bins).

    `removed` is of each the floor, below which bins are gone before anything else is decided, and
    the vetoes, in which they are too. The peak is the rightmost highest bin. With `remove_turn_on`
    all below it goes. With `split_outliers` the tail begins at the first empty bin above the peak,
    unless fewer than two bins would be left; a bin that is vetoed is neither empty nor left. Empty
    bins behind the last entry decide nothing.
    """
    bins = np.arange(entries.shape[1])
    is_gone = np.zeros(entries.shape, dtype=bool)
    for of_channel, (floor, vetoes) in zip(is_gone, removed, strict=True):
        for first, stop in ((0, floor), *vetoes):
            of_channel[first:stop] = True
    left = np.where(is_gone, 0, entries)
    is_filled = left > 0
    highest = left.max(axis=1)
    peak = _last(left == highest[:, np.newaxis])
    low = np.array([floor for floor, _ in removed], dtype=np.int64)
    if config.remove_turn_on:
        low = np.where(highest > 0, peak, low)
    is_empty = ~is_filled & ~is_gone & (bins > peak[:, np.newaxis])
    # No bin above a peak is the first of the grid: 0 is that there is none.
    high = np.argmax(is_empty, axis=1)
    is_main = ~is_gone & (bins >= low[:, np.newaxis]) & (bins < high[:, np.newaxis])
    is_split = np.count_nonzero(is_main, axis=1) >= _FEWEST_BINS
    # An empty bin with nothing behind it splits nothing off.
    is_split &= config.split_outliers & (high > 0) & (high < _last(is_filled))
    decided = (of_all.tolist() for of_all in (highest, peak, low, is_split, high))
    return [
        Cuts(peak if highest else None, low, high if is_split else None, floor, vetoes)
        for highest, peak, low, is_split, high, (floor, vetoes) in zip(
            *decided, removed, strict=True
        )
    ]


def _last(mask: Mask) -> Integers:
    """Return the last place in each row, shape (n_rows, n), that is true; n - 1 without any."""
    last: Integers = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    return last


# One bin is no spectrum: a tail that would leave only that is not split off.
_FEWEST_BINS = 2


def by_name(counts: Iterable[int]) -> ClassCounts:
    """Return entries per class, in the order of CLASSES, as reports tell them."""
    return ClassCounts(**dict(zip(CLASSES, counts, strict=True)))

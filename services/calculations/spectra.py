"""Mass spectra on the fixed grid: counting, adding, and the cuts they decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.config import PostProcessing
from schemas.reports import ClassCounts
from services.calculations.objects import Array, Integers


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

    _COMPACT_AT = 4_000_000

    def _add(self, keys: Integers, counts: Integers) -> None:
        self._pieces.append((keys, counts))
        self._held += len(keys)
        if self._held > self._COMPACT_AT:
            self._pieces = [self._summed()]
            self._held = len(self._pieces[0][0])

    def add_masses(self, channel: str, masses: Array, grid: Grid) -> None:
        """Count masses in GeV, shape (n,), of a channel."""
        counts = np.bincount(grid.bins(masses))
        filled = np.flatnonzero(counts)
        self._add(self._keys(channel, filled), counts[filled])

    def add(self, spectra: Spectra) -> None:
        """Add the spectra of a chunk or slice."""
        for position, channel in enumerate(spectra.channels):
            part = slice(spectra.first[position], spectra.first[position + 1])
            self._add(self._keys(channel, spectra.bins[part]), spectra.counts[part])

    def _keys(self, channel: str, bins: Array) -> Integers:
        number = self._number.setdefault(channel, len(self._number))
        return (np.int64(number) << 32) + bins.astype(np.int64)

    def _summed(self) -> tuple[Integers, Integers]:
        keys = np.concatenate([keys for keys, _ in self._pieces])
        counts = np.concatenate([counts for _, counts in self._pieces])
        unique, position = np.unique(keys, return_inverse=True)
        total = np.zeros(len(unique), dtype=np.int64)
        np.add.at(total, position, counts)
        return unique, total

    def total(self) -> Spectra:
        """Return the sum of everything added."""
        if not self._pieces:
            empty = np.zeros(0, dtype=np.int64)
            return Spectra((), np.zeros(1, dtype=np.int64), empty.astype(np.int32), empty)
        keys, counts = self._summed()
        channels = tuple(sorted(self._number))
        rank = np.empty(len(channels), dtype=np.int64)
        rank[[self._number[channel] for channel in channels]] = np.arange(len(channels))
        position = rank[keys >> 32]
        bins = keys & 0xFFFFFFFF
        order = np.lexsort((bins, position))
        first = np.searchsorted(position[order], np.arange(len(channels) + 1))
        return Spectra(
            channels, first.astype(np.int64), bins[order].astype(np.int32), counts[order]
        )


def add_spectra(parts: Iterable[Spectra]) -> Spectra:
    """Return the sum of spectra on the same grid; it does not depend on their order."""
    total = SpectrumSum()
    for part in parts:
        total.add(part)
    return total.total()


@dataclass(frozen=True)
class Cuts:
    """What becomes of a channel, in bins of the grid.

    Main entries lie in `low <= bin < high`; `high` is None where nothing was split off. Without a
    `peak` the channel is dropped.
    """

    peak: int | None
    low: int
    high: int | None

    def classes(self, bins: Array, grid: Grid) -> dict[str, npt.NDArray[np.bool_]]:
        """Return, by class name, which of the bins, shape (n,), are of that class."""
        overflow = bins >= grid.n_bins
        turn_on = (bins < self.low) & ~overflow
        tail = ~overflow & (bins >= self.high) if self.high is not None else np.zeros_like(overflow)
        return {
            "overflow": overflow,
            "turn_on": turn_on,
            "tail": tail,
            "main": ~(overflow | turn_on | tail),
        }


def decide_cuts(spectrum: Integers, config: PostProcessing) -> Cuts:
    """Return the cuts of one channel from its spectrum, shape (n_bins + 1,), overflow last.

    The peak is the rightmost highest bin. With `remove_turn_on` all below it goes. With
    `split_outliers` the tail begins at the first empty bin above the peak, unless fewer than two
    bins would be left.
    """
    inside = spectrum[:-1]
    if not inside.any():
        return Cuts(peak=None, low=0, high=None)
    peak = len(inside) - 1 - int(np.argmax(inside[::-1]))
    low = peak if config.remove_turn_on else 0
    high = None
    if config.split_outliers:
        empty = np.flatnonzero(inside[peak:] == 0)
        # An empty bin with nothing behind it splits nothing off.
        if len(empty) and inside[peak + empty[0] :].any():
            high = peak + int(empty[0])
        if high is not None and high - low < _FEWEST_BINS:
            high = None
    return Cuts(peak=peak, low=low, high=high)


# One bin is no spectrum: a tail that would leave only that is not split off.
_FEWEST_BINS = 2


def count_classes(spectrum: Integers, cuts: Cuts, grid: Grid) -> ClassCounts:
    """Return how many of a spectrum's entries, shape (n_bins + 1,), each class has."""
    masks = cuts.classes(np.arange(grid.n_bins + 1), grid)
    return ClassCounts(**{name: int(spectrum[mask].sum()) for name, mask in masks.items()})


def fill(masses: Array, width: float, first_bin: int, n_bins: int) -> Integers:
    """Return the entries per bin, shape (n_bins,), of main masses in GeV, shape (n,).

    A mass belongs to bin floor(m / width) in float64; `first_bin` is the bin that is counted
    first. Which masses are counted was decided on the grid: where the quotients by two widths
    round to different sides of an edge, the mass goes to the outermost bin and is not lost.
    """
    bins = np.floor(masses.astype(np.float64) / width).astype(np.int64) - first_bin
    return np.bincount(np.clip(bins, 0, n_bins - 1), minlength=n_bins)

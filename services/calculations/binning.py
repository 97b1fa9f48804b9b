"""The bins of histograms: of equal width, or growing with the resolution of the mass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from schemas.config import HistogramCreation, PtResolution, PtResolutions
from schemas.labels import Combination
from schemas.particles import BY_LETTER
from services.calculations.kinematics import Floats
from services.calculations.objects import Array, Integers

RESOLUTION_LABEL = "res"

Range = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """The bins of a histogram: `edges`, shape (n_bins + 1,), in GeV.

    With a `width`, edge i is `(first + i) * width`; None is bins of different widths. `label` is
    what names say of the bins.
    """

    label: str
    edges: Floats
    width: float | None
    first: int = 0

    @property
    def n_bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) - 1

    def part(self, first: int, stop: int) -> Axis:
        """Return only the bins `first .. stop - 1`."""
        return Axis(self.label, self.edges[first : stop + 1], self.width, self.first + first)

    def bins(self, masses: Array) -> Integers:
        """Return the bin of each mass in GeV, shape (n,).

        A mass belongs to bin floor(m / width) in float64, or to the one whose edges it is between.
        Which masses are filled was decided on the grid: where the quotients by two widths round to
        different sides of an edge, the mass goes to the outermost bin and is not lost.
        """
        exact = masses.astype(np.float64)
        if self.width is None:
            bins = np.searchsorted(self.edges, exact, side="right") - 1
        else:
            bins = np.floor(exact / self.width).astype(np.int64) - self.first
        return np.clip(bins, 0, self.n_bins - 1)

    def touched_by(self, low_gev: float, high_gev: float) -> tuple[int, int]:
        """Return the bins `first .. stop - 1` that a window has a part in, as far as they exist."""
        if self.width is None:
            first = int(np.searchsorted(self.edges, low_gev, side="right")) - 1
            stop = int(np.searchsorted(self.edges, high_gev, side="left"))
        else:
            # Windows lie on the grid, whose width is a multiple of this one.
            first = round(low_gev / self.width) - self.first
            stop = round(high_gev / self.width) - self.first
        return min(max(first, 0), self.n_bins), min(max(stop, 0), self.n_bins)


def fixed_axis(width: float, low_gev: float, high_gev: float) -> Axis:
    """Return bins of one width between two of its multiples."""
    first, stop = round(low_gev / width), round(high_gev / width)
    return Axis(str(width), np.arange(first, stop + 1, dtype=np.float64) * width, width, first)


def resolution_axis(edges: Floats, low_gev: float, high_gev: float) -> Axis:
    """Return the bins of `edges` that a range touches: its ends are rounded outward."""
    whole = Axis(RESOLUTION_LABEL, edges, None)
    return whole.part(*whole.touched_by(low_gev, high_gev))


def axes(
    combination: Combination, config: HistogramCreation, max_mass_gev: float, within: Range
) -> tuple[Axis, ...]:
    """Return the bins of each histogram that a range of a combination's masses, in GeV, gets."""
    if config.binning == "fixed":
        return tuple(fixed_axis(width, *within) for width in config.bin_width_gev)
    edges = resolution_edges(
        combination.content, config.pt_resolution, config.min_bin_width_gev, max_mass_gev
    )
    return (resolution_axis(edges, *within),)


def mass_resolution(mass_gev: float, objects: Iterable[tuple[PtResolution, int]]) -> float:
    """Return sigma(m) in GeV of so many objects of each resolution, all with pt = m / n.

    sigma(m) / m = sqrt(sum of delta(pt)^2) / n, with delta(pt) the relative resolution of pt.
    """
    of_types = list(objects)
    pt = mass_gev / sum(count for _, count in of_types)
    # delta(pt) * pt, so that nothing is divided by a pt of 0.
    return math.sqrt(
        sum(
            count
            * (
                of.noise_gev**2
                + of.stochastic**2 * pt
                + (of.constant * pt) ** 2
                + (of.linear_per_gev * pt * pt) ** 2
            )
            for of, count in of_types
        )
    )


@lru_cache(maxsize=1024)
def resolution_edges(
    content: tuple[tuple[str, int], ...],
    resolutions: PtResolutions,
    min_width_gev: float,
    max_mass_gev: float,
) -> Floats:
    """Return edges in GeV from 0 to the end of the grid for combinations of one content.

    Each bin is half of sigma(m) at its lower edge wide, and at least `min_width_gev`; the last one
    ends where the grid does.
    """
    objects = [(getattr(resolutions, BY_LETTER[letter].key), count) for letter, count in content]
    edges = [0.0]
    while edges[-1] < max_mass_gev:
        edges.append(edges[-1] + max(min_width_gev, mass_resolution(edges[-1], objects) / 2))
    edges[-1] = max_mass_gev
    array = np.array(edges)
    # The array is shared by all who ask for it.
    array.flags.writeable = False
    return array

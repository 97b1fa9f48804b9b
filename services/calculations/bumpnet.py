"""BumpNet's acceptance rule: which histograms it can be given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.config import Acceptance
from services.calculations.objects import Array


@dataclass(frozen=True)
class Verdict:
    """What the rule says of a histogram, and the numbers it looked at."""

    reason: str | None
    """Why it is rejected; None for an accepted one."""
    n_bins: int
    """Bins up to the last one with content."""
    total: float
    """Sum of these bins."""

    @property
    def is_accepted(self) -> bool:
        """Whether BumpNet takes the histogram."""
        return self.reason is None


def judge(contents: Array, rule: Acceptance) -> Verdict:
    """Apply the rule to bin contents, shape (n_bins,), without underflow and overflow.

    Everything after the last bin above a threshold is cut away. What is left is accepted with
    enough bins, a large enough sum and a filled first bin; the first that fails is the reason.
    """
    above = np.flatnonzero(contents > rule.last_bin_above)
    n_bins = int(above[-1]) + 1 if len(above) else 0
    kept = contents[:n_bins]
    total = float(kept.sum())
    reason = None
    if not n_bins:
        reason = f"no bin above {rule.last_bin_above:g}"
    elif n_bins < rule.min_bins:
        reason = f"{n_bins} bins, fewer than {rule.min_bins}"
    elif not total >= rule.min_sum:
        reason = f"sum {total:,.10g}, below {rule.min_sum:,.10g}"
    elif not kept[0] > 0:
        reason = "the first bin is empty"
    return Verdict(reason, n_bins, total)


def longest_stretch(is_vetoed: Array) -> tuple[int, int]:
    """Return the bins `first .. stop - 1` of the longest run that is not vetoed.

    `is_vetoed` has the shape (n_bins,). Of runs of equal length it is the first; where everything
    is vetoed it has no bins.
    """
    bounds = np.flatnonzero(np.diff(np.concatenate(([True], is_vetoed, [True]))))
    if not len(bounds):
        return 0, 0
    starts, stops = bounds[::2], bounds[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])


def filled_range(contents: Array, first: int, stop: int) -> tuple[int, int]:
    """Return the bins `first .. stop - 1` without the empty ones at both ends."""
    filled = np.flatnonzero(contents[first:stop])
    return (first + int(filled[0]), first + int(filled[-1]) + 1) if len(filled) else (first, first)


def kind_of(reason: str) -> str:
    """Return why a histogram is rejected without its own numbers, as `bins: fewer than 25`."""
    number, _, limit = reason.rpartition(", ")
    words = " ".join(word for word in number.split() if word.isalpha())
    return f"{words}: {limit}" if words else limit

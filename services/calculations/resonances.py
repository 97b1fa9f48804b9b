"""Known resonances: where they are looked for, whether they are there, what they remove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from schemas.config import KnownResonance, bins_covering
from schemas.labels import Combination
from schemas.plan import ResonanceTest
from services.calculations.objects import Integers
from services.calculations.spectra import Grid, Vetoes


def rules_for(
    combination: Combination, rules: Iterable[KnownResonance]
) -> tuple[KnownResonance, ...]:
    """Return the rules that are for a combination, in their order."""
    return tuple(
        rule for rule in rules if any(pattern.matches(combination) for pattern in rule.patterns)
    )


def where_tested(
    rules: Iterable[KnownResonance], of_combinations: Sequence[Combination]
) -> dict[str, tuple[Combination, ...]]:
    """Return, by the name of each rule, the combinations of a run in which it is looked for."""
    return {rule.name: tuple(c for c in of_combinations if rules_for(c, (rule,))) for rule in rules}


def expected_entries(inside: Integers, first: int, stop: int) -> float:
    """Return the entries that bins `first .. stop - 1` would have without a peak, at least 1.

    That is the mean density of the windows of the same width on both sides, as far as they lie on
    the grid `inside`, shape (n_bins,), times the width.
    """
    n_bins = stop - first
    beside = np.concatenate((inside[max(0, first - n_bins) : first], inside[stop : stop + n_bins]))
    return max(1.0, float(beside.mean()) * n_bins)


def look_for(spectrum: Integers, rule: KnownResonance, grid: Grid) -> ResonanceTest:
    """Look for one resonance in a spectrum, shape (n_bins + 1,), overflow last."""
    first, stop = bins_covering(rule.test_window_gev, grid.width)
    entries = int(spectrum[first:stop].sum())
    background = expected_entries(spectrum[:-1], first, stop)
    significance = (entries - background) / background**0.5
    excess = (entries - background) / background
    detected = significance > rule.min_significance and excess > rule.min_excess
    low, high = bins_covering(rule.window_gev, grid.width)
    return ResonanceTest(
        name=rule.name,
        action=rule.action,
        window_gev=(low * grid.width, high * grid.width),
        test_window_gev=(first * grid.width, stop * grid.width),
        entries=entries,
        background=background,
        significance=significance,
        excess=excess,
        detected=detected,
        removed=detected or not rule.only_if_detected,
    )


def removal(tests: Iterable[ResonanceTest], grid: Grid) -> tuple[int, Vetoes]:
    """Return the floor and the vetoes, in bins, of the resonances of a channel that are acted on.

    Vetoes that overlap or touch are one, and what lies below the floor is no veto.
    """
    acted_on = [test for test in tests if test.removed]
    if not acted_on:
        return 0, ()
    floor = 0
    vetoed = np.zeros(grid.n_bins + 1, dtype=bool)
    for test in acted_on:
        first, stop = (round(edge / grid.width) for edge in test.window_gev)
        if test.action == "floor":
            floor = max(floor, stop)
        else:
            vetoed[first:stop] = True
    vetoed[:floor] = False
    edges = np.flatnonzero(np.diff(vetoed, prepend=False))
    return floor, tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def summarise(
    rules: Sequence[KnownResonance], tested: Iterable[tuple[str, ResonanceTest]], examples: int
) -> tuple[str, ...]:
    """Return one sentence per rule: where it was looked for, found, and left in.

    `tested` are the tests by channel; of the channels left in so many `examples` are named.
    """
    channels: dict[str, dict[bool, list[str]]] = {
        rule.name: {True: [], False: []} for rule in rules
    }
    n_detected = dict.fromkeys(channels, 0)
    for channel, test in tested:
        channels[test.name][test.removed].append(channel)
        n_detected[test.name] += test.detected
    return tuple(
        _sentence(rule, n_detected[rule.name], channels[rule.name], examples) for rule in rules
    )


def _sentence(
    rule: KnownResonance, n_detected: int, channels: dict[bool, list[str]], examples: int
) -> str:
    removed, left = channels[True], channels[False]
    low, high = rule.window_gev
    what = f"everything below {high:g}" if rule.action == "floor" else f"{low:g} to {high:g}"
    text = (
        f"{rule.name} ({rule.action}): tested in {len(removed) + len(left):,} channels, detected "
        f"in {n_detected:,}, removed ({what} GeV) in {len(removed):,}, left in {len(left):,}"
    )
    if left:
        more = f" and {len(left) - examples:,} more" if len(left) > examples else ""
        text += f": {', '.join(left[:examples])}{more}"
    return text

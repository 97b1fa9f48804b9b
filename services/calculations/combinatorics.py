"""All combinations of leading (or consecutive) objects that the configuration allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np

from schemas.config import MassCalculation
from schemas.labels import LETTERS, Channel, Combination, FinalState, Window
from schemas.particles import BY_NAME


def combinations(config: MassCalculation) -> tuple[Combination, ...]:
    """Return every combination within the bounds, in the order of objects, then of names."""
    windows_per_type = [
        [None, *_windows(BY_NAME[name].letter, config)] for name in config.objects_to_calculate
    ]
    found = []
    for chosen in product(*windows_per_type):
        combination = Combination(tuple(window for window in chosen if window is not None))
        if _within_bounds(combination, config):
            found.append(combination)
    return tuple(sorted(found, key=lambda c: (c.n_objects, str(c))))


def _windows(letter: str, config: MassCalculation) -> list[Window]:
    counts = range(
        config.min_count_particle_in_combination, config.max_count_particle_in_combination + 1
    )
    windows = []
    for count in counts:
        # The last rank of a window is bounded, but the leading window is always there.
        last = (
            max(config.max_subleading_index, count - 1) if config.include_subleading else count - 1
        )
        windows += [Window(letter, start, count) for start in range(last - count + 2)]
    return windows


def _within_bounds(combination: Combination, config: MassCalculation) -> bool:
    n_types = len(combination.windows)
    low, high = config.min_types_in_combination, config.max_types_in_combination
    return (
        config.min_particles_in_combination
        <= combination.n_objects
        <= config.max_particles_in_combination
        and (low is None or n_types >= low)
        and (high is None or n_types <= high)
    )


def existing(
    states: Iterable[FinalState], of_combinations: Sequence[Combination]
) -> dict[FinalState, list[Combination]]:
    """Return, for each final state, the combinations that have enough objects there.

    Both keep their order. All combinations are compared at once, twenty times faster than one by
    one.
    """
    needed = np.array(
        [_objects_needed(combination) for combination in of_combinations], dtype=np.int64
    ).reshape(-1, len(LETTERS))
    found = {}
    for state in states:
        counts = dict(state.counts)
        has = np.array([counts.get(letter, 0) for letter in LETTERS], dtype=np.int64)
        exists = np.flatnonzero((needed <= has).all(axis=1)).tolist()
        found[state] = [of_combinations[number] for number in exists]
    return found


def _objects_needed(combination: Combination) -> list[int]:
    """Return how many objects of each type, in table order, an event must have."""
    stops = {window.letter: window.stop for window in combination.windows}
    return [stops.get(letter, 0) for letter in LETTERS]


def channels(
    states: Iterable[FinalState], of_combinations: Sequence[Combination]
) -> tuple[Channel, ...]:
    """Return the channels that exist: final states with enough objects for the combination."""
    return tuple(
        Channel(state, combination)
        for state, found in existing(states, of_combinations).items()
        for combination in found
    )


@dataclass(frozen=True)
class Additions:
    """How the four-vectors of a final state's combinations are added up, each partial sum once.

    Four-vectors lie in rows: first the combinations, then the objects, rank by rank and type by
    type as in `n_ranks`, then partial sums that are no combination. Each of `steps`, (sum, one,
    other), adds two rows, which are filled by then.

    The order of additions (ranks rising, types in table order) depends on the combination alone,
    so that a mass is the same to the last bit whatever else is computed.
    """

    n_combinations: int
    n_rows: int
    n_ranks: Mapping[str, int]
    """The leading objects that are used, by letter."""
    steps: Sequence[tuple[int, int, int]]

    @classmethod
    def of(cls, wanted: Sequence[Combination]) -> Additions:
        """Return the additions for different combinations of two objects or more each."""
        totals: list[_Sum] = [
            tuple([(window.letter, window.start, window.count) for window in combination.windows])
            for combination in wanted
        ]
        n_ranks: dict[str, int] = {}
        for letter, start, count in chain.from_iterable(totals):
            n_ranks[letter] = max(n_ranks.get(letter, 0), start + count)
        objects: list[_Sum] = [
            ((letter, rank, 1),) for letter, n in n_ranks.items() for rank in range(n)
        ]
        rows = {total: row for row, total in enumerate([*totals, *objects])}
        filled = set(objects)
        steps: list[tuple[int, int, int]] = []

        def fill(total: _Sum) -> int:
            row = rows.setdefault(total, len(rows))
            if total not in filled:
                one, other = _parts(total)
                steps.append((row, fill(one), fill(other)))
                filled.add(total)
            return row

        for total in totals:
            fill(total)
        return cls(len(totals), len(rows), n_ranks, steps)


# The windows, (letter, start, count), of a sum of objects: hashed much faster than combinations.
_Sum = tuple[tuple[str, int, int], ...]


def _parts(total: _Sum) -> tuple[_Sum, _Sum]:
    """Return the two sums that make a sum: all but its last window or, of one, its last rank."""
    if len(total) > 1:
        return total[:-1], total[-1:]
    [(letter, start, count)] = total
    return ((letter, start, count - 1),), ((letter, start + count - 1, 1),)

"""All combinations of leading (or consecutive) objects that the configuration allows."""

from __future__ import annotations

from itertools import product

from schemas.config import MassCalculation
from schemas.labels import Channel, Combination, FinalState, Window
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


def channels(
    states: tuple[FinalState, ...], of_combinations: tuple[Combination, ...]
) -> tuple[Channel, ...]:
    """Return the channels that exist: final states with enough objects for the combination."""
    return tuple(
        Channel(state, combination)
        for state in states
        for combination in of_combinations
        if combination.exists_in(state)
    )

"""Invariant masses, vectorised over events and shared between combinations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.labels import Combination, FinalState, Window
from services.calculations.objects import KINEMATICS, Array, Integers, Objects

Floats = npt.NDArray[np.float64]
Masses = npt.NDArray[np.float32]
# px, py, pz, energy in GeV, stacked on the first axis.
FourVectors = Floats


def four_vectors(kinematics: Array, out: FourVectors | None = None) -> FourVectors:
    """Return px, py, pz and energy in GeV, shape (4, n), of objects.

    `kinematics`, shape (n, 4), holds pt and mass in GeV as KINEMATICS orders them. A negative mass
    is space-like: E^2 = p^2 - m^2, never below 0.
    """
    pt, eta, phi, mass = kinematics.T.astype(np.float64)
    vectors = np.empty((4, len(pt))) if out is None else out
    px, py, pz, energy = vectors
    np.multiply(pt, np.cos(phi), out=px)
    np.multiply(pt, np.sin(phi), out=py)
    np.multiply(pt, np.sinh(eta), out=pz)
    p = pt * np.cosh(eta)
    squared = p * p + mass * np.abs(mass)
    np.sqrt(np.maximum(squared, 0.0, out=squared), out=energy)
    return vectors


def mass_of_energy(energy: Array, pt: Array, eta: Array) -> Masses:
    """Return the mass in GeV, shape (n,), of objects with energy and pt in GeV.

    m^2 = E^2 - (pt cosh eta)^2; where that is negative the mass is as well: space-like.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        p = pt.astype(np.float64) * np.cosh(eta.astype(np.float64))
        squared = energy.astype(np.float64) ** 2 - p * p
        mass: Masses = (np.sign(squared) * np.sqrt(np.abs(squared))).astype(np.float32)
    return mass


def masses(vectors: FourVectors) -> Masses:
    """Return m = sqrt(max(0, E^2 - |p|^2)) in GeV, shape (n,), of four-vectors of shape (4, n)."""
    px2, py2, pz2, squared = vectors * vectors
    squared -= px2
    squared -= py2
    squared -= pz2
    np.maximum(squared, 0.0, out=squared)
    stored: Masses = np.sqrt(squared, out=squared).astype(np.float32)
    return stored


def order_by_pt(offsets: Integers, pt: Array) -> Integers:
    """Return the objects of each event in the order of decreasing pt, shape (n_objects,).

    The objects of event i are `offsets[i]:offsets[i + 1]`, of the result as of `pt`. Equal values
    keep their order.
    """
    number = np.arange(len(pt))
    counts = np.diff(offsets)
    n_most = int(counts.max(initial=0))
    # The shortest integers that hold the numbers within an event are the fastest.
    kind = np.min_scalar_type(-n_most - 1)
    behind = (np.repeat(offsets[1:], counts) - number - 1).astype(kind)
    moves = np.zeros(len(pt), dtype=kind)
    # In each pair of an event, `distance` apart, whose later object is the harder one, that goes
    # one place to the front and the other one back. With a few objects per event this is five
    # times faster than sorting.
    for distance in range(1, n_most):
        is_wrong = pt[distance:] > pt[:-distance]
        is_wrong &= behind[:-distance] >= distance
        if distance == 1 and not is_wrong.any():
            # Each event is in order, as experiments mostly write them.
            return number
        moves[:-distance] += is_wrong.view(np.int8)
        moves[distance:] -= is_wrong.view(np.int8)
    order = np.empty_like(number)
    order[number + moves] = number
    return order


def group_events(
    counts: Mapping[str, Integers], states: Sequence[FinalState]
) -> dict[FinalState, Integers]:
    """Return the events, in rising order, of each of these final states that occurs.

    `counts` has an array of shape (n_events,) per letter of the final states.
    """
    if not states:
        return {}
    n_events = len(next(iter(counts.values())))
    of_states = {
        letter: np.array([state.count(letter) for state in states], dtype=np.int64)
        for letter in counts
    }
    radices = {letter: int(found.max()) + 1 for letter, found in of_states.items()}
    # Numbers of 16 bits, which nearly always suffice, are sorted ten times faster than longer ones.
    kind = np.min_scalar_type(math.prod(radices.values()))
    codes = np.zeros(n_events, dtype=kind)
    wanted_codes = np.zeros(len(states), dtype=kind)
    wanted = np.ones(n_events, dtype=bool)
    for letter, count in counts.items():
        radix = radices[letter]
        # A larger count is no wanted state's; cutting it off keeps the code within its bits.
        wanted &= count < radix
        codes *= kind.type(radix)
        codes += np.minimum(count, radix - 1).astype(kind)
        wanted_codes = wanted_codes * kind.type(radix) + of_states[letter].astype(kind)
    selected = np.flatnonzero(wanted)
    codes = codes[selected]
    order = np.argsort(codes, kind="stable")
    selected, sorted_codes = selected[order], codes[order]
    starts = np.searchsorted(sorted_codes, wanted_codes, side="left")
    stops = np.searchsorted(sorted_codes, wanted_codes, side="right")
    return {
        state: selected[start:stop]
        for state, start, stop in zip(states, starts.tolist(), stops.tolist(), strict=True)
        if stop > start
    }


def state_masses(
    objects: Mapping[str, Objects],
    states: Mapping[FinalState, Sequence[Combination]],
) -> Iterator[tuple[FinalState, Array]]:
    """Yield each final state that occurs with the masses of its combinations, in GeV.

    They have the shape (n_combinations, n_events), combinations as in `states` and events in their
    order. `objects` holds, by letter, every type of the final states; only types of combinations
    need more than counts.
    """
    counts = {letter: of_letter.counts for letter, of_letter in objects.items()}
    groups = group_events(counts, list(states))
    n_ranks: dict[str, int] = {}
    for window in {w for state in groups for c in states[state] for w in c.windows}:
        n_ranks[window.letter] = max(n_ranks.get(window.letter, 0), window.stop)
    vectors = {
        letter: _vectors_by_rank(objects[letter], groups, n, letter)
        for letter, n in n_ranks.items()
    }
    for state, events in groups.items():
        sums = _Sums({letter: of_letter[state] for letter, of_letter in vectors.items()})
        found = np.empty((len(states[state]), len(events)), dtype=np.float32)
        for row, combination in zip(found, states[state], strict=True):
            row[:] = masses(sums.of(combination.windows))
        yield state, found


def _vectors_by_rank(
    objects: Objects, groups: Mapping[FinalState, Integers], n_ranks: int, letter: str
) -> dict[FinalState, list[FourVectors]]:
    """Return, for each final state, the four-vectors (4, n_events) of each rank that is used.

    Those of all final states are taken and computed together, rank by rank.
    """
    of_states: dict[FinalState, list[FourVectors]] = {state: [] for state in groups}
    order = order_by_pt(objects.offsets, objects.columns["pt"])
    # Objects are met in any order: with its columns side by side, each is fetched only once.
    kinematics = np.stack([objects.columns[name] for name in KINEMATICS], axis=1)
    first = {state: objects.offsets[events] for state, events in groups.items()}
    for rank in range(n_ranks):
        having = [state for state in groups if state.count(letter) > rank]
        if not having:
            break
        places = np.concatenate([first[state] for state in having]) + rank
        vectors = np.empty((4, len(places)))
        for start in range(0, len(places), _BLOCK):
            block = slice(start, start + _BLOCK)
            four_vectors(kinematics.take(order.take(places[block]), axis=0), vectors[:, block])
        stop = 0
        for state in having:
            start, stop = stop, stop + len(groups[state])
            of_states[state].append(vectors[:, start:stop])
    return of_states


# So many objects at a time stay in the processor's cache from one step to the next, which halves
# the time.
_BLOCK = 1 << 14


class _Sums:
    """Four-vector sums in the events of one final state; each partial sum is made once.

    The order of additions (ranks rising, types in table order) depends on the combination alone,
    so that a mass is the same to the last bit however events are grouped.
    """

    def __init__(self, by_rank: Mapping[str, Sequence[FourVectors]]) -> None:
        self._by_rank = by_rank
        self._windows: dict[Window, FourVectors] = {}
        self._prefixes: dict[tuple[Window, ...], FourVectors] = {}

    def of(self, windows: tuple[Window, ...]) -> FourVectors:
        if len(windows) == 1:
            return self._window(windows[0])
        if windows not in self._prefixes:
            self._prefixes[windows] = self.of(windows[:-1]) + self._window(windows[-1])
        return self._prefixes[windows]

    def _window(self, window: Window) -> FourVectors:
        if window not in self._windows:
            last = self._by_rank[window.letter][window.stop - 1]
            if window.count > 1:
                shorter = Window(window.letter, window.start, window.count - 1)
                last = self._window(shorter) + last
            self._windows[window] = last
        return self._windows[window]

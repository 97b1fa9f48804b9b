"""Invariant masses, vectorised over events and shared between combinations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.labels import FinalState
from services.calculations.combinatorics import Additions
from services.calculations.objects import KINEMATICS, Array, Integers, Objects

Floats = npt.NDArray[np.float64]
Masses = npt.NDArray[np.float32]
# px, py, pz, energy in GeV, stacked on the first axis.
FourVectors = Floats


def four_vectors(kinematics: Array, out: FourVectors | None = None) -> FourVectors:
    """Return px, py, pz and energy in GeV, shape (..., 4, n), of objects.

    `kinematics`, shape (..., n, 4), holds pt and mass in GeV as KINEMATICS orders them. A negative
    mass is space-like: E^2 = p^2 - m^2, never below 0.

    sinh comes from one exponential, which takes a fifth of the time of sinh and cosh, and cosine
    and sine come from the tangent of half the angle, in two thirds of theirs. That leaves pz within
    4e-16 p and px and py within 5e-16 pt of their values, as if eta and phi were that little off;
    they are stored to 6e-8 of themselves. The energy follows from this pz: it fits the momentum.
    """
    pt, eta, phi, mass = (kinematics[..., i].astype(np.float64) for i in range(len(KINEMATICS)))
    vectors = np.empty((*pt.shape[:-1], 4, pt.shape[-1])) if out is None else out
    px, py, pz, energy = (vectors[..., i, :] for i in range(4))
    half = np.tan(0.5 * phi)
    square = half * half
    scale = pt / (1.0 + square)
    np.multiply(scale, 1.0 - square, out=px)
    np.multiply(scale + scale, half, out=py)
    # Of |eta|: mirrored events have the same masses, and nothing is divided by 0.
    growth = np.exp(np.abs(eta))
    np.multiply(0.5 * pt, growth - 1.0 / growth, out=pz)
    np.copysign(pz, eta, out=pz)
    squared = pt * pt + pz * pz + mass * np.abs(mass)
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
    """Return m = sqrt(max(0, E^2 - |p|^2)) in GeV, (..., n), of four-vectors (..., 4, n)."""
    squares = vectors * vectors
    squared = squares[..., 3, :]
    for momentum in range(3):
        squared -= squares[..., momentum, :]
    np.maximum(squared, 0.0, out=squared)
    stored: Masses = np.sqrt(squared, out=squared).astype(np.float32)
    return stored


def order_by_pt(offsets: Integers, pt: Array) -> Integers:
    """Return the objects of each event in the order of decreasing pt, shape (n_objects,).

    The objects of event i are `offsets[i]:offsets[i + 1]`, of the result as of `pt`. Equal values
    keep their order.
    """
    order = np.arange(len(pt))
    counts = np.diff(offsets)
    for n_objects in np.unique(counts[counts > 1]).tolist():
        places = offsets[:-1][counts == n_objects] + np.arange(n_objects)[:, np.newaxis]
        order[places] = places.take(_ranked(pt.take(places)))
    return order


def _ranked(pt: Array) -> Integers:
    """Return where the objects of each event are, by decreasing pt: places in the flat array.

    `pt` and the result have the shape (n_objects, n_events). Equal values keep their order.
    """
    n_objects, n_events = pt.shape
    number = np.arange(pt.size).reshape(pt.shape)
    target = number
    # In each pair of an event, `distance` apart, whose later object is the harder one, that goes
    # one place to the front and the other one back. With a few objects per event this is faster
    # than sorting.
    for distance in range(1, n_objects):
        is_wrong = pt[distance:] > pt[:-distance]
        if distance == 1:
            if not is_wrong.any():
                # Each event is in order, as experiments mostly write them.
                return number
            target = number.copy()
        move = is_wrong * np.int64(n_events)
        target[:-distance] += move
        target[distance:] -= move
    ranked = np.empty_like(number)
    ranked.put(target, number)
    return ranked


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
        cut = np.minimum(count, radix).astype(kind)
        wanted &= cut < radix
        codes *= kind.type(radix)
        codes += cut
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
    objects: Mapping[str, Objects], additions: Mapping[FinalState, Additions]
) -> Iterator[tuple[FinalState, Masses]]:
    """Yield each final state that occurs with the masses of its combinations, in GeV.

    They have the shape (n_combinations, n_events), combinations as in `additions` and events in
    their order. `objects` holds, by letter, every type of the final states; only types of
    combinations need more than counts.
    """
    counts = {letter: of_letter.counts for letter, of_letter in objects.items()}
    used = {letter for of_state in additions.values() for letter in of_state.n_ranks}
    # Objects are met in any order: with its columns side by side, each is fetched only once.
    kinematics = {
        letter: np.stack([objects[letter].columns[name] for name in KINEMATICS], axis=1)
        for letter in used
    }
    for state, events in group_events(counts, list(additions)).items():
        of_state = additions[state]
        found = np.empty((of_state.n_combinations, len(events)), dtype=np.float32)
        step = max(_FEWEST_EVENTS, _BLOCK // max(1, of_state.n_rows))
        for start in range(0, len(events), step):
            block = slice(start, start + step)
            by_rank = [
                _leading(
                    objects[letter].offsets,
                    kinematics[letter],
                    events[block],
                    state.count(letter),
                    n,
                )
                for letter, n in of_state.n_ranks.items()
            ]
            if by_rank:
                found[:, block] = masses(_sums(np.concatenate(by_rank), of_state))
        yield state, found


# So many four-vectors at a time stay in the processor's cache from one step to the next, but no
# fewer events than are worth a call.
_BLOCK = 1 << 16
_FEWEST_EVENTS = 256


def _leading(
    offsets: Integers, kinematics: Array, events: Integers, n_objects: int, n_ranks: int
) -> Array:
    """Return the kinematics of the leading objects in events with `n_objects` each, by rank.

    Shape (n_ranks, n_events, 4); `kinematics` are those of all objects, shape (n, 4).
    """
    found = kinematics.take(offsets.take(events) + np.arange(n_objects)[:, np.newaxis], axis=0)
    if n_objects == 1:
        return found
    # What an event has lies together: it is fetched once, and ranked where it then is.
    order = _ranked(found[..., KINEMATICS.index("pt")])
    return found.reshape(-1, len(KINEMATICS)).take(order[:n_ranks], axis=0)


def _sums(kinematics: Array, additions: Additions) -> FourVectors:
    """Return the four-vectors of combinations, shape (n_combinations, 4, n_events).

    `kinematics`, shape (n_objects, n_events, 4), are those of the objects in their rows.
    """
    vectors = np.empty((additions.n_rows, 4, kinematics.shape[1]))
    n = additions.n_combinations
    four_vectors(kinematics, out=vectors[n : n + len(kinematics)])
    for row, one, other in additions.steps:
        np.add(vectors[one], vectors[other], out=vectors[row])
    return vectors[:n]

"""Invariant masses, vectorised over events and shared between combinations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.labels import Channel, Combination, FinalState, Window
from services.calculations.objects import Array, Integers, Objects

Floats = npt.NDArray[np.float64]
Masses = npt.NDArray[np.float32]
# px, py, pz, energy in GeV, stacked on the first axis.
FourVectors = Floats


def four_vectors(pt: Array, eta: Array, phi: Array, mass: Array) -> FourVectors:
    """Return px, py, pz and energy in GeV, shape (4, n), of objects with pt and mass in GeV.

    A negative mass is space-like: E^2 = p^2 - m^2, never below 0.
    """
    pt = pt.astype(np.float64)
    mass = mass.astype(np.float64)
    eta = eta.astype(np.float64)
    phi = phi.astype(np.float64)
    vectors = np.empty((4, len(pt)))
    vectors[0] = pt * np.cos(phi)
    vectors[1] = pt * np.sin(phi)
    vectors[2] = pt * np.sinh(eta)
    p = pt * np.cosh(eta)
    vectors[3] = np.sqrt(np.maximum(p * p + mass * np.abs(mass), 0.0))
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
    px, py, pz, energy = vectors
    squared = energy * energy
    squared -= px * px
    squared -= py * py
    squared -= pz * pz
    np.maximum(squared, 0.0, out=squared)
    stored: Masses = np.sqrt(squared, out=squared).astype(np.float32)
    return stored


def rank_by_pt(objects: Objects) -> Objects:
    """Return the objects with those of each event in the order of decreasing pt.

    Equal values keep their order in the file.
    """
    pt = objects.columns["pt"]
    rising = pt[1:] > pt[:-1]
    first_of_event = np.zeros(objects.n_objects + 1, dtype=bool)
    first_of_event[objects.offsets] = True
    if not np.any(rising & ~first_of_event[1:-1]):
        return objects
    order = _order_by_pt(objects)
    return Objects(
        objects.offsets, {name: column[order] for name, column in objects.columns.items()}
    )


# A sort key holds the event, then the pt falling, then the position in the event, in 64 bits.
_POSITION_BITS = np.uint64(12)
_EVENT_SHIFT = np.uint64(44)
_LARGEST_EVENT = 1 << 20


def _order_by_pt(objects: Objects) -> Integers:
    """Return the order of objects, shape (n_objects,), that ranks each event by falling pt."""
    counts = objects.counts
    pt = objects.columns["pt"]
    event_number = np.repeat(np.arange(len(counts)), counts)
    if len(counts) > _LARGEST_EVENT or counts.max() >> int(_POSITION_BITS) or np.any(pt < 0):
        return np.lexsort((-pt, event_number))
    position = np.arange(objects.n_objects) - objects.offsets[event_number]
    # Of positive floats, the larger has the larger bits; sorting unique integers is five times
    # faster than a stable sort by two keys.
    falling = ~pt.astype(np.float32).view(np.uint32)
    keys = event_number.astype(np.uint64) << _EVENT_SHIFT
    keys |= falling.astype(np.uint64) << _POSITION_BITS
    keys |= position.astype(np.uint64)
    keys.sort()
    in_event = keys & ((np.uint64(1) << _POSITION_BITS) - np.uint64(1))
    return objects.offsets[(keys >> _EVENT_SHIFT).astype(np.int64)] + in_event.astype(np.int64)


@dataclass(frozen=True)
class RankedVectors:
    """Four-vectors of one type, shape (4, n_objects), leading object of each event first."""

    offsets: Integers
    vectors: FourVectors

    @classmethod
    def of(cls, objects: Objects) -> RankedVectors:
        """Rank objects by pt and take their four-vectors, once for all combinations."""
        ranked = rank_by_pt(objects)
        c = ranked.columns
        return cls(ranked.offsets, four_vectors(c["pt"], c["eta"], c["phi"], c["mass"]))

    def rank(self, events: Integers, rank: int) -> FourVectors:
        """Return the four-vectors, shape (4, len(events)), of one rank in some events."""
        return np.take(self.vectors, self.offsets[events] + rank, axis=1)


def group_events(
    counts: Mapping[str, Integers], states: Sequence[FinalState]
) -> dict[FinalState, Integers]:
    """Return the events, in rising order, of each of these final states that occurs.

    `counts` has an array of shape (n_events,) per letter of the final states.
    """
    if not states:
        return {}
    n_events = len(next(iter(counts.values())))
    codes = np.zeros(n_events, dtype=np.int64)
    wanted_codes = np.zeros(len(states), dtype=np.int64)
    wanted = np.ones(n_events, dtype=bool)
    for letter, count in counts.items():
        of_states = np.array([state.count(letter) for state in states], dtype=np.int64)
        radix = int(of_states.max()) + 1
        # A larger count is no wanted state's; cutting it off keeps the code within 64 bits.
        wanted &= count < radix
        codes = codes * radix + np.minimum(count, radix - 1)
        wanted_codes = wanted_codes * radix + of_states
    selected = np.flatnonzero(wanted)
    selected = selected[np.argsort(codes[selected], kind="stable")]
    sorted_codes = codes[selected]
    starts = np.searchsorted(sorted_codes, wanted_codes, side="left")
    stops = np.searchsorted(sorted_codes, wanted_codes, side="right")
    return {
        state: selected[start:stop]
        for state, start, stop in zip(states, starts.tolist(), stops.tolist(), strict=True)
        if stop > start
    }


def channel_masses(
    objects: Mapping[str, Objects],
    states: Mapping[FinalState, Sequence[Combination]],
) -> Iterator[tuple[Channel, Masses]]:
    """Yield each channel that occurs with its masses in GeV, one per event, in event order.

    `objects` holds, by letter, every type of the final states; `states` the combinations to
    compute. Only types of combinations need more than counts.
    """
    letters = sorted({w.letter for cs in states.values() for c in cs for w in c.windows})
    ranked = {letter: RankedVectors.of(objects[letter]) for letter in letters}
    counts = {letter: of_letter.counts for letter, of_letter in objects.items()}
    for state, events in group_events(counts, list(states)).items():
        sums = _Sums(ranked, events)
        for combination in states[state]:
            yield Channel(state, combination), masses(sums.of(combination.windows))


class _Sums:
    """Four-vector sums in the events of one final state; each partial sum is made once.

    The order of additions (ranks rising, types in table order) depends on the combination alone,
    so that a mass is the same to the last bit however events are grouped.
    """

    def __init__(self, ranked: Mapping[str, RankedVectors], events: Integers) -> None:
        self._ranked = ranked
        self._events = events
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
            last = self._ranked[window.letter].rank(self._events, window.stop - 1)
            if window.count > 1:
                shorter = Window(window.letter, window.start, window.count - 1)
                last = self._window(shorter) + last
            self._windows[window] = last
        return self._windows[window]

"""Overlap removal: which objects are close to others in their event, without a loop over events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.config import OverlapRule, types_meant
from schemas.reports import CutRow
from services.calculations.objects import Array, Integers, Mask

# The first look is at differences of eta as stored, whose rounding must not lose a pair.
_ROUNDING = 1e-5


@dataclass
class Directions:
    """Where the objects of one type point, flat, and which of them are left.

    eta and phi have shape (n_objects,), `alive` as well; `offsets` is (n_events + 1,).
    """

    offsets: Integers
    eta: Array
    phi: Array
    alive: Mask

    @cached_property
    def event(self) -> Integers:
        """The event of each object, shape (n_objects,)."""
        numbers = np.arange(len(self.offsets) - 1)
        return np.repeat(numbers, np.diff(self.offsets))


def remove_overlaps(
    directions: Mapping[str, Directions], rules: Sequence[OverlapRule]
) -> list[CutRow]:
    """Take the objects that the rules remove out of `alive`, and return the rows of the cut flow.

    `directions` holds types by name; each rule sees what the ones before it left.
    """
    rows = []
    for number, rule in enumerate(rules, 1):
        others = [directions[n] for key in rule.near for n in types_meant(key) if n in directions]
        for name in types_meant(rule.remove):
            if name not in directions:
                continue
            objects = directions[name]
            before = int(np.count_nonzero(objects.alive))
            for other in others:
                # Types of a rule are different, so what goes here is not what others are near to.
                objects.alive &= ~are_near(objects, other, rule.delta_r)
            removed = before - int(np.count_nonzero(objects.alive))
            step = f"overlap {number}: {rule}"
            rows.append(CutRow(step=step, of=name, before=before, removed=removed))
    return rows


def are_near(objects: Directions, others: Directions, delta_r: float) -> Mask:
    """Return which objects, shape (n_objects,), are alive and near a living other of their event.

    Near is sqrt(delta eta^2 + delta phi^2) < delta_r with delta phi wrapped, in float64. The k-th
    others of all events are looked at together, for k = 0, 1, ...: memory grows with the objects,
    not with the pairs.
    """
    near = np.zeros(len(objects.alive), dtype=bool)
    index = np.flatnonzero(objects.alive)
    event = objects.event[index]
    position, end = others.offsets[event], others.offsets[event + 1]
    while True:
        inside = np.flatnonzero(position < end)
        if not len(inside):
            return near
        if len(inside) < len(index):
            index, position, end = index[inside], position[inside], end[inside]
        with np.errstate(over="ignore"):
            distance = np.abs(objects.eta[index] - others.eta[position])
        maybe = np.flatnonzero(distance <= delta_r + _ROUNDING)
        one, other = index[maybe], position[maybe]
        hit = others.alive[other]
        hit &= _squared_distance(objects, one, others, other) < delta_r * delta_r
        near[one[hit]] = True
        position = position + 1


def _squared_distance(
    objects: Directions, one: Integers, others: Directions, other: Integers
) -> npt.NDArray[np.float64]:
    d_eta = objects.eta[one].astype(np.float64) - others.eta[other]
    d_phi = objects.phi[one].astype(np.float64) - others.phi[other]
    d_phi -= 2.0 * np.pi * np.rint(d_phi / (2.0 * np.pi))
    squared: npt.NDArray[np.float64] = d_eta * d_eta + d_phi * d_phi
    return squared

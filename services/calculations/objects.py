"""Jagged objects of many events as flat arrays: no loop over events, no copy where none is due."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.labels import FinalState
from schemas.particles import BY_NAME, PARTICLES

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

KINEMATICS = ("pt", "eta", "phi", "mass")
# Fields that are worked out while reading; no branch can be called so.
RELATIVE_ISOLATION = "isolation / pt"
B_TAG = "b-tag"


@dataclass(frozen=True)
class Objects:
    """All objects of one type in a range of events.

    The objects of event i are `offsets[i]:offsets[i + 1]` of every column, so `offsets` has shape
    (n_events + 1,) and starts at 0; columns have shape (n_objects,). pt and mass are in GeV.
    `fields` are further columns, which cuts name and which the selection does not keep.
    """

    offsets: Integers
    columns: Mapping[str, Array]
    fields: Mapping[str, Array] = field(default_factory=dict)

    @property
    def counts(self) -> Integers:
        """Objects per event, shape (n_events,)."""
        return np.diff(self.offsets)

    @property
    def n_objects(self) -> int:
        """Objects in all events."""
        return int(self.offsets[-1])

    @property
    def nbytes(self) -> int:
        """Memory held."""
        columns = (*self.columns.values(), *self.fields.values())
        return self.offsets.nbytes + sum(column.nbytes for column in columns)

    def keep(self, mask: Mask) -> Objects:
        """Return only the objects where `mask`, shape (n_objects,), holds; events stay."""
        return self._masked(offsets_with(self.offsets, mask), mask)

    def in_events(self, mask: Mask) -> Objects:
        """Return only the events where `mask`, shape (n_events,), holds, with their objects."""
        counts = self.counts
        return self._masked(offsets_of(counts[mask]), np.repeat(mask, counts))

    def between(self, start: int, stop: int) -> Objects:
        """Return the events `start .. stop - 1` with their objects, whose columns are views."""
        first, end = self.offsets[start], self.offsets[stop]
        columns = {name: column[first:end] for name, column in self.columns.items()}
        fields = {name: column[first:end] for name, column in self.fields.items()}
        return Objects(self.offsets[start : stop + 1] - first, columns, fields)

    def _masked(self, offsets: Integers, mask: Mask) -> Objects:
        columns = {name: column[mask] for name, column in self.columns.items()}
        return Objects(offsets, columns, {n: column[mask] for n, column in self.fields.items()})


@dataclass(frozen=True)
class Events:
    """A range of events: its identity arrays, shape (n_events,), and its objects by type name.

    `triggers` are the decisions, shape (n_events,), of the branches that a trigger selection names;
    the selection does not keep them.
    """

    run: Array
    lumi: Array
    event: Array
    objects: Mapping[str, Objects]
    triggers: Mapping[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.event)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        per_event = (self.run, self.lumi, self.event, *self.triggers.values())
        objects = sum(objects.nbytes for objects in self.objects.values())
        return objects + sum(column.nbytes for column in per_event)

    def where(self, mask: Mask) -> Events:
        """Return only the events where `mask`, shape (n_events,), holds."""
        return Events(
            self.run[mask],
            self.lumi[mask],
            self.event[mask],
            {name: objects.in_events(mask) for name, objects in self.objects.items()},
            {name: decision[mask] for name, decision in self.triggers.items()},
        )


def offsets_of(counts: Integers) -> Integers:
    """Return the offsets, shape (n_events + 1,), of events with so many objects each."""
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def offsets_with(offsets: Integers, mask: Mask) -> Integers:
    """Return the offsets after dropping the objects where `mask`, shape (n_objects,), is false."""
    kept_before = np.concatenate(([0], np.cumsum(mask, dtype=np.int64)))
    return kept_before[offsets]


def places_of(offsets: Integers, events: Integers) -> Integers:
    """Return where the objects of some events are, shape (n_objects_of_events,), event by event.

    Where events are few, as rejected ones mostly are, a mask over all events takes longer.
    """
    first = offsets[events]
    counts = offsets[events + 1] - first
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())


def concatenate(parts: Sequence[Events]) -> Events:
    """Return ranges of events one behind the other; all must have the same types and columns."""
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> Objects:
        pieces = [part.objects[name] for part in parts]
        counts = np.concatenate([piece.counts for piece in pieces])
        columns = {
            column: np.concatenate([piece.columns[column] for piece in pieces])
            for column in pieces[0].columns
        }
        return Objects(offsets_of(counts), columns)

    return Events(
        np.concatenate([part.run for part in parts]),
        np.concatenate([part.lumi for part in parts]),
        np.concatenate([part.event for part in parts]),
        {name: joined(name) for name in parts[0].objects},
    )


def count_multiplicities(columns: Sequence[Integers]) -> list[tuple[tuple[int, ...], int]]:
    """Return every combination of multiplicities that occurs, with its number of events, sorted.

    `columns` has one array of shape (n_events,) per type.
    """
    if not len(columns[0]):
        return []
    radices = [int(column.max()) + 1 for column in columns]
    # One number per event sorts ten times faster than rows; only absurd counts do not fit.
    if math.prod(radices) > np.iinfo(np.int64).max:
        rows, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
        return list(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True))
    codes = np.ravel_multi_index(columns, radices)
    if math.prod(radices) <= _MOST_BINS:
        counts = np.bincount(codes)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(codes, return_counts=True)
    rows = np.stack(np.unravel_index(found, radices), axis=1)
    return list(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True))


# So many bins are counted faster than any number of events is sorted.
_MOST_BINS = 1 << 17


def populations(events: Events) -> dict[str, int]:
    """Return the number of events per exact multiplicity of all six types, by its label."""
    n_events = len(events)
    none = np.zeros(n_events, dtype=np.int64)
    columns = [
        events.objects[particle.name].counts if particle.name in events.objects else none
        for particle in PARTICLES
    ]
    return {_label_of(row): count for row, count in count_multiplicities(columns)}


@lru_cache(maxsize=1 << 16)  # some thousands, for every range of events
def _label_of(row: tuple[int, ...]) -> str:
    letters = [particle.letter for particle in PARTICLES]
    return str(FinalState(tuple(zip(letters, row, strict=True))))


def project_populations(
    of_all_types: Mapping[str, int], types: Iterable[str]
) -> dict[FinalState, int]:
    """Sum populations over the types that are not named, and return them by final state, sorted."""
    letters = tuple([BY_NAME[name].letter for name in types])
    total: dict[tuple[int, ...], int] = {}
    for label, count in of_all_types.items():
        row = multiplicities_of(label, letters)
        total[row] = total.get(row, 0) + count
    return {
        FinalState(tuple(zip(letters, row, strict=True))): count
        for row, count in sorted(total.items())
    }


@lru_cache(maxsize=1 << 16)  # the same ones for the whole run and for each of its chunks
def multiplicities_of(label: str, letters: tuple[str, ...]) -> tuple[int, ...]:
    """Return how many objects of some types a final state has, by its label."""
    counts = dict(FinalState.parse(label).counts)
    return tuple([counts.get(letter, 0) for letter in letters])


def add_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by key, keys sorted."""
    total: dict[str, int] = {}
    for part in parts:
        add_to(total, part)
    return dict(sorted(total.items()))


def add_to(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add counts to a sum by key."""
    for key, count in counts.items():
        total[key] = total.get(key, 0) + count

"""Selection of objects and events; every step leaves a row of the cut flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from schemas.config import KinematicCut, KinematicCuts, OverlapRule, ParticleCounts, Trigger
from schemas.errors import DataError
from schemas.particles import PARTICLES
from schemas.reports import B_TAG_STEP, CutRow
from services.calculations.good_runs import GoodRuns
from services.calculations.objects import (
    B_TAG,
    KINEMATICS,
    RELATIVE_ISOLATION,
    Array,
    Events,
    Integers,
    Mask,
    Objects,
    offsets_of,
    offsets_with,
    places_of,
)
from services.calculations.overlap import Directions, remove_overlaps

JETS, B_JETS = "Jets", "BJets"


@dataclass(frozen=True)
class Selection:
    """What is kept of the events of one source."""

    cuts: KinematicCuts
    counts: ParticleCounts
    overlap: tuple[OverlapRule, ...] = ()
    btag_threshold: float | None = None
    """Jets at or above it become b-jets; None: no b-tagging."""
    trigger: Trigger | None = None
    good_runs: GoodRuns | None = None

    def cut_of(self, name: str) -> KinematicCut | None:
        """Return the cuts of a type; b-jets without their own have those of jets."""
        own: KinematicCut | None = getattr(self.cuts, name.lower())
        return self.cuts.jets if own is None and name == B_JETS else own


def is_valid(objects: Objects) -> Mask:
    """Return which objects have a finite, positive pt and finite eta, phi and mass.

    Experiments mark quantities that could not be computed with values like -16384, or not at all.
    """
    valid = objects.columns["pt"] > 0
    for name in KINEMATICS:
        valid &= np.isfinite(objects.columns[name])
    return valid


def select(events: Events, selection: Selection) -> tuple[Events, tuple[CutRow, ...]]:
    """Return the kept events with their kept objects, and the cut flow.

    Rows of events (`of` is `events`) lead from the events read to those kept, rows of a type from
    its objects in the file to those kept: what b-tagging takes from Jets, BJets start with.

    Raises:
        DataError: a field cannot be cut on in the way that is asked for.
    """
    events, rows = _filter_events(events, selection)
    candidates = {}
    for name, objects in events.objects.items():
        alive, of_type = _valid(name, objects)
        rows += of_type
        if name == JETS and selection.btag_threshold is not None:
            tagged = alive & (objects.fields[B_TAG] >= selection.btag_threshold)
            rows.append(_row(B_TAG_STEP, JETS, alive, alive & ~tagged))
            alive &= ~tagged
            candidates[B_JETS], of_type = _cut(B_JETS, objects, tagged, selection)
            rows += of_type
        candidates[name], of_type = _cut(name, objects, alive, selection)
        rows += of_type
    if selection.overlap:
        directions = {name: candidate.directions() for name, candidate in candidates.items()}
        rows += remove_overlaps(directions, selection.overlap)
        for name, candidate in candidates.items():
            candidate.keep(directions[name].alive)
    counts = {name: candidate.counts() for name, candidate in candidates.items()}
    kept, of_events = _multiplicity_mask(len(events), counts, selection.counts)
    rows += of_events
    chosen = {}
    for name, candidate in candidates.items():
        before = int(counts[name].sum())
        chosen[name] = candidate.in_events(kept, counts[name])
        lost = before - chosen[name].n_objects
        rows.append(CutRow(step="rejected events", of=name, before=before, removed=lost))
    selected = Events(events.run[kept], events.lumi[kept], events.event[kept], chosen)
    return selected, tuple(rows)


def _row(step: str, of: str, before: Mask, after: Mask) -> CutRow:
    n_before = int(np.count_nonzero(before))
    removed = n_before - int(np.count_nonzero(after))
    return CutRow(step=step, of=of, before=n_before, removed=removed)


def _filter_events(events: Events, selection: Selection) -> tuple[Events, list[CutRow]]:
    """Return the events that pass good-run lists and trigger, and the rows of the cut flow."""
    masks = {}
    if selection.good_runs is not None:
        masks["good runs"] = selection.good_runs.contain(events.run, events.lumi)
    if selection.trigger is not None:
        decisions = [events.triggers[name] for name in selection.trigger.branches]
        combine = np.logical_or if selection.trigger.any else np.logical_and
        masks["trigger"] = combine.reduce(decisions)
    rows = []
    kept = np.ones(len(events), dtype=bool)
    for step, mask in masks.items():
        after = kept & mask
        rows.append(_row(step, "events", kept, after))
        for name, objects in events.objects.items():
            before, left = (int(objects.counts[m].sum()) for m in (kept, after))
            rows.append(CutRow(step=step, of=name, before=before, removed=before - left))
        kept = after
    return (events.where(kept) if masks else events), rows


@dataclass
class _Candidates:
    """Objects of one type, and which of them, shape (n_objects,), no cut has removed."""

    objects: Objects
    alive: Mask

    def directions(self) -> Directions:
        """Return where those that are left point."""
        index = np.flatnonzero(self.alive)
        return Directions(
            offsets=offsets_with(self.objects.offsets, self.alive),
            eta=self.objects.columns["eta"][index],
            phi=self.objects.columns["phi"][index],
            alive=np.ones(len(index), dtype=bool),
        )

    def keep(self, left: Mask) -> None:
        """Keep of those that are left only some, shape (n_left,)."""
        self.alive[self.alive] = left

    def counts(self) -> Integers:
        """Objects that are left per event, shape (n_events,)."""
        return np.diff(offsets_with(self.objects.offsets, self.alive))

    def in_events(self, kept: Mask, counts: Integers) -> Objects:
        """Return the objects that are left in events where `kept` holds, kinematics only."""
        alive = self.alive.copy()
        alive[places_of(self.objects.offsets, np.flatnonzero(~kept))] = False
        index = np.flatnonzero(alive)
        columns = {name: self.objects.columns[name].take(index) for name in KINEMATICS}
        return Objects(offsets_of(counts[kept]), columns)


def _valid(name: str, objects: Objects) -> tuple[Mask, list[CutRow]]:
    everything = np.ones(objects.n_objects, dtype=bool)
    valid = is_valid(objects)
    return valid, [_row("invalid", name, everything, valid)]


def _cut(
    name: str, objects: Objects, alive: Mask, selection: Selection
) -> tuple[_Candidates, list[CutRow]]:
    rows = []
    cut = selection.cut_of(name)
    if cut is not None:
        for step, passes in _passes(name, objects, cut):
            after = alive & passes
            rows.append(_row(step, name, alive, after))
            alive = after
    return _Candidates(objects, alive), rows


def _passes(name: str, objects: Objects, cut: KinematicCut) -> Iterator[tuple[str, Mask]]:
    """Yield each cut that is set, with the objects that pass it."""
    pt, size = objects.columns["pt"], np.abs(objects.columns["eta"])
    if cut.pt_min is not None:
        yield "pt_min", pt >= cut.pt_min
    if cut.pt_max is not None:
        yield "pt_max", pt <= cut.pt_max
    if cut.eta_max is not None:
        yield "eta_max", size <= cut.eta_max
    if cut.eta_exclude is not None:
        low, high = cut.eta_exclude
        yield "eta_exclude", (size < low) | (size > high)
    if cut.rel_isolation_max is not None:
        yield "rel_isolation_max", objects.fields[RELATIVE_ISOLATION] <= cut.rel_isolation_max
    yield from _passes_fields(name, objects.fields, cut)


def _passes_fields(
    name: str, fields: Mapping[str, Array], cut: KinematicCut
) -> Iterator[tuple[str, Mask]]:
    for flag in cut.require:
        yield f"require {flag}", fields[flag] != 0
    if cut.require_any:
        masks = [fields[flag] != 0 for flag in cut.require_any]
        yield f"require any of {', '.join(cut.require_any)}", np.logical_or.reduce(masks)
    for field, low in cut.field_min.items():
        yield f"{field} >= {low}", fields[field] >= low
    for field, high in cut.field_max.items():
        yield f"{field} <= {high}", fields[field] <= high
    for field, mask in cut.bits.items():
        yield f"{field} has bits {mask}", _has_bits(name, field, fields[field], mask)


def _has_bits(name: str, field: str, values: Array, mask: int) -> Mask:
    if values.dtype.kind not in "iub":
        msg = (
            f"{name}: expected whole numbers in the field {field}, to take bits from, found "
            f"{values.dtype.name}; correct kinematic_cuts.{name.lower()}.bits"
        )
        raise DataError(msg)
    set_in_full: Mask = (values.astype(np.int64) & mask) == mask
    return set_in_full


def _multiplicity_mask(
    n_events: int, found: Mapping[str, Integers], counts: ParticleCounts
) -> tuple[Mask, list[CutRow]]:
    kept = np.ones(n_events, dtype=bool)
    n_kept = n_events
    rows = []
    for particle in PARTICLES:
        allowed = getattr(counts, particle.key)
        if allowed is None:
            continue
        n = found.get(particle.name, 0)
        kept &= n >= allowed.min
        if allowed.max is not None:
            kept &= n <= allowed.max
        n_left = int(np.count_nonzero(kept))
        step = f"number of {particle.key}"
        rows.append(CutRow(step=step, of="events", before=n_kept, removed=n_kept - n_left))
        n_kept = n_left
    return kept, rows

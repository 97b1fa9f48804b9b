"""Selection of objects and events; every step leaves a row of the cut flow."""

from __future__ import annotations

import numpy as np

from schemas.config import KinematicCuts, ParticleCounts
from schemas.particles import PARTICLES
from schemas.reports import CutRow
from services.calculations.objects import KINEMATICS, Events, Mask, Objects


def is_valid(objects: Objects) -> Mask:
    """Return which objects have a finite, positive pt and finite eta, phi and mass.

    Experiments mark quantities that could not be computed with values like -16384, or not at all.
    """
    valid = objects.columns["pt"] > 0
    for name in KINEMATICS:
        valid &= np.isfinite(objects.columns[name])
    return valid


def select(
    events: Events, cuts: KinematicCuts, counts: ParticleCounts
) -> tuple[Events, tuple[CutRow, ...]]:
    """Return the kept events with their kept objects, and the cut flow.

    Object rows (`of` is the type) come first, then event rows (`of` is `events`), then what the
    objects lost with rejected events.
    """
    rows: list[CutRow] = []
    chosen = {}
    for name, objects in events.objects.items():
        chosen[name], of_type = _select_objects(name, objects, cuts)
        rows += of_type
    kept, of_events = _multiplicity_mask(len(events), chosen, counts)
    rows += of_events
    selected = Events(events.run, events.lumi, events.event, chosen).where(kept)
    for name, objects in chosen.items():
        lost = objects.n_objects - selected.objects[name].n_objects
        rows.append(CutRow(step="rejected events", of=name, before=objects.n_objects, removed=lost))
    return selected, tuple(rows)


def _select_objects(
    name: str, objects: Objects, cuts: KinematicCuts
) -> tuple[Objects, list[CutRow]]:
    masks = {"invalid": is_valid(objects)}
    cut = getattr(cuts, name.lower())
    if cut and cut.pt_min is not None:
        masks["pt_min"] = objects.columns["pt"] >= cut.pt_min
    if cut and cut.eta_max is not None:
        masks["eta_max"] = np.abs(objects.columns["eta"]) <= cut.eta_max
    rows = []
    kept = np.ones(objects.n_objects, dtype=bool)
    n_kept = objects.n_objects
    for step, mask in masks.items():
        kept &= mask
        n_left = int(np.count_nonzero(kept))
        rows.append(CutRow(step=step, of=name, before=n_kept, removed=n_kept - n_left))
        n_kept = n_left
    return objects.keep(kept), rows


def _multiplicity_mask(
    n_events: int, objects: dict[str, Objects], counts: ParticleCounts
) -> tuple[Mask, list[CutRow]]:
    kept = np.ones(n_events, dtype=bool)
    n_kept = n_events
    rows = []
    for particle in PARTICLES:
        allowed = getattr(counts, particle.key)
        if allowed is None:
            continue
        n = objects[particle.name].counts if particle.name in objects else 0
        kept &= n >= allowed.min
        if allowed.max is not None:
            kept &= n <= allowed.max
        n_left = int(np.count_nonzero(kept))
        step = f"number of {particle.key}"
        rows.append(CutRow(step=step, of="events", before=n_kept, removed=n_kept - n_left))
        n_kept = n_left
    return kept, rows

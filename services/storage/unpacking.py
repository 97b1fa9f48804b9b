"""Columns as the reading library gives them -> flat objects in GeV."""

from __future__ import annotations

from collections.abc import Mapping

import awkward as ak
import numpy as np

from schemas.errors import DataError
from schemas.particles import BY_KEY, Particle
from schemas.releases import ENERGY_UNITS, Discriminant, Layout
from services.calculations.btagging import linked, links_fit, log_ratio, without_sentinels
from services.calculations.kinematics import mass_of_energy
from services.calculations.objects import (
    B_TAG,
    KINEMATICS,
    RELATIVE_ISOLATION,
    Array,
    Integers,
    Objects,
)
from services.storage.branches import BTagColumns, FileBranches, ObjectColumns
from services.storage.flat_columns import Column, Jagged


def flat(jagged: Array | ak.Array) -> Jagged:
    """Return lists of numbers as flat arrays."""
    layout = ak.to_layout(jagged)
    if not layout.is_list:
        msg = "a branch of objects holds one value per event"
        raise TypeError(msg)
    layout = layout.to_ListOffsetArray64(True)  # noqa: FBT003 - awkward's signature
    offsets = np.asarray(layout.offsets.data)
    return Jagged(offsets, np.asarray(layout.content.data)[: offsets[-1]])


def float32(values: Array) -> Array:
    """Return values as float32, unchanged if they are."""
    return values.astype(np.float32, copy=False)


class Columns:
    """What was read of a range of events; each branch is unpacked once."""

    def __init__(self, where: str, n_events: int, columns: Mapping[str, Column]) -> None:
        self.where = where
        self._n_events = n_events
        self._columns = columns
        self._jagged: dict[str, Jagged] = {}

    def per_event(self, branch: str | None) -> Array:
        """Return one value per event, shape (n_events,); zeros where there is no branch."""
        if branch is None:
            return np.zeros(self._n_events, dtype=np.int8)
        column = self._read(branch)
        if isinstance(column, Jagged):
            msg = f"the branch {branch} holds lists, not one value per event"
            raise TypeError(msg)
        values = np.asarray(ak.to_numpy(column))
        self.must_fit(branch, values.shape == (self._n_events,))
        return values

    def jagged(self, branch: str) -> Jagged:
        """Return offsets (n_events + 1,) and values (n_objects,), as stored, of a branch."""
        if branch not in self._jagged:
            column = self._read(branch)
            found = column if isinstance(column, Jagged) else flat(column)
            self.must_fit(branch, len(found.offsets) == self._n_events + 1)
            self._jagged[branch] = found
        return self._jagged[branch]

    def like(self, offsets: Integers, branch: str) -> Array:
        """Return the values, shape (n_objects,), of a branch with as many objects per event."""
        others, values = self.jagged(branch)
        self.must_fit(branch, np.array_equal(offsets, others))
        return values

    def must_fit(self, what: str, fits: object) -> None:
        """Raise DataError, which names `what`, unless numbers of objects and events agree."""
        if not fits:
            msg = (
                f"{self.where}: {what}: the numbers of objects or events differ; the file is "
                "damaged"
            )
            raise DataError(msg)

    def _read(self, branch: str) -> Column:
        if branch in self._columns:
            return self._columns[branch]
        # A part of an RNTuple's field comes inside of it.
        whole = next(name for name in self._columns if branch.startswith(f"{name}."))
        array = self._columns[whole]
        for part in branch.removeprefix(f"{whole}.").split("."):
            array = array[part]
        return array


def unpack_objects(
    columns: Columns, branches: FileBranches, layout: Layout, btag: Discriminant | None
) -> dict[str, Objects]:
    """Return the objects of every type of a layout, by the type's name, with energies in GeV.

    Raises:
        DataError: branches do not fit together.
    """
    _refuse_unknown_flavours(columns, branches.objects, layout)
    found = {
        BY_KEY[key].name: _unpack_type(columns, BY_KEY[key], names, layout)
        for key, names in branches.objects.items()
    }
    jets = branches.objects.get("jets")
    if jets and btag and branches.btag:
        offsets, _ = columns.jagged(jets.pt)
        objects = found["Jets"]
        scores = unpack_scores(columns, offsets, btag, branches.btag)
        found["Jets"] = Objects(objects.offsets, objects.columns, {**objects.fields, B_TAG: scores})
    return found


def _unpack_type(
    columns: Columns, particle: Particle, names: ObjectColumns | None, layout: Layout
) -> Objects:
    if names is None:
        empty = np.zeros(0, dtype=np.float32)
        none = np.zeros(columns.per_event(None).shape[0] + 1, dtype=np.int64)
        return Objects(none, dict.fromkeys(KINEMATICS, empty))
    unit = ENERGY_UNITS[layout.energy_unit]
    offsets, stored_pt = columns.jagged(names.pt)
    pt = _in_gev(stored_pt, unit)
    eta, phi = (float32(columns.like(offsets, name)) for name in (names.eta, names.phi))
    if names.mass:
        mass = _in_gev(columns.like(offsets, names.mass), unit)
    elif names.energy:
        mass = mass_of_energy(_in_gev(columns.like(offsets, names.energy), unit), pt, eta)
    else:
        mass = np.full(len(pt), particle.mass_gev, dtype=np.float32)
    branches = layout.objects[particle.key]
    fields = {name: columns.like(offsets, branch) for name, branch in names.fields.items()}
    for name in fields.keys() & branches.masks.keys():
        fields[name] = fields[name] & branches.masks[name]
    if names.isolation and branches.isolation:
        isolation = float32(columns.like(offsets, names.isolation))
        if branches.isolation.kind == "absolute":
            with np.errstate(divide="ignore", invalid="ignore"):
                isolation = _in_gev(isolation, unit) / pt
        fields[RELATIVE_ISOLATION] = isolation
    objects = Objects(offsets, {"pt": pt, "eta": eta, "phi": phi, "mass": mass}, fields)
    if names.only and branches.only:
        return objects.keep(columns.like(offsets, names.only) == branches.only.equals)
    return objects


def _in_gev(values: Array, unit: float) -> Array:
    return float32(values) if unit == 1.0 else float32(values) / np.float32(unit)


def _refuse_unknown_flavours(
    columns: Columns, objects: Mapping[str, ObjectColumns | None], layout: Layout
) -> None:
    """Raise DataError if objects that several types share are none of these types'."""
    known: dict[str, set[int]] = {}
    for key, names in objects.items():
        only = layout.objects[key].only
        if names and names.only and only:
            known.setdefault(names.only, set()).add(only.equals)
    for branch, flavours in known.items():
        _, values = columns.jagged(branch)
        other = values[~np.isin(values, list(flavours))]
        what = " or ".join(str(flavour) for flavour in sorted(flavours))
        if len(other):
            msg = (
                f"{columns.where}: {branch}: expected {what}, found {other[0]}; such objects would "
                "be lost without a count, so the layout must name them"
            )
            raise DataError(msg)


def unpack_scores(
    columns: Columns, jets: Integers, btag: Discriminant, names: BTagColumns
) -> Array:
    """Return the b-tag discriminant of each jet, shape (n_jets,); nan where it is not computed.

    Raises:
        DataError: it does not fit the jets, which lie in events by the offsets `jets`.
    """
    offsets, first = columns.jagged(names.stored[0])
    if btag.log_ratio:
        b, charm, light = (columns.like(offsets, branch) for branch in names.stored)
        scores = log_ratio(b, charm, light, btag.log_ratio.charm_fraction)
    else:
        scores = without_sentinels(first, btag.sentinels)
    if names.link is None:
        columns.must_fit(f"Jets and {names.stored[0]}", np.array_equal(jets, offsets))
        return scores
    position = columns.like(jets, names.link)
    columns.must_fit(names.link, links_fit(position, jets, offsets))
    return linked(scores, offsets, position, jets)

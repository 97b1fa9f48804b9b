"""Events in ROOT files: input of any layout -> Events in GeV; selected events <-> parsed_data."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from schemas.errors import DataError, StorageError, TransferError
from schemas.inputs import Sample
from schemas.particles import BY_KEY, BY_LETTER, PARTICLES, MassSource, Particle
from schemas.releases import ENERGY_UNITS, Layout, Names
from services.calculations.objects import (
    KINEMATICS,
    Array,
    Events,
    Integers,
    Objects,
    offsets_of,
)

log = logging.getLogger(__name__)

PARSED_TREE = "events"
# Decompressing costs a third of zlib's time and the files are hardly larger.
_COMPRESSION = uproot.LZ4(1)
_IDENTITY = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}
# What a mounted remote file system answers when its network fails.
_PASSING_ERRORS = frozenset({errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EAGAIN, errno.ENXIO})


@contextmanager
def _data_errors(url: str, *, is_remote: bool = False) -> Iterator[None]:
    """Turn whatever a broken file makes the reading library raise into a DataError.

    The library parses untrusted bytes, and damage at an unlucky place has been seen to raise
    TypeError, IndexError, struct.error, decompression errors and others: hence every Exception.
    Of a remote file the damage may have happened on the way, so another try may succeed.
    """
    try:
        yield
    except (DataError, StorageError):
        raise
    except FileNotFoundError as error:
        msg = f"{url}: there is no such file; correct the path under local_files"
        raise DataError(msg) from error
    except Exception as error:
        log.debug("%s: the reading library failed", url, exc_info=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = (
            f"{url}: expected a readable ROOT file, found damage or another format "
            f"({type(error).__name__}: {reason}); replace the file or leave it out"
        )
        is_passing = is_remote or getattr(error, "errno", None) in _PASSING_ERRORS
        raise (TransferError if is_passing else DataError)(msg) from error


@dataclass(frozen=True)
class _ObjectColumns:
    """The branches that hold one type in a file; mass is None where the table's is used."""

    pt: str
    eta: str
    phi: str
    mass: str | None

    def names(self) -> list[str]:
        return [name for name in (self.pt, self.eta, self.phi, self.mass) if name]


class EventFile:
    """An open file of events: knows its tree, its branches and its sample."""

    def __init__(
        self,
        url: str,
        tree: Any,
        layout: Layout,
        needed: Collection[str],
        *,
        is_remote: bool = False,
    ) -> None:
        self._url = url
        self._is_remote = is_remote
        self._tree = tree
        self._unit = ENERGY_UNITS[layout.energy_unit]
        self._keys = frozenset(tree.keys())
        identity = layout.event_id
        self._identity: dict[str, str | None] = {
            "run": self._required(identity.run, "the run number"),
            "lumi": self._first(identity.lumi) if identity.lumi else None,
            "event": self._required(identity.event, "the event number"),
        }
        self._objects = {key: self._columns(BY_KEY[key], layout, needed) for key in layout.objects}
        self.n_events = int(tree.num_entries)
        is_simulation = self._first(layout.simulation.has_branch) is not None
        self.sample = Sample.SIMULATION if is_simulation else Sample.DATA

    def _first(self, names: Names) -> str | None:
        return next((name for name in names if name in self._keys), None)

    def _required(self, names: Names, what: str) -> str:
        name = self._first(names)
        if name is None:
            msg = (
                f"{self._url}: expected the branch {' or '.join(names)} ({what}) in the tree "
                f"{self._tree.name}, found none; is this the right data layout?"
            )
            raise DataError(msg)
        return name

    def _columns(
        self, particle: Particle, layout: Layout, needed: Collection[str]
    ) -> _ObjectColumns | None:
        branches = layout.objects[particle.key]
        if particle.name not in needed and not any(
            self._first(names) for names in (branches.pt, branches.eta, branches.phi)
        ):
            return None
        found = {
            quantity: self._required(getattr(branches, quantity), f"{quantity} of {particle.name}")
            for quantity in ("pt", "eta", "phi")
        }
        mass = None
        if particle.mass_source is MassSource.STORED and branches.mass:
            mass = self._required(branches.mass, f"mass of {particle.name}")
        return _ObjectColumns(**found, mass=mass)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know about this file's content."""
        notes = [
            f"{BY_KEY[key].name}: not in the file, counted as 0"
            for key, columns in self._objects.items()
            if columns is None
        ]
        notes += [
            f"{BY_KEY[key].name}: no mass stored, {BY_KEY[key].mass_gev} GeV used"
            for key, columns in self._objects.items()
            if columns and not columns.mass and BY_KEY[key].mass_source is MassSource.STORED
        ]
        return tuple(notes)

    @property
    def _branches(self) -> list[str]:
        names = [name for name in self._identity.values() if name]
        return names + [name for c in self._objects.values() if c for name in c.names()]

    def events_within(self, n_bytes: int) -> int:
        """Return how many events, at least 1, take about so many bytes of memory."""
        return _events_within(self._tree, self._branches, n_bytes)

    def ranges(self, n_bytes: int, start: int = 0) -> Iterator[tuple[int, int]]:
        """Yield ranges of events from `start` to the end that take about so many bytes of memory.

        They end where baskets end, unless that would leave far fewer events.
        """
        step = self.events_within(n_bytes)
        with _data_errors(self._url, is_remote=self._is_remote):
            ends, n_branches = _basket_ends(self._tree, self._branches)
        while start < self.n_events:
            stop = min(start + step, self.n_events)
            if stop < self.n_events:
                first, last = np.searchsorted(ends, [start + 1 + step // _FEWEST, stop + 1])
                if first < last:
                    # Where most branches end a basket, the last such place.
                    best = n_branches[first:last][::-1]
                    stop = int(ends[last - 1 - np.argmax(best)])
            yield start, stop
            start = stop

    def read(self, start: int, stop: int) -> Events:
        """Return the events `start .. stop - 1` with energies in GeV.

        Raises:
            DataError: the range cannot be read, or its branches do not fit together.
        """
        with _data_errors(self._url, is_remote=self._is_remote):
            columns = self._tree.arrays(
                self._branches, entry_start=start, entry_stop=stop, library="ak"
            )
            n_events = stop - start
            identity = {
                name: self._per_event(columns, branch, dtype, n_events)
                for (name, dtype), branch in zip(
                    _IDENTITY.items(), self._identity.values(), strict=True
                )
            }
            objects = {
                BY_KEY[key].name: self._of_type(columns, BY_KEY[key], names, n_events)
                for key, names in self._objects.items()
            }
        return Events(**identity, objects=objects)

    def _per_event(
        self,
        columns: ak.Array,
        branch: str | None,
        dtype: Any,
        n_events: int,
    ) -> Array:
        if branch is None:
            return np.zeros(n_events, dtype=dtype)
        values = np.asarray(ak.to_numpy(columns[branch])).astype(dtype)
        self._check_shape(branch, values.shape == (n_events,))
        return values

    def _of_type(
        self, columns: ak.Array, particle: Particle, names: _ObjectColumns | None, n_events: int
    ) -> Objects:
        if names is None:
            empty = np.zeros(0, dtype=np.float32)
            return Objects(np.zeros(n_events + 1, dtype=np.int64), dict.fromkeys(KINEMATICS, empty))
        offsets, pt = _flat(columns[names.pt])
        self._check_shape(names.pt, len(offsets) == n_events + 1)
        flat = {"pt": pt}
        for quantity, name in (("eta", names.eta), ("phi", names.phi), ("mass", names.mass)):
            if name:
                others, flat[quantity] = _flat(columns[name])
                self._check_shape(f"{names.pt} and {name}", np.array_equal(offsets, others))
        if not names.mass:
            flat["mass"] = np.full(len(pt), particle.mass_gev, dtype=np.float32)
        elif self._unit != 1.0:
            flat["mass"] = flat["mass"] / np.float32(self._unit)
        if self._unit != 1.0:
            flat["pt"] = flat["pt"] / np.float32(self._unit)
        return Objects(offsets, flat)

    def _check_shape(self, what: str, fits: object) -> None:
        if not fits:
            msg = (
                f"{self._url}: {what}: the numbers of objects or events differ; the file is damaged"
            )
            raise DataError(msg)


# What an event takes at least, in bytes per branch: some files understate their sizes.
_SMALLEST_VALUE = 4


def _events_within(tree: Any, branches: Collection[str], n_bytes: int) -> int:
    """Return how many events, at least 1, of these branches take about so many bytes of memory."""
    if not tree.num_entries:
        return 1
    stored = sum(int(tree[name].member("fTotBytes")) for name in branches)
    per_event = max(stored / tree.num_entries, _SMALLEST_VALUE * len(branches))
    return max(1, int(n_bytes / per_event))


# A range is cut short by at most this, to one part in so many, to end where a basket does.
_FEWEST = 8


def _basket_ends(tree: Any, branches: Collection[str]) -> tuple[Integers, Integers]:
    """Return where baskets or clusters end, in events, sorted, and of how many branches each."""
    offsets = [getattr(tree[name], "entry_offsets", ()) for name in branches]
    ends, counts = np.unique(
        np.array([end for of in offsets for end in of[1:]], dtype=np.int64), return_counts=True
    )
    return ends, counts


def _flat(jagged: ak.Array) -> tuple[Integers, Array]:
    """Return offsets from 0, shape (n_events + 1,), and values as float32, shape (n_objects,)."""
    layout = ak.to_layout(jagged)
    if not layout.is_list:
        msg = "a branch of objects holds one value per event"
        raise TypeError(msg)
    layout = layout.to_ListOffsetArray64(True)  # noqa: FBT003 - awkward's signature
    offsets = np.asarray(layout.offsets.data)
    values = np.asarray(layout.content.data)[: offsets[-1]]
    return offsets, values.astype(np.float32, copy=False)


@contextmanager
def open_events(
    url: str,
    layout: Layout,
    more_trees: Collection[str],
    needed: Collection[str],
    opener: Callable[[], Any] | None = None,
) -> Iterator[EventFile]:
    """Open a file of a layout; trees named in `more_trees` are tried before the layout's own.

    A type of `needed` must be there; other types may be absent. A file that is not on this machine
    is opened by `opener`.

    Raises:
        DataError: not ROOT, no such tree, a required branch is missing; TransferError if the file
            could not be had, but another try may succeed.
    """
    is_remote = opener is not None
    with _data_errors(url, is_remote=is_remote):
        file = opener() if opener else uproot.open(url)
    with file:
        with _data_errors(url, is_remote=is_remote):
            there = {name.partition(";")[0] for name in file.keys(recursive=False)}
            wanted = [*more_trees, *layout.trees]
            tree_name = next((name for name in wanted if name in there), None)
            if tree_name is None:
                msg = (
                    f"{url}: expected a tree named {' or '.join(wanted)}, found "
                    f"{', '.join(sorted(there)) or 'an empty file'}; is this the right data layout?"
                )
                raise DataError(msg)
            events = EventFile(url, file[tree_name], layout, needed, is_remote=is_remote)
        yield events


def _record(objects: Objects) -> ak.Array:
    content = ak.contents.RecordArray(
        [ak.contents.NumpyArray(np.ascontiguousarray(objects.columns[q])) for q in KINEMATICS],
        list(KINEMATICS),
        length=objects.n_objects,
    )
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(objects.offsets), content))


class ParsedWriter:
    """Writes selected events, range by range, to one file of parsed_data."""

    def __init__(self, path: Path) -> None:
        self._file = uproot.recreate(path, compression=_COMPRESSION)
        record = "var * {" + ", ".join(f"{name}: float32" for name in KINEMATICS) + "}"
        types: dict[str, Any] = dict(_IDENTITY)
        types |= {particle.name: record for particle in PARTICLES}
        self._tree = self._file.mktree(PARSED_TREE, types)

    def write(self, events: Events) -> None:
        """Append events; types that they do not have are empty."""
        none = Objects(
            np.zeros(len(events) + 1, dtype=np.int64),
            dict.fromkeys(KINEMATICS, np.zeros(0, dtype=np.float32)),
        )
        columns: dict[str, Any] = {name: getattr(events, name) for name in _IDENTITY}
        for particle in PARTICLES:
            columns[particle.name] = _record(events.objects.get(particle.name, none))
        self._tree.extend(columns)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


@contextmanager
def parsed_writer(path: Path) -> Iterator[ParsedWriter]:
    """Open a new file of parsed_data: tree `events`, n{Type}, {Type}_pt/eta/phi/mass in GeV."""
    writer = ParsedWriter(path)
    try:
        yield writer
    finally:
        writer.close()


def read_parsed(
    path: Path, types: Collection[str], only_counted: Collection[str], n_bytes: int
) -> Iterator[Mapping[str, Objects]]:
    """Yield the objects of a file of parsed_data, by letter, in ranges of about `n_bytes`.

    Types in `only_counted` come without columns.

    Raises:
        DataError: the file is missing, damaged, or not of parsed_data.
    """
    url = str(path)
    branches = [f"{name}_{quantity}" for name in types for quantity in KINEMATICS]
    counters = [f"n{name}" for name in only_counted]
    with _data_errors(url), uproot.open(url) as file:
        tree = file[PARSED_TREE]
        step = _events_within(tree, branches + counters, n_bytes)
        for start in range(0, tree.num_entries, step):
            stop = min(start + step, tree.num_entries)
            columns = tree.arrays(
                branches + counters, entry_start=start, entry_stop=stop, library="ak"
            )
            yield _parsed_objects(columns, types, only_counted)


def _parsed_objects(
    columns: ak.Array, types: Collection[str], only_counted: Collection[str]
) -> dict[str, Objects]:
    found = {}
    for letter, particle in BY_LETTER.items():
        if particle.name in types:
            offsets, _ = _flat(columns[f"{particle.name}_pt"])
            values = {q: _flat(columns[f"{particle.name}_{q}"])[1] for q in KINEMATICS}
            found[letter] = Objects(offsets, values)
        elif particle.name in only_counted:
            counts = ak.to_numpy(columns[f"n{particle.name}"])
            found[letter] = Objects(offsets_of(counts), {})
    return found

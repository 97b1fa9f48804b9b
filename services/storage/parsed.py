"""Selected events <-> files of parsed_data, as RNTuple or TTree of the name `events`.

Both hold run, lumi, event and per type its objects with pt, eta, phi and mass (GeV, radians). In a
TTree these are the branches n{Type}, {Type}_pt, ...; in an RNTuple the fields {Type}.pt, ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol

import awkward as ak
import numpy as np
import uproot

from schemas.particles import BY_LETTER, PARTICLES
from services.calculations.objects import KINEMATICS, Array, Events, Objects, offsets_of
from services.storage.events import data_errors, events_within_bytes
from services.storage.flat_columns import is_rntuple, read_columns
from services.storage.local_files import open_local
from services.storage.unpacking import float32

PARSED_TREE = "events"
ParsedFormat = Literal["rntuple", "ttree"]
# Decompressing costs a third of zlib's time and the files are hardly larger.
_COMPRESSION = uproot.LZ4(1)
_IDENTITY = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}


def writable_format(asked: ParsedFormat) -> ParsedFormat:
    """Return the format that the installed library can write."""
    return asked if asked == "ttree" or _writes_rntuples() else "ttree"


@cache
def _writes_rntuples() -> bool:
    """Whether an RNTuple that is written comes back; early versions of the library only try to."""
    one = Objects(np.array([0, 1]), dict.fromkeys(KINEMATICS, np.ones(1, dtype=np.float32)))
    # Whatever a version that was not finished raises, the answer is no.
    with suppress(Exception), TemporaryDirectory() as folder:
        path = Path(folder) / "trial.root"
        with uproot.recreate(path, compression=_COMPRESSION) as file:
            form = ak.forms.RecordForm([_record(one).layout.form], ["Jets"])
            file.mkrntuple(PARSED_TREE, form).extend({"Jets": _record(one)})
        with open_local(path) as file:
            written = _Clusters(file[PARSED_TREE], 0, 1).objects("Jets", is_counted=False)
            return bool(written.n_objects == written.columns["pt"].sum() == 1.0)
    return False


def _nothing(n_events: int) -> Objects:
    """Return events without an object of a type."""
    empty = np.zeros(0, dtype=np.float32)
    return Objects(np.zeros(n_events + 1, dtype=np.int64), dict.fromkeys(KINEMATICS, empty))


def _record(objects: Objects) -> ak.Array:
    content = ak.contents.RecordArray(
        [ak.contents.NumpyArray(np.ascontiguousarray(objects.columns[q])) for q in KINEMATICS],
        list(KINEMATICS),
        length=objects.n_objects,
    )
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(objects.offsets), content))


# What an RNTuple holds. Types would do, but the library writes them as text and reads that back,
# which takes as long as reading thousands of events.
_FORM = ak.forms.RecordForm(
    [
        *(ak.forms.from_dtype(np.dtype(kind)) for kind in _IDENTITY.values()),
        *([_record(_nothing(0)).layout.form] * len(PARTICLES)),
    ],
    [*_IDENTITY, *(particle.name for particle in PARTICLES)],
)


class ParsedWriter:
    """Writes selected events, range by range, to one file of parsed_data."""

    def __init__(self, path: Path, form: ParsedFormat) -> None:
        self._file = uproot.recreate(path, compression=_COMPRESSION)
        if form == "rntuple":
            self._tree = self._file.mkrntuple(PARSED_TREE, _FORM)
        else:
            types: dict[str, Any] = {name: np.dtype(kind) for name, kind in _IDENTITY.items()}
            types |= {particle.name: _record(_nothing(0)).type.content for particle in PARTICLES}
            self._tree = self._file.mktree(PARSED_TREE, types)

    def write(self, events: Events) -> None:
        """Append events; types that they do not have are empty."""
        none = _nothing(len(events))
        columns: dict[str, Any] = {name: getattr(events, name) for name in _IDENTITY}
        for particle in PARTICLES:
            columns[particle.name] = _record(events.objects.get(particle.name, none))
        self._tree.extend(columns)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


@contextmanager
def parsed_writer(path: Path, form: ParsedFormat) -> Iterator[ParsedWriter]:
    """Open a new file of parsed_data."""
    writer = ParsedWriter(path, form)
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
    with _reading(path) as tree:
        names = _stored(tree, types, only_counted)
        for stretch, edges in _stretches(tree, names, n_bytes):
            whole = {
                letter: stretch.objects(particle.name, is_counted=particle.name not in types)
                for letter, particle in BY_LETTER.items()
                if particle.name in types or particle.name in only_counted
            }
            for start, stop in pairwise(edges):
                yield {letter: objects.between(start, stop) for letter, objects in whole.items()}
            # Let go before the next stretch is read.
            del whole


def read_events(path: Path, types: Collection[str], n_bytes: int) -> Iterator[Events]:
    """Yield the events of a file of parsed_data with their identity, in ranges of about `n_bytes`.

    What was read is not kept by the library either, so memory is that of one range, or of what the
    file holds together.

    Raises:
        DataError: the file is missing, damaged, or not of parsed_data.
    """
    with _reading(path) as tree:
        names = [*_IDENTITY, *_stored(tree, types, ())]
        for stretch, edges in _stretches(tree, names, n_bytes):
            run, lumi, event = (stretch.values(name) for name in _IDENTITY)
            objects = {name: stretch.objects(name, is_counted=False) for name in types}
            for start, stop in pairwise(edges):
                of_range = {name: whole.between(start, stop) for name, whole in objects.items()}
                yield Events(run[start:stop], lumi[start:stop], event[start:stop], of_range)
                del of_range
            del run, lumi, event, objects


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    url = str(path)
    with data_errors(url), open_local(path) as file:
        yield file[PARSED_TREE]


def _stored(tree: Any, types: Collection[str], only_counted: Collection[str]) -> list[str]:
    """Return the branches or fields in which a file has these types."""
    if is_rntuple(tree):
        return [*types, *(f"{name}.{KINEMATICS[0]}" for name in only_counted)]
    of_types = [f"{name}_{quantity}" for name in types for quantity in KINEMATICS]
    return [*of_types, *(f"n{name}" for name in only_counted)]


class _Stretch(Protocol):
    """Events that a file holds together: a cluster, a basket of each branch, or some of them.

    Nothing that was read is kept.
    """

    def values(self, name: str) -> Array:
        """Return one value per event, shape (n_events,)."""

    def objects(self, name: str, *, is_counted: bool) -> Objects:
        """Return the objects of a type; without columns if they are only counted."""


def _stretches(
    tree: Any, names: Collection[str], n_bytes: int
) -> Iterator[tuple[_Stretch, list[int]]]:
    """Yield what a file holds together, and where ranges of about `n_bytes` begin and end in it.

    It is unpacked whole, whatever part of it is asked for; so it is read once, and divided then.
    """
    step = events_within_bytes(tree, names, n_bytes)
    ends = _ends(tree, names)
    starts = [0, *ends]
    for first, last in _joined(ends, step):
        start, n_events = starts[first], ends[last - 1] - starts[first]
        # Ranges of one size: a small rest would take nearly as many calls as a full range.
        n_ranges = max(1, -(-n_events // step))
        edges = [n_events * number // n_ranges for number in range(n_ranges + 1)]
        if is_rntuple(tree):
            yield _Clusters(tree, first, last), edges
        else:
            yield _Baskets(tree, start, start + n_events), edges


def _ends(tree: Any, names: Collection[str]) -> list[int]:
    """Return where the clusters of an RNTuple, or the baskets of a TTree, end, in events."""
    if is_rntuple(tree):
        return [c.num_first_entry + c.num_entries for c in tree.ntuple.cluster_summaries]
    # All branches are written together.
    return list(tree[next(iter(names))].entry_offsets[1:])


def _joined(ends: Sequence[int], step: int) -> Iterator[tuple[int, int]]:
    """Yield which stretches `first .. last - 1` to read together: as many as `step` events allow.

    `ends` are where stretches end, in events; one that is longer stands alone.
    """
    first = start = 0
    for number, end in enumerate(ends):
        if first < number and end - start > step:
            yield first, number
            first, start = number, ends[number - 1]
    if first < len(ends):
        yield first, len(ends)


class _Clusters:
    """Clusters `first .. last - 1` of an RNTuple.

    They are read column by column: asked for events, the library unpacks one cluster too many, and
    it takes a fifth longer.
    """

    def __init__(self, tree: Any, first: int, last: int) -> None:
        self._tree = tree
        self._range = (first, last)
        records = tree.ntuple.column_records
        self._columns = {record.field_id: number for number, record in enumerate(records)}

    def values(self, name: str) -> Array:
        # Those of a type are its offsets.
        column = self._columns[self._tree[name].field_id]
        return np.asarray(self._tree.ntuple.read_cluster_range(column, *self._range))

    def objects(self, name: str, *, is_counted: bool) -> Objects:
        quantities = () if is_counted else KINEMATICS
        columns = {quantity: float32(self.values(f"{name}.{quantity}")) for quantity in quantities}
        return Objects(self.values(name), columns)


class _Baskets:
    """Events `start .. stop - 1` of a TTree."""

    def __init__(self, tree: Any, start: int, stop: int) -> None:
        self._tree = tree
        self._events = (start, stop)

    def values(self, name: str) -> Array:
        return np.asarray(read_columns(self._tree, [name], *self._events)[name])

    def objects(self, name: str, *, is_counted: bool) -> Objects:
        if is_counted:
            return Objects(offsets_of(self.values(f"n{name}")), {})
        branches = {quantity: f"{name}_{quantity}" for quantity in KINEMATICS}
        found = read_columns(self._tree, branches.values(), *self._events)
        columns = {quantity: float32(found[b].values) for quantity, b in branches.items()}
        return Objects(found[branches[KINEMATICS[0]]].offsets, columns)

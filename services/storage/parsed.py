"""Selected events <-> files of parsed_data, as RNTuple or TTree of the name `events`.

Both hold run, lumi, event and per type its objects with pt, eta, phi and mass (GeV, radians). In a
TTree these are the branches n{Type}, {Type}_pt, ...; in an RNTuple the fields {Type}.pt, ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import awkward as ak
import numpy as np
import uproot

from schemas.particles import BY_LETTER, PARTICLES
from services.calculations.objects import KINEMATICS, Events, Objects, offsets_of
from services.storage.events import data_errors, events_within_bytes
from services.storage.unpacking import flat, float32

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
        with uproot.open(path) as file:
            return bool(file[PARSED_TREE].arrays(["Jets"])["Jets"].to_list()[0][0]["pt"] == 1.0)
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
    url = str(path)
    with data_errors(url), uproot.open(url, array_cache=None) as file:
        tree = file[PARSED_TREE]
        is_rntuple = tree.classname == "ROOT::RNTuple"
        if is_rntuple:
            names = [*types, *(f"{name}.{KINEMATICS[0]}" for name in only_counted)]
        else:
            names = [f"{name}_{quantity}" for name in types for quantity in KINEMATICS]
            names += [f"n{name}" for name in only_counted]
        step = events_within_bytes(tree, names, n_bytes)
        for start in range(0, tree.num_entries, step):
            stop = min(start + step, tree.num_entries)
            columns = tree.arrays(names, entry_start=start, entry_stop=stop, library="ak")
            read = _from_records if is_rntuple else _from_branches
            yield {
                letter: read(columns, particle.name, is_counted=particle.name not in types)
                for letter, particle in BY_LETTER.items()
                if particle.name in types or particle.name in only_counted
            }


def read_events(path: Path, types: Collection[str], n_bytes: int) -> Iterator[Events]:
    """Yield the events of a file of parsed_data with their identity, in ranges of about `n_bytes`.

    What was read is not kept by the library either, so memory is that of one range.

    Raises:
        DataError: the file is missing, damaged, or not of parsed_data.
    """
    url = str(path)
    with data_errors(url), uproot.open(url, array_cache=None) as file:
        tree = file[PARSED_TREE]
        is_rntuple = tree.classname == "ROOT::RNTuple"
        of_types = types if is_rntuple else [f"{name}_{q}" for name in types for q in KINEMATICS]
        names = [*_IDENTITY, *of_types]
        read = _from_records if is_rntuple else _from_branches
        step = events_within_bytes(tree, names, n_bytes)
        for start in range(0, tree.num_entries, step):
            stop = min(start + step, tree.num_entries)
            columns = tree.arrays(names, entry_start=start, entry_stop=stop, library="ak")
            yield Events(
                **{name: ak.to_numpy(columns[name]) for name in _IDENTITY},
                objects={name: read(columns, name, is_counted=False) for name in types},
            )


def _from_records(columns: ak.Array, name: str, *, is_counted: bool) -> Objects:
    layout = ak.to_layout(columns[name]).to_ListOffsetArray64(True)  # noqa: FBT003 - awkward's signature
    offsets = np.asarray(layout.offsets.data)
    if is_counted:
        return Objects(offsets, {})
    content = layout.content[: offsets[-1]]
    values = {q: float32(np.asarray(content.content(q).data)) for q in KINEMATICS}
    return Objects(offsets, values)


def _from_branches(columns: ak.Array, name: str, *, is_counted: bool) -> Objects:
    if is_counted:
        return Objects(offsets_of(ak.to_numpy(columns[f"n{name}"])), {})
    offsets, _ = flat(columns[f"{name}_pt"])
    return Objects(offsets, {q: float32(flat(columns[f"{name}_{q}"])[1]) for q in KINEMATICS})

"""Events in ROOT files: input of any layout -> Events in GeV; selected events <-> parsed_data."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from schemas.errors import DataError, StorageError
from schemas.particles import BY_LETTER, PARTICLES
from schemas.releases import Discriminant, Layout
from services.calculations.btagging import is_computed
from services.calculations.objects import B_TAG, KINEMATICS, Events, Objects, offsets_of
from services.storage.branches import NO_EXTRAS, Extras, FileBranches
from services.storage.unpacking import Columns, flat, float32, unpack_objects, unpack_scores

log = logging.getLogger(__name__)

PARSED_TREE = "events"
# Decompressing costs a third of zlib's time and the files are hardly larger.
_COMPRESSION = uproot.LZ4(1)
_IDENTITY = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}


@contextmanager
def _data_errors(url: str) -> Iterator[None]:
    """Turn whatever a broken file makes the reading library raise into a DataError.

    The library parses untrusted bytes, and damage at an unlucky place has been seen to raise
    TypeError, IndexError, struct.error, decompression errors and others: hence every Exception.
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
        raise DataError(msg) from error


class EventFile:
    """An open file of events: knows its tree, its branches and its sample."""

    def __init__(
        self,
        url: str,
        tree: Any,
        layout: Layout,
        needed: Collection[str],
        extras: Extras = NO_EXTRAS,
    ) -> None:
        self._url = url
        self._tree = tree
        self._layout = layout
        self._btag = extras.btag
        self._is_tagged = False
        there = frozenset(tree.keys())
        self._found = FileBranches(f"{url}, tree {tree.name}", there, layout, needed, extras)
        self._branches = self._found.names
        self.n_events = int(tree.num_entries)
        self.sample = layout.sample_of(there)
        """Collision data or simulation; None where branches do not tell."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know about this file's content."""
        return self._found.notes

    def events_within(self, n_bytes: int) -> int:
        """Return how many events, at least 1, take about so many bytes of memory."""
        return _events_within(self._tree, self._branches, n_bytes)

    def read(self, start: int, stop: int) -> Events:
        """Return the events `start .. stop - 1` with energies in GeV.

        Raises:
            DataError: the range cannot be read, or its branches do not fit together.
        """
        with _data_errors(self._url):
            columns = self._fetch(self._branches, start, stop)
            identity = {
                name: columns.per_event(self._found.identity[name]).astype(dtype)
                for name, dtype in _IDENTITY.items()
            }
            triggers = {
                name: columns.per_event(branch) != 0
                for name, branch in self._found.triggers.items()
            }
            objects = unpack_objects(columns, self._found, self._layout, self._btag)
            if self._btag and not self._is_tagged:
                self._refuse_untagged(objects["Jets"], self._btag, stop)
        return Events(**identity, objects=objects, triggers=triggers)

    def _fetch(self, branches: Collection[str], start: int, stop: int) -> Columns:
        arrays = self._tree.arrays(list(branches), entry_start=start, entry_stop=stop, library="ak")
        return Columns(self._url, stop - start, arrays)

    def _refuse_untagged(self, jets: Objects, btag: Discriminant, stop: int) -> None:
        """Raise DataError if no jet of the file has a b-tag discriminant.

        Normally the first range shows one. If not, the rest of the file is searched at once:
        events that were never tagged must not be taken for events without b-jets.
        """
        names, jet_names = self._found.btag, self._found.objects["jets"]
        if not jets.n_objects or names is None or jet_names is None:
            return
        self._is_tagged = bool(is_computed(jets.fields[B_TAG]).any())
        while not self._is_tagged and stop < self.n_events:
            start, stop = stop, min(stop + _SEARCH_STEP, self.n_events)
            columns = self._fetch([jet_names.pt, *names.names], start, stop)
            offsets, _ = columns.jagged(jet_names.pt)
            scores = unpack_scores(columns, offsets, btag, names)
            self._is_tagged = bool(is_computed(scores).any())
        if not self._is_tagged:
            msg = (
                f"{self._url}: Jets: no value of {' and '.join(names.stored)} was computed by a "
                "tagger, so there would be no b-jets at all; choose another jet_btag_field, or "
                "set enable_jet_tagging: false"
            )
            raise DataError(msg)


# How many events are searched at once for a b-tag discriminant.
_SEARCH_STEP = 100_000

# What an event takes at least, in bytes per branch: some files understate their sizes.
_SMALLEST_VALUE = 4


def _events_within(tree: Any, branches: Collection[str], n_bytes: int) -> int:
    """Return how many events, at least 1, of these branches take about so many bytes of memory."""
    if not tree.num_entries:
        return 1
    stored = _uncompressed_bytes(tree, branches)
    per_event = max(stored / tree.num_entries, _SMALLEST_VALUE * len(branches))
    return max(1, int(n_bytes / per_event))


def _uncompressed_bytes(tree: Any, branches: Collection[str]) -> int:
    """Return what these branches, or fields of an RNTuple, take when unpacked."""
    if tree.classname != "ROOT::RNTuple":
        return sum(int(tree[name].member("fTotBytes")) for name in branches)
    ntuple = tree.ntuple
    parent = [record.parent_field_id for record in ntuple.field_records]
    wanted = {tree[name].field_id for name in branches}

    def is_wanted(number: int) -> bool:
        while number not in wanted and parent[number] != number:
            number = parent[number]
        return number in wanted

    bits = 0
    for column, record in enumerate(ntuple.column_records):
        if is_wanted(record.field_id):
            pages = (page for cluster in ntuple.page_link_list for page in cluster[column].pages)
            bits += record.nbits * sum(page.num_elements for page in pages)
    return bits // 8


@contextmanager
def open_events(
    url: str,
    layout: Layout,
    more_trees: Collection[str],
    needed: Collection[str],
    extras: Extras = NO_EXTRAS,
) -> Iterator[EventFile]:
    """Open a file of a layout; trees named in `more_trees` are tried before the layout's own.

    A type of `needed` must be there, and whatever `extras` names; other types may be absent.

    Raises:
        DataError: not ROOT, no such tree, a required branch is missing.
    """
    with _data_errors(url):
        file = uproot.open(url)
    with file:
        with _data_errors(url):
            there = {name.partition(";")[0] for name in file.keys(recursive=False)}
            wanted = [*more_trees, *layout.trees]
            tree_name = next((name for name in wanted if name in there), None)
            if tree_name is None:
                msg = (
                    f"{url}: expected a tree named {' or '.join(wanted)}, found "
                    f"{', '.join(sorted(there)) or 'an empty file'}; is this the right data layout?"
                )
                raise DataError(msg)
            events = EventFile(url, file[tree_name], layout, needed, extras)
        yield events


@dataclass(frozen=True)
class TreeContent:
    """What a tree of a file is."""

    kind: str
    n_events: int
    branches: tuple[str, ...]


def list_trees(url: str) -> dict[str, TreeContent]:
    """Return the trees and RNTuples of a file by name.

    Raises:
        DataError: the file cannot be read.
    """
    with _data_errors(url), uproot.open(url) as file:
        classes = file.classnames(recursive=False)
        names = [name for name, kind in classes.items() if kind in _TREE_CLASSES]
        found = {name.partition(";")[0]: file[name] for name in reversed(names)}
        return {
            name: TreeContent(
                _TREE_CLASSES[tree.classname], int(tree.num_entries), tuple(tree.keys())
            )
            for name, tree in sorted(found.items())
        }


_TREE_CLASSES = {"TTree": "TTree", "ROOT::RNTuple": "RNTuple"}


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


class ParsedWriter:
    """Writes selected events, range by range, to one file of parsed_data."""

    def __init__(self, path: Path) -> None:
        self._file = uproot.recreate(path, compression=_COMPRESSION)
        types: dict[str, Any] = dict(_IDENTITY)
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
            offsets, _ = flat(columns[f"{particle.name}_pt"])
            values = {q: float32(flat(columns[f"{particle.name}_{q}"])[1]) for q in KINEMATICS}
            found[letter] = Objects(offsets, values)
        elif particle.name in only_counted:
            counts = ak.to_numpy(columns[f"n{particle.name}"])
            found[letter] = Objects(offsets_of(counts), {})
    return found

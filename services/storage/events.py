"""Events in ROOT files: input of any layout -> Events in GeV."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.errors import DataError, StorageError, TransferError
from schemas.releases import Discriminant, Layout
from services.calculations.btagging import is_computed
from services.calculations.objects import B_TAG, Events, Integers, Objects
from services.storage.branches import NO_EXTRAS, Extras, FileBranches
from services.storage.decompression import fast_zlib
from services.storage.flat_columns import is_rntuple, read_columns
from services.storage.local_files import open_local
from services.storage.unpacking import Columns, unpack_objects, unpack_scores

log = logging.getLogger(__name__)

_IDENTITY = {"run": np.uint32, "lumi": np.uint32, "event": np.uint64}
# What a mounted remote file system answers when its network fails.
_PASSING_ERRORS = frozenset({errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EAGAIN, errno.ENXIO})


@contextmanager
def data_errors(url: str, *, is_remote: bool = False) -> Iterator[None]:
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
        msg = (
            f"{url}: there is no such file; put it back, or correct the path under local_files and "
            "begin a new run"
        )
        raise DataError(msg) from error
    except Exception as error:
        log.debug("%s: the reading library failed", url, exc_info=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = (
            f"{url}: expected a readable ROOT file, found damage or another format "
            f"({type(error).__name__}: {reason}); replace the file, or begin a run without it"
        )
        is_passing = is_remote or getattr(error, "errno", None) in _PASSING_ERRORS
        raise (TransferError if is_passing else DataError)(msg) from error


class EventFile:
    """An open file of events: knows its tree, its branches and its sample."""

    def __init__(
        self,
        url: str,
        tree: Any,
        layout: Layout,
        needed: Collection[str],
        extras: Extras = NO_EXTRAS,
        *,
        is_remote: bool = False,
    ) -> None:
        self._url = url
        self._is_remote = is_remote
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
        return events_within_bytes(self._tree, self._branches, n_bytes)

    def ranges(self, n_bytes: int, start: int = 0) -> Iterator[tuple[int, int]]:
        """Yield ranges of events from `start` to the end that take about so many bytes of memory.

        They end where baskets end, unless that would leave far fewer events.
        """
        step = self.events_within(n_bytes)
        with data_errors(self._url, is_remote=self._is_remote):
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
        with data_errors(self._url, is_remote=self._is_remote):
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
        return Columns(self._url, stop - start, read_columns(self._tree, branches, start, stop))

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


def events_within_bytes(tree: Any, branches: Collection[str], n_bytes: int) -> int:
    """Return how many events, at least 1, of these branches take about so many bytes of memory."""
    if not tree.num_entries:
        return 1
    stored = _uncompressed_bytes(tree, branches)
    per_event = max(stored / tree.num_entries, _SMALLEST_VALUE * len(branches))
    return max(1, int(n_bytes / per_event))


def _uncompressed_bytes(tree: Any, branches: Collection[str]) -> int:
    """Return what these branches, or fields of an RNTuple, take when unpacked."""
    if not is_rntuple(tree):
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


# A range is cut short by at most this, to one part in so many, to end where a basket does.
_FEWEST = 8


def _basket_ends(tree: Any, branches: Collection[str]) -> tuple[Integers, Integers]:
    """Return where baskets or clusters end, in events, sorted, and of how many branches each."""
    offsets = [getattr(tree[name], "entry_offsets", ()) for name in branches]
    ends, counts = np.unique(
        np.array([end for of in offsets for end in of[1:]], dtype=np.int64), return_counts=True
    )
    return ends, counts


@contextmanager
def open_events(
    url: str,
    layout: Layout,
    more_trees: Collection[str],
    needed: Collection[str],
    extras: Extras = NO_EXTRAS,
    opener: Callable[[], Any] | None = None,
) -> Iterator[EventFile]:
    """Open a file of a layout; trees named in `more_trees` are tried before the layout's own.

    A type of `needed` must be there, and whatever `extras` names; other types may be absent. A
    file that is not on this machine is opened by `opener`.

    Raises:
        DataError: not ROOT, no such tree, a required branch is missing; TransferError if the file
            could not be had, but another try may succeed.
    """
    is_remote = opener is not None
    with data_errors(url, is_remote=is_remote):
        file = opener() if opener else open_local(url)
    with file, fast_zlib():
        with data_errors(url, is_remote=is_remote):
            there = {name.partition(";")[0] for name in file.keys(recursive=False)}
            wanted = [*more_trees, *layout.trees]
            tree_name = next((name for name in wanted if name in there), None)
            if tree_name is None:
                msg = (
                    f"{url}: expected a tree named {' or '.join(wanted)}, found "
                    f"{', '.join(sorted(there)) or 'an empty file'}; is this the right data "
                    "layout? --inspect FILE says which one fits"
                )
                raise DataError(msg)
            events = EventFile(url, file[tree_name], layout, needed, extras, is_remote=is_remote)
        yield events


@dataclass(frozen=True)
class TreeContent:
    """What a tree of a file is."""

    kind: str
    n_events: int
    branches: tuple[str, ...]


def list_trees(url: str, opener: Callable[[], Any] | None = None) -> dict[str, TreeContent]:
    """Return the trees and RNTuples of a file, opened by `opener` if it is remote, by name.

    Raises:
        DataError: the file cannot be read.
    """
    is_remote = opener is not None
    with data_errors(url, is_remote=is_remote), opener() if opener else open_local(url) as file:
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

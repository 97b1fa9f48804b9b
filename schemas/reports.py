"""What every stage writes about its work: in, out, lost and why. Reports must balance."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from itertools import zip_longest
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import DataError
from schemas.inputs import Sample

Counts = dict[str, int]

# The step that makes b-jets of jets.
B_TAG_STEP = "b-tagged"
# Masses are stored as float32.
_MASS_BYTES = 4


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _must_equal(where: str, what: str, left: int, right: int) -> None:
    if left != right:
        msg = f"{where}: the books do not balance: {what}: {left:,} against {right:,}"
        raise DataError(msg)


class FileStatus(StrEnum):
    """What became of an input file."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"


class FileOutcome(_Report):
    """One input file after reading."""

    url: str
    status: FileStatus
    events: int
    """Events read from it that count."""
    reason: str | None = None
    """Why it failed."""


class FileCounts(_Report):
    """What became of the files that were to be read."""

    planned: int = 0
    done: int = 0
    partial: int = 0
    """Read up to where they failed, as `keep_partial_files` allows."""
    failed: int = 0

    @classmethod
    def of(cls, planned: int, outcomes: Iterable[FileOutcome]) -> Self:
        """Return the counts of these outcomes."""
        found = Counter(outcome.status for outcome in outcomes)
        return cls(
            planned=planned,
            done=found[FileStatus.DONE],
            partial=found[FileStatus.PARTIAL],
            failed=found[FileStatus.FAILED],
        )

    def __add__(self, other: FileCounts) -> FileCounts:
        """Add the counts of other chunks or jobs."""
        return FileCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )

    def check(self, where: str) -> Self:
        """Return the counts themselves.

        Raises:
            DataError: a file is unaccounted for.
        """
        accounted = self.done + self.partial + self.failed
        _must_equal(where, "files planned and accounted for", self.planned, accounted)
        return self


class CutRow(_Report):
    """One step of the cut flow."""

    step: str
    """The cut, for example `pt_min`."""
    of: str
    """What is counted: `events`, or an object type."""
    before: int
    removed: int

    @property
    def after(self) -> int:
        """What the step left."""
        return self.before - self.removed

    def __add__(self, other: CutRow) -> CutRow:
        """Add the counts of the same step in another range or chunk."""
        return self.model_copy(
            update={"before": self.before + other.before, "removed": self.removed + other.removed}
        )


def add_cut_flows(flows: Iterable[Iterable[CutRow]]) -> tuple[CutRow, ...]:
    """Add cut flows row by row; rows of the same step and type are one row, order kept."""
    total: dict[tuple[str, str], CutRow] = {}
    for flow in flows:
        for row in flow:
            key = (row.step, row.of)
            total[key] = total[key] + row if key in total else row
    return tuple(total.values())


def check_cut_flow(where: str, flow: Iterable[CutRow], of: str, start: int, end: int) -> None:
    """Raise DataError unless the rows of one kind lead from `start` to `end` without a jump."""
    left = start
    for row in flow:
        if row.of == of:
            _must_equal(where, f"{of} before {row.step}", left, row.before)
            left = row.after
    _must_equal(where, f"{of} kept", left, end)


# Names become paths: from a damaged or foreign report none may lead elsewhere.
ChunkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
FileName = Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]


class Distribution(_Report):
    """How many values lie in each of the fixed bins of one quantity; nothing is lost."""

    bins: tuple[int, ...] = ()
    """Without the empty bins behind the last filled one."""
    below: int = 0
    above: int = 0
    not_a_number: int = 0

    @property
    def total(self) -> int:
        """All values."""
        return sum(self.bins) + self.below + self.above + self.not_a_number

    def __add__(self, other: Distribution) -> Distribution:
        """Add bin by bin."""
        return Distribution(
            bins=tuple(map(sum, zip_longest(self.bins, other.bins, fillvalue=0))),
            below=self.below + other.below,
            above=self.above + other.above,
            not_a_number=self.not_a_number + other.not_a_number,
        )


class ObjectDistributions(_Report):
    """What one object type looks like."""

    pt: Distribution = Distribution()
    """Objects, in bins of 5 GeV from 0 to 500 GeV."""
    eta: Distribution = Distribution()
    """Objects, in bins of 0.25 from -5 to 5."""
    multiplicity: Distribution = Distribution()
    """Events by their number of objects, from 0 to 19."""

    def __add__(self, other: ObjectDistributions) -> ObjectDistributions:
        """Add each quantity."""
        return ObjectDistributions(
            pt=self.pt + other.pt,
            eta=self.eta + other.eta,
            multiplicity=self.multiplicity + other.multiplicity,
        )


class Distributions(_Report):
    """What the objects look like, by type, before and after the selection."""

    before: dict[str, ObjectDistributions] = {}
    """All objects and events as they were read, before any cut on either, and before b-tagging."""
    after: dict[str, ObjectDistributions] = {}
    """Kept objects in kept events."""

    def __add__(self, other: Distributions) -> Distributions:
        """Add type by type."""
        return Distributions(
            before=_added(self.before, other.before), after=_added(self.after, other.after)
        )

    def check(self, where: str, events: tuple[int, int], objects: tuple[Counts, Counts]) -> None:
        """Raise DataError unless all events and objects, before and after, are counted once."""
        found = ("read", self.before), ("kept", self.after)
        for (word, types), n_events, n_objects in zip(found, events, objects, strict=True):
            for name, of_type in types.items():
                for what, expected, distribution in (
                    ("objects and their pt", n_objects.get(name, 0), of_type.pt),
                    ("objects and their eta", n_objects.get(name, 0), of_type.eta),
                    ("events and multiplicities", n_events, of_type.multiplicity),
                ):
                    _must_equal(where, f"{what}, {name} {word}", expected, distribution.total)


def _added(
    one: dict[str, ObjectDistributions], other: dict[str, ObjectDistributions]
) -> dict[str, ObjectDistributions]:
    none = ObjectDistributions()
    return {n: one.get(n, none) + other.get(n, none) for n in dict.fromkeys([*one, *other])}


class Output(_Report):
    """A file or folder that a stage made, so that later readers can check it."""

    name: FileName
    size: int
    """Bytes."""
    xxh128: str
    """XXH3 of the content, 128 bits long, as `xxh128sum` prints it; of a folder of arrays, of their
    names, lengths and digests. It tells damage and mistakes, not forgery."""


class ChunkReport(_Report):
    """What all reports of one chunk say."""

    chunk: ChunkName
    sample: Sample
    source: str
    inputs: str
    """Digest of what it was made of: the configuration that matters, and what was read."""
    seconds: float
    peak_memory_bytes: int
    bytes_in: int = 0
    """Size of what was read, where it is known."""
    output: Output

    @property
    def content(self) -> str:
        """Digest of what was made, for the stage that reads it."""
        return self.output.xxh128


class ParseReport(ChunkReport):
    """One chunk after parsing."""

    layout: str
    files: tuple[FileOutcome, ...]
    events_read: int
    events_kept: int
    cut_flow: tuple[CutRow, ...]
    objects_kept: dict[str, int]
    """Objects in kept events, by type."""
    populations: dict[str, int]
    """Events per exact multiplicity of all six types."""
    distributions: Distributions = Distributions()
    """pt, eta and multiplicity of the objects, before and after the selection."""
    notes: tuple[str, ...] = ()
    """What a reader should know, for example a type without a stored mass."""

    @property
    def content(self) -> str:
        """Digest of what was made: a ROOT file holds its time, so not that of its bytes."""
        outcomes = [f"{file.url} {file.status} {file.events}" for file in self.files]
        return hashlib.sha256("\n".join([self.inputs, *outcomes]).encode()).hexdigest()

    @property
    def is_complete(self) -> bool:
        """Whether every file was read to its end."""
        return all(file.status is FileStatus.DONE for file in self.files)

    def check(self, files_planned: int) -> Self:
        """Return the report itself, if all files that were to be read are accounted for.

        Raises:
            DataError: the books do not balance.
        """
        where = f"parsing of {self.chunk}"
        FileCounts.of(files_planned, self.files).check(where)
        from_files = sum(f.events for f in self.files if f.status is not FileStatus.FAILED)
        _must_equal(where, "events read and events of the files", self.events_read, from_files)
        check_cut_flow(where, self.cut_flow, "events", self.events_read, self.events_kept)
        _must_equal(
            where, "events kept and populations", self.events_kept, sum(self.populations.values())
        )
        starts = {row.of: row.before for row in reversed(self.cut_flow) if row.of != "events"}
        for name, start in starts.items():
            kept = self.objects_kept.get(name, 0)
            check_cut_flow(where, self.cut_flow, name, start, kept)
        tagged = sum(row.removed for row in self.cut_flow if row.step == B_TAG_STEP)
        _must_equal(where, "jets tagged and b-jets", tagged, starts.get("BJets", 0))
        events = (self.events_read, self.events_kept)
        self.distributions.check(where, events, (starts, self.objects_kept))
        return self


def _masses_in(output: Output) -> int:
    return output.size // _MASS_BYTES


class MassReport(ChunkReport):
    """One chunk after the mass calculation."""

    events_in: int
    """Events of the chunk."""
    events_below_minimum: int
    """Events of final states that are too rare in the whole run."""
    events_without_combination: int
    """Events of final states that have no combination."""
    events_used: int
    channels: int
    masses: int
    spectra: Output | None = None
    """The file of its spectra, which lies beside the arrays."""

    def check_channels(self, expected: Counts, found: Counts) -> Self:
        """Return the report itself, if every channel has as many masses as events.

        Raises:
            DataError: the books do not balance.
        """
        where = f"masses of {self.chunk}"
        parts = self.events_below_minimum + self.events_without_combination + self.events_used
        _must_equal(where, "events in and used", self.events_in, parts)
        for channel in sorted({*expected, *found}):
            what = f"events and masses of {channel}"
            _must_equal(where, what, expected.get(channel, 0), found.get(channel, 0))
        _must_equal(where, "masses and masses stored", self.masses, _masses_in(self.output))
        return self


class ClassCounts(_Report):
    """Masses per class; the classes exclude one another."""

    main: int = 0
    tail: int = 0
    """Beyond the first empty bin above the peak: outliers."""
    overflow: int = 0
    """At or above the end of the grid: outliers."""
    floor: int = 0
    """Below the upper edge of a known resonance: removed."""
    veto: int = 0
    """In the window of a known resonance: removed."""
    turn_on: int = 0
    """Below the peak: removed."""

    @property
    def outliers(self) -> int:
        """What is stored as outliers."""
        return self.tail + self.overflow

    @property
    def removed(self) -> int:
        """What is stored nowhere."""
        return self.floor + self.veto + self.turn_on

    @property
    def total(self) -> int:
        """All classes together."""
        return self.main + self.outliers + self.removed

    def check(self, where: str, masses_in: int) -> Self:
        """Return the counts themselves.

        Raises:
            DataError: a mass is in no class, or in two.
        """
        _must_equal(where, "masses in and out", masses_in, self.total)
        return self

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Add class by class."""
        return ClassCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )


class PostProcessingReport(ChunkReport):
    """One chunk after post-processing."""

    channels: int
    masses_in: int
    classes: ClassCounts

    def check(self, masses_made: int) -> Self:
        """Return the report itself, if all masses that the stage before made are in one class.

        Raises:
            DataError: the books do not balance.
        """
        where = f"post-processing of {self.chunk}"
        _must_equal(where, "masses made and read", masses_made, self.masses_in)
        self.classes.check(where, self.masses_in)
        kept = self.classes.main + self.classes.outliers
        _must_equal(where, "main and outliers, and masses stored", kept, _masses_in(self.output))
        return self


def check_classes(where: str, channel: str, planned: ClassCounts, found: ClassCounts) -> None:
    """Raise DataError unless each class of a channel has the masses that its spectrum promises."""
    if planned != found:
        for name in ClassCounts.model_fields:
            what = f"{name} of {channel}, by spectrum and by mass"
            _must_equal(where, what, getattr(planned, name), getattr(found, name))


class HistogramReport(_Report):
    """The histograms of one sample."""

    sample: Sample
    channels: int
    histograms: int
    """Histograms of main masses, over all channels and bin widths."""
    roi_copies: int = 0
    """How many of them were written a second time for BumpNet."""
    rejected: dict[str, str] = {}
    """Why the others were not, by name."""
    unprocessed: int = 0
    """Histograms of all masses of a channel."""
    rounded: int = 0
    """Histograms with a bin too full for the ROOT class to hold it exactly."""
    masses_in: int
    """Masses read, over all channels."""
    entries: dict[str, int]
    """Entries filled, per bin width; every width holds every mass once."""
    overflow: int
    """Masses counted but not filled: at or above the end of the grid."""
    bytes_in: int = 0
    """Size of what was read: the chunks, and the plan where it was not read before."""
    outputs: tuple[Output, ...]
    """One file, or one per final state."""

    def check(self, masses_planned: int) -> Self:
        """Return the report itself, if every planned mass is filled once per bin width.

        Raises:
            DataError: the books do not balance.
        """
        where = f"histograms of {self.sample}"
        _must_equal(where, "masses planned and read", masses_planned, self.masses_in)
        for width, entries in self.entries.items():
            where = f"histograms of {self.sample}, bin width {width}"
            _must_equal(where, "masses in and filled", self.masses_in, entries + self.overflow)
        return self


class SliceReport(_Report):
    """A stage that a slice has completed: its chunks and the sums over them."""

    stage: str
    slice_index: int
    slice_total: int
    chunks: tuple[ChunkName, ...]
    inputs: str
    """Digest of what the stage was made of, the same for all slices of a run."""
    content: str
    """Digest of what this slice made, for the stage that reads it."""
    kept: int = 0
    """How many of its chunks had been made before and were kept."""
    seconds: float
    peak_memory_bytes: int
    samples: tuple[Sample, ...] = ()
    """The samples that its chunks belong to."""
    taken: Counts
    """What went in, by unit, for example {"files": 8, "events": 200000}."""
    made: Counts
    """What came out."""
    lost: Counts
    """What went in and did not come out."""
    decided: Counts = {}
    """What was decided for the whole run: the same in every slice, so never added up."""
    bytes_in: int = 0
    """Size of what was read, where it is known."""
    bytes_out: int = 0
    """Size of what was made."""
    outputs: tuple[Output, ...] = ()
    """Files that hold something of all its chunks together, such as the plan."""
    files: FileCounts = FileCounts()
    """After parsing: what became of the input files."""
    failures: tuple[str, ...] = ()
    """After parsing: why files failed, one sentence each."""
    populations: dict[Sample, dict[str, int]] = {}
    """After parsing: events per exact multiplicity of all six types."""
    cut_flows: dict[str, tuple[CutRow, ...]] = {}
    """After parsing: the cut flow per source and sample."""
    distributions: dict[str, Distributions] = {}
    """After parsing: what the objects look like, per source and sample."""
    classes: ClassCounts = ClassCounts()
    """After post-processing: the masses of each class."""
    histograms: tuple[HistogramReport, ...] = ()
    """After histogram creation."""
    notes: tuple[str, ...] = ()

"""Input files -> parsed_data/: selected events in GeV, one ROOT file and one report per chunk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from schemas.config import Config, Parsing, digest
from schemas.errors import DataError, TransferError
from schemas.inputs import Chunk, InputFile, Slice
from schemas.releases import load_layout
from schemas.reports import (
    CutRow,
    Distributions,
    FileCounts,
    FileOutcome,
    FileStatus,
    Output,
    ParseReport,
    SliceReport,
    add_cut_flows,
)
from services.barriers import judge_parsing, parsing_digest
from services.calculations.chunking import deal
from services.calculations.distributions import DistributionSum
from services.calculations.objects import Events, add_counts, add_to, concatenate, populations
from services.calculations.selection import select
from services.chunks import ChunkStage, ChunkTask, digest_of, make_or_keep, summed_up
from services.closing import counted
from services.contents import listed_chunks
from services.monitoring import peak_memory_bytes
from services.run_directory import RunDirectory, chunk_report, events_file, slice_report
from services.selections import SourceSelection, describe, selection_of
from services.storage import reports
from services.storage.atomic import appearing, require_space
from services.storage.events import open_events
from services.storage.parsed import ParsedWriter, parsed_writer, writable_format
from services.storage.remote import Access, part_of_range
from services.workers import Workers, tell_position, tell_progress

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice, workers: Workers) -> SliceReport:
    """Parse the chunks of a slice and return what it did.

    Raises:
        DataError: more files failed than the configuration allows, or no event was left.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    parsing = config.parsing_task_config
    chunks = listed_chunks(config, paths)
    dealt = [chunks[i] for i in deal([chunk.size for chunk in chunks], part.total)[part.index - 1]]
    n_files = sum(len(chunk.files) for chunk in chunks)
    cut = f"{counted(n_files, 'files')} in {counted(len(chunks), 'chunks')}"
    log.info("parsing: %s, %d of them here", cut, len(dealt))
    _announce(parsing, chunks)
    if writable_format(parsing.parsed_format) != parsing.parsed_format:
        log.warning("parsing: the installed uproot cannot write RNTuples; a TTree is written")
    settings = digest_of(digest(config, "parsing"), sorted(needed_types(config)))
    tasks = [
        ChunkTask(
            chunk.name,
            digest_of(
                settings,
                load_layout(chunk.first.layout).model_dump(mode="json"),
                [file.model_dump(mode="json") for file in chunk.files],
            ),
            chunk,
            parsing.chunk_yield_threshold_bytes,
            chunk.planned,
        )
        for chunk in dealt
    ]
    stage = ChunkStage(
        "parsing",
        paths.parsed_data,
        ParseReport,
        make=partial(parse_chunk, config, paths, part),
        describe=partial(_describe, paths.parsed_data),
        is_final=_is_complete,
    )
    access = Access.of(parsing, paths.downloads)

    def prefetch(waiting: Sequence[ChunkTask]) -> None:
        access.prefetch(upcoming_files([task.source for task in waiting], parsing.threads))

    made, n_kept = make_or_keep(
        stage, tasks, workers, show=parsing.show_progress_bar, ahead=prefetch
    )
    summary = SliceReport(
        stage="parsing",
        inputs=parsing_digest(config, chunks, part),
        content=digest_of([report.content for report in made]),
        **summed_up(part, made, n_kept, started),
        **_sums(dealt, made),
    )
    reports.write(slice_report(paths.parsed_data, part), summary, part)
    if part.total == 1:
        judge_parsing([summary], config)
    return summary


def upcoming_files(chunks: Sequence[Chunk], at_least: int) -> list[InputFile]:
    """Return the files of the first chunk, and of so many more that there are `at_least` ahead."""
    files: list[InputFile] = []
    for number, chunk in enumerate(chunks):
        if number and len(files) >= len(chunks[0].files) + at_least:
            break
        files += chunk.files
    return files


def _describe(folder: Path, chunk: str) -> Output:
    return reports.describe(events_file(folder, chunk))


def _is_complete(report: ParseReport) -> bool:
    return report.is_complete


def _announce(parsing: Parsing, chunks: Sequence[Chunk]) -> None:
    """Log what is selected of each source; a selection that cannot be meant is found here."""
    for first in dict.fromkeys((c.first.source, c.first.layout, c.first.sample) for c in chunks):
        source, _, sample = first
        lines = describe(f"{source}{sample.suffix}", selection_of(parsing, *first))
        log.info("parsing: %s", lines[0])
        for line in lines[1:]:
            log.debug("parsing: %s", line)


def needed_types(config: Config) -> frozenset[str]:
    """Return the types that every file must have: without them the result would be wrong."""
    masses = config.mass_calculation_task_config
    named = {*masses.objects_to_calculate, *masses.final_state_objects}
    # b-jets are made of jets.
    return frozenset({"Jets" if name == "BJets" else name for name in named})


# Events are joined until they have so many bytes, and those of whole files then written: larger
# parts are only copied and held for nothing, smaller ones take longer to read.
_FEWEST_BYTES = 1 << 23


@dataclass
class _Tally:
    """Counts and selected events, of a file or a chunk."""

    events_read: int = 0
    events_kept: int = 0
    cut_flows: list[tuple[CutRow, ...]] = field(default_factory=list)
    populations: dict[str, int] = field(default_factory=dict)
    objects_kept: dict[str, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    held: list[Events] = field(default_factory=list)
    held_bytes: int = 0
    distributions: DistributionSum = field(default_factory=DistributionSum)

    def add(self, read: int, selected: Events, flow: tuple[CutRow, ...]) -> None:
        """Count a range of events and hold what was selected of it."""
        self.events_read += read
        self.events_kept += len(selected)
        self.cut_flows = [add_cut_flows([*self.cut_flows, flow])]
        add_to(self.populations, populations(selected))
        add_to(
            self.objects_kept,
            {name: objects.n_objects for name, objects in selected.objects.items()},
        )
        self.held.append(selected)
        self.held_bytes += selected.nbytes

    def absorb(self, other: _Tally) -> None:
        """Take over what a file gave."""
        self.events_read += other.events_read
        self.events_kept += other.events_kept
        self.cut_flows = [add_cut_flows(self.cut_flows + other.cut_flows)]
        add_to(self.populations, other.populations)
        add_to(self.objects_kept, other.objects_kept)
        self.notes |= other.notes
        self.held += other.held
        self.held_bytes += other.held_bytes
        self.distributions.absorb(other.distributions)

    def write_out(self, writer: ParsedWriter) -> None:
        """Write the held events and let go of them; only small parts are copied together."""
        while self.held:
            part: list[Events] = []
            n_bytes = 0
            while self.held and n_bytes < _FEWEST_BYTES:
                part.append(self.held.pop(0))
                n_bytes += part[-1].nbytes
            writer.write(concatenate(part))
        self.held_bytes = 0


class _FileLostError(Exception):
    """A file failed after some of its events had been written out."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.url = url
        self.reason = reason


def parse_chunk(config: Config, paths: RunDirectory, part: Slice, task: ChunkTask) -> ParseReport:
    """Select the events of a chunk's files into one file, and write its report.

    A file that fails is left out whole.

    Raises:
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    chunk: Chunk = task.source
    path = events_file(paths.parsed_data, chunk.name)
    access = Access.of(config.parsing_task_config, paths.downloads)
    failed: dict[str, str] = {}
    require_space(paths.parsed_data, task.threshold_bytes)
    while True:
        try:
            with (
                appearing(path, part) as temporary,
                parsed_writer(
                    temporary, writable_format(config.parsing_task_config.parsed_format)
                ) as writer,
            ):
                tally, outcomes = _parse_files(config, access, task, failed, writer)
            break
        except _FileLostError as lost:
            # Events in the output cannot be taken back: the chunk is made again without the file.
            log.warning("%s is made again without %s", chunk.name, lost.url)
            failed[lost.url] = lost.reason
    report = ParseReport(
        chunk=chunk.name,
        inputs=task.inputs,
        sample=chunk.first.sample,
        source=chunk.first.source,
        layout=chunk.first.layout,
        files=tuple(outcomes),
        events_read=tally.events_read,
        events_kept=tally.events_kept,
        cut_flow=add_cut_flows(tally.cut_flows),
        objects_kept=add_counts([tally.objects_kept]),
        populations=add_counts([tally.populations]),
        distributions=tally.distributions.total(tally.populations),
        notes=tuple(sorted(tally.notes)),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        bytes_in=sum(
            file.size or 0
            for file, outcome in zip(chunk.files, outcomes, strict=True)
            if outcome.status is not FileStatus.FAILED
        ),
        output=reports.describe(path),
    ).check(len(chunk.files))
    reports.write(chunk_report(paths.parsed_data, chunk.name), report, part)
    return report


def _parse_files(
    config: Config,
    access: Access,
    task: ChunkTask,
    failed: dict[str, str],
    writer: ParsedWriter,
) -> tuple[_Tally, list[FileOutcome]]:
    parsing = config.parsing_task_config
    first = task.source.first
    what = selection_of(parsing, first.source, first.layout, first.sample)
    # One half for what is read, the other for what is to be written.
    threshold = task.threshold_bytes // 2
    chunk = _Tally()
    outcomes = []
    for file in task.source.files:
        tell_position(file.url)
        reason = failed.get(file.url)
        of_file = _Tally()
        if reason is None:
            try:
                sink = _Sink(of_file, chunk, writer, threshold)
                _read_file(file, access, config, what, sink)
            except DataError as error:
                reason = str(error)
                is_partial = parsing.keep_partial_files and of_file.events_read > 0
                written = of_file.events_kept - sum(len(events) for events in of_file.held)
                if written and not is_partial:
                    raise _FileLostError(file.url, reason) from error
                log.warning("%s %s", "partly read:" if is_partial else "failed:", reason)
                if not is_partial:
                    of_file = _Tally()
        chunk.absorb(of_file)
        tell_progress(files=1)
        outcomes.append(_outcome(file, of_file.events_read, reason))
        if chunk.held_bytes >= min(threshold, _FEWEST_BYTES):
            chunk.write_out(writer)
    chunk.write_out(writer)
    return chunk, outcomes


def _outcome(file: InputFile, events: int, reason: str | None) -> FileOutcome:
    if reason is None:
        status = FileStatus.DONE
    else:
        status = FileStatus.PARTIAL if events else FileStatus.FAILED
    return FileOutcome(url=file.url, status=status, events=events, reason=reason)


@dataclass(frozen=True)
class _Sink:
    """Where the events of a file go: its tally, and the chunk's file when that gets too large."""

    of_file: _Tally
    of_chunk: _Tally
    writer: ParsedWriter
    threshold: int
    """Bytes that are read at a time, and that both tallies may hold before they are written out."""

    def add(self, read: int, selected: Events, flow: tuple[CutRow, ...]) -> None:
        self.of_file.add(read, selected, flow)
        if self.of_chunk.held_bytes + self.of_file.held_bytes >= self.threshold:
            self.of_chunk.write_out(self.writer)
            self.of_file.write_out(self.writer)


def _read_file(
    file: InputFile, access: Access, config: Config, what: SourceSelection, sink: _Sink
) -> None:
    """Read a file; if it cannot be transferred try again, each time in another way.

    Raises:
        DataError: the file is not what the list says, or cannot be read to its end.
    """
    failure: TransferError | None = None
    parsing = config.parsing_task_config
    for tried in range(parsing.count_retries_failed_files + 1):
        if failure:
            log.info("trying again, number %d: %s", tried, failure)
        opener = access.opener(file, tried, failure)
        n_bytes = part_of_range(sink.threshold, tried)
        try:
            _read_events(file, opener, config, what, n_bytes, sink)
        except TransferError as error:
            failure = error
        else:
            return
    if failure:
        raise failure


def _read_events(
    file: InputFile,
    opener: Callable[[], Any] | None,
    config: Config,
    what: SourceSelection,
    n_bytes: int,
    sink: _Sink,
) -> None:
    """Add a file's events, range by range, from where an earlier try ended.

    Raises:
        DataError: the file is not what the list says, or cannot be read to its end.
    """
    layout = load_layout(file.layout)
    trees = what.parsing.possible_data_tree_names
    needed = needed_types(config)
    with open_events(file.url, layout, trees, needed, what.extras, opener) as source:
        if source.sample not in (None, file.sample):
            msg = (
                f"{file.url}: listed as {file.sample}, but its branches are those of "
                f"{source.sample}; list the files again"
            )
            raise DataError(msg)
        if sink.of_file.events_read > source.n_events:
            msg = f"{file.url}: it has fewer events than at an earlier try; list the files again"
            raise DataError(msg)
        sink.of_file.notes.update(source.notes)
        for start, stop in source.ranges(n_bytes, sink.of_file.events_read):
            events = source.read(start, stop)
            try:
                selected, flow = select(events, what.selection)
            except DataError as error:
                msg = f"{file.url}: {error}"
                raise DataError(msg) from error
            sink.of_file.distributions.add(events, selected)
            sink.add(stop - start, selected, flow)
            tell_progress(events=stop - start)


def _sums(dealt: Sequence[Chunk], made: Sequence[ParseReport]) -> dict[str, Any]:
    """Return what a slice report says of its chunks, added up.

    Raises:
        DataError: a file is unaccounted for.
    """
    outcomes = [file for report in made for file in report.files]
    n_planned = sum(len(chunk.files) for chunk in dealt)
    files = FileCounts.of(n_planned, outcomes).check("parsing")
    read = sum(report.events_read for report in made)
    kept = sum(report.events_kept for report in made)
    by_source: dict[str, list[tuple[CutRow, ...]]] = {}
    distributions: dict[str, Distributions] = {}
    for report in made:
        key = f"{report.source}{report.sample.suffix}"
        by_source.setdefault(key, []).append(report.cut_flow)
        distributions[key] = distributions.get(key, Distributions()) + report.distributions
    return {
        "taken": {"files": files.planned, "events": read},
        "made": {"events": kept},
        "lost": {
            "files": files.failed,
            "partial files": files.partial,
            "events cut": read - kept,
        },
        "files": files,
        "failures": tuple(
            file.reason for file in outcomes if file.status is FileStatus.FAILED and file.reason
        ),
        "populations": {
            sample: add_counts(r.populations for r in made if r.sample is sample)
            for sample in dict.fromkeys(report.sample for report in made)
        },
        "distributions": distributions,
        "cut_flows": {key: add_cut_flows(flows) for key, flows in by_source.items()},
        "notes": tuple(sorted({f"{r.source}: {note}" for r in made for note in r.notes})),
    }

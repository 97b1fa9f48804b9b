"""Input files -> parsed_data/: selected events in GeV, one ROOT file and one report per chunk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.config import Config, Parsing
from schemas.errors import DataError, TransferError
from schemas.inputs import Chunk, FileList, InputFile, Slice
from schemas.releases import load_layout
from schemas.reports import (
    CutRow,
    FileOutcome,
    FileStatus,
    ParseReport,
    SliceReport,
    add_cut_flows,
)
from services.calculations.chunking import limit_files, make_chunks
from services.calculations.objects import Events, add_counts, concatenate, populations
from services.calculations.selection import select
from services.monitoring import bar, peak_memory_bytes
from services.run_directory import RunDirectory, chunk_report, events_file, slice_report
from services.storage import reports
from services.storage.atomic import appearing
from services.storage.events import ParsedWriter, open_events, parsed_writer
from services.storage.remote import Access, part_of_range

log = logging.getLogger(__name__)

# How many failed files an error names; the reports name all.
_NAMED_FAILURES = 3


def run(config: Config, paths: RunDirectory, part: Slice) -> SliceReport:
    """Parse the chunks of a slice and return what it did.

    Raises:
        DataError: more files failed than the configuration allows, or no event was left.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    parsing = config.parsing_task_config
    listed = limit_files(
        reports.read(paths.file_list, FileList).files, parsing.max_files_to_process
    )
    chunks = make_chunks(listed, parsing.chunk_input_bytes)
    log.info("parsing: %d files in %d chunks", len(listed), len(chunks))
    access = Access.of(parsing, paths.downloads)
    made = []
    for number, chunk in enumerate(bar(chunks, "parsing", show=parsing.show_progress_bar)):
        access.prefetch(upcoming_files(chunks[number:], parsing.threads))
        report = parse_chunk(config, chunk, access, paths.parsed_data, part)
        reports.write(chunk_report(paths.parsed_data, chunk.name), report, part)
        made.append(report)
    summary = _summarise(made, part, time.monotonic() - started)
    reports.write(slice_report(paths.parsed_data, part), summary, part)
    _judge(made, parsing)
    return summary


def upcoming_files(chunks: Sequence[Chunk], at_least: int) -> list[InputFile]:
    """Return the files of the first chunk, and of so many more that there are `at_least` ahead."""
    files: list[InputFile] = []
    for number, chunk in enumerate(chunks):
        if number and len(files) >= len(chunks[0].files) + at_least:
            break
        files += chunk.files
    return files


def needed_types(config: Config) -> frozenset[str]:
    """Return the types that every file must have: without them the result would be wrong."""
    masses = config.mass_calculation_task_config
    return frozenset({*masses.objects_to_calculate, *masses.final_state_objects} - {"BJets"})


@dataclass
class _Tally:
    """Counts and selected events, of a file or a chunk."""

    events_read: int = 0
    events_kept: int = 0
    cut_flows: list[tuple[CutRow, ...]] = field(default_factory=list)
    populations: list[dict[str, int]] = field(default_factory=list)
    objects_kept: list[dict[str, int]] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    held: list[Events] = field(default_factory=list)

    @property
    def held_bytes(self) -> int:
        return sum(events.nbytes for events in self.held)

    def add(self, read: int, selected: Events, flow: tuple[CutRow, ...]) -> None:
        """Count a range of events and hold what was selected of it."""
        self.events_read += read
        self.events_kept += len(selected)
        self.cut_flows = [add_cut_flows([*self.cut_flows, flow])]
        self.populations = [add_counts([*self.populations, populations(selected)])]
        kept = {name: objects.n_objects for name, objects in selected.objects.items()}
        self.objects_kept = [add_counts([*self.objects_kept, kept])]
        self.held.append(selected)

    def absorb(self, other: _Tally) -> None:
        """Take over what a file gave."""
        self.events_read += other.events_read
        self.events_kept += other.events_kept
        self.cut_flows = [add_cut_flows(self.cut_flows + other.cut_flows)]
        self.populations = [add_counts(self.populations + other.populations)]
        self.objects_kept = [add_counts(self.objects_kept + other.objects_kept)]
        self.notes |= other.notes
        self.held += other.held

    def write_out(self, writer: ParsedWriter) -> None:
        """Write the held events and let go of them."""
        if self.held:
            writer.write(concatenate(self.held))
        self.held = []


class _FileLostError(Exception):
    """A file failed after some of its events had been written out."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.url = url
        self.reason = reason


def parse_chunk(
    config: Config, chunk: Chunk, access: Access, folder: Path, part: Slice
) -> ParseReport:
    """Select the events of a chunk's files into one file; a file that fails is left out whole.

    Raises:
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    path = events_file(folder, chunk.name)
    failed: dict[str, str] = {}
    while True:
        try:
            with appearing(path, part) as temporary, parsed_writer(temporary) as writer:
                tally, outcomes = _parse_files(config, access, chunk.files, failed, writer)
            break
        except _FileLostError as lost:
            # Events in the output cannot be taken back: the chunk is made again without the file.
            log.warning("%s is made again without %s", chunk.name, lost.url)
            failed[lost.url] = lost.reason
    return ParseReport(
        chunk=chunk.name,
        sample=chunk.first.sample,
        source=chunk.first.source,
        layout=chunk.first.layout,
        files=tuple(outcomes),
        events_read=tally.events_read,
        events_kept=tally.events_kept,
        cut_flow=add_cut_flows(tally.cut_flows),
        objects_kept=add_counts(tally.objects_kept),
        populations=add_counts(tally.populations),
        notes=tuple(sorted(tally.notes)),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        output=reports.describe(path),
    ).check()


def _parse_files(
    config: Config,
    access: Access,
    files: Sequence[InputFile],
    failed: dict[str, str],
    writer: ParsedWriter,
) -> tuple[_Tally, list[FileOutcome]]:
    parsing = config.parsing_task_config
    needed = needed_types(config)
    chunk = _Tally()
    outcomes = []
    for file in files:
        reason = failed.get(file.url)
        of_file = _Tally()
        if reason is None:
            try:
                _read_file(file, access, parsing, needed, _Sink(of_file, chunk, writer))
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
        outcomes.append(_outcome(file, of_file.events_read, reason))
        if chunk.held_bytes >= parsing.chunk_yield_threshold_bytes:
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

    def add(self, read: int, selected: Events, flow: tuple[CutRow, ...], threshold: int) -> None:
        self.of_file.add(read, selected, flow)
        if self.of_chunk.held_bytes + self.of_file.held_bytes >= threshold:
            self.of_chunk.write_out(self.writer)
            self.of_file.write_out(self.writer)


def _read_file(
    file: InputFile, access: Access, parsing: Parsing, needed: Collection[str], sink: _Sink
) -> None:
    """Read a file; if it cannot be transferred try again, each time in another way.

    Raises:
        DataError: the file is not what the list says, or cannot be read to its end.
    """
    failure: TransferError | None = None
    for tried in range(parsing.count_retries_failed_files + 1):
        if failure:
            log.info("trying again, number %d: %s", tried, failure)
        opener = access.opener(file, tried, failure)
        n_bytes = part_of_range(parsing.chunk_yield_threshold_bytes, tried)
        try:
            _read_events(file, opener, parsing, needed, n_bytes, sink)
        except TransferError as error:
            failure = error
        else:
            return
    if failure:
        raise failure


def _read_events(
    file: InputFile,
    opener: Callable[[], Any] | None,
    parsing: Parsing,
    needed: Collection[str],
    n_bytes: int,
    sink: _Sink,
) -> None:
    """Add a file's events, range by range, from where an earlier try ended.

    Raises:
        DataError: the file is not what the list says, or cannot be read to its end.
    """
    layout = load_layout(file.layout)
    more_trees = parsing.possible_data_tree_names
    with open_events(file.url, layout, more_trees, needed, opener) as source:
        if source.sample is not file.sample:
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
            selected, flow = select(
                source.read(start, stop), parsing.kinematic_cuts, parsing.particle_counts
            )
            sink.add(stop - start, selected, flow, parsing.chunk_yield_threshold_bytes)


def _summarise(made: Sequence[ParseReport], part: Slice, seconds: float) -> SliceReport:
    outcomes = [file for report in made for file in report.files]
    n_failed = sum(file.status is FileStatus.FAILED for file in outcomes)
    n_partial = sum(file.status is FileStatus.PARTIAL for file in outcomes)
    read = sum(report.events_read for report in made)
    kept = sum(report.events_kept for report in made)
    by_source: dict[str, list[tuple[CutRow, ...]]] = {}
    for report in made:
        key = f"{report.source}{report.sample.suffix}"
        by_source.setdefault(key, []).append(report.cut_flow)
    samples = dict.fromkeys(report.sample for report in made)
    return SliceReport(
        stage="parsing",
        slice_index=part.index,
        slice_total=part.total,
        chunks=tuple(report.chunk for report in made),
        seconds=seconds,
        peak_memory_bytes=max((report.peak_memory_bytes for report in made), default=0),
        taken={"files": len(outcomes), "events": read},
        made={"events": kept},
        lost={"files": n_failed, "partial files": n_partial, "events cut": read - kept},
        populations={
            sample: add_counts(r.populations for r in made if r.sample is sample)
            for sample in samples
        },
        cut_flows={key: add_cut_flows(flows) for key, flows in by_source.items()},
        notes=tuple(sorted({f"{r.source}: {note}" for r in made for note in r.notes})),
    )


def _judge(made: Sequence[ParseReport], parsing: Parsing) -> None:
    """Raise DataError if too much was lost in the whole run, or nothing is left."""
    outcomes = [file for report in made for file in report.files]
    failed = [file for file in outcomes if file.status is not FileStatus.DONE]
    allowed = parsing.max_failed_file_fraction
    if len(failed) > allowed * len(outcomes):
        named = "\n".join(f"  {file.reason}" for file in failed[:_NAMED_FAILURES])
        more = len(failed) - _NAMED_FAILURES
        msg = (
            f"parsing: {len(failed)} of {len(outcomes)} files failed, expected at most a fraction "
            f"of {allowed} (parsing_task_config.max_failed_file_fraction):\n{named}"
            + (f"\n  and {more} more, listed in the reports of parsed_data" if more > 0 else "")
        )
        raise DataError(msg)
    read = sum(report.events_read for report in made)
    if not read:
        msg = f"parsing: there is no event in {len(outcomes)} files; name files that have some"
        raise DataError(msg)
    if not sum(report.events_kept for report in made):
        flow = add_cut_flows(report.cut_flow for report in made)
        worst = max((row for row in flow if row.of == "events"), key=lambda row: row.removed)
        msg = (
            f"parsing: all {read:,} events were cut away, most ({worst.removed:,}) by "
            f"'{worst.step}'; loosen particle_counts or kinematic_cuts in parsing_task_config"
        )
        raise DataError(msg)

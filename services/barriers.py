"""What a stage needs of all slices of the stage before, and the judgement on the whole run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from schemas.config import Config, digest
from schemas.errors import BarrierError, DataError
from schemas.inputs import Chunk, Slice
from schemas.releases import load_layout
from schemas.reports import SliceReport, add_cut_flows
from services.calculations.chunking import deal
from services.chunks import digest_of
from services.contents import filled_of, listed_chunks, made_of
from services.run_directory import RunDirectory, slice_report
from services.storage import reports

log = logging.getLogger(__name__)

_SLICE_REPORT = re.compile(r"slice_([0-9]+)_of_([0-9]+)\.json")
# How many failed files an error names; the reports name all.
_NAMED_FAILURES = 3
# How often a barrier looks for the other slices, in seconds.
_LOOK_EVERY = 1.0


def parsed_slices(config: Config, paths: RunDirectory, part: Slice) -> tuple[SliceReport, ...]:
    """Return the reports of parsing, of all slices.

    Of this run's own they are those of the present configuration and file list.

    Raises:
        BarrierError: some slices are not complete, or out of date.
        DataError: the folder holds something else.
    """
    expected = None
    if paths.masses_input == paths.parsed_data and paths.file_list.exists():
        expected = inputs_of_parsing(config, paths, part)
    wait_seconds = config.run_metadata.barrier_wait_seconds
    return completed_slices(paths.masses_input, "parsing", part, wait_seconds, expected)


def computed_slices(config: Config, paths: RunDirectory, part: Slice) -> tuple[SliceReport, ...]:
    """Return the reports of the mass calculation, as `parsed_slices` does those of parsing."""
    expected = None
    if paths.processing_input == paths.masses and _totals(paths.masses_input):
        expected = inputs_of_masses(config, paths, part)
    wait_seconds = config.run_metadata.barrier_wait_seconds
    return completed_slices(
        paths.processing_input, "mass_calculating", part, wait_seconds, expected
    )


def processed_slices(config: Config, paths: RunDirectory, part: Slice) -> tuple[SliceReport, ...]:
    """Return the reports of post-processing, from which a slice's histograms are made.

    Of this run's own that is the slice's alone: what has to be known of the whole is in the plan.

    Raises:
        BarrierError: post-processing is not complete, or out of date.
        DataError: the folder holds something else.
    """
    folder, stage = paths.histograms_input, "post_processing"
    if folder != paths.processed or part.total == 1:
        expected = None
        if folder == paths.processed and _totals(paths.processing_input):
            expected = inputs_of_post_processing(config, paths, part)
        wait_seconds = config.run_metadata.barrier_wait_seconds
        return completed_slices(folder, stage, part, wait_seconds, expected)
    expected = inputs_of_post_processing(config, paths, part)
    if part.index in unfinished_slices(folder, part.total, expected):
        msg = (
            f"{folder}: expected slice {part.index} of {stage}, made of this run's masses by this "
            f"configuration, found none; run {stage} of that slice first"
        )
        raise BarrierError(msg)
    return (_report(folder, part.index, part.total),)


def inputs_of_parsing(config: Config, paths: RunDirectory, part: Slice) -> str:
    """Return the digest of what this run's parsing is made of.

    Raises:
        BarrierError: the files have not been listed.
        DataError: the file list is damaged.
    """
    if not paths.file_list.exists():
        msg = f"{paths.file_list}: expected the list of input files, found none; run parsing first"
        raise BarrierError(msg)
    return parsing_digest(config, listed_chunks(config, paths), part)


def parsing_digest(config: Config, chunks: Sequence[Chunk], part: Slice) -> str:
    """Return the digest of all chunks of a run, how they are parsed, and into how many slices."""
    files = [[file.model_dump(mode="json") for file in chunk.files] for chunk in chunks]
    layouts = [
        load_layout(name).model_dump(mode="json")
        for name in sorted({chunk.first.layout for chunk in chunks})
    ]
    return digest_of(digest(config, "parsing"), layouts, files, part.total)


def inputs_of_masses(config: Config, paths: RunDirectory, part: Slice) -> str:
    """Return the digest of what this run's masses are made of.

    Raises:
        BarrierError: the stage before is not complete, or out of date.
    """
    return made_of(config, "mass_calculating", parsed_slices(config, paths, part))


def inputs_of_post_processing(config: Config, paths: RunDirectory, part: Slice) -> str:
    """Return the digest of what this run's post-processing is made of; raises as for masses."""
    return made_of(config, "post_processing", computed_slices(config, paths, part))


def inputs_of_histograms(config: Config, paths: RunDirectory, part: Slice) -> str:
    """Return the digest of what this run's histograms are made of; raises as for masses."""
    if paths.histograms_input == paths.processed and part.total > 1:
        return filled_of(config, inputs_of_post_processing(config, paths, part))
    return filled_of(config, processed_slices(config, paths, part)[0].inputs)


def completed_slices(
    folder: Path,
    stage: str,
    part: Slice,
    wait_seconds: float = 0.0,
    expected: str | None = None,
) -> tuple[SliceReport, ...]:
    """Return the reports of all slices of a stage, in the order of their numbers.

    In a batch job that is the stage of as many slices; it waits for them, since network file
    systems show files late. A single job takes what there is, of another run's slices too. A slice
    that was made of other inputs than `expected` is not complete.

    Raises:
        BarrierError: some slices are not complete.
        DataError: the folder holds something else.
    """
    deadline = time.monotonic() + (wait_seconds if part.total > 1 else 0.0)
    while True:
        missing = missing_slices(folder, stage, part, expected)
        if not missing or time.monotonic() >= deadline:
            break
        log.info("waiting for %s", missing)
        time.sleep(_LOOK_EVERY)
    if missing:
        raise BarrierError(missing)
    total = _total(folder, part)
    found = tuple(_report(folder, index, total) for index in range(1, total + 1))
    wrong = {report.stage for report in found} - {stage}
    if wrong:
        msg = f"{folder}: expected the output of {stage}, found that of {wrong.pop()}"
        raise DataError(msg)
    if len({report.inputs for report in found}) > 1:
        msg = (
            f"{folder}: the slices of {stage} were made of different inputs or by different "
            "configurations; make those again that are out of date"
        )
        raise BarrierError(msg)
    return found


def missing_slices(folder: Path, stage: str, part: Slice, expected: str | None = None) -> str:
    """Return, in words, which slices of a stage are not complete; nothing if all are."""
    total = _total(folder, part)
    if not total:
        return f"{folder}: expected the slice reports of {stage}, found none; run {stage} first"
    missing = absent_slices(folder, total)
    stale = stale_slices(folder, total, expected)
    if not missing and not stale:
        return ""
    words = f"{folder}: expected {total} slices of {stage}, found {total - len(missing)}"
    if missing:
        words += f"; missing: {_numbers(missing)}"
    if stale:
        words += (
            f"; made of other input or by another configuration: {_numbers(stale)}; run {stage} "
            "again"
        )
    return words


def absent_slices(folder: Path, total: int) -> tuple[int, ...]:
    """Return the numbers of the slices that have left no report."""
    numbers = range(1, total + 1)
    return tuple(i for i in numbers if not slice_report(folder, Slice(i, total)).exists())


def stale_slices(folder: Path, total: int, expected: str | None) -> tuple[int, ...]:
    """Return the numbers of the slices whose report tells of other inputs than is expected."""
    if expected is None:
        return ()
    present = set(range(1, total + 1)) - {*absent_slices(folder, total)}
    return tuple(i for i in sorted(present) if _report(folder, i, total).inputs != expected)


def unfinished_slices(folder: Path, total: int, expected: str | None) -> tuple[int, ...]:
    """Return the numbers of the slices that are missing, out of date, or have lost a file."""
    unfinished = {*absent_slices(folder, total), *stale_slices(folder, total, expected)}
    for index in set(range(1, total + 1)) - unfinished:
        outputs = [o for of in _report(folder, index, total).histograms for o in of.outputs]
        if not all((folder / output.name).exists() for output in outputs):
            unfinished.add(index)
    return tuple(sorted(unfinished))


def _report(folder: Path, index: int, total: int) -> SliceReport:
    return reports.read(slice_report(folder, Slice(index, total)), SliceReport)


def _numbers(slices: Sequence[int]) -> str:
    return ", ".join(map(str, slices))


def _total(folder: Path, part: Slice) -> int:
    """Return how many slices a folder's stage has: this job's number, or what lies there."""
    totals = _totals(folder)
    if part.total > 1 and (not totals or part.total in totals):
        return part.total
    if len(totals) > 1:
        msg = (
            f"{folder}: found the reports of runs of {', '.join(map(str, sorted(totals)))} slices, "
            "expected those of one; give each number of jobs its own run directory"
        )
        raise DataError(msg)
    return totals.pop() if totals else 0


def _totals(folder: Path) -> set[int]:
    """Return of how many slices the reports in a folder are, as their names say."""
    matches = [_SLICE_REPORT.fullmatch(path.name) for path in folder.glob("slice_*.json")]
    return {int(match[2]) for match in matches if match}


def judge_parsing(parsed: Sequence[SliceReport], config: Config) -> None:
    """Judge once, from the sums of all slices, whether parsing has lost too much.

    Raises:
        DataError: too many files failed, there is no event, or all are cut away.
    """
    allowed = config.parsing_task_config.max_failed_file_fraction
    n_files = sum(report.taken["files"] for report in parsed)
    failures = [failure for report in parsed for failure in report.failures]
    if len(failures) > allowed * n_files:
        named = "\n".join(f"  {failure}" for failure in failures[:_NAMED_FAILURES])
        more = len(failures) - _NAMED_FAILURES
        msg = (
            f"parsing: {len(failures)} of {n_files} files failed, expected at most a fraction "
            f"of {allowed} (parsing_task_config.max_failed_file_fraction):\n{named}"
            + (f"\n  and {more} more, listed in the reports of parsed_data" if more > 0 else "")
        )
        raise DataError(msg)
    n_read = sum(report.taken["events"] for report in parsed)
    if not n_read:
        msg = f"parsing: there is no event in {n_files} files; name files that have some"
        raise DataError(msg)
    if not sum(report.made["events"] for report in parsed):
        flow = add_cut_flows(flow for report in parsed for flow in report.cut_flows.values())
        worst = max((row for row in flow if row.of == "events"), key=lambda row: row.removed)
        msg = (
            f"parsing: all {n_read:,} events were cut away, most ({worst.removed:,}) by "
            f"'{worst.step}'; loosen particle_counts or kinematic_cuts in parsing_task_config"
        )
        raise DataError(msg)


def dealt_chunks(upstream: Sequence[SliceReport], part: Slice) -> tuple[str, ...]:
    """Return the chunks of a slice: the same that it had before, where that was cut the same."""
    if [(report.slice_index, report.slice_total) for report in upstream] == [
        (part.index, part.total)
    ]:
        return upstream[0].chunks
    if len(upstream) == part.total:
        return upstream[part.index - 1].chunks
    chunks = [chunk for report in upstream for chunk in report.chunks]
    return tuple(chunks[i] for i in deal([None] * len(chunks), part.total)[part.index - 1])

"""What a stage needs of all slices of the stage before, and the judgement on the whole run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from schemas.config import Config
from schemas.errors import BarrierError, DataError
from schemas.inputs import Slice
from schemas.reports import SliceReport, add_cut_flows
from services.calculations.chunking import deal
from services.run_directory import slice_report
from services.storage import reports

log = logging.getLogger(__name__)

_SLICE_REPORT = re.compile(r"slice_([0-9]+)_of_([0-9]+)\.json")
# How many failed files an error names; the reports name all.
_NAMED_FAILURES = 3
# How often a barrier looks for the other slices, in seconds.
_LOOK_EVERY = 1.0


def completed_slices(
    folder: Path, stage: str, part: Slice, wait_seconds: float = 0.0
) -> tuple[SliceReport, ...]:
    """Return the reports of all slices of a stage, in the order of their numbers.

    In a batch job that is the stage of as many slices; it waits for them, since network file
    systems show files late. A single job takes what there is, of another run's slices too.

    Raises:
        BarrierError: some slices are not complete.
        DataError: the folder holds something else.
    """
    deadline = time.monotonic() + (wait_seconds if part.total > 1 else 0.0)
    while True:
        missing = missing_slices(folder, stage, part)
        if not missing or time.monotonic() >= deadline:
            break
        log.info("waiting for %s", missing)
        time.sleep(_LOOK_EVERY)
    if missing:
        raise BarrierError(missing)
    total = _total(folder, part)
    found = tuple(
        reports.read(slice_report(folder, Slice(index, total)), SliceReport)
        for index in range(1, total + 1)
    )
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


def missing_slices(folder: Path, stage: str, part: Slice) -> str:
    """Return, in words, which slices of a stage are not complete; nothing if all are."""
    total = _total(folder, part)
    if not total:
        return f"{folder}: expected the slice reports of {stage}, found none; run {stage} first"
    missing = [
        str(index)
        for index in range(1, total + 1)
        if not slice_report(folder, Slice(index, total)).exists()
    ]
    if not missing:
        return ""
    return (
        f"{folder}: expected {total} slices of {stage}, found {total - len(missing)}; missing: "
        f"{', '.join(missing)}"
    )


def _total(folder: Path, part: Slice) -> int:
    """Return how many slices a folder's stage has: this job's number, or what lies there."""
    matches = [_SLICE_REPORT.fullmatch(path.name) for path in folder.glob("slice_*.json")]
    totals = {int(match[2]) for match in matches if match}
    if part.total > 1 and (not totals or part.total in totals):
        return part.total
    if len(totals) > 1:
        msg = (
            f"{folder}: found the reports of runs of {', '.join(map(str, sorted(totals)))} slices, "
            "expected those of one; give each number of jobs its own run directory"
        )
        raise DataError(msg)
    return totals.pop() if totals else 0


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
    if len(upstream) == part.total:
        return upstream[part.index - 1].chunks
    chunks = [chunk for report in upstream for chunk in report.chunks]
    return tuple(chunks[i] for i in deal([None] * len(chunks), part.total)[part.index - 1])

"""What the slices of an earlier stage left: their reports, once all of them are there."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.errors import DataError
from schemas.reports import SliceReport
from services.storage import reports

_SLICE_REPORT = re.compile(r"slice_([0-9]+)_of_([0-9]+)\.json")


def has_slices(folder: Path) -> bool:
    """Whether any slice of a stage has been completed in this folder."""
    return any(_SLICE_REPORT.fullmatch(path.name) for path in folder.glob("slice_*.json"))


def completed_slices(folder: Path, stage: str) -> tuple[SliceReport, ...]:
    """Return the reports of all slices of a stage, in the order of their numbers.

    Raises:
        DataError: the stage has not been completed in this folder.
    """
    found: dict[int, SliceReport] = {}
    totals = set()
    for path in folder.glob("slice_*.json"):
        match = _SLICE_REPORT.fullmatch(path.name)
        if match:
            found[int(match[1])] = reports.read(path, SliceReport)
            totals.add(int(match[2]))
    if len(totals) != 1:
        problem = "none" if not totals else f"those of runs of {sorted(totals)} slices"
        msg = f"{folder}: expected the slice reports of {stage}, found {problem}; run {stage} first"
        raise DataError(msg)
    total = totals.pop()
    missing = [str(index) for index in range(1, total + 1) if index not in found]
    if missing:
        msg = (
            f"{folder}: expected {total} slices of {stage}, found {len(found)}; still missing: "
            f"{', '.join(missing)}"
        )
        raise DataError(msg)
    ordered = tuple(found[index] for index in sorted(found))
    wrong = {report.stage for report in ordered} - {stage}
    if wrong:
        msg = f"{folder}: expected the output of {stage}, found that of {wrong.pop()}"
        raise DataError(msg)
    return ordered

"""What a run ends with, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from schemas.reports import Counts, SliceReport
from schemas.statistics import StageStatistics

# What fits side by side on a screen.
WIDTH = 100
_GAP = "  "
# Where a cell is not broken.
_TIED = "\N{NO-BREAK SPACE}"
_SINGULAR = {
    "channels": "channel",
    "chunks": "chunk",
    "copies": "copy",
    "datasets": "dataset",
    "entries": "entry",
    "events": "event",
    "files": "file",
    "histograms": "histogram",
    "jobs": "job",
    "masses": "mass",
    "outliers": "outlier",
    "sources": "source",
    "states": "state",
}
# How many of the files that were lost are named; the reports name all.
_NAMED_FAILURES = 3

Done = Sequence[SliceReport | StageStatistics]


def counted(n: int, unit: str) -> str:
    """Return for example `1 file`, `2 files` or `1 event cut`."""
    words = unit.split()
    if n == 1:
        noun = 0 if words[0] in _SINGULAR else -1
        words[noun] = _SINGULAR.get(words[noun], words[noun])
    return f"{n:,} {' '.join(words)}"


def short(number: float) -> str:
    """Return a number as people read it in passing: `950`, `12.3k`, `4.56M`."""
    for suffix, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= unit:
            return f"{number / unit:.3g}{suffix}"
    return f"{number:.0f}" if number >= 1 or not number else f"{number:.2g}"


def describe_counts(counts: Counts) -> str:
    """Return counts for people: `8 files, 200,000 events`; what is zero is left out."""
    return ", ".join(counted(n, unit) for unit, n in counts.items() if n) or "nothing"


def _together(counts: Counts) -> str:
    """Return counts as a cell that is broken between them only."""
    return describe_counts(counts).replace(" ", _TIED).replace(f",{_TIED}", ", ")


def closing_table(done: Done) -> str:
    """Return the table that a run ends with: stage, seconds, in, out, lost; then the notes."""
    header = ("stage", "seconds", "in", "out", "lost")
    rows = [
        (
            report.stage,
            f"{report.seconds:.1f}",
            _together(report.taken),
            _together(report.made),
            _together(report.lost | report.decided),
        )
        for report in done
    ]
    notes = [f"{report.stage}: {note}" for report in done for note in report.notes]
    return "\n".join([aligned(header, rows), *notes])


def cut_flow_table(done: Done) -> str:
    """Return the cut flow of each source: cuts on events, and cuts that removed objects."""
    header = ("source", "step", "of", "before", "removed", "left")
    rows = [
        (source, row.step, row.of, f"{row.before:,}", f"{row.removed:,}", f"{row.after:,}")
        for report in done
        for source, flow in report.cut_flows.items()
        for row in flow
        if row.removed
    ]
    return "\n" + aligned(header, rows) + "\n" if rows else ""


def losses(done: Done) -> str:
    """Return what was lost against the will of the configuration, if anything was, or all."""
    lines = []
    for report in done:
        n = len(report.failures)
        if n:
            of = counted(report.taken["files"], "files")
            shown = [f"  {reason}" for reason in report.failures[:_NAMED_FAILURES]]
            more = [f"  and {n - len(shown)} more, in the reports"] if n > len(shown) else []
            lines += [f"LOST: {n:,} of {of} could not be read whole:", *shown, *more]
        # One of several jobs may well have nothing.
        is_whole = not isinstance(report, SliceReport) or report.slice_total == 1
        if is_whole and report.made.get("histograms") == 0:
            lines.append("NO HISTOGRAM: nothing was left to count; the table says where it went")
    return "\n".join(lines)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Return a table in columns, a line below its header; long cells take several lines.

    Columns of numbers are aligned to the right.
    """
    columns = list(zip(header, *rows, strict=True))
    is_number = [
        all(cell.replace(",", "").replace(".", "", 1).isdigit() for cell in cells[1:])
        and len(cells) > 1
        for cells in columns
    ]
    widths = _widths(columns, width - len(_GAP) * (len(columns) - 1))
    lines = []
    for row in (header, *rows):
        cells = [
            [cell] if is_of_numbers else wrap(cell, max(size, 1), break_long_words=False) or [""]
            for cell, size, is_of_numbers in zip(row, widths, is_number, strict=True)
        ]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(
                _GAP.join(
                    part.rjust(size) if is_of_numbers else part.ljust(size)
                    for part, size, is_of_numbers in zip(parts, widths, is_number, strict=True)
                )
                .rstrip()
                .replace(_TIED, " ")
            )
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the widths of columns: as their cells need, or the widest ones narrower, to fit."""
    widths = [max(map(len, cells)) for cells in columns]
    least = [max(len(word) for cell in cells for word in cell.split(" ")) for cells in columns]
    while sum(widths) > room:
        slack = [size - low for size, low in zip(widths, least, strict=True)]
        if not any(slack):
            break
        widest = max((size, at) for at, size in enumerate(widths) if slack[at])[1]
        widths[widest] -= 1
    return widths

"""Figures of the work itself: seconds, rates and memory, per stage, chunk and job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.reports import ChunkReport, SliceReport
from services.plots.contents import Contents, StageContents
from services.plots.style import (
    MARKS,
    OUTLINE,
    Named,
    finish,
    handles_of,
    log_numbers,
    name_rows,
    number_axis,
    panels,
    text_beside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

_MB = 1e6
# What rates count, each with its mark in all rows.
_UNITS = ("files", "events", "masses", "histograms")
_ALL_JOBS, _SLOWEST = "all jobs together", "slowest job"


@dataclass(frozen=True)
class StageWork:
    """What a stage took; of several jobs `seconds` has one number each."""

    name: str
    seconds: tuple[float, ...]
    rates: dict[str, float]
    """Units done per second of one job; none where some chunks had been made before."""
    peak_memory_bytes: int | None


class ChunkWork(NamedTuple):
    """What one chunk took: how many events or masses it has, seconds, memory."""

    size: int
    seconds: float
    peak_memory_bytes: int


def figures(contents: Contents) -> Iterator[Named]:
    """Yield the figures of the work."""
    works = stage_works(contents)
    about = contents.about_all(contents.parsed)
    if works:
        is_partial = any(stage.slices and stage.absent for stage in _stages(contents))
        so_far = ", so far" if is_partial else ""
        yield Named("stages", "", draw_stages(works, about, so_far))
    else:
        log.info("plots: no stage is drawn: none has been done")
    chunks = chunk_works(contents)
    jobs = {
        name: [(report.slice_index, report.seconds) for report in slices]
        for name, slices in _slices(contents)
        if len(slices) > 1
    }
    if chunks and (jobs or any(len(of_stage) > 1 for of_stage in chunks.values())):
        yield Named("chunks", "", draw_chunks(chunks, jobs, about))
    else:
        log.info("plots: no chunk is drawn: there are not two to compare")


def _slices(contents: Contents) -> Iterator[tuple[str, tuple[SliceReport, ...]]]:
    for stage in _stages(contents):
        if stage.slices and stage.is_own:
            yield stage.name, stage.slices


def _stages(contents: Contents) -> tuple[StageContents[Any], ...]:
    return contents.parsed, contents.computed, contents.processed, contents.filled


def stage_works(contents: Contents) -> list[StageWork]:
    """Return what the stages took that have been done so far, in their order."""
    works = []
    if contents.fetching_seconds is not None:
        works.append(StageWork("fetching", (contents.fetching_seconds,), {}, None))
    works += [_work_of(name, slices) for name, slices in _slices(contents)]
    if contents.merged is not None:
        works.append(_work_of("merging", [contents.merged]))
    return works


def _work_of(name: str, slices: Sequence[SliceReport]) -> StageWork:
    seconds = sum(report.seconds for report in slices)
    rates = {}
    if seconds > 0 and not any(report.kept for report in slices):
        for unit in _UNITS:
            done = sum(report.taken.get(unit, report.made.get(unit, 0)) for report in slices)
            if done:
                rates[unit] = done / seconds
    return StageWork(
        name,
        tuple(report.seconds for report in slices),
        rates,
        max(report.peak_memory_bytes for report in slices),
    )


def draw_stages(works: Sequence[StageWork], about: str, so_far: str = "") -> Figure:
    """Return bars of the seconds, the rates and the peak memory of each stage."""
    from matplotlib.ticker import NullLocator

    figure, (in_seconds, in_rates, in_memory) = panels(3, 3, (4.8, 0.6 + 0.62 * len(works)))
    for row, work in enumerate(works):
        total, slowest = sum(work.seconds), max(work.seconds)
        is_cut = len(work.seconds) > 1
        bar = {"height": 0.62, **OUTLINE}
        in_seconds.barh(row, total, color="white", label=_ALL_JOBS, **bar)
        text = _rounded(total)
        if is_cut:
            in_seconds.plot(slowest, row, "kD", clip_on=False, label=_SLOWEST)
            text = f"  {text} in {len(work.seconds)} jobs, slowest {_rounded(slowest)}"
        text_beside(in_seconds, total, row, text)
        _draw_rates(in_rates, row, work)
        if work.peak_memory_bytes is not None:
            megabytes = work.peak_memory_bytes / _MB
            in_memory.barh(row, megabytes, color=MARKS[3].face, hatch=MARKS[3].hatch, **bar)
            text_beside(in_memory, megabytes, row, f"{megabytes:,.0f}")
    names = [work.name.replace("_", " ") for work in works]
    name_rows(in_seconds, names)
    for axes in (in_rates, in_memory):
        name_rows(axes, [""] * len(names))
    # Room for the numbers beside the longest bars.
    longest = max(sum(work.seconds) for work in works) or 1.0
    in_seconds.set_xlim(
        0, 2.2 * longest if any(len(w.seconds) > 1 for w in works) else 1.3 * longest
    )
    in_memory.set_xlim(0, 1.3 * max([w.peak_memory_bytes or 0 for w in works]) / _MB or 1.0)
    in_seconds.set_xlabel("time [s]")
    in_memory.set_xlabel("peak memory of a process [MB]")
    rates = [rate for work in works for rate in work.rates.values()]
    in_rates.set_xscale("log")
    in_rates.set_xlim(min(rates, default=1.0) / 3, 300 * max(rates, default=1.0))
    in_rates.xaxis.set_minor_locator(NullLocator())
    in_rates.set_xlabel("rate of one job [1/s]")
    labelled = handles_of([in_rates, in_seconds])
    if _SLOWEST not in labelled:
        labelled.pop(_ALL_JOBS, None)
    finish(figure, f"What the stages took{so_far}", about, labelled)
    return figure


def _draw_rates(axes: Axes, row: int, work: StageWork) -> None:
    height = 0.62 / max(1, len(work.rates))
    for number, (unit, rate) in enumerate(work.rates.items()):
        mark = MARKS[_UNITS.index(unit)]
        y = row - 0.31 + height * (number + 0.5)
        axes.barh(
            y,
            rate,
            height=height,
            color=mark.face,
            hatch=mark.hatch,
            label=unit,
            **OUTLINE,
        )
        text_beside(axes, rate, y, _rounded(rate))


def _rounded(number: float) -> str:
    """Return three digits, or all that stand before the point."""
    return f"{number:,.0f}" if number >= 100.0 else f"{number:.3g}"  # noqa: PLR2004


def chunk_works(contents: Contents) -> dict[str, list[ChunkWork]]:
    """Return what each chunk took, by the stage: with the events or masses that went in."""
    found: dict[str, tuple[bool, Sequence[tuple[int, ChunkReport]]]] = {
        "parsing, events read": (
            contents.parsed.is_own,
            [(chunk.events_read, chunk) for chunk in contents.parsed.chunks],
        ),
        "mass calculating, events": (
            contents.computed.is_own,
            [(chunk.events_in, chunk) for chunk in contents.computed.chunks],
        ),
        "post processing, masses": (
            True,
            [(chunk.masses_in, chunk) for chunk in contents.processed.chunks],
        ),
    }
    return {
        name: [ChunkWork(size, chunk.seconds, chunk.peak_memory_bytes) for size, chunk in chunks]
        for name, (is_own, chunks) in found.items()
        if is_own and chunks
    }


def draw_chunks(
    chunks: dict[str, list[ChunkWork]], jobs: dict[str, list[tuple[int, float]]], about: str
) -> Figure:
    """Return seconds and memory of each chunk against its size, and the seconds of each job."""
    figure, all_axes = panels(3 if jobs else 2, 3, (4.8, 4.2))
    for number, (name, of_stage) in enumerate(chunks.items()):
        # A logarithm has no place for an empty chunk.
        sizes = [max(work.size, 1) for work in of_stage]
        look = _points(number)
        all_axes[0].plot(sizes, [work.seconds for work in of_stage], label=name, **look)
        all_axes[1].plot(sizes, [work.peak_memory_bytes / _MB for work in of_stage], **look)
    for axes in all_axes[:2]:
        axes.margins(0.08)
        axes.set_xscale("log")
        axes.set_xlabel("events or masses of the chunk")
        log_numbers(axes.xaxis)
    all_axes[0].set_yscale("log")
    log_numbers(all_axes[0].yaxis)
    all_axes[0].set_ylabel("time of the chunk [s]")
    most = max(work.peak_memory_bytes for of_stage in chunks.values() for work in of_stage)
    all_axes[1].set_ylim(0.0, 1.15 * most / _MB)
    all_axes[1].set_ylabel("peak memory of its process [MB]")
    if jobs:
        for number, (name, of_jobs) in enumerate(jobs.items()):
            look = _points(number) | {"linestyle": ":", "color": "black", "linewidth": 0.8}
            all_axes[2].plot(*zip(*of_jobs, strict=True), label=name.replace("_", " "), **look)
        all_axes[2].margins(0.08)
        all_axes[2].set_xlabel("job")
        number_axis(all_axes[2].xaxis)
        all_axes[2].set_yscale("log")
        log_numbers(all_axes[2].yaxis)
        all_axes[2].set_ylabel("time of the job [s]")
        all_axes[2].set_title("jobs, by stage")
        all_axes[2].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    n_chunks = max(len(of_stage) for of_stage in chunks.values())
    finish(figure, f"What the {n_chunks:,} chunks took", about, handles_of(all_axes[:1]))
    return figure


def _points(number: int) -> dict[str, Any]:
    mark = MARKS[number]
    return {
        "linestyle": "none",
        "marker": mark.marker,
        "markerfacecolor": mark.face,
        "markeredgecolor": "black",
        "markersize": 7,
    }

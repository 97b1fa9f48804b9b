"""im_arrays/ -> im_arrays_processed/: the plan, and each channel split into main and outliers."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from schemas.config import Config, PostProcessing
from schemas.inputs import Sample, Slice
from schemas.labels import Channel
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, MassReport, PostProcessingReport, SliceReport
from services.calculations.objects import Integers
from services.calculations.spectra import (
    Cuts,
    Grid,
    Spectra,
    count_classes,
    decide_cuts,
)
from services.contents import sum_spectra
from services.monitoring import bar, peak_memory_bytes
from services.run_directory import (
    RunDirectory,
    arrays_folder,
    chunk_report,
    slice_report,
)
from services.storage import reports
from services.storage.arrays import ArrayFolder, list_arrays, read_array
from services.storage.atomic import appearing, write_text
from services.storage.slices import completed_slices

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice) -> SliceReport:
    """Write the plan, split the arrays of a slice's chunks by it, and return what was done.

    Raises:
        DataError: the masses are not complete, or are damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processing = config.post_processing_task_config
    computed = completed_slices(paths.processing_input, "mass_calculating")
    chunks = [name for summary in computed for name in summary.chunks]
    cuts, plan = make_plan(processing, sum_spectra(paths.processing_input, computed))
    reports.write(paths.plan_file, plan, part)
    write_text(paths.channel_table, channel_table(plan), part)
    made = []
    for chunk in bar(chunks, "post_processing", show=config.parsing_task_config.show_progress_bar):
        source = reports.read(chunk_report(paths.processing_input, chunk), MassReport)
        report = split_chunk(config, paths, part, source, cuts[source.sample])
        reports.write(chunk_report(paths.processed, chunk), report, part)
        made.append(report)
    summary = _summarise(plan, made, part, time.monotonic() - started)
    reports.write(slice_report(paths.processed, part), summary, part)
    return summary


def make_plan(
    processing: PostProcessing, spectra: Mapping[Sample, Spectra]
) -> tuple[dict[Sample, dict[str, Cuts]], Plan]:
    """Decide the cuts of every channel from the spectra of the whole run."""
    grid = Grid.of(processing)
    cuts: dict[Sample, dict[str, Cuts]] = {}
    channels: dict[Sample, dict[str, ChannelPlan]] = {}
    for sample, of_sample in spectra.items():
        cuts[sample] = {}
        channels[sample] = {}
        for position, channel in enumerate(of_sample.channels):
            spectrum = of_sample.dense(position, grid)
            decided = decide_cuts(spectrum, processing)
            cuts[sample][channel] = decided
            channels[sample][channel] = _describe(spectrum, decided, grid)
    return cuts, Plan(
        bin_width_gev=grid.width, max_mass_gev=processing.max_mass_gev, channels=channels
    )


def _describe(spectrum: Integers, cuts: Cuts, grid: Grid) -> ChannelPlan:
    filled = np.flatnonzero(spectrum[:-1])
    return ChannelPlan(
        entries=int(spectrum.sum()),
        peak_gev=None if cuts.peak is None else cuts.peak * grid.width,
        low_gev=cuts.low * grid.width,
        high_gev=None if cuts.high is None else cuts.high * grid.width,
        last_gev=(int(filled[-1]) + 1) * grid.width if len(filled) else 0.0,
        classes=count_classes(spectrum, cuts, grid),
        dropped="no peak" if cuts.peak is None else None,
    )


_TABLE_HEADER = (
    "sample final_state combination entries peak_gev low_gev high_gev "
    "main tail overflow turn_on dropped"
)


def channel_table(plan: Plan) -> str:
    """Return the plan as a table for people, in CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_TABLE_HEADER.split())
    for sample, channels in plan.channels.items():
        for name, decided in channels.items():
            channel = Channel.parse(name)
            edges = (decided.peak_gev, decided.low_gev, decided.high_gev)
            counts = decided.classes
            writer.writerow(
                [
                    *(sample.value, channel.final_state, channel.combination, decided.entries),
                    *("" if edge is None else edge for edge in edges),
                    *(counts.main, counts.tail, counts.overflow, counts.turn_on),
                    decided.dropped or "",
                ]
            )
    return text.getvalue()


def split_chunk(
    config: Config,
    paths: RunDirectory,
    part: Slice,
    source: MassReport,
    cuts: Mapping[str, Cuts],
) -> PostProcessingReport:
    """Split the arrays of one chunk into `{channel}_main` and `{channel}_outliers`.

    Raises:
        DataError: an array is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    grid = Grid.of(config.post_processing_task_config)
    threshold = config.parsing_task_config.chunk_yield_threshold_bytes
    read_from = arrays_folder(paths.processing_input, source.chunk)
    counts: dict[str, int] = dict.fromkeys(ClassCounts.model_fields, 0)
    names = list_arrays(read_from)
    n_masses = 0
    with (
        appearing(arrays_folder(paths.processed, source.chunk), part, folder=True) as temporary,
        ArrayFolder(temporary) as arrays,
    ):
        for name in names:
            for masses in read_array(read_from, name, threshold):
                classes = cuts[name].classes(grid.bins(masses), grid)
                for of_class, mask in classes.items():
                    counts[of_class] += int(np.count_nonzero(mask))
                outliers = classes["tail"] | classes["overflow"]
                n_masses += len(masses)
                for ending, mask in (("main", classes["main"]), ("outliers", outliers)):
                    if mask.any():
                        arrays.append(f"{name}_{ending}", masses[mask])
                if arrays.held_bytes >= threshold:
                    arrays.flush()
    return PostProcessingReport(
        chunk=source.chunk,
        sample=source.sample,
        source=source.source,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        output=arrays.output(source.chunk),
        channels=len(names),
        masses_in=n_masses,
        classes=ClassCounts(**counts),
    ).check(source.masses)


def _summarise(
    plan: Plan, made: Sequence[PostProcessingReport], part: Slice, seconds: float
) -> SliceReport:
    total = sum((report.classes for report in made), ClassCounts())
    dropped = [p for channels in plan.channels.values() for p in channels.values() if p.dropped]
    return SliceReport(
        stage="post_processing",
        slice_index=part.index,
        slice_total=part.total,
        chunks=tuple(report.chunk for report in made),
        seconds=seconds,
        peak_memory_bytes=max((report.peak_memory_bytes for report in made), default=0),
        samples=tuple(dict.fromkeys(report.sample for report in made)),
        taken={"masses": sum(report.masses_in for report in made)},
        made={"main": total.main, "outliers": total.outliers},
        lost={"turn-on": total.turn_on, "channels dropped": len(dropped)},
    )

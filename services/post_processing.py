"""im_arrays/ -> im_arrays_processed/: the plan, and each channel split into main and outliers."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial

import numpy as np

from schemas.config import Config, PostProcessing, digest
from schemas.inputs import Sample, Slice
from schemas.labels import Channel
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, MassReport, PostProcessingReport, SliceReport
from services import barriers
from services.calculations.objects import Integers
from services.calculations.spectra import (
    Cuts,
    Grid,
    Spectra,
    add_spectra,
    count_classes,
    decide_cuts,
)
from services.chunks import ChunkStage, ChunkTask, digest_of, make_or_keep
from services.monitoring import peak_memory_bytes
from services.run_directory import (
    RunDirectory,
    arrays_folder,
    chunk_report,
    slice_report,
    summed_spectra,
)
from services.storage import reports
from services.storage.arrays import (
    ArrayFolder,
    describe_arrays,
    list_arrays,
    read_array,
    read_spectra,
)
from services.storage.atomic import appearing, write_text
from services.workers import Workers

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice, workers: Workers) -> SliceReport:
    """Write the plan, split the arrays of a slice's chunks by it, and return what was done.

    Raises:
        BarrierError: the masses are not complete.
        DataError: the masses are damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processing = config.post_processing_task_config
    computed = barriers.completed_slices(
        paths.processing_input,
        "mass_calculating",
        part,
        config.run_metadata.barrier_wait_seconds,
    )
    cuts, plan = make_plan(processing, _sum_spectra(paths, computed))
    reports.write(paths.plan_file, plan, part)
    write_text(paths.channel_table, channel_table(plan), part)
    settings = digest(config, "post_processing")
    tasks = []
    for chunk in barriers.dealt_chunks(computed, part):
        source = reports.read(chunk_report(paths.processing_input, chunk), MassReport)
        of_chunk = {
            name: cuts[source.sample][name]
            for name in list_arrays(arrays_folder(paths.processing_input, chunk))
        }
        inputs = digest_of(settings, source.content, [[n, astuple(c)] for n, c in of_chunk.items()])
        threshold = config.parsing_task_config.chunk_yield_threshold_bytes
        tasks.append(ChunkTask(chunk, inputs, (source, of_chunk), threshold))
    stage = ChunkStage(
        "post_processing",
        paths.processed,
        PostProcessingReport,
        make=partial(split_chunk, config, paths, part),
        describe=partial(describe_arrays, paths.processed),
    )
    show = config.parsing_task_config.show_progress_bar
    made, n_kept = make_or_keep(stage, tasks, workers, show=show)
    total = sum((report.classes for report in made), ClassCounts())
    dropped = [p for channels in plan.channels.values() for p in channels.values() if p.dropped]
    summary = SliceReport(
        stage="post_processing",
        slice_index=part.index,
        slice_total=part.total,
        chunks=tuple(report.chunk for report in made),
        inputs=digest_of(settings, [report.content for report in computed]),
        content=digest_of([report.content for report in made]),
        kept=n_kept,
        seconds=time.monotonic() - started,
        peak_memory_bytes=max((report.peak_memory_bytes for report in made), default=0),
        samples=tuple(dict.fromkeys(report.sample for report in made)),
        taken={"masses": sum(report.masses_in for report in made)},
        made={"main": total.main, "outliers": total.outliers},
        lost={"turn-on": total.turn_on, "channels dropped": len(dropped)},
    )
    reports.write(slice_report(paths.processed, part), summary, part)
    return summary


def _sum_spectra(paths: RunDirectory, computed: Sequence[SliceReport]) -> dict[Sample, Spectra]:
    summed = {}
    for sample in Sample:
        parts = [
            Slice(summary.slice_index, summary.slice_total)
            for summary in computed
            if sample in summary.samples
        ]
        files = [summed_spectra(paths.processing_input, part, sample) for part in parts]
        summed[sample] = add_spectra(read_spectra(file) for file in files)
    return summed


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
    config: Config, paths: RunDirectory, part: Slice, task: ChunkTask
) -> PostProcessingReport:
    """Split the arrays of one chunk into `{channel}_main` and `{channel}_outliers`, and report.

    Raises:
        DataError: an array is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    source: MassReport
    cuts: Mapping[str, Cuts]
    source, cuts = task.source
    grid = Grid.of(config.post_processing_task_config)
    threshold = task.threshold_bytes
    read_from = arrays_folder(paths.processing_input, source.chunk)
    counts: dict[str, int] = dict.fromkeys(ClassCounts.model_fields, 0)
    n_masses = 0
    with (
        appearing(arrays_folder(paths.processed, source.chunk), part, folder=True) as temporary,
        ArrayFolder(temporary) as arrays,
    ):
        for name, decided in cuts.items():
            for masses in read_array(read_from, name, threshold):
                classes = decided.classes(grid.bins(masses), grid)
                for of_class, mask in classes.items():
                    counts[of_class] += int(np.count_nonzero(mask))
                outliers = classes["tail"] | classes["overflow"]
                n_masses += len(masses)
                for ending, mask in (("main", classes["main"]), ("outliers", outliers)):
                    if mask.any():
                        arrays.append(f"{name}_{ending}", masses[mask])
                if arrays.held_bytes >= threshold:
                    arrays.flush()
    report = PostProcessingReport(
        chunk=source.chunk,
        inputs=task.inputs,
        sample=source.sample,
        source=source.source,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        output=arrays.output(source.chunk),
        channels=len(cuts),
        masses_in=n_masses,
        classes=ClassCounts(**counts),
    ).check(source.masses)
    reports.write(chunk_report(paths.processed, source.chunk), report, part)
    return report

"""im_arrays_processed/ -> histograms/: ROOT histograms per channel and bin width."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from schemas.config import Config, digest
from schemas.errors import DataError
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport, MassReport, PostProcessingReport, SliceReport
from services import barriers
from services.calculations.filling import main_bins, unprocessed_bins
from services.calculations.spectra import Grid
from services.chunks import digest_of
from services.histogram_writing import Filled, SampleHistograms, write_sample
from services.monitoring import peak_memory_bytes
from services.run_directory import RunDirectory, chunk_report, slice_report
from services.storage import reports
from services.storage.arrays import Arrays, open_arrays
from services.storage.histograms import LARGEST_EXACT
from services.workers import Workers

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice, workers: Workers) -> SliceReport:
    """Fill and write the histograms, data and simulation apart, and return what was done.

    Raises:
        DataError: post-processing is not complete, or is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processed = barriers.completed_slices(
        paths.histograms_input, "post_processing", part, config.run_metadata.barrier_wait_seconds
    )
    chunks = [name for summary in processed for name in summary.chunks]
    plan_file = paths.histograms_input / paths.plan_file.name
    plan = reports.read(plan_file, Plan)
    groups = [tuple(chunks[first :: workers.n_workers]) for first in range(workers.n_workers)]
    filled: dict[Sample, SampleHistograms] = {}
    for outcome in workers.map(
        partial(fill_chunks, config, paths, plan_file), [group for group in groups if group]
    ):
        if outcome.result is None:
            msg = f"histogram_creation: {outcome.died}; give the job more memory"
            raise DataError(msg)
        for sample, counted in outcome.result.items():
            if sample not in filled:
                filled[sample] = prepare(config, plan, sample)
            filled[sample] += counted
    for of_sample in filled.values():
        of_sample.inputs.append(reports.describe(plan_file))
    written = [write_sample(config, paths, part, filled[sample]) for sample in sorted(filled)]
    summary = _summarise(config, part, processed, written, time.monotonic() - started)
    reports.write(slice_report(paths.histograms, part), summary, part)
    return summary


def prepare(config: Config, plan: Plan, sample: Sample) -> SampleHistograms:
    """Return empty histograms of a sample; their edges come from plan and configuration alone."""
    histograms = config.histogram_creation_task_config
    everything = (
        unprocessed_bins(plan, sample, histograms) if histograms.also_save_unprocessed else {}
    )
    return SampleHistograms(
        sample=sample,
        main=Filled.empty(main_bins(plan, sample, histograms)),
        unprocessed=Filled.empty(everything),
    )


def fill_chunks(
    config: Config, paths: RunDirectory, plan_file: Path, chunks: Sequence[str]
) -> dict[Sample, SampleHistograms]:
    """Return the counts of some chunks together, per sample.

    Raises:
        DataError: a chunk is damaged.
    """
    plan = reports.read(plan_file, Plan)
    filled: dict[Sample, SampleHistograms] = {}
    for chunk in chunks:
        source = reports.read(chunk_report(paths.histograms_input, chunk), PostProcessingReport)
        if source.sample not in filled:
            filled[source.sample] = prepare(config, plan, source.sample)
        of_sample = filled[source.sample]
        of_sample.sources.add(source.source)
        of_sample.inputs.append(source.output)
        fill_chunk(config, paths, chunk, plan, of_sample)
    return filled


def fill_chunk(
    config: Config, paths: RunDirectory, chunk: str, plan: Plan, filled: SampleHistograms
) -> None:
    """Add the masses of one chunk.

    Raises:
        DataError: an array is damaged, or masses that are asked for unprocessed are not there.
    """
    grid = Grid(plan.bin_width_gev, round(plan.max_mass_gev / plan.bin_width_gev))
    n_bytes = config.parsing_task_config.chunk_yield_threshold_bytes
    endings = ["_main"]
    if not config.histogram_creation_task_config.exclude_outliers:
        endings.append("_outliers")
    with open_arrays(paths.histograms_input, chunk) as stored:
        _fill(filled.main, stored, endings, grid, n_bytes)
    if filled.unprocessed.bins:
        # Without its report, a chunk's masses are not whole.
        reports.read(chunk_report(paths.processing_input, chunk), MassReport)
        with open_arrays(paths.processing_input, chunk) as stored:
            _fill(filled.unprocessed, stored, [""], grid, n_bytes)


def _fill(filled: Filled, stored: Arrays, endings: Iterable[str], grid: Grid, n_bytes: int) -> None:
    for name, counts in filled.counts.items():
        for ending in endings:
            for masses in stored.read(f"{name}{ending}", n_bytes):
                counts.fill(masses, filled.bins[name], grid)


def _summarise(
    config: Config,
    part: Slice,
    processed: Sequence[SliceReport],
    written: Sequence[HistogramReport],
    seconds: float,
) -> SliceReport:
    notes = []
    rounded = sum(report.rounded for report in written)
    kind = config.histogram_creation_task_config.histogram_type
    if rounded:
        notes.append(
            f"{rounded:,} histograms have bins of more than {LARGEST_EXACT[kind]:,} entries, which "
            f"{kind} rounds; histogram_type: TH1D keeps them exact"
        )
        log.warning("histogram_creation: %s", notes[-1])
    return SliceReport(
        stage="histogram_creation",
        slice_index=part.index,
        slice_total=part.total,
        chunks=tuple(chunk for report in processed for chunk in report.chunks),
        inputs=digest_of(digest(config, "histogram_creation"), [r.content for r in processed]),
        content=digest_of([o.sha256 for report in written for o in report.outputs]),
        seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(),
        samples=tuple(report.sample for report in written),
        taken={
            "channels": sum(report.channels for report in written),
            "masses": sum(report.masses_in for report in written),
        },
        made={
            "histograms": sum(report.histograms for report in written),
            "ROI copies": sum(report.roi_copies for report in written),
            "unprocessed": sum(report.unprocessed for report in written),
        },
        lost={
            "overflow": sum(report.overflow for report in written),
            "rejected for BumpNet": sum(len(report.rejected) for report in written),
        },
        histograms=tuple(written),
        notes=tuple(notes),
    )

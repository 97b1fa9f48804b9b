"""im_arrays_processed/ -> histograms/: ROOT histograms per channel and bin width."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.config import Config, is_multiple
from schemas.errors import ConfigError
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport, MassReport, PostProcessingReport, SliceReport
from services.calculations.filling import main_bins, unprocessed_bins
from services.calculations.spectra import Grid
from services.histogram_writing import Filled, SampleHistograms, write_sample
from services.monitoring import bar, peak_memory_bytes
from services.run_directory import RunDirectory, arrays_folder, chunk_report, slice_report
from services.storage import reports
from services.storage.arrays import read_array
from services.storage.histograms import LARGEST_EXACT
from services.storage.slices import completed_slices

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice) -> SliceReport:
    """Fill and write the histograms, data and simulation apart, and return what was done.

    Raises:
        ConfigError: the plan, of another run, has a grid that a bin width does not divide.
        DataError: post-processing is not complete, or is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processed = completed_slices(paths.histograms_input, "post_processing")
    chunks = [name for summary in processed for name in summary.chunks]
    plan_file = paths.histograms_input / paths.plan_file.name
    plan = reports.read(plan_file, Plan)
    filled: dict[Sample, SampleHistograms] = {}
    show = config.parsing_task_config.show_progress_bar
    for chunk in bar(chunks, "histogram_creation", show=show):
        source = reports.read(chunk_report(paths.histograms_input, chunk), PostProcessingReport)
        if source.sample not in filled:
            filled[source.sample] = prepare(config, plan, source.sample)
            filled[source.sample].inputs.append(reports.describe(plan_file))
        of_sample = filled[source.sample]
        of_sample.sources.add(source.source)
        of_sample.inputs.append(source.output)
        fill_chunk(config, paths, chunk, plan, of_sample)
    written = [write_sample(config, paths, part, of_sample) for of_sample in filled.values()]
    summary = _summarise(config, part, chunks, written, time.monotonic() - started)
    reports.write(slice_report(paths.histograms, part), summary, part)
    return summary


def prepare(config: Config, plan: Plan, sample: Sample) -> SampleHistograms:
    """Return empty histograms of a sample; their edges come from plan and configuration alone.

    Raises:
        ConfigError: the plan, of another run, has a grid that a bin width does not divide.
    """
    histograms = config.histogram_creation_task_config
    for width in histograms.bin_width_gev if histograms.binning == "fixed" else ():
        if not is_multiple(plan.bin_width_gev, width):
            msg = (
                f"histogram_creation_task_config.bin_width_gev: {width} does not divide the bin "
                f"width of the plan that is read ({plan.bin_width_gev}); choose one that does"
            )
            raise ConfigError(msg)
    everything = (
        unprocessed_bins(plan, sample, histograms) if histograms.also_save_unprocessed else {}
    )
    return SampleHistograms(
        sample=sample,
        main=Filled.empty(main_bins(plan, sample, histograms)),
        unprocessed=Filled.empty(everything),
    )


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
    _fill(filled.main, arrays_folder(paths.histograms_input, chunk), endings, grid, n_bytes)
    if filled.unprocessed.bins:
        # Without its report, a chunk's masses are not whole.
        reports.read(chunk_report(paths.processing_input, chunk), MassReport)
        _fill(filled.unprocessed, arrays_folder(paths.processing_input, chunk), [""], grid, n_bytes)


def _fill(filled: Filled, folder: Path, endings: Iterable[str], grid: Grid, n_bytes: int) -> None:
    for name, counts in filled.counts.items():
        for ending in endings:
            for masses in read_array(folder, f"{name}{ending}", n_bytes):
                counts.fill(masses, filled.bins[name], grid)


def _summarise(
    config: Config,
    part: Slice,
    chunks: Sequence[str],
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
        chunks=tuple(chunks),
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

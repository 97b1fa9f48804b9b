"""im_arrays_processed/ -> histograms/: one ROOT histogram per channel and bin width."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from schemas.config import Config
from schemas.inputs import Sample, Slice
from schemas.labels import Channel, mass_histogram_name
from schemas.plan import Plan
from schemas.reports import HistogramReport, PostProcessingReport, SliceReport
from services.calculations.objects import Array, Integers
from services.calculations.spectra import Grid, fill
from services.contents import origin_note
from services.monitoring import bar, peak_memory_bytes
from services.run_directory import RunDirectory, arrays_folder, chunk_report, slice_report
from services.storage import reports
from services.storage.arrays import read_array
from services.storage.atomic import appearing
from services.storage.histograms import MassHistogram, write_histograms
from services.storage.slices import completed_slices

log = logging.getLogger(__name__)

LICENCE = "CC0-1.0, as the open data it is made from"


def run(config: Config, paths: RunDirectory, part: Slice) -> SliceReport:
    """Fill and write the histograms, data and simulation apart, and return what was done.

    Raises:
        DataError: post-processing is not complete, or is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processed = completed_slices(paths.histograms_input, "post_processing")
    chunks = [name for summary in processed for name in summary.chunks]
    plan = reports.read(paths.histograms_input / paths.plan_file.name, Plan)
    filled: dict[Sample, dict[str, _Filling]] = {}
    sources: dict[Sample, set[str]] = {}
    show = config.parsing_task_config.show_progress_bar
    for chunk in bar(chunks, "histogram_creation", show=show):
        source = reports.read(chunk_report(paths.histograms_input, chunk), PostProcessingReport)
        sample = source.sample
        sources.setdefault(sample, set()).add(source.source)
        fillings = filled.setdefault(sample, prepare(config, plan, sample))
        fill_chunk(config, paths, chunk, plan, fillings)
    written = [
        _write(config, paths, part, sample, fillings, sources[sample])
        for sample, fillings in filled.items()
    ]
    summary = SliceReport(
        stage="histogram_creation",
        slice_index=part.index,
        slice_total=part.total,
        chunks=tuple(chunks),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        samples=tuple(filled),
        taken={
            "channels": sum(report.channels for report in written),
            "masses": sum(report.masses_in for report in written),
        },
        made={"histograms": sum(report.histograms for report in written)},
        lost={"overflow": sum(report.overflow for report in written)},
        histograms=tuple(written),
    )
    reports.write(slice_report(paths.histograms, part), summary, part)
    return summary


@dataclass
class _Filling:
    """The counts of one channel, per bin width, while chunks are added."""

    planned: int
    low_gev: float
    high_gev: float
    counts: dict[float, Integers]
    sum_m: float = 0.0
    sum_m2: float = 0.0
    masses_in: int = 0
    overflow: int = 0

    def add(self, masses: Array, grid: Grid) -> None:
        """Count masses in GeV, shape (n,); overflow is counted but not filled."""
        self.masses_in += len(masses)
        inside = masses[grid.bins(masses) < grid.n_bins]
        self.overflow += len(masses) - len(inside)
        exact = inside.astype(np.float64)
        self.sum_m += float(exact.sum())
        self.sum_m2 += float(np.square(exact).sum())
        for width, counts in self.counts.items():
            first_bin = round(self.low_gev / width)
            np.add(counts, fill(inside, width, first_bin, len(counts)), out=counts)


def prepare(config: Config, plan: Plan, sample: Sample) -> dict[str, _Filling]:
    """Return empty histograms of every kept channel; their edges come from the plan alone."""
    histograms = config.histogram_creation_task_config
    fillings = {}
    for name, decided in plan.kept(sample).items():
        high, planned = decided.end_gev, decided.classes.main
        if not histograms.exclude_outliers:
            high, planned = decided.last_gev, planned + decided.classes.outliers
        counts = {
            width: np.zeros(round((high - decided.low_gev) / width), dtype=np.int64)
            for width in histograms.bin_width_gev
        }
        fillings[name] = _Filling(planned, decided.low_gev, high, counts)
    return fillings


def fill_chunk(
    config: Config,
    paths: RunDirectory,
    chunk: str,
    plan: Plan,
    fillings: Mapping[str, _Filling],
) -> None:
    """Add the masses of one chunk.

    Raises:
        DataError: an array is damaged.
    """
    grid = Grid(plan.bin_width_gev, round(plan.max_mass_gev / plan.bin_width_gev))
    threshold = config.parsing_task_config.chunk_yield_threshold_bytes
    folder = arrays_folder(paths.histograms_input, chunk)
    endings = ["main"]
    if not config.histogram_creation_task_config.exclude_outliers:
        endings.append("outliers")
    for name, filling in fillings.items():
        for ending in endings:
            for masses in read_array(folder, f"{name}_{ending}", threshold):
                filling.add(masses, grid)


def _write(
    config: Config,
    paths: RunDirectory,
    part: Slice,
    sample: Sample,
    fillings: Mapping[str, _Filling],
    sources: set[str],
) -> HistogramReport:
    path = paths.histogram_file(sample)
    with appearing(path, part) as temporary:
        write_histograms(
            temporary, _histograms(config, sample, fillings, sources), _about(sources, sample)
        )
    widths = config.histogram_creation_task_config.bin_width_gev
    return HistogramReport(
        sample=sample,
        channels=len(fillings),
        histograms=len(fillings) * len(widths),
        masses_in=sum(filling.masses_in for filling in fillings.values()),
        entries={
            str(width): sum(int(f.counts[width].sum()) for f in fillings.values())
            for width in widths
        },
        overflow=sum(filling.overflow for filling in fillings.values()),
        output=reports.describe(path),
    ).check(sum(filling.planned for filling in fillings.values()))


def _histograms(
    config: Config, sample: Sample, fillings: Mapping[str, _Filling], sources: set[str]
) -> Iterator[MassHistogram]:
    use_bumpnet_naming = config.histogram_creation_task_config.use_bumpnet_naming
    for name, filling in fillings.items():
        channel = Channel.parse(name)
        title = f"{channel.combination} in {channel.final_state}{_remark(sources, sample)}"
        for width, counts in filling.counts.items():
            yield MassHistogram(
                name=mass_histogram_name(channel, width, bumpnet=use_bumpnet_naming),
                title=title,
                low=filling.low_gev,
                high=filling.high_gev,
                counts=counts,
                sum_m=filling.sum_m,
                sum_m2=filling.sum_m2,
            )


def _remark(sources: set[str], sample: Sample) -> str:
    note = origin_note(sources, sample)
    return f" ({note})" if note else ""


def _about(sources: set[str], sample: Sample) -> str:
    return json.dumps(
        {
            "content": f"invariant-mass histograms{_remark(sources, sample)}",
            "sources": sorted(sources),
            "sample": sample.value,
            "energies": "GeV",
            "licence": LICENCE,
        },
        indent=1,
    )

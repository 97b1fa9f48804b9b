"""im_arrays_processed/ -> histograms/: ROOT histograms per channel and bin width."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from schemas.config import Config
from schemas.errors import DataError
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import MassReport, PostProcessingReport, SliceReport
from services import barriers
from services.batch_histograms import write_batch
from services.calculations.spectra import Grid
from services.chunks import died_twice, digest_of, smaller
from services.contents import filled_of
from services.histogram_writing import (
    Filled,
    SampleHistograms,
    books,
    prepare,
    rounding_notes,
    write_sample,
)
from services.monitoring import Progress, peak_memory_bytes
from services.run_directory import RunDirectory, chunk_report, slice_report
from services.storage import reports
from services.storage.arrays import Arrays, checked_arrays
from services.workers import Workers, tell_position, tell_progress

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice, workers: Workers) -> SliceReport:
    """Fill and write the histograms, data and simulation apart, and return what was done.

    Raises:
        ConfigError: the plan, of another run, has a grid that a bin width does not divide.
        DataError: post-processing is not complete, or is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    processed = barriers.processed_slices(config, paths, part)
    chunks = barriers.dealt_chunks(processed, part)
    plan_file = paths.histograms_input / paths.plan_file.name
    for output in processed[0].outputs:
        reports.check(paths.histograms_input / output.name, output)
    plan = reports.read(plan_file, Plan)
    filled: dict[Sample, SampleHistograms] = {}
    for counts in _filled_groups(config, paths, plan_file, chunks, workers):
        for sample, counted in counts.items():
            if sample not in filled:
                filled[sample] = prepare(config, plan, sample)
            filled[sample] += counted
    described = reports.describe(plan_file)
    if part.total > 1:
        # What the whole decides, and the plan that all have read, are added when all are merged.
        written = [
            write_batch(config, paths, part, filled[sample], described) for sample in sorted(filled)
        ]
    else:
        for of_sample in filled.values():
            of_sample.inputs.append(described)
        written = [write_sample(config, paths, part, filled[sample]) for sample in sorted(filled)]
    summary = SliceReport(
        stage="histogram_creation",
        slice_index=part.index,
        slice_total=part.total,
        chunks=chunks,
        inputs=filled_of(config, processed[0].inputs),
        content=digest_of([o.xxh128 for report in written for o in report.outputs]),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        samples=tuple(report.sample for report in written),
        histograms=tuple(written),
        notes=rounding_notes(config, written),
        **books(written),
    )
    reports.write(slice_report(paths.histograms, part), summary, part)
    return summary


def _filled_groups(
    config: Config, paths: RunDirectory, plan_file: Path, chunks: Sequence[str], workers: Workers
) -> Iterator[dict[Sample, SampleHistograms]]:
    """Yield what the workers have counted, each of a group of chunks, in the order of the groups.

    Sums of masses are rounded, so that another order would give other last digits.

    Raises:
        DataError: a chunk is damaged, or a worker died.
    """
    every = workers.n_workers
    groups = {group[0]: group for n in range(every) if (group := tuple(chunks[n::every]))}
    planned = {key: {"masses": None, "chunks": len(group)} for key, group in groups.items()}
    parsing = config.parsing_task_config
    n_bytes = parsing.chunk_yield_threshold_bytes
    counted = {}
    with Progress("histogram_creation", planned, show=parsing.show_progress_bar) as progress:

        def hear(group: Sequence[str] | None, counts: Mapping[str, int]) -> None:
            progress.hear(None if group is None else group[0], counts)

        waiting = [*groups.values()]
        for at_a_time in (n_bytes, smaller(n_bytes)):
            work = partial(fill_chunks, config, paths, plan_file, at_a_time)
            killed = []
            for outcome in workers.map(work, waiting, hear):
                key = outcome.task[0]
                if outcome.result is None:
                    where = outcome.position or key
                    log.error("histogram_creation: %s: %s", where, outcome.died)
                    progress.forget(key)
                    killed.append((where, outcome))
                else:
                    progress.finish(key)
                    counted[key] = outcome.result
            waiting = [outcome.task for _, outcome in killed]
    if killed:
        where, outcome = killed[0]
        msg = died_twice("histogram_creation", where, outcome.died, smaller(n_bytes))
        raise DataError(msg)
    for key in groups:
        yield counted.pop(key)


def fill_chunks(
    config: Config, paths: RunDirectory, plan_file: Path, n_bytes: int, chunks: Sequence[str]
) -> dict[Sample, SampleHistograms]:
    """Return the counts of some chunks together, per sample, reading so many bytes at a time.

    Raises:
        DataError: a chunk is damaged.
    """
    plan = reports.read(plan_file, Plan)
    filled: dict[Sample, SampleHistograms] = {}
    for chunk in chunks:
        tell_position(chunk)
        source = reports.read(chunk_report(paths.histograms_input, chunk), PostProcessingReport)
        if source.sample not in filled:
            filled[source.sample] = prepare(config, plan, source.sample)
        of_sample = filled[source.sample]
        of_sample.sources.add(source.source)
        of_sample.inputs.append(source.output)
        of_sample.stored += source.classes.main
        if not config.histogram_creation_task_config.exclude_outliers:
            of_sample.stored += source.classes.outliers
        fill_chunk(config, paths, source, plan, of_sample, n_bytes)
        tell_progress(chunks=1)
    return filled


def fill_chunk(
    config: Config,
    paths: RunDirectory,
    source: PostProcessingReport,
    plan: Plan,
    filled: SampleHistograms,
    n_bytes: int,
) -> None:
    """Add the masses of one chunk.

    Raises:
        DataError: the arrays are not those of the report, or masses that are asked for
            unprocessed are not there.
    """
    grid = Grid(plan.bin_width_gev, round(plan.max_mass_gev / plan.bin_width_gev))
    endings = ["_main"]
    if not config.histogram_creation_task_config.exclude_outliers:
        endings.append("_outliers")
    with checked_arrays(paths.histograms_input, source.chunk, source.output) as stored:
        _fill(filled.main, stored, endings, grid, n_bytes)
    if filled.unprocessed.bins:
        # Without its report, a chunk's masses are not whole.
        masses = reports.read(chunk_report(paths.processing_input, source.chunk), MassReport)
        with checked_arrays(paths.processing_input, masses.chunk, masses.output) as stored:
            _fill(filled.unprocessed, stored, [""], grid, n_bytes)


def _fill(filled: Filled, stored: Arrays, endings: Iterable[str], grid: Grid, n_bytes: int) -> None:
    for name, counts in filled.counts.items():
        for ending in endings:
            for masses in stored.read(f"{name}{ending}", n_bytes):
                counts.fill(masses, filled.bins[name], grid)
                tell_progress(masses=len(masses))

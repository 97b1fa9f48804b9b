"""histograms/batch_{i}.npz -> histograms/: the sums of all jobs, and logs/aggregated_stats.json."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path

from schemas.config import Config
from schemas.errors import DataError
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport, Output, SliceReport
from schemas.statistics import StageStatistics, Statistics
from services.batch_histograms import add_counts
from services.chunks import digest_of
from services.hadd_check import check_with_hadd
from services.histogram_writing import books, prepare, rounding_notes, write_sample
from services.monitoring import peak_memory_bytes
from services.run_directory import RunDirectory, slice_report
from services.storage import reports
from services.storage.atomic import remove

log = logging.getLogger(__name__)


def run(
    config: Config,
    paths: RunDirectory,
    filled: Sequence[SliceReport],
    decided: Sequence[Output],
) -> SliceReport:
    """Add up the histograms that all slices have counted, write them, and return what was made.

    One file at a time is read. The slices' files are only read. `decided` describes what
    post-processing decided for all of them: the plan.

    Raises:
        DataError: a file is not what its job left, or `hadd` adds up something else.
        StorageError: a file cannot be read or written.
    """
    started = time.monotonic()
    plan_file = paths.histograms_input / paths.plan_file.name
    for output in decided:
        reports.check(paths.histograms_input / output.name, output)
    plan, described = reports.read(plan_file, Plan), reports.describe(plan_file)
    hadd = shutil.which("hadd")
    written = []
    for sample in Sample:
        parts = {
            Slice(report.slice_index, report.slice_total): of_sample
            for report in filled
            for of_sample in report.histograms
            if of_sample.sample is sample
        }
        if not parts:
            continue
        total = prepare(config, plan, sample)
        for part, of_sample in parts.items():
            path = paths.batch_counts(part, sample)
            add_counts(total, path, _described(of_sample, path), config, described)
        total.check_stored()
        total.inputs.append(described)
        written.append(write_sample(config, paths, Slice(), total))
        if hadd:
            _check_or_remove(hadd, paths, sample, [*parts], written[-1])
    if hadd is None:
        log.info("merging: hadd is not on PATH; the sums were not compared with it")
    summary = SliceReport(
        stage="histogram_creation",
        slice_index=1,
        slice_total=1,
        chunks=tuple(chunk for report in filled for chunk in report.chunks),
        inputs=digest_of([report.content for report in filled]),
        content=digest_of([o.xxh128 for report in written for o in report.outputs]),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        samples=tuple(report.sample for report in written),
        histograms=tuple(written),
        notes=rounding_notes(config, written),
        **books(written),
    )
    reports.write(paths.merge_report, summary, Slice())
    return summary


def _described(report: HistogramReport, path: Path) -> Output:
    for output in report.outputs:
        if output.name == path.name:
            return output
    msg = f"{path}: the job's report does not name it; run histogram_creation of that job again"
    raise DataError(msg)


def _check_or_remove(
    hadd: str,
    paths: RunDirectory,
    sample: Sample,
    parts: Sequence[Slice],
    written: HistogramReport,
) -> None:
    ours = [paths.histograms / output.name for output in written.outputs]
    try:
        check_with_hadd(hadd, [paths.batch_histograms(part, sample) for part in parts], ours)
    except DataError:
        # A sum that is in doubt must not be taken for the result.
        for path in ours:
            remove(path)
        raise


def write_statistics(paths: RunDirectory, folders: Mapping[str, Path], part: Slice) -> Statistics:
    """Write and return what a batch job did, by the reports of its stages in their folders."""
    statistics = of_slice(folders, part)
    reports.write(paths.statistics_file(part), statistics, part)
    return statistics


def of_slice(folders: Mapping[str, Path], part: Slice) -> Statistics:
    """Return what a job did, by the reports of its stages in their folders."""
    found = {
        stage: StageStatistics.of(reports.read(slice_report(folder, part), SliceReport))
        for stage, folder in folders.items()
        if slice_report(folder, part).exists()
    }
    return Statistics(total_batch_jobs=part.total, stages=found)


def added_up(jobs: Sequence[Statistics]) -> dict[str, StageStatistics]:
    """Return what all jobs did, by stage."""
    names = dict.fromkeys(stage for job in jobs for stage in job.stages)
    return {
        name: reduce(add, [job.stages[name] for job in jobs if name in job.stages])
        for name in names
    }


def aggregate_statistics(
    paths: RunDirectory, folders: Mapping[str, Path], total: int, merged: SliceReport | None
) -> Statistics:
    """Write and return the sum over all jobs; those of batch jobs are written again as well.

    Every job has all histograms, so their number is that of the merged file.
    """
    parts = [Slice(index, total) for index in range(1, total + 1)]
    if total > 1:
        of_slices = [write_statistics(paths, folders, part) for part in parts]
    else:
        of_slices = [of_slice(folders, part) for part in parts]
    stages = added_up(of_slices)
    if merged is not None:
        jobs, whole = stages[merged.stage], StageStatistics.of(merged)
        stages[merged.stage] = whole.model_copy(
            update={
                "slices": jobs.slices,
                "seconds": jobs.seconds + whole.seconds,
                "peak_memory_bytes": max(jobs.peak_memory_bytes, whole.peak_memory_bytes),
            }
        )
    statistics = Statistics(total_batch_jobs=total, stages=stages)
    reports.write(paths.aggregated_statistics, statistics, Slice())
    return statistics

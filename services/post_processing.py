"""im_arrays/ -> im_arrays_processed/: the plan, and each channel split into main and outliers."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from schemas.config import Config, PostProcessing, digest
from schemas.errors import DataError
from schemas.inputs import Slice
from schemas.labels import Channel
from schemas.plan import Plan, ResonanceTest
from schemas.reports import (
    ClassCounts,
    MassReport,
    PostProcessingReport,
    SliceReport,
    check_classes,
)
from services import barriers
from services.calculations.objects import Array, Integers
from services.calculations.planning import make_plan
from services.calculations.resonances import summarise
from services.calculations.spectra import CLASSES, Cuts, EntriesByRun, Grid, Runs, Spectra, by_name
from services.chunks import ChunkStage, ChunkTask, digest_of, make_or_keep, summed_up
from services.contents import made_of, sum_spectra
from services.monitoring import peak_memory_bytes
from services.run_directory import (
    RunDirectory,
    chunk_report,
    chunk_spectra,
    slice_report,
)
from services.storage import reports
from services.storage.arrays import (
    ArrayFolder,
    Arrays,
    checked_arrays,
    describe_arrays,
    read_spectra,
    storing_arrays,
)
from services.storage.atomic import require_space, write_text
from services.workers import Workers, tell_progress

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
    computed = barriers.computed_slices(config, paths, part)
    grid = Grid.of(processing)
    spectra = sum_spectra(paths.processing_input, computed, grid)
    cuts, plan = make_plan(processing, spectra)
    reports.write(paths.plan_file, plan, part)
    write_text(paths.channel_table, channel_table(plan), part)
    settings = digest(config, "post_processing")
    tasks = []
    for chunk in barriers.dealt_chunks(computed, part):
        source = reports.read(chunk_report(paths.processing_input, chunk), MassReport)
        of_chunk = _cuts_of(paths, source, cuts[source.sample], grid)
        inputs = digest_of(
            settings, source.content, [[n, list(vars(c).values())] for n, c in of_chunk.items()]
        )
        threshold = config.parsing_task_config.chunk_yield_threshold_bytes
        planned = {"masses": source.masses, "chunks": 1}
        tasks.append(ChunkTask(chunk, inputs, (source, of_chunk), threshold, planned))
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
    described = reports.describe(paths.plan_file)
    dropped = [p for channels in plan.channels.values() for p in channels.values() if p.dropped]
    summary = SliceReport(
        stage="post_processing",
        inputs=made_of(config, "post_processing", computed),
        content=digest_of(described.xxh128, [report.content for report in made]),
        **summed_up(part, made, n_kept, started),
        outputs=(described,),
        taken={"masses": sum(report.masses_in for report in made)},
        made={"main": total.main, "outliers": total.outliers},
        lost={
            "below resonances": total.floor,
            "in vetoes": total.veto,
            "turn-on": total.turn_on,
        },
        decided={"channels dropped": len(dropped)},
        classes=total,
        notes=resonance_notes(processing, plan),
    )
    reports.write(slice_report(paths.processed, part), summary, part)
    return summary


def _counted(paths: RunDirectory, source: MassReport, grid: Grid) -> Spectra:
    """Return the spectra of a chunk, if they are those that its report describes."""
    path = chunk_spectra(paths.processing_input, source.chunk)
    if source.spectra:
        reports.check(path, source.spectra)
    return read_spectra(path, grid)


def _cuts_of(
    paths: RunDirectory, source: MassReport, cuts: Mapping[str, Cuts], grid: Grid
) -> dict[str, Cuts]:
    """Return the cuts of the channels that a chunk has."""
    names = _counted(paths, source, grid).channels
    stray = [name for name in names if name not in cuts]
    if stray:
        msg = (
            f"{paths.processing_input}: expected of {source.chunk} channels that the run's "
            f"spectra have, found {stray[0]}; make the masses again, with --redo"
        )
        raise DataError(msg)
    return {name: cuts[name] for name in names}


_TABLE_HEADER = (
    "sample final_state combination population peak_gev low_gev high_gev last_gev floor_gev "
    "vetoes_gev tested detected left_in main tail overflow floor veto turn_on dropped"
)


def channel_table(plan: Plan) -> str:
    """Return the plan as a table for people, in CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_TABLE_HEADER.split())
    for sample, channels in plan.channels.items():
        for name, decided in channels.items():
            counts = decided.classes
            # What is None is written as nothing.
            writer.writerow(
                [
                    *(sample.value, *Channel.parts(name), decided.population),
                    *(decided.peak_gev, decided.low_gev, decided.high_gev, decided.last_gev),
                    decided.floor_gev,
                    " ".join([f"{low}-{high}" for low, high in decided.vetoes_gev]),
                    *(_of_tests(decided.resonances) if decided.resonances else ("", "", "")),
                    *(counts.main, counts.tail, counts.overflow),
                    *(counts.floor, counts.veto, counts.turn_on),
                    decided.dropped,
                ]
            )
    return text.getvalue()


def _of_tests(tests: Sequence[ResonanceTest]) -> tuple[str, str, str]:
    """Return the columns `tested`, `detected` and `left_in`."""
    return (
        " ".join(map(_in_table, tests)),
        " ".join(test.name for test in tests if test.detected),
        " ".join(test.name for test in tests if not test.removed),
    )


def _in_table(test: ResonanceTest) -> str:
    return (
        f"{test.name}:n={test.entries}:b={test.background:.1f}:significance="
        f"{test.significance:.1f}:excess={test.excess:.3f}"
    )


def split_chunk(
    config: Config, paths: RunDirectory, part: Slice, task: ChunkTask
) -> PostProcessingReport:
    """Split the arrays of one chunk into `{channel}_main` and `{channel}_outliers`, and report.

    Raises:
        DataError: an array is damaged, or its masses are not those of the chunk's spectra.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    source: MassReport
    cuts: Mapping[str, Cuts]
    source, cuts = task.source
    grid = Grid.of(config.post_processing_task_config)
    # One half for what is read, the other for what is to be written.
    threshold = task.threshold_bytes // 2
    counted = _counted(paths, source, grid)
    total = np.zeros(len(CLASSES), dtype=np.int64)
    require_space(paths.processed, source.output.size)
    with (
        storing_arrays(paths.processed, source.chunk, part) as arrays,
        checked_arrays(paths.processing_input, source.chunk, source.output) as stored,
    ):
        names = stored.names
        if names != counted.channels:
            stray = sorted({*names} ^ {*counted.channels})
            msg = (
                f"{paths.processing_input}: expected of {source.chunk} one array for each channel "
                f"of its spectra, found {stray[0]} in only one of both; make the masses again"
            )
            raise DataError(msg)
        for block in counted.blocks(grid):
            runs = [cuts[name].runs(grid) for name in block.channels]
            planned = EntriesByRun.of(block, runs, grid).per_class()
            found = _split_channels(block.channels, runs, stored, arrays, threshold)
            if not np.array_equal(planned, found):
                _refuse_other_classes(source.chunk, block.channels, planned, found)
            total += found.sum(axis=0)
    classes = by_name(total.tolist())
    report = PostProcessingReport(
        chunk=source.chunk,
        inputs=task.inputs,
        sample=source.sample,
        source=source.source,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        bytes_in=source.output.size,
        output=arrays.output(source.chunk),
        channels=len(names),
        masses_in=classes.total,
        classes=classes,
    ).check(source.masses)
    reports.write(chunk_report(paths.processed, source.chunk), report, part)
    return report


def _split_channels(
    names: Sequence[str],
    runs: Sequence[Runs],
    stored: Arrays,
    arrays: ArrayFolder,
    threshold_bytes: int,
) -> Integers:
    """Split the arrays of channels; return how many masses of each class they have, (n, 6)."""
    found = np.zeros((len(names), len(CLASSES)), dtype=np.int64)
    for together in _read_together(names, stored, threshold_bytes):
        for number, masses in together:
            of_piece = runs[number].split(masses)
            found[number] += of_piece.counts
            for ending, of_classes in of_piece.stored.items():
                arrays.append(f"{names[number]}_{ending}", of_classes)
            if arrays.held_bytes >= threshold_bytes:
                arrays.flush()
        tell_progress(masses=sum(len(masses) for _, masses in together))
    return found


# Reading a few arrays before they are split takes a fifth less time than one by one; more of them
# would not stay in the processor's cache.
_TOGETHER_BYTES = 1 << 18


def _read_together(
    names: Sequence[str], stored: Arrays, threshold_bytes: int
) -> Iterator[list[tuple[int, Array]]]:
    """Yield the pieces of arrays with the places of their names, a few small ones at a time."""
    together: list[tuple[int, Array]] = []
    n_bytes = 0
    for number, name in enumerate(names):
        for masses in stored.read(name, threshold_bytes):
            together.append((number, masses))
            n_bytes += masses.nbytes
            if n_bytes >= min(_TOGETHER_BYTES, threshold_bytes):
                yield together
                together, n_bytes = [], 0
    yield together


def _refuse_other_classes(
    chunk: str, names: Sequence[str], planned: Integers, found: Integers
) -> None:
    """Raise DataError for the first channel whose masses are not those of its spectrum."""
    first = int(np.argmax((planned != found).any(axis=1)))
    where = f"post-processing of {chunk}"
    by_spectrum, by_mass = (by_name(counts[first].tolist()) for counts in (planned, found))
    check_classes(where, names[first], by_spectrum, by_mass)


# How many of the channels in which a resonance was left are named; the plan names all.
_NAMED_CHANNELS = 5


def resonance_notes(processing: PostProcessing, plan: Plan) -> tuple[str, ...]:
    """Return one sentence per known resonance: where it was tested, removed and left in."""
    tested = (
        (name, test)
        for channels in plan.channels.values()
        for name, decided in channels.items()
        for test in decided.resonances
    )
    return summarise(processing.known_resonances, tested, _NAMED_CHANNELS)

"""parsed_data/ -> im_arrays/: the invariant mass of every combination in every final state."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from schemas.config import Config, digest
from schemas.inputs import Sample, Slice
from schemas.labels import Channel, Combination, FinalState
from schemas.particles import BY_NAME
from schemas.reports import MassReport, Output, ParseReport, SliceReport
from services import barriers
from services.calculations.combinatorics import Additions, combinations, existing
from services.calculations.kinematics import state_masses
from services.calculations.objects import add_counts, project_populations
from services.calculations.spectra import Grid, SpectrumSum, add_spectra
from services.chunks import ChunkStage, ChunkTask, digest_of, make_or_keep, summed_up
from services.closing import counted
from services.contents import made_of
from services.monitoring import peak_memory_bytes
from services.run_directory import (
    RunDirectory,
    chunk_report,
    chunk_spectra,
    events_file,
    slice_report,
    summed_spectra,
)
from services.storage import reports
from services.storage.arrays import (
    ArrayFolder,
    describe_arrays,
    read_spectra,
    storing_arrays,
    write_spectra,
)
from services.storage.atomic import appearing, require_space
from services.storage.parsed import read_parsed
from services.workers import Workers, tell_progress

log = logging.getLogger(__name__)

# The combinations to compute, per final state of a sample.
Wanted = Mapping[FinalState, Sequence[Combination]]


def run(config: Config, paths: RunDirectory, part: Slice, workers: Workers) -> SliceReport:
    """Compute the masses of a slice's chunks and return what it did.

    Raises:
        BarrierError: parsing is not complete.
        DataError: parsing lost too much, or its output is damaged.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    parsed = barriers.parsed_slices(config, paths, part)
    barriers.judge_parsing(parsed, config)
    wanted = {sample: wanted_combinations(config, parsed, sample) for sample in Sample}
    settings = digest(config, "mass_calculating")
    sources = [
        reports.read(chunk_report(paths.masses_input, chunk), ParseReport)
        for chunk in barriers.dealt_chunks(parsed, part)
    ]
    tasks = [_task(config, settings, source, wanted[source.sample]) for source in sources]
    log.info(
        "mass_calculating: %s here, %s, %s",
        counted(len(tasks), "chunks"),
        counted(sum(len(states) for states in wanted.values()), "final states"),
        counted(sum(len(of) for states in wanted.values() for of in states.values()), "channels"),
    )
    stage = ChunkStage(
        "mass_calculating",
        paths.masses,
        MassReport,
        make=partial(compute_chunk, config, paths, part),
        describe=partial(describe_arrays, paths.masses),
        is_final=partial(_has_spectra, paths),
    )
    show = config.parsing_task_config.show_progress_bar
    made, n_kept = make_or_keep(stage, tasks, workers, show=show)
    sums = _write_sums(config, paths, part, made)
    summary = SliceReport(
        stage="mass_calculating",
        inputs=made_of(config, "mass_calculating", parsed),
        content=digest_of([report.content for report in made]),
        **summed_up(part, made, n_kept, started),
        outputs=tuple(sums),
        taken={"events": sum(report.events_in for report in made)},
        made={"masses": sum(report.masses for report in made)},
        lost={
            "events in rare final states": sum(r.events_below_minimum for r in made),
            "events without combination": sum(r.events_without_combination for r in made),
        },
    )
    reports.write(slice_report(paths.masses, part), summary, part)
    return summary


@dataclass(frozen=True)
class _Work:
    """What the work on a chunk needs to know."""

    source: ParseReport
    populations: Mapping[FinalState, int]
    """Events of the chunk per final state, rare ones included."""
    wanted: Wanted


def _task(config: Config, settings: str, source: ParseReport, wanted: Wanted) -> ChunkTask:
    """Return the work on a chunk; of the final states it depends on those that it has.

    `settings` is the digest of what the configuration says about masses.
    """
    states = config.mass_calculation_task_config.final_state_objects
    populations = project_populations(source.populations, states)
    of_chunk = {state: found for state, found in wanted.items() if state in populations}
    return ChunkTask(
        source.chunk,
        digest_of(settings, source.content, [str(state) for state in of_chunk]),
        _Work(source, populations, of_chunk),
        config.parsing_task_config.chunk_yield_threshold_bytes,
        {"events": source.events_kept, "chunks": 1},
    )


def wanted_combinations(config: Config, parsed: Sequence[SliceReport], sample: Sample) -> Wanted:
    """Return the final states of a sample that are common enough, with their combinations.

    The populations are those of the whole run: whether a final state is computed does not depend
    on how its events lie in chunks.
    """
    masses = config.mass_calculation_task_config
    populations = add_counts(summary.populations.get(sample, {}) for summary in parsed)
    by_state = project_populations(populations, masses.final_state_objects)
    common = [state for state, n in by_state.items() if n >= masses.min_events_per_fs]
    return existing(common, combinations(masses)) if common else {}


def compute_chunk(config: Config, paths: RunDirectory, part: Slice, task: ChunkTask) -> MassReport:
    """Compute and write the arrays, spectra and report of one chunk.

    Raises:
        DataError: the chunk's events are damaged or are not those that its report counts.
        StorageError: the output cannot be written.
    """
    started = time.monotonic()
    work: _Work = task.source
    source, wanted = work.source, work.wanted
    masses = config.mass_calculation_task_config
    # One half for what is read, the other for what is to be written.
    threshold = task.threshold_bytes // 2
    grid = Grid.of(config.post_processing_task_config)
    only_counted = set(masses.final_state_objects) - set(masses.objects_to_calculate)
    additions = {state: Additions.of(found) for state, found in wanted.items() if found}
    letters = {BY_NAME[name].letter for name in masses.final_state_objects}
    spectra = SpectrumSum()
    names = {state: [str(Channel(state, c)) for c in found] for state, found in wanted.items()}
    n_masses = sum(work.populations[state] * len(found) for state, found in wanted.items())
    path = events_file(paths.masses_input, source.chunk)
    reports.check(path, source.output)
    require_space(paths.masses, n_masses * np.dtype(np.float32).itemsize)
    with storing_arrays(paths.masses, source.chunk, part) as arrays:
        for objects in read_parsed(path, masses.objects_to_calculate, only_counted, threshold):
            of_states = {letter: objects[letter] for letter in letters}
            for state, of_state in state_masses(of_states, additions):
                spectra.add_masses(names[state], of_state, grid)
                for name, of_channel in zip(names[state], of_state, strict=True):
                    arrays.append(name, of_channel)
                if arrays.held_bytes >= threshold:
                    arrays.flush()
            tell_progress(events=len(next(iter(objects.values())).offsets) - 1)
            # Let go before the next range is read.
            del objects, of_states
    spectra_file = chunk_spectra(paths.masses, source.chunk)
    with appearing(spectra_file, part) as temporary:
        write_spectra(temporary, spectra.total(), grid)
    described = reports.describe(spectra_file)
    report = _report(task, names, arrays, described, time.monotonic() - started)
    reports.write(chunk_report(paths.masses, source.chunk), report, part)
    return report


def _has_spectra(paths: RunDirectory, report: MassReport) -> bool:
    """Whether the spectra that belong to a chunk's arrays are there, as they were written."""
    path = chunk_spectra(paths.masses, report.chunk)
    return path.exists() and reports.describe(path) == report.spectra


def _report(
    task: ChunkTask,
    names: Mapping[FinalState, Sequence[str]],
    arrays: ArrayFolder,
    spectra: Output,
    seconds: float,
) -> MassReport:
    work: _Work = task.source
    source, in_chunk, wanted = work.source, work.populations, work.wanted
    # Hundreds of final states are computed, thousands are rare.
    computed = {state: in_chunk[state] for state in wanted}
    rare = sum(in_chunk.values()) - sum(computed.values())
    barren = sum(n for state, n in computed.items() if not wanted[state])
    lengths = arrays.lengths()
    # Each event of a final state gives each of its channels exactly one mass.
    expected = {name: n for state, n in computed.items() for name in names[state]}
    return MassReport(
        chunk=source.chunk,
        sample=source.sample,
        source=source.source,
        inputs=task.inputs,
        seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(),
        bytes_in=source.output.size,
        output=arrays.output(source.chunk),
        events_in=source.events_kept,
        events_below_minimum=rare,
        events_without_combination=barren,
        events_used=source.events_kept - rare - barren,
        channels=len(lengths),
        masses=sum(lengths.values()),
        spectra=spectra,
    ).check_channels(expected, lengths)


def _write_sums(
    config: Config, paths: RunDirectory, part: Slice, made: Sequence[MassReport]
) -> list[Output]:
    """Write the sum of the chunks' spectra per sample, and return what describes the files."""
    written = []
    grid = Grid.of(config.post_processing_task_config)
    for sample in dict.fromkeys(report.sample for report in made):
        total = add_spectra(
            read_spectra(chunk_spectra(paths.masses, report.chunk), grid)
            for report in made
            if report.sample is sample
        )
        path = summed_spectra(paths.masses, part, sample)
        with appearing(path, part) as temporary:
            write_spectra(temporary, total, grid)
        written.append(reports.describe(path))
    return written

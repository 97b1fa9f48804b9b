"""A run directory of any spectra, with the files that the stages would leave of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from schemas import config as configuration
from schemas.config import Config
from schemas.inputs import FileList, InputFile, Sample, Slice
from schemas.labels import Channel, FinalState, mass_histogram_name
from schemas.reports import CutRow, HistogramReport, MassReport, Output, SliceReport
from schemas.state import RunState, StageRecord, StageStatus, State
from services import barriers, run_directory
from services.calculations.bumpnet import judge
from services.calculations.combinatorics import channels, combinations
from services.calculations.objects import Integers
from services.calculations.planning import make_plan
from services.calculations.spectra import Grid, Spectra
from services.contents import filled_of, made_of
from services.run_directory import RunDirectory, chunk_report, slice_report, summed_spectra
from services.storage import reports
from services.storage.arrays import write_spectra

ALL = Slice()
OUTPUT = Output(name="x", size=0, xxh128="")
BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# Per sample and channel, the entries of each bin of the grid, the overflow last.
Entries = Mapping[Sample, Mapping[str, Integers]]


def make_config(folder: Path, **blocks: Any) -> Config:
    parsing = {"local_files": {"cms-nanoaod": ["*.root"]}, "parallel_processes": 1}
    (folder / "one.root").touch()
    blocks.setdefault("parsing_task_config", parsing)
    return configuration.from_dict(blocks, where="test", folder=folder)


def grid_of(entries: Mapping[str, Integers]) -> Spectra:
    """Return spectra of the entries per bin."""
    names = tuple(sorted(entries))
    bins = [np.flatnonzero(entries[name]) for name in names]
    first = np.cumsum([0, *map(len, bins)])
    counts = [entries[name][of] for name, of in zip(names, bins, strict=True)]
    empty = np.zeros(0, dtype=np.int64)
    return Spectra(
        names,
        first,
        np.concatenate([empty, *bins]).astype(np.int32),
        np.concatenate([empty, *counts]),
    )


def write_run(
    root: Path,
    config: Config,
    entries: Entries,
    *,
    source: str = "record_1",
    failures: Sequence[str] = (),
    steps: Sequence[CutRow] = (),
    notes: Sequence[str] = (),
) -> RunDirectory:
    """Write a run of one job that is complete, and whose books balance."""
    paths = run_directory.open_run(config, root, BEGUN)
    processing = config.post_processing_task_config
    grid = Grid.of(processing)
    spectra = {sample: grid_of(entries.get(sample, {})) for sample in Sample}
    samples = tuple(entries)
    _, plan = make_plan(processing, spectra)
    events = _events(entries)
    masses = sum(int(of.sum()) for channels_ in entries.values() for of in channels_.values())
    total = {
        name: sum(
            getattr(decided.classes, name)
            for channels_ in plan.channels.values()
            for decided in channels_.values()
        )
        for name in ("main", "outliers", "floor", "veto", "turn_on")
    }

    def report(folder: Path, stage: str, inputs: str, **books: Any) -> SliceReport:
        made = SliceReport(
            stage=stage,
            slice_index=1,
            slice_total=1,
            inputs=inputs,
            content=f"of {stage}",
            seconds=2.0,
            peak_memory_bytes=10**8,
            samples=samples,
            **{"chunks": tuple(f"chunk_{sample}" for sample in samples)} | books,
        )
        folder.mkdir(exist_ok=True)
        reports.write(slice_report(folder, ALL), made, ALL)
        return made

    files = [
        InputFile(url=f"/data/{sample}.root", source=source, layout="cms-nanoaod", sample=sample)
        for sample in samples
    ]
    reports.write(paths.file_list, FileList(files=tuple(files)).sealed("", BEGUN), ALL)
    removed = sum(row.removed for row in steps if row.of == "events")
    parsed = report(
        paths.parsed_data,
        "parsing",
        barriers.inputs_of_parsing(config, paths, ALL),
        taken={"files": len(files), "events": events + removed},
        made={"events": events},
        lost={"files": len(failures), "partial files": 0, "events cut": removed},
        failures=tuple(failures),
        cut_flows={f"{source}{sample.suffix}": tuple(steps) for sample in samples[:1]},
        notes=tuple(notes),
    )
    computed = report(
        paths.masses,
        "mass_calculating",
        made_of(config, "mass_calculating", [parsed]),
        taken={"events": events},
        made={"masses": masses},
        lost={"events in rare final states": 0, "events without combination": 0},
    )
    for sample in samples:
        write_spectra(summed_spectra(paths.masses, ALL, sample), spectra[sample], grid)
        chunk = MassReport(
            chunk=f"chunk_{sample}",
            sample=sample,
            source=source,
            inputs="",
            seconds=1.0,
            peak_memory_bytes=1,
            output=OUTPUT,
            events_in=0,
            events_below_minimum=0,
            events_without_combination=0,
            events_used=0,
            channels=0,
            masses=0,
        )
        reports.write(chunk_report(paths.masses, chunk.chunk), chunk, ALL)
    processed = report(
        paths.processed,
        "post_processing",
        made_of(config, "post_processing", [computed]),
        taken={"masses": masses},
        made={"main": total["main"], "outliers": total["outliers"]},
        lost={
            "below resonances": total["floor"],
            "in vetoes": total["veto"],
            "turn-on": total["turn_on"],
        },
    )
    reports.write(paths.plan_file, plan, ALL)
    written = []
    for sample in samples:
        kept = plan.kept(sample)
        rejected = {}
        for name, decided in kept.items():
            first, stop = (round(e / grid.width) for e in (decided.low_gev, decided.end_gev))
            reason = judge(
                entries[sample][name][first:stop],
                config.histogram_creation_task_config.bumpnet_acceptance,
            ).reason
            if reason is not None:
                template = config.histogram_creation_task_config.name_template
                width = str(config.histogram_creation_task_config.bin_width_gev[0])
                key = mass_histogram_name(Channel.parse(name), width, template=template)
                rejected[key] = reason
        main = sum(decided.classes.main for decided in kept.values())
        written.append(
            HistogramReport(
                sample=sample,
                channels=len(kept),
                histograms=len(kept),
                roi_copies=len(kept) - len(rejected),
                rejected=rejected,
                masses_in=main,
                entries={str(config.histogram_creation_task_config.bin_width_gev[0]): main},
                overflow=0,
                outputs=(),
            )
        )
    report(
        paths.histograms,
        "histogram_creation",
        filled_of(config, processed.inputs),
        histograms=tuple(written),
        taken={"channels": 0, "masses": total["main"]},
        made={"histograms": sum(of.histograms for of in written)},
        lost={},
    )
    record = StageRecord(status=StageStatus.DONE, started=BEGUN, ended=BEGUN, seconds=2.0)
    stages = dict.fromkeys(
        ["fetching", "parsing", "mass_calculating", "post_processing", "histogram_creation"],
        record,
    )
    state = RunState(state=State.COMPLETED, stages=stages)
    reports.write(paths.state_file(ALL), state, ALL)
    return paths


def _events(entries: Entries) -> int:
    """Return the events of all final states: each channel of one has them all."""
    populations = {
        (sample, name.partition("/")[0]): int(of.sum())
        for sample, channels_ in entries.items()
        for name, of in channels_.items()
    }
    return sum(populations.values())


def many_channels(config: Config, n_channels: int, n_bins: int, seed: int = 1) -> Entries:
    """Return falling spectra with a turn-on, whose bins are nearly all filled, of many channels."""
    rng = np.random.default_rng(seed)
    of_combinations = combinations(config.mass_calculation_task_config)
    states = tuple(
        FinalState((("e", e), ("m", m), ("j", j), ("g", g)))
        for e in range(5)
        for m in range(5)
        for j in range(7)
        for g in range(4)
    )
    names = [str(channel) for channel in channels(states, of_combinations)][:n_channels]
    mass = np.arange(n_bins + 1)
    found: dict[str, Integers] = {}
    for number, name in enumerate(names):
        scale = n_bins / (5 + number % 4)
        shape = np.exp(-mass / scale) * (1 - np.exp(-((mass / (n_bins / 100)) ** 2)))
        population = 1_000_000 // (1 + number % 50)
        found[name] = rng.multinomial(population, shape / shape.sum())
    return {Sample.DATA: found}

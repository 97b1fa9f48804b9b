"""Filling histograms, by masses, and writing them, against uproot writing the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hist
import uproot

from benchmarks.measuring import Setting, Spread, divided, taking_turns
from benchmarks.results import Result, Row, at_least, at_most
from benchmarks.runs import FETCHING, PER_EVENT, RAREST, Run, new_run
from benchmarks.samples import make_sample
from schemas.inputs import Sample
from schemas.plan import Plan
from schemas.reports import PostProcessingReport
from services.calculations.filling import Counts
from services.calculations.objects import Array
from services.calculations.spectra import Grid
from services.histogram_writing import Filled, SampleHistograms, prepare
from services.histograms import fill_chunk
from services.run_directory import chunk_report
from services.storage import reports
from services.storage.arrays import open_arrays
from services.storage.histograms import MassHistogram, write_histograms

EVENTS = 400_000
WHOLE = 10**12


def plan_of(run: Run) -> Plan:
    """Return the plan that a run has made."""
    return reports.read(run.paths.plan_file, Plan)


def fill(run: Run, plan: Plan, chunks: Sequence[str]) -> SampleHistograms:
    """Return the histograms of a run, filled as its stage does."""
    filled = prepare(run.config, plan, Sample.DATA)
    for chunk in chunks:
        source = reports.read(chunk_report(run.paths.processed, chunk), PostProcessingReport)
        fill_chunk(run.config, run.paths, source, plan, filled, WHOLE)
    return filled


def read_masses(run: Run, names: Sequence[str], chunks: Sequence[str]) -> dict[str, list[Array]]:
    """Return all main masses per channel."""
    masses: dict[str, list[Array]] = {name: [] for name in names}
    for chunk in chunks:
        with open_arrays(run.paths.processed, chunk) as stored:
            for name in names:
                masses[name] += stored.read(f"{name}_main", WHOLE)
    return masses


def count(into: Filled, masses: dict[str, list[Array]], grid: Grid) -> None:
    """Count masses that are in memory."""
    for name, parts in masses.items():
        into.counts[name] = Counts.empty(into.bins[name])
        for part in parts:
            into.counts[name].fill(part, into.bins[name], grid)


def to_write(filled: SampleHistograms) -> list[MassHistogram]:
    """Return one histogram per channel."""
    found = []
    for name, counts in filled.main.counts.items():
        axis, contents = filled.main.bins[name].axes[0], counts.of_axes[0]
        low, high = float(axis.edges[0]), float(axis.edges[-1])
        sums = counts.whole
        found.append(
            MassHistogram(
                name.replace("/", "_"), name, low, high, contents, sums.sum_m, sums.sum_m2
            )
        )
    return found


def write_plainly(path: Path, histograms: Sequence[tuple[str, hist.Hist]]) -> None:
    """Write histograms as anybody would."""
    with uproot.recreate(path) as file:
        for name, histogram in histograms:
            file[name] = histogram


def as_hist(histogram: MassHistogram) -> hist.Hist:
    """Return the same counts as an object that uproot writes."""
    made = hist.Hist.new.Reg(len(histogram.counts), histogram.low, histogram.high).Double()
    made[...] = histogram.counts
    return made


def measure(setting: Setting) -> Result:
    """Return masses per second, and milliseconds per histogram."""
    n_events = setting.size(EVENTS)
    paths = make_sample(setting.samples, n_events)
    run = new_run(paths, setting.new_folder(), n_events // RAREST)
    run.seconds(setting.clock, (FETCHING, *PER_EVENT))
    plan = plan_of(run)
    chunks = run.reports[PER_EVENT[-1]].chunks
    filled = fill(run, plan, chunks)
    n_masses = sum(counts.masses for counts in filled.main.counts.values())
    masses = read_masses(run, list(filled.main.bins), chunks)
    grid = Grid.of(run.config.post_processing_task_config)
    written = to_write(filled)
    plain = [(histogram.name, as_hist(histogram)) for histogram in written]
    file = run.paths.root / "benchmark.root"
    taken = taking_turns(
        {
            "reading and counting": lambda: fill(run, plan, chunks),
            "counting": lambda: count(filled.main, masses, grid),
            "writing": lambda: write_histograms(file, written, "benchmark"),
            "uproot": lambda: write_plainly(file, plain),
        },
        setting.repeat,
        setting.clock,
    )

    def per_second(what: str) -> Spread:
        return Spread.of([n_masses / seconds / 1e6 for seconds in taken[what]])

    def each_ms(what: str) -> Spread:
        return Spread.of([1e3 * seconds / len(written) for seconds in taken[what]])

    fast, wrote = "million masses/s", "writing one TH1"
    rows = (
        Row("filling histograms", per_second("counting"), fast, at_least(20)),
        Row("filling, with reading the masses", per_second("reading and counting"), fast),
        Row(wrote, each_ms("writing"), "ms", at_most(0.8)),
        Row(f"{wrote}, plain uproot", each_ms("uproot"), "ms"),
        Row(f"{wrote}, ratio", Spread.of(divided(taken["writing"], taken["uproot"])), "times"),
    )
    return Result(rows, {"masses": n_masses, "histograms": len(written), "seconds": taken})

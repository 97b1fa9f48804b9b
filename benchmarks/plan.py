"""Planning and writing the histograms of many channels: seconds and memory, by their number.

The channels are falling spectra with a turn-on; every eighth is a lepton pair with a Z.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import Clock, Setting, Spread, Stopwatch, alone
from benchmarks.results import Result, Row, at_most
from schemas.config import from_dict
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport
from services import run_directory
from services.calculations.filling import main_bins
from services.calculations.planning import make_plan
from services.calculations.spectra import Grid, Spectra, SpectrumSum
from services.histogram_writing import Filled, SampleHistograms, write_sample
from services.post_processing import channel_table
from services.storage import reports
from services.storage.atomic import write_text

SEED = 20_120_704
ENTRIES = 2000
CHANNELS = (5000, 10_000, 20_000)
MOST_SECONDS = 60.0
LEPTON_PAIRS_EVERY = 8


def summed_spectra(n_channels: int, grid: Grid) -> Spectra:
    """Return spectra of so many channels."""
    rng = np.random.default_rng(SEED)
    total = SpectrumSum()
    for number in range(n_channels):
        is_pair = number % LEPTON_PAIRS_EVERY == 0
        combination = "e0e1" if is_pair else f"j0j1g{number % 7}"
        masses = 60.0 + rng.gamma(2.0, 60.0 + number % 100, ENTRIES)
        if is_pair:
            masses = np.concatenate((masses, rng.normal(91.2, 3.0, ENTRIES)))
        name = f"2e_0m_{number // LEPTON_PAIRS_EVERY}j_9g/{combination}"
        total.add_masses([name], np.array([masses.astype(np.float32)]), grid)
    return total.total()


def fill_from(spectra: Spectra, plan: Plan, filled: Filled, grid: Grid) -> None:
    """Fill each kept channel with the bin centres of its main entries."""
    centres = (np.arange(grid.n_bins) + 0.5) * grid.width
    for position, name in enumerate(spectra.channels):
        if name in filled.bins:
            decided = plan.channels[Sample.DATA][name]
            entries = spectra.dense(position, grid)[:-1]
            is_main = (centres > decided.low_gev) & (centres < decided.end_gev)
            masses = np.repeat(centres[is_main], entries[is_main])
            filled.counts[name].fill(masses.astype(np.float32), filled.bins[name], grid)


def plan_and_write(n_channels: int, clock: Clock) -> tuple[float, HistogramReport]:
    """Return the seconds that planning and writing so many channels take, and what was written."""
    data = {"parsing_task_config": {"release_years": ["demo"]}}
    config = from_dict(data, where="benchmark", folder=Path())
    processing = config.post_processing_task_config
    grid = Grid.of(processing)
    spectra = summed_spectra(n_channels, grid)
    watch = Stopwatch(clock)
    with tempfile.TemporaryDirectory() as folder:
        paths = run_directory.layout(Path(folder), config)
        with watch.running():
            _, plan = make_plan(processing, {Sample.DATA: spectra})
            reports.write(paths.plan_file, plan, Slice())
            write_text(paths.channel_table, channel_table(plan), Slice())
            bins = main_bins(plan, Sample.DATA, config.histogram_creation_task_config)
            made = SampleHistograms(Sample.DATA, Filled.empty(bins), Filled.empty({}))
        # Reading and counting masses belongs to the number of masses, not to that of channels.
        fill_from(spectra, plan, made.main, grid)
        with watch.running():
            report = write_sample(config, paths, Slice(), made)
    return watch.seconds, report


def measure(setting: Setting) -> Result:
    """Return seconds and memory at the largest number, and how the cost of one channel grows."""
    sizes = [setting.size(n_channels) for n_channels in CHANNELS]
    made = {n: alone(plan_and_write, n, setting.clock) for n in sizes}
    seconds = {n: of.result[0] for n, of in made.items()}
    fewest, most = sizes[0], sizes[-1]
    growth = seconds[most] / most / (seconds[fewest] / fewest)
    what = f"planning and writing {most:,} channels"
    rows = (
        Row(what, Spread.of([seconds[most]]), "s", at_most(MOST_SECONDS)),
        Row(f"{what}, peak memory", Spread.of([made[most].peak_bytes / 1e6]), "MB", at_most(1000)),
        Row(f"cost per channel, {most:,} against {fewest:,}", Spread.of([growth]), "times"),
    )
    details = {
        n: {
            "seconds": seconds[n],
            "peak bytes": of.peak_bytes,
            "histograms": of.result[1].histograms + of.result[1].roi_copies,
        }
        for n, of in made.items()
    }
    return Result(rows, details)

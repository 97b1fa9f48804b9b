"""Plan and write the histograms of many channels: seconds and memory, against their number.

    python benchmarks/plan.py [CHANNELS ...]

Each number of channels runs in a process of its own, so that its peak memory is its own. The
channels are falling spectra with a turn-on; every eighth is a lepton pair with a Z.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from schemas.config import Config, from_dict
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import HistogramReport
from services import run_directory
from services.calculations.filling import main_bins
from services.calculations.planning import make_plan
from services.calculations.spectra import Grid, Spectra, SpectrumSum
from services.histogram_writing import Filled, SampleHistograms, write_sample
from services.monitoring import peak_memory_bytes
from services.post_processing import channel_table
from services.storage import reports
from services.storage.atomic import write_text

SEED = 20_120_704
ENTRIES = 2000
MOST_SECONDS = 60.0
MOST_BYTES = 1_000_000_000
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


class Stopwatch:
    """Adds up the wall time and the processor time of what is between start and stop."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def start(self) -> None:
        """Begin."""
        self.wall -= time.perf_counter()
        self.processor -= time.process_time()

    def stop(self) -> None:
        """End."""
        self.wall += time.perf_counter()
        self.processor += time.process_time()


def plan_and_write(
    config: Config, spectra: Spectra, folder: Path
) -> tuple[Stopwatch, HistogramReport]:
    """Return the seconds that planning and writing take, and what was written."""
    watch = Stopwatch()
    paths = run_directory.layout(folder, config)
    processing = config.post_processing_task_config
    grid = Grid.of(processing)
    watch.start()
    _, plan = make_plan(processing, {Sample.DATA: spectra})
    reports.write(paths.plan_file, plan, Slice())
    write_text(paths.channel_table, channel_table(plan), Slice())
    bins = main_bins(plan, Sample.DATA, config.histogram_creation_task_config)
    made = SampleHistograms(Sample.DATA, Filled.empty(bins), Filled.empty({}))
    watch.stop()
    # Reading and counting masses belongs to the number of masses, not to that of channels.
    fill_from(spectra, plan, made.main, grid)
    watch.start()
    report = write_sample(config, paths, Slice(), made)
    watch.stop()
    return watch, report


def measure(n_channels: int) -> tuple[Stopwatch, int]:
    """Print and return the time and the peak memory in bytes of so many channels."""
    config = from_dict(
        {"parsing_task_config": {"release_years": ["demo"]}}, where="benchmark", folder=Path()
    )
    spectra = summed_spectra(n_channels, Grid.of(config.post_processing_task_config))
    with tempfile.TemporaryDirectory() as folder:
        watch, report = plan_and_write(config, spectra, Path(folder))
    memory = peak_memory_bytes()
    print(
        f"{n_channels:>8,} channels: {watch.wall:5.1f} s, of the processor "
        f"{watch.processor:5.1f} s ({1e3 * watch.processor / n_channels:.2f} ms each), "
        f"{memory / 1e6:,.0f} MB; {report.histograms:,} histograms, {report.roi_copies:,} ROI "
        f"copies, {sum(output.size for output in report.outputs) / 1e6:,.0f} MB",
        flush=True,
    )
    return watch, memory


def main(arguments: Sequence[str]) -> int:
    """Measure, and return 1 if the largest number misses the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("channels", nargs="*", type=int, default=[5000, 10_000, 20_000])
    wanted = parser.parse_args(arguments).channels
    results = []
    for n_channels in wanted:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results.append(pool.apply(measure, (n_channels,)))
    per_channel = [watch.processor / n for (watch, _), n in zip(results, wanted, strict=True)]
    print(f"processor time per channel, last to first: {per_channel[-1] / per_channel[0]:.2f}")
    watch, memory = results[-1]
    is_good = watch.wall < MOST_SECONDS and memory < MOST_BYTES
    verdict = "kept" if is_good else "MISSED"
    print(f"limits {MOST_SECONDS:.0f} s and {MOST_BYTES / 1e9:.0f} GB: {verdict}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

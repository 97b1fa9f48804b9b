"""How long merging takes, and how much memory: `python benchmarks/merge.py [SLICES HISTOGRAMS]`.

Made-up slices are merged as real ones are. The goal is 100 slices of 2,000 histograms in less than
3 minutes and 1 GB; with more than that it ends with exit code 1.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from schemas import config as configuration
from schemas.config import Config
from schemas.inputs import Sample, Slice
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, HistogramReport, SliceReport
from services import merge, run_directory
from services.batch_histograms import write_counts
from services.histogram_writing import prepare
from services.run_directory import RunDirectory
from services.storage import reports

MOST_SECONDS = 180.0
MOST_BYTES = 1_000_000_000
LOW_GEV, N_BINS, WIDTH_GEV = 50.0, 300, 10.0
MASSES_PER_SLICE = 500


def make_plan(n_channels: int, n_slices: int) -> Plan:
    """Return a plan in which all channels have the same range."""
    n_masses = MASSES_PER_SLICE * n_slices
    decided = ChannelPlan(
        population=n_masses,
        peak_gev=LOW_GEV,
        low_gev=LOW_GEV,
        high_gev=LOW_GEV + N_BINS * WIDTH_GEV,
        last_gev=LOW_GEV + N_BINS * WIDTH_GEV,
        classes=ClassCounts(main=n_masses),
        dropped=None,
    )
    # As many final states as needed, each with five combinations.
    combinations = ("e0e1", "e0e1j0", "e0j0", "e0j0j1", "j0j1")
    names = [
        f"2e_0m_{number + 2}j_0g/{combination}"
        for number in range(-(-n_channels // len(combinations)))
        for combination in combinations
    ]
    channels = dict.fromkeys(sorted(names[:n_channels]), decided)
    return Plan(bin_width_gev=WIDTH_GEV, max_mass_gev=10_000.0, channels={Sample.DATA: channels})


def write_slice(
    config: Config, paths: RunDirectory, plan: Plan, part: Slice, rng: np.random.Generator
) -> SliceReport:
    """Write the file of one job, and return its report."""
    made = prepare(config, plan, Sample.DATA)
    made.sources.add("benchmark")
    for counts in made.main.counts.values():
        bins = np.minimum(rng.exponential(N_BINS / 8, MASSES_PER_SLICE), N_BINS - 1)
        counts.of_axes[0] += np.bincount(bins.astype(np.int64), minlength=N_BINS)
        counts.masses += MASSES_PER_SLICE
        counts.whole.sum_m += float(bins.sum())
        made.stored += MASSES_PER_SLICE
    path = paths.batch_counts(part, Sample.DATA)
    write_counts(path, config, made, reports.describe(paths.plan_file))
    report = HistogramReport(
        sample=Sample.DATA,
        channels=len(made.main.bins),
        histograms=len(made.main.bins),
        masses_in=made.stored,
        entries={},
        overflow=0,
        outputs=(reports.describe(path),),
    )
    return SliceReport(
        stage="histogram_creation",
        slice_index=part.index,
        slice_total=part.total,
        chunks=(),
        inputs="",
        content="",
        seconds=0.0,
        peak_memory_bytes=0,
        taken={},
        made={},
        lost={},
        histograms=(report,),
    )


def main() -> int:
    """Make the slices, merge them, print what it took, and return the exit code."""
    n_slices, n_channels = (int(text) for text in (sys.argv[1:] or ("100", "2000")))
    with TemporaryDirectory() as folder:
        data = {"parsing_task_config": {"release_years": ["demo"]}}
        config = configuration.from_dict(data, where="benchmark", folder=Path(folder))
        paths = run_directory.layout(Path(folder), config)
        for made in (paths.processed, paths.histograms, paths.logs):
            made.mkdir()
        plan = make_plan(n_channels, n_slices)
        reports.write(paths.plan_file, plan, Slice())
        rng = np.random.default_rng(1)
        filled = [
            write_slice(config, paths, plan, Slice(index, n_slices), rng)
            for index in range(1, n_slices + 1)
        ]
        size = sum(path.stat().st_size for path in paths.histograms.iterdir())
        print(f"{n_slices} slices of {n_channels:,} histograms: {size / 1e6:,.0f} MB of counts")
        started = time.monotonic()
        merged = merge.run(config, paths, filled)
        seconds = time.monotonic() - started
        assert merged.taken["masses"] == n_slices * n_channels * MASSES_PER_SLICE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"merged in {seconds:.1f} s with {peak / 1e6:,.0f} MB at most")
    return int(seconds > MOST_SECONDS or peak > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())

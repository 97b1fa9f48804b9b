"""How long merging the jobs of a run takes, and how much memory; the slices are made up."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measuring import Setting, Spread, alone
from benchmarks.results import Result, Row, at_most
from schemas import config as configuration
from schemas.config import Config
from schemas.inputs import Sample, Slice
from schemas.plan import ChannelPlan, Plan
from schemas.reports import ClassCounts, HistogramReport, SliceReport
from services import merge, run_directory
from services.batch_histograms import write_counts
from services.calculations.filling import Moments
from services.histogram_writing import prepare
from services.run_directory import RunDirectory
from services.storage import reports

SLICES = 100
CHANNELS = 2000
MOST_SECONDS = 180.0
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
        counts.whole += Moments.of_sums(float(bins.sum()), 0.0)
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


def write_slices(folder: Path, n_slices: int, n_channels: int) -> list[SliceReport]:
    """Write the files of all jobs of a run, and return their reports."""
    config, paths = run_in(folder)
    for made in (paths.processed, paths.histograms, paths.logs):
        made.mkdir(parents=True)
    plan = make_plan(n_channels, n_slices)
    reports.write(paths.plan_file, plan, Slice())
    rng = np.random.default_rng(1)
    return [
        write_slice(config, paths, plan, Slice(index, n_slices), rng)
        for index in range(1, n_slices + 1)
    ]


def run_in(folder: Path) -> tuple[Config, RunDirectory]:
    """Return configuration and paths of the run."""
    data = {"parsing_task_config": {"release_years": ["demo"]}}
    config = configuration.from_dict(data, where="benchmark", folder=folder)
    return config, run_directory.layout(folder, config)


def merge_slices(folder: Path, filled: list[SliceReport]) -> int:
    """Merge the files of all jobs, and return how many masses they hold."""
    config, paths = run_in(folder)
    return merge.run(config, paths, filled, [reports.describe(paths.plan_file)]).taken["masses"]


def measure(setting: Setting) -> Result:
    """Return seconds and memory of merging."""
    n_channels = setting.size(CHANNELS)
    with TemporaryDirectory(dir=setting.runs) as name:
        filled = write_slices(Path(name), SLICES, n_channels)
        merged = alone(merge_slices, Path(name), filled)
    assert merged.result == SLICES * n_channels * MASSES_PER_SLICE
    what = f"merging {SLICES} slices of {n_channels:,} histograms"
    rows = (
        Row(what, Spread.of([merged.seconds[setting.clock]]), "s", at_most(MOST_SECONDS)),
        Row(f"{what}, peak memory", Spread.of([merged.peak_bytes / 1e6]), "MB", at_most(1000)),
    )
    return Result(rows)

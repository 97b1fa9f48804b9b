"""Runs of the pipeline for benchmarks: their configuration, and their stages one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uproot

from benchmarks.measuring import Clock, Stopwatch
from benchmarks.samples import BRANCHES
from schemas import config as configuration
from schemas.config import Config
from schemas.inputs import Slice
from schemas.reports import SliceReport
from services import pipeline, run_directory
from services.run_directory import RunDirectory
from services.workers import Workers

STAGES = {stage.name: stage for stage in pipeline.STAGES}
FETCHING, PARSING, MASSES, POST_PROCESSING, HISTOGRAMS = STAGES
# What costs by the number of events; fetching costs by files, histograms by channels.
PER_EVENT = (PARSING, MASSES, POST_PROCESSING)
# Of so many events one final state has to have one to be computed at least: 1,000 of 400,000.
RAREST = 400


def new_run(paths: Sequence[Path], folder: Path, min_events: int, **parsing: Any) -> Run:
    """Return a run on NanoAOD-like files, with the cuts of the shipped configuration."""
    config = configuration.from_dict(
        {
            "parsing_task_config": {
                "local_files": {"cms-nanoaod": [str(path) for path in paths]},
                "overlap_removal": "none",
                "chunk_input_bytes": "1 TB",
                "parallel_processes": 1,
                "show_progress_bar": False,
                **parsing,
            },
            "mass_calculation_task_config": {
                "min_events_per_fs": max(1, min_events),
                "parallel_processes": 1,
            },
        },
        where="benchmark",
        folder=folder,
    )
    return Run(config, run_directory.open_run(config, folder, datetime.now(UTC)))


class Run:
    """A run whose stages are made one by one."""

    def __init__(self, config: Config, paths: RunDirectory) -> None:
        self.config = config
        self.paths = paths
        self.reports: dict[str, SliceReport] = {}

    def seconds(
        self, clock: Clock, stages: Sequence[str], workers: Workers | None = None
    ) -> dict[str, float]:
        """Make stages, in this process unless there are workers; return the seconds of each."""
        taken = {}
        for name in stages:
            watch = Stopwatch(clock)
            with watch.running(), Workers(1) as nobody:
                report = STAGES[name].run(self.config, self.paths, Slice(), workers or nobody)
            taken[name] = watch.seconds
            self.reports[name] = report
        return taken


def read_plainly(paths: Sequence[Path], branches: Sequence[str] = BRANCHES) -> None:
    """Read columns with uproot alone: what everything is compared with."""
    for path in paths:
        with uproot.open(path) as file:
            file[file.keys()[0]].arrays(list(branches), library="ak")

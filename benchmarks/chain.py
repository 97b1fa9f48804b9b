"""Seconds and memory of the stages, one worker, against uproot reading the same columns.

Prints a table and, with --json, writes the figures. The sample is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uproot
from sample import BRANCHES, make_sample

from schemas import config as configuration
from schemas.inputs import Slice
from services import fetch, histograms, masses, parse, post_processing, run_directory
from services.monitoring import peak_memory_bytes
from services.workers import Workers

STAGES = {
    "fetching": fetch.run,
    "parsing": parse.run,
    "masses": masses.run,
    "post-processing": post_processing.run,
    "histograms": histograms.run,
}
# What the aim is about; histograms are counted apart, since they cost by their number.
PER_EVENT = ("parsing", "masses", "post-processing")


def read_plainly(paths: list[Path]) -> float:
    """Return the seconds that uproot alone takes to read the columns."""
    started = time.perf_counter()
    for path in paths:
        with uproot.open(path) as file:
            file["Events"].arrays(list(BRANCHES), library="ak")
    return time.perf_counter() - started


def run_once(paths: list[Path], folder: Path, min_events: int, overlap: str) -> dict[str, float]:
    """Return the seconds of each stage of a new run."""
    config = configuration.from_dict(
        {
            "parsing_task_config": {
                "local_files": {"cms-nanoaod": [str(path) for path in paths]},
                "overlap_removal": overlap,
                "parallel_processes": 1,
                "show_progress_bar": False,
            },
            "mass_calculation_task_config": {
                "min_events_per_fs": min_events,
                "parallel_processes": 1,
            },
        },
        where="benchmark",
        folder=folder,
    )
    run = run_directory.open_run(config, folder, datetime.now(UTC))
    seconds = {}
    for name, stage in STAGES.items():
        started = time.perf_counter()
        with Workers(1) as workers:
            stage(config, run, Slice(), workers)
        seconds[name] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--overlap", default="none", help="none (default) or default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_sample(folder / "sample", arguments.events)
        plain, stages = [], []
        for number in range(arguments.repeat):
            plain.append(read_plainly(paths))
            min_events = max(1, arguments.events // 400)
            stages.append(run_once(paths, folder / f"run{number}", min_events, arguments.overlap))
    baseline = statistics.median(plain)
    median = {stage: statistics.median(run[stage] for run in stages) for stage in STAGES}
    ratios = [
        sum(run[stage] for stage in PER_EVENT) / one for run, one in zip(stages, plain, strict=True)
    ]
    print(f"{arguments.events:,} events, median of {arguments.repeat}, one worker")
    print(f"{'plain uproot':16} {baseline:7.2f} s")
    for stage, seconds in median.items():
        print(f"{stage:16} {seconds:7.2f} s  {seconds / baseline:5.2f}")
    print(
        f"{' + '.join(PER_EVENT)}: {statistics.median(ratios):.2f} times plain uproot "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"peak memory {peak_memory_bytes() / 1e6:.0f} MB")
    if arguments.json:
        figures = {"baseline": plain, "stages": stages, "ratios": ratios}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

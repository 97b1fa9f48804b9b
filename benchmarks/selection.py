"""Cost of the selection against reading the columns, with and without overlap removal.

Aims: without overlap removal at most a third of reading, with it at most as much again as reading.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uproot
from sample import BRANCHES, make_sample

from schemas import config as configuration
from schemas.inputs import Sample
from schemas.releases import load_layout
from services.calculations.objects import Events
from services.calculations.selection import Selection, select
from services.selections import selection_of
from services.storage.events import open_events

LAYOUT = "cms-nanoaod"
TYPES = ("Electrons", "Muons", "Jets", "Photons")


def read_plainly(paths: list[Path]) -> None:
    """Read the same columns with uproot alone."""
    for path in paths:
        with uproot.open(path) as file:
            file["Events"].arrays(list(BRANCHES), library="ak")


def read(paths: list[Path]) -> list[Events]:
    """Read the files as the pipeline does."""
    parts = []
    for path in paths:
        with open_events(str(path), load_layout(LAYOUT), (), TYPES) as file:
            parts.append(file.read(0, file.n_events))
    return parts


def selections() -> dict[str, Selection]:
    """The shipped cuts without and with the layout's overlap removal."""
    found = {}
    for name in ("none", "default"):
        data = {"parsing_task_config": {"release_years": ["demo"], "overlap_removal": name}}
        config = configuration.from_dict(data, where="benchmark", folder=Path())
        what = selection_of(config.parsing_task_config, "demo", LAYOUT, Sample.DATA)
        found[what.overlap_name] = what.selection
    return found


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Median time of some calls, after one that does not count."""
    work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Make the sample, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the sample here")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        paths = make_sample(arguments.folder or Path(temporary), arguments.events)
        plain = seconds(lambda: read_plainly(paths), arguments.repeat)
        reading = seconds(lambda: read(paths), arguments.repeat)
        print(f"{arguments.events:,} events, {len(BRANCHES)} columns")
        print(f"{'plain uproot':28} {plain:6.3f} s  1.00 of plain uproot")
        print(f"{'reading':28} {reading:6.3f} s  {reading / plain:4.2f} of plain uproot")
        parts = read(paths)
        for name, selection in selections().items():
            cost = seconds(lambda s=selection: [select(p, s) for p in parts], arguments.repeat)
            print(
                f"{f'selection, overlap {name}':28} {cost:6.3f} s  {cost / plain:4.2f} of plain "
                f"uproot, {cost / reading:4.2f} of reading"
            )


if __name__ == "__main__":
    main()

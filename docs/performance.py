"""Draw the picture of docs/performance.md from what the benchmarks have written.

make bench
python docs/performance.py output/benchmarks.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).parent / "figures" / "where_time_goes.svg"
# What modules do, by the beginning of their names; the first that fits.
READING = ("storage.events", "storage.flat_columns", "storage.local_files")
WORKS = (
    (("benchmarks.runs",), "uproot alone, the same columns", "#9a9a9a"),
    (READING, "input files: open, read, decompress", "#1f5fa8"),
    (("storage.unpacking",), "input files: unpack columns", "#6fa3d8"),
    (("calculations",), "compute: select, combine, decide, count", "#2f8f4e"),
    (("storage.parsed",), "parsed_data: write, read", "#d98a1f"),
    (("storage.arrays",), "arrays of masses: write, read", "#b8352b"),
    (("storage.histograms",), "ROOT histograms: write", "#7b4fa3"),
    (("",), "order, books and digests", "#d5d0c4"),
)


def by_work(modules: dict[str, float]) -> list[float]:
    """Return the seconds of each of the works."""
    found = [0.0] * len(WORKS)
    for module, seconds in modules.items():
        place = next(i for i, (starts, *_) in enumerate(WORKS) if module.startswith(starts))
        found[place] += seconds
    return found


def draw(seconds: dict[str, dict[str, float]], title: str) -> None:
    """Draw one bar per stage."""
    # The same numbers give the same file.
    mpl.rcParams.update({"svg.hashsalt": "performance", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(9.0, 3.6), layout="constrained")
    stages = list(seconds)
    parts = [by_work(seconds[stage]) for stage in stages]
    for place, (_, label, colour) in enumerate(WORKS):
        widths = [of_stage[place] for of_stage in parts]
        starts = [sum(of_stage[:place]) for of_stage in parts]
        axes.barh(stages, widths, left=starts, color=colour, label=label, height=0.7)
    for number, of_stage in enumerate(parts):
        axes.text(sum(of_stage) + 0.005, number, f"{sum(of_stage):.2f} s", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("seconds of one processor")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Read the numbers, draw, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("json", type=Path)
    measured = json.loads(parser.parse_args().json.read_text(encoding="utf-8"))
    chain = measured["details"]["chain"]
    title = (
        f"{chain['events']:,} events, {chain['masses']:,} masses, {chain['histograms']:,} "
        f"channels; one worker, {measured['date'][:10]}"
    )
    draw(measured["details"]["where"]["seconds"], title)
    print(PICTURE)


if __name__ == "__main__":
    main()

"""Draw the pictures of the README and of docs/post-processing.md from a run on the demo release.

python main.py --config docs/figures.yaml --run-dir output/figures
python docs/figures.py output/figures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import uproot

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bumphunt
from schemas.inputs import Sample
from schemas.labels import Channel
from schemas.plan import ChannelPlan, Plan
from services.catalogs import demo
from services.storage import reports

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

FIGURES = Path(__file__).parent / "figures"
WIDTH = "10.0"
GREY, BLUE, RED, ORANGE, GREEN = "#9a9a9a", "#1f5fa8", "#b8352b", "#d98a1f", "#2f8f4e"


def histogram(
    file: uproot.ReadOnlyDirectory, prefix: str, channel: Channel
) -> tuple[np.ndarray, np.ndarray]:
    """Return contents and edges in GeV."""
    name = f"{prefix}mass_{channel.combination}_cat_{channel.final_state.category}_width_{WIDTH}"
    contents, edges = file[name].to_numpy()
    return contents, edges


def draw(axes: Axes, file: uproot.ReadOnlyDirectory, name: str, decided: ChannelPlan) -> None:
    """Draw what there was, what is left, and what BumpNet reads."""
    channel = Channel.parse(name)
    contents, edges = histogram(file, "raw_", channel)
    axes.stairs(contents, edges, color=GREY, label="all masses")
    contents, edges = histogram(file, "", channel)
    axes.stairs(contents, edges, color=BLUE, fill=True, alpha=0.25)
    axes.stairs(contents, edges, color=BLUE, label="main part: mass_...")
    if decided.vetoes_gev:
        contents, edges = histogram(file, "ROI_", channel)
        axes.stairs(contents, edges, color=GREEN, linewidth=2, label="for BumpNet: ROI_mass_...")
    if decided.high_gev is not None:
        axes.axvline(decided.high_gev, color=GREY, linestyle=":", label="first empty bin: tail")
    axes.set(yscale="log", ylim=(0.5, None), xlabel="m [GeV]", ylabel="entries / 10 GeV")
    axes.set_title(
        f"{channel.combination} in {channel.final_state} (generated, not data)", fontsize=9
    )


def shade(axes: Axes, decided: ChannelPlan) -> None:
    """Shade the windows of the resonances that were tested."""
    for test in decided.resonances:
        low, high = test.test_window_gev
        width = high - low
        axes.axvspan(
            low, high, color=RED, alpha=0.2, label=f"{test.name}: tested, {test.entries:,}"
        )
        label = f"beside it: {test.background:,.0f} expected"
        for start in (low - width, high):
            axes.axvspan(start, start + width, color=ORANGE, alpha=0.2, label=label)
            label = "_again"
    if decided.floor_gev is not None:
        axes.axvline(decided.floor_gev, color=RED, linestyle="--", label="floor")


def overview(run: bumphunt.Run) -> None:
    """Draw what the README shows: a known resonance, and one that is hidden."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    for axes, name, highest in (
        (left, "2e_0m_0j_0g/e0e1", 400.0),
        (right, f"{demo.RESONANCE_FINAL_STATE}/{demo.RESONANCE_COMBINATION}", 1000.0),
    ):
        channel = run.channel(name)
        contents, edges = channel.spectrum("all").to_numpy()
        axes.stairs(contents, edges, color=GREY, label="all masses")
        contents, edges = channel.spectrum("main").to_numpy()
        axes.stairs(contents, edges, color=BLUE, fill=True, alpha=0.25)
        axes.stairs(contents, edges, color=BLUE, label="main part, for BumpNet")
        axes.set(yscale="log", xlim=(0.0, highest), ylim=(0.5, None))
        axes.set(xlabel="m [GeV]", ylabel="entries / 10 GeV")
        axes.set_title(f"{channel.combination} in {channel.final_state}", fontsize=10)
        axes.legend(fontsize=9, framealpha=1.0, edgecolor="none", loc="upper right")
    arrow = {"arrowstyle": "->", "color": RED}
    for axes, text, tip, place in (
        (left, "Z: found, removed", (97.0, 2500.0), (150.0, 600.0)),
        (right, "hidden resonance: left in", (demo.RESONANCE_MASS_GEV, 55.0), (500.0, 250.0)),
    ):
        axes.annotate(text, tip, place, color=RED, fontsize=9, arrowprops=arrow)
    figure.suptitle(run.origin(), fontsize=9, color=GREY)
    figure.savefig(FIGURES / "demo.png", dpi=90)
    plt.close(figure)
    print(FIGURES / "demo.png")


def main(arguments: list[str]) -> int:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="run directory")
    run = parser.parse_args(arguments).run
    plan = reports.read(run / "im_arrays_processed" / "plan.json", Plan)
    channels = plan.channels[Sample.DATA]
    resonance = f"{demo.RESONANCE_FINAL_STATE}/{demo.RESONANCE_COMBINATION}"
    pictures = {
        "z_floor": ("2e_0m_0j_0g/e0e1", 500.0),
        "higgs_veto": ("0e_0m_0j_2g/g0g1", 600.0),
        "hidden_resonance": (resonance, 1200.0),
    }
    FIGURES.mkdir(exist_ok=True)
    with uproot.open(run / "histograms" / "atlas_opendata_bumpnet.root") as file:
        for title, (name, highest) in pictures.items():
            figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
            shade(axes, channels[name])
            draw(axes, file, name, channels[name])
            if name == resonance:
                label = f"hidden resonance, {demo.RESONANCE_MASS_GEV:.0f} GeV"
                axes.axvline(demo.RESONANCE_MASS_GEV, color=GREEN, linestyle="--", label=label)
            axes.set_xlim(0.0, highest)
            axes.legend(fontsize=8, framealpha=1.0, edgecolor="none")
            figure.savefig(FIGURES / f"{title}.png", dpi=90)
            plt.close(figure)
            print(FIGURES / f"{title}.png")
    overview(bumphunt.open_run(run))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

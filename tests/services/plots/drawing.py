"""Small runs whose figures are looked at, and how to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from schemas.config import Config
from services import plots
from services.run_directory import RunDirectory
from tests.factory import make_config, run_pipeline, write_nanoaod

Run = tuple[Config, RunDirectory]

# On a grid of 10 GeV: turn-on below 60, main part 60-90, nothing in 90-100, one outlier.
MASSES = [55.0, *[65.0] * 4, *[75.0] * 3, *[85.0] * 2, 105.0]
# The figures of a run of one chunk, with no more to show than its events, or than its channels.
OF_EVENTS = ("stages", "events", "cut_flow", "multiplicities", "pt", "eta", "final_states")
OF_CHANNELS = (*OF_EVENTS, "combinations", "largest_channels", "bumpnet")
LATER = ("mass_calculating", "post_processing", "histogram_creation")


def pairs(masses: Sequence[float]) -> list[list[tuple[float, ...]]]:
    """Return two muons back to back per event: pt of half the mass each."""
    return [[(mass / 2, 0.0, 0.0), (mass / 2, 0.0, np.pi)] for mass in masses]


def make_run(
    folder: Path,
    masses: Sequence[float] = MASSES,
    *,
    simulation: bool = False,
    draws: bool = False,
    **blocks: Any,
) -> Run:
    file = write_nanoaod(folder / "pairs.root", simulation=simulation, muons=pairs(masses))
    blocks["parsing_task_config"] = {"local_files": {"cms-nanoaod": [str(file)]}}
    config = make_config(blocks, folder)
    return config, run_pipeline(config, folder / "run", draws=draws)


def without(*tasks: str) -> dict[str, bool]:
    return {f"do_{task}": False for task in tasks}


def drawn(run: Run) -> dict[str, Figure]:
    """Return the figures of a run by their names, without the numbers."""
    return {name[3:]: figure for name, figure in plots.figures(*run)}


def files(run: Run) -> list[str]:
    """Return the names of the files of all figures: the report lies beside them."""
    paths = run[1]
    return sorted(path.name for path in paths.plots.glob("*") if path != paths.report_file)


def named(names: Sequence[str], suffix: str) -> list[str]:
    """Return the names of figures of one sample; some are of all samples together."""
    of_all = ("stages", "chunks", "events", "cut_flow")
    return [name if name in of_all else name + suffix for name in names]


def both(*names: str) -> list[str]:
    """Return the files of figures of these names."""
    numbers = {name: number for number, name in enumerate(plots.FIGURES, start=1)}
    return sorted(f"{numbers[name]:02d}_{name}.{kind}" for name in names for kind in ("pdf", "png"))


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def row_names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def bars(axes: Axes, label: str) -> list[float]:
    """Return the lengths of horizontal bars."""
    return [
        patch.get_width()
        for container in axes.containers
        if container.get_label() == label
        for patch in container.patches
    ]


def steps(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return contents and edges of a spectrum."""
    [patch] = [p for p in axes.patches if isinstance(p, StepPatch) and p.get_label() == label]
    return patch.get_data().values.tolist(), patch.get_data().edges.tolist()

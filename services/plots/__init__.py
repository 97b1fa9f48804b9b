"""Reports and histograms -> plots/: figures of a run, drawn from its files alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.config import Config
from schemas.inputs import Sample, Slice
from services.plots import bumpnet, combinations, masses, overview, performance
from services.plots.contents import Contents
from services.plots.style import save, style
from services.run_directory import RunDirectory
from services.storage.atomic import remove, storage_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

# All figures in the order in which they are read, which numbers their files. A figure of
# simulation has the same number, and `_mc` behind its name.
FIGURES = {
    "stages": "Seconds, rates and peak memory of every stage.",
    "chunks": "Seconds and memory of every chunk against its size, and the seconds of every job.",
    "events": "Events read and kept, and files, of every source.",
    "cut_flow": "What every step of the selection removed, of events and of each object type.",
    "multiplicities": "Objects per event of each type, as read and after the selection.",
    "pt": "Transverse momenta of each type, as read and after the selection.",
    "eta": "Pseudorapidities of each type, as read and after the selection.",
    "final_states": "Events and numbers of combinations of the largest final states.",
    "combinations": "Which combinations are made in which final states, and how many masses.",
    "largest_channels": "Spectra of the largest channels: what was removed, and why.",
    "detected_resonances": "Spectra around the most significant known resonances.",
    "largest_local_excesses": "Spectra whose main part stands out most from its neighbourhood.",
    "bumpnet": "How many histograms BumpNet accepts, why not the others, and how large they are.",
}
_GROUPS = (
    performance.figures,
    overview.figures,
    combinations.figures,
    masses.figures,
    bumpnet.figures,
)


def run(config: Config, paths: RunDirectory, part: Slice) -> tuple[Path, ...]:
    """Draw what the run's files allow, each figure as PNG and PDF, and return the files.

    Raises:
        DataError: a file of the run is damaged.
        StorageError: a figure cannot be written.
    """
    started = time.monotonic()
    drawn: list[Path] = []
    with style():
        for name, figure in figures(config, paths):
            drawn += save(figure, paths.plots, name, part)
    _remove_old(paths.plots, drawn)
    log.info("plots: %d files in %.1f s", len(drawn), time.monotonic() - started)
    return tuple(drawn)


def _remove_old(folder: Path, drawn: Collection[Path]) -> None:
    """Remove figures of an earlier call that this run's files do not allow any more."""
    for number, name in enumerate(FIGURES, start=1):
        for path in sorted(folder.glob(f"{number:02d}_{name}*")):
            stem, suffixes = path.stem, {sample.suffix for sample in Sample}
            if path not in drawn and stem.removeprefix(f"{number:02d}_{name}") in suffixes:
                with storage_errors(path, "removed"):
                    remove(path)


def figures(config: Config, paths: RunDirectory) -> Iterator[tuple[str, Figure]]:
    """Yield every figure that the run's files allow, with its name; say why one is missing.

    Raises:
        DataError: a file of the run is damaged.
    """
    contents = Contents(config, paths)
    numbers = {name: number for number, name in enumerate(FIGURES, start=1)}
    for group in _GROUPS:
        for name, suffix, figure in group(contents):
            yield f"{numbers[name]:02d}_{name}{suffix}", figure

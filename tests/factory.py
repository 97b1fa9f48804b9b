"""The one factory of small input files and small runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from schemas import config as configuration
from schemas.config import Config
from services import pipeline, run_directory
from services.run_directory import RunDirectory

# One object as (pt, eta, phi) or (pt, eta, phi, mass), in the unit of the layout.
Object = tuple[float, ...]
# One list of objects per event.
Collection = Sequence[Sequence[Object]]

NANOAOD = {
    "electrons": "Electron",
    "muons": "Muon",
    "jets": "Jet",
    "photons": "Photon",
    "taus": "Tau",
}
WITHOUT_MASS = ("photons",)


def jagged(rows: Sequence[Sequence[float]], dtype: Any = np.float32) -> ak.Array:
    """Return an awkward array of so many numbers per event, with its type kept when empty."""
    counts = [len(row) for row in rows]
    flat = np.array([value for row in rows for value in row], dtype=dtype)
    return ak.unflatten(flat, counts)


def write_tree(path: Path, tree: str, branches: Mapping[str, Any]) -> Path:
    """Write one TTree; an awkward record becomes `n{name}` and `{name}_{field}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        types = {
            name: column.type.content if isinstance(column, ak.Array) else column.dtype
            for name, column in branches.items()
        }
        file.mktree(tree, types).extend(dict(branches))
    return path


def write_nanoaod(
    path: Path, *, simulation: bool = False, first_event: int = 1, **objects: Collection
) -> Path:
    """Write a NanoAOD-like file; collections that are not given are empty.

    All given collections must have the same number of events.
    """
    n_events = len(next(iter(objects.values()))) if objects else 0
    branches: dict[str, Any] = {
        "run": np.ones(n_events, dtype=np.uint32),
        "luminosityBlock": np.ones(n_events, dtype=np.uint32),
        "event": np.arange(first_event, first_event + n_events, dtype=np.uint64),
    }
    if simulation:
        branches["genWeight"] = np.ones(n_events, dtype=np.float32)
    for key, collection in NANOAOD.items():
        events = objects.get(key, [[]] * n_events)
        quantities = ["pt", "eta", "phi"] + ([] if key in WITHOUT_MASS else ["mass"])
        full = [
            [
                (*item, 0.0)[: len(quantities)] if len(item) < 4 else item[: len(quantities)]
                for item in event
            ]
            for event in events
        ]
        branches[collection] = ak.zip(
            {
                quantity: jagged([[item[position] for item in event] for event in full])
                for position, quantity in enumerate(quantities)
            }
        )
    return write_tree(path, "Events", branches)


def make_config(data: Mapping[str, Any], folder: Path) -> Config:
    """Return the configuration of a small run: nothing is cut away unless asked."""
    sections = {key: dict(value) for key, value in data.items()}
    parsing = sections.setdefault("parsing_task_config", {})
    parsing.setdefault("kinematic_cuts", {})
    parsing.setdefault("particle_counts", {})
    parsing.setdefault("overlap_removal", "none")
    sections.setdefault("mass_calculation_task_config", {}).setdefault("min_events_per_fs", 1)
    return configuration.from_dict(sections, where="test", folder=folder)


def run_pipeline(config: Config, root: Path) -> RunDirectory:
    """Run the whole pipeline into a new run directory at `root`."""
    paths = run_directory.create(config, root, datetime.now(UTC))
    pipeline.run(config, paths)
    return paths

"""Files for benchmarks: like NanoAOD and like PHYSLITE, quickly made, always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

SEED = 20_240_101
# Collection: mean number per event, and the columns that are stored.
COLLECTIONS = {
    "Electron": (1.1, ("pt", "eta", "phi")),
    "Muon": (1.1, ("pt", "eta", "phi")),
    "Jet": (3.0, ("pt", "eta", "phi", "mass")),
    "Photon": (0.7, ("pt", "eta", "phi")),
    "Tau": (0.5, ("pt", "eta", "phi", "mass")),
}
# The 20 columns that the pipeline reads.
BRANCHES = (
    "run",
    "luminosityBlock",
    "event",
    *(f"{name}_{column}" for name, (_, columns) in COLLECTIONS.items() for column in columns),
)


def make_events(n_events: int, first_event: int, rng: np.random.Generator) -> dict[str, ak.Array]:
    """Columns of n_events: Poisson multiplicities, pt = 20 + exponential(30) GeV, eta Gaussian."""
    number = first_event + np.arange(n_events)
    events: dict[str, ak.Array] = {
        "run": ak.Array((1 + number // 1_000_000).astype(np.uint32)),
        "luminosityBlock": ak.Array((1 + number // 1000 % 1000).astype(np.uint32)),
        "event": ak.Array((1 + number).astype(np.uint64)),
    }
    for name, (mean, stored) in COLLECTIONS.items():
        counts = rng.poisson(mean, n_events)
        n = int(counts.sum())
        pt = 20.0 + rng.exponential(30.0, n)
        columns = {
            "pt": pt,
            "eta": rng.normal(0.0, 1.3, n),
            "phi": rng.uniform(-np.pi, np.pi, n),
            "mass": 0.1 * pt,
        }
        record = ak.zip({column: columns[column].astype(np.float32) for column in stored})
        events[name] = ak.unflatten(record, counts)
    return events


def make_sample(
    folder: Path, n_events: int = 400_000, n_files: int = 4, events_per_basket: int = 100_000
) -> list[Path]:
    """Write the sample, in zlib level 1, unless it is there; return its files."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [n_events * i // n_files for i in range(n_files + 1)]
    name = f"sample_{n_events}_by_{events_per_basket}"
    paths = [folder / f"{name}_{i + 1}_of_{n_files}.root" for i in range(n_files)]
    for i, path in enumerate(paths):
        if path.exists():
            continue
        rng = np.random.default_rng([SEED, i])
        starts = range(ends[i], ends[i + 1], events_per_basket)
        stops = [min(start + events_per_basket, ends[i + 1]) for start in starts]
        parts = (
            make_events(stop - start, start, rng) for start, stop in zip(starts, stops, strict=True)
        )
        _write(path, "Events", parts)
    return paths


# As many branches as a real file has; those that nobody reads hold zeros.
PHYSLITE_BRANCHES = 1300
PHYSLITE_CONTAINERS = {
    "Electron": "AnalysisElectronsAuxDyn",
    "Muon": "AnalysisMuonsAuxDyn",
    "Jet": "AnalysisJetsAuxDyn",
    "Photon": "AnalysisPhotonsAuxDyn",
    "Tau": "AnalysisTauJetsAuxDyn",
}
_PHYSLITE_NAMES = {
    "run": "EventInfoAuxDyn.runNumber",
    "luminosityBlock": "EventInfoAuxDyn.lumiBlock",
    "event": "EventInfoAuxDyn.eventNumber",
}
_FIELDS_OF_CONTAINER = 20


def make_physlite(folder: Path, n_events: int) -> tuple[Path, tuple[str, ...]]:
    """Write a file of 1,300 branches in MeV, unless it is there; return it and what is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"physlite_{n_events}.root"
    events = make_events(n_events, 0, np.random.default_rng(SEED))
    branches: dict[str, ak.Array] = {
        dotted: events[name] for name, dotted in _PHYSLITE_NAMES.items()
    }
    for collection, container in PHYSLITE_CONTAINERS.items():
        for column in COLLECTIONS[collection][1]:
            values = events[collection][column]
            in_mev = np.float32(1000.0) * values if column in ("pt", "mass") else values
            branches[f"{container}.{'m' if column == 'mass' else column}"] = in_mev
    needed = tuple(branches)
    zeros = np.zeros(n_events, dtype=np.float32)
    for number in range(PHYSLITE_BRANCHES - len(needed)):
        container, field = divmod(number, _FIELDS_OF_CONTAINER)
        branches[f"Other{container}AuxDyn.field{field}"] = ak.Array(zeros)
    if not path.exists():
        _write(path, "CollectionTree", [branches], lambda name: f"{name.replace('.', '_')}_count")
    return path, needed


def _write(
    path: Path,
    tree: str,
    parts: Iterable[Mapping[str, ak.Array]],
    counter_name: Callable[[str], str] = lambda name: f"n{name}",
) -> None:
    """Write one tree in zlib level 1, a basket per part and branch; the file appears whole."""
    aside = path.with_suffix(".part")
    with uproot.recreate(aside, compression=uproot.ZLIB(1)) as file:
        written = None
        for branches in parts:
            if written is None:
                types = {name: array.type.content for name, array in branches.items()}
                written = file.mktree(tree, types, counter_name=counter_name)
            written.extend(branches)
    aside.replace(path)

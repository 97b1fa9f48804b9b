"""NanoAOD-like files for benchmarks: many events, quickly made, always the same."""

from __future__ import annotations

import argparse
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


def make_sample(folder: Path, n_events: int = 400_000, n_files: int = 4) -> list[Path]:
    """Write the sample, in zlib level 1, unless it is there; return its files."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [n_events * i // n_files for i in range(n_files + 1)]
    paths = [folder / f"sample_{n_events}_{i + 1}_of_{n_files}.root" for i in range(n_files)]
    for i, path in enumerate(paths):
        if path.exists():
            continue
        events = make_events(ends[i + 1] - ends[i], ends[i], np.random.default_rng([SEED, i]))
        aside = path.with_suffix(".part")
        with uproot.recreate(aside, compression=uproot.ZLIB(1)) as file:
            types = {name: array.type.content for name, array in events.items()}
            file.mktree("Events", types).extend(events)
        aside.replace(path)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--files", type=int, default=4)
    arguments = parser.parse_args()
    for made in make_sample(arguments.folder, arguments.events, arguments.files):
        print(made)

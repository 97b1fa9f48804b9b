"""The one factory of small input files and small runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

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
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    flat = np.array([value for row in rows for value in row], dtype=dtype)
    return ak.unflatten(flat, counts)


def write_tree(
    path: Path,
    tree: str,
    branches: Mapping[str, Any],
    counter_name: Callable[[str], str] = lambda counted: f"n{counted}",
    events_per_basket: int = 10**9,
) -> Path:
    """Write one TTree; an awkward record becomes `n{name}` and `{name}_{field}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        types = {
            name: column.type.content if isinstance(column, ak.Array) else column.dtype
            for name, column in branches.items()
        }
        written = file.mktree(tree, types, counter_name=counter_name)
        n_events = len(next(iter(branches.values())))
        for start in range(0, max(n_events, 1), events_per_basket):
            part = slice(start, start + events_per_basket)
            written.extend({name: column[part] for name, column in branches.items()})
    return path


def write_nanoaod(
    path: Path,
    *,
    simulation: bool = False,
    first_event: int = 1,
    events_per_basket: int = 10**9,
    **objects: Collection,
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
    return write_tree(path, "Events", branches, events_per_basket=events_per_basket)


def make_config(data: Mapping[str, Any], folder: Path) -> Config:
    """Return the configuration of a small run: nothing is cut away unless asked."""
    sections = {key: dict(value) for key, value in data.items()}
    parsing = sections.setdefault("parsing_task_config", {})
    parsing.setdefault("kinematic_cuts", {})
    parsing.setdefault("particle_counts", {})
    parsing.setdefault("overlap_removal", "none")
    parsing.setdefault("parallel_processes", 1)
    masses = sections.setdefault("mass_calculation_task_config", {})
    masses.setdefault("parallel_processes", 1)
    masses.setdefault("min_events_per_fs", 1)
    return configuration.from_dict(sections, where="test", folder=folder)


def run_pipeline(config: Config, root: Path, *, draws: bool = False) -> RunDirectory:
    """Run the whole pipeline into a new run directory at `root`, without figures unless asked."""
    paths = run_directory.open_run(config, root, datetime.now(UTC))
    pipeline.run(config, paths, pipeline.slice_of(config), draws=draws)
    return paths


# --- ATLAS files, with the names, kinds and units that the experiment documents ---


class FlatFormat(NamedTuple):
    """An education ntuple: one record per object kind, `lep_pt`, counted by `lep_n`."""

    tree: str
    per_gev: float
    energy: str
    # Per-event branches that are not counters, with their types.
    event: Mapping[str, str]
    # Fields beside pt, eta, phi and energy, with their types, by prefix.
    fields: Mapping[str, Mapping[str, str]]
    counters: Mapping[str, str] = {}


FLAT = {
    "2016e-8tev": FlatFormat(
        "mini",
        1000.0,
        "E",
        {
            **dict.fromkeys(("runNumber", "eventNumber", "channelNumber"), "i4"),
            **dict.fromkeys(("trigE", "trigM", "passGRL", "hasGoodVertex"), "?"),
            **dict.fromkeys(("mcWeight", "met_et", "met_phi"), "f4"),
        },
        {
            "lep": {
                "charge": "f4",
                "type": "u4",
                "z0": "f4",
                "flag": "u4",
                "ptcone30": "f4",
                "etcone20": "f4",
                "trigMatched": "?",
            },
            "jet": {"m": "f4", "jvf": "f4", "MV1": "f4", "SV0": "f4", "flag": "u4"},
        },
        {"jet": "alljet_n"},
    ),
    "2020e-13tev": FlatFormat(
        "mini",
        1000.0,
        "E",
        {
            **dict.fromkeys(("runNumber", "eventNumber", "channelNumber"), "i4"),
            **dict.fromkeys(("trigE", "trigM", "trigP"), "?"),
            **dict.fromkeys(("mcWeight", "met_et", "met_phi"), "f4"),
        },
        {
            "lep": {
                "charge": "i4",
                "type": "u4",
                "z0": "f4",
                "isTightID": "?",
                "ptcone30": "f4",
                "etcone20": "f4",
                "trigMatched": "?",
            },
            "jet": {"jvt": "f4", "MV2c10": "f4", "trueflav": "i4"},
            "photon": {"isTightID": "?", "ptcone30": "f4", "etcone20": "f4", "convType": "i4"},
            "tau": {"charge": "i4", "isTightID": "?", "nTracks": "u4", "BDTid": "f4"},
        },
    ),
    "2025e-13tev-beta": FlatFormat(
        "analysis",
        1.0,
        "e",
        {
            "runNumber": "u4",
            "eventNumber": "u8",
            "channelNumber": "u4",
            **dict.fromkeys(("trigE", "trigM", "trigP", "trigT"), "?"),
            **dict.fromkeys(("mcWeight", "met", "met_phi"), "f4"),
        },
        {
            "lep": {
                "charge": "i4",
                "type": "i4",
                "ptvarcone30": "f4",
                "topoetcone20": "f4",
                "isLooseID": "?",
                "isMediumID": "?",
                "isTightID": "?",
            },
            "jet": {"jvt": "?", "btag_quantile": "i4"},
            "photon": {"isLooseID": "?", "isTightID": "?", "ptcone20": "f4"},
            "tau": {"charge": "f4", "nTracks": "i4", "isTight": "?", "RNNJetScore": "f4"},
        },
    ),
}
FLAT_PREFIX = {"jets": "jet", "photons": "photon", "taus": "tau"}
FLAVOURS = {"electrons": 11, "muons": 13}

PHYSLITE = {
    "electrons": ("AnalysisElectronsAuxDyn", True),
    "muons": ("AnalysisMuonsAuxDyn", False),
    "jets": ("AnalysisJetsAuxDyn", True),
    "photons": ("AnalysisPhotonsAuxDyn", True),
    "taus": ("AnalysisTauJetsAuxDyn", True),
}
HION14 = {"muons": ("MuonsAuxDyn", False)}


def write_flat_atlas(
    path: Path,
    layout: str,
    *,
    fields: Mapping[str, Sequence[Sequence[float]]] | None = None,
    events: Mapping[str, Sequence[float]] | None = None,
    **objects: Collection,
) -> Path:
    """Write an ATLAS education ntuple. Objects are (pt, eta, phi, mass) in GeV.

    The leptons of an event are its electrons and then its muons. `fields` and `events` give the
    values of branches, by name, that are otherwise 0.
    """
    form = FLAT[layout]
    n_events = len(next(iter(objects.values())))
    given = {"runNumber": [1] * n_events, "eventNumber": range(1, n_events + 1), **(events or {})}
    branches: dict[str, Any] = {
        name: np.array(list(given.get(name, [0] * n_events)), dtype=kind)
        for name, kind in form.event.items()
    }
    none: Collection = [[]] * n_events
    rows = {prefix: objects.get(key, none) for key, prefix in FLAT_PREFIX.items()}
    electrons, muons = (objects.get(key, none) for key in FLAVOURS)
    rows["lep"] = [[*e, *m] for e, m in zip(electrons, muons, strict=True)]
    types = [[11] * len(e) + [13] * len(m) for e, m in zip(electrons, muons, strict=True)]
    values = {"lep_type": types, **(fields or {})}
    for prefix, kinds in form.fields.items():
        columns = flat_columns(rows[prefix], form.energy, form.per_gev)
        for name, kind in kinds.items():
            zeros = [[0.0] * len(event) for event in rows[prefix]]
            if name == "m":
                zeros = [[form.per_gev * item[3] for item in event] for event in rows[prefix]]
            columns[name] = jagged(values.get(f"{prefix}_{name}", zeros), np.dtype(kind))
        branches[prefix] = ak.zip(columns)
    return write_tree(path, form.tree, branches, lambda n: form.counters.get(n, f"{n}_n"))


def flat_columns(rows: Collection, energy: str, per_gev: float) -> dict[str, ak.Array]:
    """Return pt, eta, phi and energy of (pt, eta, phi, mass) in GeV, in another unit."""
    columns = {
        name: jagged([[scale * item[i] for item in event] for event in rows])
        for i, (name, scale) in enumerate((("pt", per_gev), ("eta", 1.0), ("phi", 1.0)))
    }
    energies = [
        [per_gev * np.sqrt((pt * np.cosh(eta)) ** 2 + m * abs(m)) for pt, eta, _, m in event]
        for event in rows
    ]
    return columns | {energy: jagged(energies)}


def write_daod(
    path: Path,
    *,
    containers: Mapping[str, tuple[str, bool]] = PHYSLITE,
    rntuple: bool = False,
    simulation: bool = False,
    more: Mapping[str, Any] | None = None,
    **objects: Collection,
) -> Path:
    """Write a derived ATLAS file, in MeV: TTree `CollectionTree`, or RNTuple `EventData`.

    Objects are (pt, eta, phi, mass) in GeV; `more` are further branches, by their dotted name.
    """
    n_events = len(next(iter(objects.values())))
    branches: dict[str, Any] = {
        "EventInfoAuxDyn.runNumber": np.full(n_events, 300000, dtype=np.uint32),
        "EventInfoAuxDyn.lumiBlock": np.ones(n_events, dtype=np.uint32),
        "EventInfoAuxDyn.eventNumber": np.arange(1, n_events + 1, dtype=np.uint64),
    }
    if simulation:
        branches["EventInfoAuxDyn.mcEventWeights"] = jagged([[1.0]] * n_events)
    for key, (container, has_mass) in containers.items():
        rows = objects.get(key, [[]] * n_events)
        scales = (("pt", 1000.0), ("eta", 1.0), ("phi", 1.0), ("m", 1000.0))
        for position, (name, scale) in enumerate(scales[: 4 if has_mass else 3]):
            values = [[scale * item[position] for item in event] for event in rows]
            branches[f"{container}.{name}"] = jagged(values)
    branches |= more or {}
    if not rntuple:
        return write_tree(
            path, "CollectionTree", branches, lambda n: f"{n.replace('.', '_')}_count"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        colons = {name.replace(".", ":", 1): column for name, column in branches.items()}
        file.mkrntuple("EventData", colons)
    return path

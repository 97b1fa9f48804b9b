"""The embedded demo release: a number of events -> eight small NanoAOD-like ROOT files.

The events are generated, they are not data. They look enough like proton collisions that every
stage has something to do without a network: Z bosons, top quarks, a Higgs boson in two photons,
falling continua, and one narrow resonance that exists in photon + jet only.

A hard process is a row of a table: two daughters, the spectrum of their mass and the number of
jets they recoil against. Unstable daughters decay in turn; a fast detector smears the rest.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

N_FILES = 8
SEED = 20_120_704
FIRST_RUN = 300_000
EVENTS_PER_RUN = 50_000
EVENTS_PER_BLOCK = 500

# The hidden resonance: its mass, what the detector makes of its width, and where it shows.
RESONANCE_MASS_GEV = 650.0
RESONANCE_SIGMA_GEV = 17.0
RESONANCE_FINAL_STATE = "0e_0m_1j_1g"
RESONANCE_COMBINATION = "j0g0"

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]
Columns = dict[str, npt.NDArray[Any]]
Spectrum = Callable[[int, Rng], Floats]

# p4 is px, py, pz, E in GeV.
PARTICLE = np.dtype(
    [("event", "i8"), ("kind", "i8"), ("charge", "i8"), ("mass", "f8"), ("p4", "f8", (4,))]
)

# The kinds that leave a signal come first: they index the columns of the detector table.
ELECTRON, MUON, TAU, PHOTON, JET, B_JET, NEUTRINO, W, Z, TOP = range(10)

# Relative pt resolution: the first over sqrt(pt), the second constant, added in quadrature.
STOCHASTIC = np.array([0.10, 0.0, 0.5, 0.10, 0.6, 0.6])
CONSTANT = np.array([0.018, 0.023, 0.05, 0.018, 0.02, 0.02])
ETA_MAX = np.array([2.5, 2.4, 2.3, 2.5, 4.7, 4.7])
PT_MIN_GEV = np.array([5.0, 3.0, 18.0, 5.0, 15.0, 15.0])
MASS_GEV = np.array([0.000511, 0.10566, 0.8, 0.0, 0.0, 0.0])
EFFICIENCY = np.array([0.80, 0.92, 0.60, 0.85, 0.98, 0.98])

# What a tau, and a light-quark or gluon jet, turns out to be or passes for.
TAU_SEEN_AS = {ELECTRON: 0.18, MUON: 0.17, TAU: 0.65}
JET_SEEN_AS = {JET: 0.94, B_JET: 0.04, TAU: 0.015, PHOTON: 0.005}

LEPTON_FIELDS = ("pt", "eta", "phi", "mass", "charge")
COLLECTIONS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "Electron": ((ELECTRON,), LEPTON_FIELDS),
    "Muon": ((MUON,), LEPTON_FIELDS),
    "Jet": ((JET, B_JET), ("pt", "eta", "phi", "mass", "btagDeepFlavB")),
    "Photon": ((PHOTON,), ("pt", "eta", "phi")),
    "Tau": ((TAU,), LEPTON_FIELDS),
}


def _power_law(low: float, exponent: float, high: float = 3000.0) -> Spectrum:
    """Values in GeV between low and high whose density falls as x**-exponent."""
    power = 1.0 - exponent
    return lambda n, rng: rng.uniform(high**power, low**power, n) ** (1.0 / power)


def _breit_wigner(mass: float, width: float, low: float, high: float) -> Spectrum:
    """Masses in GeV of a resonance (non-relativistic Breit-Wigner) between low and high."""
    first, last = np.arctan((np.array([low, high]) - mass) * 2.0 / width)
    return lambda n, rng: mass + width / 2.0 * np.tan(rng.uniform(first, last, n))


UNSTABLE = {
    TOP: _breit_wigner(172.5, 1.4, 166.0, 179.0),
    Z: _breit_wigner(91.19, 2.5, 80.0, 102.0),
    W: _breit_wigner(80.38, 2.1, 70.0, 90.0),
}
# Chance and daughters, in the order of a decay chain. A Z to quarks or neutrinos would only look
# like plain jets or nothing, so it is left out.
DECAYS = {
    TOP: ((1.0, W, B_JET),),
    Z: ((0.4, ELECTRON, ELECTRON), (0.4, MUON, MUON), (0.2, TAU, TAU)),
    W: ((0.64, JET, JET), *((0.12, lepton, NEUTRINO) for lepton in (ELECTRON, MUON, TAU))),
}


class Process(NamedTuple):
    """A hard process; `spectrum` is of the mass above the sum of the daughters' masses."""

    share: float
    daughters: tuple[int, int]
    spectrum: Spectrum
    mean_recoil_jets: float


RECOIL_PT = _power_law(18.0, 2.8, high=500.0)
Z_LINE = _breit_wigner(91.19, 2.5, 30.0, 1500.0)
W_LINE = _breit_wigner(80.38, 2.1, 30.0, 1500.0)
HIGGS_LINE = _breit_wigner(125.1, 0.004, 125.0, 125.2)
RESONANCE_LINE = _breit_wigner(RESONANCE_MASS_GEV, 6.0, 600.0, 700.0)
PROCESSES = (
    Process(0.209, (JET, JET), _power_law(62.0, 3.2), 1.4),
    Process(0.220, (JET, PHOTON), _power_law(56.0, 2.7), 0.6),
    Process(0.100, (PHOTON, PHOTON), _power_law(48.0, 3.0), 0.6),
    Process(0.100, (ELECTRON, ELECTRON), Z_LINE, 0.7),
    Process(0.100, (MUON, MUON), Z_LINE, 0.7),
    Process(0.020, (ELECTRON, ELECTRON), _power_law(45.0, 2.4), 0.7),
    Process(0.020, (MUON, MUON), _power_law(45.0, 2.4), 0.7),
    Process(0.020, (TAU, TAU), Z_LINE, 0.7),
    Process(0.025, (ELECTRON, NEUTRINO), W_LINE, 0.9),
    Process(0.025, (MUON, NEUTRINO), W_LINE, 0.9),
    Process(0.130, (TOP, TOP), _power_law(20.0, 1.8), 0.8),
    Process(0.014, (Z, PHOTON), _power_law(25.0, 2.2), 0.5),
    Process(0.006, (W, Z), _power_law(20.0, 2.2), 0.5),
    Process(0.008, (Z, Z), _power_law(20.0, 2.2), 0.4),
    Process(0.002, (PHOTON, PHOTON), HIGGS_LINE, 0.6),
    Process(0.001, (JET, PHOTON), RESONANCE_LINE, 0.4),
)


def write_demo_files(folder: Path, n_events: int) -> tuple[Path, ...]:
    """The paths of the files demo_1.root ... demo_8.root, written into the folder.

    The events are dealt out as evenly as possible and are the same in every call. Each file
    appears whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in folder.glob(".demo_*.root.*.part"):
        left_by_a_kill.unlink(missing_ok=True)
    ends = np.arange(N_FILES + 1) * n_events // N_FILES
    paths = tuple(folder / f"demo_{number}.root" for number in range(1, N_FILES + 1))
    for i, (first, last) in enumerate(pairwise(ends.tolist())):
        rng = np.random.default_rng([SEED, i])
        _write(paths[i], generate(last - first, rng, first_event=first))
    return paths


def generate(n_events: int, rng: Rng, *, first_event: int = 0) -> dict[str, ak.Array]:
    """The columns of NanoAOD: run, luminosityBlock and event, and one record per collection.

    Identity: (n_events,). Collections: (n_events, var), ordered by decreasing pt; pt and mass
    in GeV. `first_event` is the number of events before these; it keeps their identity unique.
    """
    choice = rng.choice(len(PROCESSES), n_events, p=[process.share for process in PROCESSES])
    hard = [_hard_process(np.flatnonzero(choice == i), p, rng) for i, p in enumerate(PROCESSES)]
    objects = _detected(_decayed(np.concatenate(hard), rng), rng)
    number = first_event + np.arange(n_events)
    block = number % EVENTS_PER_RUN // EVENTS_PER_BLOCK
    identity = {
        "run": ak.Array((FIRST_RUN + number // EVENTS_PER_RUN).astype(np.uint32)),
        "luminosityBlock": ak.Array((1 + block).astype(np.uint32)),
        "event": ak.Array((1 + number).astype(np.uint64)),
    }
    return identity | {name: _collection(objects, name, n_events) for name in COLLECTIONS}


def _hard_process(events: Integers, process: Process, rng: Rng) -> Records:
    """The two daughters and the recoil jets of one process in the given events (n,)."""
    n = len(events)
    kinds = np.repeat([process.daughters], n, axis=0).T
    masses = _masses(kinds, rng)
    jets, kick = _recoil_jets(events, process.mean_recoil_jets, rng)
    # Soft activity below the jets adds a few GeV in each direction.
    transverse = kick + rng.normal(0.0, 5.0, (n, 2))
    parents = np.zeros(n, PARTICLE)
    parents["event"], parents["mass"] = events, masses.sum(axis=0) + process.spectrum(n, rng)
    parents["p4"] = _with_rapidity(transverse, parents["mass"], 1.0, rng)
    return np.concatenate([jets, _two_body(parents, kinds, masses, rng)])


def _recoil_jets(events: Integers, mean: float, rng: Rng) -> tuple[Records, Floats]:
    """Jets radiated before the collision, and minus the sum of their px, py (n, 2) in GeV."""
    owner = np.repeat(np.arange(len(events)), rng.poisson(mean, len(events)))
    n = len(owner)
    pt, phi = RECOIL_PT(n, rng), rng.uniform(-np.pi, np.pi, n)
    transverse = np.column_stack([pt * np.cos(phi), pt * np.sin(phi)])
    jets = np.zeros(n, PARTICLE)
    jets["event"], jets["kind"], jets["charge"] = events[owner], JET, rng.choice([-1, 1], n)
    jets["p4"] = _with_rapidity(transverse, np.zeros(n), 1.8, rng)
    kick = np.zeros((len(events), 2))
    np.subtract.at(kick, owner, transverse)
    return jets, kick


def _with_rapidity(transverse: Floats, mass: Floats, spread: float, rng: Rng) -> Floats:
    """Four-momenta (n, 4) for px, py (n, 2) and masses (n,), with a Gaussian rapidity; GeV."""
    rapidity = rng.normal(0.0, spread, len(mass))
    mt = np.sqrt(mass**2 + (transverse**2).sum(axis=1))
    return np.column_stack([transverse, mt * np.sinh(rapidity), mt * np.cosh(rapidity)])


def _masses(kinds: Integers, rng: Rng) -> Floats:
    """Masses in GeV, of the shape of kinds; everything stable is taken as massless."""
    masses = np.zeros(kinds.shape)
    for kind, spectrum in UNSTABLE.items():
        here = kinds == kind
        masses[here] = spectrum(int(here.sum()), rng)
    return masses


def _two_body(parents: Records, kinds: Integers, masses: Floats, rng: Rng) -> Records:
    """The 2 n daughters of n parents, isotropic in the rest frame; kinds, masses: (2, n), GeV."""
    n, mass = len(parents), parents["mass"]
    plus, minus = (masses[0] + masses[1]) ** 2, (masses[0] - masses[1]) ** 2
    momentum = np.sqrt((mass**2 - plus) * (mass**2 - minus)) / (2.0 * mass)
    # Three equal Gaussians have no preferred direction.
    direction = rng.normal(size=(n, 3))
    direction *= (momentum / np.linalg.norm(direction, axis=1))[:, None]
    charge = np.where(parents["charge"] == 0, rng.choice([-1, 1], n), parents["charge"])
    daughters = np.zeros((2, n), PARTICLE)
    for i, sign in enumerate((1, -1)):
        at_rest = np.column_stack([sign * direction, np.hypot(momentum, masses[i])])
        daughters[i]["p4"] = _boosted(at_rest, parents["p4"], mass)
        daughters[i]["charge"] = sign * charge
    daughters["event"], daughters["kind"], daughters["mass"] = parents["event"], kinds, masses
    return daughters.ravel()


def _boosted(p4: Floats, frame: Floats, mass: Floats) -> Floats:
    """Four-momenta p4 (n, 4), given in the rest frame of frame (n, 4), as seen in the lab; GeV."""
    along = (p4[:, :3] * frame[:, :3]).sum(axis=1)
    energy = (p4[:, 3] * frame[:, 3] + along) / mass
    stretch = (along / (mass + frame[:, 3]) + p4[:, 3]) / mass
    return np.column_stack([p4[:, :3] + stretch[:, None] * frame[:, :3], energy])


def _decayed(particles: Records, rng: Rng) -> Records:
    """The particles with everything unstable replaced by its daughters."""
    for kind, modes in DECAYS.items():
        is_parent = particles["kind"] == kind
        parents = particles[is_parent]
        mode = rng.choice(len(modes), len(parents), p=[row[0] for row in modes])
        kinds = np.array([row[1:] for row in modes])[mode].T
        daughters = _two_body(parents, kinds, _masses(kinds, rng), rng)
        particles = np.concatenate([particles[~is_parent], daughters])
    return particles


def _detected(particles: Records, rng: Rng) -> Columns:
    """What the detector makes of stable particles: flat columns (n_objects,), pt, mass in GeV."""
    kind, p4 = particles["kind"].copy(), particles["p4"].copy()
    is_tau, is_jet = kind == TAU, kind == JET
    # Neutrinos carry away a part of every tau.
    p4[is_tau] *= rng.uniform(0.3, 0.9, (int(is_tau.sum()), 1))
    for mask, chances in ((is_tau, TAU_SEEN_AS), (is_jet, JET_SEEN_AS)):
        kind[mask] = rng.choice(list(chances), int(mask.sum()), p=list(chances.values()))
    seen = kind < len(EFFICIENCY)
    particles, kind, n = particles[seen], kind[seen], int(seen.sum())
    px, py, pz, _ = p4[seen].T
    true_pt = np.hypot(px, py)
    resolution = np.hypot(STOCHASTIC[kind] / np.sqrt(true_pt), CONSTANT[kind])
    pt = true_pt * np.exp(resolution * rng.normal(size=n))
    eta, phi = np.arcsinh(pz / true_pt), np.arctan2(py, px)
    kept = (pt > PT_MIN_GEV[kind]) & (np.abs(eta) < ETA_MAX[kind])
    kept &= rng.random(n) < EFFICIENCY[kind]
    # A jet is about a tenth as heavy as its pt.
    mass = MASS_GEV[kind] + np.where(kind >= JET, pt * rng.gamma(6.0, 0.02, n), 0.0)
    score = _b_score(kind == B_JET, rng)
    measured = {"pt": pt, "eta": eta, "phi": phi, "mass": mass, "btagDeepFlavB": score}
    columns: Columns = {name: column.astype(np.float32) for name, column in measured.items()}
    columns["charge"] = particles["charge"].astype(np.int32)
    columns["kind"], columns["event"] = kind, particles["event"]
    return {name: column[kept] for name, column in columns.items()}


def _b_score(is_b: npt.NDArray[np.bool_], rng: Rng) -> Floats:
    """b-tag scores (n,) in 0..1."""
    # 10 %, 1 % and 0.1 % of the other jets pass 0.048, 0.249 and 0.638, the usual working points.
    odds = 0.0095 * (1.0 - rng.random(len(is_b))) ** -0.72
    return np.where(is_b, rng.beta(2.5, 0.4, len(is_b)), odds / (1.0 + odds))


def _collection(objects: Columns, name: str, n_events: int) -> ak.Array:
    """The objects of one collection as records (n_events, var), ordered by decreasing pt."""
    kinds, fields = COLLECTIONS[name]
    chosen = np.flatnonzero(np.isin(objects["kind"], kinds))
    chosen = chosen[np.lexsort((-objects["pt"][chosen], objects["event"][chosen]))]
    counts = np.bincount(objects["event"][chosen], minlength=n_events)
    return ak.unflatten(ak.zip({field: objects[field][chosen] for field in fields}), counts)


def _write(path: Path, columns: dict[str, ak.Array]) -> None:
    """Make a ROOT file with the columns in one TTree, which appears whole or not at all."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        # zlib needs no package beyond Python's own, in any version of uproot.
        with uproot.recreate(aside, compression=uproot.ZLIB(1)) as file:
            types = {name: array.type.content for name, array in columns.items()}
            file.mktree("Events", types).extend(columns)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)

"""The embedded demo release: its layout, its identity and its physics."""

from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import pytest
import uproot

from services.catalogs import demo

LEPTON = {"pt": "float[]", "eta": "float[]", "phi": "float[]", "mass": "float[]"}
FIELDS = {
    "Electron": LEPTON | {"charge": "int32_t[]"},
    "Muon": LEPTON | {"charge": "int32_t[]"},
    "Jet": LEPTON | {"btagDeepFlavB": "float[]"},
    "Photon": {"pt": "float[]", "eta": "float[]", "phi": "float[]"},
    "Tau": LEPTON | {"charge": "int32_t[]"},
}
BRANCHES = {"run": "uint32_t", "luminosityBlock": "uint32_t", "event": "uint64_t"}
for collection, fields in FIELDS.items():
    BRANCHES[f"n{collection}"] = "int32_t"
    BRANCHES |= {f"{collection}_{field}": kind for field, kind in fields.items()}


def generated(n_events: int) -> dict[str, ak.Array]:
    return demo.generate(n_events, np.random.default_rng(1))


def leading(objects: ak.Array, rank: int) -> npt.NDArray[np.float64]:
    """E, px, py, pz (4, n_events) in GeV of the objects of one rank."""
    one = objects[:, rank]
    pt, eta, phi = (ak.to_numpy(one[name]).astype(float) for name in ("pt", "eta", "phi"))
    mass = ak.to_numpy(one["mass"]).astype(float) if "mass" in one.fields else 0.0
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    return np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


def invariant_mass(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    energy, *momentum = first + second
    return np.sqrt(energy**2 - sum(component**2 for component in momentum))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return demo.write_demo_files(tmp_path_factory.mktemp("demo") / "inputs", 2003)


@pytest.fixture(scope="module")
def many() -> dict[str, ak.Array]:
    """As many events as a plot needs."""
    return generated(200_000)


def test_there_are_eight_files_with_numbered_names(files: tuple[Path, ...]) -> None:
    assert [path.name for path in files] == [f"demo_{i}.root" for i in range(1, 9)]
    assert sorted(files[0].parent.iterdir()) == sorted(files)


def test_branches_have_the_names_and_types_of_nanoaod(files: tuple[Path, ...]) -> None:
    for path in files:
        with uproot.open(path) as file:
            assert file["Events"].classname == "TTree"
            assert file["Events"].typenames() == BRANCHES


def test_every_event_has_its_own_run_block_and_number(files: tuple[Path, ...]) -> None:
    identity = uproot.concatenate(
        [f"{path}:Events" for path in files], ["run", "luminosityBlock", "event"], library="np"
    )
    assert len(set(zip(*identity.values(), strict=True))) == 2003


@pytest.mark.parametrize("n_events", [0, 1, 7, 8, 9, 1001])
def test_events_are_dealt_out_evenly_and_none_is_lost(tmp_path: Path, n_events: int) -> None:
    counts = []
    for path in demo.write_demo_files(tmp_path, n_events):
        with uproot.open(path) as file:
            assert file["Events"].typenames() == BRANCHES
            counts.append(len(file["Events"].arrays()))
    assert sum(counts) == n_events
    assert max(counts) - min(counts) <= 1


def test_a_second_call_writes_the_same_events(files: tuple[Path, ...], tmp_path: Path) -> None:
    for old, new in zip(files, demo.write_demo_files(tmp_path, 2003), strict=True):
        with uproot.open(old) as first, uproot.open(new) as second:
            assert ak.array_equal(first["Events"].arrays(), second["Events"].arrays())


def test_files_do_not_repeat_each_other(files: tuple[Path, ...]) -> None:
    with uproot.open(files[0]) as first, uproot.open(files[1]) as second:
        one, other = (ak.flatten(file["Events"]["Jet_pt"].array()) for file in (first, second))
    assert not set(one.tolist()) & set(other.tolist())


def test_objects_are_ordered_by_decreasing_pt() -> None:
    columns = generated(3000)
    for name in FIELDS:
        pt = columns[name].pt
        assert ak.all(pt[:, 1:] <= pt[:, :-1])


def test_all_numbers_are_physical() -> None:
    columns = generated(3000)
    for name, fields in FIELDS.items():
        for field in fields:
            assert np.isfinite(ak.to_numpy(ak.flatten(columns[name][field]))).all()
        assert ak.all(columns[name].pt > 0)
        assert ak.all(abs(columns[name].eta) < 5)
    for name in ("Electron", "Muon", "Tau"):
        assert ak.all(abs(columns[name].charge) == 1)
    assert ak.all((columns["Jet"].btagDeepFlavB >= 0) & (columns["Jet"].btagDeepFlavB <= 1))


def test_a_decay_conserves_energy_and_momentum() -> None:
    rng = np.random.default_rng(2)
    parents = np.zeros(100, demo.PARTICLE)
    parents["mass"] = 172.5
    momentum = rng.normal(0.0, 300.0, (100, 3))
    parents["p4"] = np.column_stack([momentum, np.hypot(172.5, np.linalg.norm(momentum, axis=1))])
    masses = np.tile([[80.4], [0.0]], 100)
    kinds = np.tile([[demo.W], [demo.B_JET]], 100)
    first, second = demo._two_body(parents, kinds, masses, rng).reshape(2, 100)  # noqa: SLF001
    np.testing.assert_allclose(first["p4"] + second["p4"], parents["p4"], atol=1e-6)


@pytest.mark.parametrize("name", ["Electron", "Muon"])
def test_lepton_pairs_peak_at_the_z_mass(name: str) -> None:
    leptons = generated(5000)[name]
    leptons = leptons[ak.num(leptons) == 2]
    mass = invariant_mass(leading(leptons, 0), leading(leptons, 1))
    peak = mass[(mass > 80) & (mass < 102)]
    assert len(peak) > len(mass) / 2
    assert np.median(peak) == pytest.approx(91.19, abs=0.5)
    low, high = np.quantile(peak, [0.16, 0.84])
    assert (high - low) / 2 == pytest.approx(2.3, abs=0.7)


def test_the_higgs_boson_shows_in_photon_pairs(many: dict[str, ak.Array]) -> None:
    photons = many["Photon"][(many["Photon"].pt > 25) & (abs(many["Photon"].eta) < 2.37)]
    photons = photons[ak.num(photons) == 2]
    mass = invariant_mass(leading(photons, 0), leading(photons, 1))
    below, here, above = np.histogram(mass, [110, 120, 130, 140])[0]
    expected = (below + above) / 2
    assert (here - expected) / np.sqrt(expected) > 5


def test_the_hidden_resonance_shows_in_photon_and_jet(many: dict[str, ak.Array]) -> None:
    jets = many["Jet"][(many["Jet"].pt > 30) & (abs(many["Jet"].eta) < 4.5)]
    photons = many["Photon"][(many["Photon"].pt > 25) & (abs(many["Photon"].eta) < 2.37)]
    chosen = (ak.num(jets) == 1) & (ak.num(photons) == 1)
    mass = invariant_mass(leading(jets[chosen], 0), leading(photons[chosen], 0))
    half = 2 * demo.RESONANCE_SIGMA_GEV
    edges = demo.RESONANCE_MASS_GEV + half * np.array([-3, -1, 1, 3])
    below, here, above = np.histogram(mass, edges)[0]
    expected = (below + above) / 2
    assert (here - expected) / np.sqrt(expected) > 5


def test_top_quarks_bring_two_b_jets_and_a_lepton() -> None:
    columns = generated(5000)
    n_b = ak.sum(columns["Jet"].btagDeepFlavB > 0.2489, axis=1)
    n_leptons = ak.num(columns["Electron"]) + ak.num(columns["Muon"])
    assert ak.mean((n_b == 2) & (n_leptons == 1)) > 0.02


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "inputs").touch()
    with pytest.raises(FileExistsError):
        demo.write_demo_files(tmp_path / "inputs", 10)


def test_nothing_half_written_stays_behind_an_error(tmp_path: Path) -> None:
    (tmp_path / "demo_3.root").mkdir()
    with pytest.raises(IsADirectoryError):
        demo.write_demo_files(tmp_path, 10)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["demo_1.root", "demo_2.root", "demo_3.root"]

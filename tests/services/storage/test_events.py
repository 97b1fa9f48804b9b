"""Events in ROOT files: input of the layouts, and parsed_data."""

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.releases import Layout, load_layout
from services.calculations.objects import Events
from services.storage.events import EventFile, open_events
from tests.factory import jagged, write_nanoaod, write_tree

CMS = load_layout("cms-nanoaod")
ATLAS = load_layout("2024r-pp")
NEEDED = ("Electrons", "Muons", "Jets", "Photons")
ELECTRON_GEV = np.float32(0.00051099895)


def read_all(path: Path, layout: Layout = CMS, needed: tuple[str, ...] = NEEDED) -> Events:
    with open_events(str(path), layout, (), needed) as file:
        return file.read(0, file.n_events)


def values(events: Events, name: str, quantity: str) -> list[float]:
    found: list[float] = events.objects[name].columns[quantity].tolist()
    return found


@pytest.fixture
def nanoaod(tmp_path: Path) -> Path:
    """Return a file of three events: two muons, one jet and one electron, nothing."""
    return write_nanoaod(
        tmp_path / "in.root",
        first_event=7,
        muons=[[(40.0, 1.0, 0.5, 9.0), (30.0, -1.0, 2.5, 9.0)], [], []],
        jets=[[], [(50.0, 2.0, -1.5, 8.0)], []],
        electrons=[[], [(25.0, 0.0, 0.0, -0.25)], []],
    )


# NanoAOD


def test_events_keep_their_identity(nanoaod: Path) -> None:
    events = read_all(nanoaod)
    assert (events.run.tolist(), events.lumi.tolist()) == ([1, 1, 1], [1, 1, 1])
    assert events.event.tolist() == [7, 8, 9]


def test_objects_stay_in_their_events(nanoaod: Path) -> None:
    events = read_all(nanoaod)
    assert events.objects["Muons"].counts.tolist() == [2, 0, 0]
    assert events.objects["Jets"].counts.tolist() == [0, 1, 0]
    assert events.objects["Photons"].counts.tolist() == [0, 0, 0]


def test_quantities_come_from_their_branches(nanoaod: Path) -> None:
    events = read_all(nanoaod)
    assert values(events, "Muons", "pt") == [40, 30]
    assert values(events, "Muons", "eta") == [1, -1]
    assert values(events, "Muons", "phi") == [0.5, 2.5]
    assert values(events, "Jets", "mass") == [8]


def test_leptons_have_their_particle_s_mass_whatever_is_stored(nanoaod: Path) -> None:
    assert values(read_all(nanoaod), "Electrons", "mass") == [ELECTRON_GEV]


def test_a_range_of_events_has_offsets_from_zero(nanoaod: Path) -> None:
    with open_events(str(nanoaod), CMS, (), NEEDED) as file:
        events = file.read(1, 3)
    assert events.event.tolist() == [8, 9]
    assert events.objects["Jets"].offsets.tolist() == [0, 1, 1]
    assert values(events, "Muons", "pt") == []


@pytest.mark.parametrize(
    ("simulation", "sample"), [(True, Sample.SIMULATION), (False, Sample.DATA)]
)
def test_generator_weights_tell_simulation(
    tmp_path: Path, simulation: bool, sample: Sample
) -> None:
    path = write_nanoaod(tmp_path / "in.root", simulation=simulation, muons=[[]])
    with open_events(str(path), CMS, (), ()) as file:
        assert file.sample is sample


def test_an_empty_tree_has_no_events(tmp_path: Path) -> None:
    events = read_all(write_nanoaod(tmp_path / "in.root"))
    assert len(events) == 0
    assert events.objects["Muons"].n_objects == 0


def test_memory_decides_how_many_events_are_read_at_once(nanoaod: Path) -> None:
    with open_events(str(nanoaod), CMS, (), NEEDED) as file:
        assert file.events_within(1) == 1
        assert file.events_within(10**9) > 3


# MeV


def physlite(path: Path, tree: str = "CollectionTree") -> Path:
    """Write one event: one object of each type, 30 GeV, jets and taus of 5 GeV."""
    one = np.ones(1, dtype=np.uint32)
    branches: dict[str, Any] = {
        "EventInfoAuxDyn.runNumber": one,
        "EventInfoAuxDyn.lumiBlock": 2 * one,
        "EventInfoAuxDyn.eventNumber": (3 * one).astype(np.uint64),
    }
    for name in ("Electrons", "Muons", "Jets", "Photons", "TauJets"):
        prefix = f"Analysis{name}AuxDyn"
        for quantity, value in (("pt", 30_000.0), ("eta", 1.5), ("phi", -0.5), ("m", 5_000.0)):
            branches[f"{prefix}.{quantity}"] = jagged([[value]])
    return write_tree(path, tree, branches)


@pytest.mark.parametrize("name", ["Electrons", "Muons", "Jets", "Photons", "Taus"])
def test_mev_become_gev_once(tmp_path: Path, name: str) -> None:
    events = read_all(physlite(tmp_path / "in.root"), ATLAS)
    assert values(events, name, "pt") == [30]
    assert values(events, name, "eta") == [1.5]
    assert values(events, name, "phi") == [-0.5]


@pytest.mark.parametrize(
    ("name", "mass_gev"),
    [
        ("Electrons", 0.00051099895),
        ("Muons", 0.1056583755),
        ("Jets", 5.0),
        ("Photons", 0.0),
        ("Taus", 5.0),
    ],
)
def test_only_stored_masses_are_divided(tmp_path: Path, name: str, mass_gev: float) -> None:
    events = read_all(physlite(tmp_path / "in.root"), ATLAS)
    assert values(events, name, "mass") == [np.float32(mass_gev)]


def test_atlas_events_keep_their_identity(tmp_path: Path) -> None:
    events = read_all(physlite(tmp_path / "in.root"), ATLAS)
    assert (events.run.tolist(), events.lumi.tolist(), events.event.tolist()) == ([1], [2], [3])


def test_real_files_give_energies_in_gev(real_data: Path) -> None:
    atlas = read_all(real_data / "atlas_physlite_mc.root", ATLAS)
    cms = read_all(real_data / "cms_nanoaod_2015_ttbar.root", CMS)
    assert (len(atlas), len(cms)) == (100, 200)
    for events in (atlas, cms):
        # A jet of a few hundred GeV at most in so few events, not of 0.1 or of 10^5.
        assert 20 < max(values(events, "Jets", "pt")) < 2000


# What cannot be read


def complaint(path: Path, needed: tuple[str, ...] = NEEDED) -> str:
    with pytest.raises(DataError) as caught:
        read_all(path, CMS, needed)
    return str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "there is no such file; put it back, or" in complaint(tmp_path / "none.root")


def test_a_missing_tree_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    path = physlite(tmp_path / "in.root")
    said = complaint(path)
    assert "in.root: expected a tree named Events, found CollectionTree" in said
    assert said.endswith("is this the right data layout? --inspect FILE says which one fits")


def test_an_empty_root_file_is_told(tmp_path: Path) -> None:
    uproot.recreate(tmp_path / "in.root").close()
    assert "expected a tree named Events, found an empty file" in complaint(tmp_path / "in.root")


def test_other_tree_names_are_tried_first(tmp_path: Path) -> None:
    numbers = {
        "EventInfoAuxDyn.runNumber": np.ones(4, dtype=np.uint32),
        "EventInfoAuxDyn.eventNumber": np.ones(4, dtype=np.uint64),
    }
    with uproot.recreate(tmp_path / "in.root") as file:
        for tree, n_events in (("CollectionTree", 1), ("mytree", 4)):
            columns = {name: column[:n_events] for name, column in numbers.items()}
            file.mktree(tree, {name: column.dtype for name, column in columns.items()})
            file[tree].extend(columns)
    for more, n_events in ((("absent", "mytree"), 4), ((), 1)):
        with open_events(str(tmp_path / "in.root"), ATLAS, more, ()) as events:
            assert events.n_events == n_events


@pytest.fixture
def branches() -> dict[str, Any]:
    """Return the branches of a NanoAOD tree of two events with a muon each."""
    number = np.array([1, 2], dtype=np.uint32)
    muons = {name: jagged([[30.0], [40.0]]) for name in ("pt", "eta", "phi")}
    return {"run": number, "event": number.astype(np.uint64), "Muon": ak.zip(muons)}


def test_a_tree_with_what_is_needed_is_read(tmp_path: Path, branches: dict[str, Any]) -> None:
    path = write_tree(tmp_path / "in.root", "Events", branches)
    events = read_all(path, CMS, ("Muons",))
    assert values(events, "Muons", "pt") == [30, 40]
    assert events.lumi.tolist() == [0, 0]
    assert events.objects["Jets"].counts.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("branch", "told"),
    [("run", "the branch run (the run number)"), ("event", "the branch event (the event number)")],
)
def test_a_missing_identity_is_told(
    tmp_path: Path, branches: dict[str, Any], branch: str, told: str
) -> None:
    del branches[branch]
    path = write_tree(tmp_path / "in.root", "Events", branches)
    assert f"expected {told}, found none" in complaint(path, ("Muons",))


def test_a_needed_type_that_is_missing_is_told(tmp_path: Path, branches: dict[str, Any]) -> None:
    path = write_tree(tmp_path / "in.root", "Events", branches)
    assert "the branch Jet_pt (pt of Jets)" in complaint(path, ("Muons", "Jets"))


def test_a_type_without_one_of_its_quantities_is_told(
    tmp_path: Path, branches: dict[str, Any]
) -> None:
    branches["Jet"] = ak.zip({"pt": jagged([[30.0], []]), "eta": jagged([[1.0], []])})
    path = write_tree(tmp_path / "in.root", "Events", branches)
    assert "the branch Jet_phi (phi of Jets)" in complaint(path, ("Muons",))


def test_a_type_that_is_not_needed_may_be_missing_with_a_note(
    tmp_path: Path, branches: dict[str, Any]
) -> None:
    path = write_tree(tmp_path / "in.root", "Events", branches)
    with open_events(str(path), CMS, (), ("Muons",)) as file:
        assert "Taus: not in the file, counted as 0" in file.notes


def test_quantities_of_different_lengths_are_told(tmp_path: Path, branches: dict[str, Any]) -> None:
    del branches["Muon"]
    branches |= {
        "Muon_pt": jagged([[30.0], [40.0]]),
        "Muon_eta": jagged([[1.0, 2.0], []]),
        "Muon_phi": jagged([[1.0], [2.0]]),
    }
    path = write_tree(tmp_path / "in.root", "Events", branches)
    told = complaint(path, ("Muons",))
    assert "Muon_eta: the numbers of objects or events differ" in told


def test_one_value_per_event_is_no_object(tmp_path: Path, branches: dict[str, Any]) -> None:
    del branches["Muon"]
    branches |= {f"Muon_{name}": np.ones(2, dtype=np.float32) for name in ("pt", "eta", "phi")}
    path = write_tree(tmp_path / "in.root", "Events", branches)
    assert "a branch of objects holds one value per event" in complaint(path, ("Muons",))


def test_something_else_under_the_tree_s_name_is_told(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "in.root") as file:
        file["Events"] = np.histogram([1.0, 2.0])
    assert "expected a readable ROOT file" in complaint(tmp_path / "in.root")


@pytest.mark.parametrize("content", [b"", b"root", b"no ROOT file\n" * 100])
def test_a_file_that_is_not_root_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.root").write_bytes(content)
    assert "in.root: expected a readable ROOT file, found damage" in complaint(tmp_path / "in.root")


@pytest.mark.parametrize("percent", range(5, 100, 10))
def test_a_truncated_file_is_told_or_read_whole(nanoaod: Path, percent: int) -> None:
    whole = read_all(nanoaod)
    content = nanoaod.read_bytes()
    nanoaod.write_bytes(content[: len(content) * percent // 100])
    try:
        events = read_all(nanoaod)
    except DataError as error:
        assert "in.root: expected " in str(error)  # noqa: PT017 - it may also not be raised
    else:
        assert values(events, "Muons", "pt") == values(whole, "Muons", "pt")
        assert events.event.tolist() == whole.event.tolist()


def test_a_truncated_file_of_many_events_is_told(tmp_path: Path) -> None:
    path = write_nanoaod(tmp_path / "in.root", muons=[[(30.0, 1.0, 1.0, 0.0)]] * 5000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "in.root: expected a readable ROOT file, found damage" in complaint(path)


@pytest.mark.parametrize("folder", ["with space", "a:b", "größe", "100%", "a#b"])
def test_a_path_with_unusual_letters_is_read(nanoaod: Path, folder: str) -> None:
    path = nanoaod.parent / folder / "in.root"
    path.parent.mkdir()
    nanoaod.rename(path)
    assert len(read_all(path)) == 3


def test_only_the_branches_that_are_needed_are_named(nanoaod: Path) -> None:
    with open_events(str(nanoaod), CMS, (), NEEDED) as file:
        assert isinstance(file, EventFile)
        assert file.notes == ()

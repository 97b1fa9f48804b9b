"""Files of every layout, read into objects in GeV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.releases import Discriminant, load_layout
from services.calculations.objects import B_TAG, RELATIVE_ISOLATION, Events
from services.storage.branches import NO_EXTRAS, Extras
from services.storage.events import open_events
from tests.factory import (
    FLAT,
    HION14,
    PHYSLITE,
    Collection,
    jagged,
    write_daod,
    write_flat_atlas,
    write_nanoaod,
    write_tree,
)

# pt, eta, phi, mass in GeV.
OBJECTS: Mapping[str, Collection] = {
    "electrons": [[(60.0, 0.5, 0.1, 0.0005), (30.0, -1.0, 2.0, 0.0005)], [], []],
    "muons": [[(45.0, 2.0, -3.0, 0.1057)], [(25.0, 0.0, 0.0, 0.1057)], []],
    "jets": [[(100.0, 1.5, 1.0, 12.0)], [(35.0, -2.5, 3.0, 4.0), (30.0, 0.1, -1.0, 0.0)], []],
    "photons": [[], [(70.0, 0.3, 0.3, 0.0)], []],
    "taus": [[(40.0, 1.0, -2.0, 1.2)], [], []],
}
TYPES = {"electrons": "Electrons", "muons": "Muons", "jets": "Jets", "photons": "Photons"}


def read(path: Path, layout: str, extras: Extras = NO_EXTRAS, **limits: Any) -> Events:
    with open_events(str(path), load_layout(layout), (), (), extras) as file:
        return file.read(limits.get("start", 0), limits.get("stop", file.n_events))


def values(events: Events, name: str, column: str) -> list[float]:
    objects = events.objects[name]
    columns = {**objects.columns, **objects.fields}
    found: list[float] = columns[column].tolist()
    return found


def fields_of(path: Path, layout: str, **named: Sequence[str]) -> Events:
    return read(path, layout, Extras(fields={key: tuple(names) for key, names in named.items()}))


@pytest.mark.parametrize("layout", FLAT)
def test_a_flat_atlas_file_has_the_documented_names(tmp_path: Path, layout: str) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", layout, **OBJECTS)
    with uproot.open(path) as file:
        keys = set(file[FLAT[layout].tree].keys())
    assert {"lep_n", "lep_pt", "lep_type", f"lep_{FLAT[layout].energy}", "runNumber"} <= keys
    assert ("alljet_n" in keys) == (layout == "2016e-8tev")


@pytest.mark.parametrize("layout", FLAT)
def test_flat_leptons_are_told_apart_and_counted_once(tmp_path: Path, layout: str) -> None:
    events = read(write_flat_atlas(tmp_path / "data_A.root", layout, **OBJECTS), layout)
    assert events.objects["Electrons"].counts.tolist() == [2, 0, 0]
    assert events.objects["Muons"].counts.tolist() == [1, 1, 0]
    assert values(events, "Electrons", "pt") == [60.0, 30.0]
    assert values(events, "Muons", "pt") == [45.0, 25.0]
    assert values(events, "Muons", "eta") == [2.0, 0.0]


@pytest.mark.parametrize("layout", FLAT)
def test_flat_energies_are_read_in_gev(tmp_path: Path, layout: str) -> None:
    events = read(write_flat_atlas(tmp_path / "data_A.root", layout, **OBJECTS), layout)
    assert values(events, "Jets", "pt") == [100.0, 35.0, 30.0]
    np.testing.assert_allclose(values(events, "Jets", "mass"), [12.0, 4.0, 0.0], atol=0.05)
    assert values(events, "Electrons", "mass") == pytest.approx([0.00051099895] * 2)
    if "tau" in FLAT[layout].fields:
        np.testing.assert_allclose(values(events, "Taus", "mass"), [1.2], atol=0.02)
        assert values(events, "Photons", "mass") == [0.0]


@pytest.mark.parametrize("layout", ["2020e-13tev", "2025e-13tev-beta"])
def test_a_jet_with_less_energy_than_momentum_is_space_like(tmp_path: Path, layout: str) -> None:
    # The factory takes a negative mass as space-like: E^2 = p^2 - 3^2.
    jets: Collection = [[(50.0, 0.0, 0.0, -3.0)]]
    events = read(write_flat_atlas(tmp_path / "data_A.root", layout, jets=jets), layout)
    np.testing.assert_allclose(values(events, "Jets", "mass"), [-3.0], rtol=1e-4)


def test_a_stored_mass_is_preferred_to_energy(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "DataMuons.root", "2016e-8tev", **OBJECTS)
    assert values(read(path, "2016e-8tev"), "Jets", "mass") == [12.0, 4.0, 0.0]


@pytest.mark.parametrize("rntuple", [False, True], ids=["TTree", "RNTuple"])
def test_derived_atlas_files_are_read_in_both_containers(tmp_path: Path, *, rntuple: bool) -> None:
    path = write_daod(tmp_path / "DAOD.root", rntuple=rntuple, **OBJECTS)
    events = read(path, "2024r-pp")
    for key, name in TYPES.items():
        expected = [item[0] for event in OBJECTS[key] for item in event]
        assert values(events, name, "pt") == expected
    assert values(events, "Jets", "mass") == [12.0, 4.0, 0.0]
    np.testing.assert_allclose(values(events, "Taus", "mass"), [1.2], rtol=1e-6)
    assert (events.run[0], events.lumi[0], events.event.tolist()) == (300000, 1, [1, 2, 3])


def test_a_range_of_an_rntuple_is_that_range(tmp_path: Path) -> None:
    path = write_daod(tmp_path / "DAOD.root", rntuple=True, **OBJECTS)
    events = read(path, "2024r-pp", start=1, stop=3)
    assert events.objects["Jets"].counts.tolist() == [2, 0]
    assert events.event.tolist() == [2, 3]


@pytest.mark.parametrize("rntuple", [False, True], ids=["TTree", "RNTuple"])
def test_memory_of_events_is_known_before_reading(tmp_path: Path, *, rntuple: bool) -> None:
    muons: Collection = [[(30.0, 0.0, 0.0, 0.1)] * 10] * 500
    path = write_daod(tmp_path / "DAOD.root", containers=HION14, rntuple=rntuple, muons=muons)
    with open_events(str(path), load_layout("2024r-hi"), (), ()) as file:
        # 3 columns of 10 float32, 8 bytes of offset each at most, and 16 bytes of identity.
        n_events = file.events_within(1_000_000)
    assert 1_000_000 / (120 + 3 * 14 + 16) <= n_events <= 1_000_000 / (120 + 16)


def test_heavy_ion_files_have_muons_only(tmp_path: Path) -> None:
    path = write_daod(tmp_path / "HION.root", containers=HION14, muons=OBJECTS["muons"])
    events = read(path, "2024r-hi")
    assert list(events.objects) == ["Muons"]
    assert values(events, "Muons", "pt") == [45.0, 25.0]


def test_the_sample_is_told_by_generator_weights(tmp_path: Path) -> None:
    for simulation in (False, True):
        path = tmp_path / f"{simulation}.root"
        write_daod(path, simulation=simulation, rntuple=simulation, **OBJECTS)
        with open_events(str(path), load_layout("2024r-pp"), (), ()) as file:
            assert file.sample is (Sample.SIMULATION if simulation else Sample.DATA)


def test_branches_of_flat_ntuples_do_not_tell_the_sample(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "x.root", "2025e-13tev-beta", **OBJECTS)
    with open_events(str(path), load_layout("2025e-13tev-beta"), (), ()) as file:
        assert file.sample is None


def test_a_lepton_that_is_neither_electron_nor_muon_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data_A.root"
    types = [[11.0, 11.0, 15.0], [13.0], []]
    write_flat_atlas(path, "2020e-13tev", fields={"lep_type": types}, **OBJECTS)
    with pytest.raises(DataError, match=r"data_A.root: lep_type: expected 11 or 13, found 15"):
        read(path, "2020e-13tev")


def test_a_jet_without_mass_and_energy_has_none_and_a_note(tmp_path: Path) -> None:
    branches = {
        **dict.fromkeys(("run", "event"), np.ones(1, dtype=np.uint32)),
        **{f"Jet_{name}": jagged([[30.0]]) for name in ("pt", "eta", "phi")},
    }
    path = write_tree(tmp_path / "nano.root", "Events", branches)
    with open_events(str(path), load_layout("cms-nanoaod"), (), ()) as file:
        assert file.read(0, 1).objects["Jets"].columns["mass"].tolist() == [0.0]
        assert "Jets: no mass stored, 0.0 GeV used" in file.notes
        assert "Photons: not in the file, counted as 0" in file.notes


# --- fields that cuts name ---


def test_fields_keep_the_kind_they_are_stored_in(tmp_path: Path) -> None:
    path = write_flat_atlas(
        tmp_path / "DataMuons.root",
        "2016e-8tev",
        fields={"lep_flag": [[512, 3, 1], [512], []]},
        **OBJECTS,
    )
    events = fields_of(path, "2016e-8tev", electrons=["flag"], muons=["flag"])
    assert values(events, "Electrons", "flag") == [512, 3]
    assert values(events, "Muons", "flag") == [1, 512]
    assert events.objects["Muons"].fields["flag"].dtype.kind == "u"


def test_flags_beyond_the_value_of_a_quality_are_masked(tmp_path: Path) -> None:
    more = {"AnalysisMuonsAuxDyn.quality": jagged([[9], [2], []], np.uint8)}
    path = write_daod(tmp_path / "DAOD.root", more=more, **OBJECTS)
    assert values(fields_of(path, "2024r-pp", muons=["quality"]), "Muons", "quality") == [1, 2]


@pytest.mark.parametrize("rntuple", [False, True], ids=["TTree", "RNTuple"])
def test_a_field_is_found_in_both_spellings(tmp_path: Path, *, rntuple: bool) -> None:
    more = {"AnalysisJetsAuxDyn.NNJvtPass": jagged([[1], [0, 1], []], np.int8)}
    path = write_daod(tmp_path / "DAOD.root", rntuple=rntuple, more=more, **OBJECTS)
    events = fields_of(path, "2024r-pp", jets=["NNJvtPass"])
    assert values(events, "Jets", "NNJvtPass") == [1, 0, 1]


@pytest.mark.parametrize("layout", FLAT)
def test_a_field_that_is_missing_is_an_error_with_file_object_and_field(
    tmp_path: Path, layout: str
) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", layout, **OBJECTS)
    with pytest.raises(DataError, match=r"data_A.root.*Muons: .*field goodness.*lep_goodness"):
        fields_of(path, layout, muons=["goodness"])


def test_a_renamed_field_is_read_under_its_older_name(real_data: Path) -> None:
    path = real_data / "cms_nanoaod_2015_ttbar.root"
    extras = Extras(fields={"electrons": ("mvaIso_WP90",)})
    with open_events(str(path), load_layout("cms-nanoaod"), (), (), extras) as file:
        found = file.read(0, file.n_events).objects["Electrons"].fields["mvaIso_WP90"]
        assert "Electrons: Electron_mvaFall17V2Iso_WP90 read for mvaIso_WP90" in file.notes
    with uproot.open(path) as stored:
        expected = stored["Events/Electron_mvaFall17V2Iso_WP90"].array(library="np")
    assert found.tolist() == np.concatenate(list(expected)).tolist()


# --- isolation ---


@pytest.mark.parametrize("layout", FLAT)
def test_absolute_isolation_is_divided_by_pt(tmp_path: Path, layout: str) -> None:
    name = "lep_ptvarcone30" if layout == "2025e-13tev-beta" else "lep_ptcone30"
    scale = FLAT[layout].per_gev
    cones = [[scale * 6.0, scale * 1.5, scale * 9.0], [0.0], []]
    path = write_flat_atlas(tmp_path / "data_A.root", layout, fields={name: cones}, **OBJECTS)
    events = read(path, layout, Extras(isolated=frozenset({"electrons", "muons"})))
    # 6 of 60, 1.5 of 30, 9 of 45 GeV.
    assert values(events, "Electrons", RELATIVE_ISOLATION) == pytest.approx([0.1, 0.05])
    assert values(events, "Muons", RELATIVE_ISOLATION) == pytest.approx([0.2, 0.0])


def test_relative_isolation_is_taken_as_stored(real_data: Path) -> None:
    path = real_data / "cms_nanoaod_v12_ttbar.root"
    events = read(path, "cms-nanoaod", Extras(isolated=frozenset({"muons"})))
    with uproot.open(path) as file:
        stored = file["Events/Muon_pfRelIso04_all"].array(library="np")
    assert values(events, "Muons", RELATIVE_ISOLATION) == np.concatenate(list(stored)).tolist()


def test_isolation_that_a_layout_does_not_have_is_an_error(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", "2020e-13tev", **OBJECTS)
    with pytest.raises(DataError, match=r"Jets: rel_isolation_max.*none in this layout"):
        read(path, "2020e-13tev", Extras(isolated=frozenset({"jets"})))


# --- triggers and good runs ---


def test_triggers_are_read_as_decisions(tmp_path: Path) -> None:
    path = tmp_path / "data_A.root"
    write_flat_atlas(path, "2020e-13tev", events={"trigE": [1, 0, 1]}, **OBJECTS)
    events = read(path, "2020e-13tev", Extras(triggers=("trigE", "trigM")))
    assert events.triggers["trigE"].tolist() == [True, False, True]
    assert not events.triggers["trigM"].any()


def test_a_missing_trigger_is_an_error_that_names_the_closest(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", "2020e-13tev", **OBJECTS)
    with pytest.raises(DataError, match=r"data_A.root.*branch trigX, found none; did you mean 'tr"):
        read(path, "2020e-13tev", Extras(triggers=("trigX",)))


def test_a_missing_trigger_can_count_as_not_fired_with_a_note(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", "2020e-13tev", **OBJECTS)
    extras = Extras(triggers=("trigX",), missing_trigger="reject")
    with open_events(str(path), load_layout("2020e-13tev"), (), (), extras) as file:
        assert file.read(0, 3).triggers["trigX"].tolist() == [False] * 3
        assert "trigger trigX: not in the file, counted as not fired" in file.notes


def test_good_runs_need_the_luminosity_block(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", "2025e-13tev-beta", **OBJECTS)
    with pytest.raises(DataError, match=r"data_A.root.*good_run_lists need the luminosity block"):
        read(path, "2025e-13tev-beta", Extras(certified=True))


# --- b-tagging ---


def discriminant(layout: str, name: str) -> Discriminant:
    btagging = load_layout(layout).btagging
    assert btagging is not None
    return btagging.fields[name]


@pytest.mark.parametrize(
    ("layout", "name", "scores"),
    [
        ("2016e-8tev", "MV1", [[0.9], [0.1, 0.8], []]),
        ("2020e-13tev", "MV2c10", [[0.9], [-0.5, 0.8], []]),
        ("2025e-13tev-beta", "btag_quantile", [[5], [1, 4], []]),
    ],
)
def test_the_discriminant_of_flat_jets_is_read(
    tmp_path: Path, layout: str, name: str, scores: Sequence[Sequence[float]]
) -> None:
    path = tmp_path / "data_A.root"
    write_flat_atlas(path, layout, fields={f"jet_{name}": scores}, **OBJECTS)
    events = read(path, layout, Extras(btag=discriminant(layout, name)))
    expected = [value for event in scores for value in event]
    np.testing.assert_allclose(values(events, "Jets", B_TAG), expected, rtol=1e-6)


def test_dl1d_follows_the_link_of_an_rntuple(tmp_path: Path) -> None:
    container = "BTagging_AntiKt4EMPFlowAuxDyn"
    link = jagged([[0], [1, 0], []], np.uint32)
    more = {
        f"{container}.DL1dv01_pb": jagged([[0.9], [0.1, 0.7], []]),
        f"{container}.DL1dv01_pc": jagged([[0.05], [0.3, 0.1], []]),
        f"{container}.DL1dv01_pu": jagged([[0.05], [0.6, 0.2], []]),
        "AnalysisJetsAuxDyn.btaggingLink": ak.zip({"m_persKey": link, "m_persIndex": link}),
    }
    path = write_daod(tmp_path / "DAOD.root", rntuple=True, more=more, **OBJECTS)
    events = read(path, "2024r-pp", Extras(btag=discriminant("2024r-pp", "DL1dv01")))

    def d(b: float, c: float, u: float) -> float:
        return math.log(b / (0.018 * c + 0.982 * u))

    expected = [d(0.9, 0.05, 0.05), d(0.7, 0.1, 0.2), d(0.1, 0.3, 0.6)]
    np.testing.assert_allclose(values(events, "Jets", B_TAG), expected, rtol=1e-5)


def test_dl1d_of_a_real_file_tags_as_few_light_jets_as_its_working_points_say(
    real_data: Path,
) -> None:
    path = real_data / "atlas_physlite_mc.root"
    btag = discriminant("2024r-pp", "DL1dv01")
    extras = Extras(fields={"jets": ("HadronConeExclTruthLabelID",)}, btag=btag)
    jets = read(path, "2024r-pp", extras).objects["Jets"]
    light = (jets.fields["HadronConeExclTruthLabelID"] == 0) & (jets.columns["pt"] > 20)
    scores = jets.fields[B_TAG][light]
    assert int(light.sum()) == 516
    passing = [int((scores >= btag.working_points[name]).sum()) for name in ("85%", "77%")]
    assert passing == [14, 2]


def test_a_column_of_sentinels_is_an_error(real_data: Path) -> None:
    path = real_data / "cms_nanoaod_2015_ttbar.root"
    extras = Extras(btag=discriminant("cms-nanoaod", "btagDeepFlavB"))
    with pytest.raises(DataError, match=r"2015_ttbar.root: Jets: .*Jet_btagDeepFlavB.*no b-jets"):
        read(path, "cms-nanoaod", extras)


def test_the_same_file_can_be_tagged_with_what_it_has(real_data: Path) -> None:
    path = real_data / "cms_nanoaod_2015_ttbar.root"
    extras = Extras(btag=discriminant("cms-nanoaod", "btagCSVV2"))
    scores = np.array(values(read(path, "cms-nanoaod", extras), "Jets", B_TAG))
    assert np.nanmin(scores) >= 0
    assert np.nanmax(scores) <= 1


def test_first_jets_without_a_score_are_no_error_if_later_ones_have_it(tmp_path: Path) -> None:
    branches = {
        **dict.fromkeys(("run", "event"), np.ones(3, dtype=np.uint32)),
        **{f"Jet_{name}": jagged([[30.0], [30.0], [30.0]]) for name in ("pt", "eta", "phi")},
        "Jet_btagDeepFlavB": jagged([[-1.0], [-1.0], [0.5]]),
    }
    path = write_tree(tmp_path / "nano.root", "Events", branches)
    extras = Extras(btag=discriminant("cms-nanoaod", "btagDeepFlavB"))
    events = read(path, "cms-nanoaod", extras, stop=1)
    assert math.isnan(values(events, "Jets", B_TAG)[0])


def test_tagging_needs_jets_in_the_file(tmp_path: Path) -> None:
    branches = dict.fromkeys(("run", "event"), np.ones(1, dtype=np.uint32))
    path = write_tree(tmp_path / "nano.root", "Events", branches)
    with pytest.raises(DataError, match="enable_jet_tagging needs Jets"):
        read(path, "cms-nanoaod", Extras(btag=discriminant("cms-nanoaod", "btagDeepFlavB")))


def test_columns_that_do_not_fit_together_are_damage(tmp_path: Path) -> None:
    more = {"AnalysisJetsAuxDyn.NNJvtPass": jagged([[1, 1], [0], []], np.int8)}
    path = write_daod(tmp_path / "DAOD.root", more=more, **OBJECTS)
    with pytest.raises(DataError, match=r"NNJvtPass: the numbers of objects .* damaged"):
        fields_of(path, "2024r-pp", jets=["NNJvtPass"])


def test_physlite_names_are_those_of_a_real_file(real_data: Path) -> None:
    with uproot.open(real_data / "atlas_physlite_mc.root") as file:
        there = set(file["CollectionTree"].keys())
    made = {f"{name}.{q}" for name, m in PHYSLITE.values() for q in ("pt", "phi", *("m" * m))}
    assert made <= there


def test_nanoaod_files_of_the_factory_fit_their_layout(tmp_path: Path) -> None:
    path = write_nanoaod(tmp_path / "nano.root", muons=[[(30.0, 0.0, 0.0)]])
    assert values(read(path, "cms-nanoaod"), "Muons", "pt") == [30.0]

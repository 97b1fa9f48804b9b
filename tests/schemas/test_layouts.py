"""Layouts, the releases and records that have them, and what a layout file may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import OVERLAP_PRESETS
from schemas.errors import ConfigError
from schemas.inputs import Sample
from schemas.releases import (
    Layout,
    fitting_layouts,
    layout_in_table,
    layout_names,
    layout_of_release,
    load_layout,
    releases,
)

MINIMAL: dict[str, Any] = {
    "key": "here",
    "description": "a layout",
    "experiment": "NONE",
    "collision_energy_tev": None,
    "trees": "Events",
    "energy_unit": "GeV",
    "event_id": {"run": "run", "event": "event"},
    "simulation": {"has_branch": "genWeight"},
    "objects": {"muons": {"pt": "Muon_pt", "eta": "Muon_eta", "phi": "Muon_phi"}},
}
# Experiment, collision energy, tree, unit: formats.md, section 0.
SHIPPED = {
    "2016e-8tev": ("ATLAS", 8.0, "mini", "MeV"),
    "2020e-13tev": ("ATLAS", 13.0, "mini", "MeV"),
    "2024r-hi": ("ATLAS", 5.02, "CollectionTree", "MeV"),
    "2024r-pp": ("ATLAS", 13.0, "CollectionTree", "MeV"),
    "2025e-13tev-beta": ("ATLAS", 13.0, "analysis", "GeV"),
    "cms-nanoaod": ("CMS", None, "Events", "GeV"),
}


def test_the_shipped_layouts_are_those_of_the_experiments() -> None:
    assert layout_names() == tuple(SHIPPED)


@pytest.mark.parametrize("key", SHIPPED)
def test_a_layout_knows_experiment_energy_tree_and_unit(key: str) -> None:
    layout = load_layout(key)
    found = (layout.experiment, layout.collision_energy_tev, layout.trees[0], layout.energy_unit)
    assert found == SHIPPED[key]
    assert layout.overlap_removal == layout.experiment.lower()
    assert layout.overlap_removal in OVERLAP_PRESETS


def test_every_release_year_has_a_layout() -> None:
    years = {key for key in SHIPPED if key != "cms-nanoaod"}
    assert releases() == {year: year for year in sorted(years)} | {"demo": "cms-nanoaod"}
    assert layout_of_release("2020e-13tev") == "2020e-13tev"


@pytest.mark.parametrize("release", ["2025r-evgen-13tev", "2025r-evgen-13p6tev"])
def test_generator_events_are_refused_because_they_are_text(release: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{release}' cannot be read: .*HepMC text.*not ROOT"):
        layout_of_release(release)


def test_a_misspelt_release_is_corrected() -> None:
    with pytest.raises(ConfigError, match="not known; did you mean '2024r-pp'"):
        layout_of_release("2024rpp")


@pytest.mark.parametrize(
    ("record", "layout"),
    [
        ("30529", "cms-nanoaod"),
        ("67993", "cms-nanoaod"),
        ("15000", "2020e-13tev"),
        ("15007", "2020e-13tev"),
        ("390", "2016e-8tev"),
        ("3841", "2016e-8tev"),
        ("80001", "2024r-pp"),
        ("80036", "2024r-hi"),
        ("93915", "2025e-13tev-beta"),
        ("15008", None),
        ("atlas-160005", None),
    ],
)
def test_the_table_knows_the_records(record: str, layout: str | None) -> None:
    assert layout_in_table(record) == layout


@pytest.mark.parametrize(
    ("record", "reason"),
    [("160000", "HepMC"), ("3860", "zip"), ("24100", "AOD"), ("14220", "good_run_lists")],
)
def test_records_without_events_to_read_are_refused(record: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"record {record} cannot be read: .*{reason}"):
        layout_in_table(record)


def test_dotted_names_are_found_as_an_rntuple_writes_them() -> None:
    layout = load_layout("2024r-pp")
    pt = layout.objects["muons"].pt
    assert layout.find(pt, {"AnalysisMuonsAuxDyn.pt"}) == "AnalysisMuonsAuxDyn.pt"
    assert layout.find(pt, {"AnalysisMuonsAuxDyn:pt"}) == "AnalysisMuonsAuxDyn:pt"


def test_flat_names_have_one_spelling() -> None:
    assert load_layout("cms-nanoaod").find(("A.pt",), {"A:pt"}) is None


@pytest.mark.parametrize("name", ["mvaIso_WP90", "mvaFall17V2Iso_WP90"])
def test_a_field_that_was_renamed_is_found_by_both_names(name: str) -> None:
    electrons = load_layout("cms-nanoaod").objects["electrons"]
    both = {"Electron_mvaIso_WP90", "Electron_mvaFall17V2Iso_WP90"}
    assert set(electrons.branches_of(name)) == both
    assert electrons.branches_of(name)[0] == f"Electron_{name}"


@pytest.mark.parametrize(
    ("layout", "name", "sample"),
    [
        ("2016e-8tev", "DataEgamma.root", Sample.DATA),
        ("2016e-8tev", "mc_105985.WW.root", Sample.SIMULATION),
        ("2020e-13tev", "data_A.2lep.root", Sample.DATA),
        ("2020e-13tev", "mc_361106.Zee.2lep.root", Sample.SIMULATION),
        ("2025e-13tev-beta", "ODEO_FEB2025_v0_GamGam_data15.root", Sample.DATA),
        ("2025e-13tev-beta", "mc_700320.2to4lep.root", Sample.SIMULATION),
        ("2020e-13tev", "Zee.root", None),
        ("2025e-13tev-beta", "mc_data_x.root", None),
    ],
)
def test_file_names_tell_the_sample_where_branches_do_not(
    layout: str, name: str, sample: Sample | None
) -> None:
    assert load_layout(layout).sample_of({"mcWeight"}) is None
    assert load_layout(layout).sample_named(name) == sample


def test_the_two_ntuples_with_the_same_tree_are_told_apart() -> None:
    common = {"runNumber", "eventNumber", "lep_pt", "lep_type", "lep_E", "jet_pt", "jet_E"}
    assert fitting_layouts({"mini": common}) == {}
    assert fitting_layouts({"mini": common | {"jet_MV1"}}) == {"2016e-8tev": "mini"}
    assert fitting_layouts({"mini": common | {"jet_MV2c10"}}) == {"2020e-13tev": "mini"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"simulation": {}}, "either has_branch or file_names"),
        ({"objects": {"muons": {**MINIMAL["objects"]["muons"], "field": "Muon_"}}}, "expected one"),
        ({"btagging": {"default": "a", "fields": {}}}, "'a' is not among"),
        ({"btagging": {"default": "a", "fields": {"a": {}}}}, "either branch or log_ratio"),
        (
            {"btagging": {"default": "a", "fields": {"a": {"branch": "b", "default": "tight"}}}},
            "'tight' is not among working_points",
        ),
        ({"overlap_removal": "alice"}, "overlap_removal"),
    ],
)
def test_what_a_layout_cannot_mean_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Layout.model_validate(MINIMAL | change)


def test_working_points_are_those_of_the_experiments() -> None:
    deep_jet = load_layout("cms-nanoaod").btagging
    assert deep_jet is not None
    points = deep_jet.fields["btagDeepFlavB"].working_points
    assert [points[name] for name in ("loose", "medium", "tight")] == [0.0480, 0.2489, 0.6377]
    mv2c10 = load_layout("2020e-13tev").btagging
    assert mv2c10 is not None
    assert mv2c10.fields["MV2c10"].working_points["70%"] == 0.8244273

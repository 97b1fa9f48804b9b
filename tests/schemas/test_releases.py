"""The release table: each shipped layout describes what the pipeline reads."""

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigError
from schemas.particles import BY_KEY
from schemas.releases import ENERGY_UNITS, Layout, layout_names, load_layout

MINIMAL = {
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


@pytest.mark.parametrize("key", layout_names())
def test_every_shipped_layout_can_be_loaded(key: str) -> None:
    layout = load_layout(key)
    assert layout.key == key
    assert set(layout.objects) <= set(BY_KEY)


def test_cms_energies_are_in_gev_and_their_branches_flat() -> None:
    layout = load_layout("cms-nanoaod")
    assert (layout.experiment, layout.trees, layout.energy_unit) == ("CMS", ("Events",), "GeV")
    assert layout.objects["muons"].pt == ("Muon_pt",)
    assert layout.event_id.lumi == ("luminosityBlock",)


def test_atlas_energies_are_in_mev_and_their_branches_dotted() -> None:
    layout = load_layout("2024r-pp")
    assert (layout.experiment, layout.collision_energy_tev) == ("ATLAS", 13.0)
    assert (layout.trees, layout.energy_unit) == (("CollectionTree", "EventData"), "MeV")
    assert layout.objects["electrons"].pt == ("AnalysisElectronsAuxDyn.pt",)


def test_a_gev_has_a_thousand_mev() -> None:
    assert ENERGY_UNITS == {"GeV": 1.0, "MeV": 1000.0}


def test_one_name_is_a_list_of_one() -> None:
    assert Layout.model_validate(MINIMAL).trees == ("Events",)


def test_alternative_names_keep_their_order() -> None:
    layout = Layout.model_validate(MINIMAL | {"trees": ["new", "old"]})
    assert layout.trees == ("new", "old")


@pytest.mark.parametrize(
    "change",
    [
        {"energy_unit": "TeV"},
        {"trees": []},
        {"bogus": 1},
        {"objects": {"muon": MINIMAL["objects"]["muons"]}},
        {"objects": {"muons": {"pt": "Muon_pt", "eta": "Muon_eta"}}},
        {"event_id": {"run": "run"}},
    ],
    ids=["unit", "no tree", "unknown key", "unknown type", "no phi", "no event number"],
)
def test_what_is_no_layout_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Layout.model_validate(MINIMAL | change)


def test_an_unknown_layout_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="cms-nanoad: there is no such data layout"):
        load_layout("cms-nanoad")

"""What the configuration may say about the selection."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.config import (
    OVERLAP_PRESETS,
    Config,
    OverlapRule,
    Parsing,
    SelectionProfile,
    from_dict,
    to_yaml,
)
from schemas.errors import ConfigError


def config_of(folder: Path = Path("/data"), **parsing: Any) -> Config:
    data = {"parsing_task_config": {"release_years": ["demo"], **parsing}}
    return from_dict(data, where="test", folder=folder)


def cuts(**muons: Any) -> dict[str, Any]:
    return {"kinematic_cuts": {"muons": muons}}


@pytest.mark.parametrize(
    ("parsing", "complaint"),
    [
        (cuts(pt_max=25000.0), "muons.pt_max: cuts are in GeV: did you mean 25.0?"),
        (cuts(pt_min=30.0, pt_max=20.0), "pt_max (20.0) is below pt_min (30.0)"),
        (cuts(eta_exclude=[1.52, 1.37]), "expected [lo, hi] in |eta| with 0 <= lo < hi"),
        (cuts(eta_exclude=[1.37]), "muons.eta_exclude.1: Field required"),
        (cuts(rel_isolation_max=0), "muons.rel_isolation_max: expected a value greater than 0"),
        (cuts(require=["Muon mediumId"]), "muons.require.0: String should match pattern"),
        (cuts(require="mediumId"), "muons.require: expected a list in brackets"),
        (cuts(field_min={"dz": 2}, field_max={"dz": 1}), "field_max of dz (1.0) is below"),
        (cuts(bits={"jetId": 0}), "muons.bits.jetId: expected a value greater than 0"),
        (cuts(requires=["mediumId"]), "unknown key; did you mean 'require'?"),
        ({"overlap_removal": "alice"}, "expected 'default', 'atlas', 'cms' or 'none', found"),
        (
            {"overlap_removal": [{"remove": "jets", "near": ["bjets"], "delta_r": 0.2}]},
            "would remove BJets near themselves",
        ),
        (
            {"overlap_removal": [{"remove": "jets", "near": [], "delta_r": 0.2}]},
            "overlap_removal.0.near",
        ),
        (
            {"overlap_removal": [{"remove": "jet", "near": ["muons"], "delta_r": 0.2}]},
            "overlap_removal.0.remove: expected 'electrons'",
        ),
        ({"trigger": {"any": ["a"], "all": ["b"]}}, "under either `any` or `all`"),
        ({"trigger": {}}, "under either `any` or `all`"),
        ({"missing_trigger": "ignore"}, "expected 'error' or 'reject'"),
        ({"jet_btag_threshold": [1]}, "jet_btag_threshold: expected a valid number"),
        (
            {"selection_by_release": {"dmo": {}}},
            "'dmo' is not an input of this run; did you mean 'demo'?",
        ),
        (
            {"selection_by_release": {"demo": {"kinematic_cuts": {"muon": {}}}}},
            "selection_by_release.demo.kinematic_cuts.muon: unknown key; did you mean 'muons'?",
        ),
        ({"layout_by_record": {1: "cms"}}, "layout_by_record.1: 'cms' is not a data layout"),
    ],
)
def test_what_cannot_be_meant_is_refused(parsing: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(**parsing)
    assert complaint in str(error.value)


def test_every_key_of_the_selection_survives_the_way_through_yaml() -> None:
    config = config_of(
        kinematic_cuts={
            "muons": {
                "pt_max": 500.0,
                "eta_exclude": [0.1, 0.2],
                "rel_isolation_max": 0.15,
                "require": ["mediumId"],
                "require_any": ["isGlobal", "isTracker"],
                "field_min": {"mvaId": 2},
                "field_max": {"dz": 0.2},
                "bits": {"pfIsoId": 4},
            }
        },
        overlap_removal=[{"remove": "jets", "near": ["muons"], "delta_r": 0.2}],
        enable_jet_tagging=True,
        jet_btag_field="btagDeepB",
        jet_btag_threshold="tight",
        trigger={"any": ["HLT_IsoMu24"]},
        missing_trigger="reject",
        good_run_lists=["golden.json"],
        selection_by_release={"demo": {"trigger": {"all": ["HLT_Ele27"]}}},
        selection_by_record={30529: {"jet_btag_threshold": 0.5}},
        layout_by_record={30529: "cms-nanoaod"},
    )
    again = from_dict(yaml.safe_load(to_yaml(config)), where="again", folder=Path("/elsewhere"))
    assert again == config


def test_good_run_lists_lie_beside_the_configuration_file() -> None:
    parsing = config_of(Path("/home/me"), good_run_lists=["golden.json", "/grl.xml"])
    lists = parsing.parsing_task_config.good_run_lists
    assert lists == ("/home/me/golden.json", "/grl.xml")


def test_a_profile_can_replace_every_key_of_the_selection_and_no_other() -> None:
    general = set(Parsing.model_fields)
    assert set(SelectionProfile.model_fields) <= general
    inputs = {"output_path", "local_files", "release_years", "chunk_input_bytes"}
    assert not inputs & set(SelectionProfile.model_fields)


def test_a_profile_replaces_what_it_names_and_leaves_the_rest() -> None:
    parsing = config_of(
        kinematic_cuts={"muons": {"pt_min": 30.0}},
        trigger={"any": ["HLT_Ele27"]},
        selection_by_release={"demo": {"trigger": {"any": ["HLT_IsoMu24"]}}},
        selection_by_record={"30530": {"kinematic_cuts": {}, "enable_jet_tagging": True}},
    ).parsing_task_config
    demo, record = parsing.for_source("demo"), parsing.for_source("record_30530")
    assert demo.trigger is not None
    assert demo.trigger.branches == ("HLT_IsoMu24",)
    assert demo.kinematic_cuts == parsing.kinematic_cuts
    assert record.kinematic_cuts.muons is None
    assert record.enable_jet_tagging
    assert record.trigger == parsing.trigger
    assert parsing.for_source("record_30531") == parsing


def test_a_profile_of_a_record_is_not_one_of_a_release() -> None:
    parsing = config_of(selection_by_record={"demo": {"enable_jet_tagging": True}})
    assert not parsing.parsing_task_config.for_source("demo").enable_jet_tagging


def test_b_jets_need_something_that_makes_them() -> None:
    masses = {"mass_calculation_task_config": {"objects_to_calculate": ["Jets", "BJets"]}}
    demo: dict[str, Any] = {"release_years": ["demo"]}
    with pytest.raises(ConfigError, match="enable_jet_tagging: true"):
        from_dict({"parsing_task_config": demo, **masses}, where="test", folder=Path())
    tagged = {"parsing_task_config": {**demo, "enable_jet_tagging": True}, **masses}
    assert from_dict(tagged, where="test", folder=Path()).parsing_task_config.enable_jet_tagging


def test_the_presets_are_the_ones_agreed_upon() -> None:
    def text(name: str) -> list[str]:
        return [str(rule) for rule in OVERLAP_PRESETS[name]]

    assert text("atlas") == [
        "taus near electrons, muons (0.2)",
        "jets near electrons (0.2)",
        "electrons near jets (0.4)",
        "jets near muons (0.2)",
        "muons near jets (0.4)",
        "jets near taus (0.2)",
        "photons near electrons, muons (0.4)",
        "jets near photons (0.4)",
    ]
    assert text("cms") == [
        "photons near electrons, muons (0.4)",
        "jets near electrons, muons, photons (0.4)",
        "taus near electrons, muons (0.4)",
        "jets near taus (0.4)",
    ]
    assert text("none") == []


def test_overlap_removal_is_on_as_shipped() -> None:
    assert config_of().parsing_task_config.overlap_removal == "default"
    rule = {"remove": "jets", "near": ["muons"], "delta_r": 0.1}
    asked = config_of(overlap_removal=[rule]).parsing_task_config.overlap_removal
    assert asked == (OverlapRule(remove="jets", near=("muons",), delta_r=0.1),)

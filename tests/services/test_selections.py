"""Configuration and layout make the selection of a source."""

from pathlib import Path
from typing import Any

import pytest

from schemas.config import OVERLAP_PRESETS, Parsing
from schemas.errors import ConfigError
from schemas.inputs import Sample
from services.selections import SourceSelection, describe, selection_of
from tests.factory import make_config


def parsing_of(**given: Any) -> Parsing:
    data = {"parsing_task_config": {"release_years": ["demo"], **given}}
    return make_config(data, Path("/nowhere")).parsing_task_config


def of(layout: str, sample: Sample = Sample.DATA, **given: Any) -> SourceSelection:
    return selection_of(parsing_of(**given), "demo", layout, sample)


@pytest.mark.parametrize(
    ("asked", "layout", "preset"),
    [
        ("default", "cms-nanoaod", "cms"),
        ("default", "2025e-13tev-beta", "atlas"),
        ("atlas", "cms-nanoaod", "atlas"),
        ("none", "cms-nanoaod", "none"),
    ],
)
def test_overlap_removal_is_the_preset_asked_for(asked: str, layout: str, preset: str) -> None:
    what = of(layout, overlap_removal=asked)
    assert what.overlap_name == preset
    assert what.selection.overlap == OVERLAP_PRESETS[preset]


@pytest.mark.parametrize(
    ("layout", "asked", "threshold"),
    [
        ("cms-nanoaod", {}, 0.2489),
        ("cms-nanoaod", {"jet_btag_threshold": "tight"}, 0.6377),
        ("cms-nanoaod", {"jet_btag_threshold": "medium_2018"}, 0.2783),
        ("cms-nanoaod", {"jet_btag_field": "btagDeepB", "jet_btag_threshold": "loose"}, 0.1918),
        ("cms-nanoaod", {"jet_btag_field": "btagPNetB", "jet_btag_threshold": 0.5}, 0.5),
        ("2016e-8tev", {}, 0.7892),
        ("2020e-13tev", {"jet_btag_threshold": "77%"}, 0.645925),
        ("2025e-13tev-beta", {}, 4.0),
        ("2024r-pp", {}, 2.456),
        ("2024r-pp", {"jet_btag_threshold": "85%"}, 0.948),
    ],
)
def test_a_working_point_is_a_number(layout: str, asked: dict[str, Any], threshold: float) -> None:
    what = of(layout, enable_jet_tagging=True, **asked)
    assert what.selection.btag_threshold == threshold
    assert what.extras.btag is not None


def test_any_field_of_jets_can_be_a_b_tag() -> None:
    btag = of(
        "cms-nanoaod",
        enable_jet_tagging=True,
        jet_btag_field="btagPNetB",
        jet_btag_threshold=0.5,
    ).extras.btag
    assert btag is not None
    assert btag.branch == ("Jet_btagPNetB",)


@pytest.mark.parametrize(
    ("layout", "asked", "complaint"),
    [
        ("cms-nanoaod", {"jet_btag_threshold": "mediun"}, "did you mean 'medium'"),
        ("2020e-13tev", {"jet_btag_threshold": "medium"}, "known: 85%, 77%, 70%, 60%"),
        ("cms-nanoaod", {"jet_btag_field": "btagCSVV2"}, "it has none, give a number"),
        ("2024r-hi", {}, "2024r-hi has no b-tagging"),
    ],
)
def test_a_b_tag_that_cannot_be_meant_is_refused(
    layout: str, asked: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        of(layout, enable_jet_tagging=True, **asked)


def test_without_tagging_nothing_is_read_for_it() -> None:
    what = of("cms-nanoaod", jet_btag_threshold="tight")
    assert what.extras.btag is None
    assert what.selection.btag_threshold is None


def test_only_fields_that_cuts_name_are_read() -> None:
    what = of(
        "cms-nanoaod",
        enable_jet_tagging=True,
        kinematic_cuts={
            "muons": {"require": ["mediumId"], "field_max": {"dz": 0.2, "mediumId": 1}},
            "jets": {"bits": {"jetId": 2}},
            "bjets": {"field_min": {"chHEF": 0.1}, "bits": {"jetId": 2}},
            "electrons": {"pt_min": 20.0, "rel_isolation_max": 0.1},
        },
    )
    assert what.extras.fields == {"muons": ("mediumId", "dz"), "jets": ("jetId", "chHEF")}
    assert what.extras.isolated == {"electrons"}


def test_a_cut_on_a_field_of_a_type_that_a_layout_lacks_is_refused() -> None:
    cuts = {"photons": {"require": ["isTightID"]}}
    with pytest.raises(ConfigError, match=r"kinematic_cuts.photons: demo: the layout 2016e-8tev"):
        of("2016e-8tev", kinematic_cuts=cuts)


def test_simulation_is_exempt_from_good_run_lists(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text('{"1": [[1, 2]]}')
    data = of("cms-nanoaod", good_run_lists=[str(path)])
    simulation = of("cms-nanoaod", Sample.SIMULATION, good_run_lists=[str(path)])
    assert data.selection.good_runs is not None
    assert data.extras.certified
    assert simulation.selection.good_runs is None
    assert not simulation.extras.certified


def test_a_selection_is_told_with_overlap_removal_first() -> None:
    cuts = {"muons": {"pt_min": 25.0, "require": ["mediumId"]}}
    lines = describe("demo", of("cms-nanoaod", overlap_removal="default", kinematic_cuts=cuts))
    assert lines[0].startswith("demo: overlap removal (cms): photons near electrons, muons (0.4);")
    assert "`overlap_removal: none` turns it off" in lines[0]
    assert "demo: muons: pt >= 25 GeV, all of mediumId" in lines

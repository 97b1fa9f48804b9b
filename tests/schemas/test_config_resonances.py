"""Configurations of resonances and histograms: what can be meant, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import config as configuration
from schemas.config import Config, KnownResonance, bins_covering
from schemas.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"
RULE = {
    "name": "X",
    "mass_gev": 91.0,
    "window_gev": [70.0, 110.0],
    "combinations": ["e0e1"],
    "action": "floor",
}


def load(**sections: dict[str, Any]) -> Config:
    data = {"parsing_task_config": {"release_years": ["demo"]}, **sections}
    return configuration.from_dict(data, where="test", folder=Path())


def load_rules(*rules: dict[str, Any], **processing: Any) -> tuple[KnownResonance, ...]:
    processing["known_resonances"] = list(rules)
    width = processing.get("peak_detection_bin_width_gev", 10.0)
    loaded = load(
        post_processing_task_config=processing,
        histogram_creation_task_config={"bin_width_gev": width},
    )
    return loaded.post_processing_task_config.known_resonances


def test_the_shipped_rules_are_the_z_and_the_higgs_boson() -> None:
    z, higgs = load().post_processing_task_config.known_resonances
    assert (z.name, z.window_gev, z.test_window_gev) == ("Z", (70.0, 110.0), (80.0, 100.0))
    assert (z.action, z.min_significance, z.min_excess) == ("floor", 5.0, 0.3)
    assert z.combinations == ("e0e1", "m0m1")
    assert (higgs.name, higgs.window_gev, higgs.test_window_gev) == ("H", (120, 130), (120, 130))
    assert (higgs.action, higgs.min_significance, higgs.min_excess) == ("veto", 5.0, 0.01)
    assert higgs.combinations == ("g0g1", "e0e1e2e3", "m0m1m2m3", "e0e1m0m1")
    assert z.only_if_detected
    assert higgs.only_if_detected


def test_the_shipped_file_says_the_defaults() -> None:
    shipped = configuration.load(SHIPPED)
    assert shipped.post_processing_task_config == load().post_processing_task_config
    assert shipped.histogram_creation_task_config == load().histogram_creation_task_config


def test_the_commented_examples_of_the_shipped_file_can_be_used() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    found = re.findall(r"^    # (- \{name.*)\n    # (.*\})$", text, re.MULTILINE)
    examples = yaml.safe_load("\n".join(f"{first}\n  {second}" for first, second in found))
    assert [rule["name"] for rule in examples] == ["J/psi", "Upsilon", "W"]
    assert len(load_rules(*examples)) == 3
    assert len(load_rules(*examples, peak_detection_bin_width_gev=1.0)) == 3


def test_no_rules_are_a_configuration() -> None:
    assert load_rules() == ()


def test_a_test_window_that_is_left_out_is_the_window() -> None:
    (rule,) = load_rules(RULE)
    assert rule.test_window_gev == (70.0, 110.0)
    assert (rule.only_if_detected, rule.min_significance) == (True, 5.0)


@pytest.mark.parametrize(
    ("window", "width", "bins"),
    [
        ((70.0, 110.0), 10.0, (7, 11)),
        ((71.0, 109.0), 10.0, (7, 11)),
        ((0.3, 0.6), 0.1, (3, 6)),
        ((2.9, 3.3), 1.0, (2, 4)),
    ],
)
def test_windows_are_widened_to_the_edges_of_the_grid(
    window: tuple[float, float], width: float, bins: tuple[int, int]
) -> None:
    assert bins_covering(window, width) == bins


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"window_gev": [110.0, 70.0]}, "low < high"),
        ({"window_gev": [70.0, 70.0]}, "low < high"),
        ({"window_gev": [-10.0, 110.0]}, "low < high"),
        ({"window_gev": [70.0]}, "window_gev"),
        ({"test_window_gev": [100.0, 80.0]}, "low < high"),
        ({"combinations": ["x0x1"]}, "is not a combination"),
        ({"combinations": ["e1e0"]}, "is not a combination"),
        ({"combinations": ["2q"]}, "names no combination"),
        ({"combinations": ["e0"]}, "single object"),
        ({"combinations": []}, "combinations"),
        ({"mass_gev": 125.0}, "outside window_gev"),
        ({"test_window_gev": [40.0, 60.0]}, "outside test_window_gev"),
        ({"action": "remove"}, "action"),
        ({"name": "two words"}, "name"),
        ({"window_gev": [70.0, 20000.0]}, "beyond max_mass_gev"),
        ({"test_window_gev": [0.0, 10000.0]}, "covers the whole grid"),
        ({"min_exces": 0.1}, "did you mean 'min_excess'"),
    ],
)
def test_a_rule_that_cannot_mean_anything_is_refused(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load_rules(RULE | change)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="X is named twice"):
        load_rules(RULE, RULE)


VETO = RULE | {"name": "Y", "mass_gev": 105.0, "window_gev": [101.0, 120.0], "action": "veto"}


@pytest.mark.parametrize("combination", ["e0e1", "2e"])
def test_overlapping_windows_with_different_actions_are_refused(combination: str) -> None:
    with pytest.raises(ConfigError, match=r"windows of X \(floor\) and Y \(veto\) overlap"):
        load_rules(RULE, VETO | {"combinations": [combination]})


def test_windows_that_meet_only_when_widened_are_refused() -> None:
    apart = VETO | {"mass_gev": 112.0, "window_gev": [111.0, 120.0]}
    rule = RULE | {"window_gev": [70.0, 110.5]}
    assert len(load_rules(rule, apart, peak_detection_bin_width_gev=0.5)) == 2
    with pytest.raises(ConfigError, match="overlap"):
        load_rules(rule, apart)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "floor"},
        {"combinations": ["m0m1", "e1e2"]},
        {"window_gev": [110.0, 120.0], "mass_gev": 115.0},
    ],
)
def test_windows_that_do_not_contradict_are_accepted(change: dict[str, Any]) -> None:
    assert len(load_rules(RULE, VETO | change)) == 2


@pytest.mark.parametrize(
    ("histograms", "complaint"),
    [
        ({"bin_width_gev": 0.0}, "bin_width_gev"),
        ({"bin_width_gev": -10.0}, "bin_width_gev"),
        ({"bin_width_gev": []}, "bin_width_gev"),
        ({"bin_width_gev": [5.0, 5.0]}, "given twice"),
        ({"bin_width_gev": 7.0}, "does not divide"),
        ({"bin_width_gev": 20.0}, "does not divide"),
        ({"binning": "variable"}, "binning"),
        ({"histogram_type": "TH2D"}, "histogram_type"),
        ({"min_bin_width_gev": 0.0}, "min_bin_width_gev"),
        ({"pt_resolution": {"electrons": {"constant": -0.1}}}, "constant"),
        ({"bumpnet_acceptance": {"min_bins": 0}}, "min_bins"),
        ({"histogram_name_template": "{prefix}mass_{combi}_{category}"}, "unknown field 'combi'"),
        ({"histogram_name_template": "mass_{combination}_{category}"}, "must begin with {prefix}"),
        ({"histogram_name_template": "{prefix}mass_{combination}"}, "tell channels apart"),
        ({"histogram_name_template": "{prefix}{combination}/{category}"}, "ROOT keys"),
        ({"histogram_name_template": "{prefix}{combination}{category:>9}"}, "without a format"),
        ({"histogram_name_template": "{prefix}{combination}{category"}, "histogram_name_template"),
        (
            {
                "histogram_name_template": "{prefix}mass_{combination}_cat_{category}",
                "bin_width_gev": [5.0, 10.0],
            },
            "would have the same name",
        ),
    ],
)
def test_histograms_that_cannot_be_made_are_refused(
    histograms: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load(histogram_creation_task_config=histograms)


@pytest.mark.parametrize(
    "processing",
    [
        {"peak_detection_bin_width_gev": 0.0},
        {"peak_detection_bin_width_gev": -10.0},
        {"max_mass_gev": 10005.0},
    ],
)
def test_a_grid_that_is_none_is_refused(processing: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load(post_processing_task_config=processing)


def test_a_name_without_a_width_is_fine_for_one_width() -> None:
    template = "{prefix}mass_{combination}_cat_{category}"
    config = load(histogram_creation_task_config={"histogram_name_template": template})
    assert config.histogram_creation_task_config.name_template == template


def test_fixed_widths_do_not_matter_with_resolution_bins() -> None:
    config = load(
        histogram_creation_task_config={"binning": "resolution", "bin_width_gev": [3.0, 7.0]}
    )
    assert config.histogram_creation_task_config.binning == "resolution"

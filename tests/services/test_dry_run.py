"""The dry run: what is said of a configuration, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from main import main
from schemas.config import Config, from_dict
from schemas.errors import ConfigError
from services.dry_run import dry_run

CHECKOUT = Path(__file__).parents[2]


def config_of(**sections: Any) -> Config:
    sections.setdefault("parsing_task_config", {"release_years": ["demo"]})
    return from_dict(sections, where="test", folder=CHECKOUT)


def test_the_shipped_configuration_is_ok(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(CHECKOUT / "config.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("OK\n")
    assert "65 combinations of Electrons, Muons, Jets, Photons" in said
    assert list(tmp_path.iterdir()) == []


def test_overlap_removal_comes_first_among_the_cuts_with_how_to_turn_it_off() -> None:
    lines = dry_run(config_of()).splitlines()
    first = lines.index("selection:") + 2
    assert "overlap removal (cms)" in lines[first]
    assert "`overlap_removal: none` turns it off" in lines[first]


def test_resonances_are_listed_with_where_they_are_tested() -> None:
    masses = {"objects_to_calculate": ["Electrons", "Muons"], "max_particles_in_combination": 2}
    said = dry_run(config_of(mass_calculation_task_config=masses))
    assert "Z: tested in e0e1, m0m1; if detected, everything below 110 GeV is removed" in said
    assert "H: tested in no combination of this run" in said


def test_possible_channels_are_counted() -> None:
    # 0..2 electrons give one combination, e0e1, in the one state of two.
    parsing = {"release_years": ["demo"], "particle_counts": {"electrons": {"max": 2}}}
    masses = {"objects_to_calculate": ["Electrons"]}
    said = dry_run(config_of(parsing_task_config=parsing, mass_calculation_task_config=masses))
    assert "up to 1 channels in 3 possible final states" in said


@pytest.mark.parametrize(
    ("sections", "warning"),
    [
        (
            {"parsing_task_config": {"release_years": ["demo"], "overlap_removal": "none"}},
            "overlap_removal is none",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "particle_counts": {"taus": {"min": 1}},
                }
            },
            "particle_counts.taus asks for at least 1",
        ),
        (
            {"post_processing_task_config": {"max_mass_gev": 200.0}},
            "bins of 10 GeV: at most 20 up to max_mass_gev, BumpNet takes 25 or more",
        ),
    ],
    ids=["overlap", "unused type", "few bins"],
)
def test_what_is_probably_not_meant_is_a_warning(sections: dict[str, Any], warning: str) -> None:
    assert warning in dry_run(config_of(**sections))


def test_all_that_is_wrong_is_named_at_once() -> None:
    parsing = {"local_files": {"cms-nanoaod": ["no/such/*.root"]}}
    masses = {"objects_to_calculate": ["Electrons"], "max_count_particle_in_combination": 1}
    config = config_of(parsing_task_config=parsing, mass_calculation_task_config=masses)
    with pytest.raises(ConfigError) as refused:
        dry_run(config)
    assert "expected files, found none for" in str(refused.value)
    assert "leave no combination at all" in str(refused.value)


@pytest.mark.parametrize(
    "block",
    [
        {"histogram_creation_task_config": {"bin_width_gev": 0}},
        {"histogram_creation_task_config": {"bin_width_gev": 3.0}},
        {
            "post_processing_task_config": {
                "known_resonances": [
                    {
                        "name": "X",
                        "mass_gev": 5.0,
                        "window_gev": [9.0, 4.0],
                        "combinations": ["e0e1"],
                        "action": "veto",
                    }
                ]
            }
        },
        {
            "post_processing_task_config": {
                "known_resonances": [
                    {
                        "name": "X",
                        "mass_gev": 5.0,
                        "window_gev": [4.0, 9.0],
                        "combinations": ["e0x1"],
                        "action": "veto",
                    }
                ]
            }
        },
    ],
    ids=["no width", "not a divisor", "window upside down", "unknown label"],
)
def test_what_cannot_be_meant_ends_with_exit_code_2(
    block: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"parsing_task_config": {"release_years": ["demo"]}, **block}))
    assert main(["--config", str(path), "--dry-run"]) == 2
    assert "config.yaml: " in capsys.readouterr().err

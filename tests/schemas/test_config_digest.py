"""What results depend on in the configuration."""

from pathlib import Path
from typing import Any

import pytest

from schemas import config as configuration
from schemas.config import Block, Config, digest, result_keys

STAGES = ("fetching", "parsing", "mass_calculating", "post_processing", "histogram_creation")


def load(**sections: dict[str, Any]) -> Config:
    sections.setdefault("parsing_task_config", {}).setdefault("release_years", ["demo"])
    return configuration.from_dict(sections, where="test", folder=Path())


def changed_by(**sections: dict[str, Any]) -> set[str]:
    return {s for s in STAGES if digest(load(), s) != digest(load(**sections), s)}


def test_the_same_configuration_has_the_same_digest() -> None:
    assert digest(load()) == digest(load())
    assert len(digest(load())) == 64


@pytest.mark.parametrize(
    "sections",
    [
        {"run_metadata": {"run_name": "another", "base_output_dir": "elsewhere"}},
        {"tasks": {"do_parsing": False}},
        {"parsing_task_config": {"show_progress_bar": False}},
        {"parsing_task_config": {"chunk_yield_threshold_bytes": "1 MB"}},
        {"parsing_task_config": {"output_path": "/elsewhere"}},
        {"mass_calculation_task_config": {"input_dir": "/elsewhere", "output_dir": "/there"}},
        {"histogram_creation_task_config": {"output_filename": "another.root"}},
    ],
)
def test_keys_that_cannot_change_a_result_do_not_count(sections: dict[str, Any]) -> None:
    assert changed_by(**sections) == set()
    assert digest(load()) == digest(load(**sections))


@pytest.mark.parametrize(
    ("sections", "stages"),
    [
        ({"parsing_task_config": {"demo_events": 7}}, {"fetching", "parsing"}),
        ({"parsing_task_config": {"kinematic_cuts": {}}}, {"parsing"}),
        ({"parsing_task_config": {"chunk_input_bytes": "1 MB"}}, {"parsing"}),
        ({"mass_calculation_task_config": {"min_events_per_fs": 7}}, {"mass_calculating"}),
        (
            {"mass_calculation_task_config": {"objects_to_calculate": ["Muons"]}},
            {"parsing", "mass_calculating"},
        ),
        (
            {"post_processing_task_config": {"max_mass_gev": 500.0}},
            {"mass_calculating", "post_processing"},
        ),
        ({"post_processing_task_config": {"known_resonances": []}}, {"post_processing"}),
        ({"histogram_creation_task_config": {"bin_width_gev": 5.0}}, {"histogram_creation"}),
        ({"histogram_creation_task_config": {"histogram_type": "TH1F"}}, {"histogram_creation"}),
    ],
)
def test_a_key_counts_for_the_stages_that_read_it(
    sections: dict[str, Any], stages: set[str]
) -> None:
    assert changed_by(**sections) == stages
    assert digest(load()) != digest(load(**sections))


def test_a_number_counts_as_what_it_is_and_not_as_it_is_written() -> None:
    assert changed_by(histogram_creation_task_config={"bin_width_gev": [10]}) == set()


def test_every_key_without_effect_is_a_key() -> None:
    blocks = [
        field.annotation
        for field in Config.model_fields.values()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block)
    ]
    known = {key for block in blocks for key in block.model_fields}
    assert known >= configuration.WITHOUT_EFFECT


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_that_a_stage_names_is_a_key(stage: str) -> None:
    for block, keys in configuration.READ_BY[stage].items():
        assert set(keys) <= set(result_keys(load(), stage)[block])

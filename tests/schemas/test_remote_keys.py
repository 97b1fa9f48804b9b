"""Configuration keys of catalogs and remote files."""

from pathlib import Path
from typing import Any

import pytest

from schemas import config as configuration
from schemas.config import Parsing
from schemas.errors import ConfigError
from schemas.releases import RELEASES, layout_of_release


def parsing(**block: Any) -> Parsing:
    data = {"parsing_task_config": block}
    config = configuration.from_dict(data, where="test", folder=Path("/where/the/config/is"))
    return config.parsing_task_config


def test_records_and_datasets_are_numbers_or_text() -> None:
    block = parsing(
        specific_record_ids=[30529, "30530", "atlas-160005"],
        release_years=["2024r-pp"],
        datasets=["data", 700320],
        combine_releases=True,
    )
    assert block.specific_record_ids == ("30529", "30530", "atlas-160005")
    assert block.datasets == ("data", "700320")


@pytest.mark.parametrize("release", RELEASES)
def test_every_real_release_may_be_named(release: str) -> None:
    assert parsing(release_years=[release]).release_years == (release,)


def test_the_layout_of_a_release() -> None:
    assert layout_of_release("2024r-pp") == "2024r-pp"
    with pytest.raises(ConfigError, match="HepMC"):
        layout_of_release("2025r-evgen-13p6tev")


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({"release_years": ["2024r"]}, "'2024r' is not a release; did you mean '2024r-pp'"),
        ({"release_years": ["demo"], "specific_record_ids": [1]}, "must not be mixed"),
        ({"release_years": ["demo", "2024r-pp"]}, "must not be mixed"),
        ({"specific_record_ids": [1, "1"]}, "1 is named twice"),
        ({"release_years": ["2024r-pp", "2024r-pp"]}, "2024r-pp is named twice"),
        ({"specific_record_ids": ["../etc"]}, "specific_record_ids.0"),
        ({"specific_record_ids": [True]}, "specific_record_ids.0"),
        ({"specific_record_ids": [1.5]}, "specific_record_ids.0"),
        ({"specific_record_ids": [1], "datasets": ["data"]}, "release_years names none"),
        ({"specific_record_ids": [1], "skim": "4lep"}, "release_years names none"),
        ({"specific_record_ids": [1], "parse_mc": "yes"}, "parse_mc"),
        ({"specific_record_ids": [1], "protocol": "http"}, "protocol"),
        ({"specific_record_ids": [1], "read_mode": "stram"}, "read_mode"),
        ({"specific_record_ids": [1], "file_order": "random"}, "file_order"),
        ({"specific_record_ids": [1], "threads": 0}, "threads"),
        ({"specific_record_ids": [1], "request_read_timeout": 0}, "request_read_timeout"),
        ({"specific_record_ids": [1], "request_retries": -1}, "request_retries"),
        ({"specific_record_ids": [1], "max_cache_gb": 0}, "max_cache_gb"),
        ({}, "nothing to read"),
    ],
)
def test_what_cannot_be_meant_is_refused(block: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parsing(**block)


def test_defaults_that_are_fixed() -> None:
    block = parsing(specific_record_ids=[1])
    assert block.parse_mc is False
    assert (block.read_mode, block.protocol, block.file_order) == ("stream", "https", "catalog")
    assert (block.threads, block.fetching_metadata_timeout) == (8, 60.0)
    assert (block.request_retries, block.count_retries_failed_files) == (5, 3)


def test_the_download_folder_is_beside_the_configuration() -> None:
    found = parsing(specific_record_ids=[1], download_dir="files").download_dir
    assert found == "/where/the/config/is/files"

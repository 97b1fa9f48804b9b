"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine: a test that fails for one fails for all.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real open-data files, or skip where there is none."""
    folder = Path(os.environ.get("OPENDATA_TEST_FILES", BESIDE_THE_CHECKOUT))
    if not folder.is_dir():
        pytest.skip(
            "real open-data files are not here: set OPENDATA_TEST_FILES to the folder that has them"
        )
    return folder

"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import OpenDataServer

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


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's own cache, and return theirs."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def without_figures() -> Iterator[None]:
    """Let runs in this process draw nothing: it takes most of the time of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.plots.run", lambda *_: ())
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenDataServer]:
    """Return a server on this machine that stands for the ATLAS catalog and CERN's portal."""
    with OpenDataServer() as running:
        monkeypatch.setenv("ATLAS_API_BASE_URL", running.url)
        monkeypatch.setenv("OPENDATA_PORTAL_URL", running.url)
        # Nobody is there: no test asks another machine.
        monkeypatch.setenv("OPENDATA_XROOTD_URL", "root://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running

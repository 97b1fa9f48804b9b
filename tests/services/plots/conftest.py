"""Runs that are drawn in many tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from schemas import config as configuration
from tests.factory import run_pipeline
from tests.services.plots.drawing import Run, drawn, make_run

SHIPPED = Path(__file__).parents[3] / "config.yaml"


@pytest.fixture(scope="session")
def of_demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of the shipped configuration."""
    alone = {"parallel_processes": 1}
    config = configuration.load(
        SHIPPED, {"parsing_task_config": alone, "mass_calculation_task_config": alone}
    )
    return config, run_pipeline(config, tmp_path_factory.mktemp("demo") / "run")


@pytest.fixture(scope="session")
def demo_figures(of_demo: Run) -> dict[str, Figure]:
    return drawn(of_demo)


@pytest.fixture(scope="session")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of eleven events, each of two muons, with its figures."""
    return make_run(tmp_path_factory.mktemp("pairs"), draws=True)

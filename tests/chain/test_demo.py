"""The shipped configuration must run as it is, and show what it hides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas import config
from services.catalogs import demo
from tests.chain.identity import histogram_contents

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Run `python main.py` with the shipped configuration, as a user does, in an empty folder."""
    folder = tmp_path_factory.mktemp("demo")
    return subprocess.run(
        [
            sys.executable,
            CHECKOUT / "main.py",
            "--config",
            CHECKOUT / "config.yaml",
            "--run-dir=run",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def histograms(finished: subprocess.CompletedProcess[str]) -> dict[str, tuple[object, ...]]:
    run = Path(finished.stdout.rsplit("run directory: ", 1)[1].splitlines()[0])
    return histogram_contents(run / "histograms" / "atlas_opendata_bumpnet.root")


def test_the_shipped_configuration_runs(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "generated, not data" in finished.stdout
    assert "release_years: [demo]" in finished.stdout


def test_the_closing_table_has_a_row_per_stage(
    finished: subprocess.CompletedProcess[str],
) -> None:
    header, _, *rows = finished.stdout.splitlines()[:7]
    assert header.split() == ["stage", "seconds", "in", "out", "lost"]
    assert [row.split()[0] for row in rows] == [
        "fetching",
        "parsing",
        "mass_calculating",
        "post_processing",
        "histogram_creation",
    ]


def test_the_hidden_resonance_stands_out_in_its_histogram(
    histograms: dict[str, tuple[object, ...]],
) -> None:
    category = "0ex_0mx_1jx_1gx"
    assert demo.RESONANCE_FINAL_STATE == "0e_0m_1j_1g"
    _, edges, contents, *_ = histograms[
        f"mass_{demo.RESONANCE_COMBINATION}_cat_{category}_width_10.0"
    ]
    centres = np.array(edges)[:-1] + 5.0
    counts = np.array(contents)[1:-1]
    distance = np.abs(centres - demo.RESONANCE_MASS_GEV)
    inside = counts[distance < 30].sum()
    beside = counts[(distance > 30) & (distance < 90)].sum() / 2
    assert (inside - beside) / np.sqrt(beside) > 5


def test_the_shipped_configuration_says_the_defaults() -> None:
    shipped = config.load(CHECKOUT / "config.yaml")
    defaults = config.from_dict(
        {"parsing_task_config": {"release_years": ["demo"]}}, where="defaults", folder=CHECKOUT
    )
    assert shipped == defaults

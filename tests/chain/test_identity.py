from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.inputs import Slice
from schemas.reports import SliceReport
from services.run_directory import RunDirectory, slice_report
from services.storage import reports
from tests.chain.identity import assert_identical, histogram_contents
from tests.factory import make_config, run_pipeline, write_nanoaod

N_FILES = 5
EVENTS_PER_FILE = 150


def random_collection(rng: np.random.Generator, n_events: int, mean: float) -> list[Any]:
    counts = rng.poisson(mean, n_events)
    return [
        [
            (20 + rng.exponential(30), rng.normal(0, 1.3), rng.uniform(-3.1, 3.1), 5.0)
            for _ in range(count)
        ]
        for count in counts
    ]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    for number in range(N_FILES):
        write_nanoaod(
            folder / f"in{number}.root",
            simulation=number == 3,
            first_event=1000 * number,
            electrons=random_collection(rng, EVENTS_PER_FILE, 1.1),
            muons=random_collection(rng, EVENTS_PER_FILE, 1.1),
            jets=random_collection(rng, EVENTS_PER_FILE, 2.0),
            photons=random_collection(rng, EVENTS_PER_FILE, 0.5),
        )
    return folder


def run_with(inputs: Path, root: Path, **parsing: Any) -> RunDirectory:
    config = make_config(
        {
            "parsing_task_config": {
                "local_files": {"cms-nanoaod": [str(inputs / "*.root")]},
                "kinematic_cuts": {"jets": {"pt_min": 30.0}},
                "particle_counts": {"electrons": {"max": 3}},
                **parsing,
            },
            "mass_calculation_task_config": {
                "min_events_per_fs": 5,
                "parallel_processes": parsing.get("parallel_processes", 1),
            },
            "histogram_creation_task_config": {"bin_width_gev": [10.0, 2.5]},
        },
        inputs,
    )
    return run_pipeline(config, root)


@pytest.fixture(scope="module")
def reference(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run_with(inputs, tmp_path_factory.mktemp("reference") / "run")


def test_the_reference_run_has_histograms_of_data_and_of_simulation(
    reference: RunDirectory,
) -> None:
    names = {path.name for path in reference.histograms.glob("*.root")}
    assert names == {"atlas_opendata_bumpnet.root", "atlas_opendata_bumpnet_mc.root"}
    for name in names:
        assert len(histogram_contents(reference.histograms / name)) >= 10


@pytest.mark.parametrize("n_bytes", [1, 10**12], ids=["one file per chunk", "all in one"])
def test_the_result_does_not_depend_on_how_files_are_grouped(
    inputs: Path, reference: RunDirectory, tmp_path: Path, n_bytes: int
) -> None:
    assert_identical(reference, run_with(inputs, tmp_path / "run", chunk_input_bytes=n_bytes))


@pytest.mark.parametrize("n_bytes", [2_000, 7_000, 10**9])
def test_the_result_does_not_depend_on_the_memory_for_events(
    inputs: Path, reference: RunDirectory, tmp_path: Path, n_bytes: int
) -> None:
    assert_identical(
        reference, run_with(inputs, tmp_path / "run", chunk_yield_threshold_bytes=n_bytes)
    )


@pytest.mark.parametrize("form", ["ttree", "rntuple"])
def test_the_result_does_not_depend_on_how_events_are_stored(
    inputs: Path, reference: RunDirectory, tmp_path: Path, form: str
) -> None:
    assert_identical(reference, run_with(inputs, tmp_path / "run", parsed_format=form))


def test_the_result_does_not_depend_on_the_number_of_workers(
    inputs: Path, reference: RunDirectory, tmp_path: Path
) -> None:
    run = run_with(inputs, tmp_path / "run", parallel_processes=2, chunk_input_bytes=1)
    assert_identical(reference, run)


def books_of(run: RunDirectory) -> dict[str, Any]:
    """Return what the slice reports of a run count: not what it took, nor where it lies."""
    found = {}
    for folder in (run.parsed_data, run.masses, run.processed, run.histograms):
        report = reports.read(slice_report(folder, Slice()), SliceReport).model_dump(mode="json")
        kept = "chunks taken made lost decided failures populations cut_flows samples notes"
        found[folder.name] = {name: report[name] for name in kept.split()}
        found[folder.name]["histograms"] = [
            {name: value for name, value in of_sample.items() if name != "outputs"}
            for of_sample in report["histograms"]
        ]
    return found


def test_the_books_do_not_depend_on_the_number_of_workers(inputs: Path, tmp_path: Path) -> None:
    one, two = (
        run_with(inputs, tmp_path / str(n), parallel_processes=n, chunk_input_bytes=1)
        for n in (1, 2)
    )
    books = books_of(one)
    assert books["histograms"]["made"]["histograms"] >= 20
    assert books_of(two) == books

"""What the detectors saw must come out where the particles are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from schemas.errors import ConfigError
from schemas.inputs import Sample, Slice
from schemas.labels import Channel
from schemas.plan import Plan
from schemas.reports import SliceReport
from services.barriers import completed_slices
from services.calculations.objects import project_populations
from services.calculations.spectra import Grid
from services.run_directory import RunDirectory, arrays_folder, summed_spectra
from services.storage import reports
from services.storage.arrays import read_spectra
from tests.factory import make_config, run_pipeline

LEPTONS = {"objects_to_calculate": ["Electrons", "Muons"]}


def run_on(files: dict[str, list[str]], root: Path, **sections: Any) -> RunDirectory:
    parsing = {"local_files": files, **sections.pop("parsing", {})}
    config = make_config(
        {"parsing_task_config": parsing, "mass_calculation_task_config": LEPTONS, **sections},
        root.parent,
    )
    return run_pipeline(config, root)


def channel_masses(run: RunDirectory, channel: str) -> np.ndarray:
    """Return a channel's masses in GeV over all chunks, read with numpy alone."""
    (summary,) = completed_slices(run.masses, "mass_calculating", Slice())
    parts = [arrays_folder(run.masses, chunk) / f"{channel}.npy" for chunk in summary.chunks]
    return np.concatenate([np.load(part) for part in parts if part.exists()])


@pytest.fixture
def z_run(real_data: Path, tmp_path: Path) -> RunDirectory:
    files = [str(real_data / f"cms_run2011a_{name}.root") for name in ("zmumu", "zee")]
    return run_on(
        {"cms-nanoaod": files},
        tmp_path / "run",
        post_processing_task_config={"peak_detection_bin_width_gev": 5.0},
        histogram_creation_task_config={"bin_width_gev": 5.0},
    )


def test_the_z_boson_peaks_between_90_and_95_gev_in_two_muons(z_run: RunDirectory) -> None:
    counts, edges = np.histogram(channel_masses(z_run, "0e_2m/m0m1"), np.arange(0, 200, 5.0))
    assert edges[np.argmax(counts)] == 90.0


def test_every_raw_channel_has_as_many_masses_as_its_final_state_has_events(
    z_run: RunDirectory,
) -> None:
    (parsed,) = completed_slices(z_run.parsed_data, "parsing", Slice())
    states = project_populations(parsed.populations[Sample.DATA], LEPTONS["objects_to_calculate"])
    spectra = read_spectra(summed_spectra(z_run.masses, Slice(), Sample.DATA), Grid(5.0, 2000))
    entries = spectra.entries()
    assert entries == {"0e_2m/m0m1": 10_851, "2e_0m/e0e1": 18_885}
    for name, count in entries.items():
        assert count == states[Channel.parse(name).final_state] == len(channel_masses(z_run, name))


@pytest.mark.parametrize(
    ("channel", "n_electrons"),
    [("2e_2m/e0e1m0m1", 2), ("4e_0m/e0e1e2e3", 4), ("0e_4m/m0m1m2m3", 0)],
)
def test_four_lepton_masses_are_those_that_cms_published(
    real_data: Path, tmp_path: Path, channel: str, n_electrons: int
) -> None:
    file = real_data / "cms_higgs4l_2011.root"
    run = run_on({"cms-nanoaod": [str(file)]}, tmp_path / "run")
    with uproot.open(file) as opened:
        stored = opened["Events"].arrays(["nElectron", "published_mass"], library="np")
    published = stored["published_mass"][stored["nElectron"] == n_electrons]
    assert len(published) > 0
    np.testing.assert_allclose(channel_masses(run, channel), published, atol=0.005)


MIXED = {"2024r-pp": ["atlas_physlite_mc.root"], "cms-nanoaod": ["cms_nanoaod_2015_ttbar.root"]}


def test_inputs_in_mev_and_in_gev_give_masses_on_one_scale(real_data: Path, tmp_path: Path) -> None:
    files = {layout: [str(real_data / name) for name in names] for layout, names in MIXED.items()}
    run = run_on(
        files,
        tmp_path / "run",
        parsing={"combine_releases": True},
        mass_calculation_task_config={"objects_to_calculate": ["Jets"]},
    )
    assert {path.name for path in run.histograms.glob("*.root")} == {
        "atlas_opendata_bumpnet_mc.root"
    }
    (summary,) = completed_slices(run.masses, "mass_calculating", Slice())
    medians = []
    for chunk in summary.chunks:
        arrays = arrays_folder(run.masses, chunk).glob("*/j0j1.npy")
        medians.append(np.median(np.concatenate([np.load(path) for path in arrays])))
    # A wrong unit is a factor of 1000; the two samples and their thresholds differ by far less.
    assert len(medians) == 2
    assert min(medians) > 30
    assert max(medians) < 500


def test_inputs_of_two_experiments_are_refused_unasked(real_data: Path, tmp_path: Path) -> None:
    files = {layout: [str(real_data / name) for name in names] for layout, names in MIXED.items()}
    with pytest.raises(ConfigError, match=r"ATLAS, 13 TeV.*CMS.*combine_releases: true"):
        run_on(files, tmp_path / "run")


def test_the_plan_counts_every_mass_once(z_run: RunDirectory) -> None:
    plan = reports.read(z_run.plan_file, Plan)
    decided = plan.channels[Sample.DATA]
    assert {name: channel.classes.total for name, channel in decided.items()} == {
        "0e_2m/m0m1": 10_851,
        "2e_0m/e0e1": 18_885,
    }


def test_types_that_a_file_does_not_have_are_noted(z_run: RunDirectory) -> None:
    summary = reports.read(z_run.parsed_data / "slice_1_of_1.json", SliceReport)
    assert "local_cms-nanoaod: Jets: not in the file, counted as 0" in summary.notes

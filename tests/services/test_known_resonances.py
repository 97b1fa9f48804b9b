"""Known and hidden resonances: on the demo release, and on real collisions."""

import csv
from pathlib import Path

import numpy as np
import pytest
import uproot

from schemas.inputs import Sample, Slice
from schemas.plan import ChannelPlan, Plan
from schemas.reports import SliceReport
from services import closing
from services.catalogs import demo
from services.run_directory import RunDirectory, slice_report
from services.storage import reports
from tests.factory import make_config, run_pipeline


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a run on the demo release, with the shipped settings of every stage."""
    folder = tmp_path_factory.mktemp("demo")
    config = make_config(
        {
            "parsing_task_config": {
                "release_years": ["demo"],
                "demo_events": 200_000,
                "show_progress_bar": False,
                "kinematic_cuts": {
                    "electrons": {"pt_min": 25.0, "eta_max": 2.47},
                    "muons": {"pt_min": 25.0, "eta_max": 2.5},
                    "jets": {"pt_min": 30.0, "eta_max": 4.5},
                    "photons": {"pt_min": 25.0, "eta_max": 2.37},
                },
            },
            "mass_calculation_task_config": {"min_events_per_fs": 100},
        },
        folder,
    )
    return run_pipeline(config, folder / "run")


def channels(run: RunDirectory) -> dict[str, ChannelPlan]:
    return reports.read(run.plan_file, Plan).channels[Sample.DATA]


@pytest.mark.parametrize(
    "name", ["2e_0m_0j_0g/e0e1", "0e_2m_0j_0g/m0m1", "2e_0m_1j_0g/e0e1", "0e_2m_1j_0g/m0m1"]
)
def test_the_z_is_detected_in_lepton_pairs(run: RunDirectory, name: str) -> None:
    decided = channels(run)[name]
    (z,) = decided.resonances
    assert (z.name, z.detected, z.removed) == ("Z", True, True)
    # Most of the pairs are in the window, and what is left falls above it.
    assert z.entries > decided.population / 2
    assert decided.floor_gev == 110.0
    assert decided.low_gev >= 110.0


def test_the_higgs_window_is_tested_in_photon_pairs(run: RunDirectory) -> None:
    (higgs,) = channels(run)["0e_0m_0j_2g/g0g1"].resonances
    assert higgs.name == "H"
    assert (higgs.test_window_gev, higgs.action) == ((120.0, 130.0), "veto")
    assert higgs.detected
    assert channels(run)["0e_0m_0j_2g/g0g1"].vetoes_gev == ((120.0, 130.0),)


def test_the_hidden_resonance_survives_in_its_channel(run: RunDirectory) -> None:
    name = f"{demo.RESONANCE_FINAL_STATE}/{demo.RESONANCE_COMBINATION}"
    decided = channels(run)[name]
    assert decided.resonances == ()
    half = 2 * demo.RESONANCE_SIGMA_GEV
    low, high = demo.RESONANCE_MASS_GEV - 3 * half, demo.RESONANCE_MASS_GEV + 3 * half
    assert decided.low_gev < low
    assert decided.end_gev > high
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        found = file[f"ROI_mass_{demo.RESONANCE_COMBINATION}_cat_0ex_0mx_1jx_1gx_width_10.0"]
    centres, contents = found.axis().centers(), found.values()
    peak = abs(centres - demo.RESONANCE_MASS_GEV) < half
    beside = (abs(centres - demo.RESONANCE_MASS_GEV) < 3 * half) & ~peak
    expected = contents[beside].mean() * peak.sum()
    assert (contents[peak].sum() - expected) / expected**0.5 > 5


def test_what_was_tested_and_left_in_is_listed(run: RunDirectory) -> None:
    summary = reports.read(slice_report(run.processed, Slice()), SliceReport)
    tests = [(name, test) for name, found in channels(run).items() for test in found.resonances]
    left = [name for name, test in tests if test.name == "H" and not test.removed]
    assert left
    n_tested = sum(test.name == "H" for _, test in tests)
    (higgs,) = (note for note in summary.notes if note.startswith("H "))
    assert f"tested in {n_tested} channels" in higgs
    assert f"left in {len(left)}: {', '.join(left)}" in higgs
    assert f"post_processing: {higgs}" in closing.closing_table([summary]).splitlines()


def test_the_table_for_people_has_a_row_per_channel_with_all_its_numbers(
    run: RunDirectory,
) -> None:
    rows = list(csv.DictReader(run.channel_table.read_text(encoding="utf-8").splitlines()))
    plan = channels(run)
    assert [f"{row['final_state']}/{row['combination']}" for row in rows] == list(plan)
    for row, decided in zip(rows, plan.values(), strict=True):
        classes = [row[n] for n in ("main", "tail", "overflow", "floor", "veto", "turn_on")]
        assert sum(map(int, classes)) == int(row["population"]) == decided.population
        assert row["tested"].count("n=") == len(decided.resonances)
        assert row["dropped"] == (decided.dropped or "")
        assert row["peak_gev"] == ("" if decided.peak_gev is None else str(decided.peak_gev))


def test_the_plan_is_the_same_however_the_files_are_grouped(
    run: RunDirectory, tmp_path: Path
) -> None:
    def plan_bytes(chunk_input_bytes: int, threshold: int) -> bytes:
        config = make_config(
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "demo_events": 4_000,
                    "show_progress_bar": False,
                    "chunk_input_bytes": chunk_input_bytes,
                    "chunk_yield_threshold_bytes": threshold,
                },
                "tasks": {"do_histogram_creation": False},
            },
            tmp_path,
        )
        paths = run_pipeline(config, tmp_path / f"run_{chunk_input_bytes}_{threshold}")
        return paths.plan_file.read_bytes() + paths.channel_table.read_bytes()

    one_chunk = plan_bytes(10**9, 10**9)
    assert plan_bytes(1, 200_000) == one_chunk
    assert run.plan_file.read_bytes() not in one_chunk


@pytest.mark.parametrize(
    ("file", "channel", "n_events"),
    [
        ("cms_run2011a_zee.root", "2e_0m/e0e1", 18_885),
        ("cms_run2011a_zmumu.root", "0e_2m/m0m1", 10_851),
    ],
)
def test_the_z_of_real_collisions_is_found(
    real_data: Path, tmp_path: Path, file: str, channel: str, n_events: int
) -> None:
    config = make_config(
        {
            "parsing_task_config": {
                "local_files": {"cms-nanoaod": [str(real_data / file)]},
                "show_progress_bar": False,
            },
            "mass_calculation_task_config": {"objects_to_calculate": ["Electrons", "Muons"]},
        },
        tmp_path,
    )
    paths = run_pipeline(config, tmp_path / "run")
    decided = channels(paths)[channel]
    assert decided.population == n_events
    (z,) = decided.resonances
    assert z.detected
    assert decided.floor_gev == 110.0
    masses = np.concatenate([np.load(path) for path in paths.masses.glob(f"*/{channel}.npy")])
    assert z.entries == np.count_nonzero((masses >= 80.0) & (masses < 100.0))

"""Every layout and the selection through the whole pipeline."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from schemas.errors import CatalogError, ConfigError, DataError
from schemas.reports import ParseReport
from services import closing, pipeline
from services.run_directory import RunDirectory
from services.storage import reports
from tests.factory import (
    FLAT,
    HION14,
    Collection,
    jagged,
    make_config,
    run_pipeline,
    write_daod,
    write_flat_atlas,
    write_nanoaod,
)

# Back to back across the beam, 45.6 GeV each: 91.2 GeV.
PAIR = ((45.6, 0.0, 0.3), (45.6, 0.0, 0.3 - math.pi))
N_EVENTS = 3
TYPES = {"Electrons": "e", "Muons": "m", "Jets": "j", "Photons": "g"}


def pair(mass: float) -> Collection:
    return [[(*one, mass) for one in PAIR]] * N_EVENTS


def run(
    tmp_path: Path, files: Mapping[str, Path], *, types: Mapping[str, str] = TYPES, **parsing: Any
) -> RunDirectory:
    data: dict[str, Any] = {
        "parsing_task_config": {
            "local_files": {layout: [str(path)] for layout, path in files.items()},
            **parsing,
        },
        "mass_calculation_task_config": {"objects_to_calculate": list(types)},
    }
    return run_pipeline(make_config(data, tmp_path), tmp_path / "run")


def masses(paths: RunDirectory, combination: str) -> list[float]:
    arrays = [np.load(path) for path in sorted(paths.masses.rglob(f"{combination}.npy"))]
    found: list[float] = np.concatenate(arrays).tolist()
    return found


def parse_reports(paths: RunDirectory) -> list[ParseReport]:
    found = sorted(paths.parsed_data.glob("parsed_*.json"))
    return [reports.read(path, ParseReport) for path in found]


LEPTONS = {"electrons": pair(0.000511), "muons": pair(0.10566)}
MAKERS: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    **{
        f"{layout}, flat": (
            layout,
            lambda folder, layout=layout: write_flat_atlas(
                folder / "data_A.root", layout, **LEPTONS
            ),
            ("e0e1", "m0m1"),
        )
        for layout in FLAT
    },
    "2024r-pp, TTree": (
        "2024r-pp",
        lambda folder: write_daod(folder / "D.pool.root.1", **LEPTONS, photons=pair(0.0)),
        ("e0e1", "m0m1", "g0g1"),
    ),
    "2024r-pp, RNTuple": (
        "2024r-pp",
        lambda folder: write_daod(folder / "D.root", rntuple=True, **LEPTONS, photons=pair(0.0)),
        ("e0e1", "m0m1", "g0g1"),
    ),
    "2024r-hi": (
        "2024r-hi",
        lambda folder: write_daod(folder / "D.root", containers=HION14, muons=LEPTONS["muons"]),
        ("m0m1",),
    ),
    "cms-nanoaod": (
        "cms-nanoaod",
        lambda folder: write_nanoaod(folder / "nano.root", **LEPTONS, photons=pair(0.0)),
        ("e0e1", "m0m1", "g0g1"),
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_planted_pair_is_found_at_its_mass(tmp_path: Path, name: str) -> None:
    layout, make, combinations = MAKERS[name]
    types = {n: letter for n, letter in TYPES.items() if f"{letter}0{letter}1" in combinations}
    paths = run(tmp_path, {layout: make(tmp_path)}, types=types)
    for combination in combinations:
        found = masses(paths, combination)
        assert len(found) == N_EVENTS
        np.testing.assert_allclose(found, 91.2, atol=0.001)


@pytest.mark.parametrize("layout", ["2020e-13tev", "2025e-13tev-beta"])
def test_a_pair_of_jets_is_found_by_its_energies(tmp_path: Path, layout: str) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", layout, jets=pair(10.0))
    paths = run(tmp_path, {layout: path}, types={"Jets": "j"})
    # E = sqrt(45.6^2 + 10^2) each.
    np.testing.assert_allclose(masses(paths, "j0j1"), 2 * math.hypot(45.6, 10.0), rtol=1e-4)


@pytest.mark.parametrize("layout", FLAT)
def test_flat_leptons_are_in_one_final_state_only(tmp_path: Path, layout: str) -> None:
    path = write_flat_atlas(tmp_path / "data_A.root", layout, electrons=pair(0.0), muons=pair(0.1))
    paths = run(tmp_path, {layout: path}, types={"Electrons": "e", "Muons": "m"})
    (report,) = parse_reports(paths)
    assert report.populations == {"2e_2m_0j_0g_0t_0b": N_EVENTS}
    assert {path.parent.name for path in paths.masses.rglob("*.npy")} == {"2e_2m"}


def test_flat_data_and_simulation_share_neither_chunk_nor_histogram(tmp_path: Path) -> None:
    for name in ("data_A.root", "mc_361106.Zee.root"):
        write_flat_atlas(tmp_path / name, "2020e-13tev", electrons=pair(0.0))
    paths = run(tmp_path, {"2020e-13tev": tmp_path / "*.root"}, types={"Electrons": "e"})
    assert [report.chunk for report in parse_reports(paths)] == [
        "parsed_local_2020e-13tev_chunk1",
        "parsed_local_2020e-13tev_mc_chunk1",
    ]
    files = sorted(path.name for path in paths.histograms.glob("*.root"))
    assert files == ["atlas_opendata_bumpnet.root", "atlas_opendata_bumpnet_mc.root"]
    for name in files:
        with uproot.open(paths.histograms / name) as file:
            entries = [file[key].values().sum() for key in file.keys(filter_name="mass_*")]
        assert entries == [N_EVENTS]


def test_a_file_that_nothing_tells_data_or_simulation_is_refused(tmp_path: Path) -> None:
    path = write_flat_atlas(tmp_path / "Zee.root", "2020e-13tev", electrons=pair(0.0))
    files = {"2020e-13tev": path}
    with pytest.raises(CatalogError, match=r"Zee.root.*same branches.*local_sample"):
        run(tmp_path, files, types={"Electrons": "e"})
    shutil.rmtree(tmp_path / "run")
    paths = run(tmp_path, files, types={"Electrons": "e"}, local_sample="mc")
    assert [report.sample for report in parse_reports(paths)] == ["mc"]


# --- the selection ---


def test_overlap_removal_takes_the_preset_of_the_layout(tmp_path: Path) -> None:
    electron, jet = [[(40.0, 0.5, 0.0)]] * 4, [[(45.0, 0.6, 0.0)]] * 4
    path = write_nanoaod(tmp_path / "nano.root", electrons=electron, jets=jet)
    (report,) = parse_reports(run(tmp_path, {"cms-nanoaod": path}, overlap_removal="default"))
    assert report.populations == {"1e_0m_0j_0g_0t_0b": 4}
    removed = {row.step: row.removed for row in report.cut_flow if row.of == "Jets"}
    assert removed["overlap 2: jets near electrons, muons, photons (0.4)"] == 4


def test_overlap_removal_can_be_turned_off(tmp_path: Path) -> None:
    electron, jet = [[(40.0, 0.5, 0.0)]] * 4, [[(45.0, 0.6, 0.0)]] * 4
    path = write_nanoaod(tmp_path / "nano.root", electrons=electron, jets=jet)
    (report,) = parse_reports(run(tmp_path, {"cms-nanoaod": path}, overlap_removal="none"))
    assert report.populations == {"1e_0m_1j_0g_0t_0b": 4}


def test_b_jets_are_tagged_at_the_named_working_point(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "cms_nanoaod_v12_ttbar.root"
    with uproot.open(path) as file:
        scores = file["Events/Jet_btagDeepFlavB"].array(library="np")
    n_tagged = int((np.concatenate(list(scores)) >= 0.6377).sum())
    paths = run(
        tmp_path,
        {"cms-nanoaod": path},
        types={"Jets": "j", "BJets": "b"},
        enable_jet_tagging=True,
        jet_btag_threshold="tight",
    )
    (report,) = parse_reports(paths)
    n_jets = sum(map(len, scores))
    assert report.objects_kept["BJets"] == n_tagged > 0
    assert report.objects_kept["Jets"] == n_jets - n_tagged


def test_a_file_without_b_tags_fails_with_the_reason(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "cms_nanoaod_2015_ttbar.root"
    with pytest.raises(DataError, match=r"1 of 1 files failed(.|\n)*Jet_btagDeepFlavB"):
        run(tmp_path, {"cms-nanoaod": path}, enable_jet_tagging=True)


def test_good_runs_cut_data_and_leave_simulation(tmp_path: Path) -> None:
    muons: Collection = [[(30.0, 0.0, 0.0), (30.0, 0.0, 3.0)]] * 4
    write_nanoaod(tmp_path / "data.root", muons=muons)
    write_nanoaod(tmp_path / "sim.root", simulation=True, muons=muons)
    (tmp_path / "golden.json").write_text(json.dumps({"2": [[1, 10]]}))
    paths = run(
        tmp_path,
        {"cms-nanoaod": tmp_path / "*.root"},
        types={"Muons": "m"},
        good_run_lists=["golden.json"],
    )
    data, simulation = parse_reports(paths)
    assert (data.events_kept, simulation.events_kept) == (0, 4)
    assert [row.step for row in data.cut_flow if row.of == "events"] == ["good runs"]


def test_a_profile_selects_for_its_input_only(tmp_path: Path) -> None:
    muons: Collection = [[(30.0, 0.0, 0.0, 0.1)], [(30.0, 0.0, 0.0, 0.1)] * 2]
    write_flat_atlas(tmp_path / "data_A.root", "2020e-13tev", muons=muons)
    write_daod(tmp_path / "D.root", muons=muons)
    files = {"2020e-13tev": tmp_path / "data_A.root", "2024r-pp": tmp_path / "D.root"}
    paths = run(
        tmp_path,
        files,
        types={"Muons": "m"},
        selection_by_release={"local_2024r-pp": {"particle_counts": {"muons": {"min": 2}}}},
    )
    kept = {report.source: report.events_kept for report in parse_reports(paths)}
    assert kept == {"local_2020e-13tev": 2, "local_2024r-pp": 1}


def test_the_cut_flow_of_each_source_is_shown(tmp_path: Path) -> None:
    muons: Collection = [[(30.0, 0.0, 0.0)] * 2, [(10.0, 0.0, 0.0)]]
    path = write_nanoaod(tmp_path / "nano.root", muons=muons)
    paths = run(
        tmp_path,
        {"cms-nanoaod": path},
        types={"Muons": "m"},
        kinematic_cuts={"muons": {"pt_min": 25.0}},
        particle_counts={"muons": {"min": 2}},
    )
    summary = reports.read(paths.parsed_data / "slice_1_of_1.json", pipeline.SliceReport)
    lines = [line.split() for line in closing.cut_flow_table([summary]).splitlines()]
    assert ["local_cms-nanoaod", "pt_min", "Muons", "3", "1", "2"] in lines
    assert ["local_cms-nanoaod", "number", "of", "muons", "events", "2", "1", "1"] in lines


def test_what_a_layout_does_not_have_is_found_before_the_first_file(tmp_path: Path) -> None:
    path = write_daod(tmp_path / "D.root", containers=HION14, muons=pair(0.1))
    with pytest.raises(ConfigError, match=r"local_2024r-hi: the layout 2024r-hi has no b-tagging"):
        run(tmp_path, {"2024r-hi": path}, types={"Muons": "m"}, enable_jet_tagging=True)


# --- another layout, without any Python ---

NEW_LAYOUT = """
description: a layout of somebody else
experiment: ELSEWHERE
collision_energy_tev: 1.0
trees: [stuff]
energy_unit: MeV
event_id: {run: r, event: n}
simulation: {has_branch: is_made_up}
objects:
  muons: {pt: mu_pt, eta: mu_eta, phi: mu_phi}
required: [mu_pt]
"""


def test_a_new_yaml_file_is_a_new_layout(tmp_path: Path) -> None:
    checkout = Path(__file__).parents[2]
    copy = tmp_path / "copy"
    for name in ("schemas", "services", "main.py"):
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy / name)
    (copy / "schemas" / "releases" / "elsewhere.yaml").write_text(NEW_LAYOUT)
    with uproot.recreate(tmp_path / "x.root") as file:
        counts = {"r": np.ones(4, dtype=np.int32), "n": np.arange(4)}
        vectors = {
            f"mu_{name}": np.array([[a, b]] * 4, dtype=np.float32)
            for name, a, b in (("pt", 45600, 45600), ("eta", 0, 0), ("phi", 0, math.pi))
        }
        branches = counts | {name: jagged(column.tolist()) for name, column in vectors.items()}
        types = {n: getattr(c, "dtype", None) or c.type.content for n, c in branches.items()}
        file.mktree("stuff", types).extend(branches)
    (tmp_path / "config.yaml").write_text(
        json.dumps(
            {
                "parsing_task_config": {"local_files": {"elsewhere": ["x.root"]}},
                "mass_calculation_task_config": {
                    "objects_to_calculate": ["Muons"],
                    "min_events_per_fs": 1,
                },
            }
        )
    )
    command = [sys.executable, "main.py", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "run")],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run" / "im_arrays").rglob("m0m1.npy")
    np.testing.assert_allclose(np.load(path), 91.2, atol=0.001)

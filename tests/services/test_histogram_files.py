"""The ROOT files, opened again: against numpy.histogram of the stored arrays, equal, not close."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from schemas.config import Config, digest
from schemas.errors import ConfigError, DataError
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import MassReport, PostProcessingReport, SliceReport
from services import histograms, post_processing
from services.run_directory import RunDirectory, chunk_report, layout, slice_report
from services.storage import reports
from services.storage.arrays import describe_arrays, read_array
from services.workers import Workers
from tests.factory import make_config, run_pipeline, write_nanoaod

N_EVENTS = 1500
WIDTHS = [10.0, 2.5]


def write_events(path: Path, seed: int, *, simulation: bool = False) -> Path:
    """Write photon pairs of falling masses, a third with a jet and a few with two."""
    rng = np.random.default_rng(seed)
    pt = 30.0 + rng.exponential(90.0, (N_EVENTS, 3))
    photons = [[(a, 0.1, 0.0), (b, -0.2, 3.0)] for a, b, _ in pt.tolist()]
    jets = [
        [(c, 0.3, 1.0, 5.0), (40.0, 1.0, -2.0, 5.0)][: (n % 3 == 0) + (n % 60 == 0)]
        for n, (_, _, c) in enumerate(pt.tolist())
    ]
    return write_nanoaod(path, simulation=simulation, photons=photons, jets=jets)


def config_of(folder: Path, **changes: Any) -> Config:
    creation: dict[str, Any] = {"bin_width_gev": WIDTHS, "output_filename": "out.root"}
    rules = [
        {
            "name": "X",
            "mass_gev": 205.0,
            "window_gev": [200.0, 210.0],
            "combinations": ["g0g1"],
            "action": "veto",
            "only_if_detected": False,
        }
    ]
    return make_config(
        {
            "parsing_task_config": {
                "local_files": {"cms-nanoaod": [str(folder / "in" / "*.root")]},
                "chunk_input_bytes": 1,
                "show_progress_bar": False,
            },
            "mass_calculation_task_config": {"objects_to_calculate": ["Photons", "Jets"]},
            "post_processing_task_config": {"known_resonances": rules, "max_mass_gev": 900.0},
            "histogram_creation_task_config": creation | changes,
        },
        folder,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a run of two files of data and one of simulation, one chunk each."""
    folder = tmp_path_factory.mktemp("run")
    write_events(folder / "in" / "a.root", 1)
    write_events(folder / "in" / "b.root", 2)
    write_events(folder / "in" / "c.root", 3, simulation=True)
    return run_pipeline(config_of(folder), folder / "out")


def again(run: RunDirectory, folder: Path, **changes: Any) -> tuple[Config, RunDirectory]:
    """Make the histograms of a run once more, elsewhere, with another configuration."""
    config = config_of(
        run.root.parent,
        input_dir=str(run.processed),
        output_dir=str(folder / "histograms"),
        **changes,
    )
    sections = config.model_dump(mode="json")
    sections["post_processing_task_config"]["input_dir"] = str(run.masses)
    config = Config.model_validate_json(json.dumps(sections))
    paths = layout(folder, config)
    histograms.run(config, paths, Slice(), Workers(1))
    return config, paths


def stored(folder: Path, name: str) -> np.ndarray:
    """Return the masses of a channel over all chunks of data, as they are stored."""
    chunks = [path.with_suffix("") for path in sorted(folder.glob("parsed_*_chunk?.json"))]
    of_data = [chunk for chunk in chunks if "_mc_" not in chunk.name]
    assert len(of_data) == 2
    return np.concatenate([m for chunk in of_data for m in read_array(chunk, name, 10**6)])


def plan_of(run: RunDirectory) -> Plan:
    return reports.read(run.plan_file, Plan)


def check_statistics(histogram: Any, masses: np.ndarray) -> None:
    """Compare what ROOT's GetEntries, GetMean and GetStdDev are made from with the masses."""
    exact = masses.astype(np.float64)
    n, sum_m, sum_m2 = (histogram.member(key) for key in ("fTsumw", "fTsumwx", "fTsumwx2"))
    assert histogram.member("fEntries") == histogram.member("fTsumw2") == n == len(masses)
    assert sum_m / n == pytest.approx(exact.mean(), rel=1e-12)
    assert (sum_m2 / n - (sum_m / n) ** 2) ** 0.5 == pytest.approx(exact.std(), rel=1e-9)


@pytest.mark.parametrize("width", WIDTHS)
def test_histograms_are_those_of_numpy(run: RunDirectory, width: float) -> None:
    kept = plan_of(run).kept(Sample.DATA)
    # g0g1 without jets; with one also j0g0, j0g0g1; with two also j0j1, j0j1g0, j0j1g0g1.
    assert len(kept) == 1 + 3 + 6
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        for name, decided in kept.items():
            state, combination = name.split("/")
            category = "_".join(f"{part}x" for part in state.split("_"))
            found = file[f"mass_{combination}_cat_{category}_width_{width}"]
            edges = np.arange(decided.low_gev, decided.end_gev + width / 2, width)
            masses = stored(run.processed, f"{name}_main")
            contents, _ = np.histogram(masses, edges)
            assert found.classname == "TH1D"
            assert found.axis().edges().tolist() == edges.tolist()
            assert found.values().tolist() == contents.tolist()
            assert found.values(flow=True)[[0, -1]].tolist() == [0.0, 0.0]
            assert len(found.member("fSumw2")) == 0
            check_statistics(found, masses)


def test_the_copy_for_bumpnet_is_the_longest_stretch_without_a_veto(run: RunDirectory) -> None:
    masses = stored(run.processed, "0j_2g/g0g1_main")
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        found = file["ROI_mass_g0g1_cat_0jx_2gx_width_10.0"]
        whole = file["mass_g0g1_cat_0jx_2gx_width_10.0"]
    low, high = found.axis().edges()[[0, -1]]
    assert low == 210.0
    assert whole.axis().edges()[0] < 200.0
    above = masses[masses >= 210.0]
    assert len(above) < len(masses)
    assert high == (above.max() // 10 + 1) * 10
    contents, edges = np.histogram(above, np.arange(210.0, high + 5, 10.0))
    assert found.axis().edges().tolist() == edges.tolist()
    assert found.values().tolist() == contents.tolist()
    check_statistics(found, above)


def test_every_copy_for_bumpnet_passes_the_rule_and_the_others_are_listed(
    run: RunDirectory,
) -> None:
    summary = reports.read(slice_report(run.histograms, Slice()), SliceReport)
    of_data = next(r for r in summary.histograms if r.sample is Sample.DATA)
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        keys = file.keys(cycle=False)
        for key in keys:
            if key.startswith("ROI"):
                contents = file[key].values()
                assert contents[0] > 0
                assert contents[-1] > 0
                assert len(contents) >= 25
                assert contents.sum() >= 100
    accepted = {key.removeprefix("ROI_") for key in keys if key.startswith("ROI")}
    main = {key for key in keys if key.startswith("mass_")}
    assert accepted < main
    assert set(of_data.rejected) == main - accepted
    assert all(name.split("_cat_")[1].startswith("2jx_2gx") for name in of_data.rejected)
    assert all(" below 100" in r or "fewer than 25" in r for r in of_data.rejected.values())
    assert (of_data.histograms, of_data.roi_copies) == (len(main), len(accepted))


def test_simulation_has_a_file_of_its_own(run: RunDirectory) -> None:
    assert sorted(path.name for path in run.histograms.glob("*.root")) == [
        "out.root",
        "out_mc.root",
    ]
    with uproot.open(run.histogram_file(Sample.SIMULATION)) as file:
        found = file["mass_g0g1_cat_0jx_2gx_width_10.0"]
        assert found.title == "g0g1 in 0j_2g (simulation, unweighted)"
        classes = plan_of(run).channels[Sample.SIMULATION]["0j_2g/g0g1"].classes
        assert found.member("fEntries") == classes.main


def test_a_file_says_where_it_comes_from(run: RunDirectory) -> None:
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        about = json.loads(str(file["about"]))
    assert about["sources"] == ["local_cms-nanoaod"]
    assert about["licence"].startswith("CC0")
    assert about["configuration_digest"] == digest(config_of(run.root.parent))
    assert len(about["run_digest"]) == 64
    assert about["software"]["numpy"] == np.__version__
    assert about["software"]["uproot"] == uproot.__version__


def test_the_run_digest_does_not_depend_on_the_configuration_but_on_what_was_read(
    run: RunDirectory, tmp_path: Path
) -> None:
    config, paths = again(run, tmp_path, bin_width_gev=5.0)
    abouts = []
    for file in (run.histogram_file(Sample.DATA), paths.histogram_file(Sample.DATA)):
        with uproot.open(file) as opened:
            abouts.append(json.loads(str(opened["about"])))
    assert abouts[0]["run_digest"] == abouts[1]["run_digest"]
    assert abouts[0]["configuration_digest"] != abouts[1]["configuration_digest"]
    assert abouts[1]["configuration_digest"] == digest(config)


def test_floats_can_be_asked_for(run: RunDirectory, tmp_path: Path) -> None:
    _, paths = again(run, tmp_path, histogram_type="TH1F")
    with (
        uproot.open(paths.histogram_file(Sample.DATA)) as floats,
        uproot.open(run.histogram_file(Sample.DATA)) as doubles,
    ):
        assert floats.keys() == doubles.keys()
        for key in floats.keys(cycle=False):
            if key != "about":
                assert floats[key].classname == "TH1F"
                assert floats[key].values().tolist() == doubles[key].values().tolist()
                for member in ("fEntries", "fTsumw", "fTsumwx", "fTsumwx2"):
                    assert floats[key].member(member) == doubles[key].member(member)


def test_each_final_state_can_have_its_file(run: RunDirectory, tmp_path: Path) -> None:
    _, paths = again(run, tmp_path, single_output_file=False)
    names = sorted(path.name for path in paths.histograms.glob("*.root"))
    assert names == [
        "out_0j_2g.root",
        "out_0j_2g_mc.root",
        "out_1j_2g.root",
        "out_1j_2g_mc.root",
        "out_2j_2g.root",
        "out_2j_2g_mc.root",
    ]
    with uproot.open(run.histogram_file(Sample.DATA)) as file:
        together = set(file.keys(cycle=False))
    apart = set()
    for state in ("0j_2g", "1j_2g", "2j_2g"):
        with uproot.open(paths.histogram_file(Sample.DATA, state)) as file:
            assert all(key == "about" or state in file[key].title for key in file.keys(cycle=False))
            apart |= set(file.keys(cycle=False))
    assert apart == together
    summary = reports.read(slice_report(paths.histograms, Slice()), SliceReport)
    assert [len(report.outputs) for report in summary.histograms] == [3, 3]


def test_unprocessed_histograms_have_every_mass_on_the_whole_grid(
    run: RunDirectory, tmp_path: Path
) -> None:
    _, paths = again(run, tmp_path, also_save_unprocessed=True)
    with uproot.open(paths.histogram_file(Sample.DATA)) as file:
        for name, decided in plan_of(run).channels[Sample.DATA].items():
            state, combination = name.split("/")
            category = "_".join(f"{part}x" for part in state.split("_"))
            found = file[f"raw_mass_{combination}_cat_{category}_width_2.5"]
            masses = stored(run.masses, name)
            assert len(masses) == decided.population
            inside = masses[masses < 900.0]
            contents, edges = np.histogram(inside, np.arange(361) * 2.5)
            assert found.axis().edges().tolist() == edges.tolist()
            assert found.values().tolist() == contents.tolist()
            assert found.values(flow=True)[[0, -1]].tolist() == [0.0, 0.0]
            check_statistics(found, inside)
        assert not [key for key in file.keys(cycle=False) if key.startswith("ROI_raw")]


def test_with_outliers_the_tail_is_filled_and_overflow_is_not(
    run: RunDirectory, tmp_path: Path
) -> None:
    _, paths = again(run, tmp_path, exclude_outliers=False)
    plan = plan_of(run).channels[Sample.DATA]
    assert sum(decided.classes.tail for decided in plan.values()) > 0
    assert sum(decided.classes.overflow for decided in plan.values()) > 0
    with uproot.open(paths.histogram_file(Sample.DATA)) as file:
        for name, decided in plan.items():
            state, combination = name.split("/")
            category = "_".join(f"{part}x" for part in state.split("_"))
            found = file[f"mass_{combination}_cat_{category}_width_10.0"]
            assert found.member("fEntries") == decided.classes.main + decided.classes.tail
            assert found.axis().edges()[-1] == decided.last_gev


def test_resolution_bins_hold_every_main_mass(run: RunDirectory, tmp_path: Path) -> None:
    _, paths = again(run, tmp_path, binning="resolution")
    with uproot.open(paths.histogram_file(Sample.DATA)) as file:
        for name, decided in plan_of(run).kept(Sample.DATA).items():
            state, combination = name.split("/")
            category = "_".join(f"{part}x" for part in state.split("_"))
            found = file[f"mass_{combination}_cat_{category}_width_res"]
            edges = found.axis().edges()
            masses = stored(run.processed, f"{name}_main")
            contents, _ = np.histogram(masses, edges)
            assert found.values().tolist() == contents.tolist()
            assert contents.sum() == len(masses)
            assert edges[0] <= decided.low_gev < edges[1]
            assert edges[-2] < decided.end_gev <= edges[-1]
            check_statistics(found, masses)
        widths = np.diff(file["mass_j0g0_cat_1jx_2gx_width_res"].axis().edges())
    assert widths[-1] > 1.5 * widths[0]


def test_plain_names_have_no_copies(run: RunDirectory, tmp_path: Path) -> None:
    _, paths = again(run, tmp_path, use_bumpnet_naming=False, also_save_unprocessed=True)
    with uproot.open(paths.histogram_file(Sample.DATA)) as file:
        keys = set(file.keys(cycle=False))
    assert {"g0g1_0j_2g_10.0", "g0g1_0j_2g_2.5", "raw_g0g1_0j_2g_10.0", "about"} <= keys
    assert not [key for key in keys if key.startswith("ROI")]


def test_names_follow_the_template(run: RunDirectory, tmp_path: Path) -> None:
    template = "{prefix}mass_{combination}_cat_{category}"
    _, paths = again(run, tmp_path, histogram_name_template=template, bin_width_gev=2.5)
    with uproot.open(paths.histogram_file(Sample.DATA)) as file:
        keys = set(file.keys(cycle=False))
    assert {"mass_g0g1_cat_0jx_2gx", "ROI_mass_g0g1_cat_0jx_2gx"} <= keys


def test_the_numbers_of_the_rule_are_configurable(run: RunDirectory, tmp_path: Path) -> None:
    _, paths = again(run, tmp_path, bumpnet_acceptance={"min_bins": 1, "min_sum": 1.0})
    summary = reports.read(slice_report(paths.histograms, Slice()), SliceReport)
    for report in summary.histograms:
        assert report.rejected == {}
        assert report.roi_copies == report.histograms


def test_a_width_that_does_not_divide_the_grid_of_the_plan_is_refused(run: RunDirectory) -> None:
    config = config_of(run.root.parent)
    creation = config.histogram_creation_task_config.model_copy(update={"bin_width_gev": (4.0,)})
    config = config.model_copy(update={"histogram_creation_task_config": creation})
    with pytest.raises(ConfigError, match=r"4\.0 does not divide .* plan that is read \(10\.0\)"):
        histograms.prepare(config, plan_of(run), Sample.DATA)


def test_a_lost_array_is_noticed_and_its_channel_named(run: RunDirectory, tmp_path: Path) -> None:
    plan = plan_of(run)
    changed = plan.model_dump(mode="json")
    changed["channels"]["data"]["0j_2g/g0g1"]["classes"]["main"] += 1
    config = config_of(run.root.parent)
    filled = histograms.prepare(config, Plan.model_validate(changed, strict=False), Sample.DATA)
    for path in sorted(run.processed.glob("parsed_*_chunk?.json")):
        if "_mc_" not in path.name:
            report = reports.read(path, PostProcessingReport)
            histograms.fill_chunk(config, run, report, plan, filled, 1000)
    with pytest.raises(DataError, match=r"books do not balance.*0j_2g/g0g1"):
        filled.main.check("histograms of data")
    assert not list(tmp_path.iterdir())


def test_masses_that_are_not_those_of_the_spectra_are_noticed(
    run: RunDirectory, tmp_path: Path
) -> None:
    config = config_of(run.root.parent, output_dir=str(tmp_path))
    processing = config.post_processing_task_config.model_copy(
        update={"known_resonances": (), "output_dir": str(tmp_path)}
    )
    config = config.model_copy(update={"post_processing_task_config": processing})
    chunk = next(iter(sorted(run.masses.glob("parsed_*_chunk1.json")))).stem
    copy = tmp_path / "masses"
    source = reports.read(chunk_report(run.masses, chunk), MassReport)
    for path in run.masses.rglob("*"):
        target = copy / path.relative_to(run.masses)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    array = copy / chunk / "0j_2g" / "g0g1.npy"
    masses = np.load(array)
    masses[0] += np.float32(500.0)
    np.save(array, masses)
    # The report knows these arrays, but the spectra are those of others.
    changed = source.model_copy(update={"output": describe_arrays(copy, chunk)})
    reports.write(chunk_report(copy, chunk), changed, Slice())
    sections = config.model_dump(mode="json")
    sections["post_processing_task_config"]["input_dir"] = str(copy)
    config = Config.model_validate_json(json.dumps(sections))
    paths = layout(tmp_path / "run", config)
    with pytest.raises(DataError, match=rf"{source.chunk}: the books do not.*0j_2g/g0g1"):
        post_processing.run(config, paths, Slice(), Workers(1))


def test_spectra_of_another_grid_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    sections = config_of(run.root.parent, bin_width_gev=5.0).model_dump(mode="json")
    sections["post_processing_task_config"] |= {
        "input_dir": str(run.masses),
        "output_dir": str(tmp_path / "processed"),
        "peak_detection_bin_width_gev": 5.0,
    }
    config = Config.model_validate_json(json.dumps(sections))
    with pytest.raises(DataError, match=r"180 bins of 5\.0 GeV, found 90 of 10\.0 GeV"):
        post_processing.run(config, layout(tmp_path, config), Slice(), Workers(1))

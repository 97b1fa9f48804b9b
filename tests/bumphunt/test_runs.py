"""The library, against what numpy and uproot read from the same files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot

import bumphunt
from bumphunt import BarrierError, ConfigError, DataError
from schemas.config import Config
from schemas.inputs import Sample
from services import pipeline, run_directory
from tests.factory import make_config, run_pipeline, write_nanoaod

# The demo release is eight files of about 80 kB with so many events: here four chunks.
DEMO: dict[str, Any] = {
    "release_years": ["demo"],
    "demo_events": 8_000,
    "chunk_input_bytes": 150_000,
    "kinematic_cuts": {"electrons": {"pt_min": 25.0}, "muons": {"pt_min": 25.0}},
}
MASSES = {"min_events_per_fs": 50}
HISTOGRAMS = {"bin_width_gev": [10.0, 5.0], "also_save_unprocessed": True}


def demo_config(folder: Path, **blocks: dict[str, Any]) -> Config:
    standard = {
        "parsing_task_config": DEMO,
        "mass_calculation_task_config": MASSES,
        "histogram_creation_task_config": HISTOGRAMS,
    }
    return make_config(standard | blocks, folder)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of one job, in which masses lie in folders of .npy files."""
    folder = tmp_path_factory.mktemp("single")
    return run_pipeline(demo_config(folder), folder / "run").root


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a merged run of three jobs, in which the masses of a chunk are one .npz file."""
    folder = tmp_path_factory.mktemp("merged")
    for index in (3, 1, 2):
        metadata = {"batch_job_index": index, "total_batch_jobs": 3, "barrier_wait_seconds": 0.0}
        config = demo_config(folder, run_metadata=metadata)
        paths = run_directory.open_run(config, folder / "run", datetime.now(UTC))
        pipeline.run(config, paths, pipeline.slice_of(config), draws=False)
    pipeline.merge_run(config, paths, draws=False)
    return paths.root


@pytest.fixture(scope="module")
def both_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three events of data and two of simulation, all of two muons."""
    folder = tmp_path_factory.mktemp("both")
    data = write_nanoaod(folder / "data.root", muons=pairs([50.0, 60.0, 70.0]))
    simulated = write_nanoaod(folder / "mc.root", simulation=True, muons=pairs([80.0, 90.0]))
    files = {"local_files": {"cms-nanoaod": [str(data), str(simulated)]}}
    config = make_config({"parsing_task_config": files}, folder)
    return run_pipeline(config, folder / "run").root


def pairs(masses: list[float]) -> list[list[tuple[float, ...]]]:
    """Return two muons back to back per event: pt of half the mass each."""
    return [[(m / 2, 0.0, 0.0), (m / 2, 0.0, np.pi)] for m in masses]


@pytest.fixture(params=["single", "merged"])
def root(request: pytest.FixtureRequest) -> Path:
    """Return each of the two forms in which a run may be stored."""
    found: Path = request.getfixturevalue(request.param)
    return found


def chunk_numbers(folder: Path) -> list[int]:
    """Return the numbers of the chunks of the demo release, by their reports."""
    matches = [re.fullmatch(r"parsed_demo_chunk(\d+)\.json", p.name) for p in folder.iterdir()]
    return sorted(int(match[1]) for match in matches if match)


def loaded(folder: Path, array: str) -> np.ndarray[Any, Any]:
    """Return an array of all chunks, as numpy alone reads it."""
    pieces = []
    for number in chunk_numbers(folder):
        stem = folder / f"parsed_demo_chunk{number}"
        archive = stem.with_suffix(".npz")
        if archive.exists():
            with np.load(archive) as members:
                pieces += [members[array]] if array in members.files else []
        elif (stem / f"{array}.npy").exists():
            pieces.append(np.load(stem / f"{array}.npy"))
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def plan_of(root: Path) -> dict[str, Any]:
    decided: dict[str, Any] = json.loads((root / "im_arrays_processed" / "plan.json").read_text())
    return decided


# Channels and what was decided


def test_a_run_has_every_channel_of_its_plan_in_the_order_of_names(root: Path) -> None:
    names = [channel.name for channel in bumphunt.open_run(root).channels()]
    assert names == sorted(plan_of(root)["channels"]["data"])
    assert len(names) > 20


def test_a_channel_tells_what_the_plan_decided(root: Path) -> None:
    channel = bumphunt.open_run(root).channel("2e_0m_0j_0g/e0e1")
    decided = plan_of(root)["channels"]["data"]["2e_0m_0j_0g/e0e1"]
    assert channel.plan is not None
    assert channel.population == decided["population"]
    assert channel.plan.low_gev == decided["low_gev"]
    assert [test.name for test in channel.resonances] == ["Z"]
    assert channel.resonances[0].entries == decided["resonances"][0]["entries"]
    assert channel.dropped is None


def test_a_channel_knows_its_labels(single: Path) -> None:
    channel = bumphunt.open_run(single).channel("2e_0m_0j_0g/e0e1")
    assert str(channel.final_state) == "2e_0m_0j_0g"
    assert str(channel.combination) == "e0e1"
    assert str(channel) == "2e_0m_0j_0g/e0e1"


def test_accepted_channels_are_those_with_a_copy_for_bumpnet(root: Path) -> None:
    path = root / "histograms" / "atlas_opendata_bumpnet.root"
    with uproot.open(path) as file:
        copies = {key for key in file.keys(cycle=False) if key.startswith("ROI_")}
    accepted = rejected = 0
    for channel in bumphunt.open_run(root).channels():
        name = f"ROI_mass_{channel.combination}_cat_{channel.final_state.category}_width_"
        widths = {width for width in ("10.0", "5.0") if f"{name}{width}" in copies}
        assert channel.rejected is not None
        assert set(channel.rejected) == {"10.0", "5.0"} - widths
        assert channel.accepted is bool(widths)
        accepted += bool(widths)
        rejected += not widths
    assert accepted
    assert rejected


def test_a_dropped_channel_says_why_and_is_not_accepted(tmp_path: Path) -> None:
    # All masses lie in the Z's window, below the floor at 110 GeV.
    file = write_nanoaod(tmp_path / "z.root", muons=pairs([91.0] * 200))
    parsing = {"local_files": {"cms-nanoaod": [str(file)]}}
    run = run_pipeline(make_config({"parsing_task_config": parsing}, tmp_path), tmp_path / "run")
    channel = bumphunt.open_run(run.root).channel("0e_2m_0j_0g/m0m1")
    assert channel.dropped == "no peak"
    assert channel.accepted is False
    assert channel.rejected == {"10.0": "dropped: no peak"}
    assert len(channel.masses("main")) == 0
    with pytest.raises(DataError, match=r"has no main part \(dropped, no peak\)"):
        channel.spectrum("main")


def test_without_names_for_bumpnet_nothing_is_accepted_or_rejected(tmp_path: Path) -> None:
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs([50.0, 60.0]))
    blocks = {
        "parsing_task_config": {"local_files": {"cms-nanoaod": [str(file)]}},
        "histogram_creation_task_config": {"use_bumpnet_naming": False},
    }
    run = run_pipeline(make_config(blocks, tmp_path), tmp_path / "run")
    assert bumphunt.open_run(run.root).channels()[0].accepted is None


# Masses


@pytest.mark.parametrize("part", ["all", "main", "outliers"])
def test_masses_are_one_array_of_all_chunks(root: Path, part: Any) -> None:
    folder = root / ("im_arrays" if part == "all" else "im_arrays_processed")
    ending = "" if part == "all" else f"_{part}"
    run = bumphunt.open_run(root)
    total = 0
    for channel in run.channels():
        found = channel.masses(part)
        assert found.dtype == np.float32
        assert np.array_equal(found, loaded(folder, f"{channel.name}{ending}"))
        total += len(found)
    assert total > 100


def test_masses_do_not_depend_on_the_number_of_jobs(single: Path, merged: Path) -> None:
    one, other = bumphunt.open_run(single), bumphunt.open_run(merged)
    assert chunk_numbers(single / "im_arrays") == [1, 2, 3, 4]
    assert list((merged / "im_arrays").glob("*_chunk*.npz"))
    for mine, theirs in zip(one.channels(), other.channels(), strict=True):
        assert np.array_equal(mine.masses(), theirs.masses()), mine.name


def test_chunk_ten_comes_behind_chunk_nine(tmp_path: Path) -> None:
    masses = [50.0 + i for i in range(11)]
    for number, mass in enumerate(masses):
        write_nanoaod(tmp_path / f"{number:02}.root", muons=pairs([mass]))
    parsing = {
        "local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]},
        "chunk_input_bytes": 1,
    }
    run = run_pipeline(make_config({"parsing_task_config": parsing}, tmp_path), tmp_path / "run")
    found = bumphunt.open_run(run.root).channel("0e_2m_0j_0g/m0m1").masses()
    assert found == pytest.approx(masses, abs=0.01)


def test_data_and_simulation_stay_apart(both_samples: Path) -> None:
    run = bumphunt.open_run(both_samples)
    assert run.samples == (Sample.DATA, Sample.SIMULATION)
    name = "0e_2m_0j_0g/m0m1"
    assert run.channel(name).masses() == pytest.approx([50.0, 60.0, 70.0], abs=0.01)
    assert run.channel(name, "mc").masses() == pytest.approx([80.0, 90.0], abs=0.01)
    assert sum(len(events) for events in run.events("mc")) == 2
    assert (run.origin(), run.origin("mc")) == ("", "simulation, unweighted")


def test_generated_events_are_said_to_be_generated(single: Path) -> None:
    assert bumphunt.open_run(single).origin() == "generated, not data"


# Events


def parsed_pt(root: Path, name: str) -> list[list[float]]:
    """Return the pt of a type per event, leading first, as uproot alone reads it."""
    rows = []
    for number in chunk_numbers(root / "parsed_data"):
        with uproot.open(root / "parsed_data" / f"parsed_demo_chunk{number}.root") as file:
            rows += file["events"].arrays([name])[name]["pt"].to_list()
    return [sorted(row, reverse=True) for row in rows]


def test_events_are_those_of_parsed_data_leading_object_first(root: Path) -> None:
    events = ak.concatenate(list(bumphunt.open_run(root).events()))
    assert ak.to_list(events.Muons.pt) == parsed_pt(root, "Muons")
    assert len(set(zip(events.run.to_list(), events.event.to_list(), strict=True))) == len(events)


def test_four_vectors_give_the_masses_of_their_channel(root: Path) -> None:
    run = bumphunt.open_run(root)
    events = ak.concatenate(list(run.events()))
    counts = [ak.num(events[name]) for name in ("Electrons", "Muons", "Jets", "Photons")]
    e, m, j, g = counts
    chosen = events[(e == 2) & (m == 0) & (j == 1) & (g == 0)]
    total = chosen.Electrons[:, 0] + chosen.Electrons[:, 1] + chosen.Jets[:, 0]
    stored = run.channel("2e_0m_1j_0g/e0e1j0").masses()
    assert len(stored) > 10
    np.testing.assert_allclose(total.mass, stored, rtol=1e-6)


def test_events_come_in_small_ranges_where_memory_is_small(single: Path) -> None:
    run = bumphunt.open_run(single)
    whole, ranges = [len(e) for e in run.events()], [len(e) for e in run.events(n_bytes=100_000)]
    assert len(whole) == 4
    assert len(ranges) > 8
    assert sum(ranges) == sum(whole)


def test_only_the_types_that_are_asked_for_are_read(single: Path) -> None:
    events = next(bumphunt.open_run(single).events(types=["Jets"]))
    assert events.fields == ["run", "lumi", "event", "Jets"]


@pytest.mark.parametrize("form", ["rntuple", "ttree"])
def test_four_vectors_are_in_gev_and_float64_in_either_format(tmp_path: Path, form: str) -> None:
    muons = [[(30.0, 0.5, 1.0), (40.0, -0.5, 2.0)], [], [(50.0, 0.0, 0.0)]]
    file = write_nanoaod(tmp_path / "muons.root", first_event=7, muons=muons)
    parsing = {"local_files": {"cms-nanoaod": [str(file)]}, "parsed_format": form}
    run = run_pipeline(make_config({"parsing_task_config": parsing}, tmp_path), tmp_path / "run")
    [events] = bumphunt.open_run(run.root).events()
    assert events.event.to_list() == [7, 8, 9]
    assert events.Muons.pt.to_list() == [[40.0, 30.0], [], [50.0]]
    assert events.Muons.eta.to_list() == [[-0.5, 0.5], [], [0.0]]
    assert "float64" in str(events.Muons.pt.type)
    # cosh(0) = 1, so E^2 = 50^2 + m^2.
    energy_squared = events.Muons[2, 0].E ** 2
    assert energy_squared == pytest.approx(2500.0 + 0.1056583755**2)


# Spectra


@pytest.mark.parametrize(
    ("part", "prefix"), [("main", ""), ("all", "raw_")], ids=["main", "unprocessed"]
)
@pytest.mark.parametrize("width", [10.0, 5.0])
def test_spectra_are_the_histograms_of_the_run(
    root: Path, part: Any, prefix: str, width: float
) -> None:
    n_compared = 0
    with uproot.open(root / "histograms" / "atlas_opendata_bumpnet.root") as file:
        for channel in bumphunt.open_run(root).channels():
            if channel.dropped and part == "main":
                continue
            category = channel.final_state.category
            stored = file[f"{prefix}mass_{channel.combination}_cat_{category}_width_{width}"]
            contents, edges = stored.to_numpy()
            found = channel.spectrum(part, width)
            assert found.values().tolist() == contents.tolist()
            assert found.axes[0].edges.tolist() == edges.tolist()
            n_compared += 1
    assert n_compared > 20


def test_a_spectrum_has_a_named_axis_in_gev(single: Path) -> None:
    found = bumphunt.open_run(single).channel("2e_0m_0j_0g/e0e1").spectrum()
    assert isinstance(found, hist.Hist)
    assert found.axes[0].name == "mass"
    assert found.axes[0].label == "m [GeV]"
    assert found.name == "2e_0m_0j_0g/e0e1"
    assert found.label == "entries"


def test_a_spectrum_has_the_first_bin_width_of_the_run(single: Path) -> None:
    found = bumphunt.open_run(single).channel("2e_0m_0j_0g/e0e1").spectrum()
    assert set(found.axes[0].widths) == {10.0}


def test_masses_beyond_the_grid_are_overflow(tmp_path: Path) -> None:
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs([50.0, 60.0, 150.0]))
    blocks = {
        "parsing_task_config": {"local_files": {"cms-nanoaod": [str(file)]}},
        "post_processing_task_config": {"max_mass_gev": 100.0, "known_resonances": []},
    }
    run = run_pipeline(make_config(blocks, tmp_path), tmp_path / "run")
    found = bumphunt.open_run(run.root).channel("0e_2m_0j_0g/m0m1").spectrum("all")
    assert found.view(flow=True).tolist() == [0, *[0] * 5, 1, 1, *[0] * 3, 1]


def test_bins_that_grow_with_the_resolution_are_those_of_the_run(tmp_path: Path) -> None:
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs([50.0, 60.0, 65.0]))
    blocks = {
        "parsing_task_config": {"local_files": {"cms-nanoaod": [str(file)]}},
        "histogram_creation_task_config": {"binning": "resolution"},
    }
    run = run_pipeline(make_config(blocks, tmp_path), tmp_path / "run")
    found = bumphunt.open_run(run.root).channel("0e_2m_0j_0g/m0m1").spectrum()
    with uproot.open(run.root / "histograms" / "atlas_opendata_bumpnet.root") as file_:
        contents, edges = file_["mass_m0m1_cat_0ex_2mx_0jx_0gx_width_res"].to_numpy()
    assert found.axes[0].edges == pytest.approx(edges)
    assert found.values().tolist() == contents.tolist()


@pytest.mark.parametrize("width", [3.0, 0.0, -10.0, 20.0])
def test_a_width_that_does_not_divide_the_grid_is_refused(single: Path, width: float) -> None:
    channel = bumphunt.open_run(single).channel("2e_0m_0j_0g/e0e1")
    with pytest.raises(ConfigError, match=r"divides the grid's \(10.0 GeV\)"):
        channel.spectrum("main", width)


# Reports


def test_reports_are_the_json_files_of_the_stages(root: Path) -> None:
    reports = bumphunt.open_run(root).reports()
    assert [*reports] == ["parsing", "mass_calculating", "post_processing", "histogram_creation"]
    folders = ("parsed_data", "im_arrays", "im_arrays_processed")
    for stage, folder in zip(reports, folders, strict=False):
        for number, found in enumerate(reports[stage]["chunks"], 1):
            stored = json.loads((root / folder / f"parsed_demo_chunk{number}.json").read_text())
            assert found == stored
        assert sum(len(s["chunks"]) for s in reports[stage]["slices"]) == 4


def test_a_merged_run_reports_what_was_merged(single: Path, merged: Path) -> None:
    stored = json.loads((merged / "histograms" / "merged.json").read_text())
    found = bumphunt.open_run(merged).reports()["histogram_creation"]
    assert found["merged"] == stored
    assert len(found["slices"]) == 3
    assert "merged" not in bumphunt.open_run(single).reports()["histogram_creation"]


def test_statistics_are_those_of_all_jobs(root: Path) -> None:
    stored = json.loads((root / "logs" / "aggregated_stats.json").read_text())
    assert bumphunt.open_run(root).statistics() == stored


# Export


@pytest.mark.parametrize("part", ["all", "main"])
def test_export_writes_one_array_per_channel(root: Path, tmp_path: Path, part: Any) -> None:
    run = bumphunt.open_run(root)
    written = run.export(tmp_path / "arrays", part)
    assert written == sorted((tmp_path / "arrays").glob("*/*.npy"))
    folder = root / ("im_arrays" if part == "all" else "im_arrays_processed")
    ending = "" if part == "all" else "_main"
    n_written = 0
    for channel in run.channels():
        path = tmp_path / "arrays" / f"{channel.name}.npy"
        masses = loaded(folder, f"{channel.name}{ending}")
        assert path.exists() is bool(len(masses))
        if path.exists():
            n_written += 1
            assert np.array_equal(np.load(path), masses)
    assert n_written == len(written) > 20


def test_export_takes_one_sample(both_samples: Path, tmp_path: Path) -> None:
    [path] = bumphunt.open_run(both_samples).export(tmp_path / "new" / "mc", sample="mc")
    assert np.load(path) == pytest.approx([80.0, 90.0], abs=0.01)


def test_export_fills_an_empty_folder(both_samples: Path, tmp_path: Path) -> None:
    assert len(bumphunt.open_run(both_samples).export(tmp_path)) == 1


def test_export_leaves_a_folder_with_files_alone(both_samples: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="expected an absent or empty folder"):
        bumphunt.open_run(both_samples).export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_that_fails_leaves_nothing(single: Path, tmp_path: Path) -> None:
    run = copy_of(single, tmp_path / "run")
    last = run / "im_arrays" / "parsed_demo_chunk4" / "2e_0m_0j_0g" / "e0e1.npy"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(DataError, match="found damage"):
        bumphunt.open_run(run).export(tmp_path / "arrays")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def copy_of(run: Path, target: Path) -> Path:
    """Return a copy of a run that may be changed."""
    return Path(shutil.copytree(run, target))


# Runs that are not finished, or that read other runs


@pytest.fixture(scope="module")
def without_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose masses are computed, and no more."""
    folder = tmp_path_factory.mktemp("unfinished")
    tasks = {"do_post_processing": False, "do_histogram_creation": False}
    return run_pipeline(demo_config(folder, tasks=tasks), folder / "run").root


def test_masses_are_there_before_the_plan(single: Path, without_plan: Path) -> None:
    run = bumphunt.open_run(without_plan)
    assert run.plan is None
    channels = run.channels()
    assert [c.name for c in channels] == [c.name for c in bumphunt.open_run(single).channels()]
    channel = run.channel("2e_0m_0j_0g/e0e1")
    assert channel.population == len(channel.masses()) > 100
    assert (channel.plan, channel.dropped, channel.accepted) == (None, None, None)
    assert channel.spectrum("all").sum() == channel.population


def test_a_main_part_before_post_processing_is_refused(without_plan: Path) -> None:
    channel = bumphunt.open_run(without_plan).channel("2e_0m_0j_0g/e0e1")
    with pytest.raises(BarrierError, match="run post_processing first"):
        channel.masses("main")
    with pytest.raises(DataError, match="post-processing has not begun"):
        channel.spectrum("main")


def test_reports_of_stages_that_are_not_complete_are_left_out(without_plan: Path) -> None:
    assert [*bumphunt.open_run(without_plan).reports()] == ["parsing", "mass_calculating"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.channels(),
        lambda run: next(run.events()),
        lambda run: run.samples,
        lambda run: run.origin(),
    ],
    ids=["channels", "events", "samples", "origin"],
)
def test_what_other_jobs_have_not_done_is_named(
    tmp_path: Path, ask: Callable[[bumphunt.Run], object]
) -> None:
    metadata = {"batch_job_index": 1, "total_batch_jobs": 2, "barrier_wait_seconds": 0.0}
    config = demo_config(tmp_path, run_metadata=metadata)
    paths = run_directory.open_run(config, tmp_path / "run", datetime.now(UTC))
    pipeline.run(config, paths, pipeline.slice_of(config), draws=False)
    with pytest.raises(BarrierError, match=r"missing: 2|run mass_calculating first"):
        ask(bumphunt.open_run(tmp_path / "run"))


def test_jobs_that_are_not_merged_have_masses_but_no_verdict(merged: Path, tmp_path: Path) -> None:
    run = copy_of(merged, tmp_path / "run")
    (run / "histograms" / "merged.json").unlink()
    channel = bumphunt.open_run(run).channel("2e_0m_0j_0g/e0e1")
    assert channel.accepted is None
    assert len(channel.masses("main")) > 10


def test_statistics_of_a_run_that_is_not_merged_are_refused(merged: Path, tmp_path: Path) -> None:
    run = copy_of(merged, tmp_path / "run")
    (run / "logs" / "aggregated_stats.json").unlink()
    with pytest.raises(DataError, match="expected a Statistics, found no such file"):
        bumphunt.open_run(run).statistics()


def test_masses_that_are_not_those_of_the_plan_are_refused(single: Path, tmp_path: Path) -> None:
    run = copy_of(single, tmp_path / "run")
    array = run / "im_arrays" / "parsed_demo_chunk4" / "2e_0m_0j_0g" / "e0e1.npy"
    np.save(array, np.load(array)[:-1])
    opened = bumphunt.open_run(run)
    for ask in (opened.channel("2e_0m_0j_0g/e0e1").masses, lambda: opened.export(tmp_path / "x")):
        with pytest.raises(DataError, match=r"masses \(all\) of 2e_0m_0j_0g/e0e1, found"):
            ask()


@pytest.fixture(scope="module")
def reading_another(single: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a run that post-processes the masses of another one, in bins of 5 GeV."""
    folder = tmp_path_factory.mktemp("absolute")
    config = demo_config(
        folder,
        tasks={"do_parsing": False, "do_mass_calculating": False},
        mass_calculation_task_config={"input_dir": str(single / "parsed_data")} | MASSES,
        post_processing_task_config={
            "input_dir": str(single / "im_arrays"),
            "split_outliers": False,
        },
        histogram_creation_task_config={"bin_width_gev": 5.0},
    )
    return run_pipeline(config, folder / "run").root


def test_what_a_run_reads_of_another_is_found_there(single: Path, reading_another: Path) -> None:
    run = bumphunt.open_run(reading_another)
    channel = run.channel("2e_0m_0j_0g/e0e1")
    stored = loaded(single / "im_arrays", "2e_0m_0j_0g/e0e1")
    assert np.array_equal(channel.masses(), stored)
    processed = loaded(reading_another / "im_arrays_processed", "2e_0m_0j_0g/e0e1_main")
    assert np.array_equal(channel.masses("main"), processed)
    assert len(channel.masses("outliers")) == 0
    assert sum(len(events) for events in run.events()) == len(parsed_pt(single, "Muons"))
    assert set(channel.spectrum().axes[0].widths) == {5.0}
    assert channel.accepted is not None


# What cannot be had


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a run's directory"):
        bumphunt.open_run(tmp_path)


def test_an_unknown_channel_is_refused_with_near_names(single: Path) -> None:
    with pytest.raises(DataError, match="did you mean '2e_0m_0j_0g/e0e1'"):
        bumphunt.open_run(single).channel("2e_0m_0j_0g/e0e9")


def test_a_channel_like_no_other_is_refused_with_their_number(single: Path) -> None:
    run = bumphunt.open_run(single)
    with pytest.raises(DataError, match=rf"its {len(run.channels())} channels of data, found 'Z'"):
        run.channel("Z")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.channels("simulation"), "neither of data and mc"),
        (lambda run: run.channels()[0].masses("tail"), "not a part of a channel"),
        (lambda run: next(run.events(types=["Electron"])), "did you mean 'Electrons'"),
    ],
    ids=["sample", "part", "type"],
)
def test_a_word_that_means_nothing_is_refused(
    single: Path, ask: Callable[[bumphunt.Run], object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        ask(bumphunt.open_run(single))

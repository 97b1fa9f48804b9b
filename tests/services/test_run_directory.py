"""Where a run is written."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config, load
from schemas.errors import ConfigError, StorageError
from schemas.inputs import Sample, Slice
from services import run_directory
from tests.factory import make_config

NOW = datetime(2026, 3, 4, 5, 6, 7)  # noqa: DTZ001 - folder names are in local time


def config_of(tmp_path: Path, **sections: Any) -> Config:
    sections.setdefault("run_metadata", {"base_output_dir": str(tmp_path / "runs")})
    sections.setdefault("parsing_task_config", {"release_years": ["demo"]})
    return make_config(sections, tmp_path)


def test_a_run_is_named_by_the_second_it_begins(tmp_path: Path) -> None:
    run = run_directory.open_run(config_of(tmp_path), None, NOW)
    assert run.root == tmp_path / "runs" / "atlas_opendata_20260304_050607"
    assert run.root.is_dir()


def test_runs_of_the_same_second_get_a_suffix(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    names = [run_directory.open_run(config, None, NOW).root.name for _ in range(3)]
    assert names == [
        "atlas_opendata_20260304_050607",
        "atlas_opendata_20260304_050607_2",
        "atlas_opendata_20260304_050607_3",
    ]


def test_a_relative_output_folder_starts_at_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, run_metadata={"base_output_dir": "here", "run_name": "mine"})
    run = run_directory.open_run(config, None, NOW)
    assert run.root == tmp_path / "here" / "mine_20260304_050607"


@pytest.mark.parametrize("exists", [False, True], ids=["absent", "empty"])
def test_a_chosen_directory_is_used_as_it_is(tmp_path: Path, exists: bool) -> None:
    chosen = tmp_path / "deep" / "chosen"
    if exists:
        chosen.mkdir(parents=True)
    assert run_directory.open_run(config_of(tmp_path), chosen, NOW).root == chosen


def test_a_chosen_directory_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_directory.open_run(config_of(tmp_path), Path("chosen"), NOW).root.is_absolute()


def test_an_occupied_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="chosen: expected"):
        run_directory.open_run(config_of(tmp_path), chosen, NOW)
    assert [path.name for path in chosen.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: expected a directory, found a file"):
        run_directory.open_run(config_of(tmp_path), tmp_path / "file", NOW)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="run: the run directory cannot be made"):
        run_directory.open_run(config_of(tmp_path), tmp_path / "file" / "run", NOW)


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = config_of(tmp_path, run_metadata={"base_output_dir": str(tmp_path / "file" / "runs")})
    with pytest.raises(StorageError, match="runs: cannot be written"):
        run_directory.open_run(config, None, NOW)


def test_the_resolved_configuration_lies_in_the_run(tmp_path: Path) -> None:
    config = config_of(tmp_path, parsing_task_config={"local_files": {"cms-nanoaod": ["a.root"]}})
    run = run_directory.open_run(config, None, NOW)
    assert load(run.config_file) == config
    assert run.config_file == run.root / "config.yaml"


STANDARD = {
    "parsed_data": "parsed_data",
    "masses_input": "parsed_data",
    "masses": "im_arrays",
    "processing_input": "im_arrays",
    "processed": "im_arrays_processed",
    "histograms_input": "im_arrays_processed",
    "histograms": "histograms",
    "file_list": "metadata_cache.json",
    "logs": "logs",
}


@pytest.mark.parametrize(("attribute", "name"), STANDARD.items(), ids=STANDARD)
def test_a_relative_stage_path_is_always_the_standard_folder(
    tmp_path: Path, attribute: str, name: str
) -> None:
    keys = ("parsed_data", "im_arrays", "im_arrays_processed", "histograms", "jobs_logs")
    given = {f"{key}_path": f"elsewhere/{key}" for key in (*keys, "metadata_cache")}
    run = run_directory.layout(tmp_path, config_of(tmp_path, paths=given))
    assert getattr(run, attribute) == tmp_path / name


ABSOLUTE = {
    "parsed_data": ("parsing_task_config", "output_path"),
    "file_list": ("parsing_task_config", "file_urls_path"),
    "logs": ("parsing_task_config", "jobs_logs_path"),
    "masses_input": ("mass_calculation_task_config", "input_dir"),
    "masses": ("mass_calculation_task_config", "output_dir"),
    "processing_input": ("post_processing_task_config", "input_dir"),
    "processed": ("post_processing_task_config", "output_dir"),
    "histograms_input": ("histogram_creation_task_config", "input_dir"),
    "histograms": ("histogram_creation_task_config", "output_dir"),
}


@pytest.mark.parametrize(("attribute", "where"), ABSOLUTE.items(), ids=ABSOLUTE)
def test_an_absolute_stage_path_is_used_as_it_is_and_alone(
    tmp_path: Path, attribute: str, where: tuple[str, str]
) -> None:
    section, key = where
    keys: dict[str, Any] = {key: "/other/run/folder"}
    if section == "parsing_task_config":
        keys["release_years"] = ["demo"]
    run = run_directory.layout(tmp_path, config_of(tmp_path, **{section: keys}))
    assert getattr(run, attribute) == Path("/other/run/folder")
    others = {name: getattr(run, name) for name in STANDARD if name != attribute}
    assert others == {name: tmp_path / STANDARD[name] for name in others}


def test_a_home_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = config_of(tmp_path, mass_calculation_task_config={"input_dir": "~/old"})
    assert run_directory.layout(Path("/run"), config).masses_input == tmp_path / "old"


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        (Sample.DATA, "atlas_opendata_bumpnet.root"),
        (Sample.SIMULATION, "atlas_opendata_bumpnet_mc.root"),
    ],
)
def test_simulation_has_histograms_of_its_own(tmp_path: Path, sample: Sample, name: str) -> None:
    run = run_directory.layout(tmp_path, config_of(tmp_path))
    assert run.histogram_file(sample) == tmp_path / "histograms" / name


def test_what_slices_write_has_their_number() -> None:
    folder = Path("im_arrays")
    one, other = Slice(1, 12), Slice(11, 12)
    assert run_directory.slice_report(folder, one) == folder / "slice_1_of_12.json"
    spectra = {
        run_directory.summed_spectra(folder, part, sample)
        for part in (one, other)
        for sample in Sample
    }
    assert len(spectra) == 4


def test_what_belongs_to_a_chunk_has_its_name() -> None:
    folder, chunk = Path("im_arrays"), "parsed_demo_chunk1"
    assert run_directory.events_file(folder, chunk) == folder / "parsed_demo_chunk1.root"
    assert run_directory.chunk_report(folder, chunk) == folder / "parsed_demo_chunk1.json"
    assert run_directory.arrays_folder(folder, chunk) == folder / "parsed_demo_chunk1"

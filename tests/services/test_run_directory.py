"""Where a run is written."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config, load
from schemas.errors import ConfigError, StorageError
from schemas.inputs import Sample, Slice
from schemas.state import RunState, State
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


# A run that is continued


def test_a_run_is_opened_again_with_its_configuration_untouched(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    first = run_directory.open_run(config_of(tmp_path), chosen, NOW)
    before = first.config_file.read_bytes()
    later = config_of(tmp_path, histogram_creation_task_config={"bin_width_gev": 5.0})
    assert run_directory.open_run(later, chosen, NOW) == first
    assert first.config_file.read_bytes() == before
    assert [path.name for path in chosen.iterdir() if path.is_file()] == ["config.yaml"]


def test_the_run_does_not_keep_which_job_made_it(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    for index in (2, 1, 3):
        jobs = {"batch_job_index": index, "total_batch_jobs": 3}
        run = run_directory.open_run(config_of(tmp_path, run_metadata=jobs), chosen, NOW)
        metadata = load(run.config_file).run_metadata
        assert (metadata.batch_job_index, metadata.total_batch_jobs) == (None, 3)


OTHER_INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "release_years": ("parsing_task_config", {"local_files": {"cms-nanoaod": ["/a.root"]}}),
    "demo_events": ("parsing_task_config", {"release_years": ["demo"], "demo_events": 7}),
    "local_files": ("parsing_task_config", {"local_files": {"cms-nanoaod": ["/a.root"]}}),
    "max_files_to_process": (
        "parsing_task_config",
        {"release_years": ["demo"], "max_files_to_process": 3},
    ),
    "chunk_input_bytes": (
        "parsing_task_config",
        {"release_years": ["demo"], "chunk_input_bytes": 5},
    ),
    "total_batch_jobs": ("run_metadata", {"batch_job_index": 1, "total_batch_jobs": 2}),
}


@pytest.mark.parametrize("key", OTHER_INPUTS)
def test_other_inputs_chunks_or_slices_are_refused_with_the_key(tmp_path: Path, key: str) -> None:
    section, changed = OTHER_INPUTS[key]
    run_directory.open_run(config_of(tmp_path), tmp_path / "chosen", NOW)
    other = config_of(tmp_path, **{section: changed})
    with pytest.raises(ConfigError, match=rf"\n  {section}\.{key}: .* in the run, .* now"):
        run_directory.open_run(other, tmp_path / "chosen", NOW)


def leave(folder: Path, name: str, *states: State) -> None:
    """Leave a run whose jobs ended in these states."""
    (folder / name / "logs").mkdir(parents=True)
    (folder / name / "config.yaml").touch()
    for number, state in enumerate(states, 1):
        path = folder / name / "logs" / f"state_batch{number}.json"
        path.write_text(RunState(state=state, stages={}).model_dump_json())


@pytest.mark.parametrize(
    "states",
    [(), (State.FAILED,), (State.COMPLETED, State.WAITING), (State.PARSING, State.COMPLETED)],
    ids=["no state", "failed", "waiting", "killed"],
)
def test_the_newest_unfinished_run_is_found(tmp_path: Path, states: tuple[State, ...]) -> None:
    runs = tmp_path / "runs"
    leave(runs, "atlas_opendata_20260101_000000", State.FAILED)
    leave(runs, "atlas_opendata_20260102_000000", *states)
    leave(runs, "atlas_opendata_20260103_000000", State.COMPLETED, State.COMPLETED)
    found = run_directory.newest_unfinished(config_of(tmp_path))
    assert found == runs / "atlas_opendata_20260102_000000"


def test_of_runs_of_one_second_the_last_begun_is_the_newest(tmp_path: Path) -> None:
    for suffix in ("", "_2", "_9", "_10"):
        leave(tmp_path / "runs", f"atlas_opendata_20260101_000000{suffix}", State.FAILED)
    found = run_directory.newest_unfinished(config_of(tmp_path))
    assert found.name == "atlas_opendata_20260101_000000_10"


def test_a_run_of_another_name_is_not_continued(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    leave(runs, "atlas_opendata_20260101_000000", State.COMPLETED)
    leave(runs, "atlas_opendata_2_20260101_000000", State.FAILED)
    leave(runs, "atlas_opendata_2024_20260101_000000", State.FAILED)
    (runs / "atlas_opendata_20260102_000000").mkdir()
    with pytest.raises(
        ConfigError, match="unfinished run of the name 'atlas_opendata', found none"
    ):
        run_directory.newest_unfinished(config_of(tmp_path))


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


def test_a_final_state_can_have_histograms_of_its_own(tmp_path: Path) -> None:
    run = run_directory.layout(tmp_path, config_of(tmp_path))
    path = run.histogram_file(Sample.SIMULATION, "2e_0m")
    assert path == tmp_path / "histograms" / "atlas_opendata_bumpnet_2e_0m_mc.root"


def test_jobs_have_state_log_and_lock_of_their_own(tmp_path: Path) -> None:
    run = run_directory.layout(tmp_path, config_of(tmp_path))
    alone = [file(Slice()) for file in (run.state_file, run.log_file, run.lock_file)]
    assert [path.name for path in alone] == ["state.json", "pipeline.log", "slice_1_of_1.lock"]
    job = [file(Slice(2, 3)) for file in (run.state_file, run.log_file, run.lock_file)]
    names = ["state_batch2.json", "pipeline_batch2.log", "slice_2_of_3.lock"]
    assert [path.name for path in job] == names
    assert {path.parent for path in alone + job} == {tmp_path / "logs"}


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

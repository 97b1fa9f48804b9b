"""The configuration: its defaults, what it refuses, and how it says so."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from schemas import config as configuration
from schemas.config import (
    REPLACED_KEYS,
    SCHEMA_FILE,
    TASK_NAMES,
    Config,
    chosen_tasks,
    from_dict,
    is_multiple,
    load,
    to_yaml,
)
from schemas.errors import ConfigError

CHECKOUT = Path(__file__).parents[2]
SHIPPED = CHECKOUT / "config.yaml"
DEMO = "parsing_task_config: {release_years: [demo]}\n"

Load = Callable[[str], Config]
Complaints = Callable[[str], list[str]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a configuration file with this text."""

    def written_and_loaded(text: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return written_and_loaded


@pytest.fixture
def complaints(load_text: Load) -> Complaints:
    """Load a wrong configuration and return its complaints, one each."""

    def refused(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text)
        first, *rest = str(caught.value).split("\n")
        n_errors = re.search(r"config\.yaml: ([0-9]+) errors?$", first)
        assert n_errors
        assert int(n_errors[1]) == len(rest)
        return [line.strip() for line in rest]

    return refused


def demo_with(section: str, **keys: Any) -> str:
    """Return a configuration of the demo release with these keys in a section."""
    data: dict[str, dict[str, Any]] = {"parsing_task_config": {"release_years": ["demo"]}}
    data.setdefault(section, {}).update(keys)
    return yaml.safe_dump(data)


PARSING = "parsing_task_config"
MASSES = "mass_calculation_task_config"
PROCESSING = "post_processing_task_config"
HISTOGRAMS = "histogram_creation_task_config"

# Section, key, default: every fixed name.
DEFAULTS = [
    ("paths", "parsed_data_path", "parsed_data"),
    ("paths", "im_arrays_path", "im_arrays"),
    ("paths", "im_arrays_processed_path", "im_arrays_processed"),
    ("paths", "histograms_path", "histograms"),
    ("paths", "metadata_cache_path", "metadata_cache.json"),
    ("paths", "jobs_logs_path", "logs"),
    ("run_metadata", "run_name", "atlas_opendata"),
    ("run_metadata", "base_output_dir", "./output"),
    ("run_metadata", "batch_job_index", None),
    ("run_metadata", "total_batch_jobs", None),
    ("run_metadata", "barrier_wait_seconds", 120.0),
    ("tasks", "do_parsing", True),
    ("tasks", "do_mass_calculating", True),
    ("tasks", "do_post_processing", True),
    ("tasks", "do_histogram_creation", True),
    (PARSING, "output_path", "parsed_data"),
    (PARSING, "file_urls_path", "metadata_cache.json"),
    (PARSING, "jobs_logs_path", "logs"),
    (PARSING, "demo_events", 200_000),
    (PARSING, "specific_record_ids", ()),
    (PARSING, "local_files", {}),
    (PARSING, "parse_mc", False),
    (PARSING, "max_files_to_process", None),
    (PARSING, "threads", 8),
    (PARSING, "parallel_processes", None),
    (PARSING, "chunk_input_bytes", 500_000_000),
    (PARSING, "chunk_yield_threshold_bytes", 64_000_000),
    (PARSING, "count_retries_failed_files", 3),
    (PARSING, "fetching_metadata_timeout", 60),
    (PARSING, "max_failed_file_fraction", 0.0),
    (PARSING, "keep_partial_files", False),
    (PARSING, "show_progress_bar", True),
    (PARSING, "possible_data_tree_names", ()),
    (PARSING, "combine_releases", False),
    (MASSES, "input_dir", "parsed_data"),
    (MASSES, "output_dir", "im_arrays"),
    (MASSES, "field_to_slice_by", "pt"),
    (MASSES, "parallel_processes", None),
    (MASSES, "objects_to_calculate", ("Electrons", "Muons", "Jets", "Photons")),
    (MASSES, "final_state_objects", ("Electrons", "Muons", "Jets", "Photons")),
    (MASSES, "min_particles_in_combination", 2),
    (MASSES, "max_particles_in_combination", 4),
    (MASSES, "min_count_particle_in_combination", 1),
    (MASSES, "max_count_particle_in_combination", 4),
    (MASSES, "min_types_in_combination", None),
    (MASSES, "max_types_in_combination", None),
    (MASSES, "min_events_per_fs", 100),
    (MASSES, "include_subleading", False),
    (MASSES, "max_subleading_index", 1),
    (PROCESSING, "input_dir", "im_arrays"),
    (PROCESSING, "output_dir", "im_arrays_processed"),
    (PROCESSING, "peak_detection_bin_width_gev", 10.0),
    (PROCESSING, "max_mass_gev", 10_000.0),
    (PROCESSING, "remove_turn_on", True),
    (PROCESSING, "split_outliers", True),
    (HISTOGRAMS, "input_dir", "im_arrays_processed"),
    (HISTOGRAMS, "output_dir", "histograms"),
    (HISTOGRAMS, "binning", "fixed"),
    (HISTOGRAMS, "bin_width_gev", (10.0,)),
    (HISTOGRAMS, "min_bin_width_gev", 1.0),
    (HISTOGRAMS, "histogram_type", "TH1D"),
    (HISTOGRAMS, "single_output_file", True),
    (HISTOGRAMS, "output_filename", "atlas_opendata_bumpnet.root"),
    (HISTOGRAMS, "exclude_outliers", True),
    (HISTOGRAMS, "also_save_unprocessed", False),
    (HISTOGRAMS, "use_bumpnet_naming", True),
    (
        HISTOGRAMS,
        "histogram_name_template",
        "{prefix}mass_{combination}_cat_{category}_width_{width}",
    ),
]
TYPES = ("electrons", "muons", "jets", "photons", "taus", "bjets")


@pytest.mark.parametrize(
    ("section", "key", "default"), DEFAULTS, ids=[f"{row[0]}.{row[1]}" for row in DEFAULTS]
)
def test_every_key_has_its_fixed_default(
    load_text: Load, section: str, key: str, default: object
) -> None:
    assert getattr(getattr(load_text(DEMO), section), key) == default


def test_no_release_is_read_unless_it_is_named() -> None:
    config = from_dict({"tasks": {"do_parsing": False}}, where="test", folder=Path())
    assert config.parsing_task_config.release_years == ()


def test_four_objects_of_each_type_are_allowed(load_text: Load) -> None:
    counts = load_text(DEMO).parsing_task_config.particle_counts
    assert counts.model_dump() == {key: {"min": 0, "max": 4} for key in TYPES}


@pytest.mark.parametrize(
    ("key", "pt_min", "eta_max"),
    [
        ("electrons", 25.0, 2.47),
        ("muons", 25.0, 2.5),
        ("jets", 30.0, 4.5),
        ("photons", 25.0, 2.37),
        ("taus", 20.0, 2.5),
        ("bjets", 30.0, 4.5),
    ],
)
def test_each_type_has_its_default_cuts(
    load_text: Load, key: str, pt_min: float, eta_max: float
) -> None:
    cut = getattr(load_text(DEMO).parsing_task_config.kinematic_cuts, key)
    assert (cut.pt_min, cut.eta_max) == (pt_min, eta_max)


@pytest.mark.parametrize("key", ["particle_counts", "kinematic_cuts"])
def test_empty_braces_switch_a_selection_off(load_text: Load, key: str) -> None:
    selection = getattr(load_text(demo_with(PARSING, **{key: {}})).parsing_task_config, key)
    assert set(selection.model_dump().values()) == {None}


def test_a_type_that_is_not_named_has_no_cuts(load_text: Load) -> None:
    config = load_text(demo_with(PARSING, kinematic_cuts={"muons": {"pt_min": 10}}))
    cuts = config.parsing_task_config.kinematic_cuts
    assert (cuts.muons and cuts.muons.pt_min, cuts.muons and cuts.muons.eta_max) == (10.0, None)
    assert cuts.electrons is None


def test_the_shipped_configuration_states_the_defaults() -> None:
    assert load(SHIPPED) == from_dict(
        {PARSING: {"release_years": ["demo"]}}, where="test", folder=CHECKOUT
    )


def test_an_empty_section_is_all_defaults(load_text: Load) -> None:
    assert load_text(f"{DEMO}{MASSES}:\n{PROCESSING}: {{}}\n") == load_text(DEMO)


# Stage paths


@pytest.mark.parametrize(
    ("entry", "section", "key"),
    [
        ("parsed_data_path", PARSING, "output_path"),
        ("parsed_data_path", MASSES, "input_dir"),
        ("im_arrays_path", MASSES, "output_dir"),
        ("im_arrays_path", PROCESSING, "input_dir"),
        ("im_arrays_processed_path", PROCESSING, "output_dir"),
        ("im_arrays_processed_path", HISTOGRAMS, "input_dir"),
        ("histograms_path", HISTOGRAMS, "output_dir"),
        ("metadata_cache_path", PARSING, "file_urls_path"),
        ("jobs_logs_path", PARSING, "jobs_logs_path"),
    ],
)
def test_a_stage_path_that_is_left_out_takes_its_entry_in_paths(
    load_text: Load, entry: str, section: str, key: str
) -> None:
    config = load_text(f"{DEMO}paths: {{{entry}: /elsewhere}}\n")
    assert getattr(getattr(config, section), key) == "/elsewhere"


def test_a_stage_path_that_is_given_stands(load_text: Load) -> None:
    text = demo_with(MASSES, input_dir="/given") + "paths: {parsed_data_path: /elsewhere}\n"
    config = load_text(text)
    assert config.mass_calculation_task_config.input_dir == "/given"
    assert config.parsing_task_config.output_path == "/elsewhere"


# Unknown, replaced and unavailable keys


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (DEMO + "task: {}\n", "task: unknown key; did you mean 'tasks'?"),
        (
            demo_with(MASSES, min_event_per_fs=1),
            f"{MASSES}.min_event_per_fs: unknown key; did you mean 'min_events_per_fs'?",
        ),
        (
            demo_with(PARSING, particle_counts={"electron": {"min": 1}}),
            f"{PARSING}.particle_counts.electron: unknown key; did you mean 'electrons'?",
        ),
        (
            demo_with(PARSING, particle_counts={"electrons": {"mim": 1}}),
            f"{PARSING}.particle_counts.electrons.mim: unknown key; did you mean 'min'?",
        ),
        (
            demo_with(PARSING, kinematic_cuts={"jets": {"ptmin": 1}}),
            f"{PARSING}.kinematic_cuts.jets.ptmin: unknown key; did you mean 'pt_min'?",
        ),
    ],
    ids=["section", "key", "type", "count", "cut"],
)
def test_a_misspelt_key_is_told_with_its_place_and_the_likely_meaning(
    complaints: Complaints, text: str, complaint: str
) -> None:
    assert complaints(text) == [complaint]


def test_a_key_like_no_other_is_told_with_those_that_are_known(complaints: Complaints) -> None:
    (complaint,) = complaints(demo_with("tasks", xyz=True))
    assert complaint.startswith("tasks.xyz: unknown key; known: do_parsing, do_mass_calculating")


@pytest.mark.parametrize("section", ["", PARSING, MASSES])
@pytest.mark.parametrize(
    ("key", "replacement"),
    [
        ("use_multiprocessing", "parallel_processes: 1"),
        ("env_threshold_memory_mb", "chunk_yield_threshold_bytes"),
        ("create_dirs", "remove it"),
        ("testing_config", "max_files_to_process"),
        ("fs_chunk_threshold_bytes", "chunk_yield_threshold_bytes"),
        ("max_total_particles_in_combination", "max_particles_in_combination"),
    ],
)
def test_a_key_of_older_configurations_is_refused_with_its_replacement(
    complaints: Complaints, section: str, key: str, replacement: str
) -> None:
    text = demo_with(section, **{key: 1}) if section else DEMO + f"{key}: 1\n"
    (complaint,) = complaints(text)
    assert complaint.startswith(f"{section}.{key}: this key is no longer known; ".lstrip("."))
    assert replacement in complaint


def test_no_replaced_key_is_also_a_known_one() -> None:
    known = {key for key in REPLACED_KEYS if f'"{key}"' in configuration.json_schema()}
    assert not known


# Values


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        (PARSING, "demo_events", "8", "expected a valid integer"),
        (PARSING, "demo_events", 8.5, "expected a valid integer"),
        (PARSING, "demo_events", True, "expected a valid integer"),
        (PARSING, "demo_events", 0, "expected a value greater than or equal to 1"),
        (PARSING, "chunk_input_bytes", "8", "expected"),
        (PARSING, "chunk_input_bytes", "8 MeV", "expected"),
        (PARSING, "chunk_input_bytes", 0, "expected a value greater than 0"),
        (PARSING, "chunk_input_bytes", 0.5, "expected"),
        (PARSING, "max_failed_file_fraction", 1.1, "expected a value less than or equal to 1"),
        (PARSING, "max_failed_file_fraction", "0", "expected a valid number"),
        (PARSING, "show_progress_bar", "true", "expected a valid boolean"),
        (PARSING, "show_progress_bar", 1, "expected a valid boolean"),
        (PARSING, "release_years", "demo", "expected a list in brackets"),
        (PARSING, "particle_counts", 3, "expected a block of keys"),
        (PARSING, "kinematic_cuts", None, "expected a block of keys"),
        (PARSING, "overlap_removal", "atls", "expected 'default', 'atlas', 'cms' or 'none'"),
        (MASSES, "field_to_slice_by", "eta", "expected 'pt'"),
        (MASSES, "objects_to_calculate", "Electrons", "expected a list in brackets"),
        (PROCESSING, "max_mass_gev", "10000", "expected a valid number"),
        (PROCESSING, "max_mass_gev", float("inf"), "expected a finite number"),
        (PROCESSING, "peak_detection_bin_width_gev", 0.0, "expected a value greater than 0"),
        (HISTOGRAMS, "single_output_file", "no", "expected a valid boolean"),
        (HISTOGRAMS, "histogram_type", "TH2D", "expected 'TH1D' or 'TH1F'"),
        (HISTOGRAMS, "binning", "logarithmic", "expected 'fixed' or 'resolution'"),
        ("run_metadata", "barrier_wait_seconds", -1, "expected a value greater than or equal to 0"),
        (HISTOGRAMS, "output_filename", 5, "expected a valid string"),
        ("run_metadata", "run_name", 2024, "expected a valid string"),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_with_place_expectation_and_finding(
    complaints: Complaints, section: str, key: str, value: object, expected: str
) -> None:
    first = complaints(demo_with(section, **{key: value}))[0]
    assert first.startswith(f"{section}.{key}: {expected}")
    written = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    assert f"found {written}" in first


def test_a_wrong_value_is_told_with_the_meaning_and_default_of_its_key(
    complaints: Complaints,
) -> None:
    (complaint,) = complaints(demo_with(PARSING, demo_events="8"))
    assert complaint.endswith("How many events the demo release has. Default: 200000.")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (PARSING, "particle_counts"),
        (PARSING, "kinematic_cuts"),
        (PROCESSING, "known_resonances"),
        (HISTOGRAMS, "pt_resolution"),
        (HISTOGRAMS, "bumpnet_acceptance"),
    ],
)
def test_no_default_is_told_where_it_is_a_whole_block(
    complaints: Complaints, section: str, key: str
) -> None:
    (complaint,) = complaints(demo_with(section, **{key: 3}))
    assert f"{section}.{key}: expected a " in complaint
    assert "Default" not in complaint


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b"])
def test_a_run_name_that_is_no_folder_name_is_refused(complaints: Complaints, name: str) -> None:
    assert complaints(demo_with("run_metadata", run_name=name))[0].startswith(
        "run_metadata.run_name: "
    )


@pytest.mark.parametrize(
    ("written", "n_bytes"),
    [
        (1000, 1000),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        ("1.5 GB", 1_500_000_000),
        ("64 mb", 64_000_000),
        ("10 B", 10),
        ("2 kB", 2000),
    ],
)
def test_sizes_may_have_units(load_text: Load, written: object, n_bytes: int) -> None:
    config = load_text(demo_with(PARSING, chunk_input_bytes=written))
    assert config.parsing_task_config.chunk_input_bytes == n_bytes


@pytest.mark.parametrize("written", [1000, "500 MB", "1.5 GB", "64 mb", "8", "8 MeV", 0, True, ""])
def test_program_and_editor_agree_on_sizes(load_text: Load, written: object) -> None:
    text = demo_with(PARSING, chunk_input_bytes=written)
    schema = json.loads(configuration.json_schema())
    if jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text)):
        load_text(text)
    else:
        with pytest.raises(ConfigError):
            load_text(text)


@pytest.mark.parametrize("key", TYPES)
def test_a_pt_cut_in_mev_is_refused_with_the_value_in_gev(complaints: Complaints, key: str) -> None:
    (complaint,) = complaints(demo_with(PARSING, kinematic_cuts={key: {"pt_min": 25000}}))
    where = f"{PARSING}.kinematic_cuts.{key}.pt_min"
    assert complaint == f"{where}: cuts are in GeV: did you mean 25.0? (found 25000)"


def test_a_pt_cut_of_one_tev_is_allowed(load_text: Load) -> None:
    config = load_text(demo_with(PARSING, kinematic_cuts={"jets": {"pt_min": 1000}}))
    jets = config.parsing_task_config.kinematic_cuts.jets
    assert jets
    assert jets.pt_min == 1000.0


def test_a_pt_cut_that_is_no_number_is_refused(complaints: Complaints) -> None:
    cut = {"pt_min": float("nan"), "eta_max": float("nan")}
    assert len(complaints(demo_with(PARSING, kinematic_cuts={"jets": cut}))) == 2


def test_a_range_without_room_is_refused(complaints: Complaints) -> None:
    (complaint,) = complaints(demo_with(PARSING, particle_counts={"jets": {"min": 3, "max": 2}}))
    assert complaint.startswith(f"{PARSING}.particle_counts.jets: max (2) is below min (3)")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("min_particles_in_combination", "max_particles_in_combination"),
        ("min_count_particle_in_combination", "max_count_particle_in_combination"),
        ("min_types_in_combination", "max_types_in_combination"),
    ],
)
def test_bounds_without_room_are_refused(complaints: Complaints, low: str, high: str) -> None:
    (complaint,) = complaints(demo_with(MASSES, **{low: 4, high: 3}))
    assert complaint.startswith(f"{MASSES}: {high} (3) is below {low} (4)")


def test_a_combination_of_one_object_is_read_as_of_two(load_text: Load) -> None:
    config = load_text(demo_with(MASSES, min_particles_in_combination=1))
    assert config.mass_calculation_task_config.min_particles_in_combination == 2


def test_types_are_put_in_table_order(load_text: Load) -> None:
    config = load_text(demo_with(MASSES, objects_to_calculate=["Jets", "Electrons"]))
    masses = config.mass_calculation_task_config
    assert masses.objects_to_calculate == ("Electrons", "Jets")
    assert masses.final_state_objects == ("Electrons", "Jets")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"objects_to_calculate": ["Jets", "Jets"]}, "a type is named twice"),
        ({"objects_to_calculate": []}, "at least one type is needed"),
        ({"final_state_objects": ["Electrons"]}, "final_state_objects lacks Jets, Muons, Photons"),
        ({"objects_to_calculate": ["Jet"]}, "expected 'Electrons', 'Muons', 'Jets'"),
    ],
    ids=["twice", "none", "not counted", "misspelt"],
)
def test_types_that_cannot_be_meant_are_refused(
    complaints: Complaints, keys: dict[str, object], complaint: str
) -> None:
    assert complaint in complaints(demo_with(MASSES, **keys))[0]


# The grid


@pytest.mark.parametrize(
    ("value", "unit", "fits"),
    [
        (10.0, 2.5, True),
        (10.0, 3.0, False),
        (0.3, 0.1, True),
        (5.0, 10.0, False),
        (10000.0, 1e-27, True),
        (1e300, 0.3, False),
    ],
)
def test_multiples_are_those_of_the_written_decimals(
    value: float, unit: float, *, fits: bool
) -> None:
    assert is_multiple(value, unit) is fits


def test_a_grid_ends_on_a_bin_edge(complaints: Complaints) -> None:
    (complaint,) = complaints(demo_with(PROCESSING, max_mass_gev=10005))
    assert complaint.startswith(f"{PROCESSING}: max_mass_gev (10005.0) is not a multiple of peak_")


def test_bin_widths_divide_the_grid(complaints: Complaints) -> None:
    (complaint,) = complaints(demo_with(HISTOGRAMS, bin_width_gev=[5, 3]))
    assert complaint.startswith(f"{HISTOGRAMS}.bin_width_gev: 3.0 does not divide {PROCESSING}.")


def test_one_bin_width_or_many(load_text: Load) -> None:
    one = load_text(demo_with(HISTOGRAMS, bin_width_gev=5))
    many = load_text(demo_with(HISTOGRAMS, bin_width_gev=[10, 2.5]))
    assert one.histogram_creation_task_config.bin_width_gev == (5.0,)
    assert many.histogram_creation_task_config.bin_width_gev == (10.0, 2.5)


@pytest.mark.parametrize("widths", [[], [5, 5], [-5], [0]], ids=str)
def test_bin_widths_that_cannot_be_meant_are_refused(
    complaints: Complaints, widths: list[float]
) -> None:
    first = complaints(demo_with(HISTOGRAMS, bin_width_gev=widths))[0]
    assert first.startswith(f"{HISTOGRAMS}.bin_width_gev")


# Configurations that mean nothing


NO_TASK = "tasks: {" + ", ".join(f"do_{name}: false" for name in TASK_NAMES) + "}\n"


def test_no_enabled_task_is_refused(complaints: Complaints) -> None:
    (complaint,) = complaints(DEMO + NO_TASK)
    assert complaint.startswith("tasks: no task is enabled; set at least one")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "names: {a: 1}\n", f"{PARSING}: {{local_files: {{cms-nanoaod: []}}}}\n"],
    ids=["empty file", "empty block", "only anchors", "layout without files"],
)
def test_nothing_to_read_is_refused(complaints: Complaints, text: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.startswith(f"{PARSING}: there is nothing to read; name input")


def test_without_parsing_nothing_needs_to_be_read(load_text: Load) -> None:
    assert load_text("tasks: {do_parsing: false}\n").tasks.enabled() == TASK_NAMES[1:]


def test_demo_beside_other_input_is_refused(complaints: Complaints) -> None:
    (complaint,) = complaints(demo_with(PARSING, local_files={"cms-nanoaod": ["a.root"]}))
    assert complaint.startswith(f"{PARSING}: release_years: [demo] gives generated events")


def test_an_unknown_layout_is_refused(complaints: Complaints) -> None:
    text = f"{PARSING}: {{local_files: {{cms-nanoaods: [a.root]}}}}\n"
    (complaint,) = complaints(text)
    assert complaint.startswith(f"{PARSING}.local_files.cms-nanoaods: 'cms-nanoaods' is not a data")
    assert "did you mean 'cms-nanoaod'?" in complaint


def test_all_errors_are_told_at_once(complaints: Complaints) -> None:
    told = complaints(
        """
        taks: {}
        use_multiprocessing: true
        run_metadata: {run_name: 5}
        parsing_task_config:
          release_years: [demo]
          demo_events: "8"
          bogus: 1
          kinematic_cuts: {jets: {pt_min: 30000}}
        mass_calculation_task_config: {create_dirs: true, min_events_per_fs: 0}
        post_processing_task_config: {max_mass_gev: 10005}
        tasks: {do_parsing: 1}
        """
    )
    assert {complaint.partition(": ")[0] for complaint in told} == {
        "taks",
        "use_multiprocessing",
        "run_metadata.run_name",
        f"{PARSING}.demo_events",
        f"{PARSING}.bogus",
        f"{PARSING}.kinematic_cuts.jets.pt_min",
        f"{MASSES}.create_dirs",
        f"{MASSES}.min_events_per_fs",
        PROCESSING,
        "tasks.do_parsing",
    }


def test_no_enabled_task_is_told_beside_other_errors(complaints: Complaints) -> None:
    told = complaints(demo_with(PARSING, bogus=1) + NO_TASK)
    assert [complaint.partition(":")[0] for complaint in told] == ["tasks", f"{PARSING}.bogus"]


# The file


def test_a_missing_file_is_told_with_the_option_that_names_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: expected a configuration file, found none"):
        load(tmp_path / "none.yaml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the configuration cannot be read"):
        load(tmp_path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("# pt größer als 25\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="expected a UTF-8 text file"):
        load(path)


NO_YAML = {
    "open bracket": "a: [1, 2",
    "tab": "a:\n\tb: 1",
    "bad indent": "a:\n  b: 1\n c: 2",
    "unknown anchor": "a: *missing",
    "no such date": "a: 2024-13-45",
    "python object": "a: !!python/object:os.system x",
    "null byte": "a: \0",
    "list as key": "? [a]\n: 1",
    "two documents": "a: 1\n---\nb: 2",
}


@pytest.mark.parametrize("text", NO_YAML.values(), ids=NO_YAML)
def test_bad_yaml_is_refused(load_text: Load, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: not valid YAML: .*; correct the file"):
        load_text(text)


@pytest.mark.parametrize(
    ("text", "kind"), [("- a", "list"), ("hello", "str"), ("5", "int")], ids=str
)
def test_a_file_without_blocks_is_refused(load_text: Load, text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"expected blocks such as .*, found {kind}"):
        load_text(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tasks: {}\ntasks: {}\n", "'tasks' is given twice, in lines 1 and 2"),
        ("tasks:\n  do_parsing: true\n  do_parsing: false\n", "'do_parsing' .* lines 2 and 3"),
        ("x-a: {b: {c: 1, c: 2}}\n", "'c' is given twice, in lines 1 and 1"),
    ],
    ids=["section", "key", "ignored block"],
)
def test_a_key_given_twice_is_refused(load_text: Load, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_text(text + DEMO)


def test_blocks_for_anchors_are_ignored(load_text: Load) -> None:
    assert load_text(DEMO + "names: {anything: 1}\nx-mine: [1, 2]\n") == load_text(DEMO)


def test_an_anchor_brings_its_value(load_text: Load) -> None:
    config = load_text(
        """
        names: {few: &few {min: 0, max: 2}, tree: &tree mytree}
        parsing_task_config:
          release_years: [demo]
          possible_data_tree_names: [*tree]
          particle_counts: {jets: *few, muons: *few}
        """
    )
    parsing = config.parsing_task_config
    assert parsing.possible_data_tree_names == ("mytree",)
    assert parsing.particle_counts.jets == parsing.particle_counts.muons
    assert parsing.particle_counts.jets
    assert parsing.particle_counts.jets.max == 2


@pytest.mark.parametrize(
    "anchors",
    [
        "names: {any: &any {min: 1, max: 9}, few: &few {<<: *any, max: 2}}",
        "names:\n  any: &any {min: 1, max: 9}\n  few: &few {<<: *any, max: 2}",
        "names:\n  deep:\n    any: &any {min: 1, max: 9}\n    few: &few {<<: *any, max: 2}",
    ],
    ids=["one line", "lines", "deep"],
)
def test_a_merged_anchor_may_be_overridden(load_text: Load, anchors: str) -> None:
    parsing = "parsing_task_config: {release_years: [demo], particle_counts: {jets: *few}}"
    config = load_text(f"{anchors}\nx-more: {{<<: *few}}\n{parsing}\n")
    jets = config.parsing_task_config.particle_counts.jets
    assert jets
    assert (jets.min, jets.max) == (1, 2)


def test_input_paths_start_at_the_file(load_text: Load, tmp_path: Path) -> None:
    text = f"{PARSING}: {{local_files: {{cms-nanoaod: [data/*.root, /abs/a.root]}}}}\n"
    assert load_text(text).parsing_task_config.local_files == {
        "cms-nanoaod": (f"{tmp_path}/data/*.root", "/abs/a.root")
    }


# The command line


def test_the_command_line_chooses_tasks(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(DEMO + "tasks: {do_parsing: true}\n", encoding="utf-8")
    chosen = {"tasks": chosen_tasks("histogram_creation, post_processing")}
    assert load(path, chosen).tasks.enabled() == ("post_processing", "histogram_creation")


@pytest.mark.parametrize("names", ["parse", "parsing,parse"])
def test_the_command_line_names_known_tasks(names: str) -> None:
    with pytest.raises(ConfigError, match=r"--tasks: 'parse' is not a task; did you mean 'parsing"):
        chosen_tasks(names)


def test_what_is_overridden_replaces_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(DEMO + "run_metadata: {run_name: mine, total_batch_jobs: 2}\n")
    config = load(path, {"run_metadata": {"batch_job_index": 3, "total_batch_jobs": 4}})
    metadata = config.run_metadata
    assert (metadata.run_name, metadata.batch_job_index, metadata.total_batch_jobs) == (
        "mine",
        3,
        4,
    )


def test_what_is_overridden_is_checked_like_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(DEMO)
    with pytest.raises(ConfigError, match=r"batch_job_index \(5\) is above total_batch_jobs \(4\)"):
        load(path, {"run_metadata": {"batch_job_index": 5, "total_batch_jobs": 4}})


# Written out again


ROUND_TRIPS = {
    "defaults": DEMO,
    "selections off": demo_with(PARSING, particle_counts={}, kinematic_cuts={}),
    "local files": f"{PARSING}: {{local_files: {{cms-nanoaod: [a.root], 2024r-pp: ['b*']}}}}\n",
    "sizes and widths": demo_with(PARSING, chunk_input_bytes="1 GB")
    + f"{HISTOGRAMS}: {{bin_width_gev: [2.5, 10]}}\n",
    "paths": DEMO + "paths: {im_arrays_path: /x}\n",
    "objects": demo_with(MASSES, objects_to_calculate=["Taus", "Muons"]),
    "letters of other scripts": DEMO + "paths: {im_arrays_path: größe}\n",
}


@pytest.mark.parametrize("text", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_a_resolved_configuration_is_read_back_equal(
    load_text: Load, tmp_path: Path, text: str
) -> None:
    config = load_text(text)
    resolved = tmp_path / "elsewhere" / "config.yaml"
    resolved.parent.mkdir()
    resolved.write_text(to_yaml(config), encoding="utf-8")
    assert load(resolved) == config


def test_a_configuration_cannot_be_changed(load_text: Load) -> None:
    config = load_text(DEMO)
    with pytest.raises(ValidationError, match="frozen"):
        config.tasks.do_parsing = False  # type: ignore[misc]


# The schema for editors


def test_the_schema_file_is_generated_from_the_models() -> None:
    stored = (CHECKOUT / "schemas" / SCHEMA_FILE).read_text(encoding="utf-8")
    assert stored == configuration.json_schema()


def test_the_shipped_configuration_names_the_schema_in_its_first_line() -> None:
    first = SHIPPED.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=schemas/{SCHEMA_FILE}"


@pytest.fixture(scope="module")
def editor() -> jsonschema.Draft202012Validator:
    schema = json.loads(configuration.json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_shipped_configuration_follows_the_schema(
    editor: jsonschema.Draft202012Validator,
) -> None:
    editor.validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        ({}, True),
        ({"names": {"a": 1}, "x-anything": []}, True),
        ({"namess": {}}, False),
        ({"taks": {}}, False),
        ({PARSING: {"demo_event": 8}}, False),
        ({PARSING: {"demo_events": "8"}}, False),
        ({PARSING: {"particle_counts": {"electron": {}}}}, False),
        ({PARSING: {"kinematic_cuts": {"jets": {"pt_mni": 5}}}}, False),
        ({HISTOGRAMS: {"bin_width_gev": 5}}, True),
        ({HISTOGRAMS: {"bin_width_gev": [5, 10]}}, True),
    ],
    ids=str,
)
def test_an_editor_sees_what_is_wrong(
    editor: jsonschema.Draft202012Validator, data: dict[str, object], *, valid: bool
) -> None:
    assert editor.is_valid(data) is valid


def test_every_key_explains_itself() -> None:
    schema = json.loads(configuration.json_schema())
    silent = [
        f"{name}.{key}"
        for name, block in [("Config", schema), *schema["$defs"].items()]
        for key, described in block["properties"].items()
        if "description" not in described
    ]
    assert silent == []


# Slips that are made often


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "parsing_task_config:\n\trelease_years: [demo]",
            "line 2, column 1: .*spaces, not with tabs",
        ),
        (
            "parsing_task_config:\n  demo_events: 5\n   threads: 5",
            "line 3, column 11: .*indented as it should be",
        ),
        ("parsing_task_config: {release_years: demo}", r"found 'demo': write \[demo\]"),
        ("release_years: [demo]", "release_years: unknown key; it belongs to parsing_task_config"),
        (
            "parsing_task_config: {kinematic_cuts: {jets: {pt_min: 25,5}}}",
            "a decimal number has a point, not a comma",
        ),
        (
            "histogram_creation_task_config: {bin_width_gev: -10}",
            "bin_width_gev.0: expected a value greater than 0, found -10. .*Bin width in GeV",
        ),
        ("post_processing_task_config: {max_mass_gev: 1e4}", "text: write 10000.0"),
        ("parsing_task_config: {demo_events: '5'}", "text: write 5. "),
    ],
    ids=["tab", "indentation", "list", "section", "comma", "negative width", "1e4", "quotes"],
)
def test_a_frequent_slip_is_told_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_a_list_of_one_wrong_item_is_one_error(complaints: Complaints) -> None:
    assert len(complaints(demo_with(HISTOGRAMS, bin_width_gev=[-10]))) == 1

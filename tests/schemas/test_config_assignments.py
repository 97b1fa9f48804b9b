"""Single keys that the command line sets: `--set section.key=value`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config, load, read_assignments
from schemas.errors import ConfigError

SHORT = "parsing_task_config: {release_years: [demo]}\n"


def loaded(tmp_path: Path, *assigned: str, text: str = SHORT) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path, assigned=read_assignments(assigned))


def complaint(tmp_path: Path, *assigned: str, text: str = SHORT) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, *assigned, text=text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("assigned", "section", "key", "value"),
    [
        ("mass_calculation_task_config.min_events_per_fs=7", "mass_", "min_events_per_fs", 7),
        (
            "parsing_task_config.max_failed_file_fraction=0.25",
            "pars",
            "max_failed_file_fraction",
            0.25,
        ),
        ("parsing_task_config.chunk_input_bytes=5 MB", "pars", "chunk_input_bytes", 5_000_000),
        ("parsing_task_config.release_years=[2024r-pp]", "pars", "release_years", ("2024r-pp",)),
        ("parsing_task_config.max_cache_gb=null", "pars", "max_cache_gb", None),
        ("parsing_task_config.max_cache_gb=", "pars", "max_cache_gb", None),
        ("tasks.do_parsing=false", "tasks", "do_parsing", False),
        ("run_metadata.run_name=a=b", "run_", "run_name", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_is_read_as_in_a_configuration(
    assigned: str, section: str, key: str, value: Any, tmp_path: Path
) -> None:
    if "a=b" in assigned:
        assert "found 'a=b'" in complaint(tmp_path, assigned)
        return
    config = loaded(tmp_path, assigned)
    (block,) = (getattr(config, name) for name in Config.model_fields if name.startswith(section))
    assert getattr(block, key) == value


def test_what_is_set_replaces_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    text = "parsing_task_config: {release_years: [demo], demo_events: 5, threads: 3}"
    parsing = loaded(tmp_path, "parsing_task_config.demo_events=6", text=text).parsing_task_config
    assert (parsing.demo_events, parsing.threads) == (6, 3)


def test_of_two_values_for_one_key_the_last_counts(tmp_path: Path) -> None:
    key = "parsing_task_config.demo_events"
    assert loaded(tmp_path, f"{key}=1", f"{key}=2").parsing_task_config.demo_events == 2


def test_an_inner_key_leaves_the_defaults_beside_it(tmp_path: Path) -> None:
    plain = loaded(tmp_path).parsing_task_config.kinematic_cuts
    cuts = loaded(
        tmp_path, "parsing_task_config.kinematic_cuts.jets.pt_min=50"
    ).parsing_task_config.kinematic_cuts
    assert plain.jets is not None
    assert cuts == plain.model_copy(update={"jets": plain.jets.model_copy(update={"pt_min": 50.0})})


def test_an_inner_key_leaves_what_the_file_says_beside_it(tmp_path: Path) -> None:
    text = SHORT + "histogram_creation_task_config: {bumpnet_acceptance: {min_sum: 3}}"
    assigned = "histogram_creation_task_config.bumpnet_acceptance.min_bins=9"
    rule = loaded(tmp_path, assigned, text=text).histogram_creation_task_config.bumpnet_acceptance
    assert (rule.min_sum, rule.min_bins, rule.last_bin_above) == (3.0, 9, 0.35)


def test_a_key_inside_of_what_is_null_makes_the_block(tmp_path: Path) -> None:
    parsing = loaded(tmp_path, "parsing_task_config.trigger.any=[trigE]").parsing_task_config
    assert parsing.trigger is not None
    assert parsing.trigger.any == ("trigE",)


def test_setting_one_alias_of_an_anchor_leaves_the_others(tmp_path: Path) -> None:
    text = (
        "parsing_task_config:\n  release_years: [demo]\n  particle_counts:\n"
        "    electrons: &few {max: 2}\n    muons: *few\n"
    )
    counts = loaded(
        tmp_path, "parsing_task_config.particle_counts.muons.max=3", text=text
    ).parsing_task_config.particle_counts
    assert counts.electrons is not None
    assert counts.muons is not None
    assert (counts.electrons.max, counts.muons.max) == (2, 3)


@pytest.mark.parametrize(
    ("assigned", "said"),
    [
        ("parsing_task_config.demo_event=5", "unknown key; did you mean 'demo_events'?"),
        ("parsing_task_confg.demo_events=5", "unknown key; did you mean 'parsing_task_config'?"),
        (
            "parsing_task_config.min_events_per_fs=5",
            "unknown key; it belongs to mass_calculation_task_config",
        ),
        (
            "histogram_creation_task_config.bumpnet_acceptance.min_entries=5",
            "unknown key; did you mean 'min_bins'?",
        ),
        ("parsing_task_config.kinematc_cuts.jets.pt_min=3", "did you mean 'kinematic_cuts'?"),
        ("parsing_task_config.demo_events=many", "expected a valid integer, found 'many'"),
        ("parsing_task_config.demo_events=null", "expected a valid integer, found null"),
        ("parsing_task_config.kinematic_cuts.jets.pt_min=25000", "did you mean 25.0?"),
        ("parsing_task_config.particle_counts.jets.min=9", "max (4) is below min (9)"),
        ("post_processing_task_config.max_mass_gev=1e4", "reads as text: write 10000.0"),
        ("parsing_task_config.use_multiprocessing=true", "`parallel_processes: 1` is one process"),
    ],
)
def test_a_wrong_assignment_is_told_as_the_file_would_be_with_the_option_named(
    assigned: str, said: str, tmp_path: Path
) -> None:
    header, line = complaint(tmp_path, assigned).splitlines()
    assert header == "command line: 1 error"
    assert line.startswith(f"  --set {assigned.split('.', maxsplit=1)[0]}")
    assert said in line


@pytest.mark.parametrize(
    ("assigned", "said"),
    [
        ("demo_events", "--set: expected section.key=value, found 'demo_events'"),
        ("a..b=1", "--set: expected section.key=value, found 'a..b=1'"),
        ("demo_events=1", "found no section; it belongs to parsing_task_config"),
        ("tasks={}", "found no key; name one of its keys: do_parsing, do_mass_calculating"),
        ("tasks.do_parsing=[1", "--set tasks.do_parsing: not valid YAML: line 1, column"),
    ],
)
def test_what_is_no_assignment_is_refused(assigned: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_assignments([assigned])
    assert said in str(refused.value)


def test_all_that_is_no_assignment_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)command line: 2 errors.*'one'.*'two'"):
        read_assignments(["one", "tasks.do_parsing=true", "two"])


def test_wrong_assignments_and_a_wrong_file_are_told_at_once(tmp_path: Path) -> None:
    said = complaint(
        tmp_path, "parsing_task_config.threads=0", text="parsing_task_config: {demo_event: 5}"
    )
    header, *lines = said.splitlines()
    assert header.endswith("config.yaml with --set parsing_task_config.threads: 2 errors")
    assert sorted(line.split(":")[0] for line in lines) == [
        "  --set parsing_task_config.threads",
        "  parsing_task_config.demo_event",
    ]


def test_what_does_not_fit_together_names_file_and_option(tmp_path: Path) -> None:
    said = complaint(tmp_path, "histogram_creation_task_config.bin_width_gev=3")
    assert "config.yaml with --set histogram_creation_task_config.bin_width_gev: 1 err" in said
    assert "3.0 does not divide" in said


def test_a_list_has_no_inner_keys(tmp_path: Path) -> None:
    said = complaint(
        tmp_path,
        "post_processing_task_config.known_resonances.0.name=W",
        text=(SHORT + "post_processing_task_config: {known_resonances: []}"),
    )
    assert "--set post_processing_task_config.known_resonances.0.name: expected keys in" in said
    assert "found []; set it whole" in said

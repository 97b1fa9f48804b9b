"""The dry run: what is said of a configuration, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from main import main
from schemas.config import Config, from_dict
from services.dry_run import dry_run
from tests.factory import make_config, run_pipeline, write_nanoaod

CHECKOUT = Path(__file__).parents[2]


def config_of(**sections: Any) -> Config:
    sections.setdefault("parsing_task_config", {"release_years": ["demo"]})
    return from_dict(sections, where="test", folder=CHECKOUT)


def test_the_shipped_configuration_is_ok(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(CHECKOUT / "config.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("OK\n")
    assert "65 combinations of Electrons, Muons, Jets, Photons" in said
    assert list(tmp_path.iterdir()) == []


def test_overlap_removal_comes_first_among_the_cuts_with_how_to_turn_it_off() -> None:
    lines = dry_run(config_of()).lines
    first = lines.index("selection:") + 2
    assert "overlap removal (cms)" in lines[first]
    assert "`overlap_removal: none` turns it off" in lines[first]


def test_resonances_are_listed_with_where_they_are_tested() -> None:
    masses = {"objects_to_calculate": ["Electrons", "Muons"], "max_particles_in_combination": 2}
    said = str(dry_run(config_of(mass_calculation_task_config=masses)))
    assert "Z: tested in e0e1, m0m1; if detected, everything below 110 GeV is removed" in said
    assert "H: tested in no combination of this run" in said


def test_possible_channels_are_counted() -> None:
    # 0..2 electrons give one combination, e0e1, in the one state of two.
    parsing = {"release_years": ["demo"], "particle_counts": {"electrons": {"max": 2}}}
    masses = {"objects_to_calculate": ["Electrons"]}
    said = str(dry_run(config_of(parsing_task_config=parsing, mass_calculation_task_config=masses)))
    assert "up to 1 channels in 3 possible final states" in said


@pytest.mark.parametrize(
    ("sections", "warning"),
    [
        (
            {"parsing_task_config": {"release_years": ["demo"], "overlap_removal": "none"}},
            "demo: photons without overlap removal",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "overlap_removal": [{"remove": "jets", "near": ["electrons"], "delta_r": 0.2}],
                }
            },
            "demo: photons without overlap removal",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "kinematic_cuts": {"taus": {"pt_min": 99}},
                }
            },
            "kinematic_cuts.taus is set, but Taus are no part of the final states",
        ),
        (
            {"parsing_task_config": {"release_years": ["demo"], "max_files_to_process": 2}},
            "file_order: shuffled takes an unbiased sample",
        ),
        (
            {"mass_calculation_task_config": {"min_events_per_fs": 7}},
            "min_events_per_fs is 7: histograms with fewer than 100 entries",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "particle_counts": {"taus": {"min": 1}},
                }
            },
            "particle_counts.taus asks for at least 1",
        ),
        (
            {"post_processing_task_config": {"max_mass_gev": 200.0}},
            "bins of 10 GeV: at most 20 up to max_mass_gev, BumpNet takes 25 or more",
        ),
    ],
    ids=[
        "no overlap removal",
        "overlap removal without photons",
        "cut on unused type",
        "first files",
        "rare final states",
        "unused type",
        "few bins",
    ],
)
def test_what_is_probably_not_meant_is_a_warning(sections: dict[str, Any], warning: str) -> None:
    lines = dry_run(config_of(**sections)).lines
    warnings = lines[lines.index("warnings:") + 1 :]
    assert any(warning in line for line in warnings)


def test_the_shipped_configuration_is_without_doubts() -> None:
    assert "warnings:" not in dry_run(config_of()).lines


def test_local_files_are_counted_and_weighed(tmp_path: Path) -> None:
    for name, size in (("a", 700), ("b", 800)):
        (tmp_path / f"{name}.root").write_bytes(b"x" * size)
    parsing = {"local_files": {"cms-nanoaod": [str(tmp_path / "*.root")]}}
    lines = dry_run(config_of(parsing_task_config=parsing)).lines
    assert f"  {tmp_path}/*.root: 2 files, 1.5kB" in lines


def test_cuts_have_units() -> None:
    cut = {"pt_min": 25, "eta_exclude": [1.37, 1.52], "field_max": {"dz": 0.2}}
    parsing = {"release_years": ["demo"], "kinematic_cuts": {"muons": cut}}
    lines = dry_run(config_of(parsing_task_config=parsing)).lines
    assert "  demo: muons: pt >= 25 GeV, |eta| outside 1.37-1.52, dz <= 0.2" in lines


@pytest.mark.parametrize(
    ("masses", "said"),
    [
        ({}, "ranks with gaps, such as e0e2 without e1"),
        ({}, "such as e1e2 (include_subleading: false)"),
        (
            {"include_subleading": True, "max_subleading_index": 2},
            "beyond rank 2, such as e2e3 (max_subleading_index: 2)",
        ),
        ({"objects_to_calculate": ["Jets"]}, "such as j0j2 without j1"),
    ],
)
def test_what_is_not_made_is_told_with_the_reason(masses: dict[str, Any], said: str) -> None:
    assert said in str(dry_run(config_of(mass_calculation_task_config=masses)))


def test_the_sample_of_a_name_is_one_that_this_run_can_make() -> None:
    masses = {"objects_to_calculate": ["Muons"], "final_state_objects": ["Muons", "Jets"]}
    said = str(dry_run(config_of(mass_calculation_task_config=masses)))
    assert "named like mass_m0m1_cat_2mx_0jx_width_10.0, for BumpNet ROI_mass_m0m1" in said


def test_all_that_is_wrong_is_named_at_once() -> None:
    parsing = {"local_files": {"cms-nanoaod": ["no/such/*.root"]}}
    masses = {"objects_to_calculate": ["Electrons"], "max_count_particle_in_combination": 1}
    config = config_of(parsing_task_config=parsing, mass_calculation_task_config=masses)
    problems = "\n".join(dry_run(config).problems)
    assert "expected files, found none for" in problems
    assert "leave no combination at all" in problems


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        (
            {"parsing_task_config": {"release_years": ["2016e-8tev"]}},
            "the layout 2016e-8tev has no Photons, so every file would fail",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["2024r-pp"],
                    "specific_record_ids": [30529],
                }
            },
            "found 2024r-pp (ATLAS, 13 TeV) and cms-nanoaod (CMS); run them apart",
        ),
        (
            {"parsing_task_config": {"specific_record_ids": [3860]}},
            "record 3860 cannot be read: it is one zip archive",
        ),
        (
            {
                "parsing_task_config": {
                    "release_years": ["demo"],
                    "particle_counts": {"bjets": {"min": 1}},
                }
            },
            "demo: particle_counts.bjets asks for at least 1, but enable_jet_tagging is false",
        ),
        (
            {"tasks": {"do_parsing": False}},
            "mass_calculating reads parsed_data of the run, which a new run does not have",
        ),
        (
            {"run_metadata": {"base_output_dir": "/proc/self/status"}},
            "expected a folder to write to, found /proc/self/status",
        ),
    ],
)
def test_what_could_not_succeed_is_a_problem(sections: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in dry_run(config_of(**sections)).problems)


def test_inputs_of_one_experiment_and_energy_may_be_read_together() -> None:
    parsing = {"release_years": ["2024r-pp", "2025e-13tev-beta"]}
    assert dry_run(config_of(parsing_task_config=parsing)).problems == ()


def test_problems_are_told_after_what_is_right_and_end_in_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("parsing_task_config: {local_files: {cms-nanoaod: [no/such.root]}}")
    assert main(["--config", str(path), "--dry-run"]) == 2
    said = capsys.readouterr()
    assert "65 combinations" in said.out
    assert not said.out.endswith("OK\n")
    assert "expected files, found none for" in said.err
    assert said.err.endswith("FAILED\n")


# What is left alone

AUDIT = """
import sys
seen = []
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
def watch(event, args):
    if event.startswith("socket."):
        seen.append((event, str(args)))
    elif event in WRITES:
        seen.append((event, str(args)))
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args)))
    elif event == "open" and args[1] is None and args[2] & 3:
        seen.append((event, str(args)))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from main import main
code = main(sys.argv[1:])
print(seen, file=sys.stderr)
sys.exit(code)
"""


def audited(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program and tell on stderr which sockets and files it opened, the latter to write."""
    return subprocess.run(
        [sys.executable, "-c", AUDIT, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_no_socket_is_opened_and_nothing_is_written(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "parsing_task_config: {release_years: [2024r-pp], specific_record_ids: [80010]}"
    )
    before = tree(tmp_path)
    done = audited(tmp_path, "--config", str(config), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("OK\n")
    assert done.stderr == "[]\n"
    assert tree(tmp_path) == before


def test_the_audit_sees_a_file_that_is_written(tmp_path: Path) -> None:
    done = audited(
        tmp_path,
        "--config",
        str(CHECKOUT / "config.yaml"),
        "--fetch-only",
        "--set",
        "parsing_task_config.demo_events=1",
    )
    assert "config.yaml" in done.stderr.splitlines()[-1]
    assert "os.mkdir" in done.stderr.splitlines()[-1]


# A run that is continued


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a small finished run."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_nanoaod(folder / "a.root", electrons=[[(45.0, 0, 0), (45.0, 0, 3)]] * 3)
    config = make_config(
        {"parsing_task_config": {"local_files": {"cms-nanoaod": [str(path)]}}}, folder
    )
    return run_pipeline(config, folder / "run").root


def outlook(run: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    """Return what is said of each stage."""
    before = tree(run)
    assert main(["--run-dir", str(run), "--dry-run", *more]) == 0
    assert tree(run) == before
    lines = capsys.readouterr().out.splitlines()
    stages = lines[lines.index("stages:") + 1 :]
    return dict(line.strip().split(": ", 1) for line in stages if ": " in line)


def test_a_finished_run_is_kept(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = outlook(finished, capsys)
    stages = ("fetching", "parsing", "mass_calculating", "post_processing", "histogram_creation")
    assert [said[name] for name in stages] == ["is done, and kept"] * 5


def test_a_changed_key_is_named_at_the_first_stage_that_it_changes(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "mass_calculation_task_config.min_events_per_fs"
    said = outlook(finished, capsys, "--set", f"{key}=2")
    assert said["parsing"] == "is done, and kept"
    assert said["mass_calculating"] == f"is done again: {key} was 1, is 2"
    assert said["post_processing"] == "is done again where mass_calculating makes something else"


def test_a_key_without_effect_changes_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = outlook(finished, capsys, "--set", "parsing_task_config.threads=2")
    assert said["parsing"] == "is done, and kept"


def test_a_stage_that_is_not_asked_for_is_skipped(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = outlook(finished, capsys, "--tasks", "histogram_creation")
    assert said["parsing"] == "is skipped"
    assert said["histogram_creation"] == "is done, and kept"


def test_what_fixes_the_cut_into_chunks_may_not_change(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "parsing_task_config.chunk_input_bytes"
    assert main(["--run-dir", str(finished), "--dry-run", "--set", f"{key}=7"]) == 2
    assert f"{key}: 500000000 in the run, 7 now" in capsys.readouterr().err


def test_a_run_that_is_not_there_yet_would_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(CHECKOUT / "config.yaml")]
    assert main([*config, "--run-dir", str(tmp_path / "new"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"a new run is made in {tmp_path / 'new'}" in said
    assert "parsing: runs" in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    config = ["--config", str(CHECKOUT / "config.yaml")]
    assert main([*config, "--run-dir", str(tmp_path), "--dry-run"]) == 2
    assert "expected an absent or empty directory or a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "block",
    [
        {"histogram_creation_task_config": {"bin_width_gev": 0}},
        {"histogram_creation_task_config": {"bin_width_gev": 3.0}},
        {
            "post_processing_task_config": {
                "known_resonances": [
                    {
                        "name": "X",
                        "mass_gev": 5.0,
                        "window_gev": [9.0, 4.0],
                        "combinations": ["e0e1"],
                        "action": "veto",
                    }
                ]
            }
        },
        {
            "post_processing_task_config": {
                "known_resonances": [
                    {
                        "name": "X",
                        "mass_gev": 5.0,
                        "window_gev": [4.0, 9.0],
                        "combinations": ["e0x1"],
                        "action": "veto",
                    }
                ]
            }
        },
    ],
    ids=["no width", "not a divisor", "window upside down", "unknown label"],
)
def test_what_cannot_be_meant_ends_with_exit_code_2(
    block: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"parsing_task_config": {"release_years": ["demo"]}, **block}))
    assert main(["--config", str(path), "--dry-run"]) == 2
    assert "config.yaml: " in capsys.readouterr().err

"""submit.sh, as it is, against a stand-in for a PBS server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from main import main
from schemas.config import load
from services import run_directory
from services.run_directory import RunDirectory
from tests.chain.identity import assert_identical
from tests.pbs import stand_in
from tests.pbs.stand_in import Server

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
CHAIN = ["parse", "masses", "histograms", "merge"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a user's folder on a node that has PBS; he is in it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for command in ("qsub", "qrls", "qdel"):
        program = programs / command
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in.__file__} {command} "$@"\n')
        program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PBS_STAND_IN", str(tmp_path / "pbs"))
    monkeypatch.setenv("JOB_ENVIRONMENT", "none")
    monkeypatch.setenv("PYTHON", sys.executable)
    (work / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return work


CONFIG: dict[str, dict[str, Any]] = {
    "run_metadata": {"barrier_wait_seconds": 0.0, "run_name": "demo"},
    "parsing_task_config": {
        "release_years": ["demo"],
        "demo_events": 4_000,
        "chunk_input_bytes": 60_000,
        "parallel_processes": 1,
    },
    "mass_calculation_task_config": {"parallel_processes": 1, "min_events_per_fs": 5},
}


def server() -> Server:
    return Server(Path(os.environ["PBS_STAND_IN"]))


def submit(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(CHECKOUT / "submit.sh"), *arguments],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_of(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    found = re.search(r"^run directory: (.*)$", done.stdout, re.MULTILINE)
    assert found
    return Path(found[1])


def paths_of(root: Path) -> RunDirectory:
    return run_directory.layout(root, load(root / "config.yaml"))


def one_job(folder: Path) -> RunDirectory:
    assert main(["--config", "config.yaml", "--run-dir", str(folder)]) == 0
    return paths_of(folder)


def test_a_chain_of_arrays_ends_with_the_merged_file(site: Path) -> None:
    root = run_of(submit(NUM_JOBS=2))
    assert root.parent == site / "output"
    pbs = server()
    assert [job["name"] for job in pbs.jobs.values()] == CHAIN
    assert list(pbs.jobs) == ["100[].pbshost", "101[].pbshost", "102[].pbshost", "103.pbshost"]
    assert [job["depends"] for job in pbs.jobs.values()] == [
        [],
        [["afterany", "100[].pbshost"]],
        [["afterany", "101[].pbshost"]],
        [["afterany", "102[].pbshost"]],
    ]
    pbs.run_all()
    assert [job["status"] for job in pbs.jobs.values()] == [0] * 4
    assert_identical(one_job(site / "single"), paths_of(root))
    assert (root / "plots" / "08_final_states.png").exists()
    outputs = {path.name for path in (root / "logs").glob("*.OU")}
    assert outputs == {f"{n}[{i}].pbshost.OU" for n in (100, 101, 102) for i in (1, 2)} | {
        "103.pbshost.OU"
    }
    (scripts,) = (root / "logs").glob("jobs_*")
    assert {path.stem for path in scripts.glob("*.sh")} == {*CHAIN}
    kept = (scripts / "job_ids").read_text().splitlines()
    assert kept == [f"{job['name']} {name}" for name, job in pbs.jobs.items()]
    table = submit("--status", str(root)).stdout.splitlines()
    assert table[2].split() == ["parsing", "2", "0", "0", "0"]
    assert table[-1].split() == ["merge", "1", "0", "0", "0"]


@pytest.mark.slow
def test_a_subjob_that_fails_stops_what_needs_it_and_the_merge_mends_it(site: Path) -> None:
    root = run_of(submit(NUM_JOBS=3))
    pbs = server()
    # The array's own status is 0 if another one ends last: nothing may go by it.
    pbs.run_all(fails={"parse": [2]})
    (masses,) = pbs.named("masses")
    assert masses["state"] == "F"
    said = (root / "logs" / "101[1].pbshost.OU").read_text()
    assert "expected 3 slices of parsing, found 2; missing: 2" in said
    (merge,) = pbs.named("merge")
    assert merge["status"] == 0
    assert "parsing: 1 of 3 slices: 2" in (root / "logs" / "103.pbshost.OU").read_text()
    assert_identical(one_job(site / "single"), paths_of(root))


@pytest.mark.slow
def test_only_what_is_missing_is_submitted_again(site: Path) -> None:
    root = run_of(submit(NUM_JOBS=3))
    pbs = server()
    pbs.run_all(fails={"parse": [1, 3], "merge": [None]})
    table = submit("--status", str(root)).stdout
    assert re.search(r"parsing +1 +0 +[0-2] +[0-2]", table)
    again = submit("--resume", str(root))
    assert run_of(again) == root
    pbs = server()
    parse = pbs.named("parse")[1]
    assert parse["indices"] == [1, 2]
    assert "slices=(1 3)" in Path(parse["script"]).read_text()
    pbs.run_all()
    assert pbs.named("merge")[1]["status"] == 0
    said = (root / "logs" / f"{pbs.named('merge')[1]['id']}.OU").read_text()
    assert said.splitlines()[0] == "complete"
    assert_identical(one_job(site / "single"), paths_of(root))


@pytest.mark.slow
def test_one_missing_slice_is_a_plain_job(site: Path) -> None:
    run_of(submit(NUM_JOBS=2))
    root = next((site / "output").iterdir())
    code = ["--batch-job-index", "2", "--total-batch-jobs", "2", "--tasks", "parsing"]
    assert main(["--run-dir", str(root), *code]) == 0
    run_of(submit("--resume", str(root)))
    parse = server().named("parse")[1]
    assert parse["indices"] is None
    assert "\nslice=1\n" in Path(parse["script"]).read_text()


@pytest.mark.slow
def test_one_job_is_a_plain_job(site: Path) -> None:
    root = run_of(submit())
    pbs = server()
    assert list(pbs.jobs) == ["100.pbshost"]
    pbs.run_all()
    assert pbs.jobs["100.pbshost"]["status"] == 0
    assert (root / "histograms" / "atlas_opendata_bumpnet.root").exists()
    assert site.exists()


@pytest.mark.slow
def test_the_file_list_is_made_where_the_network_is(site: Path) -> None:
    root = run_of(submit(NUM_JOBS=2))
    assert (root / "metadata_cache.json").exists()
    assert load(root / "config.yaml").run_metadata.total_batch_jobs == 2
    assert not (root / "parsed_data").exists()
    assert site.exists()


@pytest.mark.slow
def test_the_head_waits_until_the_chain_is_complete(site: Path) -> None:
    run_of(submit(NUM_JOBS=2))
    pbs = server()
    commands = [line.split()[0] for line in pbs.log if line.startswith("q")]
    assert commands == ["qsub"] * 4 + ["qrls"]
    assert pbs.log[0].startswith("qsub -h ")
    assert pbs.log[-1] == "qrls 100[].pbshost"
    assert site.exists()


def test_a_job_that_is_refused_takes_the_others_with_it(site: Path) -> None:
    pbs = server()
    pbs.settings["max_queued"] = 5
    pbs.save()
    done = submit(NUM_JOBS=2)
    assert done.returncode == 1
    assert "would exceed complex's per-user limit" in done.stderr
    assert "histograms could not be submitted; what was submitted is removed" in done.stderr
    pbs = server()
    removals = [line for line in pbs.log if line.startswith("qdel")]
    assert removals == ["qdel 101[].pbshost", "qdel 100[].pbshost"]
    assert {job["state"] for job in pbs.jobs.values()} == {"removed"}
    assert "by hand" not in done.stderr
    pbs.run_all()
    assert not any("ended with" in line for line in pbs.log)
    pbs.settings["max_queued"] = 100
    pbs.save()
    (root,) = (site / "output").iterdir()
    run_of(submit("--resume", str(root)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"QUEUE": "N"}, "Unknown queue"),
        ({"WALLTIME": "1-00:00:00"}, "Illegal attribute or resource value"),
        ({"SITE_OPTIONS": "-l io=5"}, "Unknown resource Resource_List.io"),
    ],
)
def test_what_the_site_does_not_have_is_told_in_its_words(
    site: Path, variables: dict[str, str], expected: str
) -> None:
    done = submit(NUM_JOBS=2, **variables)
    assert done.returncode == 1
    assert expected in done.stderr
    assert server().jobs == {}
    assert site.exists()


@pytest.mark.slow
def test_resources_are_written_as_given_and_no_others(site: Path) -> None:
    given = {"QUEUE": "long", "CPUS": 2, "MEMORY_GB": 3, "WALLTIME": "01:00:00"}
    run_of(submit(NUM_JOBS=2, SITE_OPTIONS="-l software=x\n-l place=free", **given))
    for job in server().jobs.values():
        lines = Path(job["script"]).read_text().splitlines()
        directives = [line for line in lines if line.startswith("#PBS")]
        assert "#PBS -q long" in directives
        assert "#PBS -l select=1:ncpus=2:mem=3gb" in directives
        assert directives[-2:] == ["#PBS -l software=x", "#PBS -l place=free"]
    assert site.exists()


def test_a_dry_run_prints_the_scripts_and_leaves_nothing(site: Path) -> None:
    done = submit(NUM_JOBS=2, DRY_RUN=1)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("==")] == [
        "parse.sh",
        "masses.sh,",
        "histograms.sh,",
        "merge.sh,",
    ]
    assert done.stdout.count("#PBS -J 1-2\n") == 3
    assert [path.name for path in site.iterdir()] == ["config.yaml"]
    assert server().log == []


def test_a_package_that_is_missing_is_named_with_the_command_that_mends_it(
    site: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare" / "bin" / "python3"
    bare.parent.mkdir(parents=True)
    bare.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} -S "$@"\n')
    bare.chmod(0o755)
    done = submit(PYTHON=bare)
    assert done.returncode == 2
    assert "numpy: expected 1.26.4 or newer, cannot be imported" in done.stderr
    assert re.search(r"-m pip install --user .*'numpy>=1.26.4'.*'uproot>=", done.stderr)
    assert server().jobs == {}
    assert not (site / "output").exists()


def test_a_wrong_configuration_submits_nothing(site: Path) -> None:
    (site / "config.yaml").write_text("parsing_task_confg: {}\n")
    done = submit(NUM_JOBS=2)
    assert done.returncode == 2
    assert "parsing_task_confg: unknown key" in done.stderr
    assert server().jobs == {}


def test_without_the_scheduler_nothing_is_made(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = site.parent / "few"
    programs.mkdir()
    for name in ("bash", "dirname", "basename", "env", "sed", "seq"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    done = submit(NUM_JOBS=2)
    assert done.returncode == 2
    assert "qsub is not on PATH" in done.stderr
    assert not (site / "output").exists()


def test_a_path_with_white_space_is_refused(site: Path) -> None:
    done = submit(NUM_JOBS=2, RUN_DIR=site / "my run")
    assert done.returncode == 2
    assert "expected a path without white space" in done.stderr
    assert server().jobs == {}


def environment_of(script: str) -> subprocess.CompletedProcess[str]:
    """Run what comes before the program in a job script, as a job begins, and print its PATH."""
    lines = [line for line in script.splitlines() if not line.startswith(("==", "exec ", "slice"))]
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", "\n".join([*lines, 'echo "$PATH ${VIEW:-none}"'])],
        env={"HOME": "/", "PBS_O_WORKDIR": "/"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_job_gets_the_software_view(site: Path) -> None:
    view = site.parent / "view"
    view.mkdir()
    # Scripts of views are not written for `set -u`.
    (view / "setup.sh").write_text('export VIEW="1$UNSET"; export PATH="/view/bin:$PATH"\n')
    done = submit(DRY_RUN=1, JOB_ENVIRONMENT="auto", LCG_VIEW=view)
    if (CHECKOUT / ".venv" / "bin" / "python").exists():
        assert f"{CHECKOUT}/.venv/bin/python" in done.stdout
        return
    assert environment_of(done.stdout).stdout == "/view/bin:/usr/local/bin:/usr/bin:/bin 1\n"


def test_a_job_gets_the_environment_of_the_checkout(site: Path) -> None:
    checkout = site.parent / "checkout"
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    shutil.copy(CHECKOUT / "submit.sh", checkout)
    done = subprocess.run(
        ["bash", str(checkout / "submit.sh")],
        env=os.environ | {"DRY_RUN": "1", "JOB_ENVIRONMENT": "auto"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"exec {python} {checkout}/main.py" in done.stdout
    found = environment_of(done.stdout).stdout
    assert found == f"{python.parent}:/usr/local/bin:/usr/bin:/bin none\n"


def test_without_an_environment_nothing_is_submitted(site: Path) -> None:
    if (CHECKOUT / ".venv" / "bin" / "python").exists():
        pytest.skip("the checkout has an environment of its own")
    done = submit(JOB_ENVIRONMENT="auto", LCG_VIEW=site / "none")
    assert done.returncode == 2
    assert "found neither; or set JOB_ENVIRONMENT=none" in done.stderr
    assert server().log == []

"""Whole runs over a network that fails: the same result, or a clear failure, and in time."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml

import main
from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.reports import FileStatus, ParseReport
from schemas.state import RunState, State
from services.catalogs import demo
from services.run_directory import RunDirectory, chunk_report
from services.storage import reports
from services.storage.locks import Holder
from services.termination import TERMINATED
from tests.factory import make_config, run_pipeline, write_nanoaod
from tests.servers import OpenDataServer, now_and_then
from tests.services.storage.test_locks import leave

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[2]
FAST: dict[str, Any] = {
    "specific_record_ids": [1],
    "request_read_timeout": 0.3,
    "request_total_timeout": 1.0,
    "request_backoff_seconds": 0.001,
    "show_progress_bar": False,
}
# Exit code and last word; after SIGTERM there may be no time left for one, on a busy machine.
ENDS = {signal.SIGINT: (main.INTERRUPTED, b"interrupted\n"), signal.SIGTERM: (TERMINATED, b"")}
FAULTS = ("503", "429", "reset", "short", "page", "stall body")


def put_events(server: OpenDataServer, folder: Path, n_files: int, n_events: int) -> None:
    """List a record of generated events."""
    n_made = demo.N_FILES
    demo.N_FILES = n_files
    try:
        paths = demo.write_demo_files(folder / "made", n_files * n_events)
    finally:
        demo.N_FILES = n_made
    server.record("1", [server.put(f"cms/{p.name}", p.read_bytes()) for p in paths])


def run(folder: Path, name: str, **parsing: Any) -> RunDirectory:
    config = make_config({"parsing_task_config": {**FAST, **parsing}}, folder)
    return run_pipeline(config, folder / name)


def result(paths: RunDirectory, sample: Sample = Sample.DATA) -> dict[str, Any]:
    """Return what must not depend on anything: histograms, plan and channels."""
    found: dict[str, Any] = {
        "plan": paths.plan_file.read_bytes(),
        "channels": paths.channel_table.read_bytes(),
    }
    with uproot.open(paths.histogram_file(sample)) as file:
        for key, kind in file.classnames().items():
            if kind.startswith("TH1"):
                histogram = file[key]
                found[key] = (
                    histogram.values(flow=True).tolist(),
                    histogram.axis().edges().tolist(),
                    histogram.member("fEntries"),
                    np.round(histogram.member("fTsumwx"), 6),
                )
    return found


@pytest.mark.parametrize("read_mode", ["stream", "download"])
def test_one_request_in_five_fails_and_the_histograms_are_the_same(
    server: OpenDataServer, tmp_path: Path, read_mode: str
) -> None:
    put_events(server, tmp_path, n_files=20, n_events=150)
    undisturbed = result(run(tmp_path, "undisturbed"))
    assert len(undisturbed) > 10
    server.requests.clear()
    server.fault = now_and_then(5, seed=11, faults=FAULTS)
    settings = {"request_retries": 8, "read_mode": read_mode, "max_failed_file_fraction": 0.0}
    assert result(run(tmp_path, "disturbed", **settings)) == undisturbed
    hit = [request for request in server.requests if request.fault]
    assert len(hit) > len(server.requests) / 10


@pytest.mark.parametrize("read_mode", ["stream", "download"])
def test_the_result_does_not_depend_on_threads(
    server: OpenDataServer, tmp_path: Path, read_mode: str
) -> None:
    put_events(server, tmp_path, n_files=4, n_events=200)
    settings = {"read_mode": read_mode, "chunk_input_bytes": 1}
    one = result(run(tmp_path, "one", threads=1, **settings))
    assert len(one) > 10
    assert result(run(tmp_path, "many", threads=8, parallel_processes=2, **settings)) == one


def test_a_file_is_read_on_from_where_it_failed(server: OpenDataServer, tmp_path: Path) -> None:
    put_events(server, tmp_path, n_files=2, n_events=3000)
    undisturbed = result(run(tmp_path, "undisturbed"))
    # Requests are not tried again, so that files have to be, amid their events.
    server.fault = now_and_then(6, seed=4, faults=["503", "reset", "damaged"])
    settings = {
        "request_retries": 0,
        "count_retries_failed_files": 40,
        "chunk_yield_threshold_bytes": 50_000,
        "metadata_max_age_days": 30,
    }
    assert result(run(tmp_path, "disturbed", **settings)) == undisturbed


def test_a_real_release_file_gives_the_same_from_the_catalog_as_from_disk(
    server: OpenDataServer, tmp_path: Path, real_data: Path
) -> None:
    content = (real_data / "atlas_physlite_mc.root").read_bytes()
    url = server.put("atlas/DAOD_PHYSLITE.1._000001.pool.root.1", content)
    server.release("2024r-pp", {"data": [], "700322": [url.replace(".ch/", ".ch:1094/")]})
    remote = {"specific_record_ids": [], "release_years": ["2024r-pp"], "parse_mc": "only"}
    far = run(tmp_path, "far", **remote)
    # The catalog leaves sizes out, so what is transferred is all that is known beforehand.
    assert server.sent < len(content)
    local = {"2024r-pp": [str(real_data / "atlas_physlite_mc.root")]}
    near = run(tmp_path, "near", specific_record_ids=[], local_files=local)
    assert result(far, Sample.SIMULATION) == result(near, Sample.SIMULATION)


def write_config(folder: Path, **parsing: Any) -> Path:
    blocks = {
        "parsing_task_config": {**FAST, "kinematic_cuts": {}, "particle_counts": {}, **parsing},
        "mass_calculation_task_config": {"min_events_per_fs": 1},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(blocks))
    return path


@pytest.mark.parametrize("n_files", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_half_of_the_files_are_dead(
    server: OpenDataServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], n_files: int
) -> None:
    content = write_nanoaod(
        tmp_path / "one.root", muons=[[(30.0, 0.0, 0.0), (40.0, 0.1, 2.0)]]
    ).read_bytes()
    urls = [server.put(f"cms/{number}.root", content) for number in range(n_files)]
    server.record("1", urls)
    dead = {f"/eos/opendata/cms/{number}.root" for number in range(1, n_files, 2)}
    server.fault = lambda request: "404" if request.path in dead else None
    root = tmp_path / "run"
    config = write_config(tmp_path)
    assert main.main(["--config", str(config), "--run-dir", str(root)]) == 1
    told = capsys.readouterr().err.partition("error: ")[2]
    assert told.startswith(f"parsing: {n_files // 2} of {n_files} files failed")
    named = re.findall(r"/cms/([0-9]+)\.root: the server answers 404", told)
    assert named == ["1", "3", "5"]
    assert f"and {n_files // 2 - 3} more, listed in the reports of parsed_data" in told
    report = reports.read(chunk_report(root / "parsed_data", "parsed_record_1_chunk1"), ParseReport)
    failed = [file for file in report.files if file.status is FileStatus.FAILED]
    assert len(failed) == n_files // 2
    assert all(file.reason and "404" in file.reason for file in failed)
    # What is gone is not asked for again.
    assert all(len(server.asked(path)) == 1 for path in list(dead)[:20])


@pytest.mark.parametrize(("allowed", "code"), [(0.5, 0), (0.49, 1)])
def test_so_many_failed_files_are_allowed(
    server: OpenDataServer, tmp_path: Path, allowed: float, code: int
) -> None:
    put_events(server, tmp_path, n_files=2, n_events=50)
    server.fault = lambda request: "404" if request.path.endswith("demo_1.root") else None
    config = write_config(tmp_path, max_failed_file_fraction=allowed)
    assert main.main(["--config", str(config), "--run-dir", str(tmp_path / "run")]) == code


@pytest.mark.parametrize("read_mode", ["stream", "download"])
def test_a_stalled_server_fails_within_the_time_out(
    server: OpenDataServer, tmp_path: Path, read_mode: str
) -> None:
    put_events(server, tmp_path, n_files=1, n_events=100)
    server.fault = lambda request: "stall" if request.path.startswith("/eos/") else None
    settings = {
        "request_read_timeout": 0.5,
        "request_retries": 1,
        "count_retries_failed_files": 0,
        "read_mode": read_mode,
    }
    started = time.monotonic()
    with pytest.raises(DataError, match="no answer within the time-out"):
        run(tmp_path, "run", **settings)
    # Two requests of half a second.
    assert 1.0 <= time.monotonic() - started < 5


def test_a_sample_of_shuffled_files_is_read(server: OpenDataServer, tmp_path: Path) -> None:
    put_events(server, tmp_path, n_files=12, n_events=20)
    paths = run(tmp_path, "run", max_files_to_process=4, file_order="shuffled")
    report = reports.read(chunk_report(paths.parsed_data, "parsed_record_1_chunk1"), ParseReport)
    names = [file.url.rpartition("/")[2] for file in report.files]
    assert len(set(names)) == 4
    assert names != [f"demo_{number}.root" for number in range(1, 5)]


@pytest.mark.parametrize(
    ("stalled", "settings"),
    [
        ("/api/", {}),
        ("/datasets", {"release_years": ["2024r-pp"], "specific_record_ids": []}),
        ("/eos/", {"read_mode": "stream"}),
        ("/eos/", {"read_mode": "download"}),
    ],
    ids=["record", "release", "stream", "download"],
)
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_at_once_what_waits_for_a_server(
    server: OpenDataServer,
    tmp_path: Path,
    stalled: str,
    settings: dict[str, Any],
    sent: signal.Signals,
) -> None:
    put_events(server, tmp_path, n_files=3, n_events=100)
    server.fault = lambda request: "stall" if request.path.startswith(stalled) else None
    patient = {"request_read_timeout": 25.0, "request_total_timeout": 25.0}
    config = write_config(tmp_path, **{**patient, **settings})
    command = [sys.executable, "main.py", "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--run-dir", str(tmp_path / "run")], cwd=CHECKOUT, stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 20
        while not server.asked(stalled) and time.monotonic() < until:
            time.sleep(0.02)
        assert server.asked(stalled)
        time.sleep(0.2)
        os.kill(process.pid, sent)
        started = time.monotonic()
        _, told = process.communicate(timeout=20)
        assert time.monotonic() - started < 5
        code, last_word = ENDS[sent]
        assert process.returncode == code
        assert told.endswith(last_word)
        state = reports.read(tmp_path / "run" / "logs" / "state.json", RunState)
        assert state.state is State.FAILED
    finally:
        process.kill()


def test_a_download_goes_on_after_a_run_was_killed(server: OpenDataServer, tmp_path: Path) -> None:
    put_events(server, tmp_path, n_files=1, n_events=100)
    (content,) = server.files.values()
    folder = tmp_path / "kept"
    paths = run(tmp_path, "whole", read_mode="download", download_dir=str(folder))
    (copy,) = folder.rglob("*.root")
    # As it is left by a process that was killed: a part, and a lock of nobody.
    copy.with_name(copy.name + ".part").write_bytes(content[:5000])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leave(copy.with_name(copy.name + ".lock"), replace(Holder.this_process(), process=dead.pid))
    copy.unlink()
    server.requests.clear()
    again = run(tmp_path, "again", read_mode="download", download_dir=str(folder))
    assert result(again) == result(paths)
    assert copy.read_bytes() == content
    starts = [request.range[0] for request in server.asked("/eos/") if request.range]
    assert starts == [0, 5000]

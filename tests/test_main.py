from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from main import MODES, Mode, main, telling_how_to_continue
from schemas.config import load
from schemas.errors import DataError
from services import run_directory

pytestmark = pytest.mark.usefixtures("without_figures")

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dry-run", "--merge-only"], "--dry-run and --merge-only exclude one another"),
        (["--batch-job-index", "1"], "need one another; give both"),
        (["--batch-job-index", "4", "--total-batch-jobs", "3"], "from 1 to 3"),
        (["--merge-only"], "--merge-only needs --run-dir; give both"),
        (
            ["--plots-only", "--run-dir", "x", "--tasks", "parsing"],
            "--plots-only leaves no room for --tasks",
        ),
        (["--tasks", "parse"], "--tasks: 'parse' is not a task; did you mean 'parsing'?"),
        (["--tasks", ","], "no task is enabled"),
    ],
)
def test_a_wrong_combination_of_options_is_refused_with_a_sentence(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(CHECKOUT / "config.yaml"), *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--confg", "x"])
    assert stopped.value.code == 2
    assert "--confg" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'awkward', 'uproot', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")
    assert "--total-batch-jobs" in done.stdout


def test_sigterm_ends_the_program_with_its_exit_code(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "main.py"), "--config", str(CHECKOUT / "config.yaml")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("output/*/logs/state.json")) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.terminate()
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 143
    assert "Traceback" not in errors


@pytest.fixture
def cut_off() -> Iterator[int]:
    """Return a pipe to write to that nobody reads from."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("option", ["", "-u"], ids=["buffered", "unbuffered"])
def test_output_that_nobody_reads_any_more_ends_the_program_with_the_exit_code_of_that(
    cut_off: int, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    program = [*filter(None, [sys.executable, option]), str(CHECKOUT / "main.py")]
    ended = subprocess.run(
        [*program, "--dry-run", "--config", str(CHECKOUT / "config.yaml")],
        cwd=tmp_path,
        stdout=cut_off,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (141, "")


def test_an_error_is_told_though_nobody_reads_the_output(cut_off: int) -> None:
    code = (
        "import sys, main\n"
        "from schemas.errors import DataError\n"
        "def fail(_options):\n"
        "    print('so far')\n"
        "    raise DataError('it cannot be done')\n"
        "main.MODES['list_missing'] = main.Mode(fail)\n"
        "sys.exit(main.main(['--list-missing', '--run-dir', 'x']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        stdout=cut_off,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "error: it cannot be done\n")


def test_another_pipe_that_breaks_is_not_taken_for_the_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose_a_worker(*_arguments: object, **_options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setitem(MODES, "list_missing", Mode(lose_a_worker))
    with pytest.raises(BrokenPipeError):
        main(["--list-missing", "--run-dir", "somewhere"])


# Single keys on the command line


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return a run of the demo release that --set has made small."""
    run = tmp_path / "run"
    arguments = ["--config", str(CHECKOUT / "config.yaml"), "--run-dir", str(run)]
    settings = [
        "parsing_task_config.demo_events=400",
        "mass_calculation_task_config.min_events_per_fs=1",
    ]
    sets = [part for setting in settings for part in ("--set", setting)]
    assert main([*arguments, *sets, "--tasks", "parsing,mass_calculating"]) == 0
    return run


def test_a_run_keeps_what_was_set_and_goes_on_with_it(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = load(made / "config.yaml")
    assert kept.parsing_task_config.demo_events == 400
    assert kept.mass_calculation_task_config.min_events_per_fs == 1
    capsys.readouterr()
    assert main(["--run-dir", str(made), "--tasks", "parsing,mass_calculating"]) == 0
    assert "400 events" in capsys.readouterr().out


def test_a_key_set_on_a_run_that_is_continued_redoes_what_depends_on_it(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    more = ["--set", "mass_calculation_task_config.min_events_per_fs=3"]
    assert main(["--run-dir", str(made), "--tasks", "parsing,mass_calculating", *more]) == 0
    assert "parsing: 1 of 1 chunks are done and kept" in caplog.text
    assert "what it is made of changed" in caplog.text
    # Of the run it was begun with, the configuration tells.
    assert load(made / "config.yaml").mass_calculation_task_config.min_events_per_fs == 1


def test_a_key_that_fixes_the_cut_into_chunks_cannot_be_set_on_a_run_that_is_continued(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run-dir", str(made), "--set", "parsing_task_config.demo_events=401"]) == 2
    assert "demo_events: 400 in the run, 401 now" in capsys.readouterr().err


def test_a_run_that_is_interrupted_says_how_it_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("services.pipeline.run", interrupt)
    arguments = ["--config", str(CHECKOUT / "config.yaml"), "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 130
    told = capsys.readouterr().err
    assert f"continue with `python main.py --run-dir {tmp_path / 'run'}`" in told
    assert told.endswith("interrupted\n")


def test_what_was_mended_in_the_configuration_must_be_named_to_continue(tmp_path: Path) -> None:
    paths = run_directory.layout(tmp_path, load(CHECKOUT / "config.yaml"))
    with pytest.raises(DataError) as failed, telling_how_to_continue(paths):
        raise DataError
    [note] = failed.value.__notes__
    assert f"`python main.py --run-dir {tmp_path}`" in note
    assert "--config FILE if the configuration has been changed" in note

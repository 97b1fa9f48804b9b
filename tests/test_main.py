from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from main import main

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

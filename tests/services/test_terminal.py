"""What people see in a terminal: colour where it is wanted, whole lines, and a whole log file."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from services.terminal import coloured, logging_on_screen, logging_to

CHECKOUT = Path(__file__).parents[2]
MAIN = [sys.executable, str(CHECKOUT / "main.py"), "--config", str(CHECKOUT / "config.yaml")]
SMALL = [
    *("--set", "parsing_task_config.demo_events=3000"),
    *("--set", "parsing_task_config.parallel_processes=2"),
    *("--set", "parsing_task_config.chunk_input_bytes=1"),
    *("--set", "run_metadata.run_name=small"),
    *("--tasks", "parsing,mass_calculating"),
    "--run-dir=run",
]
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


class Terminal(io.StringIO):
    """Something to look at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, "\x1b[31mFAILED\x1b[0m"),
        (Terminal(), {"NO_COLOR": ""}, "\x1b[31mFAILED\x1b[0m"),
        (Terminal(), {"NO_COLOR": "1"}, "FAILED"),
        (Terminal(), {"TERM": "dumb"}, "FAILED"),
        (io.StringIO(), {}, "FAILED"),
    ],
    ids=["terminal", "empty NO_COLOR", "NO_COLOR", "dumb", "pipe"],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, environment: dict[str, str], expected: str
) -> None:
    assert coloured("FAILED", "red", stream, environment) == expected


def test_the_log_file_has_everything_whatever_the_screen_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipeline.log"
    with logging_on_screen("ERROR"), logging_to(path):
        logging.getLogger("services.parse").debug("one detail")
        logging.getLogger("services.parse").warning("one warning")
        logging.getLogger("some.library").debug("a detail of others")
        logging.getLogger("some.library").info("news of others")
    said = path.read_text()
    assert re.search(r"^\d{4}-\S+ \S+ DEBUG   services.parse: one detail$", said, re.MULTILINE)
    assert "WARNING services.parse: one warning" in said
    assert "news of others" in said
    assert "a detail of others" not in said
    assert capsys.readouterr().err == ""


def test_the_screen_shows_its_level_and_above(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_on_screen("WARNING"):
        logging.getLogger("services.parse").info("not this")
        logging.getLogger("services.parse").warning("this")
    assert capsys.readouterr().err == "WARNING this\n"


def test_logging_is_left_as_it_was_found() -> None:
    loggers = [logging.getLogger(name) for name in ("", "services")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    with logging_on_screen("INFO"):
        pass
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before


def on_terminal(folder: Path, environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a small run on a terminal of 120 columns; return its exit code and what was shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    running = subprocess.Popen(
        [*MAIN, *SMALL], cwd=folder, stdout=theirs, stderr=theirs, env=os.environ | environment
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            shown += part
    os.close(ours)
    return running.wait(timeout=30), shown


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("terminal")
    code, shown = on_terminal(folder, {"TERM": "xterm", "NO_COLOR": ""})
    assert code == 0, shown
    return shown.decode()


def test_a_real_terminal_shows_a_bar_per_stage(shown: str) -> None:
    assert re.search(r"parsing +\d+% \|.*\| .*\d of 8 files", shown)
    assert re.search(r"mass_calculating +\d+% \|.*\| .* of .* events", shown)
    assert "\r" in shown


def test_no_log_line_is_torn_by_a_bar(shown: str) -> None:
    lines = [re.split(r"[\r\n]", line) for line in shown.split("\r\n")]
    for parts in lines:
        for part in parts:
            if "INFO" in part:
                # A line of its own: nothing of a bar before or behind it.
                assert re.match(r"(\x1b\[[A-Z])?INFO    ", part), part
                assert "% |" not in part


def test_a_pipe_gets_no_control_characters(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MAIN, *SMALL],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TERM": "xterm"},
        check=True,
        timeout=120,
    )
    assert b"mass_calculating" in done.stdout
    assert CONTROL.search(done.stdout) is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"NO_COLOR": ""}, b"\x1b[31merror:\x1b[0m"), ({"NO_COLOR": "1"}, b"error:")],
)
def test_an_error_is_red_on_a_terminal_unless_colour_is_forbidden(
    environment: dict[str, str], expected: bytes, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    failed = subprocess.run(
        [*MAIN, "--set", "x"],
        cwd=tmp_path,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"} | environment,
        check=False,
    )
    os.close(theirs)
    told = os.read(ours, 65536)
    os.close(ours)
    assert failed.returncode == 2
    assert told.startswith(expected)

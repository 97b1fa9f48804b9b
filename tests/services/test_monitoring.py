"""How far a stage is: a bar on a terminal, else a line now and then; and its peak of memory."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.monitoring import Progress, peak_memory_bytes

CHECKOUT = Path(__file__).parents[2]
BYTES = 200_000_000

CHUNKS = {
    "one": {"events": 600_000, "files": 3},
    "two": {"events": 400_000, "files": 1},
}


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Something to look at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG, "services.monitoring")
    monkeypatch.setenv("TERM", "xterm")


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == level]


def test_a_line_comes_every_thirty_seconds_where_nobody_looks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    with Progress("parsing", CHUNKS, show=True, stream=io.StringIO(), clock=clock) as progress:
        for second in range(1, 66):
            clock.now = float(second)
            progress.hear("one", {"events": 5000})
    # 30 s: 150,000 of 1,000,000 events at 5,000 a second; 850,000 are left.
    assert lines(caplog) == [
        "parsing: 15 %: 150k of 1M events, 0 of 4 files, 5k events/s, 02:50 left",
        "parsing: 30 %: 300k of 1M events, 0 of 4 files, 5k events/s, 02:20 left",
    ]


def test_silence_counts_as_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("parsing", CHUNKS, show=True, stream=io.StringIO(), clock=clock) as progress:
        progress.hear("one", {"events": 100_000, "files": 1})
        clock.now = 40.0
        progress.hear(None, {})
    assert lines(caplog) == [
        "parsing: 10 %: 100k of 1M events, 1 of 4 files, 2.5k events/s, 06:00 left"
    ]


def test_nothing_is_written_to_what_is_no_terminal() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("parsing", CHUNKS, show=True, stream=stream, clock=clock) as progress:
        clock.now = 100.0
        progress.finish("one")
    assert stream.getvalue() == ""


def test_beside_a_bar_the_lines_are_for_the_log_file(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("parsing", CHUNKS, show=True, stream=Terminal(), clock=clock) as progress:
        clock.now = 31.0
        progress.finish("one")
    assert lines(caplog) == []
    assert len(lines(caplog, logging.DEBUG)) == 1


def test_without_a_bar_on_a_terminal_there_are_lines_in_the_log_file_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream, clock = Terminal(), Clock()
    with Progress("parsing", CHUNKS, show=False, stream=stream, clock=clock) as progress:
        clock.now = 31.0
        progress.finish("one")
    assert stream.getvalue() == ""
    assert lines(caplog) == []
    assert len(lines(caplog, logging.DEBUG)) == 1


def test_a_terminal_shows_a_bar_with_events_files_rate_and_time_left() -> None:
    stream, clock = Terminal(), Clock()
    with Progress("parsing", CHUNKS, show=True, stream=stream, clock=clock) as progress:
        clock.now = 10.0
        progress.hear("two", {"events": 250_000, "files": 1})
    shown = stream.getvalue()
    assert re.search(
        r"parsing  25% \|.+\| 250k of 1M events, 1 of 4 files, 25k events/s, 00:30", shown
    )


def test_a_dumb_terminal_gets_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, clock = Terminal(), Clock()
    with Progress("parsing", CHUNKS, show=True, stream=stream, clock=clock) as progress:
        clock.now = 31.0
        progress.finish("one")
    assert stream.getvalue() == ""
    assert len(lines(caplog)) == 1


def test_a_finished_piece_counts_as_planned_whatever_was_heard() -> None:
    with Progress("parsing", CHUNKS, show=False) as progress:
        # A file was read twice, and the last message did not come.
        progress.hear("one", {"events": 700_000, "files": 2})
        progress.finish("one")
        assert str(progress).startswith("600k of 1M events, 3 of 4 files")


def test_where_nobody_knows_how_much_there_is_what_was_heard_counts() -> None:
    planned = {"one": {"events": None, "files": 2}, "two": {"events": 5, "files": 2}}
    clock = Clock()
    with Progress("parsing", planned, show=False, clock=clock) as progress:
        progress.hear("one", {"events": 1500})
        progress.finish("one")
        clock.now = 3.0
        # Half of the files took three seconds.
        assert str(progress) == "1.5k events, 2 of 4 files, 500 events/s, 00:03 left"


def test_what_a_dead_worker_had_done_is_not_counted() -> None:
    with Progress("parsing", CHUNKS, show=False) as progress:
        progress.hear("one", {"events": 1000})
        progress.forget("one")
        assert str(progress) == "0 of 1M events, 0 of 4 files"


def test_a_stage_without_work_says_nothing() -> None:
    with Progress("parsing", {}, show=True, stream=Terminal()) as progress:
        progress.hear(None, {})
        assert str(progress) == ""


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    held = np.ones(BYTES, dtype=np.int8)
    del held
    assert peak_memory_bytes() > BYTES


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    held = np.ones(BYTES, dtype=np.int8)
    code = "from services.monitoring import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < len(held)

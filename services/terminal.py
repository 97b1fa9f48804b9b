"""What people see in a terminal: log lines that leave progress bars whole, and colour."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

# The loggers of this program; of the libraries only what is INFO or worse is of interest.
_OURS = ("services", "schemas", "main")
_ON_FILE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_ON_SCREEN = "%(levelname)-7s %(message)s"
_CODES = {"red": "31", "yellow": "33", "green": "32"}
_OF_LEVEL = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


def is_terminal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody looks at what is written, on something that can do more than lines."""
    return stream.isatty() and environment.get("TERM") != "dumb"


def coloured(
    text: str, colour: str, stream: TextIO, environment: Mapping[str, str] = os.environ
) -> str:
    """Return a text in a colour, where a terminal shows it and NO_COLOR does not forbid it."""
    if not is_terminal(stream, environment) or environment.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


class _OnScreen(logging.StreamHandler[TextIO]):
    """Writes log lines above the progress bar, warnings and errors in colour."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        colour = _OF_LEVEL.get(record.levelno)
        return coloured(text, colour, self.stream) if colour else text

    def emit(self, record: logging.LogRecord) -> None:
        with _without_bars(self.stream):
            super().emit(record)


@contextmanager
def _without_bars(stream: TextIO) -> Iterator[None]:
    """Take progress bars away from a stream, and draw them again."""
    bars = sys.modules.get("tqdm")
    with bars.tqdm.external_write_mode(file=stream) if bars else nullcontext():
        yield


@contextmanager
def logging_on_screen(level: str) -> Iterator[None]:
    """Show on stderr what is logged inside, from this level on."""
    handler = _OnScreen(sys.stderr)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(_ON_SCREEN))
    with _handling(handler):
        yield


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write all that is logged inside to a file of the run too, whatever is shown on screen.

    That is DEBUG and above of this program, INFO and above of the libraries.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_ON_FILE))
    with _handling(handler):
        yield


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    """Give a handler all that it may want; handlers themselves leave out what they do not show."""
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in ("", *_OURS)}
    root.setLevel(min(root.level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)

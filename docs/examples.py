"""Run the Python blocks of a page in order, in the current folder, as a notebook does.

A `text` block behind a Python block is what that one prints. In a folder with a run of the shipped
configuration in output/demo, this writes what is printed now into pages (and leaves spectrum.png,
the picture of library.md):

    python docs/examples.py docs/library.md docs/run-directory.md
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_EXAMPLE = re.compile(
    r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)


class Example(NamedTuple):
    """One block: its source, and what the page says that it prints."""

    source: str
    said: str
    printed: str


def run(page: Path) -> Iterator[Example]:
    """Run the blocks of a page one after the other, all with the same names."""
    names: dict[str, Any] = {"__name__": page.stem}
    for match in _EXAMPLE.finditer(page.read_text(encoding="utf-8")):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(match[1], str(page), "exec"), names)  # noqa: S102 - our own pages
        yield Example(match[1], match[2] or "", output.getvalue())


def with_outputs(page: Path) -> str:
    """Return the page with what its blocks print now."""
    text = page.read_text(encoding="utf-8")
    for example in run(page):
        if example.said:
            text = text.replace(
                f"{example.source}```\n\n```text\n{example.said}```",
                f"{example.source}```\n\n```text\n{example.printed}```",
            )
    return text


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for name in sys.argv[1:]:
        Path(name).write_text(with_outputs(Path(name)), encoding="utf-8")

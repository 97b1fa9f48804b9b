"""What the pages say, taken apart: blocks of code, links, headings, commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")))
NAMES = [str(page.relative_to(CHECKOUT)) for page in PAGES]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (nothing for none), its text, and its first line in the page."""

    language: str
    text: str
    line: int


_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, or those of one language."""
    found = [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in _FENCED.finditer(text)
    ]
    return [block for block in found if language is None or block.language == language]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCED.sub("", text)


def code(text: str) -> list[str]:
    """Return every line of blocks that are no Python, and every inline code in text and tables."""
    lines = [
        line.strip()
        for block in blocks(text)
        if block.language != "python"
        for line in block.text.splitlines()
    ]
    indented = re.findall(r"^ {4}(\S.*)$", prose(text), re.MULTILINE)
    return [*lines, *indented, *re.findall(r"`([^`\n]+)`", prose(text))]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (unique := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(unique)
    return found


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def table_after(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    section = text.partition(f"\n{heading}\n")[2]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    first = section.splitlines().index(lines[0])
    rows = []
    for line in section.splitlines()[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows

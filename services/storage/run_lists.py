"""Lists of certified runs: CMS JSON or ATLAS XML files -> blocks of (run, first, last)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

from schemas.errors import ConfigError
from services.calculations.good_runs import Block, GoodRuns

_LARGEST = 2**32 - 1


def read_good_runs(paths: tuple[str, ...]) -> GoodRuns:
    """Return what is certified in any of these files.

    Raises:
        ConfigError: a file is missing or is not such a list.
    """
    return GoodRuns.of(block for path in paths for block in _read_blocks(path))


@cache
def _read_blocks(path: str) -> tuple[Block, ...]:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"good_run_lists: {path} cannot be read ({error}); correct the path"
        raise ConfigError(msg) from error
    try:
        blocks = _read_xml(text) if text.startswith("<") else _read_json(text)
        for run, first, last in blocks:
            if not (0 <= run <= _LARGEST and 0 <= first <= last <= _LARGEST):
                _refuse(f"run {run}, luminosity blocks {first} to {last}")
    # ParseError, JSONDecodeError and wrong numbers; a list that is none has other types inside.
    except (ET.ParseError, ValueError, TypeError, AttributeError) as error:
        msg = (
            f"good_run_lists: {path}: expected a CMS JSON file {{run: [[first, last], ...]}} or an "
            f"ATLAS XML file with LumiBlockCollection, found something else ({error})"
        )
        raise ConfigError(msg) from error
    if not blocks:
        msg = f"good_run_lists: {path} certifies no luminosity block; nothing could be kept"
        raise ConfigError(msg)
    return tuple(blocks)


def _refuse(what: str) -> None:
    raise ValueError(what)


def _read_json(text: str) -> list[Block]:
    data = json.loads(text)
    return [(int(run), *_pair(pair)) for run, pairs in data.items() for pair in pairs]


def _pair(pair: list[int]) -> tuple[int, int]:
    first, last = pair
    return int(first), int(last)


def _read_xml(text: str) -> list[Block]:
    # Expat expands neither external entities nor, since 2.4, entities without bound.
    root = ET.fromstring(text)  # noqa: S314
    return [
        (
            _number(collection.findtext("Run")),
            _number(block.get("Start")),
            _number(block.get("End")),
        )
        for collection in root.iter("LumiBlockCollection")
        for block in collection.iter("LBRange")
    ]


def _number(text: str | None) -> int:
    if text is None:
        _refuse("Run, Start or End is missing")
    return int(str(text))

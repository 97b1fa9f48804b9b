"""What is wrong in a configuration, as one sentence each, for the person who wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic.fields import FieldInfo

from schemas.config.blocks import Block
from schemas.config.model import Config
from schemas.errors import did_you_mean

# Keys of older configurations, wherever they stand, and what replaces them.
REPLACED_KEYS = {
    "use_multiprocessing": "remove it: `parallel_processes: 1` is one process, more are more",
    "env_threshold_memory_mb": "write `chunk_yield_threshold_bytes` (parsing_task_config)",
    "create_dirs": "remove it: the run directory is always made",
    "testing_config": "write `max_files_to_process` (parsing_task_config)",
    "fs_chunk_threshold_bytes": "write `chunk_yield_threshold_bytes` (parsing_task_config)",
    "max_total_particles_in_combination": "write `max_particles_in_combination`",
}


# Where something stands in a configuration: section, key, keys of inner blocks.
Location = tuple[int | str, ...]


def take_refused(data: dict[str, Any]) -> list[tuple[Location, str]]:
    """Remove from `data` the keys refused by table, and return the place and a sentence of each."""
    complaints: list[tuple[Location, str]] = []
    for section, block in [("", data), *((s, b) for s, b in data.items() if isinstance(b, dict))]:
        for key in list(block):
            where = f"{section}.{key}".lstrip(".")
            if key in REPLACED_KEYS:
                said = f"{where}: this key is no longer known; {REPLACED_KEYS[key]}"
                complaints.append((tuple(where.split(".")), said))
                del block[key]
    return complaints


def blocks_in(annotation: Any) -> list[type[Block]]:
    """Return the blocks that a type mentions: itself, or inside of lists, dictionaries, choices."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return [annotation]
    return [block for inner in get_args(annotation) for block in blocks_in(inner)]


def block_at(location: Location) -> type[Block] | None:
    """Return the model of the block that a validator's location points into."""
    annotation: Any = Config
    for part in location:
        fields = [block.model_fields.get(str(part)) for block in blocks_in(annotation)]
        # What is no field is a place in a list, a key of a dictionary, or a kind of value.
        annotation = next((field.annotation for field in fields if field), annotation)
    return next(iter(blocks_in(annotation)), None)


# The validator's words, in terms of a configuration file.
_REWORDED = (
    (r"^Input should be (?=greater|less)", "expected a value "),
    (r"^Input should be a valid dictionary.*", "expected a block of keys"),
    (r"^Input should be a valid (tuple|list|array)", "expected a list in brackets"),
    (r"^Input should be", "expected"),
    (r"^Tuple should have at least (\d+) items?.*", r"expected at least \1 in the list"),
    # `{pt_min: 25,5}` has the key 5.
    (r"^Keys should be strings", "expected a name (a decimal number has a point, not a comma)"),
)


def without_echoes(details: Sequence[Any]) -> list[Any]:
    """Return the complaints without those of a list that is too short for its wrong items."""
    places = [tuple(detail["loc"]) for detail in details]
    return [
        detail
        for detail, place in zip(details, places, strict=True)
        if detail["type"] != "too_short"
        or not any(other != place and other[: len(place)] == place for other in places)
    ]


def explain(error: Any) -> str:
    """Turn one complaint of the validator into a sentence for the user."""
    location = tuple(error["loc"])
    where = _spelt(location)
    found = error["input"]
    if error["type"] == "extra_forbidden":
        block = block_at(location[:-1])
        known = tuple(block.model_fields) if block else ()
        return f"{where}: unknown key{belongs_to(str(location[-1]), known)}"
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        if not where or isinstance(found, dict):
            return f"{where}: {text}".removeprefix(": ")
        return f"{where}: {text} (found {as_written(found)})"
    expected = error["msg"]
    for said, meant in _REWORDED:
        expected = re.sub(said, meant, expected, count=1)
    return f"{where}: {expected}, found {as_written(found)}{_mend(error)}{_meaning(location)}"


def _spelt(location: Location) -> str:
    """Return a place as people write it."""
    # Parts in brackets say which kind of value was tried, not where it stands.
    return ".".join(str(part) for part in location if not str(part).startswith("["))


def _meaning(location: Location) -> str:
    """Return what the key at a place, or the one that holds it, is for, and its default."""
    for end in range(len(location), 0, -1):
        field = fields_of(location[: end - 1]).get(str(location[end - 1]))
        if field and field.description:
            is_given = not field.is_required() and field.default_factory is None
            is_told = is_given and _is_short(field.default)
            default = f" Default: {as_written(field.default)}." if is_told else ""
            where = _spelt(location[:end])
            return f". {where}: {field.description}{default}"
    return ""


def _mend(error: Any) -> str:
    """Return how to write what was probably meant: a list, or a number that YAML reads as text."""
    found, complaint = error["input"], error["type"]
    if complaint == "tuple_type" and isinstance(found, str):
        return f": write [{found}]"
    if complaint not in ("int_type", "float_type") or not isinstance(found, str):
        return ""
    try:
        number = float(found)
    except ValueError:
        return ""
    is_whole = complaint == "int_type" and number.is_integer()
    return f", which YAML reads as text: write {int(number) if is_whole else number}"


def as_written(found: object) -> str:
    """Return a value as YAML writes it, where Python has other words."""
    if isinstance(found, tuple):
        return f"[{', '.join(map(as_written, found))}]"
    return json.dumps(found) if found is None or isinstance(found, bool) else repr(found)


def belongs_to(key: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown key: the section that has it, or a guess."""
    sections = [name for name in Config.model_fields if key in fields_of((name,))]
    if sections:
        return f"; it belongs to {' or '.join(sections)}"
    return did_you_mean(key, known)


def fields_of(location: Location) -> dict[str, FieldInfo]:
    """Return the keys that a block at this place knows."""
    block = block_at(location)
    return block.model_fields if block else {}


def _is_short(default: object) -> bool:
    """Whether a default is a value, and no block of keys or list of blocks."""
    values = default if isinstance(default, tuple) else (default,)
    return not any(isinstance(value, Block) for value in values)


def listed(where: str, complaints: Sequence[str]) -> str:
    """Return all complaints, a line each, under a heading that says where and how many."""
    lines = "\n".join(f"  {complaint}" for complaint in complaints)
    return f"{where}: {len(complaints)} error{'s'[: len(complaints) > 1]}\n{lines}"

"""YAML text -> keys and values: strict, and with a hint where a slip is frequent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import ConfigError


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would settle by the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As written: merging anchors, later, adds keys that the block may override.
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            line = key_node.start_mark.line + 1
            if key in seen:
                msg = f"the key {key!r} is given twice, in lines {seen[key]} and {line}"
                raise yaml.constructor.ConstructorError(None, None, msg, key_node.start_mark)
            seen[key] = line
        return node


def parse_yaml(text: str) -> Any:
    """Return what a text means.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"not valid YAML: {yaml_problem(error)}"
        raise ConfigError(msg) from error


# What a frequent slip makes the reader of YAML say, and how to mend it.
_YAML_MENDS = {
    r"'\\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "is the line before it indented as it should be?",
    "expected <block end>": "keys of one block start in the same column",
    "could not find expected ':'": "a key ends in a colon and a space",
}


def yaml_problem(error: Exception) -> str:
    """Return what is wrong, with its line and column where the reader tells them."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split()) or type(error).__name__
    mark = error.problem_mark
    said = f"{error.problem}" + (f" ({error.context})" if error.context else "")
    mends = [mend for sign, mend in _YAML_MENDS.items() if re.search(sign, said)]
    return f"line {mark.line + 1}, column {mark.column + 1}: {'; '.join([said, *mends])}"


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the blocks of a configuration file; `names` and `x-...`, for anchors, are left out.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds no blocks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: expected a configuration file, found none; name one with --config FILE"
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path}: the configuration cannot be read ({reason}); expected a UTF-8 text file"
        raise ConfigError(msg) from error
    try:
        data = parse_yaml(text)
    except ConfigError as error:
        msg = f"{path}: {error}; correct the file at that place"
        raise ConfigError(msg) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        msg = (
            f"{path}: expected blocks such as `parsing_task_config:`, found "
            f"{type(data).__name__}; start from the shipped config.yaml"
        )
        raise ConfigError(msg)
    return {
        key: value
        for key, value in data.items()
        if not (key == "names" or str(key).startswith("x-"))
    }

"""config.yaml -> the configuration, or one sentence for everything that is wrong in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.config.complaints import explain, listed, take_refused, without_echoes
from schemas.config.model import Config
from schemas.config.overrides import Assignment, assign
from schemas.config.yaml_text import read_yaml
from schemas.errors import ConfigError


def from_dict(
    data: dict[str, Any], *, where: str, folder: Path, assigned: Sequence[Assignment] = ()
) -> Config:
    """Return the configuration that `data` describes; relative input paths start at `folder`.

    Raises:
        ConfigError: anything in `data` or `assigned` is wrong; every complaint has its own line.
    """
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for assignment in assigned:
        assign(copy, assignment)
    complaints = take_refused(copy)
    try:
        config = Config.model_validate(copy, context={"folder": folder})
    except ValidationError as error:
        details = without_echoes(error.errors(include_url=False))
        complaints += [(tuple(detail["loc"]), explain(detail)) for detail in details]
    if complaints:
        is_set = [any(a.concerns(location) for a in assigned) for location, _ in complaints]
        said = [
            f"--set {text}" if by_option else text
            for by_option, (_, text) in zip(is_set, complaints, strict=True)
        ]
        if all(is_set):
            where = "command line"
        elif assigned:
            where += f" with --set {', '.join(assignment.name for assignment in assigned)}"
        raise ConfigError(listed(where, said))
    return config


def load(
    path: Path,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    assigned: Sequence[Assignment] = (),
) -> Config:
    """Read a configuration file; relative input paths start at its folder.

    `overrides` are keys by section that replace what the file says; `assigned` are single keys
    that do, in their order.

    Raises:
        ConfigError: the file is missing, is not YAML, or says something that cannot be meant.
    """
    data = read_yaml(path)
    for section, keys in (overrides or {}).items():
        block = data.get(section) or {}
        if isinstance(block, dict):
            data[section] = {**block, **keys}
    return from_dict(data, where=str(path), folder=path.parent, assigned=assigned)

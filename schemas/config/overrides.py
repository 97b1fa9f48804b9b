"""What the command line says instead of the file: single keys, and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from schemas.config.blocks import Block
from schemas.config.complaints import Location, belongs_to, fields_of, listed
from schemas.config.model import Config
from schemas.config.run import TASK_NAMES, TaskName
from schemas.config.yaml_text import parse_yaml
from schemas.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Assignment:
    """One key that the command line sets: `--set section.key=value`."""

    keys: tuple[str, ...]
    value: Any

    @property
    def name(self) -> str:
        """The key as it was written."""
        return ".".join(self.keys)

    def concerns(self, location: Location) -> bool:
        """Whether what stands at a place is what was set, or the block it was set in."""
        n_shared = min(len(location), len(self.keys))
        is_named = n_shared >= _WITHIN_SECTION or self.keys[0] not in Config.model_fields
        return is_named and tuple(map(str, location[:n_shared])) == self.keys[:n_shared]


# Section and key: what is said of a whole section is not said of one key in it.
_WITHIN_SECTION = 2


def read_assignments(texts: Iterable[str]) -> tuple[Assignment, ...]:
    """Return what `--set section.key=value` means, with values read as YAML.

    Raises:
        ConfigError: some are no assignment; all of them are named.
    """
    found, complaints = [], []
    for text in texts:
        name, equals, value = text.partition("=")
        keys = tuple(part.strip() for part in name.split("."))
        if not equals or not all(keys):
            complaints.append(f"--set: expected section.key=value, found {text!r}")
        elif len(keys) < _WITHIN_SECTION:
            is_section = name in Config.model_fields
            known = f"; name one of its keys: {', '.join(fields_of(keys))}"
            hint = known if is_section else belongs_to(name, Config.model_fields)
            missing = "key" if is_section else "section"
            complaints.append(f"--set {name}: expected section.key=value, found no {missing}{hint}")
        else:
            try:
                found.append(Assignment(keys, parse_yaml(value)))
            except ConfigError as error:
                complaints.append(f"--set {name}: {error}; write the value as in a configuration")
    if complaints:
        raise ConfigError(listed("command line", complaints))
    return tuple(found)


def assign(data: dict[str, Any], assignment: Assignment) -> None:
    """Set one key in `data`; an inner block that it leaves out starts from its default.

    Raises:
        ConfigError: a key on the way holds something else than keys.
    """
    block = data
    for depth, key in enumerate(assignment.keys[:-1]):
        location = assignment.keys[:depth]
        inner = block[key] if key in block else _default_block(fields_of(location).get(key))
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            where = ".".join((*location, key))
            msg = (
                f"--set {assignment.name}: expected keys in {where}, found {inner!r}; set it whole "
                f"with --set {where}=..."
            )
            raise ConfigError(msg)
        # Aliases of one YAML anchor are one object, and only one of them is meant.
        block[key] = dict(inner)
        block = block[key]
    block[assignment.keys[-1]] = assignment.value


def _default_block(field: FieldInfo | None) -> object:
    """Return what a key holds that is left out, as a configuration would write it."""
    if field is None or field.is_required():
        return None
    default = field.get_default(call_default_factory=True)
    return default.model_dump(mode="json") if isinstance(default, Block) else default


def named_tasks(option: str, names: str) -> tuple[TaskName, ...]:
    """Return the tasks that an option of the command line names, separated by commas.

    Raises:
        ConfigError: one of them is no task.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in TASK_NAMES:
            msg = f"{option}: {name!r} is not a task{did_you_mean(name, TASK_NAMES)}"
            raise ConfigError(msg)
    return tuple(name for name in TASK_NAMES if name in chosen)


def chosen_tasks(names: str) -> dict[str, object]:
    """Return the `tasks` block that enables just the tasks that --tasks names.

    Raises:
        ConfigError: one of them is no task.
    """
    chosen = named_tasks("--tasks", names)
    return {f"do_{name}": name in chosen for name in TASK_NAMES}

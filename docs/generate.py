"""Write what pages take from the sources: `make docs`.

It stands between `<!-- modules: FOLDER -->`, `<!-- fields: MODEL -->`, `<!-- figures: PACKAGE -->`
or `<!-- configuration: MODEL -->`, and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import BaseModel

from schemas import config, inputs, plan, reports, state, statistics, summary
from services import plots, run_directory
from services.pipeline import STAGES

DOCS = Path(__file__).resolve().parent
CHECKOUT = DOCS.parent
_MARKED = re.compile(
    r"(<!-- (configuration|fields|figures|modules): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL
)
_STAGE_MODULES = [stage.run.__module__.rpartition(".")[2] for stage in STAGES]
_MODELS: dict[str, type[BaseModel]] = {
    name: model
    for module in (inputs, plan, reports, state, statistics, summary)
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
}


def generated(name: str) -> str:
    """Return what a page of docs should be."""
    text = (DOCS / name).read_text(encoding="utf-8")
    made = {
        "configuration": _configuration,
        "fields": _fields,
        "figures": _figures,
        "modules": _modules,
    }
    return _MARKED.sub(lambda m: f"{m[1]}\n{made[m[2]](m[3])}\n\n{m[4]}", text)


def pages() -> list[str]:
    """Return the names of the pages that have parts that are generated."""
    marked = [p.name for p in DOCS.glob("*.md") if _MARKED.search(p.read_text(encoding="utf-8"))]
    return sorted(marked)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


# Modules


def _modules(folder: str) -> str:
    """Return a table of the modules of a folder with the first lines of their docstrings."""
    found = sorted((CHECKOUT / folder).glob("*.py"))
    if folder in ("services/stages", "services/shared"):
        services = CHECKOUT / "services"
        stages = [services / f"{name}.py" for name in _STAGE_MODULES]
        rooms = {services / room for room in ("calculations", "catalogs", "storage")}
        others = {path for path in services.rglob("*.py") if path.parent not in rooms}
        found = stages if folder.endswith("stages") else sorted(others - {*stages})
    rows = []
    for path in found:
        if path.stem != "__init__":
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            name = path.relative_to(CHECKOUT).as_posix()
            rows.append((f"`{name}`", words.splitlines()[0].rstrip(".")))
    return _table(("module", "what it does"), rows)


# Figures


def _figures(_: str) -> str:
    """Return a table of all figures in the order in which they are read."""
    rows = [
        (f"`{number:02d}_{name}`", words.rstrip("."))
        for number, (name, words) in enumerate(plots.FIGURES.items(), start=1)
    ]
    return _table(("figure", "what it shows"), rows)


# Fields of JSON files


def _fields(model: str) -> str:
    """Return a table of a model's own fields: name, kind, meaning."""
    inherited = {
        key for base in _MODELS[model].__bases__ for key in getattr(base, "model_fields", {})
    }
    schema = _MODELS[model].model_json_schema()
    blocks = schema.get("$defs", {})
    rows = [
        (f"`{name}`", _BOUND.sub("", _kind(field, blocks)), _words(field))
        for name, field in schema["properties"].items()
        if name not in inherited
    ]
    return _table(("field", "kind", "meaning"), rows)


def _words(field: dict[str, Any]) -> str:
    words = " ".join(field.get("description", "").split())
    return words if words.endswith("...") else words.removesuffix(".")


_PLAIN = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "block",
}
_BOUNDS = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
)


# What is written lies within its bounds; they matter where one writes oneself.
_BOUND = re.compile(r"( and)? [≥>≤<] \S+")


def _kind(field: dict[str, Any], blocks: dict[str, Any], page: str = "") -> str:
    """Return the type of a value in words, from its JSON schema; blocks of keys become links."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        if "enum" in blocks[name]:
            return _kind(blocks[name], blocks, page)
        return f"[{name}]({page}#{name.lower()})" if page else name
    if "anyOf" in field or "oneOf" in field:
        of = [_kind(one, blocks, page) for one in field.get("anyOf", field.get("oneOf"))]
        return " or ".join(dict.fromkeys(of))
    if field.get("type") == "array":
        return _kind_of_list(field, blocks, page)
    named = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
    if isinstance(named[0], dict):
        return f"block: name → {_kind(named[0], blocks, page)}"
    return _kind_of_value(field)


def _kind_of_value(field: dict[str, Any]) -> str:
    values = [field["const"]] if "const" in field else field.get("enum")
    if values:
        return ", ".join(f"`{value}`" for value in values)
    bounds = [words.format(f"{field[key]:g}") for key, words in _BOUNDS if key in field]
    return " ".join([_PLAIN[field.get("type", "object")], " and ".join(bounds)]).strip()


def _kind_of_list(field: dict[str, Any], blocks: dict[str, Any], page: str) -> str:
    if "prefixItems" in field:
        return f"[{', '.join(_kind(one, blocks, page) for one in field['prefixItems'])}]"
    return f"list of {_kind(field['items'], blocks, page)}"


# The configuration

_DEMO = config.from_dict(
    {"parsing_task_config": {"release_years": ["demo"]}}, where="docs", folder=Path()
)
_DEFAULTS = _DEMO.model_dump(mode="json")


def _configuration(_: str) -> str:
    """Return the tables of the configuration's keys."""
    schema = json.loads(config.json_schema())
    parts = []
    sections = {}
    for section, field in schema["properties"].items():
        name = field.get("$ref", "").rpartition("/")[2]
        sections[name] = section
        parts.append(f"## {section}\n\n{_words(field)}.\n")
        parts.append(_keys(schema, name, section) + "\n")
    parts.append("## Blocks\n\nWhat stands below keys above.\n")
    for name, block in schema["$defs"].items():
        if name not in sections and "properties" in block:
            parts.append(f"### {name}\n\n{block['description']}\n")
            parts.append(_keys(schema, name) + "\n")
    return "\n".join(parts).rstrip("\n")


def _keys(schema: dict[str, Any], name: str, section: str | None = None) -> str:
    rows = []
    block = schema["$defs"][name]
    for key, field in block["properties"].items():
        default = _default(key, field, block, section)
        row = (
            f"`{key}`",
            _kind(field, schema["$defs"], " ").replace("( #", "(#"),
            _unit(key),
            default,
            _words(field),
        )
        rows.append(row if section is None else (*row, _redoes(section, key)))
    header: tuple[str, ...] = ("key", "kind", "unit", "default", "meaning")
    return _table(header if section is None else (*header, "redoes"), rows)


def _default(key: str, field: dict[str, Any], block: dict[str, Any], section: str | None) -> str:
    value = field.get("default", ...)
    if value is ... and section:
        value = _DEFAULTS[section][key]
    if value is ...:
        return "must be given" if key in block.get("required", ()) else "see meaning"
    if isinstance(value, dict | list) and any(isinstance(v, dict) for v in _values(value)):
        return "see config.yaml"
    if isinstance(value, list):
        return f"`[{', '.join(map(_plain, value))}]`"
    return f"`{_plain(value)}`"


def _values(value: dict[str, Any] | list[Any]) -> list[Any]:
    return [value] if isinstance(value, dict) and value else [*value]


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


_UNITS = (
    (r"_per_gev$", "1/GeV"),
    (r"_gev$|^pt_(min|max)$", "GeV"),
    (r"_bytes$", "bytes"),
    (r"_gb$", "GB"),
    (r"_seconds$|_timeout$", "s"),
    (r"_days$", "days"),
    (r"^stochastic$", "√GeV"),
)


def _unit(key: str) -> str:
    return next((unit for pattern, unit in _UNITS if re.search(pattern, key)), "")


def _redoes(section: str, key: str) -> str:
    """Return the first stage whose result depends on a key."""
    if key in run_directory._FIXED.get(section, ()):  # noqa: SLF001 - nobody else may ask
        return "fixed"
    for stage in STAGES:
        if key in config.result_keys(_DEMO, stage.name).get(section, {}):
            return stage.name
    return "—"


def write() -> Iterator[str]:
    """Write the pages that have changed, and yield their names."""
    for name in pages():
        path, text = DOCS / name, generated(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            yield name


if __name__ == "__main__":
    for changed in write():
        print(f"docs/{changed}")

"""Which data layout a portal record has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from schemas.errors import CatalogError
from schemas.releases import fitting_layouts, layout_in_table, layout_names, load_layout

log = logging.getLogger(__name__)

# The branches of each tree of a file.
Trees = Mapping[str, Collection[str]]


def layout_of_record(
    record_id: str,
    configured: Mapping[str, str],
    metadata: Mapping[str, Any],
    first_file: Callable[[], Trees],
) -> str:
    """Return the layout of a record: as configured, from the shipped table, or found out.

    `metadata` is the record's, as the portal gives it; `first_file` is called, to give the trees of
    the record's first file, only where nothing before it settles the matter.

    Raises:
        CatalogError: no layout fits the first file, or several do.
        ConfigError: the record is known to hold nothing that could be read.
    """
    known = configured.get(record_id) or layout_in_table(record_id)
    if known is not None:
        return known
    named = layouts_named(metadata)
    if len(named) == 1:
        log.info("record %s: layout %s, by the portal's metadata", record_id, named[0])
        return named[0]
    trees = first_file()
    fitting = fitting_layouts(trees)
    if len(fitting) == 1:
        (key,) = fitting
        log.info("record %s: layout %s, by the branches of its first file", record_id, key)
        return key
    raise CatalogError(_no_single_fit(record_id, fitting, trees))


def layouts_named(metadata: Mapping[str, Any]) -> list[str]:
    """Return the layouts that formats or title of a record name."""
    distribution = metadata.get("distribution")
    formats = distribution.get("formats", ()) if isinstance(distribution, Mapping) else ()
    said = [str(text).lower() for text in (metadata.get("title", ""), *formats)]
    words = {part for text in said for part in text.replace("/", " ").replace(",", " ").split()}
    found = []
    for key in layout_names():
        portal = load_layout(key).portal
        if portal and words & {word.lower() for word in portal.words}:
            found.append(key)
    return found


def _no_single_fit(record_id: str, fitting: Collection[str], trees: Trees) -> str:
    mend = (
        "; name it as parsing_task_config.layout_by_record, for example "
        f"{{{record_id}: {layout_names()[0]}}}"
    )
    if fitting:
        return f"record {record_id}: several layouts fit its first file: {_list(fitting)}{mend}"
    found = _list(trees) or "none"
    expected = f"expected the first file to fit a data layout, found the trees {found}"
    hint = "`python main.py --inspect FILE` shows more"
    lines = [f"record {record_id}: {expected}{mend} ({hint}). Looked for:"]
    for key in layout_names():
        layout = load_layout(key)
        tree = next((name for name in layout.trees if name in trees), None)
        if tree is None:
            lines.append(f"  {key}: a tree {' or '.join(layout.trees)}")
        else:
            missing = (" or ".join(names) for names in layout.missing(trees[tree]))
            lines.append(f"  {key}: {', '.join(missing)} in {tree}")
    return "\n".join(lines)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

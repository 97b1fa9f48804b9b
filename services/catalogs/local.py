"""Files on disk: paths and globs -> input files."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from schemas.errors import CatalogError, DataError
from schemas.inputs import InputFile, Sample
from schemas.releases import load_layout
from services.storage.patterns import matching_files
from services.storage.peeking import has_branch

log = logging.getLogger(__name__)


def list_files(
    local_files: Mapping[str, Sequence[str]],
    more_trees: Collection[str],
    sample: Sample | None = None,
) -> tuple[InputFile, ...]:
    """Return the files that the paths and globs of each layout name, each pattern's sorted.

    Unless all are of the given `sample`, simulation is told from collision data by branches, or by
    names where the layout has no such branch. A file that cannot be opened for that is listed all
    the same, as data, so that it is counted as failed when it is read.

    Raises:
        CatalogError: a pattern names no file, a file is named twice, or nothing tells whether it
            is data or simulation.
    """
    found: dict[Path, InputFile] = {}
    for layout, patterns in local_files.items():
        for pattern in patterns:
            for path in _matches(pattern):
                if path in found:
                    msg = (
                        f"parsing_task_config.local_files.{layout}: {path} is named twice, so "
                        "its events would count twice; name it once"
                    )
                    raise CatalogError(msg)
                found[path] = _describe(path, layout, more_trees, sample)
    return tuple(found.values())


def _matches(pattern: str) -> list[Path]:
    paths = matching_files(pattern)
    if not paths:
        msg = (
            f"{pattern}: expected a file, or a pattern that matches some, found none; correct "
            "parsing_task_config.local_files (relative paths start at the configuration file)"
        )
        raise CatalogError(msg)
    return paths


def _describe(
    path: Path, layout: str, more_trees: Collection[str], given: Sample | None
) -> InputFile:
    return InputFile(
        url=str(path),
        source=f"local_{layout}",
        layout=layout,
        sample=given or _sample_of(path, layout, more_trees),
        size=path.stat().st_size,
    )


def _sample_of(path: Path, key: str, more_trees: Collection[str]) -> Sample:
    """Return what a file's branches say, or its name where they do not tell."""
    layout = load_layout(key)
    branch = layout.simulation.has_branch
    if branch is None:
        return _sample_named(path, key)
    try:
        is_simulation = has_branch(
            str(path), (*more_trees, *layout.trees), layout.spellings(branch)
        )
    except DataError as error:
        log.warning("cannot be opened, will count as failed: %s", error)
        return Sample.DATA
    return Sample.SIMULATION if is_simulation else Sample.DATA


def _sample_named(path: Path, layout: str) -> Sample:
    """Return what a file's name says, where data and simulation have the same branches."""
    said = load_layout(layout).sample_named(path.name)
    if said is None:
        names = load_layout(layout).simulation.file_names
        known = ""
        if names:
            known = f" (data: {', '.join(names.data)}; simulation: {', '.join(names.simulation)})"
        msg = (
            f"{path}: files of the layout {layout} have the same branches in data and simulation, "
            f"and this name tells neither{known}; set "
            "parsing_task_config.local_sample to data or mc, or rename the file"
        )
        raise CatalogError(msg)
    return said

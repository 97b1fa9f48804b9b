"""A run's files -> what the report says, finished or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.config import Config, load, to_yaml
from schemas.inputs import Sample
from schemas.reports import CutRow
from services.calculations.spectra import Grid
from services.contents import (
    listed_chunks,
    origin_note,
    sum_spectra,
)
from services.progress import StageProgress
from services.report import books
from services.report.channels import packed_spectra, rows
from services.report.stages import (
    Found,
    StageLine,
    find,
    missing,
    read_states,
    stage_lines,
    why_failed,
)
from services.run_directory import RunDirectory
from services.software import versions
from services.storage.atomic import storage_errors

# Whether the jobs' histograms are merged is read from the files: the state says so only later.
_MERGE = "merge"


@dataclass(frozen=True)
class Browser:
    """What the browser of channels shows; spectra are packed, in the order of the channels."""

    width_gev: float
    channels: tuple[dict[str, Any], ...]
    spectra: tuple[str, ...]
    notes: dict[str, str]
    """What must be said wherever events of a sample are shown."""


@dataclass(frozen=True)
class Picture:
    """A figure that lies beside the report: its name without ending, and all files of it."""

    stem: str
    png: bytes
    files: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """Everything that the report says."""

    name: str
    started: datetime | None
    ended: datetime | None
    is_generated: bool
    missing: tuple[str, ...]
    why_failed: tuple[str, ...]
    """Why jobs have failed, as long as something is missing."""
    stages: tuple[StageLine, ...]
    balances: tuple[books.Balance, ...]
    cut_flows: dict[str, tuple[CutRow, ...]]
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    configuration: str
    changed: tuple[str, ...]
    """Keys that have other values now than in the run's own configuration."""
    software: dict[str, str]
    pictures: tuple[Picture, ...]
    browser: Browser | None
    no_browser: str
    """Why there is no browser of channels."""


def read_run(config: Config, paths: RunDirectory, progress: Sequence[StageProgress]) -> Content:
    """Return what the files of a run say.

    Raises:
        DataError: a file of the run is damaged.
    """
    found = find(config, paths)
    of_parts = read_states(config, paths)
    states = list(of_parts.values())
    times = [record for state in states for record in state.stages.values()]
    started = [record.started for record in times if record.started]
    ended = [record.ended for record in times if record.ended]
    progress = [one for one in progress if one.stage != _MERGE]
    stages = tuple(stage_lines(states, progress, found.by_stage))
    done = [line.done for line in stages if line.done]
    left = tuple(missing(progress, found))
    flows = found.parsed.cut_flows if found.parsed else {}
    configuration, changed = _configuration(config, paths)
    return Content(
        name=paths.root.name,
        started=min(started, default=None),
        ended=max(ended, default=None),
        is_generated=found.is_generated,
        missing=left,
        why_failed=tuple(why_failed(paths, of_parts)) if left else (),
        stages=stages,
        balances=tuple(_balances(config, paths, progress, found)),
        cut_flows=books.rows_that_cut(flows),
        failures=found.parsed.failures if found.parsed else (),
        notes=tuple(f"{one.stage}: {note}" for one in done for note in one.notes),
        configuration=configuration,
        changed=changed,
        software=versions(),
        pictures=_pictures(paths.plots),
        browser=_browser(config, paths, found),
        no_browser=found.why_no_plan,
    )


def _balances(
    config: Config, paths: RunDirectory, progress: Sequence[StageProgress], found: Found
) -> Iterator[books.Balance]:
    if found.parsed:
        planned = found.parsed.taken["files"]
        is_complete = not any(one.n_open for one in progress if one.stage == found.parsed.stage)
        if paths.masses_input == paths.parsed_data and paths.file_list.exists():
            planned = sum(len(chunk.files) for chunk in listed_chunks(config, paths))
        yield books.of_files(planned, found.parsed, is_complete=is_complete)
        yield books.of_events(found.parsed)
    if found.computed and found.processed and found.plan:
        events = found.computed.taken.get("events", 0)
        of_masses = [one for one in progress if one.stage == found.computed.stage]
        is_read = any(not one.n_open for one in of_masses)
        if found.parsed and is_read and paths.processing_input == paths.masses:
            # What went in must be all that the stage before has made.
            events = found.parsed.made.get("events", 0)
        yield books.of_final_states(events, found.computed, found.plan)
        yield books.of_masses(found.computed, found.processed)
        if found.written:
            histograms = config.histogram_creation_task_config
            yield from books.of_histograms(found.processed, found.written, histograms)


def _configuration(config: Config, paths: RunDirectory) -> tuple[str, tuple[str, ...]]:
    """Return the run's own configuration as YAML, and which keys have other values now."""
    kept = load(paths.config_file) if paths.config_file.exists() else config
    before, now = kept.model_dump(mode="json"), config.model_dump(mode="json")
    # Which tasks, and as which job, is a matter of each call.
    sections = [section for section in now if section not in ("tasks", "run_metadata")]
    changed = tuple(
        f"{section}.{key}: {before[section][key]!r} in config.yaml, {value!r} now"
        for section in sections
        for key, value in now[section].items()
        if before[section][key] != value
    )
    return to_yaml(kept), changed


def _pictures(folder: Path) -> tuple[Picture, ...]:
    pictures = []
    for path in sorted(folder.glob("*.png")):
        with storage_errors(path, "read"):
            png = path.read_bytes()
        files = sorted(other.name for other in folder.glob("*.*") if other.stem == path.stem)
        pictures.append(Picture(path.stem, png, tuple(files)))
    return tuple(pictures)


def _browser(config: Config, paths: RunDirectory, found: Found) -> Browser | None:
    if found.plan is None:
        return None
    grid = Grid.of(config.post_processing_task_config)
    summed = sum_spectra(paths.processing_input, found.of_masses, grid)
    packed = {sample.value: packed_spectra(spectra, grid) for sample, spectra in summed.items()}
    channels = tuple(rows(found.plan, found.written, config.histogram_creation_task_config))
    names = (f"{row['state']}/{row['combination']}" for row in channels)
    spectra = tuple(
        packed[row["sample"]].get(name, "") for row, name in zip(channels, names, strict=True)
    )
    notes = {sample.value: origin_note(found.sources.get(sample, ()), sample) for sample in Sample}
    return Browser(grid.width, channels, spectra, notes)

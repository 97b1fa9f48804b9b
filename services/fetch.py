"""Catalogs -> metadata_cache.json: the list of input files."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from schemas.config import DEMO, Config, Parsing
from schemas.errors import CatalogError, DataError
from schemas.inputs import FileList, InputFile, Sample, Slice
from schemas.releases import layout_of_release, refuse_mixture
from schemas.reports import SliceReport
from services.calculations.chunking import in_random_order
from services.catalogs import asking, atlas, cache, demo, local
from services.chunks import digest_of
from services.closing import counted
from services.monitoring import peak_memory_bytes
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.addresses import portal
from services.storage.locks import locked
from services.workers import Workers

log = logging.getLogger(__name__)


# What the list of a run depends on.
_REQUEST_KEYS = (
    "release_years",
    "demo_events",
    "specific_record_ids",
    "local_files",
    "local_sample",
    "layout_by_record",
    "parse_mc",
    "datasets",
    "skim",
    "possible_data_tree_names",
    "file_order",
    "file_order_seed",
)


def run(
    config: Config,
    paths: RunDirectory,
    part: Slice,
    _workers: Workers,
    *,
    refresh: bool = False,
) -> SliceReport:
    """List the input files of the run, or take the list that it has; with `refresh` list anew.

    Raises:
        CatalogError: what the configuration names cannot be listed, or the list is another run's.
        ConfigError: inputs that must not be mixed are named together.
        StorageError: the list cannot be written.
    """
    started = time.monotonic()
    parsing = config.parsing_task_config
    listed = _listed(parsing, paths, part, refresh=refresh)
    log.info("fetching: %s listed in %s", counted(len(listed.files), "files"), paths.file_list)
    return SliceReport(
        stage="fetching",
        slice_index=part.index,
        slice_total=part.total,
        chunks=(),
        inputs="",
        content=digest_of([file.model_dump(mode="json") for file in listed.files]),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        taken={"sources": len({file.source for file in listed.files})},
        made={"files": len(listed.files)},
        lost={"other entries": sum(dataset.left_out for dataset in listed.datasets)},
    )


def _listed(parsing: Parsing, paths: RunDirectory, part: Slice, *, refresh: bool) -> FileList:
    """Return the run's list; if there is none it is made, once by however many processes."""
    request = _request(parsing)
    found = None if refresh else _list_of_run(paths, request)
    if found:
        return found
    lock = paths.file_list.with_name(paths.file_list.name + ".lock")
    n_catalogs = len(parsing.release_years) + len(parsing.specific_record_ids)
    with locked(lock, (1 + n_catalogs) * parsing.fetching_metadata_timeout):
        # Another process may have made it meanwhile.
        found = None if refresh else _list_of_run(paths, request)
        if found:
            return found
        listed = _list(parsing, paths, refresh=refresh)
        if not parsing.combine_releases:
            refuse_mixture(file.layout for file in listed.files)
        listed = listed.sealed(request, listed.listed_at or datetime.now(UTC))
        reports.write(paths.file_list, listed, part)
        return listed


def _request(parsing: Parsing) -> str:
    """Return the digest of all that decides what the list of a run is."""
    asked = parsing.model_dump(mode="json", include=set(_REQUEST_KEYS))
    catalogs = [atlas.api()] if set(parsing.release_years) - {DEMO} else []
    catalogs += [portal()] if parsing.specific_record_ids else []
    return cache.digest({**asked, "format": asking.FORMAT, "catalogs": catalogs})


def _list_of_run(paths: RunDirectory, request: str) -> FileList | None:
    """Return the list that the run has, None if it has to be made.

    Raises:
        CatalogError: there is one, but it is damaged or of another request.
    """
    if not paths.file_list.exists():
        return None
    hint = "list the files anew with --refresh-metadata, or name another run directory"
    try:
        found = reports.read(paths.file_list, FileList)
    except DataError as error:
        msg = f"{error}; {hint}"
        raise CatalogError(msg) from error
    if found.request != request:
        msg = (
            f"{paths.file_list}: expected the files that this configuration asks for, found the "
            f"list of another request; {hint}"
        )
        raise CatalogError(msg)
    return found if _is_still_there(found) else None


def _is_still_there(listed: FileList) -> bool:
    """Whether the demo release's files, which belong to the run, are still there."""
    made_here = [file for file in listed.files if file.source == DEMO]
    return all(Path(file.url).exists() for file in made_here)


def _list(parsing: Parsing, paths: RunDirectory, *, refresh: bool) -> FileList:
    """Return what all catalogs list, in the configured order."""
    files: list[InputFile] = []
    releases = [release for release in parsing.release_years if release != DEMO]
    for release in releases:
        # Whatever cannot be read is refused before anything is asked.
        layout_of_release(release)
    if DEMO in parsing.release_years:
        files += _demo_files(paths, parsing.demo_events)
    remote = [asking.files_of_release(name, parsing, refresh=refresh) for name in releases]
    atlas.refuse_unknown_datasets(parsing, [d for listed in remote for d in listed.datasets])
    records = parsing.specific_record_ids
    remote += [asking.files_of_record(name, parsing, refresh=refresh) for name in records]
    for listed in remote:
        files += listed.files
    files += local.list_files(
        parsing.local_files,
        parsing.possible_data_tree_names,
        None if parsing.local_sample == "auto" else Sample(parsing.local_sample),
    )
    _refuse_twice(files)
    if parsing.file_order == "shuffled":
        files = in_random_order(files, parsing.file_order_seed)
    return FileList(
        # The age of a list is that of its oldest part.
        listed_at=min((listed.listed_at for listed in remote if listed.listed_at), default=None),
        datasets=tuple(dataset for listed in remote for dataset in listed.datasets),
        files=tuple(files),
    )


def _demo_files(paths: RunDirectory, n_events: int) -> list[InputFile]:
    log.info("generating %d events of the demo release", n_events)
    return [
        InputFile(
            url=str(path),
            source=DEMO,
            layout="cms-nanoaod",
            sample=Sample.DATA,
            size=path.stat().st_size,
        )
        for path in demo.write_demo_files(paths.inputs, n_events)
    ]


def _refuse_twice(files: Sequence[InputFile]) -> None:
    seen: dict[str, InputFile] = {}
    for file in files:
        other = seen.setdefault(file.url, file)
        if other is not file:
            msg = (
                f"parsing_task_config: {file.url} is listed by {other.source} and by {file.source},"
                " so its events would count twice; leave out one of them"
            )
            raise CatalogError(msg)

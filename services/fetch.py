"""Catalogs -> metadata_cache.json: the list of input files."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from schemas.config import DEMO, Config
from schemas.errors import ConfigError
from schemas.inputs import FileList, InputFile, Sample, Slice
from schemas.releases import load_layout
from schemas.reports import SliceReport
from services.catalogs import demo, local
from services.chunks import digest_of
from services.monitoring import peak_memory_bytes
from services.run_directory import RunDirectory
from services.storage import reports
from services.workers import Workers

log = logging.getLogger(__name__)


def run(config: Config, paths: RunDirectory, part: Slice, _workers: Workers) -> SliceReport:
    """List the input files of the run.

    Raises:
        CatalogError: what the configuration names cannot be listed.
        ConfigError: inputs that must not be mixed are named together.
        StorageError: the list cannot be written.
    """
    started = time.monotonic()
    parsing = config.parsing_task_config
    if part.total > 1 and paths.file_list.exists():
        # All jobs of a run must see the same files.
        files = list(reports.read(paths.file_list, FileList).files)
    else:
        files = []
        if DEMO in parsing.release_years:
            files += _demo_files(paths, parsing.demo_events)
        files += local.list_files(
            parsing.local_files,
            parsing.possible_data_tree_names,
            None if parsing.local_sample == "auto" else Sample(parsing.local_sample),
        )
        if not parsing.combine_releases:
            _refuse_mixture(files)
        reports.write(paths.file_list, FileList(files=tuple(files)), part)
    log.info("fetching: %d files listed in %s", len(files), paths.file_list)
    return SliceReport(
        stage="fetching",
        slice_index=part.index,
        slice_total=part.total,
        chunks=(),
        inputs="",
        content=digest_of([file.model_dump(mode="json") for file in files]),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
        taken={"sources": len({file.source for file in files})},
        made={"files": len(files)},
        lost={},
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


def _refuse_mixture(files: Sequence[InputFile]) -> None:
    origins: dict[tuple[str, float | None], str] = {}
    for file in files:
        layout = load_layout(file.layout)
        origins.setdefault((layout.experiment, layout.collision_energy_tev), file.layout)
    if len(origins) > 1:
        found = " and ".join(
            f"{layout} ({experiment}{f', {energy} TeV' if energy else ''})"
            for (experiment, energy), layout in origins.items()
        )
        msg = (
            f"parsing_task_config: expected inputs of one experiment and collision energy, found "
            f"{found}; run them apart, or set combine_releases: true to add them up"
        )
        raise ConfigError(msg)

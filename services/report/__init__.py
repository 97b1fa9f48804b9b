"""The files of a run -> plots/index.html: one page that opens from disk, without a network."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from schemas.config import Config
from schemas.inputs import Slice
from services.progress import StageProgress
from services.report.page import render
from services.report.reading import read_run
from services.run_directory import RunDirectory
from services.storage.atomic import write_text

log = logging.getLogger(__name__)


def run(
    config: Config, paths: RunDirectory, part: Slice, progress: Sequence[StageProgress]
) -> Path:
    """Write the report of a run, finished or not, and return its path.

    `progress` says how far each stage of the run has come. The figures that lie beside the report
    are shown in it.

    Raises:
        DataError: a file of the run is damaged.
        StorageError: the report cannot be written.
    """
    started = time.monotonic()
    text = render(read_run(config, paths, progress))
    write_text(paths.report_file, text, part)
    log.info("report: %.1f MB in %.1f s", len(text) / 1e6, time.monotonic() - started)
    return paths.report_file

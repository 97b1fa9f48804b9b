"""`--redo`: reports say what is done, so work whose reports are taken away is done again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from schemas.config import Config
from schemas.errors import BarrierError, DataError
from schemas.inputs import Slice
from schemas.reports import SliceReport
from services.barriers import computed_slices, dealt_chunks, parsed_slices
from services.calculations.chunking import deal
from services.contents import listed_chunks
from services.run_directory import RunDirectory, chunk_report, slice_report
from services.storage import reports
from services.storage.atomic import storage_errors

log = logging.getLogger(__name__)


def take_away_reports(
    config: Config, paths: RunDirectory, folders: Sequence[Path], part: Slice
) -> None:
    """Take away what says that a slice's stages are done: their reports in these folders.

    Only reports go that the stages will write anew; what they describe is replaced when its turn
    comes. The slice's report goes first: whatever stops this, the stage is known to be undone.

    Raises:
        StorageError: a report cannot be removed.
    """
    chunks = {chunk for told in _told(config, paths, folders, part) for chunk in told}
    for folder in folders:
        with storage_errors(folder, "changed"):
            slice_report(folder, part).unlink(missing_ok=True)
            for chunk in sorted(chunks):
                chunk_report(folder, chunk).unlink(missing_ok=True)
        log.info("%s: what slice %s has made is made again", folder, part)


def _told(
    config: Config, paths: RunDirectory, folders: Sequence[Path], part: Slice
) -> Iterator[Sequence[str]]:
    """Yield the chunks of a slice, by whatever tells of them: a stage may have been cut off.

    They are the same in all stages. What is damaged or incomplete tells of nothing here; the stage
    that needs it says so.
    """
    if paths.file_list.exists():
        with suppress(DataError):
            listed = listed_chunks(config, paths)
            dealt = deal([chunk.size for chunk in listed], part.total)
            yield [listed[i].name for i in dealt[part.index - 1]]
    for upstream in (parsed_slices, computed_slices):
        with suppress(BarrierError, DataError):
            yield dealt_chunks(upstream(config, paths, part), part)
    for folder in folders:
        with suppress(DataError):
            yield reports.read(slice_report(folder, part), SliceReport).chunks

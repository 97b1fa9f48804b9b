"""What the folders of a run hold, over all slices: summed spectra, and where events come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from schemas.config import DEMO, Config, digest
from schemas.inputs import Chunk, FileList, Sample, Slice
from schemas.reports import ChunkReport, SliceReport
from services.calculations.chunking import limit_files, make_chunks
from services.calculations.spectra import Grid, Spectra, add_spectra
from services.chunks import digest_of
from services.run_directory import RunDirectory, chunk_report, summed_spectra
from services.storage import reports
from services.storage.arrays import read_spectra


def listed_chunks(config: Config, paths: RunDirectory) -> tuple[Chunk, ...]:
    """Return all chunks of the run, as its file list and its configuration cut them.

    Raises:
        DataError: there is no file list, or it is damaged.
    """
    parsing = config.parsing_task_config
    listed = reports.read(paths.file_list, FileList).files
    return make_chunks(limit_files(listed, parsing.max_files_to_process), parsing.chunk_input_bytes)


def made_of(config: Config, stage: str, upstream: Sequence[SliceReport]) -> str:
    """Return the digest of what a stage is made of: its configuration, and what it reads."""
    return digest_of(digest(config, stage), [report.content for report in upstream])


def filled_of(config: Config, processed_inputs: str) -> str:
    """Return the digest of what histograms are made of: configuration, and post-processing's.

    Post-processing makes of the same the same. So a job's histograms do not wait for what others
    have made of it, and are known to fit together all the same.
    """
    return digest_of(digest(config, "histogram_creation"), processed_inputs)


def sum_spectra(folder: Path, computed: Sequence[SliceReport], grid: Grid) -> dict[Sample, Spectra]:
    """Return the mass spectra of the whole run per sample; `folder` holds those of its slices.

    Raises:
        DataError: a slice's spectra are missing, damaged, others than it made, or on another grid.
    """
    for summary in computed:
        for output in summary.outputs:
            reports.check(folder / output.name, output)
    summed = {}
    for sample in Sample:
        parts = [
            Slice(summary.slice_index, summary.slice_total)
            for summary in computed
            if sample in summary.samples
        ]
        files = [summed_spectra(folder, part, sample) for part in parts]
        summed[sample] = add_spectra(read_spectra(file, grid) for file in files)
    return summed


def sources(
    folder: Path, completed: Sequence[SliceReport], kind: type[ChunkReport]
) -> dict[Sample, set[str]]:
    """Return where the events of each sample come from, by the chunk reports in `folder`.

    Raises:
        DataError: a report is missing or damaged.
    """
    found: dict[Sample, set[str]] = {}
    for summary in completed:
        for chunk in summary.chunks:
            report = reports.read(chunk_report(folder, chunk), kind)
            found.setdefault(report.sample, set()).add(report.source)
    return found


def is_made_of(
    made: Sequence[SliceReport], upstream: Sequence[SliceReport], config: Config, stage: str
) -> bool:
    """Whether a stage was completed by this configuration, from what `upstream` tells of."""
    inputs = made_of(config, stage, upstream)
    return bool(made) and all(report.inputs == inputs for report in made)


def are_filled_of(
    filled: Sequence[SliceReport], processed: Sequence[SliceReport], config: Config
) -> bool:
    """Whether histograms were made by this configuration, from what `processed` tells of."""
    inputs = {filled_of(config, report.inputs) for report in processed}
    return bool(filled) and {report.inputs for report in filled} == inputs


def origin_note(of_sources: Collection[str], sample: Sample) -> str:
    """Return what must be said wherever such events are shown; nothing for collision data."""
    if DEMO in of_sources:
        return "generated, not data"
    return "simulation, unweighted" if sample is Sample.SIMULATION else ""

"""What a run has stored, and where: folders, reports, plan and verdicts, over all slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from schemas.config import Config
from schemas.errors import DataError, did_you_mean
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import (
    ChunkReport,
    HistogramReport,
    MassReport,
    ParseReport,
    PostProcessingReport,
    SliceReport,
)
from services import contents
from services.barriers import completed_slices, missing_slices
from services.calculations.spectra import Grid
from services.chunks import digest_of
from services.pipeline import STAGES, Stage
from services.run_directory import RunDirectory, chunk_report
from services.storage import reports
from services.storage.arrays import Arrays, open_arrays

PARSING, MASSES, PROCESSING, HISTOGRAMS = (stage for stage in STAGES if stage.output)
# Stages that make chunks, and what they report of one.
CHUNK_REPORTS: dict[str, type[ChunkReport]] = {
    PARSING.name: ParseReport,
    MASSES.name: MassReport,
    PROCESSING.name: PostProcessingReport,
}
# Memory for what is read at a time.
RANGE_BYTES = 64_000_000

Part = Literal["all", "main", "outliers"]
# How the arrays of each part are called, behind the name of their channel.
_ENDINGS: dict[str, str] = {"all": "", "main": "_main", "outliers": "_outliers"}


def storage_of(part: Part) -> tuple[Stage, str]:
    """Return which stage stores a part of the masses, and how its arrays' names end.

    Raises:
        DataError: there is no such part.
    """
    if part not in _ENDINGS:
        msg = f"masses: {part!r} is not a part of a channel{did_you_mean(part, _ENDINGS)}"
        raise DataError(msg)
    return (MASSES if part == "all" else PROCESSING), _ENDINGS[part]


@dataclass(frozen=True)
class StoredRun:
    """The files of one run. Of a stage that it does not do itself, what it was told to read."""

    config: Config
    paths: RunDirectory
    _chunk_reports: dict[str, list[ChunkReport]] = field(default_factory=dict)

    def folder(self, stage: Stage) -> Path:
        """Return where a stage's output is: the run's own, or what the stage after it reads."""
        paths = self.paths
        read_from = {
            PARSING.name: paths.masses_input,
            MASSES.name: paths.processing_input,
            PROCESSING.name: paths.histograms_input,
        }
        is_own = stage.task in self.config.tasks.enabled() or stage.name not in read_from
        return stage.folder(paths) if is_own else read_from[stage.name]

    def is_complete(self, stage: Stage) -> bool:
        """Whether all slices of a stage have left their reports."""
        return not missing_slices(self.folder(stage), stage.name, Slice())

    def slices(self, stage: Stage) -> tuple[SliceReport, ...]:
        """Return the reports of all slices of a stage.

        Raises:
            BarrierError: some are not complete.
        """
        return completed_slices(self.folder(stage), stage.name, Slice())

    def chunk_reports(self, stage: Stage) -> list[ChunkReport]:
        """Return the reports of a stage's chunks, in an order that does not depend on the slices.

        Sources come by name, and the chunks of each in the order of its files.

        Raises:
            BarrierError: some slices are not complete.
        """
        if stage.name not in self._chunk_reports:
            folder, model = self.folder(stage), CHUNK_REPORTS[stage.name]
            names = (chunk for report in self.slices(stage) for chunk in report.chunks)
            found = [reports.read(chunk_report(folder, name), model) for name in names]
            # Of two numbers, the longer one is the larger.
            found.sort(key=lambda report: (report.source, len(report.chunk), report.chunk))
            self._chunk_reports[stage.name] = found
        return self._chunk_reports[stage.name]

    def chunks(self, stage: Stage, sample: Sample) -> list[str]:
        """Return the chunks of a sample, in the same order; raises as for their reports."""
        return [report.chunk for report in self.chunk_reports(stage) if report.sample is sample]

    def arrays(self, stage: Stage, sample: Sample) -> Iterator[Arrays]:
        """Yield what reads the arrays of each chunk of a sample; raises as for their reports."""
        for chunk in self.chunks(stage, sample):
            with open_arrays(self.folder(stage), chunk) as stored:
                yield stored

    @cached_property
    def plan(self) -> Plan | None:
        """What was decided for every channel; None where post-processing has not begun."""
        path = self.folder(PROCESSING) / self.paths.plan_file.name
        return reports.read(path, Plan) if path.exists() else None

    @cached_property
    def grid(self) -> Grid:
        """The grid of the plan, or the one that the configuration asks for."""
        if self.plan is None:
            return Grid.of(self.config.post_processing_task_config)
        width = self.plan.bin_width_gev
        return Grid(width, round(self.plan.max_mass_gev / width))

    @cached_property
    def populations(self) -> dict[Sample, dict[str, int]]:
        """Masses per channel and sample, by the spectra of all slices."""
        summed = contents.sum_spectra(self.folder(MASSES), self.slices(MASSES), self.grid)
        return {sample: spectra.entries() for sample, spectra in summed.items()}

    @cached_property
    def verdicts(self) -> dict[Sample, HistogramReport]:
        """What BumpNet would take, per sample; empty where that is not known."""
        if not (self.is_complete(HISTOGRAMS) and self.is_complete(PROCESSING)):
            return {}
        whole = self.slices(HISTOGRAMS)
        if not contents.are_filled_of(whole, self.slices(PROCESSING), self.config):
            return {}
        if len(whole) > 1:
            # A job's own histograms have not been judged: that is for their sum.
            merged = self.merged()
            if merged is None or merged.inputs != digest_of([r.content for r in whole]):
                return {}
            whole = (merged,)
        return {of.sample: of for report in whole for of in report.histograms}

    def merged(self) -> SliceReport | None:
        """Return the report of the merge; None where nothing was merged."""
        path = self.paths.merge_report
        return reports.read(path, SliceReport) if path.exists() else None

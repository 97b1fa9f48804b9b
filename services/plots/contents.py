"""What a run's files hold for its figures, finished or not: each is read once, when asked for."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from schemas.config import Config
from schemas.inputs import Sample, Slice
from schemas.plan import Plan
from schemas.reports import (
    ChunkReport,
    CutRow,
    Distributions,
    HistogramReport,
    MassReport,
    ParseReport,
    PostProcessingReport,
    SliceReport,
    add_cut_flows,
)
from schemas.state import RunState
from services.barriers import completed_slices, missing_slices
from services.calculations.objects import add_counts
from services.calculations.spectra import Grid, Spectra
from services.chunks import digest_of
from services.contents import are_filled_of, is_made_of, origin_note, sum_spectra
from services.run_directory import RunDirectory, chunk_report
from services.storage import reports

log = logging.getLogger(__name__)

Report = TypeVar("Report", bound=ChunkReport)


@dataclass(frozen=True)
class StageContents(Generic[Report]):
    """What a stage has left so far: reports of slices that are complete, and of all chunks."""

    name: str
    slices: tuple[SliceReport, ...] = ()
    chunks: tuple[Report, ...] = ()
    absent: str = ""
    """In words, what is missing of it; nothing if it is complete."""
    is_own: bool = True
    """Whether this run did it, and not another one whose output is read."""

    @property
    def completed(self) -> tuple[SliceReport, ...]:
        """The reports of all slices; none if one is missing."""
        return () if self.absent else self.slices

    def sources(self) -> dict[Sample, set[str]]:
        """Return where the events of each sample come from."""
        found: dict[Sample, set[str]] = {}
        for chunk in self.chunks:
            found.setdefault(chunk.sample, set()).add(chunk.source)
        return found


@dataclass
class SourceContents:
    """What was parsed of one source and sample."""

    sample: Sample
    files: int = 0
    events_read: int = 0
    events_kept: int = 0
    cut_flow: tuple[CutRow, ...] = ()
    distributions: Distributions = field(default_factory=Distributions)


@dataclass(frozen=True, eq=False)
class Contents:
    """A run, as its files tell of it."""

    config: Config
    paths: RunDirectory

    @cached_property
    def fetching_seconds(self) -> float | None:
        """How long listing the files took; None where no state file says so."""
        states = sorted(self.paths.logs.glob("state*.json"))
        found = (reports.read(path, RunState).stages.get("fetching") for path in states)
        return next((record.seconds for record in found if record and record.seconds), None)

    @cached_property
    def parsed(self) -> StageContents[ParseReport]:
        """What parsing has left."""
        return _read_stage("parsing", self.paths.masses_input, ParseReport, self.paths.parsed_data)

    @cached_property
    def computed(self) -> StageContents[MassReport]:
        """What the mass calculation has left."""
        return _read_stage(
            "mass_calculating", self.paths.processing_input, MassReport, self.paths.masses
        )

    @cached_property
    def processed(self) -> StageContents[PostProcessingReport]:
        """What post-processing has left."""
        return _read_stage("post_processing", self.paths.processed, PostProcessingReport)

    @cached_property
    def filled(self) -> StageContents[ChunkReport]:
        """What the histogram creation has left; it reports no chunks."""
        return _read_stage("histogram_creation", self.paths.histograms, ChunkReport)

    @cached_property
    def merged(self) -> SliceReport | None:
        """What was merged of the jobs' histograms; None for a single job, or where it is old."""
        slices = self.filled.completed
        if len(slices) <= 1 or not self.paths.merge_report.exists():
            return None
        report = reports.read(self.paths.merge_report, SliceReport)
        return report if report.inputs == digest_of([part.content for part in slices]) else None

    @cached_property
    def sources(self) -> dict[str, SourceContents]:
        """What was parsed so far, by source and sample, sorted."""
        found: dict[str, SourceContents] = {}
        flows: dict[str, list[tuple[CutRow, ...]]] = {}
        for chunk in self.parsed.chunks:
            key = f"{chunk.source}{chunk.sample.suffix}"
            source = found.setdefault(key, SourceContents(chunk.sample))
            source.files += len(chunk.files)
            source.events_read += chunk.events_read
            source.events_kept += chunk.events_kept
            source.distributions += chunk.distributions
            flows.setdefault(key, []).append(chunk.cut_flow)
        for key, source in found.items():
            source.cut_flow = add_cut_flows(flows[key])
        return dict(sorted(found.items()))

    def populations(self, sample: Sample) -> dict[str, int]:
        """Return the events parsed so far per exact multiplicity of all six types."""
        return add_counts(c.populations for c in self.parsed.chunks if c.sample is sample)

    @cached_property
    def plan(self) -> Plan | None:
        """The plan, if it is that of this configuration and of these masses."""
        computed, processed = self.computed.completed, self.processed.completed
        if is_made_of(processed, computed, self.config, "post_processing"):
            return reports.read(self.paths.plan_file, Plan)
        if computed and processed:
            log.info("plots: no channel is drawn: the plan is out of date; run post_processing")
        return None

    @property
    def has_masses_of_parsed(self) -> bool:
        """Whether the masses are those of this configuration and of the events that are there."""
        computed, parsed = self.computed.completed, self.parsed.completed
        return is_made_of(computed, parsed, self.config, "mass_calculating")

    @property
    def grid(self) -> Grid:
        """The grid of the spectra and of the plan."""
        return Grid.of(self.config.post_processing_task_config)

    @cached_property
    def spectra(self) -> dict[Sample, Spectra]:
        """The mass spectra of the whole run; of complete masses only."""
        return sum_spectra(self.paths.processing_input, self.computed.completed, self.grid)

    @cached_property
    def has_histograms(self) -> bool:
        """Whether the histograms are those of this configuration and plan."""
        return self.plan is not None and are_filled_of(
            self.filled.completed, self.processed.completed, self.config
        )

    @property
    def histograms(self) -> tuple[HistogramReport, ...]:
        """The histograms of the whole run, per sample; none if they are not complete."""
        if not self.has_histograms:
            return ()
        if len(self.filled.slices) == 1:
            return self.filled.slices[0].histograms
        return self.merged.histograms if self.merged else ()

    def about(self, sample: Sample, of_sources: Collection[str]) -> str:
        """Return what is said under the heading of a figure of one sample."""
        return self._about(origin_note(of_sources, sample))

    def about_all(self, stage: StageContents[Report]) -> str:
        """Return what is said under the heading of a figure of all samples."""
        notes = [origin_note(found, sample) for sample, found in stage.sources().items()]
        return self._about(", ".join(dict.fromkeys(filter(None, notes))))

    def _about(self, note: str) -> str:
        name = self.config.run_metadata.run_name
        return f"{name} ({note})" if note else name


def _read_stage(
    name: str, folder: Path, kind: type[Report], own: Path | None = None
) -> StageContents[Report]:
    """Read the reports of a stage; of chunks also those that no slice tells of yet.

    `own` is where this run leaves its output, if `folder` need not be that.
    """
    is_own = own in (None, folder)
    absent = missing_slices(folder, name, Slice())
    if absent:
        log.info("plots: %s", absent)
        found = [reports.read(path, SliceReport) for path in sorted(folder.glob("slice_*.json"))]
        slices = tuple(report for report in found if report.stage == name)
        chunks = [path.stem for path in sorted(folder.glob("parsed_*.json"))]
    else:
        slices = completed_slices(folder, name, Slice())
        chunks = [chunk for report in slices for chunk in report.chunks]
    if kind is ChunkReport:
        return StageContents(name, slices, (), absent, is_own)
    of_chunks = tuple(reports.read(chunk_report(folder, chunk), kind) for chunk in chunks)
    return StageContents(name, slices, of_chunks, absent, is_own)

"""What jobs did, as numbers that add up exactly: batch_{i}_stats.json, aggregated_stats.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from schemas.errors import DataError
from schemas.inputs import Sample
from schemas.reports import ClassCounts, Counts, CutRow, FileCounts, SliceReport, add_cut_flows


def _added(one: Counts, other: Counts) -> Counts:
    units = dict.fromkeys([*one, *other])
    return {unit: one.get(unit, 0) + other.get(unit, 0) for unit in units}


class StageStatistics(BaseModel):
    """What one stage did, in one job or in all."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    slices: int = 1
    """How many jobs are added up here."""
    chunks: int
    kept: int
    """How many of the chunks had been made before."""
    seconds: float
    """Of all jobs together."""
    peak_memory_bytes: int
    """Of the process that took most."""
    taken: Counts
    made: Counts
    lost: Counts
    decided: Counts
    """Of the whole run, as every job found it."""
    bytes_in: int = 0
    """Size of what was read, where it is known."""
    bytes_out: int = 0
    files: FileCounts = FileCounts()
    """Of parsing: what became of the input files."""
    classes: ClassCounts = ClassCounts()
    """Of post-processing: the masses of each class."""
    populations: dict[Sample, dict[str, int]]
    cut_flows: dict[str, tuple[CutRow, ...]]
    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, report: SliceReport) -> StageStatistics:
        """Return the numbers of one job."""
        return cls(
            stage=report.stage,
            chunks=len(report.chunks),
            kept=report.kept,
            seconds=report.seconds,
            peak_memory_bytes=report.peak_memory_bytes,
            taken=report.taken,
            made=report.made,
            lost=report.lost,
            decided=report.decided,
            bytes_in=report.bytes_in,
            bytes_out=report.bytes_out,
            files=report.files,
            classes=report.classes,
            populations=report.populations,
            cut_flows=report.cut_flows,
            failures=report.failures,
            notes=report.notes,
        )

    def imbalances(self) -> tuple[str, ...]:
        """Return, in sentences, what of the files and masses that went in is unaccounted for."""
        try:
            self.files.check(self.stage)
            if self.classes.total:
                self.classes.check(self.stage, self.taken.get("masses", 0))
        except DataError as error:
            return (str(error),)
        return ()

    def __add__(self, other: StageStatistics) -> StageStatistics:
        """Add the numbers of other jobs."""
        samples = dict.fromkeys([*self.populations, *other.populations])
        sources = dict.fromkeys([*self.cut_flows, *other.cut_flows])
        return StageStatistics(
            stage=self.stage,
            slices=self.slices + other.slices,
            chunks=self.chunks + other.chunks,
            kept=self.kept + other.kept,
            seconds=self.seconds + other.seconds,
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
            taken=_added(self.taken, other.taken),
            made=_added(self.made, other.made),
            lost=_added(self.lost, other.lost),
            decided=self.decided | other.decided,
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            files=self.files + other.files,
            classes=self.classes + other.classes,
            populations={
                sample: _added(self.populations.get(sample, {}), other.populations.get(sample, {}))
                for sample in samples
            },
            cut_flows={
                source: add_cut_flows(
                    [self.cut_flows.get(source, ()), other.cut_flows.get(source, ())]
                )
                for source in sources
            },
            failures=self.failures + other.failures,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )


class Statistics(BaseModel):
    """What all stages did."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    total_batch_jobs: int
    """Into how many jobs the run is cut."""
    stages: dict[str, StageStatistics]
    """By the name of the stage, in their order; a stage that has not been done is not there."""

"""Reports of all stages -> logs/summary.json: how a run went, what it lost, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.config import Config, digest
from schemas.errors import DataError, PipelineError
from schemas.inputs import Slice
from schemas.reports import FileOutcome, FileStatus, ParseReport, SliceReport
from schemas.state import RunState, State
from schemas.statistics import StageStatistics
from schemas.summary import Exit, RunSummary
from services.run_directory import RunDirectory, chunk_report, slice_report
from services.software import versions
from services.storage import reports

log = logging.getLogger(__name__)

# Pairs of stages of which the second reads what the first has made, by their names.
Chain = Sequence[tuple[str, str]]


@dataclass
class Story:
    """What there is to tell of one call of the program; it is written down however that ends."""

    config: Config
    paths: RunDirectory
    part: Slice
    parts: Sequence[Slice]
    """The slices that this call is about: all, for a merge."""
    chain: Chain
    redone: tuple[str, ...] = ()
    stages: dict[str, StageStatistics] = field(default_factory=dict)
    """What the stages did, by their names, in their order."""
    waiting_for: str = ""

    def audit(self) -> None:
        """Raise DataError unless what one stage made is what the next one took."""
        found = imbalances(self.stages, self.chain)
        if found:
            raise DataError("; ".join(found))

    @contextmanager
    def written_at_its_end(
        self, on_the_books: Callable[[], Mapping[str, StageStatistics]]
    ) -> Iterator[None]:
        """Write the summary when the body ends, or fails.

        `on_the_books` returns what stages have left in their reports, for the case of a failure.
        """
        started = datetime.now(UTC)
        try:
            yield
        except PipelineError as error:
            # A second failure must not hide the first: that is what the user must hear of.
            lost: tuple[FileOutcome, ...] = ()
            with _told_as_warning("the summary of the run lacks what reports say"):
                self.stages |= {
                    name: stage for name, stage in on_the_books().items() if name not in self.stages
                }
                lost = self._failed_files()
            with _told_as_warning("there is no summary of the run"):
                self._write(Exit.FAILED, str(error), started, lost)
            raise
        except BaseException as error:
            with _told_as_warning("there is no summary of the run"):
                self._write(Exit.STOPPED, str(error) or type(error).__name__, started)
            raise
        ending = Exit.WAITING if self.waiting_for else Exit.COMPLETE
        self._write(ending, self.waiting_for, started, self._failed_files())

    def _write(
        self, ending: Exit, reason: str, started: datetime, lost: tuple[FileOutcome, ...] = ()
    ) -> None:
        state_file = self.paths.state_file(self.part)
        state = reports.read(state_file, RunState) if state_file.exists() else None
        ended = datetime.now(UTC)
        wrong = imbalances(self.stages, self.chain)
        summary = RunSummary(
            run_name=self.config.run_metadata.run_name,
            run_directory=str(self.paths.root),
            job=self.part.index if self.part.total > 1 else None,
            total_batch_jobs=self.config.run_metadata.total_batch_jobs or 1,
            tasks=self.config.tasks.enabled(),
            redone=self.redone,
            configuration_digest=digest(self.config),
            state=state.state if state else State.IDLE,
            exit=ending,
            reason=reason,
            started=started,
            ended=ended,
            seconds=(ended - started).total_seconds(),
            records=state.stages if state else {},
            stages={
                name: stage.model_copy(update={"populations": {}})
                for name, stage in self.stages.items()
            },
            failed_files=lost,
            balanced=not wrong,
            imbalances=wrong,
            software=versions(),
        )
        reports.write(self.paths.summary_file(self.part), summary, self.part)

    def _failed_files(self) -> tuple[FileOutcome, ...]:
        """Return the files that were not read to their end, by the reports of the chunks."""
        if not any(stage.files.failed or stage.files.partial for stage in self.stages.values()):
            return ()
        folder = self.paths.parsed_data
        of_slices = [reports.read(slice_report(folder, part), SliceReport) for part in self.parts]
        of_chunks = [
            reports.read(chunk_report(folder, chunk), ParseReport)
            for of_slice in of_slices
            for chunk in of_slice.chunks
        ]
        return tuple(
            file
            for report in of_chunks
            for file in report.files
            if file.status is not FileStatus.DONE
        )


@contextmanager
def _told_as_warning(what: str) -> Iterator[None]:
    try:
        yield
    except PipelineError as error:
        log.warning("%s: %s", what, error)


def imbalances(stages: Mapping[str, StageStatistics], chain: Chain) -> tuple[str, ...]:
    """Return, in sentences, what does not balance: within the stages, and from one to the next."""
    found = [sentence for stage in stages.values() for sentence in stage.imbalances()]
    for one, other in chain:
        if one in stages and other in stages:
            made, taken = stages[one].made, stages[other].taken
            found += [
                f"the books do not balance: {unit} made by {one} and taken by {other}: "
                f"{made[unit]:,} against {taken[unit]:,}"
                for unit in made
                if unit in taken and made[unit] != taken[unit]
            ]
    return tuple(found)

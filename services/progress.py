"""How far the jobs of a run have come, by their reports, locks and states."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.inputs import Slice
from schemas.state import RunState, StageStatus, State
from services.closing import aligned, counted
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.locks import is_held


@dataclass(frozen=True)
class StageProgress:
    """The slices of one stage, by number; those that are named nowhere are done."""

    stage: str
    total: int
    running: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()

    @property
    def n_open(self) -> int:
        """How many slices are not done."""
        return len(self.running) + len(self.failed) + len(self.waiting)

    def row(self) -> tuple[str, ...]:
        """Return the numbers as a line of a table: stage, done, running, failed, not begun."""
        numbers = (self.total - self.n_open, *map(len, (self.running, self.failed, self.waiting)))
        named = ", ".join(map(str, self.failed))
        return (self.stage, *map(str, numbers), f"failed: {named}" if named else "")


def progress_of_slices(
    paths: RunDirectory, stages: Sequence[str], total: int, unfinished: Collection[int]
) -> StageProgress:
    """Return what has become of the slices that a stage, the last of `stages`, has not completed.

    The others are what a job does before it without leaving a slice's report. A job that ended
    without a word, by a kill for example, has failed.
    """
    running, failed, waiting = [], [], []
    for index in unfinished:
        part = Slice(index, total)
        state = _state(paths.state_file(part))
        records = state.stages if state else {}
        found = {records[stage].status for stage in stages if stage in records}
        if StageStatus.RUNNING in found and is_held(paths.lock_file(part)):
            running.append(index)
        elif found & {StageStatus.RUNNING, StageStatus.FAILED}:
            failed.append(index)
        else:
            waiting.append(index)
    return StageProgress(stages[-1], total, tuple(running), tuple(failed), tuple(waiting))


@dataclass(frozen=True)
class Prospect:
    """What a run that is continued would do in a stage, and why."""

    stage: str
    total: int
    """Into how many slices it is cut."""
    absent: tuple[int, ...]
    unfinished: tuple[int, ...]
    """These are absent or out of date."""
    changed: tuple[str, ...] = ()
    """Keys of the configuration that it depends on, with their values then and now."""
    n_failed: int = 0
    """Files that were not read whole."""
    after: str = ""
    """The stage before it, if that is made again."""

    @property
    def is_kept(self) -> bool:
        """Whether nothing of it is made again."""
        return not self.unfinished and not self.n_failed

    def __str__(self) -> str:
        """Return for example `parsing: is done, and kept`."""
        return f"{self.stage}: {self._words}"

    @property
    def _words(self) -> str:
        missing = f"{', '.join(map(str, self.absent))} of {self.total}"
        cases = (
            (self.is_kept, "is done, and kept"),
            (len(self.absent) == self.total, "runs"),
            (bool(self.changed), f"is done again: {'; '.join(self.changed)}"),
            (bool(self.after), f"is done again where {self.after} makes something else"),
            (
                not self.unfinished,
                f"is done; what failed is tried again: {counted(self.n_failed, 'files')}",
            ),
            (self.absent == self.unfinished, f"slices that are missing run: {missing}"),
        )
        otherwise = "is done again: it was made of other input or by another configuration"
        return next((words for holds, words in cases if holds), otherwise)


def progress_of_merge(paths: RunDirectory, *, is_complete: bool) -> StageProgress:
    """Return what has become of the merge; it is done only if everything before it is."""
    state = _state(paths.state_file(Slice()))
    if is_held(paths.lock_file(Slice())):
        return StageProgress("merge", 1, running=(1,))
    if state is None or (state.state is State.COMPLETED and not is_complete):
        return StageProgress("merge", 1, waiting=(1,))
    if state.state is State.COMPLETED:
        return StageProgress("merge", 1)
    return StageProgress("merge", 1, failed=(1,))


def _state(path: Path) -> RunState | None:
    return reports.read(path, RunState) if path.exists() else None


def progress_table(stages: Collection[StageProgress]) -> str:
    """Return the table of all stages."""
    header = ("stage", "done", "running", "failed", "not begun", "")
    return aligned(header, [stage.row() for stage in stages])

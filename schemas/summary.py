"""How a run went, for people and programs: logs/summary.json."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from schemas.reports import FileOutcome
from schemas.state import StageRecord, State
from schemas.statistics import StageStatistics


class Exit(StrEnum):
    """How a call of the program ended."""

    COMPLETE = "complete"
    WAITING = "waiting"
    """A batch job has done what it can; other jobs have not."""
    FAILED = "failed"
    STOPPED = "stopped"
    """By Ctrl-C, or by SIGTERM as schedulers send it."""


class RunSummary(BaseModel):
    """What the newest call of the program has made of a run, or of a job's part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run_name: str
    run_directory: str
    job: int | None
    """Number of the batch job; null for a run of one job, and for the merge."""
    total_batch_jobs: int
    """Into how many jobs the run is cut."""
    tasks: tuple[str, ...]
    """What this call was to do."""
    redone: tuple[str, ...]
    """Of these, what was made again though it was done."""
    configuration_digest: str
    """Changes with every key that can change a result."""
    state: State
    exit: Exit
    reason: str
    """Why it ended like that, in a sentence; nothing to say of what is complete."""
    started: datetime
    ended: datetime
    seconds: float
    records: dict[str, StageRecord]
    """When each stage ran; also of earlier calls."""
    stages: dict[str, StageStatistics]
    """What the stages did that were done, or failed with their work on the books.

    The populations are left out here; aggregated_stats.json has them.
    """
    failed_files: tuple[FileOutcome, ...]
    """The input files that are not, or not wholly, in the result, and why."""
    balanced: bool
    """Whether all files and masses are accounted for, and no stage took other than was made."""
    imbalances: tuple[str, ...]
    """If not: what differs, one sentence each."""
    software: dict[str, str]
    """Versions of the program, of Python and of the libraries."""

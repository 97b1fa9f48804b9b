"""The state of a run, as logs/state.json keeps it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class State(StrEnum):
    """Where the state machine stands."""

    IDLE = "IDLE"
    FETCHING = "FETCHING"
    PARSING = "PARSING"
    MASS_CALCULATING = "MASS_CALCULATING"
    POST_PROCESSING = "POST_PROCESSING"
    HISTOGRAM_CREATION = "HISTOGRAM_CREATION"
    MERGING = "MERGING"
    """The jobs' histograms are added up."""
    DRAWING = "DRAWING"
    """Figures and report are drawn."""
    WAITING = "WAITING"
    """A batch job has done what it can; other jobs have not."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class StageStatus(StrEnum):
    """How far a stage has come."""

    DISABLED = "disabled"
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class StageRecord(BaseModel):
    """One stage in the state file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: StageStatus
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None


class RunState(BaseModel):
    """The state file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    stages: dict[str, StageRecord]

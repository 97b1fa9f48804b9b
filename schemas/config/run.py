"""The blocks of the run as a whole: its folders, its name and its tasks."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from schemas.config.blocks import Block

TaskName = Literal["parsing", "mass_calculating", "post_processing", "histogram_creation"]


TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


class Paths(Block):
    """Folders of a run, named once; stage paths that are left out take their entry here."""

    parsed_data_path: str = "parsed_data"
    """Selected events, written by parsing."""
    im_arrays_path: str = "im_arrays"
    """Invariant masses, written by the mass calculation."""
    im_arrays_processed_path: str = "im_arrays_processed"
    """Masses after post-processing, with the plan."""
    histograms_path: str = "histograms"
    """The ROOT histograms."""
    metadata_cache_path: str = "metadata_cache.json"
    """The list of input files."""
    jobs_logs_path: str = "logs"
    """State, reports and log files."""


class RunMetadata(Block):
    """Where the run is written and what it is called."""

    run_name: str = Field("atlas_opendata", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """First part of the run directory's name: letters, digits, dot, underscore and hyphen."""
    base_output_dir: str = Field("./output", min_length=1)
    """Folder that holds the run directories, relative to the current directory."""
    batch_job_index: int | None = Field(None, ge=1)
    """Number of this job among those that share the run, from 1; null is a single job."""
    total_batch_jobs: int | None = Field(None, ge=1)
    """How many jobs share the run."""
    barrier_wait_seconds: float = Field(120.0, ge=0)
    """How long a job waits for what other jobs have still to show, in seconds."""

    @model_validator(mode="after")
    def _index_of_total(self) -> Self:
        index, total = self.batch_job_index, self.total_batch_jobs
        if index is not None and total is None:
            msg = "batch_job_index needs total_batch_jobs; give both, or neither"
            raise ValueError(msg)
        if index is not None and total is not None and index > total:
            msg = f"batch_job_index ({index}) is above total_batch_jobs ({total}); it counts from 1"
            raise ValueError(msg)
        return self


class Tasks(Block):
    """Which stages run."""

    do_parsing: bool = True
    """List and read the input files, select objects and events."""
    do_mass_calculating: bool = True
    """Compute the invariant masses of all combinations."""
    do_post_processing: bool = True
    """Decide peaks and cuts per channel and split the masses."""
    do_histogram_creation: bool = True
    """Write the ROOT histograms."""

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.enabled():
            msg = "no task is enabled; set at least one of the do_... keys to true"
            raise ValueError(msg)
        return self

    def enabled(self) -> tuple[TaskName, ...]:
        """Return the names of the enabled tasks, in the order of the stages."""
        return tuple(name for name in TASK_NAMES if getattr(self, f"do_{name}"))

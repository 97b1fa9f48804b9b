"""The state machine: the only place where the order of the stages is written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from schemas.config import Config, changes, load
from schemas.errors import BarrierError, ConfigError, DataError
from schemas.inputs import Slice
from schemas.reports import SliceReport
from schemas.state import RunState, StageRecord, StageStatus, State
from schemas.statistics import StageStatistics
from services import (
    barriers,
    fetch,
    histograms,
    masses,
    merge,
    parse,
    plots,
    post_processing,
    report,
    run_directory,
)
from services.closing import describe_counts
from services.progress import Prospect, StageProgress, progress_of_merge, progress_of_slices
from services.redo import take_away_reports
from services.run_directory import RunDirectory, slice_report
from services.storage import reports
from services.storage.atomic import remove_leftovers
from services.storage.locks import is_held, only_writer
from services.summary import Story
from services.termination import last_act
from services.workers import Workers, available_cores

log = logging.getLogger(__name__)

Run = Callable[[Config, RunDirectory, Slice, Workers], SliceReport]
# Returns the digest of what a stage of this run is made of; raises BarrierError where that is
# not complete.
Inputs = Callable[[Config, RunDirectory, Slice], str]


# What concerns the run as a whole is logged and locked as if it were not cut.
WHOLE = Slice()
# How long a process that is ended waits for its own last word to be written, in seconds.
_LAST_ACT_SECONDS = 0.5


@dataclass(frozen=True)
class Stage:
    """One stage: `task` is what enables it, `state` the machine's state while it runs.

    Slices of it leave their reports in the folder `output` of the run, and what they are made from
    lies in the folder `reads`; fetching has no slices.
    """

    name: str
    task: str
    state: State
    run: Run
    output: str = ""
    inputs: Inputs | None = None
    reads: str = ""

    def folder(self, paths: RunDirectory) -> Path:
        """Return where the reports of its slices lie."""
        folder: Path = getattr(paths, self.output)
        return folder

    def unfinished(self, config: Config, paths: RunDirectory) -> tuple[int, ...]:
        """Return which slices are missing or out of date: all, where their input is."""
        total = total_of(config)
        try:
            expected = self.inputs(config, paths, Slice(1, total)) if self.inputs else None
        except BarrierError:
            return tuple(range(1, total + 1))
        return barriers.unfinished_slices(self.folder(paths), total, expected)


STAGES = (
    Stage("fetching", "parsing", State.FETCHING, fetch.run),
    Stage(
        "parsing",
        "parsing",
        State.PARSING,
        parse.run,
        "parsed_data",
        barriers.inputs_of_parsing,
    ),
    Stage(
        "mass_calculating",
        "mass_calculating",
        State.MASS_CALCULATING,
        masses.run,
        "masses",
        barriers.inputs_of_masses,
        "masses_input",
    ),
    Stage(
        "post_processing",
        "post_processing",
        State.POST_PROCESSING,
        post_processing.run,
        "processed",
        barriers.inputs_of_post_processing,
        "processing_input",
    ),
    Stage(
        "histogram_creation",
        "histogram_creation",
        State.HISTOGRAM_CREATION,
        histograms.run,
        "histograms",
        barriers.inputs_of_histograms,
        "histograms_input",
    ),
)


@dataclass(frozen=True)
class Done:
    """How a run ended: what its stages did, and what it waits for, if it does."""

    reports: tuple[SliceReport | StageStatistics, ...]
    waiting_for: str | None = None


def run(  # noqa: PLR0913 - each is a choice of its own, made by keyword
    config: Config,
    paths: RunDirectory,
    part: Slice,
    *,
    waits: bool = False,
    draws: bool = True,
    redo: Collection[str] = (),
    refresh_metadata: bool = False,
) -> Done:
    """Run the enabled stages of a slice in order; a run of one job also `draws` its figures.

    What the slice has done of the tasks `redo` is made again.

    The state file follows each step. A batch job that meets a barrier other slices have not
    reached waits for them for the configured time and then fails, if it `waits`; else it ends
    there, having done what it can.

    With `refresh_metadata` the catalogs are asked even if their lists are known.

    Raises:
        PipelineError: a stage failed, or the figures; the state is FAILED then.
    """
    enabled = config.tasks.enabled()
    if not waits:
        config = _without_waiting(config)
    done: list[SliceReport] = []
    story = _story(config, paths, part, redo)
    with (
        only_writer(paths.lock_file(part)),
        _told(story),
        _Pools(config) as pools,
        _machine(paths, part, enabled, may_wait=part.total > 1 and not waits) as machine,
    ):
        _undo(config, paths, part, redo)
        for stage in _enabled_stages(config, refresh_metadata=refresh_metadata):
            try:
                report = machine.walk(stage, config, part, pools.of(stage))
            except BarrierError as error:
                if not machine.may_wait:
                    raise
                story.waiting_for = str(error)
                merge.write_statistics(paths, _folders(paths), part)
                return Done(tuple(done), story.waiting_for)
            done.append(report)
            story.stages[stage.name] = StageStatistics.of(report)
        if part.total == 1:
            merge.aggregate_statistics(paths, _folders(paths), 1, None)
        else:
            merge.write_statistics(paths, _folders(paths), part)
        if draws and part.total == 1:
            machine.draw(config)
        machine.finish(story)
    return Done(tuple(done))


def fetch_files(config: Config, paths: RunDirectory, *, refresh_metadata: bool = False) -> None:
    """List the run's input files, and do nothing else: what a node without network cannot do.

    Raises:
        PipelineError: they cannot be listed.
    """
    if "parsing" in config.tasks.enabled():
        part = Slice(1, total_of(config))
        with Workers(1) as workers:
            fetch.run(config, paths, part, workers, refresh=refresh_metadata)


@dataclass(frozen=True)
class Work:
    """What is missing of a stage: the numbers of its slices."""

    stage: str
    slices: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        """Return for example `parsing: 2 of 7 slices: 3, 5`."""
        numbers = ", ".join(map(str, self.slices))
        return f"{self.stage}: {len(self.slices)} of {self.total} slices: {numbers}"


def missing_work(
    config: Config, paths: RunDirectory, redo: Collection[str] = ()
) -> tuple[Work, ...]:
    """Return what is missing before the run can be merged, in the order of the stages.

    A slice whose input is not complete is missing too, whatever it has left; of the tasks `redo`
    all slices are.
    """
    config = _without_waiting(config)
    total = total_of(config)
    every = tuple(range(1, total + 1))
    works = [
        Work(stage.name, every if stage.task in redo else stage.unfinished(config, paths), total)
        for stage in _enabled_stages(config)
        if stage.output
    ]
    return tuple(work for work in works if work.slices)


def merge_run(
    config: Config, paths: RunDirectory, *, draws: bool = True, redo: Collection[str] = ()
) -> Done:
    """Do what is missing, stage by stage, add up what the jobs counted, and `draw` the figures.

    The jobs' own files are only read, but for those of the tasks `redo`, which are made again. Of
    a run of one job nothing needs to be added up.

    Raises:
        PipelineError: a stage failed, a job is still at work, or the files do not fit together.
    """
    config = _without_waiting(config)
    total, enabled = total_of(config), config.tasks.enabled()
    merged = None
    story = _story(config, paths, WHOLE, redo)
    with (
        only_writer(paths.lock_file(WHOLE)),
        _told(story),
        _Pools(config) as pools,
        _machine(paths, WHOLE, enabled) as machine,
    ):
        for index in range(1, total + 1) if redo else ():
            with _locked_in_merge(paths, Slice(index, total)):
                _undo(config, paths, Slice(index, total), redo)
        for stage in _enabled_stages(config):
            _complete(stage, config, paths, machine, pools)
        machine.enter(State.MERGING)
        if total > 1 and STAGES[-1].task in enabled:
            part = Slice(1, total)
            expected = barriers.inputs_of_histograms(config, paths, part)
            filled = barriers.completed_slices(
                paths.histograms, STAGES[-1].name, part, expected=expected
            )
            decided = barriers.processed_slices(config, paths, part)[0].outputs
            merged = merge.run(config, paths, filled, decided)
        statistics = merge.aggregate_statistics(paths, _folders(paths), total, merged)
        story.stages = {
            stage.name: statistics.stages[stage.name]
            for stage in _enabled_stages(config)
            if stage.name in statistics.stages
        }
        if draws:
            machine.draw(config)
        machine.finish(story)
    return Done(tuple(statistics.stages.values()))


def _complete(
    stage: Stage, config: Config, paths: RunDirectory, machine: _Machine, pools: _Pools
) -> None:
    """Do those slices of a stage that are missing; each under the lock that its job would hold."""
    total = total_of(config)
    if not stage.output:
        if paths.file_list.exists():
            machine.keep(stage)
        else:
            machine.walk(stage, config, Slice(1, total), pools.of(stage))
        return
    unfinished = stage.unfinished(config, paths)
    if not unfinished:
        machine.keep(stage)
    for index in unfinished:
        part = Slice(index, total)
        with _locked_in_merge(paths, part):
            _tidy(paths, part)
            machine.walk(stage, config, part, pools.of(stage))
    if stage.run is parse.run:
        machine.enter(stage.state)
        parsed = barriers.completed_slices(paths.parsed_data, stage.name, Slice(1, total))
        barriers.judge_parsing(parsed, config)


def _story(config: Config, paths: RunDirectory, part: Slice, redo: Collection[str]) -> Story:
    """Return the beginning of what there is to tell of a slice, or of the whole run."""
    total = total_of(config)
    every = [Slice(index, total) for index in range(1, total + 1)]
    with_output = [stage for stage in STAGES if stage.output]
    chain = [
        (stage.name, following.name)
        for stage, following in pairwise(with_output)
        if stage.folder(paths) == getattr(paths, following.reads)
    ]
    redone = tuple(task for task in config.tasks.enabled() if task in redo)
    return Story(config, paths, part, [part] if part.total > 1 else every, chain, redone)


def _told(story: Story) -> AbstractContextManager[None]:
    """Write the summary of a run at its end, and at its failure with what the reports hold."""
    config, paths = _without_waiting(story.config), story.paths

    def on_the_books() -> dict[str, StageStatistics]:
        numbers = {part.index for part in story.parts}
        folders = {
            stage.name: stage.folder(paths)
            for stage in STAGES
            if stage.output and numbers.isdisjoint(stage.unfinished(config, paths))
        }
        return merge.added_up([merge.of_slice(folders, part) for part in story.parts])

    return story.written_at_its_end(on_the_books)


def _locked_in_merge(paths: RunDirectory, part: Slice) -> AbstractContextManager[None]:
    """Hold the lock that a slice's job would hold; that of a run of one job is the merge's own."""
    return only_writer(paths.lock_file(part)) if part.total > 1 else nullcontext()


def _undo(config: Config, paths: RunDirectory, part: Slice, redo: Collection[str]) -> None:
    folders = [s.folder(paths) for s in _enabled_stages(config) if s.task in redo and s.output]
    if folders:
        take_away_reports(_without_waiting(config), paths, folders, part)


def progress(config: Config, paths: RunDirectory) -> tuple[StageProgress, ...]:
    """Return, per stage, what has become of the slices: by reports, locks and states."""
    config = _without_waiting(config)
    total = total_of(config)
    found, names = [], []
    for stage in _enabled_stages(config):
        names.append(stage.name)
        if stage.output:
            unfinished = stage.unfinished(config, paths)
            found.append(progress_of_slices(paths, names, total, unfinished))
            names = []
    is_complete = not any(stage.n_open for stage in found)
    if total > 1:
        found.append(progress_of_merge(paths, is_complete=is_complete))
    return tuple(found)


def draw_run(config: Config, paths: RunDirectory, part: Slice) -> tuple[Path, ...]:
    """Draw the figures that the run's files allow, write its report, and return all files.

    Raises:
        DataError: a file of the run is damaged.
        StorageError: a file cannot be written.
    """
    drawn = plots.run(config, paths, part)
    # What is missing is for the run's own configuration to say, not for the tasks of this call.
    tasks = load(paths.config_file).tasks
    progress_of_run = progress(config.model_copy(update={"tasks": tasks}), paths)
    return (*drawn, report.run(config, paths, part, progress_of_run))


def outlook(of_run: Config, config: Config, root: Path) -> Iterator[str]:
    """Yield, stage by stage, what a run at `root` would do or keep; nothing is written.

    Raises:
        ConfigError: `root` holds no run, or one of other inputs.
        DataError: the run's files are damaged.
    """
    if not run_directory.check_run(of_run, root):
        yield f"a new run is made in {root}"
        yield from (f"{stage.name}: runs" for stage in _enabled_stages(config))
        return
    yield f"the run in {root} is continued"
    config = _without_waiting(config)
    paths = run_directory.layout(root.absolute(), config)
    before = load(paths.config_file)
    enabled = _enabled_stages(config)
    after = ""
    for stage in STAGES:
        if stage not in enabled:
            yield f"{stage.name}: is skipped"
            continue
        prospect = _prospect(stage, config, paths, changes(before, config, stage.name), after)
        after = after if prospect.is_kept else stage.name
        yield str(prospect)


def _prospect(
    stage: Stage, config: Config, paths: RunDirectory, changed: tuple[str, ...], after: str
) -> Prospect:
    total = total_of(config)
    if not stage.output:
        missing = () if paths.file_list.exists() else (1,)
        return Prospect(stage.name, 1, missing, missing)
    folder = stage.folder(paths)
    unfinished = stage.unfinished(config, paths)
    absent = barriers.absent_slices(folder, total)
    lost = [
        reports.read(slice_report(folder, Slice(index, total)), SliceReport).failures
        for index in range(1, total + 1)
        if index not in absent
    ]
    return Prospect(stage.name, total, absent, unfinished, changed, len(sum(lost, ())), after)


def slices_to_submit(config: Config, paths: RunDirectory, tasks: Collection[str]) -> list[int]:
    """Return the numbers of the slices of which some of these tasks are missing.

    Raises:
        DataError: a job of the run is still at work.
    """
    total = total_of(config)
    parts = [Slice(index, total) for index in range(1, total + 1)]
    for part in dict.fromkeys([*parts, WHOLE]):
        if is_held(paths.lock_file(part)):
            msg = (
                f"{paths.lock_file(part)}: a job of this run is still at work; wait for it, or "
                "delete it, before submitting it again"
            )
            raise DataError(msg)
    stages = [stage for stage in _enabled_stages(config) if stage.task in tasks and stage.output]
    config = _without_waiting(config)
    return sorted({index for stage in stages for index in stage.unfinished(config, paths)})


def total_of(config: Config) -> int:
    """Return into how many slices the run is cut."""
    return config.run_metadata.total_batch_jobs or 1


def _enabled_stages(config: Config, *, refresh_metadata: bool = False) -> tuple[Stage, ...]:
    enabled = config.tasks.enabled()
    stages = [stage for stage in STAGES if stage.task in enabled]
    if refresh_metadata:
        anew = partial(fetch.run, refresh=True)
        stages = [replace(s, run=anew) if s.run is fetch.run else s for s in stages]
    return tuple(stages)


def _folders(paths: RunDirectory) -> dict[str, Path]:
    """Return where the reports of the stages lie."""
    return {stage.name: stage.folder(paths) for stage in STAGES if stage.output}


def _without_waiting(config: Config) -> Config:
    metadata = config.run_metadata.model_copy(update={"barrier_wait_seconds": 0.0})
    return config.model_copy(update={"run_metadata": metadata})


class _Pools(ExitStack):
    """Worker processes, one pool for each number of them that a stage asks for."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        self._pools: dict[int, Workers] = {}

    def of(self, stage: Stage) -> Workers:
        count = _worker_count(self._config, stage)
        if count not in self._pools:
            self._pools[count] = self.enter_context(Workers(count))
        return self._pools[count]


def slice_of(config: Config) -> Slice:
    """Return the part of the run that this job does."""
    metadata = config.run_metadata
    if metadata.batch_job_index is None and metadata.total_batch_jobs is not None:
        msg = (
            f"this run is cut into {metadata.total_batch_jobs} jobs: say which one this is with "
            f"--batch-job-index N --total-batch-jobs {metadata.total_batch_jobs}"
        )
        raise ConfigError(msg)
    return Slice(metadata.batch_job_index or 1, metadata.total_batch_jobs or 1)


def _tidy(paths: RunDirectory, part: Slice) -> None:
    folders = (paths.root, paths.inputs, paths.parsed_data, paths.masses, paths.processed)
    for folder in (*folders, paths.histograms, paths.plots, paths.logs):
        for path in remove_leftovers(folder, part):
            log.info("removed %s, which an earlier start had not finished", path)


@contextmanager
def _machine(
    paths: RunDirectory, part: Slice, enabled: Sequence[str], *, may_wait: bool = False
) -> Iterator[_Machine]:
    """Yield the state machine of a slice, whose folders are rid of what was never finished.

    If the body fails, anywhere, so does the machine.
    """
    _tidy(paths, part)
    machine = _Machine(paths, part, enabled, may_wait=may_wait)
    with last_act(machine.cut_off):
        try:
            yield machine
        except BaseException:
            machine.enter(State.FAILED)
            raise


def _worker_count(config: Config, stage: Stage) -> int:
    is_parsing = stage.task == "parsing"
    section = config.parsing_task_config if is_parsing else config.mass_calculation_task_config
    return section.parallel_processes or available_cores()


class _Machine:
    """Keeps the state file in step with the work."""

    def __init__(
        self, paths: RunDirectory, part: Slice, enabled: Sequence[str], *, may_wait: bool = False
    ) -> None:
        self._paths = paths
        self._part = part
        self.may_wait = may_wait
        self._writing = threading.Lock()
        before = _records(paths.state_file(part))
        disabled = StageRecord(status=StageStatus.DISABLED)
        # What an earlier call did, of the stages that this one does not do, is still so.
        self._stages = {
            stage.name: StageRecord(status=StageStatus.PENDING)
            if stage.task in enabled
            else before.get(stage.name, disabled)
            for stage in STAGES
        }
        self.enter(State.IDLE)

    def walk(self, stage: Stage, config: Config, part: Slice, workers: Workers) -> SliceReport:
        started = datetime.now(UTC)
        try:
            self._stages[stage.name] = StageRecord(status=StageStatus.RUNNING, started=started)
            self.enter(stage.state)
            log.info("%s starts", stage.name)
            report = stage.run(config, self._paths, part, workers)
        except BaseException as error:
            if self.may_wait and isinstance(error, BarrierError):
                self._stages[stage.name] = StageRecord(status=StageStatus.PENDING)
                self.enter(State.WAITING)
            else:
                self._end(stage, StageStatus.FAILED, started)
            raise
        self._end(stage, StageStatus.DONE, started)
        for note in report.notes:
            log.info("%s: %s", stage.name, note)
        log.info(
            "%s done in %.1f s: in %s; out %s; lost %s",
            stage.name,
            report.seconds,
            describe_counts(report.taken),
            describe_counts(report.made),
            describe_counts(report.lost | report.decided),
        )
        return report

    def keep(self, stage: Stage) -> None:
        self._stages[stage.name] = StageRecord(status=StageStatus.DONE)

    def draw(self, config: Config) -> None:
        # The state file, which the report reads, has the end of the last stage from here on.
        self.enter(State.DRAWING)
        draw_run(config, self._paths, self._part)

    def finish(self, story: Story) -> None:
        story.audit()
        self.enter(State.COMPLETED)

    def _end(self, stage: Stage, status: StageStatus, started: datetime) -> None:
        ended = datetime.now(UTC)
        seconds = (ended - started).total_seconds()
        self._stages[stage.name] = StageRecord(
            status=status, started=started, ended=ended, seconds=seconds
        )

    def enter(self, state: State) -> None:
        with self._writing:
            self._write(state)

    def cut_off(self) -> None:
        """Save the state from another thread, as the last act of a process that is ended."""
        if self._writing.acquire(timeout=_LAST_ACT_SECONDS):
            self._stages |= {
                name: record.model_copy(update={"status": StageStatus.FAILED})
                for name, record in self._stages.items()
                if record.status is StageStatus.RUNNING
            }
            # The lock is kept: nothing is written after this.
            self._write(State.FAILED)

    def _write(self, state: State) -> None:
        record = RunState(state=state, stages=self._stages)
        reports.write(self._paths.state_file(self._part), record, self._part)


def _records(state_file: Path) -> dict[str, StageRecord]:
    """Return the stages of an earlier call; one that did not end was cut off."""
    if not state_file.exists():
        return {}
    return {
        name: record.model_copy(update={"status": StageStatus.FAILED})
        if record.status is StageStatus.RUNNING
        else record
        for name, record in reports.read(state_file, RunState).stages.items()
    }

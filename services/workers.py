"""Worker processes: each makes one chunk at a time, and a dead one is noticed with its chunk."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from services.memory import give_back_freed

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

# The logger above those of all modules that work.
_OURS = "services"
# Of the core counts that a scheduler states, the smallest is what this job may use.
_CORE_VARIABLES = ("NCPUS", "PBS_NCPUS", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
# How long a worker may take to end by itself before it is killed, in seconds.
_PATIENCE = 1.0
# What the work counts is passed on no more often than this, in seconds.
_COUNT_EVERY = 0.1
# How long nothing is heard of any worker before that is passed on, in seconds.
_SILENCE = 1.0

# Hears what the work on a task has counted since the last time, by unit; without a task, that
# nothing was heard for a while.
Hear = Callable[[Any, Mapping[str, int]], None]


def _ignore(_task: object, _counts: Mapping[str, int]) -> None:
    """Hear nothing."""


def available_cores(
    environment: Mapping[str, str] = os.environ,
    groups: Path = Path("/sys/fs/cgroup"),
    membership: Path = Path("/proc/self/cgroup"),
) -> int:
    """Return the cores given to this job: by affinity, or fewer if scheduler or container say so.

    `groups` is where Linux tells of control groups (version 2), `membership` of which this process
    is one.
    """
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()]
    stated = [environment.get(name, "") for name in _CORE_VARIABLES]
    counts += [int(text) for text in stated if text.isdigit()]
    counts += _quotas(groups, membership)
    return max(1, min(count for count in counts if count))


def _quotas(groups: Path, membership: Path) -> list[int]:
    """Return to how many whole cores this process' control group, and those around it, come."""
    with suppress(OSError, ValueError):
        own = [line[3:] for line in membership.read_text().splitlines() if line.startswith("0::")]
        if own:
            group = groups / own[0].lstrip("/")
            around = [folder for folder in (group, *group.parents) if folder.is_relative_to(groups)]
            found = [file.read_text().split() for f in around if (file := f / "cpu.max").exists()]
            # `200000 100000`: so many microseconds of work in so many of time.
            return [max(1, int(work) // int(time)) for work, time in found if work != "max"]
    return []


class WorkerDiedError(Exception):
    """A worker process ended in the middle of its work."""

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        super().__init__(_describe_death(exit_code))


def _describe_death(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "the worker process was killed by the system, as it does when memory runs out"
    if exit_code is not None and exit_code < 0:
        return f"the worker process was ended by {signal.Signals(-exit_code).name}"
    return f"the worker process ended with exit code {exit_code}"


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What became of one task: a result, or how its worker died."""

    task: Task
    result: Result | None
    died: WorkerDiedError | None = None
    position: str | None = None
    """Where a worker that died last said it was."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    position: str | None = None


@dataclass
class _Voice:
    """How work says what it is at; what it counts is added up for a moment before it is said."""

    say: Callable[[tuple[str, Any]], None]
    counted: Counter[str] = field(default_factory=Counter)
    said_at: float = -math.inf

    def count(self, counts: Mapping[str, int]) -> None:
        for unit, n in counts.items():
            self.counted[unit] += n
        if time.monotonic() - self.said_at >= _COUNT_EVERY:
            self.finish()

    def finish(self) -> None:
        """Say what is counted and not yet said."""
        if self.counted:
            self.say(("progress", dict(self.counted)))
            self.counted.clear()
            self.said_at = time.monotonic()


# While work is done in this process: in a worker process to its parent.
_voice: _Voice | None = None


def tell_position(text: str) -> None:
    """Say what the work is at (a file, for example), for the case that this process dies there."""
    if _voice is not None:
        _voice.say(("position", text))


def tell_progress(**counts: int) -> None:
    """Say how much more of the work is done, for example `events=1000`."""
    if _voice is not None:
        _voice.count(counts)


class Workers:
    """A number of worker processes that live from the first use to the end of the `with` block.

    One worker is this process itself: nothing is started.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._workers: list[_Worker] = []
        self._context = multiprocessing.get_context("forkserver")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop(gently=kind is None)

    def start(self, n_wanted: int | None = None) -> None:
        """Start workers, so that `map` finds them ready; `map` does this itself where needed."""
        if self.n_workers == 1:
            return
        self._context.set_forkserver_preload(["services.pipeline"])
        wanted = self.n_workers if n_wanted is None else min(n_wanted, self.n_workers)
        while len(self._workers) < wanted:
            self._workers.append(self._start_one())

    def _start_one(self) -> _Worker:
        here, there = self._context.Pipe()
        level = logging.getLogger(_OURS).getEffectiveLevel()
        process = self._context.Process(
            target=_serve, args=(there, level, dict(os.environ)), daemon=True
        )
        process.start()
        there.close()
        return _Worker(process, here)

    def map(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], hear: Hear = _ignore
    ) -> Iterator[Outcome[Task, Result]]:
        """Yield the outcome of each task as it is done, in any order; `hear` hears of it before.

        An exception that the work raises is raised here, and ends all workers.
        """
        if self.n_workers == 1:
            give_back_freed()
            for task in tasks:
                with _voiced(partial(_hear_here, hear, task)):
                    result = work(task)
                yield Outcome(task, result)
            return
        self.start(len(tasks))
        yield from self._supervise(work, tasks, hear)

    def _supervise(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], hear: Hear
    ) -> Iterator[Outcome[Task, Result]]:
        waiting = deque(tasks)
        idle = list(self._workers)
        busy: dict[Connection, tuple[_Worker, Task]] = {}
        while waiting or busy:
            while waiting and idle:
                worker, task = idle.pop(), waiting.popleft()
                worker.position = None
                # One that died while it was idle is noticed below, like one that dies at work.
                with suppress(ConnectionError):
                    worker.pipe.send((work, task))
                busy[worker.pipe] = (worker, task)
            heard = wait(list(busy), _SILENCE)
            if not heard:
                hear(None, {})
            for pipe in heard:
                worker, task = busy[pipe]  # type: ignore[index]  # only our connections are waited for
                outcome = self._take(worker, task, hear)
                if outcome is None:
                    continue
                del busy[worker.pipe]
                if outcome.died:
                    worker = self._replace(worker)
                idle.append(worker)
                yield outcome

    def _take(self, worker: _Worker, task: Task, hear: Hear) -> Outcome[Task, Any] | None:
        """Return the outcome of a task, or None if the worker only had something to say."""
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            worker.process.join(_PATIENCE)
            died = WorkerDiedError(worker.process.exitcode)
            return Outcome(task, None, died, worker.position)
        if kind == "position":
            worker.position = content
            return None
        if kind == "progress":
            hear(task, content)
            return None
        if kind == "log":
            logging.getLogger(content.name).handle(content)
            return None
        if kind == "error":
            raise content
        return Outcome(task, content)

    def _replace(self, dead: _Worker) -> _Worker:
        dead.pipe.close()
        fresh = self._start_one()
        self._workers[self._workers.index(dead)] = fresh
        return fresh

    def _stop(self, *, gently: bool) -> None:
        for worker in self._workers:
            worker.pipe.close()
            if not gently:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


def _hear_here(hear: Hear, task: object, message: tuple[str, Any]) -> None:
    kind, content = message
    if kind == "progress":
        hear(task, content)


@contextmanager
def _voiced(say: Callable[[tuple[str, Any]], None]) -> Iterator[None]:
    """Give the work that is done inside a voice; what it has counted is said at its end."""
    global _voice  # noqa: PLW0603 - one piece of work at a time is done in a process
    _voice = _Voice(say)
    try:
        yield
        _voice.finish()
    finally:
        _voice = None


def _serve(pipe: Connection, log_level: int, environment: Mapping[str, str]) -> None:
    """Do what the pipe brings until it closes. Runs in the worker process."""
    # The server that forks workers keeps the environment that it was once started with.
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches the whole terminal group; the parent decides what ends when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    give_back_freed()
    root = logging.getLogger()
    # The libraries' own details are nobody's concern.
    root.setLevel(max(log_level, logging.INFO))
    logging.getLogger(_OURS).setLevel(log_level)
    root.handlers = [_PipeHandler(pipe)]
    while True:
        try:
            work, task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            with _voiced(pipe.send):
                answer = ("result", work(task))
        except Exception as error:  # noqa: BLE001 - it is raised again in the parent
            answer = ("error", _portable(error))
        pipe.send(answer)


def _end_with_parent() -> None:
    """End this process at once when the parent is gone: its restart writes to the same names."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _portable(error: Exception) -> Exception:
    log.debug("a worker's task failed", exc_info=error)
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own object, tried out
    except Exception:  # noqa: BLE001 - whatever keeps it from crossing
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _PipeHandler(logging.Handler):
    """Sends log records to the parent, which knows where they go."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        record.msg = record.getMessage()
        record.args = None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        self._pipe.send(("log", record))

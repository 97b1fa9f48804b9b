"""Work in threads that neither Ctrl-C nor the end of the program waits for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


class Task(Generic[T]):
    """A call whose result, or error, is asked for later."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call, in whatever thread this is."""
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        self._done.set()

    def result(self, seconds: float | None = None) -> T:
        """Wait for the result.

        Raises:
            TimeoutError: it is not there after so many seconds.
            BaseException: what the call raised.
        """
        if not self._done.wait(seconds):
            msg = f"no answer within {seconds} s"
            raise TimeoutError(msg)
        if self._error is not None:
            raise self._error
        return self._result[0]


def start(tasks: Sequence[Task[T]], threads: int) -> None:
    """Let at most so many threads run the tasks, in their order."""
    waiting: queue.SimpleQueue[Task[T]] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        while True:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            task.run()

    for _ in range(min(threads, len(tasks))):
        threading.Thread(target=work, daemon=True).start()


def in_parallel(call: Callable[[Item], T], items: Sequence[Item], threads: int) -> list[T]:
    """Return what `call` makes of each item, in their order.

    Raises:
        Exception: what the first item that failed raised.
    """
    if threads == 1 or len(items) == 1:
        return [call(item) for item in items]
    tasks = [Task(partial(call, item)) for item in items]
    start(tasks, threads)
    return [task.result() for task in tasks]

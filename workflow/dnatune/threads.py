"""Work in threads of this process: hashing and writing files leave the interpreter's lock to others."""

import collections
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

_THREADS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_background(function: Callable[[], Result]) -> Future[Result]:
    """Run a function in a thread and return its future result, or error.

    A process that ends does not wait for the thread: an error elsewhere is told at once.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return a function's result for each item, in their order; four threads share the items.

    Raises:
        BaseException: the error of the first thread that has one; no thread begins another item after it.
    """
    waiting = collections.deque(enumerate(items))
    results: dict[int, Result] = {}

    def work() -> None:
        while waiting:
            try:
                number, item = waiting.popleft()
            except IndexError:
                return
            try:
                results[number] = function(item)
            except BaseException:
                waiting.clear()
                raise

    for thread in [in_background(work) for _ in range(min(_THREADS, len(waiting)))]:
        thread.result()
    return [results[number] for number in sorted(results)]

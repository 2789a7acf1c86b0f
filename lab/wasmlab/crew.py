"""Several threads that ask the same question, each of engines of its own: reduction in parallel."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TypeAlias

from wasmlab_ref.case import Case

Question: TypeAlias = Callable[[Case], bool]
Opener: TypeAlias = Callable[[], AbstractContextManager[Question]]
"""Opens what a thread asks with; entered and left in that thread."""


class Crew:
    """`size` threads; a context manager.  What a question or its opening raises is raised by `answers`."""

    def __init__(self, opener: Opener, size: int) -> None:
        self.opener, self.size = opener, size
        self._todo: queue.SimpleQueue[tuple[Case, Future[bool]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()

    def answers(self, cases: Sequence[Case]) -> list[bool]:
        """The answers for the cases, asked at once."""
        futures: list[Future[bool]] = [Future() for _ in cases]
        for case, future in zip(cases, futures, strict=True):
            self._todo.put((case, future))
        return [future.result() for future in futures]

    def _work(self) -> None:
        try:
            with self.opener() as ask:
                while item := self._todo.get():
                    _answer(ask, *item)
        except BaseException as error:
            failure = error  # opening or closing failed: whoever asks is told
            while item := self._todo.get():
                item[1].set_exception(failure)


def _answer(ask: Question, case: Case, future: Future[bool]) -> None:
    try:
        future.set_result(ask(case))
    except BaseException as error:
        future.set_exception(error)

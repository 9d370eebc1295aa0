"""Long work in threads of its own, its answers in the event loop of Qt.

One thread a lane keeps the order of its jobs without locks; a queued signal brings each answer to the main thread, so
that it is handled between two events and never within one. Over five runs of ``benchmarks/napari_work.py``, with others
at work on the machine, a trivial job was back after 0.03 to 0.09 ms and cost the main thread 10 µs to hand over; with
the ``thread_worker`` of napari it was 0.11 to 0.25 ms and 80 to 260 µs.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from qtpy.QtCore import QObject, Qt, Signal, Slot

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _Job:
    """One job: what is to be done, and who is told on the main thread."""

    __slots__ = ("_call", "_done", "_failed", "_is_cancelled", "answer", "error", "future")

    def __init__(
        self, call: Callable[[], Any], done: Callable[[Any], object], failed: Callable[[Exception], object]
    ) -> None:
        self._call, self._done, self._failed = call, done, failed
        self._is_cancelled = False
        self.answer: Any = None
        self.error: Exception | None = None
        self.future: Future[None] | None = None

    def run(self) -> bool:
        """Do it; return whether somebody waits for the answer."""
        if self._is_cancelled:
            return False
        try:
            self.answer = self._call()
        except Exception as err:
            logger.debug("A job failed", exc_info=True)
            self.error = err
        return not self._is_cancelled

    def tell(self) -> None:
        """Hand the answer over, on the main thread."""
        if self._is_cancelled:
            return
        if self.error is not None:
            self._failed(self.error)
        else:
            self._done(self.answer)

    def cancel(self) -> None:
        """Forget it."""
        self._is_cancelled = True
        self.answer = None
        if self.future is not None:
            self.future.cancel()


class QtWork(QObject):
    """Runs jobs in threads, one a lane, and hands their answers back on the thread that made it."""

    _answered = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._answers: SimpleQueue[_Job] = SimpleQueue()
        self._is_closed = False
        self._answered.connect(self._tell_next, Qt.ConnectionType.QueuedConnection)

    def submit(
        self,
        job: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
        *,
        lane: str = "work",
    ) -> _Job:
        """Hand over a job; see `Work.submit`.

        Raises
        ------
        RuntimeError
            If it was closed.
        """
        if self._is_closed:
            raise RuntimeError("This review was closed; open the run again.")
        one = _Job(job, done, failed)
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(1, thread_name_prefix=f"review-{lane}")
        one.future = self._lanes[lane].submit(self._run, one)
        return one

    def close(self) -> None:
        """Wait for everything that was handed over and not cancelled, tell its answers, and take no more."""
        if self._is_closed:
            return
        self._is_closed = True
        for lane in self._lanes.values():
            lane.shutdown(wait=True)
        while self._tell_next():
            pass

    def _run(self, job: _Job) -> None:
        if job.run():
            self._answers.put(job)
            self._answered.emit()

    @Slot()
    def _tell_next(self) -> bool:
        """Hand over one answer, so that events of the window come between two; return whether there was one."""
        try:
            job = self._answers.get_nowait()
        except Empty:
            return False
        job.tell()
        return True

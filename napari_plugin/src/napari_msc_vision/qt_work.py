"""Long work in threads of its own, its answers in the event loop of Qt.

One thread a lane keeps the order of its jobs without locks. A signal wakes the main thread, which hands over one answer
at a time and lets the window do what it has to between two. Over three runs of ``benchmarks/napari_work.py``, with
others at work on the machine, a trivial job was back after 0.03 to 0.07 ms (median) and cost the main thread 10 to
26 µs to hand over; with the ``thread_worker`` of napari it was 0.11 to 0.20 ms and 80 to 380 µs.

The threads stand back for the window: without that, on two cores, painting made it stand still for up to 135 ms while
the strokes before were measured; with it for up to 88 ms (``edit`` of ``benchmarks/review_walk.py``, four runs or more
of each).
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from qtpy.QtCore import QObject, Qt, QTimer, Signal, Slot

T = TypeVar("T")
logger = logging.getLogger(__name__)
NICENESS = 10
"""How far the threads stand back, from 0 (not at all) to 19; threads that OpenCV begins in them stand back as far."""


def _stand_back() -> None:
    """Let this thread wait where the window wants the same core; on Linux, the only system with a niceness a thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _nothing(*_: object) -> None:
    """Stand for a job that was let go."""


class _Job:
    """One job: what is to be done, and who is told on the main thread; holds on to nothing once that is over."""

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
        call, self._call = self._call, _nothing
        try:
            self.answer = call()
        except Exception as err:
            logger.debug("A job failed", exc_info=True)
            self.error = err
        return not self._is_cancelled

    def tell(self) -> None:
        """Hand the answer over, on the main thread."""
        if self._is_cancelled:
            return
        answer, error, done, failed = self.answer, self.error, self._done, self._failed
        self._let_go()
        if error is not None:
            failed(error)
        else:
            done(answer)

    def cancel(self) -> None:
        """Forget it."""
        self._is_cancelled = True
        self._let_go()
        if self.future is not None:
            self.future.cancel()

    def _let_go(self) -> None:
        """Hold on to no arrays: a lane keeps what was cancelled until its turn comes."""
        self._call = self._done = self._failed = _nothing
        self.answer = self.error = None


class QtWork(QObject):
    """Runs jobs in threads, one a lane, and hands their answers back on the thread that made it."""

    _answered = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._answers: SimpleQueue[_Job] = SimpleQueue()
        self._is_closed = False
        self._next = QTimer(self)
        self._next.setSingleShot(True)
        self._next.timeout.connect(self._tell_and_go_on)
        self._answered.connect(self._wake, Qt.ConnectionType.QueuedConnection)

    def submit(
        self,
        job: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
        *,
        lane: str = "work",
    ) -> _Job:
        """Hand over a job; see `Work.submit`. After the end it is let be: an answer may still ask for more."""
        one = _Job(job, done, failed)
        if self._is_closed:
            one.cancel()
            return one
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(1, thread_name_prefix=f"review-{lane}", initializer=_stand_back)
        one.future = self._lanes[lane].submit(self._run, one)
        return one

    def later(self, call: Callable[[], object], after_ms: int = 0) -> None:
        """Call something in the next turn of the event loop or after a while; once this is gone, it is let be."""
        QTimer.singleShot(after_ms, self, call)

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
    def _wake(self) -> None:
        if not self._next.isActive() and not self._answers.empty():
            self._next.start(0)

    @Slot()
    def _tell_and_go_on(self) -> None:
        """Hand over one answer; the next one follows after what the window has to do meanwhile."""
        try:
            self._tell_next()
        finally:
            self._wake()

    def _tell_next(self) -> bool:
        """Hand over one answer; return whether there was one."""
        try:
            job = self._answers.get_nowait()
        except Empty:
            return False
        job.tell()
        return True

"""Long work off the main thread, and its answer back on it. This module knows no Qt; `qt_work` does."""

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Task(Protocol):
    """Work that was handed over."""

    def cancel(self) -> None:
        """Forget it: its answer is not handed back any more, and it does not start if it has not yet."""


class Work(Protocol):
    """Runs work elsewhere and hands its answer back on the main thread."""

    def submit(
        self,
        job: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
        *,
        lane: str = "work",
    ) -> Task:
        """Hand over a job.

        Parameters
        ----------
        job : callable
            Runs in another thread; touches no widget and no layer.
        done, failed : callable
            One of them is called on the main thread, with the answer or with what was raised.
        lane : str
            Jobs of one lane run one after the other, in the order they came.
        """

    def later(self, call: Callable[[], object], after_ms: int = 0) -> None:
        """Call something on the main thread: in the next turn of its event loop, or after a while."""

    def close(self) -> None:
        """Wait for what has begun and take no more."""


class Latest:
    """The last of several questions of one kind: whoever asks anew does not want the answer to the one before.

    Without it, answers that nobody waits for pile up where questions come quicker than they are answered.
    """

    def __init__(self) -> None:
        self._task: Task | None = None

    def ask(
        self,
        work: Work,
        job: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
        *,
        lane: str,
    ) -> None:
        """Hand over a job in place of the one before; see `Work.submit`."""
        self.cancel()
        self._task = work.submit(job, done, failed, lane=lane)

    def cancel(self) -> None:
        """Forget what was asked last, if no answer came yet."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


class _Done:
    def cancel(self) -> None:
        """Nothing is left to cancel."""


class DirectWork:
    """Runs every job at once, where it stands: for tests and for scripts without a window."""

    def submit(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], object],
        failed: Callable[[Exception], object],
        *,
        lane: str = "work",  # noqa: ARG002  (there is one lane)
    ) -> Task:
        """Run a job."""
        try:
            answer = job()
        except Exception as err:
            logger.debug("A job failed", exc_info=True)
            failed(err)
        else:
            done(answer)
        return _Done()

    def later(self, call: Callable[[], object], after_ms: int = 0) -> None:  # noqa: ARG002  (nobody waits here)
        """Call it at once."""
        call()

    def close(self) -> None:
        """Nothing is running."""

"""Say how far a preparation or a training is: a bar on a terminal, a line now and then elsewhere, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

from msc_vision.batch.progress import LINE_EVERY_S, duration

Advance = Callable[..., None]
"""Called after each unit, with a remark or without."""


class Progress(Protocol):
    """Shows stages of known length, one after the other."""

    def stage(self, title: str, unit: str, n_total: int, n_before: int = 0) -> AbstractContextManager[Advance]:
        """Begin a stage of ``n_total`` units, of which ``n_before`` were done by an earlier attempt."""
        ...

    def say(self, text: str) -> None:
        """Say a line between."""
        ...


def rate_and_rest(n_now: int, n_left: int, elapsed_s: float, unit: str) -> str:
    """Return how fast it goes and how long it will take, such as ``4.8 steps/s, 3 min 20 s left``."""
    if not n_now:
        return ""
    rate = n_now / max(elapsed_s, 1e-9)
    return f"{rate:.3g} {unit}/s, {duration(n_left / rate)} left"


class Silent:
    """Says nothing: for library callers."""

    @contextmanager
    def stage(self, title: str, unit: str, n_total: int, n_before: int = 0) -> Iterator[Advance]:  # noqa: ARG002
        """Ignore the stage."""
        yield lambda _remark="": None

    def say(self, text: str) -> None:
        """Ignore the line."""


class Lines:
    """Writes a line every ten seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    @contextmanager
    def stage(self, title: str, unit: str, n_total: int, n_before: int = 0) -> Iterator[Advance]:
        """Say what begins, how it goes, and when it has ended."""
        started = last = self._clock()
        n_done = n_before
        self.say(f"{title}: {n_total} {unit}" + (f", {n_before} of them done before." if n_before else "."))

        def advance(remark: str = "") -> None:
            nonlocal n_done, last
            n_done += 1
            now = self._clock()
            if now - last >= LINE_EVERY_S:
                last = now
                rest = rate_and_rest(n_done - n_before, n_total - n_done, now - started, unit)
                self.say(f"{n_done}/{n_total} {unit}, {rest}" + (f"; {remark}" if remark else ""))

        yield advance
        self.say(f"{title}: {n_done}/{n_total} {unit} in {duration(self._clock() - started)}.")

    def say(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Bars:
    """Draws a bar on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)

    @contextmanager
    def stage(self, title: str, unit: str, n_total: int, n_before: int = 0) -> Iterator[Advance]:
        """Show a bar while the block runs."""
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        started = time.monotonic()
        with RichProgress(*columns, TextColumn("{task.fields[rest]}"), console=self._console) as bar:
            task = bar.add_task(title, total=n_total, completed=n_before, rest="")
            n_done = n_before

            def advance(remark: str = "") -> None:
                nonlocal n_done
                n_done += 1
                rest = rate_and_rest(n_done - n_before, n_total - n_done, time.monotonic() - started, unit)
                bar.update(task, completed=n_done, rest=f"{rest}; {remark}" if remark else rest)

            yield advance

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._console.print(text, highlight=False)


def progress_on(stream: TextIO) -> Progress:
    """Return bars if the stream is a terminal, else lines."""
    return Bars(stream) if stream.isatty() else Lines(stream)

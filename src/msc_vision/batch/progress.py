"""Say how far a run is: a bar on a terminal, a line now and then elsewhere, nothing at all for library callers."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from msc_vision.records import FieldScore

LINE_EVERY_S = 10.0
LINE_EVERY_PERCENT = 10


class RunProgress(Protocol):
    """Hears of every field as it completes."""

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Start: of ``n_fields`` in all, ``n_done_before`` were done by an earlier attempt."""
        ...

    def advance(self, score: FieldScore) -> None:
        """Count one more field."""
        ...

    def end(self) -> None:
        """Stop, however the run ended."""
        ...


class NullProgress:
    """Says nothing."""

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Ignore the start."""

    def advance(self, score: FieldScore) -> None:
        """Ignore the field."""

    def end(self) -> None:
        """Ignore the end."""


@dataclass
class Tally:
    """Counts fields and pixels, and works out rate and time left from what this attempt did."""

    n_fields: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_rejected: int = 0
    n_now: int = 0
    megapixels: float = 0.0
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False, default=0.0)

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Start counting."""
        self.n_fields, self.n_done, self.started = n_fields, n_done_before, self.clock()

    def add(self, score: FieldScore) -> None:
        """Count one more field."""
        self.n_done += 1
        self.n_now += 1
        self.n_failed += score.status == "failed"
        self.n_rejected += score.status == "rejected"
        self.megapixels += (score.height_px or 0) * (score.width_px or 0) / 1e6

    @property
    def elapsed_s(self) -> float:
        """Seconds since this attempt began."""
        return max(self.clock() - self.started, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at the rate so far; None before the first field."""
        return (self.n_fields - self.n_done) * self.elapsed_s / self.n_now if self.n_now else None

    def __str__(self) -> str:
        """Return one line: done, rate, time left, failures."""
        percent = 100 * self.n_done // max(self.n_fields, 1)
        left = "" if self.left_s is None else f", {duration(self.left_s)} left"
        bad = "".join(f", {n} {what}" for n, what in ((self.n_rejected, "rejected"), (self.n_failed, "failed")) if n)
        rate = self.megapixels / self.elapsed_s
        return f"{self.n_done}/{self.n_fields} fields ({percent} %), {rate:.1f} MP/s{left}{bad}"


def duration(seconds: float) -> str:
    """Return a duration as a person says it: 8 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class PlainProgress:
    """Writes a line every ten seconds, or every tenth of the fields if that is rarer news than time."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._tally = Tally(clock=clock)
        self._clock = clock
        self._last_line = clock()
        self._last_step = 0

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Say how much there is to do."""
        self._tally.begin(n_fields, n_done_before)
        self._last_step = self._step()
        before = f", {n_done_before} of them done before" if n_done_before else ""
        self._write(f"Scoring {n_fields} fields{before}.")

    def advance(self, score: FieldScore) -> None:
        """Count a field; say so when it is time."""
        self._tally.add(score)
        is_due = self._clock() - self._last_line >= LINE_EVERY_S
        if is_due or self._step() > self._last_step:
            self._write(str(self._tally))

    def end(self) -> None:
        """Say nothing more: the caller sums up."""

    def _step(self) -> int:
        return 100 * self._tally.n_done // max(self._tally.n_fields, 1) // LINE_EVERY_PERCENT

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
        self._last_line, self._last_step = self._clock(), self._step()


class _TallyColumn(ProgressColumn):
    """The rate, time left and failures of a tally, next to the bar."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def render(self, task: Task) -> Text:  # noqa: ARG002  rich asks for this signature
        return Text(str(self._tally).partition(" fields ")[2])


class BarProgress:
    """Draws a bar on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._tally = Tally()
        self._bar = Progress(
            TextColumn("Scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("fields"),
            _TallyColumn(self._tally),
            console=Console(file=stream),
        )

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Show the bar."""
        self._tally.begin(n_fields, n_done_before)
        self._task = self._bar.add_task("fields", total=n_fields, completed=n_done_before)
        self._bar.start()

    def advance(self, score: FieldScore) -> None:
        """Move the bar."""
        self._tally.add(score)
        self._bar.advance(self._task)

    def end(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


@contextmanager
def showing(progress: RunProgress, n_fields: int, n_done_before: int) -> Iterator[None]:
    """Show progress while a block runs, and end it however the block ends."""
    progress.begin(n_fields, n_done_before)
    try:
        yield
    finally:
        progress.end()


def progress_on(stream: TextIO | None = None) -> RunProgress:
    """Return a bar if the stream (default: stderr) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return BarProgress(stream) if stream.isatty() else PlainProgress(stream)

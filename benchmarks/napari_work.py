"""How quickly work goes off the main thread and back: our QtWork against the workers of napari and a plain QRunnable.

napari's ``thread_worker`` is superqt's. ``python -m benchmarks.napari_work`` prints JSON.
"""

import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QRunnable, QThreadPool, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_msc_vision.qt_work import QtWork

Start = Callable[[Callable[[], object]], object]
N_JOBS = 500
N_SINGLE = 50


def job() -> int:
    return sum(range(200))


class Bench:
    """Counts answers on the main thread."""

    def __init__(self, app: QApplication) -> None:
        self.app = app

    def wait(self, is_done: Callable[[], bool]) -> None:
        end = time.perf_counter() + 60
        while not is_done():
            self.app.processEvents()
            if time.perf_counter() > end:
                raise RuntimeError("No answer within a minute.")

    def latency_ms(self, start: Start) -> list[float]:
        found = []
        for _ in range(N_SINGLE):
            answers: list[float] = []
            began = time.perf_counter()
            kept = start(lambda answers=answers: answers.append(time.perf_counter()))
            self.wait(lambda answers=answers: bool(answers))
            found.append(1000 * (answers[0] - began))
            del kept
        return found

    def throughput(self, start: Start) -> tuple[float, float]:
        """Return jobs per second, and main-thread microseconds to hand over one."""
        n = 0

        def count() -> None:
            nonlocal n
            n += 1

        began = time.perf_counter()
        kept = [start(count) for _ in range(N_JOBS)]
        handed = time.perf_counter()
        self.wait(lambda: n == N_JOBS)
        ended = time.perf_counter()
        del kept
        return N_JOBS / (ended - began), 1e6 * (handed - began) / N_JOBS


def with_qt_work(work: QtWork) -> Start:
    return lambda done: work.submit(job, lambda _: done(), print)


def with_thread_worker() -> Start:
    def start(done: Callable[[], object]) -> object:
        worker = create_worker(job, _start_thread=False)
        worker.returned.connect(lambda _: done())
        worker.start()
        return worker

    return start


class _Signals(QObject):
    answered = Signal(object)


class _Runnable(QRunnable):
    def __init__(self, signals: _Signals) -> None:
        super().__init__()
        self.signals = signals

    def run(self) -> None:
        self.signals.answered.emit(job())


def with_runnable() -> Start:
    def start(done: Callable[[], object]) -> object:
        signals = _Signals()
        signals.answered.connect(lambda _: done())
        QThreadPool.globalInstance().start(_Runnable(signals))
        return signals

    return start


def main() -> None:
    app = QApplication.instance() or QApplication([])
    QTimer.singleShot(0, lambda: None)
    bench, work = Bench(app), QtWork()
    ways: dict[str, Start] = {
        "QtWork (ours)": with_qt_work(work),
        "napari/superqt thread_worker": with_thread_worker(),
        "QRunnable and a signal": with_runnable(),
    }
    found = []
    for name, start in ways.items():
        bench.latency_ms(start)
        latency = bench.latency_ms(start)
        rate, cost = bench.throughput(start)
        high = statistics.quantiles(latency, n=20)[-1]
        row = {
            "way": name,
            "median_ms": statistics.median(latency),
            "p95_ms": high,
            "per_s": rate,
            "hand_over_us": cost,
        }
        found.append(row)
    work.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()

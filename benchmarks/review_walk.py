"""Walk through every field of a large vessel in a real napari window, edit some, and print what it took as JSON.

``xvfb-run -a -s "-screen 0 1600x1200x24" python -m benchmarks.review_walk RUN [N]``, on a copy: it writes reviews.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import psutil
from napari_plugin.mouse import Mouse
from napari_plugin.screenshots import Desk
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_msc_vision import registry
from napari_msc_vision.opening import open_later
from napari_msc_vision.stroke import Tool, strokes_of, tool_named

MIB = 2**20
LOOK_S = 0.15
"""How long the walker looks at a field; nobody is quicker."""


class Pulse:
    """Notes for how long the main thread could not answer a timer."""

    def __init__(self) -> None:
        self.gaps_ms: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(5)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps_ms.append(1000 * (now - self._last))
        self._last = now

    def start(self) -> None:
        self.gaps_ms.clear()
        self._last = time.perf_counter()

    def longest_ms(self) -> dict[str, float]:
        ordered = sorted(self.gaps_ms)
        return {
            "longest": round(ordered[-1], 1),
            "p999": round(ordered[int(0.999 * (len(ordered) - 1))], 1),
            "over_100": sum(gap > 100 for gap in ordered),
            "n": len(ordered),
        }


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


def until(is_true: Callable[[], bool], limit_s: float = 30.0) -> float:
    """Let the window live until something holds; return how long that took, ms."""
    start = time.perf_counter()
    while not is_true():
        QApplication.processEvents()
        if time.perf_counter() - start > limit_s:
            raise TimeoutError("it did not come about")
    QApplication.processEvents()
    return 1000 * (time.perf_counter() - start)


def rss_mib() -> float:
    return psutil.Process().memory_info().rss / MIB


def redraw_floor(viewer: Any, pulse: Pulse) -> dict[str, float]:
    """Return what drawing alone takes: the camera moves, nothing else happens."""
    pulse.start()
    for _ in range(30):
        viewer.camera.zoom *= 1.002
        spin(0.1)
    return pulse.longest_ms()


def walk(scene: Any, keys: tuple[str, ...], pulse: Pulse) -> dict[str, Any]:
    session, times, rss = scene.session, [], []
    pulse.start()
    for i, key in enumerate(keys):
        start = time.perf_counter()
        session.open(key)
        until(lambda key=key: scene.key == key and scene.is_complete)  # type: ignore[misc]
        times.append(1000 * (time.perf_counter() - start))
        ahead = keys[i + 1 : i + 3]
        session.prefetch(ahead)
        scene.prefetch(ahead)
        spin(LOOK_S)
        if i % 50 == 0:
            rss.append(round(rss_mib()))
            print(f"{i} fields, {rss[-1]} MiB", file=sys.stderr)
    return {
        "n": len(keys),
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(sorted(times)[int(0.95 * (len(times) - 1))], 1),
        "worst_ms": round(max(times), 1),
        "blocked_ms": pulse.longest_ms(),
        "rss_mib": rss,
    }


def edit(scene: Any, pulse: Pulse, n: int) -> dict[str, Any]:
    """Paint strokes and wait for the figures that follow from each."""
    session, times, full = scene.session, [], []
    told = []
    session.figures_changed.connect(lambda: told.append(session.is_measured))
    rng = np.random.default_rng(0)
    pulse.start()
    for _ in range(n):
        height, width = session.masks.shape
        y, x = rng.integers(60, height - 60), rng.integers(60, width - 60)
        told.clear()
        start = time.perf_counter()
        masks = session.masks
        cells, foreground = masks.cells.copy(), masks.foreground.copy()
        cells[y : y + 30, x : x + 12] = cells.max() + 1
        foreground[y : y + 30, x : x + 12] = True
        session.replace_masks(type(masks)(foreground, cells, masks.judgeable, masks.aggregates), "paint")
        until(lambda: bool(told))
        times.append(1000 * (time.perf_counter() - start))
        until(lambda: session.is_measured)
        full.append(1000 * (time.perf_counter() - start))
        spin(0.2)
    return {
        "n": n,
        "median_ms": round(statistics.median(times), 1),
        "worst_ms": round(max(times), 1),
        "measured_median_ms": round(statistics.median(full), 1),
        "blocked_ms": pulse.longest_ms(),
    }


def take(scene: Any, tool: Tool | None) -> None:
    """Take a tool in the hand, as its button does."""
    strokes_of(scene).take(tool)
    spin(0.5)


def by_hand(viewer: Any, scene: Any, pulse: Pulse, n: int) -> dict[str, Any]:
    """Take tools and draw with them, by mouse; then take everything back. Where a cut or a click falls is chance."""
    session, mouse = scene.session, Mouse(viewer, scene)
    rng = np.random.default_rng(2)
    height, width = session.masks.shape
    pulse.start()
    for name in ("paint cell", "erase foreground", "split", "delete cell"):
        take(scene, tool_named(name))
        for _ in range(n):
            y, x = rng.integers(100, height - 200), rng.integers(100, width - 200)
            mouse.stroke((y, x), (y + 60, x + 40), (y + 100, x + 90))
            spin(0.2)
        take(scene, None)
    while session.can_undo:
        session.undo()
        spin(0.2)
    until(lambda: session.is_measured)
    return {"n": 4 * n, "blocked_ms": pulse.longest_ms()}


def the_rest(desk: Desk, pulse: Pulse) -> dict[str, Any]:
    """Do what else a review is made of, twice each: the first time, napari makes layers and shaders for it."""
    session = desk.scene.session
    navigator, correct, measure = (desk.dock(name) for name in ("Navigator", "Correct", "Measure"))
    areas = np.bincount(session.masks.cells.ravel())
    areas[0] = 0
    large = iter(np.argsort(areas)[::-1])
    steps: dict[str, Callable[[], object]] = {
        "choosing a cell": lambda: session.cell_selected.emit(int(next(large))),
        "the next field, its cells in a table": navigator.open_next,
        "showing a layer's fields": lambda: (navigator.toggle_mosaic(), spin(2.0), navigator.toggle_mosaic()),
        "rejecting a field": lambda: session.judge_field("rejected", "debris", "a hair"),
        "asking for a proposal": lambda: (desk.dock("Correct"), correct.proposal.propose.click(), spin(8.0)),
    }
    assert measure.isVisible()
    found = {}
    for words, do in steps.items():
        pulse.start()
        for _ in range(2):
            do()
            spin(1.5)
        found[words] = pulse.longest_ms()
    return found


def main(run: Path, n: int) -> None:
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 1050)
    spin(1.0)
    pulse = Pulse()
    found: dict[str, Any] = {}
    start = time.perf_counter()
    pulse.start()
    scenes: list[Any] = []
    open_later(viewer, run, scenes.append)
    until(lambda: bool(scenes))
    scene = scenes[0]
    scene.session.said.connect(lambda one: print(one.level, one.text, file=sys.stderr))
    until(lambda: scene.key is not None and scene.is_complete)
    found["open_run_ms"] = round(1000 * (time.perf_counter() - start))
    spin(2.0)
    found["opening"] = {"blocked_ms": pulse.longest_ms()}
    found["redraw"] = redraw_floor(viewer, pulse)
    keys = scene.session.keys()
    found["first_rss_mib"] = round(rss_mib())
    found["walk"] = walk(scene, keys[:n], pulse)
    jumps = tuple(keys[i] for i in np.random.default_rng(1).permutation(len(keys))[:30])
    found["jumps"] = walk(scene, jumps, pulse)
    print(json.dumps(found), file=sys.stderr)
    found["edits"] = edit(scene, pulse, 20)
    found["hand"] = by_hand(viewer, scene, pulse, 10)
    found["rest"] = the_rest(Desk(viewer, scene, run), pulse)
    registry.close_run(viewer)
    viewer.close()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10**6)

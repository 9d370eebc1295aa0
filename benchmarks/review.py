"""Reviewing a large vessel in a real napari window: opening fields, edits, memory, how long the window stands still.

Each part is a process of its own. The window needs a screen: the one there is, or Xvfb.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.large_vessel import N_FIELDS, N_LAYERS, SIDE_PX, large_run
from benchmarks.review_speed import figure_times_ms
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_most, table

BAR_OPEN_MS, BAR_EDIT_MS, BAR_BLOCKED_MS, BAR_GROWTH_MB = 300.0, 200.0, 100.0, 300.0
MB_PER_MIB = 2**20 / 1e6
TRIAL_FIELDS = 20
INTRO = (
    f"A HYPERStack of {N_LAYERS} layers x {N_FIELDS} fields of {SIDE_PX} x {SIDE_PX} pixels (synthetic) in a real "
    "napari window of 1500 x 1050 pixels with the docks as they open: every field is opened once, one after the "
    "other, 0.15 s are spent at each and the next two are read ahead; then 30 fields in random order; then 20 "
    "cells are put in; then the mouse draws 40 strokes with four tools, which are taken back. A field is open when "
    "its picture, masks and marks are on the screen; an edit's figures are those of field, layer and vessel that "
    "follow from the masks. A timer of 5 ms on the main thread tells how long the window could not answer. Drawing "
    "alone (the camera moves, nothing else) is the floor. Without a graphics card, napari draws by software. Held "
    "against the bar are walking, jumping, putting cells in and drawing by mouse; the rest of a review stands below "
    "them, with the first time of each, when napari makes layers and shaders, and opening the run itself, once."
)


def measure(setup: Setup) -> Section:
    """Walk, and time what the walk rests on."""
    walk = _walk(TRIAL_FIELDS if setup.is_trial else N_LAYERS * N_FIELDS)
    return Section(INTRO, tuple(_figures(walk)), (_blocks(walk), _figure_times(), _threads()))


def _walk(n: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run = shutil.copytree(large_run(), Path(folder) / "HS36.run")
        found: dict[str, Any] = _json_of("benchmarks.review_walk", str(run), str(n))
    return found


def _json_of(module: str, *arguments: str) -> Any:
    """Run a module that prints JSON, on a screen in memory where there is none."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    has_screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_screen:
        if shutil.which("xvfb-run") is None:
            raise SystemExit("error: the window needs a screen, or xvfb-run (Debian package xvfb).")
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1200x24", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)


def _figures(found: Mapping[str, Any]) -> list[Figure]:
    walk, jumps, edits = found["walk"], found["jumps"], found["edits"]
    first, most = found["first_rss_mib"], max([*walk["rss_mib"], *jumps["rss_mib"]])
    blocked = max(found[part]["blocked_ms"]["longest"] for part in ("walk", "jumps", "edits", "hand"))
    return [
        at_most(f"open a field, median of {walk['n']}", walk["median_ms"], BAR_OPEN_MS, " ms", digits=0),
        at_most(f"open a field anywhere, median of {jumps['n']}", jumps["median_ms"], BAR_OPEN_MS, " ms", digits=0),
        at_most(f"figures after an edit, worst of {edits['n']}", edits["worst_ms"], BAR_EDIT_MS, " ms", digits=0),
        at_most("longest time the window stood still", blocked, BAR_BLOCKED_MS, " ms", digits=0),
        at_most("memory, most above the first field", MB_PER_MIB * (most - first), BAR_GROWTH_MB, " MB", digits=0),
        Figure("open a field, worst", f"{walk['worst_ms']:.0f} ms"),
        Figure("figures after an edit, median", f"{edits['median_ms']:.0f} ms"),
        Figure("every figure measured from the picture again, median", f"{edits['measured_median_ms']:.0f} ms"),
        Figure("open the run and its first field", f"{found['open_run_ms'] / 1000:.1f} s"),
        Figure("memory at the first field", f"{MB_PER_MIB * first:.0f} MB"),
    ]


def _blocks(found: Mapping[str, Any]) -> str:
    floor = found["redraw"]["longest"]
    parts = {"drawing alone": found["redraw"]} | {
        words: found[part]["blocked_ms"]
        for words, part in (
            ("walking", "walk"),
            ("jumping", "jumps"),
            ("putting cells in", "edits"),
            ("drawing by mouse", "hand"),
            ("opening the run, once", "opening"),
        )
    }
    parts |= found["rest"]
    rows = [
        (
            words,
            f"{one['longest']:.0f}",
            f"{one['longest'] / floor:.1f}",
            f"{one['p999']:.0f}",
            one["over_100"],
            one["n"],
        )
        for words, one in parts.items()
    ]
    head = (
        "the window stood still",
        "longest, ms",
        "x drawing alone",
        "99.9 % of beats within, ms",
        "over 100 ms",
        "beats",
    )
    return table(head, rows)


def _figure_times() -> str:
    times = figure_times_ms()
    floor = times["everything anew"]
    rows = [(words, f"{one:.1f}", f"{one / floor:.2f}") for words, one in times.items()]
    return table(("figures of all layers and the vessel", "median, ms", "x everything anew"), rows)


def _threads() -> str:
    found: Sequence[Mapping[str, Any]] = _json_of("benchmarks.napari_work")
    floor = found[-1]["median_ms"]
    digits = {"median_ms": 2, "p95_ms": 2, "per_s": 0, "hand_over_us": 0}
    rows = [
        (one["way"], f"{one['median_ms'] / floor:.1f}", *(f"{one[name]:.{n}f}" for name, n in digits.items()))
        for one in found
    ]
    head = ("a trivial job in a thread and back", "x QRunnable", "median, ms", "95 %, ms", "jobs/s", "handing over, µs")
    return table(head, rows)

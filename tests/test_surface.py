"""Flaws of the surface: straight lines are scratches, walls come from what was masked."""

import math

import cv2
import numpy as np
import pytest

from msc_vision.findings.background import TileArea, measure_background
from msc_vision.findings.surface import surface_figures

PIXEL_UM = 1.3
WALL = "A wall with what lies behind it covers 12.0 % at the left side and is left out as not judgeable."


def field(*lines):
    drawn = np.zeros((512, 512))
    for points in lines:
        cv2.polylines(drawn, [np.array(points, np.int32).reshape(-1, 1, 2)], isClosed=False, color=0.6, thickness=2)
    return np.rint(20_000 * (1 - cv2.GaussianBlur(drawn, (0, 0), 0.5))).astype(np.uint16)


def found(working, notes=()):
    nothing, all_judged = np.zeros(working.shape, np.uint8), np.ones(working.shape, np.uint8)
    area = TileArea.whole(working.shape)
    parts = measure_background(working, nothing.astype(np.int32), all_judged, nothing, area, PIXEL_UM)
    return surface_figures([parts], working.shape, PIXEL_UM, notes)


def test_a_straight_line_is_a_scratch_and_its_length_is_measured() -> None:
    figures = found(field([(100, 60), (400, 60)]))
    (scratch,) = figures.findings
    assert scratch.kind == "scratch"
    assert scratch.box_px == pytest.approx((59, 62, 99, 402), abs=2)
    field_mm2 = (512 * PIXEL_UM / 1000) ** 2
    assert figures.scratches_um_per_mm2 * field_mm2 == pytest.approx(300 * PIXEL_UM, rel=0.02)


@pytest.mark.parametrize(
    "points",
    [[(100, 60), (180, 60)], [(100, 60), (250, 130), (400, 60)]],
    ids=["short as a process", "bent as a thread"],
)
def test_other_lines_are_no_scratches(points) -> None:
    assert found(field(points)).n_scratches == 0


def test_walls_are_taken_from_the_notes_of_what_was_masked() -> None:
    figures = found(field(), [WALL, "A saturated area without detail covers 3.0 % in the middle."])
    assert [(finding.kind, finding.note) for finding in figures.findings] == [("wall", WALL)]


def test_without_a_pixel_size_no_length_is_invented() -> None:
    figures = surface_figures([], (512, 512), None, [WALL])
    assert math.isnan(figures.scratches_um_per_mm2)
    assert len(figures.findings) == 1

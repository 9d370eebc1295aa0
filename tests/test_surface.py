"""Flaws of the surface: straight lines are scratches, dark rings bubbles, bright bands at a bare gap rolled edges."""

import math
import re

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.findings.background import TileArea, background_reach_px, measure_background
from msc_vision.findings.bright_lines import REACH_UM, BrightLineSettings, thin_bright
from msc_vision.findings.coarse import coarse_view, join_views, place_side_px
from msc_vision.findings.surface import SURFACE_FEATURES, SurfaceParts, surface_figures
from msc_vision.records import ManifestRow, Region
from msc_vision.synth import FieldSettings, render_field

PIXEL_UM = 1.3
SIDE = 512
FIELD_MM2 = (SIDE * PIXEL_UM / 1000) ** 2
LEVEL = 20_000
WALL = "A wall with what lies behind it covers 12.0 % at the left side and is left out as not judgeable."


def field(*lines, depth=-0.6):
    """Return bare surface with lines two pixels wide, through (x, y) points; dark ones unless ``depth`` is positive."""
    drawn = np.zeros((SIDE, SIDE))
    for points in lines:
        cv2.polylines(drawn, [np.array(points, np.int32).reshape(-1, 1, 2)], isClosed=False, color=depth, thickness=2)
    return np.rint(LEVEL * (1 + cv2.GaussianBlur(drawn, (0, 0), 0.5))).astype(np.uint16)


def with_bubble(y, x, radius_um, rim=0.25):
    """Return bare surface with a dark ring, a quarter of its radius thick."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    distance = np.hypot(rows - y, columns - x) * PIXEL_UM / radius_um
    return np.rint(LEVEL * np.where((distance < 1) & (distance > 0.75), rim, 1.0)).astype(np.uint16)


def torn_layer(roll=1.6, bare_left=True):
    """Return a layer of cells, a roll 78 µm wide down the middle that is ``roll`` times as bright, and a bare left."""
    labels = np.ones((SIDE, SIDE), np.int32)
    grey = LEVEL * np.random.default_rng(4).normal(1, 0.1, (SIDE, SIDE))
    if bare_left:
        labels[:, :220] = 0
        grey[:, :220] = LEVEL
    grey[:, 220:280] = roll * LEVEL
    return np.rint(np.clip(grey, 1, 65535)).astype(np.uint16), labels


def seen(working, labels=None, tiles=None):
    """Return what tiles show: the whole field as one, unless tiles are given."""
    whole = [Region(0, working.shape[0], 0, working.shape[1])]
    labels = np.zeros(working.shape, np.int32) if labels is None else labels
    background, views = [], []
    for tile in tiles or whole:
        reach = background_reach_px(PIXEL_UM)
        around = Region(
            max(tile.y0 - reach, 0),
            min(tile.y1 + reach, working.shape[0]),
            max(tile.x0 - reach, 0),
            min(tile.x1 + reach, working.shape[1]),
        )
        at = np.s_[around.y0 : around.y1, around.x0 : around.x1]
        window = np.s_[tile.y0 - around.y0 : tile.y1 - around.y0, tile.x0 - around.x0 : tile.x1 - around.x0]
        judged = np.ones(working[at].shape, np.uint8)
        area = TileArea(around, tile, working.shape[1])
        nothing = np.zeros_like(judged)
        background.append(measure_background(working[at], labels[at], judged, nothing, area, PIXEL_UM))
        bright = thin_bright(working[at], judged, window, PIXEL_UM, BrightLineSettings())
        views.append(coarse_view(working[at][window], labels[at][window], judged[window], bright, PIXEL_UM))
    return SurfaceParts(tuple(background), join_views(views, tiles or whole, working.shape, PIXEL_UM))


def found(working, labels=None, notes=()):
    return surface_figures(seen(working, labels), working.shape, PIXEL_UM, notes)


def kinds(figures):
    return sorted({finding.kind for finding in figures.findings})


# --- scratches -------------------------------------------------------------------------------------------------------


def test_a_straight_line_is_a_scratch_and_its_length_is_measured() -> None:
    figures = found(field([(100, 60), (400, 60)]))
    (scratch,) = figures.findings
    assert scratch.kind == "scratch"
    assert scratch.box_px == pytest.approx((59, 62, 99, 402), abs=2)
    assert figures.figures["scratches_um_per_mm2"] * FIELD_MM2 == pytest.approx(300 * PIXEL_UM, rel=0.02)


@pytest.mark.parametrize(
    "points",
    [[(100, 60), (180, 60)], [(100, 60), (250, 130), (400, 60)]],
    ids=["short as a process", "bent as a thread"],
)
def test_other_lines_are_no_scratches(points) -> None:
    assert found(field(points)).findings == ()


@settings(max_examples=12, deadline=None)
@given(angle=st.floats(0, math.pi), length_um=st.floats(300, 550))
def test_a_bright_line_in_any_direction_is_a_bright_scratch(angle: float, length_um: float) -> None:
    half = 0.5 * length_um / PIXEL_UM * np.array([math.cos(angle), math.sin(angle)])
    middle = np.full(2, SIDE / 2)
    figures = found(field([np.rint(middle - half), np.rint(middle + half)], depth=1.0))
    assert kinds(figures) == ["bright scratch"]
    measured_um = figures.figures["bright_scratches_um_per_mm2"] * FIELD_MM2
    assert measured_um == pytest.approx(length_um, rel=0.1)


def test_two_bright_scratches_that_cross_are_two() -> None:
    figures = found(field([(40, 60), (470, 440)], [(40, 440), (470, 60)], depth=1.0))
    assert len(figures.of_kind("bright scratch")) == 2


@pytest.mark.parametrize(
    ("points", "depth"),
    [
        ([(100, 60), (240, 60)], 1.0),
        ([(100, 60), (400, 60)], 0.15),
        ([(60, 60), (90, 200), (200, 90), (230, 230)], 1.0),
    ],
    ids=["a halo along a spindle", "faint as a halo", "a bright fibre in zigzag"],
)
def test_other_bright_lines_are_no_scratches(points, depth) -> None:
    assert found(field(points, depth=depth)).findings == ()


# --- bubbles ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(y=st.floats(120, 390), x=st.floats(120, 390), radius_um=st.floats(40, 150))
def test_a_dark_ring_is_a_bubble_and_its_area_is_measured(y: float, x: float, radius_um: float) -> None:
    figures = found(with_bubble(y, x, radius_um))
    (bubble,) = figures.findings
    assert bubble.kind == "bubble"
    radius_px = radius_um / PIXEL_UM
    assert bubble.box_px == pytest.approx((y - radius_px, y + radius_px, x - radius_px, x + radius_px), abs=12)
    expected = 100 * math.pi * (radius_um / 1000) ** 2 / FIELD_MM2
    assert figures.figures["bubble_area_percent"] == pytest.approx(expected, rel=0.25)
    assert figures.figures["bubbles_per_mm2"] == pytest.approx(1 / FIELD_MM2)


def test_a_bubble_that_the_border_cuts_is_found() -> None:
    assert kinds(found(with_bubble(20, 250, 100))) == ["bubble"]


def test_a_dark_disc_an_open_ring_and_a_faint_one_are_no_bubbles() -> None:
    disc = field()
    cv2.circle(disc, (256, 256), 60, LEVEL // 4, -1)
    open_ring = with_bubble(256, 256, 100)
    open_ring[:, 256:300] = LEVEL
    for picture in (disc, open_ring, with_bubble(256, 256, 100, rim=0.85)):
        assert found(picture).of_kind("bubble") == ()


# --- layers that come off --------------------------------------------------------------------------------------------


def test_a_bright_band_between_cells_and_a_bare_gap_is_a_rolled_edge() -> None:
    figures = found(*torn_layer())
    (roll,) = figures.of_kind("rolled edge")
    assert "comes off" in roll.note
    length_um = figures.figures["rolled_edges_um_per_mm2"] * FIELD_MM2
    assert length_um == pytest.approx(SIDE * PIXEL_UM, rel=0.15)
    assert figures.figures["rolled_edge_area_percent"] == pytest.approx(100 * 60 / SIDE, rel=0.3)


@pytest.mark.parametrize(
    ("roll", "bare_left"), [(1.0, True), (1.6, False)], ids=["the edge of a wound", "a bright ridge within the layer"]
)
def test_what_is_not_rolled_or_lies_within_the_layer_is_no_rolled_edge(roll: float, bare_left: bool) -> None:
    assert found(*torn_layer(roll, bare_left)).of_kind("rolled edge") == ()


def test_a_wound_whose_bright_layer_is_not_rolled_is_none() -> None:
    """The whole layer is brighter than the gap, and brightest nowhere; its outlines begin a little inwards."""
    working, labels = torn_layer(roll=1.0)
    working[labels > 0] = np.minimum(working[labels > 0] * 1.6, 65535).astype(np.uint16)
    labels[:, :236] = 0
    assert found(working, labels).of_kind("rolled edge") == ()


# --- all of them -----------------------------------------------------------------------------------------------------


def test_walls_are_taken_from_the_notes_of_what_was_masked() -> None:
    figures = found(field(), notes=[WALL, "A saturated area without detail covers 3.0 % in the middle."])
    assert [(finding.kind, finding.note) for finding in figures.findings] == [("wall", WALL)]


def test_without_a_pixel_size_no_length_is_invented() -> None:
    figures = surface_figures(None, (512, 512), None, [WALL])
    assert set(figures.figures) == {feature.name for feature in SURFACE_FEATURES}
    assert all(math.isnan(value) for value in figures.figures.values())
    assert len(figures.findings) == 1


def test_bare_surface_has_no_flaw() -> None:
    figures = found(field())
    assert figures.findings == ()
    assert set(figures.figures) == {feature.name for feature in SURFACE_FEATURES}
    assert not any(figures.figures.values())


def test_tiles_change_nothing() -> None:
    """Tiles of 1024 pixels, the last ones narrow: a field that shows all kinds of flaws."""
    plain = {
        "height_px": 1100,
        "width_px": 1310,
        "pixel_size_um": PIXEL_UM,
        "confluency_percent": 60,
        "faults": {"bubbles": 4, "bright_scratches": 4, "detaching_um": 90, "scratches": 4},
    }
    drawn = render_field(FieldSettings.model_validate(plain), 11)
    tiles = [Region(y, min(y + 1024, 1100), x, min(x + 1024, 1310)) for y in (0, 1024) for x in (0, 1024)]
    whole = surface_figures(seen(drawn.image, drawn.labels), drawn.image.shape, PIXEL_UM)
    tiled = surface_figures(seen(drawn.image, drawn.labels, tiles), drawn.image.shape, PIXEL_UM)
    assert whole == tiled
    assert {"bubble", "bright scratch", "rolled edge"} <= set(kinds(whole))


@given(st.floats(0.1, 20))
def test_tiles_begin_where_places_begin_and_lines_need_no_more_than_is_read_around(working_um: float) -> None:
    assert 1024 % place_side_px(working_um) == 0
    assert working_um * background_reach_px(working_um) >= REACH_UM


def test_a_run_flags_the_field_and_says_where_the_bubble_lies(tmp_path) -> None:
    """Two pixels of the image make one that is worked on; places are told in those of the image."""
    plain = {"height_px": 800, "width_px": 800, "pixel_size_um": PIXEL_UM / 2, "confluency_percent": 20}
    image = render_field(FieldSettings.model_validate(plain), 9).image
    cv2.circle(image, (500, 300), 130, 4000, 40)
    path = tmp_path / "bubble.tif"
    tifffile.imwrite(path, image)
    row = ManifestRow(path.name, "V1", "t-75", 1, pixel_size_um=PIXEL_UM / 2)
    score = score_field(FieldTask("f", path, row, load_pipeline("default"), None, None))
    assert "bubbles" in score.flags
    assert score.findings["bubbles_per_mm2"] > 0
    (note,) = (note for note in score.notes if note.startswith("A bubble"))
    y0, y1, x0, x1 = map(int, re.findall(r"rows (\d+) to (\d+), columns (\d+) to (\d+)", note)[0])
    assert ((y0 + y1) / 2, (x0 + x1) / 2) == pytest.approx((300, 500), abs=20)
    assert y1 - y0 == pytest.approx(300, abs=50)

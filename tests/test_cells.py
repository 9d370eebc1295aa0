"""Basins and cells: a spindle stays one cell, neighbours are parted, and no tile changes any of it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.records import Region
from msc_vision.segmentation.basins import REACH_PX, smooth_height, summits
from msc_vision.segmentation.cells import SURROUNDINGS_PX, CellMaps, CellSettings, cell_parts, join_cells, landscape

JOINING = CellSettings(smooth_um=1.5, join_from=0.7, splinter_um2=60.0, smallest_um2=0.0)


def maps_of(labels):
    """Return what a perfect network would say of these cells."""
    foreground = (labels > 0).astype(np.uint8)
    core = np.zeros(labels.shape, np.uint8)
    for number in np.unique(labels)[1:]:
        own = (labels == number).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(own, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        core[own > 0] = (255 * depth / depth.max())[own > 0]
    nothing = np.zeros(labels.shape, np.uint8)
    return CellMaps(foreground, core, nothing, nothing, nothing)


def drawn(shape, *cells):
    """Return labels of cells given as (points, thickness) of polylines."""
    labels = np.zeros(shape, np.int32)
    for number, (points, thickness) in enumerate(cells, start=1):
        cv2.polylines(labels, [np.array(points, np.int32)], isClosed=False, color=number, thickness=thickness)
    return labels


def cells_of(maps, tile_px=None, joining=JOINING):
    """Return labels and object table, worked out in tiles of so many pixels."""
    height, width = maps.core.shape
    side = tile_px or max(height, width)
    tiles = [
        Region(y, min(y + side, height), x, min(x + side, width))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    parts, locals_ = [], []
    for tile in tiles:
        around = Region(
            max(tile.y0 - SURROUNDINGS_PX, 0),
            min(tile.y1 + SURROUNDINGS_PX, height),
            max(tile.x0 - SURROUNDINGS_PX, 0),
            min(tile.x1 + SURROUNDINGS_PX, width),
        )
        cut = CellMaps(*(np.ascontiguousarray(m[around.y0 : around.y1, around.x0 : around.x1]) for m in maps))
        found, local = cell_parts(cut, around, tile, width, joining.smooth_um)
        parts.append(found)
        locals_.append(local)
    objects = join_cells(parts, joining, (height, width), 1, (height, width), 1.0, 1.0)
    labels = np.zeros((height, width), np.int32)
    for tile, local, lookup in zip(tiles, locals_, objects.lookups, strict=True):
        labels[tile.y0 : tile.y1, tile.x0 : tile.x1] = lookup[local]
    return labels, objects.table


def test_a_long_bent_spindle_stays_one_cell():
    points = [(10 + 4 * i, int(100 + 60 * np.sin(i / 25))) for i in range(95)]
    labels = drawn((220, 400), (points, 5))
    found, table = cells_of(maps_of(labels))
    assert found.max() == 1
    assert np.array_equal(found > 0, labels > 0)
    assert table["area_px"][0] == np.count_nonzero(labels)


def test_two_cells_that_touch_side_by_side_are_parted():
    labels = drawn((120, 300), ([(20, 50), (280, 50)], 12), ([(20, 62), (280, 62)], 12))
    found, _ = cells_of(maps_of(labels))
    assert found.max() == 2
    assert np.mean(found[labels == 1] == 1) > 0.95
    assert np.mean(found[labels == 2] == 2) > 0.95


def test_cells_tip_to_tip_are_parted():
    labels = drawn((60, 320), ([(10, 30), (155, 30)], 8), ([(162, 30), (310, 30)], 8))
    found, _ = cells_of(maps_of(labels))
    assert found.max() == 2
    assert np.array_equal(found > 0, labels > 0)  # splinters along the border are given to a neighbour, not dropped


def test_where_the_cores_do_not_fall_neighbours_are_one_piece():
    labels = drawn((120, 300), ([(20, 50), (280, 50)], 12), ([(20, 62), (280, 62)], 12))
    assert cells_of(maps_of((labels > 0).astype(np.int32)))[0].max() == 1


def test_a_rounded_cell_beside_a_spindle_is_no_splinter():
    labels = drawn((120, 300), ([(20, 60), (280, 60)], 14))
    cv2.circle(labels, (150, 47), 8, 2, -1)
    maps = maps_of(labels)
    joining = JOINING.model_copy(update={"splinter_um2": 400.0})
    assert cells_of(maps, joining=joining)[0].max() == 1
    rounded = np.where(labels == 2, 255, 0).astype(np.uint8)
    assert cells_of(maps._replace(rounded=rounded), joining=joining)[0].max() == 2


def test_debris_and_specks_are_no_cells():
    labels = drawn((100, 300), ([(20, 50), (100, 50)], 12), ([(150, 50), (230, 50)], 12), ([(270, 50), (272, 50)], 2))
    maps = maps_of(labels)
    debris = np.where(labels == 2, 255, 0).astype(np.uint8)
    joining = JOINING.model_copy(update={"smallest_um2": 50.0})
    found, table = cells_of(maps._replace(debris=debris), joining=joining)
    assert len(table) == 1
    assert np.array_equal(found > 0, labels == 1)


def test_an_empty_field_has_no_cells():
    found, table = cells_of(maps_of(np.zeros((80, 90), np.int32)))
    assert len(table) == 0
    assert not found.any()


@pytest.mark.parametrize("tile_px", [64, 100, 150])
def test_seams_change_no_cell(tile_px):
    rng = np.random.default_rng(3)
    cells = []
    for _ in range(25):
        y, x, angle, length = rng.uniform(0, 380), rng.uniform(0, 380), rng.uniform(0, 7), rng.uniform(20, 200)
        bend = rng.uniform(-0.5, 0.5)
        line = [
            (int(x + s * np.cos(angle + bend * s / 100)), int(y + s * np.sin(angle + bend * s / 100)))
            for s in np.linspace(0, length, 12)
        ]
        cells.append((line, int(rng.integers(3, 18))))
    labels = drawn((390, 380), *cells)
    maps = maps_of(labels)
    whole, table = cells_of(maps)
    tiled, tiled_table = cells_of(maps, tile_px)
    assert whole.max() > 5
    assert np.array_equal(tiled, whole)
    assert np.array_equal(tiled_table, table)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), tile_px=st.integers(16, 200), cover=st.floats(0.05, 0.95))
def test_noise_is_cut_into_the_same_cells_by_any_tiles(seed, tile_px, cover):
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.random((150, 170), np.float32), (0, 0), 3) for _ in range(2)]
    core = cv2.normalize(noise[0], None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    foreground = (noise[1] > np.quantile(noise[1], 1 - cover)).astype(np.uint8)
    nothing = np.zeros_like(core)
    maps = CellMaps(foreground, core, nothing, nothing, nothing)
    joining = CellSettings(smooth_um=2.0, join_from=0.9, splinter_um2=30, smallest_um2=10)
    whole, table = cells_of(maps, joining=joining)
    tiled, tiled_table = cells_of(maps, tile_px, joining=joining)
    assert np.array_equal(tiled, whole)
    assert np.array_equal(tiled_table, table)


def climbed(height, y, x):
    """Climb one step at a time, the slow obvious way: the highest neighbour, of equals the last in reading order."""
    for _ in range(REACH_PX):
        places = [
            (int(height[v, u]), v, u)
            for v in range(max(y - 1, 0), min(y + 2, height.shape[0]))
            for u in range(max(x - 1, 0), min(x + 2, height.shape[1]))
        ]
        _, v, u = max(places)
        if (v, u) == (y, x):
            break
        y, x = v, u
    return y * height.shape[1] + x


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([3, 20, 255]))
def test_summits_are_those_of_a_slow_climb(seed, levels):
    rng = np.random.default_rng(seed)
    core = (cv2.GaussianBlur(rng.random((40, 50), np.float32), (0, 0), 2) * levels).astype(np.uint8)
    foreground = (rng.random((40, 50)) < 0.8).astype(np.uint8)
    height = smooth_height(core, foreground, 1.2)
    found = summits(height)
    assert (found[foreground == 0] == -1).all()
    for y, x in zip(*np.nonzero(foreground), strict=True):
        assert found[y, x] == climbed(height, y, x)


def test_contacts_are_counted_once_whatever_the_tiles():
    labels = drawn((120, 300), ([(20, 50), (280, 50)], 12), ([(20, 62), (280, 62)], 12))
    maps = maps_of(labels)
    region = Region(0, 120, 0, 300)
    one, _ = cell_parts(maps, region, region, 300, 1.5)
    halves = [
        cell_parts(maps, region, Region(0, 120, x, x + 150), 300, 1.5)[0] for x in (0, 150)
    ]  # each knows the whole field around it
    for name in ("peak", "area", "low", "high", "saddle"):
        assert np.array_equal(getattr(landscape([one]), name), getattr(landscape(halves), name))

"""Shapes of cells: against drawn shapes whose figures are known, slow and obvious ways, and any tiling."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.medial import medial_axes
from msc_vision.morphology.outline import hull_areas_px, inertia, moments, perimeters_px, run_sums, runs_of
from msc_vision.morphology.shape import (
    SHAPE_COLUMNS,
    SHAPE_FIGURES,
    CellBoxes,
    ShapeSettings,
    cell_boxes,
    cell_shapes,
    margin_px,
    reach_px,
    surroundings_px,
)
from msc_vision.morphology.shape_features import SHAPE_FEATURES
from msc_vision.morphology.thinning import thin
from msc_vision.records import Region
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.objects import join_parts, tile_parts

SETTINGS = ShapeSettings()
ANGLES = range(0, 180, 15)


def distance_to_line(points, size, step_um):
    """Return how far each pixel of a square picture is from a line of points (x, y), all in µm from its middle."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2 + 0.23) * step_um
    nearest = np.full((size, size), np.inf)
    for (x0, y0), (x1, y1) in pairwise(points):
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        along = np.clip(along, 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    return nearest


def turned(points, angle_deg):
    """Turn points (x, y down) so that what pointed right points ``angle_deg`` above it."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return [(c * x + s * y, c * y - s * x) for x, y in points]


def capsule(length_um, width_um, angle_deg=0, step_um=1.0):
    """A straight cell with round ends: (======)."""
    half = (length_um - width_um) / 2
    size = int((length_um + 30) / step_um)
    return distance_to_line(turned([(-half, 0), (half, 0)], angle_deg), size, step_um) <= width_um / 2


def arc(radius_um, width_um, part_deg, angle_deg=0, step_um=1.0):
    """A cell bent along a part of a circle."""
    turn = np.radians(np.linspace(-part_deg / 2, part_deg / 2, 60))
    points = [(radius_um * np.sin(t), radius_um * (1 - np.cos(t)) - radius_um / 2) for t in turn]
    return distance_to_line(turned(points, angle_deg), int((2 * radius_um + 60) / step_um), step_um) <= width_um / 2


def star(n_arms, arm_um, width_um, angle_deg=0, step_um=1.0):
    """A round body with thin arms."""
    size = int((2 * arm_um + 30) / step_um)
    mask = distance_to_line([(0, 0), (0, 0)], size, step_um) <= 10
    for i in range(n_arms):
        points = turned([(0, 0), (arm_um, 0)], angle_deg + 360 * i / n_arms)
        mask |= distance_to_line(points, size, step_um) <= width_um / 2
    return mask


def disc(radius_um, step_um=1.0):
    return distance_to_line([(0, 0), (0, 0)], int((2 * radius_um + 30) / step_um), step_um) <= radius_um


def ellipse(a, b, angle_deg):
    y, x = np.mgrid[: 2 * a + 20, : 2 * a + 20] - (a + 9.5)
    (u, v) = turned([(x, y)], -angle_deg)[0]
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def boxes_of(labels):
    found = [(i + 1, s) for i, s in enumerate(ndimage.find_objects(labels)) if s]
    box = [[s[0].start, s[0].stop, s[1].start, s[1].stop] for _, s in found]
    return CellBoxes(np.array([i for i, _ in found], np.int64), np.array(box, np.int64).reshape(-1, 4))


def measured(labels, picture=None, pixel_size_um=1.0, maps=None, settings=SETTINGS):
    labels = np.asarray(labels, np.int32)
    if picture is None:
        picture = np.full(labels.shape, 20_000, np.uint16)
    if maps is None:
        maps = np.zeros((len(MAPS), *labels.shape), np.uint8)
    around = Region(0, labels.shape[0], 0, labels.shape[1])
    return cell_shapes(picture, labels, maps, boxes_of(labels), around, labels.shape, pixel_size_um, settings)


def one(mask, step_um=1.0):
    (row,) = measured(np.pad(mask, 3), pixel_size_um=step_um)
    return row


def culture(seed, shape=(220, 260), n=22):
    """Touching cells of random places with a noisy picture and maps, some in two pieces, some at the border."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, n + 1):
        cy, cx, turn = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0, np.pi)
        a, b = rng.uniform(8, 30), rng.uniform(3, 10)
        u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        labels[(u / a) ** 2 + (v / b) ** 2 <= 1] = label
    names = np.unique(labels)
    lookup = np.zeros(n + 1, np.int32)
    lookup[names] = np.arange(names.size)
    picture = rng.integers(8_000, 30_000, shape).astype(np.uint16)
    return lookup[labels], picture, rng.integers(0, 256, (len(MAPS), *shape)).astype(np.uint8)


# outlines


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_area_axes_and_direction_are_those_of_regionprops(seed):
    labels, _, _ = culture(seed, (90, 110), 8)
    cells = boxes_of(labels)
    n = len(cells.label)
    sums = moments(runs_of(labels, n), cells.box)
    axes = inertia(sums)
    for i, found in enumerate(regionprops(labels)):
        assert sums.area[i] == found.area
        assert axes.major[i] - 1 / 12 == pytest.approx(found.axis_major_length**2 / 16, rel=1e-9, abs=1e-9)
        assert axes.minor[i] - 1 / 12 == pytest.approx(found.axis_minor_length**2 / 16, rel=1e-9, abs=1e-9)
        if axes.major[i] > 1.05 * axes.minor[i]:
            apart = (axes.orientation_deg[i] - np.degrees(found.orientation) - 90) % 180
            assert min(apart, 180 - apart) < 1e-6


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_hulls_are_those_of_regionprops(seed):
    labels, _, _ = culture(seed, (90, 110), 8)
    n = int(labels.max())
    hulls = hull_areas_px(runs_of(labels, n), n)
    for hull, found in zip(hulls, regionprops(labels), strict=True):
        assert hull == pytest.approx(found.area_convex, rel=0.06, abs=6)


def slow_perimeter(mask):
    """Count where lines of eight directions cross the outline, one pixel after the other."""
    straight, diagonal, knight = [(0, 1), (1, 0)], [(1, 1), (1, -1)], [(1, 2), (2, 1), (2, -1), (1, -2)]
    total, padded = 0.0, np.pad(mask, 5)
    for steps, angle in ((straight, 26.565), (diagonal, 18.435), (knight, 22.5)):
        for y, x in steps:
            pairs = (((i + 2, j + 2), (i + 2 + y, j + 2 + x)) for i, j in np.ndindex(*(np.array(mask.shape) + 6)))
            cuts = sum(padded[here] != padded[there] for here, there in pairs)
            total += np.radians(angle) * cuts / np.hypot(y, x) / 2
    return total


@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_perimeter_counts_what_an_obvious_count_says(seed):
    labels, _, _ = culture(seed, (40, 44), 3)
    n = int(labels.max())
    for label, perimeter in enumerate(perimeters_px(labels, n), start=1):
        assert perimeter == pytest.approx(slow_perimeter(labels == label), rel=2e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_sums_over_cells_are_those_of_numpy(seed):
    labels, picture, _ = culture(seed, (50, 60), 6)
    n = int(labels.max())
    np.testing.assert_array_equal(
        run_sums(picture, runs_of(labels, n), n), [picture[labels == i].sum(dtype=np.int64) for i in range(1, n + 1)]
    )


# thinning


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_thinning_keeps_every_part_and_every_hole(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 128), np.uint8)
    mask[2:-2, 2:-2] = ndimage.gaussian_filter(rng.random((56, 124)), 2.5) > 0.5
    lines = thin(mask)
    assert not (lines & ~mask).any()
    assert ndimage.label(lines, np.ones((3, 3)))[1] == ndimage.label(mask, np.ones((3, 3)))[1]
    assert ndimage.label(lines == 0)[1] == ndimage.label(mask == 0)[1]
    squares = lines[1:, 1:] & lines[1:, :-1] & lines[:-1, 1:] & lines[:-1, :-1]
    assert squares.sum() <= 0.01 * lines.sum()


# drawn shapes


@pytest.mark.parametrize("radius_um", [8, 15, 40])
def test_disc(radius_um):
    row = one(disc(radius_um))
    assert row["area_um2"] == pytest.approx(np.pi * radius_um**2, rel=0.03)
    assert row["perimeter_um"] == pytest.approx(2 * np.pi * radius_um, rel=0.02)
    assert row["length_um"] == pytest.approx(2 * radius_um, rel=0.05, abs=2)
    assert row["max_width_um"] == pytest.approx(2 * radius_um, rel=0.05, abs=1)
    assert row["aspect_ratio"] == pytest.approx(1, abs=0.02)
    assert row["elongation"] == pytest.approx(0, abs=0.02)
    assert row["circularity"] > 0.97
    assert row["solidity"] > 0.97
    assert row["n_branches"] == 0
    assert row["bending"] < 0.05


@pytest.mark.parametrize("angle_deg", ANGLES)
def test_ellipse(angle_deg):
    row = one(ellipse(50, 20, angle_deg))
    assert row["aspect_ratio"] == pytest.approx(2.5, rel=0.01)
    assert row["elongation"] == pytest.approx(0.6, abs=0.01)
    assert row["length_um"] == pytest.approx(100, rel=0.05)
    assert row["max_width_um"] == pytest.approx(40, rel=0.05)
    apart = (row["orientation_deg"] - angle_deg) % 180
    assert min(apart, 180 - apart) < 0.5


@pytest.mark.parametrize("angle_deg", ANGLES)
def test_capsule_is_the_same_in_any_direction(angle_deg):
    row = one(capsule(100, 12, angle_deg))
    assert row["length_um"] == pytest.approx(100, rel=0.03)
    assert row["perimeter_um"] == pytest.approx(2 * 88 + 12 * np.pi, rel=0.02)
    assert row["width_um"] == pytest.approx((88 * 12 + 36 * np.pi) / 100, rel=0.05)
    assert row["max_width_um"] == pytest.approx(12, abs=1)
    assert row["medial_aspect_ratio"] == pytest.approx(100**2 / (88 * 12 + 36 * np.pi), rel=0.06)
    assert row["solidity"] > 0.92
    assert row["bending"] < 0.02
    assert row["n_branches"] == 0


def test_rectangle_reads_from_corner_to_corner():
    row = one(np.ones((20, 80), np.uint8))
    assert row["area_um2"] == 1600
    assert row["solidity"] == 1
    assert row["aspect_ratio"] == pytest.approx(4, rel=0.002)
    assert row["perimeter_um"] == pytest.approx(200, rel=0.03)
    assert 80 <= row["length_um"] <= np.hypot(20, 80) + 8


@pytest.mark.parametrize("angle_deg", ANGLES)
def test_bent_cell_is_as_long_as_its_arc(angle_deg):
    row = one(arc(40, 10, 180, angle_deg))
    length = 40 * np.pi + 10
    assert row["length_um"] == pytest.approx(length, rel=0.04)
    assert row["bending"] == pytest.approx(1 - 80 / length, abs=0.07)
    assert row["solidity"] < 0.6
    assert row["aspect_ratio"] < 3 < row["medial_aspect_ratio"]


@pytest.mark.parametrize("angle_deg", ANGLES)
@pytest.mark.parametrize("n_arms", [3, 4, 5])
def test_star_has_all_arms_beside_its_longest_way(n_arms, angle_deg):
    assert one(star(n_arms, 40, 5, angle_deg))["n_branches"] == n_arms - 2


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("area_um2", 0.04),
        ("perimeter_um", 0.03),
        ("length_um", 0.04),
        ("width_um", 0.06),
        ("max_width_um", 0.12),
        ("aspect_ratio", 0.04),
        ("medial_aspect_ratio", 0.09),
        ("circularity", 0.06),
        ("solidity", 0.04),
    ],
)
def test_figures_hardly_depend_on_the_pixel_size(name, tolerance):
    shapes = [
        lambda step: capsule(110, 14, 20, step),
        lambda step: arc(35, 12, 150, 40, step),
        lambda step: star(3, 40, 6, 10, step),
    ]
    for draw in shapes:
        found = [one(draw(step), step)[name] for step in (0.65, 1.0, 1.3)]
        np.testing.assert_allclose(found, found[1], rtol=tolerance)


def test_neighbours_do_not_change_an_axis():
    """Two capsules side by side, touching, against each alone."""
    alone = np.pad(capsule(80, 10), 5).astype(np.int32)
    touching = alone.copy()
    touching[10:][alone[:-10] > 0] = 2
    touching[alone > 0] = 1
    a = medial_axes(alone, *boxes_of(alone), 2)
    b = medial_axes(touching, *boxes_of(touching), 2)
    assert (a.length_px[0], a.radius_px[0]) == (b.length_px[0], b.radius_px[0])


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_any_piece_has_an_axis(seed, block):
    mask = np.zeros((14, 14), np.int32)
    mask[1:-1, 1:-1] = np.random.default_rng(seed).random((12, 12)) > 0.6
    mask[5, 5] = 1
    axes = medial_axes(mask, *boxes_of(mask), block)
    assert axes.chord_px[0] <= axes.length_px[0] + 1e-9
    assert 0.5 <= axes.radius_px[0] <= 6
    assert 0 < axes.length_px[0] < 150


# greys


def painted(step_um=1.0, scale=1.0, n=160):
    """A grainy dark cell with a bright ring on an even background."""
    labels = np.zeros((n, n), np.int32)
    middle = (slice((n - s) // 2, (n - s) // 2 + s) for s in disc(20, step_um).shape)
    labels[tuple(middle)] = disc(20, step_um)
    outside = ndimage.distance_transform_edt(labels == 0) * step_um
    picture = np.full((n, n), 10_000.0)
    picture[(outside > 0) & (outside <= 3)] = 13_000
    picture[labels > 0] = 8_000
    y, x = np.mgrid[:n, :n] * step_um
    picture += np.where(labels > 0, 800 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 5), 0)
    return labels, np.rint(picture * scale).astype(np.uint16)


def test_body_ring_and_grain_of_a_painted_cell():
    row = measured(*painted())[0]
    assert row["body_grey"] == pytest.approx(-0.22, abs=0.05)
    assert row["halo"] == pytest.approx(0.27, abs=0.1)
    assert row["texture"] == pytest.approx(0.68 * 0.08 * 2 / np.pi, rel=0.3)
    flat = painted()[1]
    flat[painted()[0] > 0] = 8_000
    assert measured(painted()[0], flat)[0]["texture"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("scale", [0.2, 0.5, 4.0])
def test_brightness_and_gain_do_not_matter(scale):
    """To 0.1 % of the background: what rounding to whole greys leaves."""
    plain, other = measured(*painted())[0], measured(*painted(scale=scale))[0]
    for name in ("body_grey", "halo", "texture"):
        assert other[name] == pytest.approx(plain[name], abs=1e-3)


def test_greys_hardly_depend_on_the_pixel_size():
    found = [measured(*painted(step), pixel_size_um=step)[0] for step in (0.65, 1.0, 1.3)]
    for name, tolerance in (("body_grey", 0.05), ("halo", 0.05)):
        np.testing.assert_allclose([row[name] for row in found], found[1][name], atol=tolerance)
    np.testing.assert_allclose([row["texture"] for row in found], found[1]["texture"], rtol=0.4)


def test_bare_surface_between_two_cells_is_the_halo_of_neither():
    labels, picture = painted()
    labels[:, 105:] = 2
    assert np.isfinite(measured(labels, picture)[0]["halo"])
    labels = np.zeros((40, 60), np.int32)
    labels[2:-2, 2:29], labels[2:-2, 31:-2] = 1, 2
    picture = np.full(labels.shape, 1_000, np.uint16)
    picture[:, 29:31] = 60_000
    surround = (60_000 * 2 * 40 + 1_000 * (40 * 44 - 36 * 27 - 80)) / (40 * 44 - 36 * 27)
    assert measured(labels, picture)[0]["halo"] == pytest.approx(1_000 / surround - 1, abs=0.02)


# rows


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_shares_are_means_of_the_maps(seed):
    labels, picture, maps = culture(seed, (60, 70), 5)
    for row in measured(labels, picture, maps=maps):
        for name in ("rounded", "aggregate", "debris"):
            expected = maps[MAPS.index(name)][labels == row["label"]].mean() / 255
            assert row[f"{name}_share"] == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 10_000), st.integers(40, 130), st.integers(40, 130), st.sampled_from([None, 0.8, 1.3, 2.6]))
@settings(max_examples=12, deadline=None)
def test_any_tiles_give_the_bytes_of_the_whole_field(seed, step_y, step_x, pixel_size_um):
    labels, picture, maps = culture(seed)
    limits = ShapeSettings(reach_um=45, around_um=8)
    cells = boxes_of(labels)
    height, width = labels.shape
    whole = measured(labels, picture, pixel_size_um, maps, limits)
    depth = surroundings_px(pixel_size_um, limits) if pixel_size_um else 64
    rows = []
    for y0 in range(0, height, step_y):
        for x0 in range(0, width, step_x):
            tile = Region(y0, min(y0 + step_y, height), x0, min(x0 + step_x, width))
            around = Region(
                max(tile.y0 - depth, 0),
                min(tile.y1 + depth, height),
                max(tile.x0 - depth, 0),
                min(tile.x1 + depth, width),
            )
            cut = np.s_[..., around.y0 : around.y1, around.x0 : around.x1]
            mine = cells.starting_in(tile)
            parts = (np.ascontiguousarray(array[cut]) for array in (picture, labels, maps))
            rows.append(cell_shapes(*parts, mine, around, labels.shape, pixel_size_um, limits))
    tiled = np.concatenate(rows)
    assert tiled[np.argsort(tiled["label"])].tobytes() == whole.tobytes()


def test_without_a_pixel_size_only_pure_numbers_are_told():
    labels, picture, maps = culture(4)
    rows = measured(labels, picture, None, maps)
    told = {name for name in SHAPE_FIGURES if np.isfinite(rows[name]).any()}
    lengths = {name for name in SHAPE_FIGURES if name.endswith(("_um", "_um2"))} | {"body_grey", "halo", "texture"}
    assert told == set(SHAPE_FIGURES) - lengths
    assert not rows["is_measured"].any()


def test_cells_at_the_border_too_large_or_in_aggregates_are_left_out():
    labels = np.zeros((120, 200), np.int32)
    labels[0:20, 30:50], labels[40:60, 20:190], labels[80:100, 20:40], labels[80:100, 60:80] = 1, 2, 3, 4
    maps = np.zeros((len(MAPS), *labels.shape), np.uint8)
    maps[MAPS.index("aggregate"), 80:100, 20:40] = 200
    maps[MAPS.index("rounded"), 80:100, 60:80] = 200
    rows = measured(labels, maps=maps, settings=ShapeSettings(reach_um=100))
    assert rows["touches_border"].tolist() == [True, False, False, False]
    assert rows["is_oversized"].tolist() == [False, True, False, False]
    assert rows["in_aggregate"].tolist() == [False, False, True, False]
    assert rows["is_rounded"].tolist() == [False, False, False, True]
    assert rows["is_measured"].tolist() == [False, False, False, True]
    assert np.isnan([rows[name][1] for name in SHAPE_FIGURES]).all()
    assert (rows["border_weight"] > 0).tolist() == [False, True, True, True]


def test_border_weights_remove_the_bias_towards_small_cells():
    """As many discs of 10 as of 60 pixels thrown at random: unweighted, the small ones are too many."""
    rng = np.random.default_rng(5)
    side, n = 200, 20_000
    size = np.where(np.arange(n) % 2, 10, 60)
    low = np.floor(rng.uniform(-60, side, (n, 2))).astype(np.int64)
    box = np.stack([low[:, 0], low[:, 0] + size, low[:, 1], low[:, 1] + size], axis=1)
    box = np.clip(box[((box[:, ::2] < side) & (box[:, 1::2] > 0)).all(axis=1)], 0, side)
    nothing = np.zeros((side, side), np.int32)
    limits = ShapeSettings(reach_um=1)  # boxes alone tell the weights
    maps = np.zeros((len(MAPS), side, side), np.uint8)
    cells = CellBoxes(np.arange(1, len(box) + 1), box)
    around = Region(0, side, 0, side)
    rows = cell_shapes(nothing.astype(np.uint16), nothing, maps, cells, around, nothing.shape, 1.0, limits)
    inside = ~rows["touches_border"]
    sizes, weights = (box[:, 1] - box[:, 0])[inside], rows["border_weight"][inside]
    assert np.average(sizes, weights=weights) == pytest.approx(35, rel=0.02)
    assert sizes.mean() < 35 * 0.9


def test_a_tile_without_its_surroundings_is_refused():
    labels = np.zeros((60, 60), np.int32)
    labels[10:40, 10:40] = 1
    cut = np.s_[:30, :30]
    maps = np.zeros((len(MAPS), 30, 30), np.uint8)
    with pytest.raises(InvalidArgumentError, match="surroundings"):
        cell_shapes(
            labels[cut].astype(np.uint16),
            labels[cut],
            maps,
            boxes_of(labels),
            Region(0, 30, 0, 30),
            (60, 60),
            1.0,
            SETTINGS,
        )


def test_field_without_cells_has_no_rows():
    assert len(measured(np.zeros((30, 30), np.int32))) == 0


def test_boxes_of_the_table_come_back_in_working_pixels():
    mask = np.zeros((21, 31), np.uint8)
    mask[2:6, 3:9], mask[15:21, 20:31] = 1, 1
    parts, labels = tile_parts(mask, Region(0, 21, 0, 31), 31)
    objects = join_parts([parts], (21, 31), 2, (41, 61), 0.65)  # the last row and column are half native pixels
    np.testing.assert_array_equal(cell_boxes(objects.table, 2).box, boxes_of(labels).box)


def test_each_figure_is_described_and_has_a_column():
    assert tuple(SHAPE_COLUMNS.names[-len(SHAPE_FEATURES) :]) == tuple(feature.name for feature in SHAPE_FEATURES)
    assert all(feature.meaning.endswith(".") and feature.of == "cell" for feature in SHAPE_FEATURES)


def test_reach_follows_from_the_settings():
    assert reach_px(1.3, SETTINGS) == 308
    assert reach_px(0.1, SETTINGS) == 1024
    assert reach_px(None, SETTINGS) == 512
    assert margin_px(1.3, SETTINGS) == 12
    assert surroundings_px(1.3, SETTINGS) == 320

"""Aggregates: drawn ones are found with their figures, in one piece or in tiles."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import perimeter_crofton

from msc_vision.findings import aggregates
from msc_vision.findings.aggregate_evidence import SIGNS, aggregate_signs, weigh
from msc_vision.findings.aggregates import (
    AGGREGATE_COLUMNS,
    AGGREGATE_FEATURES,
    LARGEST_OUTLINE_UM,
    SURROUNDINGS_UM,
    AggregateSettings,
    AggregateSummary,
    AggregateView,
    FieldScale,
    aggregate_parts,
    find_aggregates,
    join_aggregates,
    measure_aggregates,
    summarise_aggregates,
)
from msc_vision.findings.necks import NECK_REACH_UM, cut_necks, neck_grid_px
from msc_vision.findings.outline import outline_figures
from msc_vision.records import Region

UM = 2.0
SETTINGS = AggregateSettings()


def scale_of(shape: tuple[int, int], *, pixel_size_um: float | None = UM) -> FieldScale:
    return FieldScale(shape, shape, 1, UM, pixel_size_um)


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the evidence be the network's map of aggregates alone, so that a test can draw what is believed."""
    monkeypatch.setattr(aggregates, "aggregate_signs", lambda working, maps, um: maps[4])
    monkeypatch.setattr(aggregates, "weigh", lambda plane: plane)
    monkeypatch.setattr(aggregates, "places_side_px", lambda um: 1)


def drawn(
    mask: NDArray[np.bool_], *, layer: NDArray[np.bool_] | None = None, grey: int = 9000
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
    working = np.where(mask, grey, 6000).astype(np.uint16)
    maps = np.zeros((6, *mask.shape), np.uint8)
    maps[4] = np.where(mask, 220, 0)
    maps[0] = 0 if layer is None else np.where(layer, 255, 0)
    return working, maps, np.ones(mask.shape, np.uint8)


# --- what a biologist can check --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("believed")
def test_a_ball_on_bare_surface_has_its_diameter_and_is_not_attached() -> None:
    mask = disc((200, 200), 100, 100, 30)
    table, labels, summary = find_aggregates(*drawn(mask), scale_of(mask.shape), SETTINGS)
    (row,) = table
    assert row["equivalent_diameter_um"] == pytest.approx(120, rel=0.02)
    assert row["circularity"] == pytest.approx(1, abs=0.03)
    assert row["solidity"] == pytest.approx(1, abs=0.03)
    assert row["grey_contrast"] == pytest.approx(0.5, abs=0.02)
    assert (row["centroid_y_px"], row["centroid_x_px"]) == pytest.approx((100, 100), abs=0.5)
    assert not row["is_attached"]
    assert row["attachment_is_sure"]
    assert row["size_class"] == 1
    assert not row["touches_border"]
    assert (labels > 0).sum() == row["area_px"]
    assert summary.aggregate_area_percent == pytest.approx(100 * row["area_px"] / mask.size)
    assert summary.aggregates_per_cm2 == pytest.approx(1 / (mask.size * UM**2 / 1e8))


@pytest.mark.usefixtures("believed")
@pytest.mark.parametrize(
    ("share", "attached", "sure"), [(1.0, True, True), (0.5, True, True), (0.2, True, False), (0.1, False, False)]
)
def test_contact_with_the_layer_is_the_share_of_the_rim(share: float, attached: bool, sure: bool) -> None:
    mask = disc((200, 200), 100, 100, 30)
    rows, columns = np.mgrid[:200, :200] - 100
    layer = np.arctan2(rows, columns) < -math.pi + 2 * math.pi * share
    (row,) = find_aggregates(*drawn(mask, layer=layer), scale_of(mask.shape), SETTINGS)[0]
    assert row["layer_contact"] == pytest.approx(share, abs=0.03)
    assert (row["is_attached"], row["attachment_is_sure"]) == (attached, sure)


@pytest.mark.usefixtures("believed")
def test_a_rounded_cell_and_a_pair_of_them_are_no_aggregate() -> None:
    shape = (200, 200)
    mask = disc(shape, 50, 50, 4.5) | disc(shape, 120, 120, 4.5) | disc(shape, 120, 129, 4.5)
    table, labels, summary = find_aggregates(*drawn(mask), scale_of(shape), SETTINGS)
    assert len(table) == summary.n_aggregates == 0
    assert not labels.any()
    assert summary.aggregates_per_cm2 == 0


@pytest.mark.usefixtures("believed")
def test_at_the_border_it_counts_in_area_and_on_two_sides_only_in_number() -> None:
    shape = (200, 200)
    mask = disc(shape, 0, 100, 20) | disc(shape, 199, 100, 20) | disc(shape, 100, 0, 20) | disc(shape, 100, 199, 20)
    table, _, summary = find_aggregates(*drawn(mask), scale_of(shape), SETTINGS)
    assert table["touches_border"].all()
    assert (summary.n_aggregates, summary.n_counted) == (4, 2)
    assert summary.aggregate_area_percent == pytest.approx(100 * mask.mean(), rel=0.05)


@pytest.mark.usefixtures("believed")
def test_without_a_pixel_size_nothing_in_um_is_given() -> None:
    mask = disc((200, 200), 100, 100, 30)
    table, _, summary = find_aggregates(*drawn(mask), scale_of(mask.shape, pixel_size_um=None), SETTINGS)
    assert np.isnan(table["area_um2"]).all()
    assert np.isnan(table["equivalent_diameter_um"]).all()
    assert table["size_class"].tolist() == [-1]
    assert table["area_px"][0] > 0
    assert math.isnan(summary.aggregates_per_cm2)


@pytest.mark.usefixtures("believed")
def test_an_outline_that_is_too_large_to_see_whole_gets_an_area_only() -> None:
    side = round(LARGEST_OUTLINE_UM / UM) + 60
    mask = np.zeros((120, side), np.bool_)
    mask[40:80, 20:-20] = True
    (row,) = find_aggregates(*drawn(mask), scale_of(mask.shape), SETTINGS)[0]
    assert row["area_um2"] > 0
    assert np.isnan([row["circularity"], row["solidity"], row["grey_contrast"], row["layer_contact"]]).all()


@pytest.mark.usefixtures("believed")
def test_what_hides_the_surface_is_still_seen_and_a_wall_is_not() -> None:
    mask = disc((200, 200), 60, 100, 30) | disc((200, 200), 150, 100, 30)
    working, maps, judged = drawn(mask)
    judged[mask] = 0
    maps[1, :100][mask[:100]] = 200  # the network says that something hides the surface; of the other it does not
    table, _, summary = find_aggregates(working, maps, judged, scale_of(mask.shape), SETTINGS)
    assert table["centroid_y_px"].round().tolist() == [60]
    assert summary.aggregate_area_percent == pytest.approx(
        100 * table["area_px"][0] / (judged.sum() + table["area_px"][0])
    )


@pytest.mark.usefixtures("believed")
@pytest.mark.parametrize(("radius", "n_found"), [(20, 0), (30, 1)])
def test_only_a_large_aggregate_is_dark_enough_to_hide_the_surface(radius: float, n_found: int) -> None:
    """Two crossing walls of bubbles are as dark, and small."""
    mask = disc((200, 200), 100, 100, radius)
    working, maps, judged = drawn(mask)
    maps[1][mask] = 200
    judged[mask] = 0
    assert len(find_aggregates(working, maps, judged, scale_of(mask.shape), SETTINGS)[0]) == n_found


def test_a_field_of_nothing_has_no_aggregate() -> None:
    shape = (96, 100)
    table, _, summary = find_aggregates(
        np.full(shape, 6000, np.uint16),
        np.zeros((6, *shape), np.uint8),
        np.ones(shape, np.uint8),
        scale_of(shape),
        SETTINGS,
    )
    assert table.dtype == AGGREGATE_COLUMNS
    assert len(table) == 0
    assert summary == AggregateSummary(0, 0, 0.0, 0.0)


def test_an_unseen_field_has_no_figures() -> None:
    summary = summarise_aggregates(np.zeros(0, AGGREGATE_COLUMNS), 0, scale_of((8, 8)))
    assert math.isnan(summary.aggregates_per_cm2)
    assert math.isnan(summary.aggregate_area_percent)


# --- aggregates that touch --------------------------------------------------------------------------------------------


def touching(between: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two balls of 120 µm, 12 µm apart, and so much evidence on a bridge of 30 µm between them: ``O=O``."""
    shape = (200, 240)
    balls = disc(shape, 100, 80, 30) | disc(shape, 100, 146, 30)
    bridge = np.zeros(shape, np.bool_)
    bridge[93:108, 80:146] = True
    working, maps, judged = drawn(balls | bridge)
    maps[4][bridge & ~balls] = between
    return working, maps, judged


@pytest.mark.usefixtures("believed")
def test_two_balls_that_touch_are_two() -> None:
    field = touching(140)
    table, labels, _ = find_aggregates(*field, scale_of(field[0].shape), SETTINGS)
    assert table["equivalent_diameter_um"] == pytest.approx([120, 120], rel=0.06)
    assert table["solidity"].min() > 0.93
    assert labels[100, 80] != labels[100, 146]


@pytest.mark.usefixtures("believed")
def test_a_neck_that_is_as_surely_an_aggregate_as_its_ends_is_left_whole() -> None:
    field = touching(220)
    assert len(find_aggregates(*field, scale_of(field[0].shape), SETTINGS)[0]) == 1


@pytest.mark.usefixtures("believed")
def test_a_waist_that_is_wide_is_left_whole() -> None:
    """Two balls drawn over each other, the evidence low where they meet: one lobed aggregate."""
    shape = (200, 240)
    mask = disc(shape, 100, 80, 30) | disc(shape, 100, 125, 30)
    working, maps, judged = drawn(mask)
    maps[4][:, 100:106][mask[:, 100:106]] = 130
    assert len(find_aggregates(working, maps, judged, scale_of(shape), SETTINGS)[0]) == 1


@settings(max_examples=12, deadline=None)
@given(st.floats(10, 50), st.floats(1, 4), st.floats(0, math.pi), st.integers(0, 1000))
def test_what_is_convex_has_no_neck(short: float, ratio: float, angle: float, seed: int) -> None:
    rows, columns = np.mgrid[-130:131, -130:131]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    mask = ((along / min(short * ratio, 125)) ** 2 + (across / short) ** 2 <= 1).astype(np.uint8)
    evidence = np.random.default_rng(seed).integers(0, 256, mask.shape).astype(np.uint8)
    np.testing.assert_array_equal(cut_necks(mask, evidence, UM, 0.8, 0.0), mask)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.9, 1.3, 2.0]))
def test_a_cut_takes_little_and_only_parts_what_was_one(seed: int, working_um: float) -> None:
    rng = np.random.default_rng(seed)
    mask, evidence = many_balls(rng, (400, 400), 40 / working_um)
    cut = cut_necks(mask, evidence, working_um, 0.8, 0.0)
    assert not (cut > mask).any()
    n_before = cv2.connectedComponents(mask, connectivity=8)[0]
    n_after = cv2.connectedComponents(cut, connectivity=8)[0]
    assert n_after >= n_before
    assert (mask > cut).sum() <= 0.1 * mask.sum()


@pytest.mark.parametrize("working_um", [1.3, 2.0])
def test_a_window_is_cut_as_the_whole_is(working_um: float) -> None:
    mask, evidence = many_balls(np.random.default_rng(4), (1200, 1100), 40 / working_um)
    whole = cut_necks(mask, evidence, working_um, 0.8, 0.0)
    assert (whole < mask).sum() > 100
    reach, grid = math.ceil(NECK_REACH_UM / working_um), neck_grid_px(working_um)
    y0, x0 = 3 * grid, 5 * grid
    window = cut_necks(mask[y0:900, x0:1001], evidence[y0:900, x0:1001], working_um, 0.8, 0.0)
    inner = window[reach:-reach, reach:-reach]
    np.testing.assert_array_equal(inner, whole[y0 + reach : 900 - reach, x0 + reach : 1001 - reach])


def many_balls(
    rng: np.random.Generator, shape: tuple[int, int], radius: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return balls that touch here and there, and evidence that dips at their rims."""
    mask = np.zeros(shape, np.bool_)
    for _ in range(round(0.5 * shape[0] * shape[1] / radius**2 / math.pi)):
        mask |= disc(shape, rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0.5, 1) * radius)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return mask.astype(np.uint8), np.minimum(depth * 255 / radius, 255).astype(np.uint8)


# --- tiles -----------------------------------------------------------------------------------------------------------


def culture(seed: int, shape: tuple[int, int]) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return noise, a layer in the lower half, and bright balls of 40 to 160 µm."""
    rng = np.random.default_rng(seed)
    working = rng.normal(6000, 150, shape)
    maps = rng.integers(0, 60, (6, *shape)).astype(np.uint8)
    maps[0, shape[0] // 2 :] |= 128
    for _ in range(12):
        ball = disc(shape, rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(10, 40))
        working[ball] = rng.normal(9000, 900, int(ball.sum()))
        maps[4][ball] = rng.integers(60, 110, int(ball.sum()))
        maps[1][ball] = 90
        maps[2][ball] = 80
    return working.astype(np.uint16), maps, (maps[5] < 59).astype(np.uint8)


def in_tiles(
    field: tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]],
    tile_px: int,
    scale: FieldScale,
    wanted: AggregateSettings,
) -> tuple[NDArray[np.void], NDArray[np.int32], AggregateSummary]:
    working, maps, judged = field
    height, width = scale.shape
    reach = scale.px(SURROUNDINGS_UM)
    views = []
    for y0 in range(0, height, tile_px):
        for x0 in range(0, width, tile_px):
            region = Region(y0, min(y0 + tile_px, height), x0, min(x0 + tile_px, width))
            around = Region(
                max(y0 - reach, 0), min(region.y1 + reach, height), max(x0 - reach, 0), min(region.x1 + reach, width)
            )
            cut = np.s_[around.y0 : around.y1, around.x0 : around.x1]
            views.append(AggregateView(working[cut], maps[(slice(None), *cut)], judged[cut], around, region))
    parts = [aggregate_parts(view, scale, wanted) for view in views]
    found = join_aggregates([part for part, _ in parts], scale, wanted)
    table = np.concatenate([measure_aggregates(view, found, scale, wanted) for view in views])
    labels = np.zeros(scale.shape, np.int32)
    for view, (_, local), lookup in zip(views, parts, found.lookups, strict=True):
        labels[view.region.y0 : view.region.y1, view.region.x0 : view.region.x1] = lookup[local]
    table.sort(order="label")
    return table, labels, summarise_aggregates(table, found.n_area_px, scale)


@pytest.mark.parametrize("tile_px", [301, 450])
def test_tiles_change_nothing(tile_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "LARGEST_OUTLINE_UM", 300.0)  # so that tiles are cut from more than they see
    monkeypatch.setattr(f"{__name__}.SURROUNDINGS_UM", SURROUNDINGS_UM - LARGEST_OUTLINE_UM + 300.0)
    shape = (900, 853)
    field, scale = culture(5, shape), scale_of(shape)
    wanted = AggregateSettings(mean_evidence_from=0)
    whole = find_aggregates(*field, scale, wanted)
    tiled = in_tiles(field, tile_px, scale, wanted)
    assert len(whole[0]) > 2
    for name in AGGREGATE_COLUMNS.names or ():
        np.testing.assert_array_equal(tiled[0][name], whole[0][name], err_msg=name)
    np.testing.assert_array_equal(tiled[1], whole[1])
    assert tiled[2] == whole[2]


@pytest.mark.usefixtures("believed")
def test_tiles_do_not_change_where_necks_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "LARGEST_OUTLINE_UM", 300.0)
    monkeypatch.setattr(f"{__name__}.SURROUNDINGS_UM", SURROUNDINGS_UM - LARGEST_OUTLINE_UM + 300.0)
    shape = (1150, 1001)
    scale = FieldScale(shape, shape, 1, 1.3, 1.3)
    mask, evidence = many_balls(np.random.default_rng(6), shape, 40 / 1.3)
    maps = np.zeros((6, *shape), np.uint8)
    maps[4] = np.where(mask > 0, np.maximum(evidence, 129), 0)
    field = np.full(shape, 6000, np.uint16), maps, np.ones(shape, np.uint8)
    wanted = AggregateSettings(mean_evidence_from=0, neck_dip=10, neck_share=0.8)
    whole = find_aggregates(*field, scale, wanted)
    uncut = find_aggregates(*field, scale, wanted.model_copy(update={"neck_share": 0.0}))
    assert len(whole[0]) > len(uncut[0])
    tiled = in_tiles(field, 401, scale, wanted)
    np.testing.assert_array_equal(tiled[1], whole[1])
    np.testing.assert_array_equal(tiled[0]["solidity"], whole[0]["solidity"])


# --- parts -----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.floats(12, 40), st.floats(1, 3), st.floats(0, math.pi))
def test_circularity_is_near_that_of_an_exact_ellipse(short: float, ratio: float, angle: float) -> None:
    long = short * ratio
    rows, columns = np.mgrid[-130:131, -130:131]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    mask = (along / long) ** 2 + (across / short) ** 2 <= 1
    exact = 4 * math.pi * mask.sum() / perimeter_crofton(mask, 4) ** 2
    figures = outline_figures(mask.astype(np.uint8))
    assert figures.circularity == pytest.approx(min(exact, 1), abs=0.05)
    assert figures.solidity == pytest.approx(1, abs=0.02)


def test_nothing_has_no_outline() -> None:
    assert np.isnan(outline_figures(np.zeros((5, 5), np.uint8))).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_signs_are_whole_numbers_and_brightness_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    working = cv2.GaussianBlur(rng.integers(2000, 9000, (90, 100)).astype(np.uint16), (0, 0), 1.5)
    maps = rng.integers(0, 256, (6, 90, 100)).astype(np.uint8)
    signs = aggregate_signs(working, maps, UM)
    assert (signs == np.rint(signs)).all()
    assert np.abs(signs).max() <= 127
    brighter = aggregate_signs(working * np.uint16(3), maps, UM)
    assert np.abs(signs - brighter).max() <= 2
    assert np.abs(weigh(signs).astype(int) - weigh(brighter).astype(int)).mean() < 4


def test_a_smooth_ball_in_a_rough_layer_is_less_grainy_than_what_surrounds_it() -> None:
    rng = np.random.default_rng(3)
    ball = disc((220, 220), 110, 110, 30)
    working = np.where(ball, 6000, rng.normal(6000, 600, ball.shape)).astype(np.uint16)
    signs = dict(zip(SIGNS, aggregate_signs(working, np.zeros((6, *ball.shape), np.uint8), UM), strict=True))
    for what in ("grain", "fine grain"):
        relative = signs[f"{what} over surroundings 35"]
        middle = relative.shape[0] // 2
        assert relative[middle, middle] < -60
        assert abs(relative[5:20, 5:20].mean()) < 15


def test_every_measured_figure_is_described_once() -> None:
    names = [feature.name for feature in AGGREGATE_FEATURES]
    assert len(names) == len(set(names))
    columns, fields = set(AGGREGATE_COLUMNS.names or ()), set(AggregateSummary.__slots__)
    assert all(f.name in (columns if f.of == "aggregate" else fields) for f in AGGREGATE_FEATURES)

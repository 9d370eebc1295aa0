"""Order of the monolayer: drawn stripes and swirls of known direction, width and winding; tiles against the whole."""

import math
from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.orientation import (
    ORDER_FEATURES,
    TILE_PX,
    OrderParts,
    OrderSettings,
    _defects,
    _Frame,
    _grid,
    measure_order,
    order_figures,
    order_reach_px,
    orientation_map,
)
from msc_vision.records import Region

SETTINGS = OrderSettings()
LEVEL = 20_000


def whole(working, covered=None, pixel_size_um=1.3):
    covered = np.ones(working.shape, np.uint8) if covered is None else covered
    region = Region(0, working.shape[0], 0, working.shape[1])
    return measure_order(working, covered, region, region, pixel_size_um, SETTINGS)


def figures(working, covered=None, pixel_size_um=1.3):
    return order_figures(whole(working, covered, pixel_size_um), pixel_size_um, SETTINGS)


def picture(relief):
    return np.clip(LEVEL * (1 + 0.1 * relief), 0, 65535).astype(np.uint16)


def stripes(width_um, along_degrees, pixel_size_um=1.3, *, square=False, side=512):
    """Dark and bright stripes that run so many degrees counter-clockwise from the horizontal."""
    y, x = np.mgrid[:side, :side] * pixel_size_um
    angle = math.radians(along_degrees)
    relief = np.sin(np.pi * (x * math.sin(angle) + y * math.cos(angle)) / width_um + 0.3)
    return picture(np.sign(relief) if square else relief)


def grain(seed=0, side=1024, sigma_px=2.0):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((side, side)), (0, 0), sigma_px)
    return picture(noise / noise.std())


@lru_cache
def swirl(charge, side=1024):
    """Grain smeared along a director that turns by so many turns around the middle: a defect of this charge."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = charge * np.arctan2(y, x)
    noise = np.random.default_rng(5).standard_normal((side, side)).astype(np.float32)
    smeared = np.zeros_like(noise)
    columns, rows = (part.astype(np.float32) for part in np.meshgrid(np.arange(side), np.arange(side)))
    for sign in (1, -1):
        step_x, step_y = sign * np.cos(angle), sign * np.sin(angle)
        at_x, at_y = columns.copy(), rows.copy()
        for _ in range(12):
            smeared += cv2.remap(noise, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            near_y = np.clip(np.rint(at_y), 0, side - 1).astype(int)
            near_x = np.clip(np.rint(at_x), 0, side - 1).astype(int)
            new_x, new_y = np.cos(angle)[near_y, near_x], np.sin(angle)[near_y, near_x]
            same = np.where(new_x * step_x + new_y * step_y < 0, -1, 1)
            step_x, step_y = new_x * same, new_y * same
            at_x, at_y = at_x + step_x.astype(np.float32), at_y + step_y.astype(np.float32)
    smeared = cv2.GaussianBlur(smeared, (0, 0), 1.5)
    return picture(smeared / smeared.std())


def patchy(seed, shape, sigma_y=7.0):
    """Grain of one direction, with patches that nobody covers and a spot that is far too bright."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 2.0, sigmaY=sigma_y)
    working = picture(2 * noise / noise.std())
    working[40:60, -90:-30] = 65535
    covered = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 20) > -0.01
    return working, covered.astype(np.uint8)


def tiled(working, covered, pixel_size_um, tile_px=TILE_PX):
    height, width = working.shape
    reach = order_reach_px(pixel_size_um, SETTINGS)
    total = OrderParts()
    for y0 in range(0, height, tile_px):
        for x0 in range(0, width, tile_px):
            inner = Region(y0, min(y0 + tile_px, height), x0, min(x0 + tile_px, width))
            around = Region(
                max(y0 - reach, 0), min(inner.y1 + reach, height), max(x0 - reach, 0), min(inner.x1 + reach, width)
            )
            part = slice(around.y0, around.y1), slice(around.x0, around.x1)
            total += measure_order(working[part], covered[part], around, inner, pixel_size_um, SETTINGS)
    return total


@pytest.mark.parametrize("square", [False, True], ids=["soft", "sharp"])
@pytest.mark.parametrize("along", [0, 30, 45, 90, 160])
@pytest.mark.parametrize("width_um", [6, 12, 30])
def test_width_of_stripes_is_found_whatever_their_direction(width_um, along, square):
    found = figures(stripes(width_um, along, square=square))
    assert found["fibre_width_um"] == pytest.approx(width_um, rel=0.05)


@pytest.mark.parametrize("pixel_size_um", [0.65, 0.9, 1.45, 2.0, 2.8])
def test_width_is_in_micrometres_whatever_the_pixel(pixel_size_um):
    found = figures(stripes(14, 30, pixel_size_um), pixel_size_um=pixel_size_um)
    assert found["fibre_width_um"] == pytest.approx(14, rel=0.05)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 179))
def test_map_shows_the_direction_that_stripes_run(along):
    seen = orientation_map(stripes(12, along), np.ones((512, 512), np.uint8), 1.3, SETTINGS)
    off = (seen.angle_degrees[2:-2, 2:-2] - along + 90) % 180 - 90
    assert np.abs(off).max() < 1.5
    assert seen.angle_degrees.dtype == seen.coherency.dtype == np.float32
    assert seen.angle_degrees.shape == (512 // seen.step_px, 512 // seen.step_px)


def test_parallel_stripes_are_in_perfect_order():
    found = figures(stripes(12, 20))
    orders = [found[name] for name in ("coherency_10um", "coherency_60um", "order_field", "order_100um", "order_250um")]
    assert min(orders) > 0.98
    assert found["defects_plus_half_per_mm2"] == found["defects_minus_half_per_mm2"] == 0


def test_grain_has_no_order():
    found = figures(grain())
    assert found["order_field"] < 0.05
    assert found["coherency_60um"] < 0.08
    assert found["order_250um"] < 0.2
    assert math.isnan(found["defects_plus_half_per_mm2"])  # no direction is known, so nothing turns


@pytest.mark.parametrize(("charge", "counts"), [(0.5, (1, 0)), (-0.5, (0, 1))], ids=["comet", "trefoil"])
def test_one_defect_is_counted_once(charge, counts):
    parts = whole(swirl(charge))
    assert (parts.n_plus, parts.n_minus) == counts
    found = order_figures(parts, 1.3, SETTINGS)
    assert found["order_field"] < 0.05
    assert found["order_250um"] > 0.9


@pytest.mark.parametrize(
    ("apart_nodes", "counts"), [(1.6, (0, 0)), (12, (1, 1))], ids=["a pair at one place", "far apart"]
)
def test_two_opposite_defects_next_to_each_other_are_none(apart_nodes, counts):
    grid = _grid(1.3, SETTINGS)
    squares = grid.node_px // (4 * grid.grain_px)
    y, x = (np.mgrid[: 40 * squares, : 40 * squares] + 0.5) / squares
    double_angle = np.arctan2(y - 20, x - 13.7) - np.arctan2(y - 20, x - 13.7 - apart_nodes)
    middle = cv2.merge([np.cos(double_angle), np.sin(double_angle), np.ones_like(x)])
    field = Region(0, 40 * grid.node_px, 0, 40 * grid.node_px)
    found = _defects(middle, np.full(x.shape, 16, np.float32), _Frame(0, 0, field), grid, SETTINGS)
    assert (found["n_plus"], found["n_minus"]) == counts


def test_two_halves_of_the_field_that_cross_cancel_in_the_field_but_not_locally():
    halves = np.concatenate([stripes(12, 0, side=1024)[:512], stripes(12, 90, side=1024)[:512]])
    found = figures(halves)
    assert found["order_field"] < 0.05
    assert found["order_250um"] > 0.95


def test_texture_share_peaks_at_the_size_that_was_drawn():
    shares = [feature.name for feature in ORDER_FEATURES if feature.name.startswith("texture_share")]
    for sigma_um, name in ((3.4, "texture_share_3um"), (7, "texture_share_6um"), (14, "texture_share_12um")):
        y, x = np.mgrid[:768, :768] * 1.3
        found = figures(picture(np.sin(x / sigma_um) * np.sin(y / sigma_um)))
        assert max(shares, key=found.__getitem__) == name
        assert sum(found[share] for share in shares) == pytest.approx(1)


def test_light_gain_and_vignetting_do_not_count():
    working, covered = patchy(3, (768, 768))
    working = (working * 0.4).astype(np.uint16)
    reference = figures(working, covered)
    y, x = np.mgrid[-1:1:768j, -1:1:768j]
    for other in (working * 1.5, working * (1 - 0.25 * (x**2 + y**2) / 2)):
        found = figures(other.astype(np.uint16), covered)
        for name in found:
            if not name.startswith("defects"):
                assert found[name] == pytest.approx(reference[name], rel=0.01, abs=0.003), name


def test_what_lies_on_bare_surface_does_not_count():
    working, covered = patchy(4, (512, 512))
    covered = np.repeat(np.repeat(covered[::2, ::2], 2, 0), 2, 1)  # squares of two pixels are covered as a whole
    changed = np.where(covered == 1, working, 60_000).astype(np.uint16)
    assert whole(changed, covered) == whole(working, covered)


@pytest.mark.parametrize(
    ("shape", "pixel_size_um"),
    [((1501, 1203), 1.3), ((1100, 1047), 2.8), ((1100, 1300), 0.65), ((1027, 1064), 1.3), ((1300, 1030), 0.92)],
    ids=["usual", "large pixels", "small pixels", "slivers", "odd pixels"],
)
def test_tiles_add_up_to_the_whole_field(shape, pixel_size_um):
    working, covered = patchy(7, shape)
    assert tiled(working, covered, pixel_size_um) == whole(working, covered, pixel_size_um)


def test_defects_at_a_seam_are_counted_once():
    field = np.full((1536, 1536), LEVEL, np.uint16)
    field[512:, 512:] = swirl(0.5)  # its middle lies on the corner of four tiles
    covered = np.zeros(field.shape, np.uint8)
    covered[512:, 512:] = 1
    assert tiled(field, covered, 1.3).n_plus == 1
    assert tiled(field, covered, 1.3) == whole(field, covered)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_turned_field_has_turned_directions_and_the_same_order(seed):
    working, covered = patchy(seed, (512, 512))
    before, after = whole(working, covered), whole(np.rot90(working).copy(), np.rot90(covered).copy())
    assert after.director_x == pytest.approx(-before.director_x, rel=0.02)
    one, other = order_figures(before, 1.3, SETTINGS), order_figures(after, 1.3, SETTINGS)
    for name in one:
        if not name.startswith("defects"):
            assert other[name] == pytest.approx(one[name], rel=0.03, abs=0.005), name


def slow_coherency(working, sigma_um, pixel_size_um):
    """The textbook: derivatives of a Gaussian, and Gaussian smoothing, in floats, at full resolution."""
    relief = working.astype(float) / working.mean() - 1
    smooth = cv2.GaussianBlur(relief, (0, 0), 2.12 / pixel_size_um)
    down, across = np.gradient(smooth)
    xx, yy, xy = (
        cv2.GaussianBlur(part, (0, 0), sigma_um / pixel_size_um) for part in (across**2, down**2, across * down)
    )
    return float((np.hypot(xx - yy, 2 * xy) / (xx + yy)).mean())


@pytest.mark.parametrize("sigma_y", [3.0, 5.0])
def test_coherency_agrees_with_the_textbook(sigma_y):
    noise = cv2.GaussianBlur(np.random.default_rng(1).standard_normal((768, 768)), (0, 0), 3.0, sigmaY=sigma_y)
    working = picture(noise / noise.std())
    found = figures(working)
    for scale in (10, 25, 60):
        assert found[f"coherency_{scale}um"] == pytest.approx(slow_coherency(working, scale, 1.3), abs=0.03)


def test_every_figure_is_described_and_nan_where_nothing_can_be_said():
    names = [feature.name for feature in ORDER_FEATURES]
    assert len(set(names)) == len(names)
    working = grain(side=512)
    cases = {
        "bare": order_figures(whole(working, np.zeros((512, 512), np.uint8)), 1.3, SETTINGS),
        "no pixel size": order_figures(whole(working), None, SETTINGS),
        "tiny": figures(working[:20, :20]),
        "nothing read": order_figures(OrderParts(), 1.3, SETTINGS),
    }
    for found in cases.values():
        assert list(found) == names
        assert all(map(math.isnan, found.values()))
    assert list(figures(working)) == names


def test_an_even_field_has_no_texture_and_no_error():
    found = figures(np.full((512, 512), LEVEL, np.uint16))
    assert found["contrast_percent"] == 0
    assert math.isnan(found["order_field"])
    assert figures(np.zeros((512, 512), np.uint16))["coherency_10um"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner": Region(8, 512, 0, 512)}, "begins at multiples of 1024"),
        ({"inner": Region(0, 600, 0, 512)}, "does not lie in"),
        ({"around": Region(0, 100, 0, 512)}, "Shapes differ"),
        ({"covered": np.ones((512, 512), bool)}, "uint8 cover"),
        ({"pixel_size_um": 0.0}, "above 0"),
    ],
)
def test_a_wrong_call_is_refused(arguments, message):
    region = Region(0, 512, 0, 512)
    call = {
        "working": grain(side=512),
        "covered": np.ones((512, 512), np.uint8),
        "around": region,
        "inner": region,
        "pixel_size_um": 1.3,
        "settings": SETTINGS,
    }
    with pytest.raises(InvalidArgumentError, match=message):
        measure_order(**{**call, **arguments})

"""Native to working pixels, and the overview: exact whatever the tile, obvious oracles beside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from msc_vision.errors import InvalidArgumentError
from msc_vision.imaging.frame import OVERVIEW_SIDE_PX, STRIP_PX, strip_rows
from msc_vision.imaging.normalise import IntensityScale, bin_mean, intensity_scale, to_working, working_factor
from msc_vision.imaging.overview import BLOCK_PX, OverviewBuilder, block_statistics, overview_factor

pictures = hnp.arrays(np.uint16, st.tuples(st.integers(8, 40), st.integers(8, 40)))


@given(pictures, st.integers(1, 5))
def test_binning_is_the_mean_of_each_block(image, factor):
    binned = bin_mean(image, factor)
    height, width = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    padded = np.pad(image, ((0, height * factor - image.shape[0]), (0, width * factor - image.shape[1])), mode="edge")
    obvious = padded.reshape(height, factor, width, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(binned, obvious, atol=0.51)


@settings(deadline=None)
@given(pictures, st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_binning_a_tile_equals_binning_the_whole(image, factor, row, column):
    y0, x0 = row * factor, column * factor
    if y0 >= image.shape[0] or x0 >= image.shape[1]:
        return
    tile = np.ascontiguousarray(image[y0:, x0:])
    np.testing.assert_array_equal(bin_mean(tile, factor), bin_mean(image, factor)[row:, column:])


@pytest.mark.parametrize(
    ("pixel_size_um", "factor"),
    [(0.325, 4), (0.62, 2), (0.65, 2), (0.867, 1), (1.24, 1), (2.82, 1)],
    ids=["20x sCMOS", "Incucyte 20x", "10x sCMOS", "10x 1.5x binned", "Incucyte 10x", "Incucyte 4x"],
)
def test_working_factor_stays_at_or_below_the_target(pixel_size_um, factor):
    assert working_factor(pixel_size_um, 1.3) == factor


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_size_that_is_no_length_is_refused(bad):
    with pytest.raises(InvalidArgumentError, match="is not a positive number"):
        working_factor(bad, 1.3)


def test_eight_bit_keeps_fractions_of_a_grey_value():
    image = np.array([[1, 2], [1, 1]], np.uint8)
    assert to_working(image, 2, intensity_scale(image.dtype, (0, 0)))[0, 0] == 256 * 1.25


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.2, 0.9), (-3.0, 5.0)], ids=["0 to 1", "inside", "with negatives"])
def test_float_images_use_the_range_and_keep_zero(values):
    image = np.linspace(*values, 64, dtype=np.float32).reshape(8, 8)
    scale = intensity_scale(image.dtype, values)
    working = to_working(image, 1, scale)
    assert working.max() == 65535
    if values[0] >= 0:
        assert working.min() == pytest.approx(65535 * values[0] / values[1], abs=1)


def overview(image, strip_rows, factor=1):
    builder = OverviewBuilder(
        factor=factor,
        working_factor=1,
        native_shape=image.shape,
        pixel_size_um=None,
        saturation_level=None,
        scale=IntensityScale(),
        dtype=image.dtype,
        strip_rows=strip_rows,
    )
    for y in range(0, image.shape[0], strip_rows):
        strip = np.ascontiguousarray(image[y : y + strip_rows])
        builder.add(strip, to_working(strip, 1, IntensityScale()))
    return builder.build()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(70, 300), st.integers(70, 200), st.sampled_from([1, 2]))
def test_overview_does_not_depend_on_how_strips_are_cut(seed, height, width, factor):
    image = np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(np.uint16)
    step = BLOCK_PX * factor
    one, many = overview(image, 100 * step, factor), overview(image, step, factor)
    for name in ("image", "block_mean", "block_sd", "block_fine"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    figures = ("saturated_percent", "dark_percent", "flat_percent")
    assert [getattr(one, name) for name in figures] == [getattr(many, name) for name in figures]


def test_block_statistics_of_pieces_are_those_of_the_whole():
    image = np.random.default_rng(4).integers(0, 65536, (130, 300)).astype(np.uint16)
    whole, left, right = (block_statistics(part) for part in (image, image[:, :128], image[:, 128:]))
    for i in range(3):
        np.testing.assert_array_equal(np.hstack([left[i], right[i]]), whole[i])
    assert left[3] + right[3] == whole[3]


def test_block_statistics_are_mean_and_sd_of_each_block():
    image = np.random.default_rng(3).normal(20_000, 300, (128, 192)).astype(np.uint16)
    mean, sd, fine, _ = block_statistics(image)
    blocks = image.reshape(2, 64, 3, 64).astype(float)
    np.testing.assert_allclose(mean, blocks.mean(axis=(1, 3)), rtol=1e-5)
    np.testing.assert_allclose(sd, blocks.std(axis=(1, 3)), rtol=1e-3)
    np.testing.assert_allclose(fine, 300, rtol=0.05)  # white noise: its own sd


def test_saturated_and_dark_pixels_are_counted():
    image = np.full((100, 100), 1000, np.uint16)
    image[:10], image[10:15] = 65535, 0
    made = overview(image, 64)
    assert made.saturated_percent == pytest.approx(10)
    assert made.dark_percent == pytest.approx(5)


def test_overview_is_bounded():
    assert overview_factor((1024, 1024), 2048) == 1
    assert overview_factor((2048, 100), 2048) == 1
    assert overview_factor((2049, 100), 2048) == 2
    assert overview_factor((15_000, 9_000), 2048) == 8
    assert overview_factor((150_000, 9_000), 2048) == 128


@pytest.mark.parametrize("height", [1024, 15_000, 150_000])
def test_strips_stay_narrow_however_tall_the_field(height):
    rows = strip_rows((height, 15_000))
    assert rows % BLOCK_PX == 0
    assert rows % overview_factor((height, 15_000), OVERVIEW_SIDE_PX) == 0
    assert rows * 15_000 <= STRIP_PX

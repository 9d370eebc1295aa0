"""Foreground by local contrast: drawn surfaces and cells, tiles against the whole, each limit by what it is for."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.imaging.normalise import IntensityScale, to_working
from msc_vision.imaging.overview import OverviewBuilder
from msc_vision.segmentation.contrast import (
    LOG_LOW,
    LOG_STEP,
    ContrastSettings,
    contrast_filter,
    contrast_levels,
    foreground_mask,
    noise_log,
    texture,
    texture_histogram,
)

LEVEL = 20_000
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def surface(rng, shape, noise=0.004):
    """Bare plastic: even light and the camera's grain."""
    return LEVEL * (1 + noise * rng.standard_normal(shape))


def spindle(image, y, x, angle, *, contrast=0.25, length=40, width=9, rng=None):
    """Draw one spindle: dark body with granules inside, a bright rim of light outside."""
    body = np.zeros(image.shape, np.float32)
    cv2.ellipse(body, (x, y), (length, width), angle, 0, 360, 1.0, -1, cv2.LINE_AA)
    halo = np.clip(cv2.GaussianBlur(body, (0, 0), 3) - body, 0, None)
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape).astype(np.float32), (0, 0), 1.2) * 3
    image *= 1 + contrast * (halo - 0.5 * body + 0.35 * body * grain)
    return body > 0.5


def field(rng, n_cells, shape=(512, 512), contrast=0.25, noise=0.004):
    """A field with so many spindles at random places, and where they are."""
    image = surface(rng, shape, noise).astype(np.float32)
    truth = np.zeros(shape, bool)
    for _ in range(n_cells):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        truth |= spindle(image, int(y), int(x), float(rng.uniform(0, 180)), contrast=contrast, rng=rng)
    return np.clip(image, 0, 65535).astype(np.uint16), truth


def measured(image, recipe=None, pixel_size_um=1.24):
    """Return the mask and what the field says of itself, as a run gets them."""
    recipe = recipe or ContrastSettings()
    builder = OverviewBuilder(
        factor=1,
        working_factor=1,
        native_shape=image.shape,
        pixel_size_um=pixel_size_um,
        saturation_level=None,
        scale=IntensityScale(),
        dtype=image.dtype,
        strip_rows=4096,
    )
    working = to_working(image, 1, IntensityScale())
    builder.add(image, working)
    overview = builder.build()
    sizes = contrast_filter(recipe, pixel_size_um)
    mean_level = float(overview.block_mean.mean())
    picture = texture(working, mean_level, sizes)
    judgeable = np.ones(image.shape, bool)
    counts = texture_histogram(picture, judgeable.view(np.uint8))
    levels = contrast_levels(counts, mean_level, noise_log(overview, judgeable, recipe), recipe)
    return foreground_mask(picture, levels, sizes), levels, sizes


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_spindles_are_found_with_their_outlines():
    image, truth = field(np.random.default_rng(1), 25)
    mask, levels, _ = measured(image)
    assert levels.kind == "bare and cells"
    assert dice(mask > 0, truth) > 0.85
    assert abs(mask.mean() - truth.mean()) < 0.04


@pytest.mark.parametrize("noise", [0.002, 0.006, 0.02], ids=["quiet camera", "usual camera", "noisy camera"])
def test_empty_surface_reads_under_one_percent(noise):
    image = surface(np.random.default_rng(2), (512, 512), noise).astype(np.uint16)
    assert 100 * measured(image)[0].mean() < 1


def test_empty_surface_with_debris_reads_under_one_percent():
    rng = np.random.default_rng(3)
    image = surface(rng, (512, 512))
    for y, x in rng.integers(10, 500, (60, 2)):
        cv2.circle(image, (int(x), int(y)), 2, 0.7 * LEVEL, -1)
    assert 100 * measured(image.astype(np.uint16))[0].mean() < 1


def monolayer(rng, contrast, noise):
    """Bodies of spindle size side by side without a gap: two scales of anisotropic structure, and grain."""
    bodies = cv2.GaussianBlur(rng.standard_normal((512, 512)), (0, 0), 3, sigmaY=9)
    granules = cv2.GaussianBlur(rng.standard_normal((512, 512)), (0, 0), 1.5)
    structure = bodies / bodies.std() + 0.6 * granules / granules.std()
    image = LEVEL * (1 + contrast * structure + noise * rng.standard_normal((512, 512)))
    return np.clip(image, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("contrast", [0.12, 0.05, 0.025], ids=["strong", "usual", "pale"])
def test_full_monolayer_reads_over_95_percent(contrast):
    mask, levels, _ = measured(monolayer(np.random.default_rng(4), contrast, noise=0.003))
    assert 100 * mask.mean() > 95, levels


@pytest.mark.shared
@pytest.mark.parametrize("paler", [1, 3, 6], ids=["as it is", "a third of its contrast", "a sixth"])
@pytest.mark.parametrize("name", ["dmso_b5_t24_confluent0", "dmso_b5_t24_confluent1"])
def test_real_monolayer_reads_over_95_percent_however_pale(name, paler):
    path = SHARED / "wound_cellprofiler_bsd" / "images" / f"wound-cellprofiler_{name}.png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64)
    pale = 1 + (image / cv2.blur(image, (127, 127)) - 1) / paler
    pale += 0.003 * np.random.default_rng(8).standard_normal(image.shape)
    mask, levels, _ = measured(np.rint(11_000 * pale).astype(np.uint16))
    assert 100 * mask.mean() > 95, levels


@pytest.mark.shared
def test_real_bare_surface_with_streaks_reads_under_one_percent():
    path = SHARED / "wound_cellprofiler_bsd" / "images" / "wound-cellprofiler_dmso_b5_t0_empty.png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 256
    assert 100 * measured(image)[0].mean() < 1


def test_a_uniform_slope_of_light_is_not_cells():
    rng = np.random.default_rng(5)
    slope = np.linspace(0.6, 1.4, 512)[None, :]
    image = (surface(rng, (512, 512)) * slope).astype(np.uint16)
    assert 100 * measured(image)[0].mean() < 1


def test_thin_process_is_kept_whatever_its_area():
    rng = np.random.default_rng(6)
    image = surface(rng, (400, 400)).astype(np.float32)
    truth = spindle(image, 200, 200, 20, contrast=0.5, length=150, width=3, rng=rng)
    mask, _, _ = measured(np.clip(image, 0, 65535).astype(np.uint16))
    assert (mask > 0)[truth].mean() > 0.7


def test_brightness_of_the_lamp_does_not_matter():
    image, _ = field(np.random.default_rng(7), 25)
    once, twice = measured(image)[0], measured((image // 2).astype(np.uint16))[0]
    assert dice(once > 0, twice > 0) > 0.97


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**20), st.integers(250, 700), st.integers(250, 700))
def test_tile_with_its_surroundings_equals_whole(n_cells, seed, y0, x0):
    image, _ = field(np.random.default_rng(seed), n_cells, shape=(900, 1000))
    whole, levels, sizes = measured(image)
    depth = sizes.depth_px
    y1, x1 = min(y0 + 130, 900), min(x0 + 110, 1000)
    top, left = max(y0 - depth, 0), max(x0 - depth, 0)
    around = np.ascontiguousarray(image[top : y1 + depth, left : x1 + depth])
    tile = foreground_mask(texture(around, levels.mean_level, sizes), levels, sizes)
    inner = tile[y0 - top : y1 - top, x0 - left : x1 - left]
    np.testing.assert_array_equal(inner, whole[y0:y1, x0:x1])


def test_depth_covers_every_filter():
    sizes = contrast_filter(ContrastSettings(), 0.65)
    assert sizes.depth_px >= 1 + sizes.window_px // 2 + sizes.retreat_px + sizes.halo_px + 2 * sizes.length_px


def histogram(*modes):
    """Counts with Gaussian modes: (centre, width, share)."""
    centres = LOG_LOW + LOG_STEP * (np.arange(140) + 0.5)
    total = sum(share * np.exp(-((centres - at) ** 2) / (2 * width**2)) / width for at, width, share in modes)
    return np.rint(1e6 * total / total.sum()).astype(np.int64)


@pytest.mark.parametrize(
    ("modes", "noise", "kind"),
    [
        (((-5.0, 0.25, 0.7), (-2.0, 0.5, 0.3)), -5.8, "bare and cells"),
        (((-5.0, 0.2, 1.0),), -5.6, "bare"),
        (((-2.2, 0.4, 1.0),), -6.0, "full"),
        (((-4.2, 0.5, 1.0),), -7.0, "full"),
        (((-4.7, 0.55, 1.0),), -5.8, "flat cells"),
        (((-2.2, 0.4, 0.985), (-4.4, 0.3, 0.015)), -6.0, "bare and cells"),
        (((-4.7, 0.45, 0.75), (-2.6, 0.5, 0.25)), -5.8, "bare and cells"),
    ],
    ids=[
        "cells on bare plastic",
        "bare",
        "full monolayer",
        "pale full monolayer",
        "flat cells",
        "small gaps",
        "cells on uneven bare plastic",
    ],
)
def test_histogram_tells_what_is_in_view(modes, noise, kind):
    levels = contrast_levels(histogram(*modes), 20_000.0, noise, ContrastSettings())
    assert levels.kind == kind
    assert levels.limit > levels.bare or kind == "full"


@pytest.mark.parametrize("noise", [-5.8, -7.0], ids=["flat cells", "pale full monolayer"])
def test_cover_that_only_an_uneven_surface_gives_away_is_flagged(noise):
    assert contrast_levels(histogram((-4.7, 0.55, 1.0)), 20_000.0, noise, ContrastSettings()).is_uncertain


@pytest.mark.shared
@pytest.mark.parametrize("name", ["usiigaci_set24.png", "usiigaci_set29.tif"])
def test_annotated_cells_on_uneven_bare_surface_are_not_taken_for_flat_cells(name):
    """Annotated fields whose bare surface is among the least even: as flat cells they would read 60 %."""
    folder = SHARED / "usiigaci_t98g"
    image = cv2.imread(str(folder / "images" / name), cv2.IMREAD_UNCHANGED)
    image = image if image.ndim == 2 else image[..., 0]
    truth = cv2.imread(str((folder / "masks" / name).with_suffix(".png")), cv2.IMREAD_UNCHANGED) > 0
    scaled = image if image.dtype == np.uint16 else image.astype(np.uint16) * 256
    mask, levels, _ = measured(scaled, pixel_size_um=0.867)
    assert levels.kind == "bare and cells"
    assert abs(mask.mean() - truth.mean()) < 0.05


def test_rough_bare_surface_of_a_compressed_picture_is_not_called_full():
    levels = contrast_levels(histogram((-4.2, 0.5, 1.0)), 20_000.0, None, ContrastSettings())
    assert levels.kind != "full"


def test_filter_sizes_follow_the_pixel_size():
    coarse, fine = contrast_filter(ContrastSettings(), 1.3), contrast_filter(ContrastSettings(), 0.65)
    assert fine.window_px == pytest.approx(2 * coarse.window_px, abs=2)
    assert fine.debris_px2 == pytest.approx(4 * coarse.debris_px2, rel=0.02)
    assert contrast_filter(ContrastSettings(), None) == contrast_filter(ContrastSettings(), 1.24)

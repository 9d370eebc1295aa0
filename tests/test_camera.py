"""Camera, and what keeps cells visible in it; random settings."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from culture_cases import culture_of, patchwork
from msc_vision.synth.camera import develop, expose, record
from msc_vision.synth.image_settings import CameraSettings, FaultSettings
from msc_vision.synth.optics import microscope, photograph
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.texture import cell_texture, faintest_texture
from msc_vision.synth.variety import random_image_settings


def rng_of(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("level", [0.05, 0.4, 0.9])
def test_noise_is_that_of_counted_electrons_and_of_reading_them(level):
    camera = CameraSettings(electrons=900, read_noise=0.01)
    grey = record(np.full((400, 400), level, np.float32), camera, 1.0, rng_of(1))
    assert grey.mean() == pytest.approx(level, abs=0.001)
    assert grey.std() == pytest.approx(math.sqrt(level / 900 + 0.01**2), rel=0.03)


def test_smeared_noise_is_as_strong_and_correlated():
    grey = record(np.full((300, 300), 0.5, np.float32), CameraSettings(electrons=900, noise_px=1.0), 1.0, rng_of(1))
    noise = grey - 0.5
    assert noise.std() == pytest.approx(math.sqrt(0.5 / 900), rel=0.05)
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.5


def test_black_level_lifts_the_dark():
    grey = record(np.zeros((64, 64), np.float32), CameraSettings(black_level=0.1), 1.0, rng_of(1))
    assert grey.mean() == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.2])
def test_gamma_bends_greys_and_keeps_their_order(gamma):
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    image = develop(ramp, CameraSettings(gamma=gamma), 16, 0)
    assert (np.diff(image.ravel().astype(int)) >= 0).all()
    assert image[32, 0] / 65535 == pytest.approx(0.5**gamma, abs=0.01)


def test_a_jpeg_holds_no_more_than_256_greys_and_loses_detail_with_quality():
    culture = patchwork()
    grey = np.clip(0.4 + culture.phase, 0, 1)
    fine, coarse = (develop(grey, CameraSettings(), 12, quality) for quality in (95, 30))
    assert np.unique(fine).size <= 256
    error = [np.abs(image / 4095 - grey).mean() for image in (fine, coarse)]
    assert error[0] < error[1] < 0.05


def test_auto_contrast_spreads_greys_over_the_whole_range():
    grey = np.clip(0.4 + 0.1 * patchwork().phase, 0, 1)
    image = develop(grey, CameraSettings(auto_contrast=0.005), 8, 0)
    assert image.min() == 0
    assert image.max() == 255


# --- cells stay visible ----------------------------------------------------------------------------------------------


def test_faintest_texture_is_that_of_a_weak_cell():
    """Against a loop over cells that reads every pixel."""
    culture = patchwork(3)
    picture = culture.phase + 0.3 * culture.phase * rng_of(1).standard_normal(culture.phase.shape, dtype=np.float32)
    detail = picture - ndimage.gaussian_filter(picture, 3.0, mode="reflect", truncate=3.2)
    by_cell = [detail[culture.labels == i] for i in range(1, culture.labels.max() + 1)]
    slow = np.percentile([np.sqrt(np.mean(d**2)) for d in by_cell if d.size >= 20], 10)
    assert faintest_texture(picture, culture.labels) == pytest.approx(slow, rel=0.02)
    assert math.isnan(faintest_texture(picture, np.zeros_like(culture.labels)))


@pytest.mark.parametrize("snr", [1.5, 4.0])
def test_noise_stays_below_the_faintest_cell(snr):
    culture = patchwork()
    field = FieldSettings(camera=CameraSettings(electrons=50, read_noise=0.05, least_texture_snr=snr))
    phase = culture.phase + cell_texture(
        culture, field.texture, 0.9, rng_of(1).standard_normal(culture.phase.shape, dtype=np.float32), rng_of(2)
    )
    light = microscope(phase, np.ones_like(phase), field.optics, 0.9)
    exposure = expose(light, culture.labels, 0.4, 16, field.camera)
    flat = np.full((256, 256), 0.4, np.float32)
    noise = (record(flat, field.camera, exposure.noise, rng_of(3)) - flat).std()
    texture = faintest_texture(light, culture.labels) * 0.4 * exposure.contrast
    assert texture / noise == pytest.approx(snr, rel=0.05)


def test_an_empty_field_stays_as_grainy_as_the_camera():
    empty = np.zeros((128, 128), np.int32)
    camera = CameraSettings(electrons=100, jpeg_quality=50, least_texture_snr=3)
    exposure = expose(np.ones((128, 128), np.float32), empty, 0.4, 8, camera)
    assert (exposure.noise, exposure.contrast, exposure.jpeg_quality) == (1.0, 1.0, 50)


def test_a_pale_cell_survives_rounding_and_compression():
    culture = patchwork(phase=(0.01, 0.03))
    camera = CameraSettings(jpeg_quality=40, least_texture_snr=2)
    field = FieldSettings(height_px=192, width_px=256, pixel_size_um=0.9, bit_depth=8, camera=camera)
    field = field.model_copy(update={"optics": field.optics.model_copy(update={"stray_light": 0.8})})
    kept, lost = (
        photograph(culture, f, rng_of(1)).image.astype(float)
        for f in (field, field.model_copy(update={"camera": CameraSettings(jpeg_quality=40)}))
    )
    inside = ndimage.binary_erosion(culture.labels > 0, iterations=2)

    def detail(image):
        return (image - ndimage.gaussian_filter(image, 3))[inside].std()

    assert detail(kept) > 1.0
    assert detail(kept) > 2 * detail(lost)


# --- random settings -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(64, 200), width=st.integers(64, 200))
def test_any_random_picture_is_whole_and_made_twice_the_same(seed, height, width):
    drawn = random_image_settings(rng_of(seed), pixel_size_um=0.8)
    assert drawn == random_image_settings(rng_of(seed), pixel_size_um=0.8)
    field = FieldSettings(height_px=height, width_px=width, pixel_size_um=0.8, **dict(drawn))
    culture = patchwork(seed % 1000, shape=(height, width), n=seed % 8)
    one, same = (photograph(culture, field, rng_of(seed)) for _ in range(2))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.judgeable, same.judgeable)
    assert one.image.shape == one.judgeable.shape == one.contamination.shape == (height, width)
    assert one.image.dtype == (np.uint8 if drawn.bit_depth == 8 else np.uint16)
    assert one.image.max() < 2**drawn.bit_depth
    assert one.image.std() > 0


def test_random_settings_are_as_various_as_they_say():
    drawn = [random_image_settings(rng_of(seed)) for seed in range(1500)]
    share = np.mean([s.optics.mode.endswith("phase-contrast") for s in drawn])
    assert share == pytest.approx(0.7, abs=0.04)
    contrast = np.array([1 - s.optics.stray_light for s in drawn])
    assert np.percentile(contrast, 98) / np.percentile(contrast, 2) > 3.5
    for name in FaultSettings.model_fields:
        if name not in ("seam_step", "bright_scratches", "detaching_um"):  # never drawn by chance
            happens = np.mean([getattr(s.faults, name) not in (0, "none") for s in drawn])
            assert 0.03 < happens < 0.16, name
    assert np.mean([s.camera.least_texture_snr >= 1.5 for s in drawn]) > 0.9
    assert max(s.optics.blur_um for s in drawn) <= 2.5


def test_random_empty_fields_may_be_grainy():
    """Bare surface under a noisy camera: pictures that must not teach that grain is cells."""
    culture = culture_of(np.zeros((96, 96)))
    grain = []
    for seed in range(60):
        drawn = random_image_settings(rng_of(seed))
        field = FieldSettings(height_px=96, width_px=96, **dict(drawn))
        image = photograph(culture, field, rng_of(seed)).image / (2.0**drawn.bit_depth - 1)
        grain.append((image - ndimage.gaussian_filter(image, 2)).std())
    assert np.percentile(grain, 90) > 0.015
    assert np.percentile(grain, 10) < 0.005

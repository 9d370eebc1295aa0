"""Image formation: what a biologist knows of phase contrast, brightfield, relief; and slow ways to the same answer."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import j1

from culture_cases import culture_of, disc, distance_um, dome, patchwork
from msc_vision.synth.arrays import blur, blur_mixture, smooth_noise
from msc_vision.synth.image_settings import BackgroundSettings, CameraSettings, OpticsSettings
from msc_vision.synth.optics import microscope, phase_contrast, photograph, ring_pattern
from msc_vision.synth.settings import FieldSettings

UM = 0.5  # of a pixel in the cases below
WIDE_HALO = {"ring_na": 0.11, "ring_width_na": 0.02, "ring_transmission": 0.45}  # a ring whose halo is easy to measure


def light_of(phase, through=None, **optics):
    return microscope(
        phase, np.ones_like(phase) if through is None else through, OpticsSettings(**(WIDE_HALO | optics)), UM
    )


# --- what is seen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "sign"), [("phase-contrast", 1), ("negative-phase-contrast", -1)], ids=["positive", "negative"]
)
def test_a_flat_cell_is_dark_in_a_bright_halo_and_the_other_way_round_in_negative_contrast(mode, sign):
    light, distance = light_of(disc(0.15, 15), mode=mode), distance_um()
    body, halo, far = light[distance < 11].mean(), light[(distance > 17) & (distance < 21)].mean(), light[0, 0]
    assert far == pytest.approx(1, abs=0.02)
    assert sign * (far - body) > 0.1
    assert sign * (halo - far) > 0.03


def test_a_rounded_cell_is_bright_with_a_halo():
    light, distance = light_of(dome(3.2, 9)), distance_um()
    assert light[distance < 6].mean() > 1.6
    assert light[(distance > 10) & (distance < 13)].mean() > 1.2
    assert light[distance < 9].max() > 1.3 * light[distance > 14].max()


def test_a_rounded_cell_is_bright_to_its_middle_and_not_a_ring():
    """Whatever its thickness, and with the ring of the defaults."""
    distance = distance_um()
    for phase in (2.5, 3.0, 4.0, 6.0):
        light = microscope(dome(phase, 9), np.ones_like(distance), OpticsSettings(), UM)
        assert light[distance < 3].mean() > 1.8, phase
        assert light[distance < 6].min() > 1.4, phase


def test_a_wide_flat_cell_fades_to_the_background_in_its_middle():
    """Shade-off: from the rim, dark, to the middle of a cell of 100 µm, nearly as bright as bare surface."""
    light, distance = light_of(disc(0.2, 50)), distance_um()
    rim, middle = light[(distance > 44) & (distance < 48)].mean(), light[distance < 8].mean()
    assert rim < middle < 1
    assert 1 - middle < 0.45 * (1 - rim)


def test_a_larger_phase_ring_gives_a_narrower_halo():
    def reach(ring_na):
        light, distance = light_of(disc(0.15, 15), ring_na=ring_na, ring_width_na=0.18 * ring_na), distance_um()
        near, away = (light[(distance > r) & (distance < r + 2)].mean() - 1 for r in (17, 27))
        return away / near

    assert reach(0.25) < 0.6 * reach(0.07)


def test_a_ring_off_centre_has_its_halo_on_one_side():
    light = light_of(disc(0.2, 12), ring_shift_um=2.5, direction_deg=0)
    left, right = light[128, 128 - 29], light[128, 128 + 29]
    assert right > left + 0.03


def test_brightfield_in_focus_does_not_show_a_clear_cell():
    assert np.abs(light_of(disc(0.3, 15), mode="brightfield") - 1).max() < 1e-5


def test_brightfield_flips_with_the_sign_of_defocus():
    above, below = (light_of(dome(1.0, 8), mode="brightfield", focus_height_um=z) for z in (15, -15))
    middle = (128, 128)
    assert above[middle] > 1.01
    assert below[middle] < 0.99
    np.testing.assert_allclose(above[middle] * below[middle], 1, atol=0.01)


def test_what_absorbs_is_dark_in_brightfield():
    through = 1 - 0.4 * (distance_um() < 10).astype(np.float32)
    light = light_of(np.zeros_like(through), through, mode="brightfield")
    assert light[128, 128] == pytest.approx(0.36, abs=0.01)


@pytest.mark.parametrize("direction_deg", [0, 90, 180])
def test_relief_is_bright_on_one_side_and_dark_on_the_other(direction_deg):
    light = light_of(dome(1.0, 12), mode="relief", direction_deg=direction_deg, relief_shear_um=0.5)
    step = 20 * np.array([math.sin(math.radians(direction_deg)), math.cos(math.radians(direction_deg))])
    one, other = (light[tuple((128 + sign * step).astype(int))] for sign in (-1, 1))
    assert one > 1.03
    assert other < 0.97
    assert light[0, 0] == pytest.approx(1, abs=1e-5)


def test_stray_light_takes_contrast():
    clear, flare = (light_of(disc(0.2, 15), stray_light=s) for s in (0, 0.75))
    np.testing.assert_allclose(flare - 1, 0.25 * (clear - 1), atol=1e-5)


# --- two routes to one answer ----------------------------------------------------------------------------------------


def airy_squared(optics, distance):
    """The squared obscured Airy pattern as it is written in the paper, with Bessel functions; unit sum."""
    outer, inner = optics.ring_na, optics.ring_na - optics.ring_width_na
    wave_number = 2 * np.pi / optics.wavelength_um
    r = np.maximum(distance, 1e-6)
    pattern = (outer * j1(wave_number * outer * r) - inner * j1(wave_number * inner * r)) / r
    return pattern**2 / (pattern**2).sum()


@pytest.mark.parametrize(("ring_na", "ring_width_na"), [(0.11, 0.02), (0.2, 0.04), (0.07, 0.02)])
def test_gaussians_enclose_as_much_light_as_the_obscured_airy_pattern(ring_na, ring_width_na):
    optics = OpticsSettings(ring_na=ring_na, ring_width_na=ring_width_na)
    side, step = 1601, 0.25
    along = (np.arange(side) - side // 2) * step
    distance = np.hypot(along[:, None], along[None, :])
    pattern = airy_squared(optics, distance)
    sigmas, weights = ring_pattern(optics)
    for radius in (3, 6, 12, 25, 50):
        enclosed = sum(w * (1 - math.exp(-0.5 * (radius / s) ** 2)) for s, w in zip(sigmas, weights, strict=True))
        assert enclosed == pytest.approx(pattern[distance < radius].sum(), abs=0.07)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_phase_contrast_equals_a_slow_convolution_of_the_wave():
    """The wave is split with the pattern itself, by a Fourier transform of the whole picture."""
    optics, side = OpticsSettings(**WIDE_HALO), 512
    phase = disc(0.25, 14, side_px=side) + np.roll(dome(0.5, 7, side_px=side), 70, axis=1)
    wave = np.exp(1j * phase)
    pattern = np.fft.ifftshift(airy_squared(optics, distance_um(side, UM)))
    ring = np.fft.ifft2(np.fft.fft2(wave) * np.fft.fft2(pattern))
    slow = np.abs(wave - ring - 1j * optics.ring_transmission * ring) ** 2 / optics.ring_transmission**2
    fast = phase_contrast(phase, optics, UM)
    inner = np.s_[96:-96, 96:-96]
    assert np.corrcoef(slow[inner].ravel(), fast[inner].ravel())[0, 1] > 0.99
    assert np.abs(slow - fast)[inner].mean() < 0.03


@settings(max_examples=20, deadline=None)
@given(
    sigma=st.floats(0.9, 40), height=st.integers(64, 150), width=st.integers(64, 150), seed=st.integers(0, 2**32 - 1)
)
def test_a_blur_on_smaller_pictures_equals_one_on_the_whole(sigma, height, width, seed):
    image = smooth_noise((height, width), 3.0, np.random.default_rng(seed))
    slow = ndimage.gaussian_filter(image.astype(np.float64), sigma, mode="reflect")
    for fast in (blur(image, sigma), blur_mixture(image, (sigma,), (1.0,))):
        assert np.abs(fast - slow).max() < 0.08 * np.abs(image).max()


# --- photographs -----------------------------------------------------------------------------------------------------


def field_of(culture, **changes):
    height, width = culture.labels.shape
    return FieldSettings(height_px=height, width_px=width, pixel_size_um=0.9, **changes)


def test_bare_surface_has_the_level_that_was_set():
    culture = culture_of(np.zeros((128, 160)))
    background = BackgroundSettings(level=0.5, vignetting=0, tilt=0, unevenness=0, debris_per_mm2=0, dust_per_mm2=0)
    image = photograph(culture, field_of(culture, background=background), np.random.default_rng(1)).image
    assert image.mean() / 65535 == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_pictures_have_the_type_and_range_of_their_bit_depth(bits):
    culture = patchwork()
    made = photograph(culture, field_of(culture, bit_depth=bits), np.random.default_rng(1))
    assert made.image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert 2 ** (bits - 2) < made.image.max() < 2**bits
    assert made.image.shape == made.judgeable.shape == made.contamination.shape == culture.labels.shape
    assert made.judgeable.dtype == np.bool_
    assert made.judgeable.all()
    assert made.contamination.dtype == np.uint8
    assert not made.contamination.any()


def test_the_seed_decides_everything():
    culture = patchwork()
    one, same, other = (photograph(culture, field_of(culture), np.random.default_rng(s)).image for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.mean(one != other) > 0.9


def test_a_photograph_leaves_the_culture_alone():
    culture = patchwork()
    before = {name: getattr(culture, name).copy() for name in ("labels", "phase", "absorption", "granularity")}
    photograph(culture, field_of(culture), np.random.default_rng(1))
    for name, was in before.items():
        np.testing.assert_array_equal(getattr(culture, name), was)


def test_defocus_takes_detail_away():
    culture = patchwork()
    camera = CameraSettings(electrons=1e9)
    sharp, soft = (
        photograph(
            culture, field_of(culture, camera=camera, optics=OpticsSettings(defocus_um=um)), np.random.default_rng(3)
        ).image.astype(np.float32)
        for um in (0, 6)
    )
    assert cv2.Laplacian(soft, cv2.CV_32F).std() < 0.3 * cv2.Laplacian(sharp, cv2.CV_32F).std()

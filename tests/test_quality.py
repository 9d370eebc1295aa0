"""Can a field be judged? Known blurs, known light, and the real fields that must all be accepted."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.imaging.quality import QualitySettings, judge_field
from overview_cases import SHARED, overview_of, read_grey, real_fields

QUICK = settings(max_examples=15, deadline=None)


def judge(native, **kwargs):
    overview = overview_of(native, **kwargs)
    return judge_field(overview, np.ones(overview.image.shape, bool), QualitySettings())


def cells(*, n_cells=60, shape=(512, 512), seed=1, blur_px=0.7):
    """Spindle cells of 10 x 60 px, bright rim around a darker body, on an even surface of 100; float, no noise yet.

    ::

        . . . ------ . .      one cell: a dark ellipse drawn inside a bright one,
        . . -(xxxxxx)- .      at random place and angle
        . . . ------ . .
    """
    rng = np.random.default_rng(seed)
    image = np.full(shape, 100.0, np.float32)
    for _ in range(n_cells):
        centre = int(rng.integers(0, shape[1])), int(rng.integers(0, shape[0]))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(image, centre, (32, 7), angle, 0, 360, 150, -1)
        cv2.ellipse(image, centre, (30, 5), angle, 0, 360, 40, -1)
    return cv2.GaussianBlur(image, (0, 0), blur_px)


def photograph(scene, *, noise=1.0, gain=1.0, seed=2):
    """The scene as an 8-bit picture with camera noise."""
    noisy = gain * scene + np.random.default_rng(seed).normal(0, noise, scene.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def bare_plastic(shape=(512, 512), noise=1.5, level=120.0, shade=0.0):
    """An empty surface: grain, and light that falls by `shade` towards the corners."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return photograph(level * (1 - shade * (x**2 + y**2) / 2), noise=noise)


# ------------------------------------------------------------------------------------------------------------- focus
@pytest.mark.parametrize("n_cells", [25, 60, 300], ids=["sparse", "half covered", "confluent"])
def test_cells_in_focus_are_accepted_at_any_density(n_cells):
    report = judge(photograph(cells(n_cells=n_cells)))
    assert report.is_judgeable, report.reason
    assert report.figures["focus_ratio"] > 0.8
    assert report.flags == ()


@pytest.mark.parametrize("n_cells", [60, 300], ids=["half covered", "confluent"])
@pytest.mark.parametrize("blur_px", [10, 14])
def test_strongly_defocused_cells_are_refused_with_figure_and_limit(n_cells, blur_px):
    report = judge(photograph(cells(n_cells=n_cells, blur_px=blur_px), noise=0.5))
    assert not report.is_judgeable
    assert "out-of-focus" in report.flags
    assert report.reason.startswith("The field is out of focus: focus ratio 0.")
    assert "at least 0.28 is needed" in report.reason


def test_more_blur_never_raises_the_focus_figure():
    ratios = [
        judge(photograph(cells(blur_px=b), noise=0.3)).figures["focus_ratio"] for b in (0.7, 1, 2, 3, 4, 6, 8, 10)
    ]
    assert ratios == sorted(ratios, reverse=True)


@QUICK
@given(gain=st.floats(0.5, 1.6), seed=st.integers(0, 5))
def test_focus_does_not_depend_on_brightness(gain, seed):
    scene = cells(seed=seed)
    plain, changed = (judge(photograph(scene, gain=g, noise=g)).figures["focus_ratio"] for g in (1.0, gain))
    assert changed == pytest.approx(plain, rel=0.05)


@QUICK
@given(turn=st.integers(0, 3), mirrored=st.booleans())
def test_figures_do_not_depend_on_how_the_field_lies(turn, mirrored):
    image = photograph(cells())
    turned = np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, turn))
    expected, got = judge(image), judge(turned)
    assert got.is_judgeable == expected.is_judgeable
    for name in ("focus_ratio", "noise_percent", "vignetting_percent", "structure_percent", "level_percent"):
        assert got.figures[name] == pytest.approx(expected.figures[name], rel=0.03, abs=0.02), name


def test_noise_does_not_pass_for_sharpness():
    blurred = cells(blur_px=12)
    ratios = [judge(photograph(blurred, noise=n)).figures.get("focus_ratio", 0.0) for n in (0.3, 2.0)]
    assert max(ratios) < QualitySettings().focus_ratio_min


def test_resolution_is_taken_into_account_by_the_pixel_size():
    scene = cells(shape=(1024, 1024), n_cells=120)
    fine = cv2.resize(scene, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    coarse = judge(photograph(scene), pixel_size_um=1.3).figures["focus_ratio"]
    assert judge(photograph(fine), pixel_size_um=0.65).figures["focus_ratio"] == pytest.approx(coarse, rel=0.1)


# --------------------------------------------------------------------------------------------------- empty and blank
@pytest.mark.parametrize(
    "surface",
    [bare_plastic(), bare_plastic(noise=0.6), bare_plastic(shade=0.5), bare_plastic(noise=6), bare_plastic(level=25.0)],
    ids=["plain", "little grain", "vignetted", "much grain", "dim"],
)
def test_bare_plastic_is_empty_and_not_refused(surface):
    report = judge(surface)
    assert report.is_judgeable, report.reason
    assert "focus-unknown" in report.flags
    assert "focus_ratio" not in report.figures


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((300, 300), np.uint8), "The field is black: 100.0 % of the pixels are zero"),
        (
            photograph(np.full((300, 300), 2.0, np.float32), noise=0.5),
            "The field is dark and shows nothing: brightness",
        ),
        (np.full((300, 300), 255, np.uint8), "The field is overexposed: 100.0 % of the judgeable area is saturated"),
        (np.full((300, 300), 90, np.uint8), "The field is blank: nearly all pixels have the same grey value"),
        (photograph(cells() + 160), "The field is overexposed: .* at most 20 %"),
        (bare_plastic(level=20.0, noise=6), "The field is too noisy: pixel noise .* at most 20 %"),
    ],
    ids=["closed shutter", "lamp off", "white-out", "one value", "overexposed cells", "more noise than light"],
)
def test_fields_without_information_are_refused_and_say_why(image, reason):
    report = judge(image)
    assert not report.is_judgeable
    assert re.match(reason, report.reason)
    assert report.reason.endswith(".")


def test_a_dim_16_bit_field_with_cells_is_measured():
    dim = (photograph(cells(), noise=0.6).astype(np.uint16) * 5 + 100).astype(np.uint16)
    report = judge(dim)
    assert report.figures["level_percent"] < QualitySettings().level_min_percent
    assert report.is_judgeable, report.reason


def test_bright_halos_and_round_cells_do_not_make_a_field_overexposed():
    image = photograph(cells())
    for y, x in np.random.default_rng(0).integers(0, 512, (60, 2)):
        cv2.circle(image, (int(x), int(y)), 8, 255, -1)
    report = judge(image)
    assert 2 < report.figures["saturated_judgeable_percent"] < 8
    assert report.is_judgeable
    assert "saturated" in report.flags


# ------------------------------------------------------------------------------------------------------ light and mask
def test_vignetting_is_the_fall_of_light_to_the_darkest_corner():
    report = judge(bare_plastic(shade=0.5))
    assert report.figures["vignetting_percent"] == pytest.approx(50, abs=6)
    assert "uneven-light" in report.flags


def test_too_little_judgeable_area_is_refused():
    overview = overview_of(photograph(cells()))
    judgeable = np.zeros(overview.image.shape, bool)
    judgeable[:, :100] = True
    report = judge_field(overview, judgeable, QualitySettings())
    assert not report.is_judgeable
    assert report.reason == "Only 19.5 % of the field can be judged; at least 25 % is needed."


def test_nothing_judgeable_is_refused_and_not_an_error():
    overview = overview_of(photograph(cells()))
    assert not judge_field(overview, np.zeros(overview.image.shape, bool), QualitySettings()).is_judgeable


def test_what_is_masked_does_not_enter_the_figures():
    image = photograph(cells(blur_px=12), noise=0.3)
    image[:128] = np.random.default_rng(0).integers(0, 255, (128, 512))  # a sharp pattern: text, frame
    overview = overview_of(image)
    judgeable = np.ones(image.shape, bool)
    judgeable[:128] = False
    assert judge_field(overview, ~judgeable | True, QualitySettings()).is_judgeable
    assert "out-of-focus" in judge_field(overview, judgeable, QualitySettings()).flags


@pytest.mark.parametrize("shape", [(2, 3), (3, 700), (64, 64), (65, 130), (9, 9)])
def test_any_size_gets_a_report(shape):
    assert judge(bare_plastic(shape)).figures["judgeable_percent"] == 100


def test_a_field_too_large_for_focus_says_so():
    overview = overview_of(np.tile(photograph(cells()), (2, 20)))
    wide = replace(overview, factor=8)
    assert "focus-unknown" in judge_field(wide, np.ones(wide.image.shape, bool), QualitySettings()).flags


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((512, 512), np.uint8), "is uint8, not bool"),
        (np.ones((512, 511), bool), r"has shape \(512, 511\), the overview \(512, 512\)"),
    ],
    ids=["not bool", "other shape"],
)
def test_a_mask_of_something_else_is_an_error(mask, message):
    with pytest.raises(InvalidArgumentError, match=message):
        judge_field(overview_of(photograph(cells())), mask, QualitySettings())


# -------------------------------------------------------------------------------------------------------- real fields
@pytest.mark.shared
def test_every_real_field_is_accepted():
    fields = real_fields()
    if not fields:
        pytest.skip("../shared/data is not beside this checkout")
    refused = {p.stem: r.reason for p, px in fields if not (r := judge(read_grey(p), pixel_size_um=px)).is_judgeable}
    assert refused == {}


@pytest.mark.shared
def test_the_focus_series_peaks_where_the_eye_sees_it_sharp():
    folder = SHARED / "aggregates_organoid_zstack" / "images"
    if not folder.exists():
        pytest.skip("../shared/data is not beside this checkout")
    planes = ("z00", "z02", "z04", "z06", "z08", "z10")
    ratios = [judge(read_grey(folder / f"aggregates_A01_{z}.png")).figures["focus_ratio"] for z in planes]
    assert ratios[:4] == sorted(ratios[:4])
    assert ratios[3:] == sorted(ratios[3:], reverse=True)

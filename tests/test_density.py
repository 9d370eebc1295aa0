"""Cells per area: counted, read off a lab's calibration, or not known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.density import (
    DENSITY_FEATURES,
    DensityCalibration,
    DensitySettings,
    area_density,
    field_density,
    load_calibration,
)

SETTINGS = DensitySettings(counted_up_to_percent=60)
CALIBRATION = DensityCalibration(
    bank="MCB-7",
    medium="aMEM",
    passage_from=2,
    passage_to=4,
    source="hemocytometer counts of 12 flasks, 2025-11",
    confluency_percent=(20.0, 50.0, 90.0),
    density_per_cm2=(4000.0, 10_000.0, 24_000.0),
)


def test_a_hundred_cells_on_two_square_millimetres():
    found = field_density(np.zeros(100, bool), 40.0, 2.0, SETTINGS)
    assert found == {"density_per_cm2": 5000.0, "cells_per_covered_cm2": 12_500.0}


def test_cells_on_the_border_count_half():
    """Discs thrown on a field: half of those that a straight border cuts have their centre inside."""
    rng = np.random.default_rng(3)
    radius, side = 0.02, 1.0
    counted, inside = 0.0, 0
    for _ in range(200):
        centres = rng.uniform(-0.1, 1.1, (144, 2))
        seen = ((centres > -radius) & (centres < side + radius)).all(axis=1)
        touches = seen & ~((centres > radius) & (centres < side - radius)).all(axis=1)
        counted += field_density(touches[seen], 40.0, 1.0, SETTINGS)["density_per_cm2"] / 100
        inside += ((centres >= 0) & (centres <= side)).all(axis=1).sum()
    assert counted == pytest.approx(inside, rel=0.02)


def test_what_cannot_be_counted_is_no_number():
    for confluency, area in ((61.0, 1.0), (40.0, None), (40.0, 0.0)):
        found = field_density(np.zeros(9, bool), confluency, area, SETTINGS)
        assert set(found) == {feature.name for feature in DENSITY_FEATURES}
        assert all(math.isnan(value) for value in found.values())


def test_bare_surface_has_no_cells_and_no_cells_per_covered_area():
    found = field_density(np.zeros(0, bool), 0.0, 1.0, SETTINGS)
    assert found["density_per_cm2"] == 0
    assert math.isnan(found["cells_per_covered_cm2"])


def test_a_layer_is_counted_only_if_every_field_is():
    assert area_density([4000.0, 6000.0], [30, 40], None).per_cm2 == 5000
    mixed = area_density([4000.0, math.nan], [30, 80], None)
    assert (mixed.state, mixed.per_cm2) == ("not known", None)
    assert "there is no calibration" in mixed.reason
    assert area_density([], [], None).reason == "no field was scored"


def test_beyond_counting_the_calibration_tells():
    found = area_density([4000.0, math.nan], [35.0, 70.0], CALIBRATION)
    assert (found.state, found.per_cm2) == ("calibrated", pytest.approx((7000 + 17_000) / 2))
    assert "outside of the calibrated" in area_density([math.nan], [95.0], CALIBRATION).reason


@given(st.floats(20, 90))
def test_a_calibration_is_straight_between_its_points(percent):
    expected = np.interp(percent, [20, 50, 90], [4000, 10_000, 24_000])
    assert CALIBRATION.density(percent) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("bank", "medium", "passage", "words"),
    [
        ("MCB-8", "aMEM", 3, "of bank 'MCB-7', the culture of 'MCB-8'"),
        ("MCB-7", None, 3, "of medium 'aMEM', the culture of None"),
        ("MCB-7", "aMEM", 6, "of passages 2 to 4, the culture of 6"),
        ("MCB-7", "aMEM", None, "of passages 2 to 4, the culture of None"),
    ],
)
def test_a_calibration_of_another_culture_is_refused(bank, medium, passage, words):
    assert words in CALIBRATION.refusal(bank, medium, passage)
    assert CALIBRATION.refusal("MCB-7", "aMEM", 3) is None


def test_a_calibration_is_read_from_yaml(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "bank: MCB-7\nmedium: aMEM\npassage_from: 2\npassage_to: 4\nsource: counts\n"
        "confluency_percent: [20, 90]\ndensity_per_cm2: [4000, 24000]\n",
        encoding="utf-8",
    )
    assert load_calibration(path).density(20) == 4000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bank: [", "is no YAML"),
        ("bank: MCB-7\n", "medium: Field required"),
        (
            "{bank: a, medium: b, passage_from: 1, passage_to: 2, source: abc, confluency_percent: [50, 20],"
            " density_per_cm2: [1, 2]}",
            "has to rise",
        ),
    ],
)
def test_a_bad_calibration_is_one_line(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"c\.yaml") as caught:
        load_calibration(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_calibration_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        load_calibration(tmp_path / "none.yaml")

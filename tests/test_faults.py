"""Faults of lid, liquid, plastic and software, and contamination: what they show, and what the truth says of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culture_cases import culture_of, patchwork
from msc_vision.synth import render_field
from msc_vision.synth.contamination import ContaminationKind, contaminate
from msc_vision.synth.image_settings import CameraSettings, ContaminationSettings, FaultSettings
from msc_vision.synth.optics import photograph
from msc_vision.synth.settings import FieldSettings

HIDING = {"burnt_in": "box", "frame": 0.05, "wall": 0.2, "bubbles": 3}
SPOILING = {
    "condensation": 0.2,
    "meniscus": 0.6,
    "plastic": 0.02,
    "layer_above": 0.2,
    "scratches": 6,
    "bright_scratches": 6,
    "fibres": 2,
    "motion_um": 6,
    "seams": 1,
}


def shoot(culture, seed=5, bit_depth=16, **changes):
    height, width = culture.labels.shape
    field = FieldSettings(height_px=height, width_px=width, pixel_size_um=0.9, bit_depth=bit_depth, **changes)
    return photograph(culture, field, np.random.default_rng(seed))


@pytest.mark.parametrize("name", sorted(SPOILING))
def test_a_fault_that_spoils_changes_the_picture_and_leaves_it_judgeable(name):
    culture = patchwork()
    clean, spoilt = shoot(culture), shoot(culture, faults=FaultSettings(**{name: SPOILING[name]}))
    assert spoilt.judgeable.all()
    change = np.abs(spoilt.image.astype(float) - clean.image)
    assert change.mean() > 0.003 * 65535


@pytest.mark.parametrize("name", sorted(HIDING))
def test_what_hides_the_surface_cannot_be_judged(name):
    hidden = shoot(patchwork(), faults=FaultSettings(**{name: HIDING[name]}))
    assert 0.001 < np.mean(~hidden.judgeable) < 0.9


def test_outside_of_an_eyepiece_nothing_can_be_judged():
    made = shoot(patchwork(), camera=CameraSettings(eyepiece=0.9))
    outside = made.image[~made.judgeable]
    assert 0.2 < np.mean(~made.judgeable) < 0.8
    assert np.median(outside) < 0.5 * np.median(made.image[made.judgeable])
    assert not made.judgeable[0, 0]
    assert made.judgeable[96, 128]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    style=st.sampled_from(["white", "black", "box", "none"]),
    frame=st.sampled_from([0.0, 0.04]),
    bits=st.sampled_from([8, 12, 16]),
    side=st.integers(64, 300),
)
def test_every_pixel_that_text_or_a_frame_changes_is_not_judgeable(seed, style, frame, bits, side):
    culture = patchwork(1, shape=(side, 200))
    clean = shoot(culture, seed, bits)
    marked = shoot(culture, seed, bits, faults=FaultSettings(burnt_in=style, frame=frame))
    changed = clean.image != marked.image
    assert not (changed & marked.judgeable).any()
    if style == "none" and frame == 0:
        assert not changed.any()
    else:
        assert changed.any()
    assert marked.image.max() < 2**bits


def test_seams_are_steps_along_whole_rows_or_columns():
    bare = culture_of(np.zeros((200, 200)))
    made = shoot(bare, faults=FaultSettings(seams=1, seam_step=0.2)).image.astype(float)
    steps = np.abs(np.diff(np.median(made, axis=1))), np.abs(np.diff(np.median(made, axis=0)))
    for step in steps:
        assert step.max() > 8 * np.median(step)


def test_a_meniscus_darkens_one_side_most():
    bare = culture_of(np.zeros((200, 200)))
    made = shoot(bare, faults=FaultSettings(meniscus=0.8)).image / 65535
    sides = [made[:20].mean(), made[-20:].mean(), made[:, :20].mean(), made[:, -20:].mean()]
    assert min(sides) < 0.6 * np.median(sides)


# --- a layer that comes off ------------------------------------------------------------------------------------------


def layer(seed=7, **faults):
    plain = {"height_px": 500, "width_px": 500, "pixel_size_um": 1.3, "confluency_percent": 90, "faults": faults}
    return render_field(FieldSettings.model_validate(plain), seed)


def test_a_layer_that_comes_off_leaves_a_bare_gap_and_a_bright_thick_band():
    whole, torn = layer(), layer(detaching_um=100)
    roll = (torn.aggregates > 0) & (whole.aggregates == 0)
    gap = whole.foreground & ~torn.foreground
    assert roll.mean() > 0.05
    assert gap.mean() > 0.05
    assert torn.image[roll].mean() > 1.15 * torn.image[gap].mean()
    assert torn.foreground[roll].all()
    assert set(np.unique(torn.labels)) == set(range(len(torn.kinds)))


def test_without_cells_nothing_comes_off_but_what_rolls_up_is_no_cell():
    plain = {"height_px": 200, "width_px": 200, "confluency_percent": 0, "faults": {"detaching_um": 60}}
    assert not render_field(FieldSettings.model_validate(plain), 2).labels.any()


def test_a_tear_changes_nothing_but_the_layer():
    """It draws its random numbers apart: the cells that stay, bubbles and text are those of the whole layer."""
    faults = {"scratches": 1, "bubbles": 2, "burnt_in": "box"}
    whole, torn = layer(**faults), layer(**faults, detaching_um=60)
    np.testing.assert_array_equal(torn.judgeable, whole.judgeable)
    touched = (torn.labels == 0) | (torn.aggregates > 0)
    stayed = whole.foreground & ~touched
    assert 0.1 < stayed.mean() < 0.95
    pairs = np.unique(np.stack([whole.labels[stayed], torn.labels[stayed]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


# --- contamination ---------------------------------------------------------------------------------------------------


def grown(kind, amount=0.4, seed=3, shape=(300, 300)):
    return contaminate(shape, ContaminationSettings(kind=kind, amount=amount), 0.9, np.random.default_rng(seed))


def test_a_clean_field_has_no_contamination():
    clean = grown("none")
    assert not clean.as_map().any()
    assert not clean.phase.any()
    assert clean.stray_light == 0


@pytest.mark.parametrize("kind", ["haze", "dots", "budding", "filaments"])
def test_the_map_names_the_kind_where_it_is_seen(kind):
    life = grown(kind)
    code = ContaminationKind[kind.upper()]
    assert set(np.unique(life.as_map())) <= {0, code}
    assert life.mask.any()
    outside = np.abs(life.phase[~life.mask])
    assert outside.size == 0 or np.abs(life.phase[life.mask]).mean() > 3 * outside.mean()


@pytest.mark.parametrize("kind", ["dots", "budding", "filaments"])
def test_more_of_it_covers_more(kind):
    little, much = (np.mean([grown(kind, amount, seed).mask.mean() for seed in range(6)]) for amount in (0.1, 0.8))
    assert 2 * little < much < 0.7


def test_haze_lies_everywhere_and_takes_contrast():
    life = grown("haze")
    assert life.mask.all()
    assert life.stray_light > 0
    assert life.phase.std() > 0


def test_filaments_are_long_and_thin_and_yeast_is_round():
    import cv2

    def lengths_over_widths(kind):
        mask = grown(kind, 0.3, 8, (600, 600)).mask.astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        large = [i for i in range(1, len(stats)) if stats[i][4] > 12]
        sizes = [cv2.minAreaRect(np.argwhere(labels == i).astype(np.float32))[1] for i in large]
        return np.array([max(size) for size in sizes])

    assert np.median(lengths_over_widths("budding")) < 20
    assert lengths_over_widths("filaments").max() > 100


def test_contamination_is_no_part_of_the_culture():
    culture = patchwork()
    made = shoot(culture, contamination=ContaminationSettings(kind="dots", amount=0.5))
    clean = shoot(culture)
    assert (made.contamination > 0).any()
    assert made.judgeable.all()
    assert np.abs(made.image.astype(float) - clean.image)[made.contamination > 0].mean() > 0.01 * 65535

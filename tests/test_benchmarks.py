"""What the benchmarks compute themselves, against cases a person can check."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmarks import ablation
from benchmarks.annotated import aspect_ratios
from benchmarks.calibration import N_BINS, reliability
from benchmarks.cultures import FAULTS, changed
from benchmarks.network_speed import multiply_adds
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.learning.data import picture_uses
from msc_vision.learning.recipe import TrainRecipe, parse_recipe
from msc_vision.resources import resource_path
from msc_vision.synth import FieldSettings

# --- calibration -----------------------------------------------------------------------------------------------------


def test_honest_probabilities_have_no_calibration_error() -> None:
    probability = np.repeat(np.float32([0.25, 0.75]), 4)
    truth = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    assert reliability(probability, truth).error == pytest.approx(0)


def test_being_sure_of_what_is_half_true_is_an_error_of_one_half() -> None:
    probability = np.ones(10, np.float32)
    truth = np.arange(10) % 2 == 0
    assert reliability(probability, truth).error == pytest.approx(0.5)


def test_errors_of_two_pictures_are_not_averaged_but_their_pixels_pooled() -> None:
    high = reliability(np.full(10, 0.5, np.float32), np.ones(10, bool))
    low = reliability(np.full(10, 0.5, np.float32), np.zeros(10, bool))
    assert high.error == pytest.approx(0.5)
    assert (high + low).error == pytest.approx(0)


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_that_of_the_slow_definition(pixels: list[tuple[float, bool]]) -> None:
    probability = np.array([p for p, _ in pixels], np.float32)
    truth = np.array([t for _, t in pixels], bool)
    slow = 0.0
    for i in range(N_BINS):
        inside = [
            (float(p), t) for p, t in zip(probability, truth, strict=True) if min(int(p * N_BINS), N_BINS - 1) == i
        ]
        if inside:
            mean = sum(p for p, _ in inside) / len(inside)
            share = sum(t for _, t in inside) / len(inside)
            slow += len(inside) / len(pixels) * abs(mean - share)
    assert reliability(probability, truth).error == pytest.approx(slow, abs=1e-6)


# --- cells and networks ----------------------------------------------------------------------------------------------


def test_a_cell_three_times_as_long_as_wide_has_aspect_three_and_cut_cells_do_not_count() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[20:30, 10:40] = 1
    labels[0:5, 50:60] = 2
    assert aspect_ratios(labels) == pytest.approx([3.0], rel=0.02)


def test_multiply_adds_of_one_convolution_are_counted_by_hand() -> None:
    from torch import nn

    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.AvgPool2d(2), nn.Conv2d(8, 2, 1))
    assert multiply_adds(network, 4) == pytest.approx(4 * 8 * 9 + 8 * 2 / 4)


# --- cultures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_a_setting_and_changes_no_truth(fault: str) -> None:
    plain = FieldSettings(confluency_percent=30)
    faulty = changed(plain, FAULTS[fault])
    assert (faulty == plain) == (fault == "none")
    drawn = {"debris_per_mm2", "dead_per_mm2"}
    assert faulty.cells.model_dump(exclude=drawn) == plain.cells.model_dump(exclude=drawn)


# --- what a network has seen -----------------------------------------------------------------------------------------


def _list(folder: Path, names: dict[str, list[str]]) -> None:
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "truth", "kind", "set", "use"])
        for set_name, images in names.items():
            writer.writerows([image, f"{image}.mask", "instances", set_name, "train"] for image in images)


def _recipe(**validation: object) -> TrainRecipe:
    sources = [{"sets": ["spindles"], "truth": "instances", "share": 1}, {"sets": ["few"], "truth": "area", "share": 1}]
    return TrainRecipe.model_validate({"name": "x", "description": "x", "sources": sources, "validation": validation})


def test_a_third_of_a_large_set_is_held_out_and_a_small_set_is_learned_whole(tmp_path: Path) -> None:
    _list(tmp_path, {"spindles": [f"s{i}" for i in range(9)], "few": ["f0", "f1"]})
    uses = picture_uses(_recipe(folds=3, fold=1, groups_per_fold=1), tmp_path)
    assert [name for name, use in uses.items() if use == "held out"] == ["s3", "s4", "s5"]
    assert uses["f0"] == uses["f1"] == "learned from"


def test_who_holds_a_set_out_holds_out_what_shows_the_same_cells(tmp_path: Path) -> None:
    _list(tmp_path, {"spindles": ["s0"], "few": ["f0"]})
    uses = picture_uses(_recipe(hold_out=["spindles"], same_origin=[["spindles", "few"]]), tmp_path)
    assert uses == {"s0": "held out", "f0": "held out"}


def test_pictures_that_no_source_names_have_no_use(tmp_path: Path) -> None:
    _list(tmp_path, {"spindles": ["s0"], "few": ["f0"], "other": ["o0"]})
    assert set(picture_uses(_recipe(), tmp_path)) == {"s0", "f0"}


@pytest.mark.shared
@pytest.mark.parametrize("variant", ablation.VARIANTS, ids=lambda variant: variant.name)
def test_no_variant_learns_from_what_it_is_judged_by(variant: ablation.Variant) -> None:
    shipped = yaml.safe_load(resource_path(f"models/recipes/{ablation.RECIPE}.yaml").read_text(encoding="utf-8"))
    recipe = parse_recipe(ablation.variant_recipe(shipped, variant), "variant")
    uses = picture_uses(recipe, ablation.PAIRS.parent)
    of_apart = {use for name, use in uses.items() if name.startswith(variant.hold_out)}
    assert of_apart == {"held out"}
    assert "learned from" in uses.values()
    assert bool(recipe.paste) == ("paste" in variant.ingredients and ablation.SPINDLES not in variant.hold_out)

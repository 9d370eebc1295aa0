"""Looks of cells: exploratory shares, against slow definitions, drawn cultures and cells that cannot be told."""

import itertools
import json

import numpy as np
import pytest
from benchmarks.looks import SEED as JUDGED_SEED
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.describe import CELL
from msc_vision.batch.field import FieldTask, Tiling, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.errors import InvalidDataError, UndefinedResultError
from msc_vision.learning import looks as learning
from msc_vision.learning.looks import (
    LabelledField,
    LookExamples,
    LookRecipe,
    draw_field,
    fit_looks,
    look_examples,
    matched_kinds,
    true_counts,
)
from msc_vision.morphology.looks import (
    LOOK_FEATURES,
    LOOK_INPUTS,
    LOOKS,
    UNSURE,
    LookModel,
    LookSettings,
    field_looks,
    look_inputs,
    look_shares,
    read_looks,
    shipped_looks,
    standardised,
)
from msc_vision.morphology.profile import CELLS_MIN
from msc_vision.morphology.shape import SHAPE_COLUMNS, SHAPE_FIGURES
from msc_vision.records import ManifestRow
from msc_vision.synth import CellKind, FieldSettings, render_field
from msc_vision.synth.vessel import write_image

SETTINGS = LookSettings()
COMMON = {"debris_share": 0.02, "aggregate_share": 0.02, "rounded_share": 0.02, "halo": 0.05}
SPINDLE = COMMON | {
    "area_um2": 1700,
    "width_um": 13,
    "max_width_um": 20,
    "medial_aspect_ratio": 10,
    "aspect_ratio": 5.5,
    "circularity": 0.3,
    "solidity": 0.8,
    "bending": 0.08,
    "body_grey": -0.08,
    "texture": 0.02,
}
FLAT = COMMON | {
    "area_um2": 9000,
    "width_um": 70,
    "max_width_um": 85,
    "medial_aspect_ratio": 1.8,
    "aspect_ratio": 1.4,
    "circularity": 0.65,
    "solidity": 0.93,
    "bending": 0.05,
    "body_grey": -0.04,
    "texture": 0.015,
}
ROUNDED = COMMON | {
    "area_um2": 250,
    "width_um": 14,
    "max_width_um": 17,
    "medial_aspect_ratio": 1.27,
    "aspect_ratio": 1.05,
    "circularity": 0.97,
    "solidity": 0.98,
    "body_grey": 0.2,
    "halo": 0.1,
    "texture": 0.1,
    "rounded_share": 0.95,
}


def cells_like(*figures):
    """A measured cell for each mapping of figures; those not named are 0."""
    cells = np.zeros(len(figures), SHAPE_COLUMNS)
    cells["label"] = np.arange(1, len(figures) + 1)
    cells["is_measured"], cells["border_weight"] = True, 1.0
    for i, one in enumerate(figures):
        for name, value in one.items():
            cells[name][i] = value
    return cells


def shares(figures):
    return np.array([figures[f"look_share_{name}_percent"] for name in LOOKS])


# --- what a biologist expects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "look"), [(SPINDLE, "spindle"), (FLAT, "flattened"), (ROUNDED, "rounded")], ids=lambda one: str(one)[:9]
)
def test_typical_cells_are_named(figures, look):
    found = field_looks(cells_like(figures), SETTINGS).cells
    assert found["look"].tolist() == [look]
    assert found["look_probability"][0] > 0.7


def test_a_mixture_of_clear_cells_is_told_as_it_is():
    cells = cells_like(*[SPINDLE] * 30, *[FLAT] * 10)
    told = shares(field_looks(cells, SETTINGS).figures)
    assert told.sum() == pytest.approx(100, abs=1e-4)
    assert told[LOOKS.index("spindle")] == pytest.approx(75, abs=8)
    assert told[LOOKS.index("flattened")] == pytest.approx(25, abs=8)


def test_large_cells_count_for_those_that_the_border_cuts():
    cells = cells_like(*[SPINDLE] * 30, *[FLAT] * 10)
    cells["border_weight"][30:] = 3.0
    assert shares(field_looks(cells, SETTINGS).figures)[LOOKS.index("flattened")] == pytest.approx(50, abs=8)


@pytest.mark.parametrize("n", [0, 1, CELLS_MIN - 1])
def test_too_few_cells_have_no_shares_but_their_looks(n):
    found = field_looks(cells_like(*[SPINDLE] * n), SETTINGS)
    assert np.isnan(shares(found.figures)).all()
    assert found.cells["look"].tolist() == ["spindle"] * n


def test_cells_that_are_not_measured_have_no_look_and_change_nothing():
    cells = cells_like(*[SPINDLE] * 20, *[FLAT] * 20)
    cells["is_measured"][20:] = False
    for name in SHAPE_FIGURES:
        cells[name][20:] = np.nan
    found, alone = field_looks(cells, SETTINGS), field_looks(cells[:20], SETTINGS)
    assert set(found.cells["look"][20:]) == {""}
    assert np.isnan(found.cells["look_probability"][20:]).all()
    assert found.figures == alone.figures
    np.testing.assert_array_equal(found.cells[:20], alone.cells)


def test_below_the_limit_a_look_is_unsure_and_still_counts():
    cells = cells_like(*[SPINDLE] * 20)
    strict = field_looks(cells, SETTINGS.model_copy(update={"sure_from": 1.0}))
    assert set(strict.cells["look"]) == {UNSURE}
    assert strict.figures == field_looks(cells, SETTINGS).figures


def test_every_figure_is_called_exploratory_and_none_by_a_lineage():
    named = [feature.name for feature in LOOK_FEATURES]
    assert named == ["look", "look_probability", *(f"look_share_{name}_percent" for name in LOOKS)]
    for feature in LOOK_FEATURES:
        assert "exploratory" in feature.meaning.lower()
    text = " ".join([*named, *(f.meaning + f.formula for f in LOOK_FEATURES)]).lower()
    assert not [word for word in ("osteo", "adipo", "chondro", "senescen", "lineage cell", "diverged") if word in text]


# --- the classifier --------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), missing=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_any_figures_give_probabilities(seed, missing):
    rng = np.random.default_rng(seed)
    cells = cells_like(*[{}] * 12)
    for name in SHAPE_FIGURES:
        cells[name] = np.where(rng.random(12) < missing, np.nan, rng.normal(0, 10.0 ** rng.uniform(-3, 6), 12))
    cells["n_branches"] = np.abs(cells["n_branches"])
    found = shipped_looks().probabilities(look_inputs(cells))
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_cell_is_named_by_itself_alone():
    rng = np.random.default_rng(3)
    cells = cells_like(*[SPINDLE, FLAT, ROUNDED] * 12)
    for name in ("area_um2", "width_um", "texture", "aspect_ratio"):
        cells[name] *= rng.uniform(0.6, 1.6, len(cells))
    order = rng.permutation(len(cells))
    found, turned = field_looks(cells, SETTINGS), field_looks(cells[order], SETTINGS)
    np.testing.assert_array_equal(found.cells["look"][order], turned.cells["look"])
    np.testing.assert_allclose(found.cells["look_probability"][order], turned.cells["look_probability"], atol=2e-6)
    np.testing.assert_allclose(shares(found.figures), shares(turned.figures), atol=1e-3)


def test_a_missing_input_counts_as_an_average_one_and_a_wild_one_no_more_than_a_far_one():
    mean, scale = np.array([1.0, 10.0]), np.array([2.0, 5.0])
    values = standardised(np.array([[np.nan, 10.0], [3.0, 1e9]]), mean, scale)
    np.testing.assert_array_equal(values, [[0, 0], [1, 4]])


def test_the_net_is_that_of_the_slow_definition():
    model, inputs = shipped_looks(), look_inputs(cells_like(SPINDLE, FLAT))
    for row, found in zip(inputs, model.probabilities(inputs), strict=True):
        values = [
            max(-4.0, min(4.0, (x - m) / s)) for x, m, s in zip(row, model.mean, model.scale, strict=True)
        ]  # no figure is missing
        for i, (weights, bias) in enumerate(model.layers):
            if i:
                values = [np.tanh(v) for v in values]
            values = [
                sum(v * w for v, w in zip(values, weights[:, j], strict=True)) + bias[j] for j in range(len(bias))
            ]
        odds = np.exp(values)
        np.testing.assert_allclose(found, odds / odds.sum(), atol=2e-6)


def test_shipped_weights_are_of_the_recipe_in_the_code_and_not_of_the_judged_fields():
    training = shipped_looks().training
    assert training["recipe"] == LookRecipe().model_dump()
    assert training["recipe"]["seed"] != JUDGED_SEED
    assert set(training["cells"]) == set(LOOKS)


def test_weights_survive_their_file(tmp_path):
    path = tmp_path / "looks.json"
    path.write_text(shipped_looks().to_json(), encoding="utf-8")
    read = read_looks(path)
    np.testing.assert_array_equal(read.layers[0][0], shipped_looks().layers[0][0])
    assert read.to_json() == shipped_looks().to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("0.", "1.", 1), "was altered"),
        (lambda text: text[:-20], "cannot be read"),
        (lambda text: json.dumps({"looks": []}), "cannot be read"),
    ],
    ids=["a digit", "cut off", "something else"],
)
def test_weights_that_were_changed_are_refused(tmp_path, change, message):
    path = tmp_path / "looks.json"
    path.write_text(change(shipped_looks().to_json()), encoding="utf-8")
    with pytest.raises(InvalidDataError, match=message):
        read_looks(path)


def test_weights_for_other_inputs_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "looks.json"
    path.write_text(shipped_looks().to_json(), encoding="utf-8")
    monkeypatch.setattr("msc_vision.morphology.looks.LOOK_INPUTS", LOOK_INPUTS[1:])
    with pytest.raises(InvalidDataError, match="other looks or inputs"):
        read_looks(path)


# --- shares ----------------------------------------------------------------------------------------------------------


def slow_shares(probabilities, weights, n_steps):
    """As written by Saerens et al.: posteriors by the shares found before, then their mean."""
    k = len(probabilities[0])
    found = [1 / k] * k
    for _ in range(n_steps):
        sums = [0.0] * k
        for row, weight in zip(probabilities, weights, strict=True):
            joint = [p * share / (1 / k) for p, share in zip(row, found, strict=True)]
            for i in range(k):
                sums[i] += weight * joint[i] / sum(joint)
        found = [one / sum(weights) for one in sums]
    return found


@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), n_steps=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_shares_are_those_of_the_slow_definition(seed, n, n_steps):
    rng = np.random.default_rng(seed)
    probabilities, weights = rng.dirichlet(np.full(4, 0.5), n), rng.uniform(1, 3, n)
    found = look_shares(probabilities, weights, n_steps)
    np.testing.assert_allclose(found, slow_shares(probabilities, weights, n_steps), atol=1e-9)
    assert found.sum() == pytest.approx(1)


def test_looks_that_are_taken_for_one_another_are_corrected():
    """Of 9 in 10 of the first look, a third is taken for the second: counts say 6, the shares nearly 9."""
    seen = np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    n_first, n_second = round(300 * (0.9 * 2 + 0.1) / 3), round(300 * (0.9 + 0.1 * 2) / 3)
    probabilities = np.repeat(seen, [n_first, n_second], axis=0)
    counted = n_first / 300
    errors = [abs(look_shares(probabilities, np.ones(300), steps)[0] - 0.9) for steps in (1, 4, 40, 400)]
    assert errors[0] > abs(counted - 0.9) > errors[2]
    assert all(a > b for a, b in itertools.pairwise(errors))
    assert errors[-1] < 0.01


def test_sure_cells_are_counted():
    probabilities = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    np.testing.assert_allclose(look_shares(probabilities, np.array([1, 1, 2, 1, 1, 2.0]), 4), [0.5, 0.125, 0.375])


# --- how the weights are made ----------------------------------------------------------------------------------------


def test_cells_are_named_by_the_true_cell_that_they_share_half_with():
    """True: a spindle, a flat cell, a dead one. Found: the spindle, a third of the flat cell, the dead one, nothing."""
    truth, labels = np.zeros((20, 40), np.int32), np.zeros((20, 40), np.int32)
    truth[2:6, 2:12], truth[8:18, 2:20], truth[2:8, 30:36] = 1, 2, 3
    labels[2:6, 3:12], labels[8:18, 2:8], labels[2:8, 30:36], labels[12:16, 30:36] = 1, 2, 3, 4
    kinds = np.array([CellKind.BARE, CellKind.SPINDLE, CellKind.FLATTENED, CellKind.DEAD], np.uint8)
    assert matched_kinds(truth, kinds, labels).tolist() == [-1, LOOKS.index("spindle"), -1, -1, -1]


def test_true_cells_on_the_border_are_counted_by_weight():
    """Of a 100 x 100 field: one whole cell of 49 x 49, one cut by the border, a crumb, and a dead cell."""
    labels = np.zeros((100, 100), np.int32)
    labels[10:59, 10:59], labels[0:40, 70:90], labels[70:72, 70:72], labels[80:95, 80:95] = 1, 2, 3, 4
    kinds = np.array([0, CellKind.CUBOIDAL, CellKind.LIPID, CellKind.LIPID, CellKind.DEAD], np.uint8)
    counts = true_counts(labels, kinds, 1.0)
    expected = np.zeros(len(LOOKS))
    expected[LOOKS.index("cuboidal")] = 100 * 100 / (50 * 50)
    np.testing.assert_allclose(counts, expected)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_drawn_fields_are_phase_contrast_of_the_promised_range(seed):
    drawn = [draw_field(np.random.Generator(np.random.PCG64(seed))) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].optics.mode == "phase-contrast"
    assert 0.65 <= drawn[0].pixel_size_um <= 1.6
    assert 20 <= drawn[0].confluency_percent <= 85
    assert drawn[0].height_px * drawn[0].pixel_size_um == pytest.approx(learning.SIDE_UM, rel=0.01)


def separable(n_each):
    """Cells of six looks, far apart in the first inputs; the others are noise, some of it missing."""
    rng = np.random.default_rng(5)
    look = np.repeat(np.arange(len(LOOKS)), n_each)
    inputs = rng.normal(size=(look.size, len(LOOK_INPUTS)))
    inputs[np.arange(look.size), look] += 12
    inputs[rng.random(look.size) < 0.3, -1] = np.nan
    return LookExamples(inputs, look)


def test_what_is_clearly_apart_is_learnt_even_if_one_look_is_rare_and_the_seed_decides():
    examples = separable([400, 400, 400, 400, 400, 30])
    recipe = LookRecipe(seed=1, n_hidden=12, n_passes=15)
    model, again, other = (fit_looks(examples, r) for r in (recipe, recipe, recipe.model_copy(update={"seed": 2})))
    assert (model.probabilities(examples.inputs).argmax(axis=1) == examples.look).mean() > 0.97
    assert model.to_json() == again.to_json()
    assert not np.array_equal(model.layers[0][0], other.layers[0][0])


def test_a_frequent_look_is_no_more_probable_than_a_rare_one_that_looks_the_same():
    examples = separable([300, 40, 40, 40, 40, 30])
    is_alike = np.isin(examples.look, [0, 5])
    examples.inputs[is_alike] = 0.0
    model = fit_looks(examples, LookRecipe(seed=1, n_hidden=6, n_passes=15))
    frequent, rare = model.probabilities(examples.inputs[is_alike])[0, [0, 5]]
    assert frequent == pytest.approx(rare, rel=0.2)


def test_a_look_without_an_example_is_an_error():
    examples = separable([5, 5, 5, 5, 5, 0])
    with pytest.raises(UndefinedResultError, match="No example of rounded"):
        fit_looks(examples, LookRecipe())


def test_only_measured_cells_of_a_known_look_are_examples():
    cells = cells_like(SPINDLE, FLAT, ROUNDED)
    cells["is_measured"][1] = False
    field = LabelledField(cells, np.array([0, 2, -1]), np.zeros(6), 50.0)
    found = look_examples([field, field])
    assert found.look.tolist() == [0, 0]
    assert found.inputs.shape == (2, len(LOOK_INPUTS))


def test_the_command_writes_what_it_made(tmp_path, monkeypatch):
    asked = []

    def made(recipe, workers):
        asked.append(recipe)
        return shipped_looks()

    monkeypatch.setattr(learning, "make_looks", made)
    out = tmp_path / "looks.json"
    assert learning.main(["--out", str(out), "--fields", "7", "--seed", "3"]) == 0
    assert asked == [LookRecipe(seed=3, n_fields=7)]
    assert isinstance(read_looks(out), LookModel)


# --- in a run --------------------------------------------------------------------------------------------------------


def test_a_setting_of_looks_changes_the_recipe():
    plain = load_pipeline("contrast")
    assert plain.describe.looks == SETTINGS
    changed = plain.model_copy(update={"looks": SETTINGS.model_copy(update={"sure_from": 0.9})})
    assert changed.sha256 != plain.sha256
    assert changed.describe.looks.sure_from == 0.9


def scored(folder, image, pixel_size_um, tiling):
    """The score of a picture by the shipped network, and its table of objects."""
    path, rows = folder / "field.ome.tif", folder / "objects.npy"
    write_image(path, image, pixel_size_um, "ome-tiff")
    row = ManifestRow(str(path), "V", "t-75", 1, pixel_size_um=pixel_size_um)
    score = score_field(FieldTask("field", path, row, load_pipeline("default"), None, rows, tiling=tiling))
    return score, np.load(rows)


@pytest.mark.parametrize("look", ["spindle", "flattened"])
def test_a_drawn_culture_of_one_look_is_told_as_such(tmp_path, look):
    drawn = FieldSettings.model_validate(
        {
            "height_px": 640,
            "width_px": 640,
            "pixel_size_um": 1.3,
            "confluency_percent": 35 if look == "spindle" else 45,
            "cells": {"shares": {name: float(name == look) for name in LOOKS}},
        }
    )
    score, objects = scored(tmp_path, render_field(drawn, 12).image, 1.3, Tiling())
    assert score.morphology[f"look_share_{look}_percent"] > 75
    cells = objects[objects["kind"] == CELL]
    named = cells["look"][cells["is_measured"]]
    assert (named == look).mean() > 0.6
    assert set(cells["look"][~cells["is_measured"]]) <= {""}


@pytest.mark.slow
def test_tiles_change_no_look_and_no_share(tmp_path):
    drawn = FieldSettings(height_px=1150, width_px=1100, pixel_size_um=1.3, confluency_percent=50)
    image = render_field(drawn, 4).image
    whole, rows = scored(tmp_path, image, 1.3, Tiling())
    tiled, tiled_rows = scored(tmp_path, image, 1.3, Tiling(whole_px=1, tile_px=1024))
    assert {name for name in whole.morphology if name.startswith("look_share_")}
    for name in ("look", "look_probability"):
        np.testing.assert_array_equal(rows[name], tiled_rows[name])
    assert {n: v for n, v in whole.morphology.items() if "look" in n} == {
        n: v for n, v in tiled.morphology.items() if "look" in n
    }

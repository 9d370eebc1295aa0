"""What is learned from: maps that mean what they say, sets that may be used, groups that stay together."""

import csv
import itertools
import os

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.learning.data import collect, held_out_sets
from msc_vision.learning.jobs import AnnotatedJob, field_item
from msc_vision.learning.paste import PasteJob, cut_cells, fill
from msc_vision.learning.prepared import prepare, write_array
from msc_vision.learning.progress import Silent
from msc_vision.learning.recipe import PasteRecipe, SourceRecipe, ValidationRecipe, load_recipe, parse_recipe
from msc_vision.learning.sources import annotated_images, group_of
from msc_vision.learning.targets import area_maps, core_map, resampled, resampled_labels
from msc_vision.learning.visible import has_bare_surface, hidden_cells
from msc_vision.segmentation.network.maps import MAPS
from training_cases import disc_field, tiny_recipe, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("training") / "data")


def collected(recipe, data, workers=1):
    return collect(recipe, data, data.parent / "cache", workers=workers, progress=Silent())


# --- maps ------------------------------------------------------------------------------------------------------------


def test_the_core_of_a_bar_is_its_middle_line():
    labels = np.zeros((15, 40), np.int32)
    labels[5:10, 5:35] = 3
    core = core_map(labels)
    assert core[7, 20] == 255
    assert 60 < core[5, 20] < 120
    assert core[labels == 0].max() == 0


def test_each_cell_has_a_core_of_its_own_height():
    _, labels = disc_field(0)
    core = core_map(labels)
    assert all(core[labels == number].max() == 255 for number in np.unique(labels)[1:])


def test_a_doubtful_outline_teaches_nothing_and_the_rest_does():
    covered = np.zeros((60, 60), bool)
    covered[:, 30:] = True
    judged = area_maps(covered)[0, ..., 3] > 0
    assert not judged[:, 25:35].any()
    assert judged[:, :23].all()
    assert judged[:, 37:].all()


@given(st.floats(0.3, 3.0))
def test_picture_and_labels_keep_one_size_and_place(factor):
    picture, labels = disc_field(1)
    small, numbers = resampled(picture, factor), resampled_labels(labels, factor)
    assert small.shape == numbers.shape
    is_cell = numbers > 0
    assert small[is_cell].mean() > small[~is_cell].mean() * 1.2
    assert abs(is_cell.mean() - (labels > 0).mean()) < 0.03


def test_a_synthetic_field_has_the_truth_of_every_map():
    from msc_vision.synth import FieldSettings, render_field

    field = render_field(FieldSettings(height_px=160, width_px=160, confluency_percent=40), 3)
    made = field_item(field, 1.0, np.zeros(field.labels.shape, bool))
    assert made.maps.shape == (2, 160, 160, 4)
    assert made.valid == (True,) * len(MAPS)
    np.testing.assert_array_equal(made.maps[0, ..., 0] > 0, field.foreground)
    assert not made.maps[0, ..., 1].any()
    np.testing.assert_array_equal(made.maps[1, ..., 1] > 0, field.aggregates > 0)
    np.testing.assert_array_equal(made.maps[1, ..., 2] > 0, field.debris > 0)


def test_a_wall_is_obscured_and_says_nothing_of_cells():
    from msc_vision.synth import FieldSettings, render_field

    walled = {"height_px": 192, "width_px": 192, "confluency_percent": 60, "faults": {"wall": 0.3}}
    field = render_field(FieldSettings.model_validate(walled), 3)
    made = field_item(field, 1.0, np.zeros(field.labels.shape, bool))
    assert 0.1 < (~field.judgeable).mean() < 0.6
    np.testing.assert_array_equal(made.maps[0, ..., 1] > 0, ~field.judgeable)
    assert not made.maps[0, ..., 3][~field.judgeable].any()


def grainy(rng, shape, spread):
    return (1000 * (1 + spread * rng.standard_normal(shape))).astype(np.float32)


def test_a_cell_that_looks_like_the_surface_around_it_teaches_nothing_and_a_rough_one_does():
    rng = np.random.default_rng(0)
    picture, labels = grainy(rng, (200, 200), 0.01), np.zeros((200, 200), np.int32)
    labels[20:80, 20:80], labels[120:180, 120:180] = 1, 2
    picture[labels == 2] = grainy(rng, (200, 200), 0.05)[labels == 2]
    np.testing.assert_array_equal(hidden_cells(picture, labels), labels == 1)


def test_an_outline_around_a_smooth_inside_teaches_nothing():
    """Between real cells a gap of bare surface looks just like that: bright rims, and nothing within."""
    rng = np.random.default_rng(2)
    picture, labels = grainy(rng, (300, 300), 0.01), np.zeros((300, 300), np.int32)
    labels[40:140, 40:140], labels[160:260, 160:260] = 1, 2
    rim = np.zeros(labels.shape, bool)
    for start in (40, 160):
        rim[start : start + 100, start : start + 100] = True
        rim[start + 3 : start + 97, start + 3 : start + 97] = False
    picture[rim] *= 1.3
    rough = (labels == 2) & ~rim
    picture[rough] = grainy(rng, labels.shape, 0.03)[rough]
    np.testing.assert_array_equal(hidden_cells(picture, labels), labels == 1)


@pytest.mark.parametrize(("spread", "is_hidden"), [(0.01, True), (0.05, False)])
def test_a_full_field_is_compared_with_the_same_surface_without_cells(spread, is_hidden):
    rng = np.random.default_rng(1)
    labels = np.ones((128, 128), np.int32)
    bare, full = grainy(rng, labels.shape, 0.01), grainy(rng, labels.shape, spread)
    assert not has_bare_surface(labels)
    assert not hidden_cells(full, labels).any()
    assert hidden_cells(full, labels, bare).all() == is_hidden


# --- sets that may be used -------------------------------------------------------------------------------------------


def test_an_evaluation_set_is_refused_by_name(data):
    recipe = tiny_recipe(sources=[{"sets": ["discs", "sealed"], "truth": "instances", "share": 1}])
    with pytest.raises(InvalidArgumentError, match="sealed is for evaluation only"):
        collected(recipe, data)


def test_an_evaluation_set_is_refused_as_part_of_a_whole_list_too(data):
    with pytest.raises(InvalidArgumentError, match="sealed"):
        annotated_images(SourceRecipe(truth="foreground", share=1), data)


def test_an_evaluation_set_is_not_taught_by_a_teacher_either(data):
    recipe = tiny_recipe(pseudo=[{"sets": ["sealed"], "share": 0.1}])
    with pytest.raises(InvalidArgumentError, match="sealed"):
        collected(recipe, data)


def test_pictures_without_masks_are_named_and_counted(data):
    recipe = tiny_recipe(sources=[{"sets": ["plain"], "truth": "foreground", "share": 1}])
    with pytest.raises(InvalidDataError, match=r"2 of 2 pictures of plain have no mask .* such as plain-0.tif"):
        collected(recipe, data)


def test_an_unknown_set_is_named(data):
    recipe = tiny_recipe(sources=[{"sets": ["dics"], "truth": "instances", "share": 1}])
    with pytest.raises(InvalidDataError, match="has no set dics"):
        collected(recipe, data)


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_data(tmp_path)
    tifffile.imwrite(tmp_path / "discs-0-mask.tif", np.ones((128, 127), np.uint8))
    with pytest.raises(InvalidDataError, match="is 128 x 127, its picture 128 x 128"):
        collect(tiny_recipe(), tmp_path, tmp_path / "cache", workers=1, progress=Silent())


def test_a_picture_whose_pixel_size_nobody_knows_is_refused(tmp_path):
    folder = write_data(tmp_path)
    rows = list(csv.reader((folder / "pairs.csv").open()))
    with (folder / "pairs.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([row[:-1] for row in rows])
    with pytest.raises(InvalidDataError, match="its pixel size is not known"):
        collect(tiny_recipe(), folder, tmp_path / "cache", workers=1, progress=Silent())


def test_a_folder_of_images_and_labels_is_a_list(tmp_path):
    picture, labels = disc_field(0)
    tifffile.imwrite(tmp_path / "a.tif", picture)
    tifffile.imwrite(tmp_path / "a_labels.tif", labels)
    (found,) = annotated_images(SourceRecipe(pairs=".", truth="instances", share=1), tmp_path)
    assert (found.name, found.kind) == ("a.tif", "instances")


def test_a_folder_without_masks_is_one_clear_line(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", disc_field(0)[0])
    with pytest.raises(InvalidDataError, match="training data without masks"):
        annotated_images(SourceRecipe(pairs=".", truth="instances", share=1), tmp_path)


def test_a_teacher_labels_what_nobody_annotated(data):
    recipe = tiny_recipe(pseudo=[{"sets": ["plain"], "share": 0.1}])
    taught = [part for part in collected(recipe, data).parts if "plain" in part.title]
    assert [item.set_name for part in taught for item in part.items] in ([], ["plain", "plain"])
    assert all(item.valid == (True, *[False] * 5) for part in taught for item in part.items)


# --- what is held out ------------------------------------------------------------------------------------------------


@given(st.integers(2, 4), st.integers(1, 3), st.integers(12, 40))
def test_every_picture_is_held_out_once_and_neighbours_together(folds, groups_per_fold, n):
    names = [f"field{i:03d}.tif" for i in range(n)]
    group = group_of(names, folds * groups_per_fold)
    fold = [group[name] % folds for name in names]
    assert set(fold) == set(range(folds))
    assert sum(a != b for a, b in itertools.pairwise(fold)) == folds * groups_per_fold - 1


def test_a_fold_is_kept_from_training_and_from_the_paste(data):
    recipe = tiny_recipe(
        validation={"folds": 3, "fold": 1, "groups_per_fold": 1},
        paste={"n_fields": 2, "side_px": 128, "share": 0.1},
    )
    found = collected(recipe, data)
    held = {item.name for item in found.held_out}
    learned = {item.name for part in found.parts for item in part.items}
    assert held == {"discs-2.tif", "discs-3.tif"}
    assert not held & learned
    pastes = list(_paste_jobs(recipe, data))
    assert pastes
    assert all(picture.name not in held for job in pastes for picture in job.pictures)


def _paste_jobs(recipe, data):
    from msc_vision.learning.data import _plan

    return [job for part in _plan(recipe, data)[0] for job in part.jobs if isinstance(job, PasteJob)]


def test_sets_of_one_origin_are_held_out_together():
    validation = ValidationRecipe(hold_out=("a",), same_origin=(("a", "half-size copies of a"), ("b", "c")))
    assert held_out_sets(validation) == {"a", "half-size copies of a"}


def test_holding_everything_out_is_said(data):
    with pytest.raises(InvalidDataError, match="everything is held out"):
        collected(tiny_recipe(validation={"hold_out": ["discs", "areas"]}), data)


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainig": {}}, "trainig: Extra inputs"),
        ({"training": {"steps": 5}}, "training.steps: Extra inputs"),
        ({"augmentation": {"scale": [2, 1]}}, "lower end first"),
        ({"validation": {"folds": 3, "fold": 3}}, "fold 3 of 3"),
        ({"sources": [], "synthetic": None}, "nothing to learn from"),
    ],
    ids=["unknown group", "unknown setting", "range backwards", "no such fold", "no data"],
)
def test_what_is_wrong_with_a_recipe_is_named(changes, said):
    content = {"name": "r", "description": "d", "sources": [{"truth": "instances", "share": 1}]}
    with pytest.raises(InvalidArgumentError, match=said):
        parse_recipe(content | changes, "r.yaml")


def test_a_recipe_that_is_no_yaml_is_one_line(tmp_path):
    (tmp_path / "r.yaml").write_text("name: [")
    with pytest.raises(InvalidArgumentError, match="no YAML") as caught:
        load_recipe(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


# --- dense fields out of sparse ones ---------------------------------------------------------------------------------

PASTE = PasteRecipe(n_fields=1, side_px=128, share=1, cover_percent=(80, 80))


def test_pasting_reaches_the_wanted_cover_and_keeps_the_cells_that_were_there():
    picture, labels = disc_field(4)
    cutouts = cut_cells(*disc_field(5))
    filled, numbers = fill(picture.astype(np.float32), labels, cutouts, 80.0, PASTE, np.random.default_rng(0))
    assert 78 < 100 * (numbers > 0).mean() < 90
    for number in np.unique(labels)[1:]:
        assert (numbers[labels == number] == number).mean() > 0.2
    is_new = (numbers > labels.max()) & (labels == 0)
    assert filled[is_new].mean() > picture[labels == 0].mean() * 1.1


def test_pasting_nothing_changes_nothing():
    picture, labels = disc_field(4)
    filled, numbers = fill(picture.astype(np.float32), labels, [], 80.0, PASTE, np.random.default_rng(0))
    np.testing.assert_array_equal(filled, picture)
    np.testing.assert_array_equal(numbers, labels)


# --- made once -------------------------------------------------------------------------------------------------------


def test_processes_make_what_one_process_makes_and_only_once(data, tmp_path):
    sources = annotated_images(SourceRecipe(sets=("discs",), truth="instances", share=1), data)
    jobs = [AnnotatedJob(source, "instances", None, 0.8) for source in sources]
    one = prepare(jobs, tmp_path / "one", workers=1, progress=Silent())
    two = prepare(jobs, tmp_path / "two", workers=2, progress=Silent())
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)
        np.testing.assert_array_equal(a.maps, b.maps)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    prepare(jobs, tmp_path / "one", workers=1, progress=Silent())
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}


def test_fields_of_the_simulator_are_held_out_beside_those_that_are_learned(data):
    made = {"n_fields": 2, "side_px": 128, "share": 1}
    found = collected(tiny_recipe(sources=[], synthetic=made, validation={"n_synthetic": 1}), data)
    assert [item.name for part in found.parts for item in part.items] == ["synthetic 0/0", "synthetic 0/1"]
    assert [item.name for item in found.held_out] == ["synthetic 0/2"]


def test_two_trainings_may_prepare_the_same_picture_at_once(tmp_path, monkeypatch):
    path, array, save, others = tmp_path / "picture.npy", np.arange(6), np.save, [7]

    def save_while_another_does(draft, content):
        save(draft, content)
        if others:
            number = others.pop()
            monkeypatch.setattr(os, "getpid", lambda: number)
            write_array(path, content)

    monkeypatch.setattr(np, "save", save_while_another_does)
    write_array(path, array)
    assert not others
    np.testing.assert_array_equal(np.load(path), array)
    assert list(tmp_path.iterdir()) == [path]

"""A corrected field becomes a pair that training takes, of one person and one picture, and never of a sealed set."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from batch_cases import cell_image, plan_of, write_images
from msc_vision.batch.annotators import annotators, compare_masks, masks_by
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.run import run_folder
from msc_vision.cli import app
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.images import content_sha256, open_image
from msc_vision.learning.corrections import (
    Origin,
    Picture,
    field_pair,
    keep_pair,
    kept_deed,
    read_origin,
    refuse_evaluation_only,
    training_pair,
)
from msc_vision.learning.jobs import AnnotatedJob
from msc_vision.learning.recipe import SourceRecipe, SyntheticRecipe, TrainingRecipe
from msc_vision.learning.sources import annotated_images, read_judged
from msc_vision.review.events import Reviewer
from msc_vision.review.masks import difference, empty_masks

ANNA, BERT = Reviewer("anna"), Reviewer("bert")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def image(tmp_path):
    """A picture of 64 x 80 pixels, 16 bit, that states no pixel size."""
    path = tmp_path / "images" / "fresh.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, cell_image(1, 128)[:64, :80])
    return path


@pytest.fixture
def masks():
    """Masks at half the size of the picture: one cell, foreground without a number, a corner that nobody judged."""
    found = empty_masks((32, 40)).copy()
    found.cells[4:10, 4:20] = 7
    found.foreground[4:10, 4:20] = True
    found.foreground[20:22, 30:36] = True
    found.judgeable[:, 38:] = False
    return found


def origin_of(image, masks, who=ANNA):
    return Origin(who, NOON.isoformat(), str(image), content_sha256(image), masks.sha256, proposal="default")


def pair_of(image, masks, who=ANNA):
    return training_pair(Picture(image, pixel_size_um=0.65, factor=2), masks, origin_of(image, masks, who))


def test_a_pair_has_the_picture_as_it_was_and_labels_of_its_size(image, masks, tmp_path):
    labels = keep_pair(pair_of(image, masks), tmp_path / "pairs")
    written = tifffile.imread(labels)
    assert written.dtype == np.int32
    assert np.array_equal(written, np.repeat(np.repeat(masks.cells, 2, 0), 2, 1))
    with open_image(tmp_path / "pairs" / "fresh.tif") as kept:
        assert kept.info.pixel_size_um == pytest.approx(0.65)
        assert np.array_equal(kept.read(), tifffile.imread(image))


def test_the_pair_says_who_stands_for_it(image, masks, tmp_path):
    keep_pair(pair_of(image, masks), tmp_path / "pairs")
    assert read_origin(tmp_path / "pairs", "fresh") == origin_of(image, masks)
    content = json.loads((tmp_path / "pairs" / "fresh_origin.json").read_text(encoding="utf-8"))
    assert (content["n_cells"], content["pixel_size_um"]) == (1, 0.65)


def test_training_sees_it_and_learns_nothing_from_what_nobody_judged(image, masks, tmp_path):
    keep_pair(pair_of(image, masks), tmp_path / "pairs")
    recipe = SourceRecipe(pairs=".", truth="instances", share=1)
    (found,) = annotated_images(recipe, tmp_path / "pairs")
    made = AnnotatedJob(found, "instances", None, canonical_pixel_size_um=0.65).make()
    judged = made.maps[0, ..., 3] > 0
    expected = masks.judgeable & ~(masks.foreground & (masks.cells == 0))
    assert np.array_equal(judged, np.repeat(np.repeat(expected, 2, 0), 2, 1))
    assert made.is_scale_known


def test_without_anything_to_ignore_everything_teaches(image, masks, tmp_path):
    keep_pair(pair_of(image, masks), tmp_path / "pairs")
    whole = replace(masks, judgeable=np.ones((32, 40), bool), foreground=masks.cells > 0)
    keep_pair(pair_of(image, whole), tmp_path / "pairs")
    assert not (tmp_path / "pairs" / "fresh_ignore.tif").exists()
    (found,) = annotated_images(SourceRecipe(pairs=".", truth="instances", share=1), tmp_path / "pairs")
    assert read_judged(found, (64, 80)) is None


def test_the_same_pair_gives_the_same_bytes(image, masks, tmp_path):
    first, second = (keep_pair(pair_of(image, masks), tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_who_kept_it_may_correct_it_further(image, masks, tmp_path):
    labels = keep_pair(pair_of(image, masks), tmp_path / "pairs")
    masks.cells[:3, :3] = 8
    keep_pair(pair_of(image, masks), tmp_path / "pairs")
    assert set(np.unique(tifffile.imread(labels))) == {0, 7, 8}


def test_nobody_overwrites_the_pair_of_another(image, masks, tmp_path):
    labels = keep_pair(pair_of(image, masks), tmp_path / "pairs")
    before = labels.read_bytes()
    with pytest.raises(InvalidArgumentError, match="anna kept this picture for training already, on 2026-11-22"):
        keep_pair(pair_of(image, masks, BERT), tmp_path / "pairs")
    assert labels.read_bytes() == before


def test_a_pair_of_another_picture_of_that_name_stays(image, masks, tmp_path):
    keep_pair(pair_of(image, masks), tmp_path / "pairs")
    tifffile.imwrite(image, cell_image(2, 128)[:64, :80])
    with pytest.raises(InvalidArgumentError, match="is a pair of another picture"):
        keep_pair(pair_of(image, masks), tmp_path / "pairs")


def test_files_that_nobody_knows_are_not_overwritten(image, masks, tmp_path):
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "fresh_labels.tif").write_bytes(b"by hand")
    with pytest.raises(InvalidArgumentError, match="nobody knows whose it is"):
        keep_pair(pair_of(image, masks), tmp_path / "pairs")


def test_a_folder_that_cannot_be_written_is_one_sentence(image, masks, tmp_path):
    (tmp_path / "pairs").write_text("a file, no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        keep_pair(pair_of(image, masks), tmp_path / "pairs")


def test_a_picture_that_changed_since_is_refused(image, masks):
    known = origin_of(image, masks)
    tifffile.imwrite(image, cell_image(2, 128)[:64, :80])
    with pytest.raises(InvalidDataError, match="was changed since it was judged"):
        training_pair(Picture(image, pixel_size_um=0.65, factor=2), masks, known)


def test_without_pixel_size_there_is_no_pair(image, masks):
    with pytest.raises(InvalidArgumentError, match="its pixel size is not known"):
        training_pair(Picture(image, factor=2), masks, origin_of(image, masks))


def test_a_field_of_which_nothing_is_judgeable_teaches_nothing(image, masks):
    hidden = replace(masks, judgeable=np.zeros((32, 40), bool))
    with pytest.raises(InvalidArgumentError, match="nothing of it is judgeable"):
        pair_of(image, hidden)


# --- evaluation only -------------------------------------------------------------------------------------------------


def list_of(folder: Path, image: Path, use: str, sha256: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pairs.csv"
    path.write_text(f"image,truth,kind,set,use,sha256\n{image},,instances,sealed,{use},{sha256}\n", encoding="utf-8")
    return path


def test_a_listed_picture_of_a_sealed_set_is_refused(image, masks, tmp_path):
    list_of(tmp_path, Path("images/fresh.tif"), "evaluation-only")
    with pytest.raises(InvalidArgumentError, match=r"fresh\.tif belongs to sealed, which .* keeps for evaluation only"):
        keep_pair(pair_of(image, masks), tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_a_copy_of_it_is_known_by_its_content(image, masks, tmp_path):
    listed = list_of(tmp_path / "elsewhere", Path("other.tif"), "evaluation-only", content_sha256(image))
    refuse_evaluation_only(image, content_sha256(image))
    with pytest.raises(InvalidArgumentError, match="evaluation only"):
        keep_pair(pair_of(image, masks), tmp_path / "pairs", [listed])


def test_a_list_above_the_folder_for_training_counts_too(image, masks, tmp_path):
    list_of(tmp_path / "lab", Path("other.tif"), "evaluation-only", content_sha256(image))
    with pytest.raises(InvalidArgumentError, match="evaluation only"):
        keep_pair(pair_of(image, masks), tmp_path / "lab" / "pairs")


def test_a_picture_for_training_is_taken_and_another_table_of_that_name_does_not_matter(image, masks, tmp_path):
    list_of(tmp_path, Path("images/fresh.tif"), "train")
    (tmp_path / "images" / "pairs.csv").write_text("who,whom\nanna,bert\n", encoding="utf-8")
    assert keep_pair(pair_of(image, masks), tmp_path / "pairs").is_file()


# --- a field of a run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrections")
    write_images(folder / "images", n=2)
    run_folder(plan_of(folder / "images", folder / "run"))
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    import shutil

    return ReviewedRun.open(shutil.copytree(finished, tmp_path / "run"))


def drawn(run, key, number, rows):
    """Return a patch that draws one more cell over some rows."""
    before = run.original_masks(key)
    after = before.copy()
    after.cells[rows, 100:140] = number
    after.foreground[rows, 100:140] = True
    return difference(before, after)


def test_a_corrected_field_is_kept_with_its_corrections_and_that_is_noted(run, tmp_path):
    key = next(iter(run.original.fields))
    run.edit(key, drawn(run, key, 999, np.s_[10:30]), ANNA, "paint")
    pair = field_pair(run, key, run.masks(key), ANNA, at=NOON)
    labels = keep_pair(pair, tmp_path / "pairs")
    run.act(ANNA, kept_deed(run, key, pair, labels))
    assert 999 in tifffile.imread(labels)
    again = ReviewedRun.open(run.folder).state.of(key).events[-1]
    assert (again.action, again.after["masks_sha256"]) == ("kept-for-training", run.masks(key).sha256)
    assert read_origin(tmp_path / "pairs", key).run_id == run.run_id


def test_a_field_that_failed_has_nothing_to_keep(run):
    key, one = next(iter(run.original.fields.items()))
    failed = replace(one, score=replace(one.score, status="failed", reason="the file is damaged"))
    run.original.fields[key] = failed
    with pytest.raises(InvalidArgumentError, match=r"the field failed \(the file is damaged\)"):
        field_pair(run, key, run.masks(key), ANNA, at=NOON)


def test_each_persons_masks_are_those_with_their_own_corrections(run):
    key = next(iter(run.original.fields))
    run.edit(key, drawn(run, key, 998, np.s_[10:30]), ANNA, "paint")
    run.edit(key, drawn(run, key, 999, np.s_[60:90]), BERT, "paint")
    assert annotators(run, key) == (ANNA, BERT)
    anna, bert, found = (masks_by(run, key, who) for who in (ANNA, BERT, None))
    assert 998 in anna.cells
    assert 999 not in anna.cells
    assert found.sha256 == run.original_masks(key).sha256
    compared = compare_masks(anna, bert)
    assert 998 in compared.agreement.only_first
    assert 999 in compared.agreement.only_second


def test_who_corrected_nothing_cannot_be_compared(run):
    key = next(iter(run.original.fields))
    with pytest.raises(InvalidArgumentError, match="bert corrected nothing in this field"):
        masks_by(run, key, BERT)


@pytest.mark.slow
def test_the_shipped_network_learns_from_two_pairs(tmp_path, monkeypatch):
    from msc_vision.learning import finetune

    monkeypatch.setattr(finetune, "SyntheticRecipe", lambda **_: SyntheticRecipe(n_fields=1, side_px=128, share=0.1))
    monkeypatch.setattr(finetune, "TrainingRecipe", lambda **_: TrainingRecipe(n_steps=2, batch=1, crop_px=64))
    for i in range(2):
        image = tmp_path / f"dish-{i}.tif"
        tifffile.imwrite(image, cell_image(i, 160))
        masks = empty_masks((160, 160)).copy()
        for n in range(12):
            y, x = 10 + 45 * (n // 4), 8 + 38 * (n % 4)
            masks.cells[y : y + 12, x : x + 24] = n + 1
        masks.judgeable[:, 150:] = False
        masks = replace(masks, foreground=masks.cells > 0)
        keep_pair(training_pair(Picture(image, pixel_size_um=0.8), masks, origin_of(image, masks)), tmp_path / "pairs")
    called = CliRunner().invoke(
        app,
        ["train", str(tmp_path / "pairs"), "--from", "culture-3", "--name", "lab-1", "--out", str(tmp_path / "models"),
         "--cache", str(tmp_path / "cache"), "--workers", "1", "--threads", "1"],
    )  # fmt: skip
    assert called.exit_code == 0, called.output
    config = json.loads((tmp_path / "models" / "lab-1" / "config.json").read_text(encoding="utf-8"))
    assert config["id"] == "lab-1"
    assert config["training"]["parent"]["id"] == "culture-3"

"""What is dropped on the viewer: run folders, pictures, and things that are neither."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from napari_msc_vision import convert, sample
from napari_msc_vision.reader import get_image_reader, get_run_reader, run_folder


def test_a_run_folder_and_the_run_json_in_it_are_known(finished_run, tmp_path):
    assert run_folder(finished_run) == run_folder(str(finished_run / "run.json")) == finished_run
    assert run_folder([str(finished_run)]) == finished_run
    assert get_run_reader(tmp_path) is None
    assert get_run_reader([str(finished_run), str(tmp_path)]) is None


def test_without_a_viewer_a_run_gives_the_layers_of_its_first_field(small_run):
    layers = get_run_reader(small_run)(str(small_run))
    assert [settings["name"] for _, settings, _ in layers] == [
        convert.IMAGE, convert.FOREGROUND, convert.NOT_JUDGEABLE, convert.CELLS, convert.AGGREGATES, convert.FINDINGS,
    ]  # fmt: skip
    assert all(settings["units"] == ("micrometer", "micrometer") for _, settings, _ in layers)
    masks = convert.layers_to_masks(layers)
    assert masks.foreground.any()


def test_a_picture_has_its_pixel_size_and_one_without_says_so(tmp_path, rng):
    pixels = rng.integers(0, 4000, (64, 80), np.uint16)
    sized, plain = tmp_path / "sized.ome.tif", tmp_path / "plain.tif"
    tifffile.imwrite(sized, pixels, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65})
    tifffile.imwrite(plain, pixels)
    (levels, with_size, kind), (_, without, _) = get_image_reader([str(sized), str(plain)])([str(sized), str(plain)])
    np.testing.assert_array_equal(levels[0], pixels)
    assert (kind, with_size["scale"], with_size["units"][0]) == ("image", (0.65, 0.65), "micrometer")
    assert (without["scale"], without["units"][0]) == ((1.0, 1.0), "pixel")
    assert "The file states no pixel size: lengths are in pixels." in without["metadata"]["notes"]


def test_what_is_no_picture_is_left_to_others(tmp_path):
    (tmp_path / "notes.tif").write_text("no picture")
    assert get_image_reader(str(tmp_path / "notes.tif")) is None
    assert get_image_reader(str(tmp_path)) is None
    assert get_image_reader([]) is None


def _forget(run: Path, name: str) -> None:
    (run / name).unlink()


def _cut(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])


def _rewrite(run: Path, **changes: object) -> None:
    record = json.loads((run / "run.json").read_text()) | changes
    (run / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: _cut(run, "run.json"), "run.json|cannot be read"),
        (lambda run: _cut(run, "fields.parquet"), "cannot be read"),
        (lambda run: _rewrite(run, state="running"), "not finished .its state is running.; go on with --resume"),
        (lambda run: _rewrite(run, schema_version=99), "newer"),
    ],
    ids=["half-written run.json", "half-written table", "run that still runs", "run of a newer version"],
)
def test_a_run_that_cannot_be_relied_on_is_refused_with_what_to_do(small_run, harm, said):
    harm(small_run)
    with pytest.raises((InvalidDataError, InvalidArgumentError), match=said):
        get_run_reader(small_run)(str(small_run))


def test_a_sample_is_made_once_and_then_found(tmp_path, monkeypatch, finished_run):
    made = []
    monkeypatch.setattr(sample, "run_folder", lambda plan, progress: made.append(plan.out))
    monkeypatch.setattr(sample, "plan_run", lambda *_, **__: _Plan(tmp_path / "t-75.run"))
    sample.sample_run("t-75", tmp_path)
    assert made == [tmp_path / "t-75.run"]
    shutil.copytree(finished_run, tmp_path / "t-75.run")
    assert sample.sample_run("t-75", tmp_path) == tmp_path / "t-75.run"
    assert len(made) == 1


class _Plan:
    def __init__(self, out):
        self.out = out


def test_without_a_checkout_a_sample_is_drawn_and_scored(tmp_path, monkeypatch):
    """As in an installation from the wheel: recipes are there, pictures are not. Contrast alone, to be quick."""
    monkeypatch.setattr(sample, "_checkout", lambda name: tmp_path / "nowhere" / name)
    heard = []
    run = sample.sample_run("t-75", tmp_path, pipeline="contrast", heard=lambda *steps: heard.append(steps))
    assert (run / "vessels.json").is_file()
    assert heard[0][0] == 1
    assert heard[-1][0] == heard[-1][1] == 10


def test_the_recipes_of_the_plugin_are_those_of_the_repository():
    root = Path(__file__).parents[2]
    for name in sample.RECIPES:
        own = root / "napari_plugin" / "src" / "napari_msc_vision" / "samples" / f"{name}.yaml"
        assert own.read_bytes() == (root / "sample_data" / "recipes" / f"{name}.yaml").read_bytes()


def test_a_sample_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "samples").write_text("a file in the way")
    with pytest.raises(OutputError, match="the sample cannot be written"):
        sample.sample_run("t-75", tmp_path / "samples")

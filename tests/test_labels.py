"""Label stores: what is written is read back by this package, by zarr and by OME-Zarr tools, whole or not at all."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image, ImageLabel

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io import labels as module
from msc_vision.io.images import content_sha256
from msc_vision.io.labels import (
    LabelsWriter,
    is_within_judgeable,
    labels_sha256,
    read_judgeable,
    read_labels,
    read_meta,
    to_native,
    write_labels,
)
from msc_vision.records import Region


def masks(height=90, width=130, seed=0):
    """Random blocks of 8 x 8 pixels with numbers; the foreground is wherever a number is."""
    blocks = np.random.default_rng(seed).integers(0, 4, (-(-height // 8), -(-width // 8)))
    numbered = np.where(blocks > 1, np.arange(blocks.size).reshape(blocks.shape), 0)
    labels = np.kron(numbered, np.ones((8, 8))).astype(np.int32)[:height, :width].copy()
    return labels > 0, labels


def framed(height=90, width=130, rim=20):
    """What is judged of a field with a frame."""
    judgeable = np.zeros((height, width), bool)
    judgeable[rim:-rim, rim:-rim] = True
    return judgeable


def write(path, height=90, width=130, seed=0, pixel_size_um=0.65):
    foreground, labels = masks(height, width, seed)
    images = foreground, labels, framed(height, width)
    digest = write_labels(path, *images, pixel_size_um, 2, (2 * height, 2 * width))
    return foreground, labels, digest


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), factor=st.integers(1, 4), data=st.data())
def test_round_trip_of_any_shape(tmp_path_factory, height, width, factor, data):
    path = tmp_path_factory.mktemp("labels") / "a.ome.zarr"
    foreground, labels = masks(height, width)
    judgeable = framed(height, width, data.draw(st.integers(1, 200)))
    digest = write_labels(path, foreground, labels, judgeable, 0.5, factor, (height * factor, width * factor))
    read_foreground, read_instances, meta = read_labels(path)
    np.testing.assert_array_equal(read_foreground, foreground)
    np.testing.assert_array_equal(read_instances, labels)
    np.testing.assert_array_equal(read_judgeable(path), judgeable)
    assert (meta.shape, meta.factor, meta.pixel_size_um) == ((height, width), factor, 0.5)
    assert read_foreground.dtype == bool
    assert read_instances.dtype == np.int32
    assert read_judgeable(path).dtype == bool
    assert digest == labels_sha256(path) == content_sha256(path)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Region(y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, width)))
    np.testing.assert_array_equal(read_labels(path, 0, region)[1], labels[y0 : region.y1, x0 : region.x1])
    np.testing.assert_array_equal(read_judgeable(path, 0, region), judgeable[y0 : region.y1, x0 : region.x1])


@pytest.mark.parametrize("shape", [(2048, 1024), (1100, 1500), (40, 30)], ids=["exact", "ragged", "one chunk"])
@pytest.mark.parametrize("is_judged", [True, False])
def test_an_image_of_one_value_is_read_back_at_every_level(tmp_path, shape, is_judged):
    judgeable = np.full(shape, is_judged)
    write_labels(tmp_path / "a.ome.zarr", ~judgeable, np.full(shape, 7, np.int32), judgeable, None, 1, shape)
    for level, level_shape in enumerate(read_meta(tmp_path / "a.ome.zarr").level_shapes()):
        foreground, labels, _ = read_labels(tmp_path / "a.ome.zarr", level)
        np.testing.assert_array_equal(read_judgeable(tmp_path / "a.ome.zarr", level), np.full(level_shape, is_judged))
        np.testing.assert_array_equal(foreground, np.full(level_shape, not is_judged))
        np.testing.assert_array_equal(labels, np.full(level_shape, 7))


@pytest.mark.parametrize("at", [(0, 0), (1050, 1400), (30, 1200)])
def test_foreground_outside_of_the_judged_area_is_found_in_any_chunk(tmp_path, at):
    judgeable = np.ones((1100, 1500), bool)
    foreground, labels = masks(1100, 1500)
    write_labels(tmp_path / "a.ome.zarr", foreground, labels, judgeable, None, 1, judgeable.shape)
    assert is_within_judgeable(tmp_path / "a.ome.zarr")
    judgeable[at], foreground[at] = False, True
    write_labels(tmp_path / "a.ome.zarr", foreground, labels, judgeable, None, 1, judgeable.shape)
    assert not is_within_judgeable(tmp_path / "a.ome.zarr")


def test_zarr_and_ome_zarr_tools_read_it(tmp_path):
    path = tmp_path / "a.ome.zarr"
    foreground, labels, _ = write(path, 1100, 1500)
    group = zarr.open_group(path, mode="r")
    images = {"foreground": foreground, "instances": labels, "judgeable": framed(1100, 1500)}
    for name, image in images.items():
        for level in range(4):
            array = group[f"labels/{name}/{level}"]
            np.testing.assert_array_equal(array[:], image[:: 2**level, :: 2**level])
            assert array.dtype == (np.int32 if name == "instances" else np.uint8)
            assert max(array.chunks) <= 1024
    assert Image.from_zarr(group).labels is not None
    label = ImageLabel.from_zarr(group["labels/instances"])
    assert label.ome_attributes.image_label.source.image == "../../"
    shapes = [node.data[0].shape for node in Reader(parse_url(path))() if node.data]
    assert shapes == [(1100, 1500)] * 4  # the root's image, and its overlays


@pytest.mark.parametrize(
    ("pixel_size_um", "unit", "scale", "shift"),
    [(0.5, "micrometer", [1.0, 2.0, 4.0], [0.25, 0.75, 1.75]), (None, None, [2, 4, 8], [0.5, 1.5, 3.5])],
    ids=["known", "unknown: in native pixels, without a unit"],
)
def test_scale_places_each_level_over_the_native_pixels(tmp_path, pixel_size_um, unit, scale, shift):
    write(tmp_path / "a.ome.zarr", 600, 600, pixel_size_um=pixel_size_um)
    for at in ("", "labels/foreground", "labels/instances", "labels/judgeable"):
        described = zarr.open_group(tmp_path / "a.ome.zarr" / at, mode="r").attrs["ome"]["multiscales"][0]
        transforms = [d["coordinateTransformations"] for d in described["datasets"]]
        assert [t[0]["scale"][0] for t in transforms] == scale
        assert [t[1]["translation"][1] for t in transforms] == shift
        assert {axis.get("unit") for axis in described["axes"]} == {unit}


def test_same_masks_same_bytes(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.ome.zarr")
    assert labels_sha256(tmp_path / "1" / "a.ome.zarr") == labels_sha256(tmp_path / "2" / "a.ome.zarr")
    write(tmp_path / "2" / "a.ome.zarr", seed=1)
    assert labels_sha256(tmp_path / "1" / "a.ome.zarr") != labels_sha256(tmp_path / "2" / "a.ome.zarr")


@pytest.mark.parametrize("image_shape", [(10, 13), (11, 13), (10, 12)], ids=["both odd", "dropped row", "exact"])
def test_to_native_covers_every_native_pixel(image_shape):
    """Binning by 3 may drop or keep a rest; every native pixel gets the working pixel it lies in, or the last."""
    working = np.arange(1, 3 * 4 + 1, dtype=np.int32).reshape(3, 4)
    native = to_native(working, 3, image_shape)
    assert native.shape == image_shape
    for y, x in np.ndindex(*image_shape):
        assert native[y, x] == working[min(y // 3, 2), min(x // 3, 3)]


def test_to_native_refuses_another_image():
    with pytest.raises(InvalidArgumentError, match="do not belong to an image"):
        to_native(np.zeros((3, 4), np.int32), 3, (20, 12))


# ---------------------------------------------------------------- tile by tile


def regions(shape, side):
    """Regions of so many pixels a side that cover a shape, row by row."""
    for y0 in range(0, shape[0], side):
        for x0 in range(0, shape[1], side):
            yield Region(y0, min(y0 + side, shape[0]), x0, min(x0 + side, shape[1]))


@pytest.mark.parametrize("shape", [(2100, 1030), (1024, 2048), (300, 40)], ids=["ragged", "exact", "one chunk"])
@pytest.mark.parametrize("chunks_per_side", [1, 3])
def test_tiles_in_any_order_give_the_bytes_of_the_whole(tmp_path, shape, chunks_per_side):
    foreground, labels = masks(*shape)
    judgeable = framed(*shape, 15)
    (tmp_path / "whole").mkdir()
    whole = write_labels(tmp_path / "whole" / "a.ome.zarr", foreground, labels, judgeable, 0.65, 1, shape)
    with LabelsWriter(tmp_path / "a.ome.zarr", shape, 0.65, 1, shape) as writer:
        for region in reversed(list(regions(shape, 1024 * chunks_per_side))):
            part = np.s_[region.y0 : region.y1, region.x0 : region.x1]
            writer.write_tile(region, foreground[part], None, None)
            writer.write_tile(region, None, None, judgeable[part])
            writer.write_tile(region, None, labels[part], None)
            np.testing.assert_array_equal(writer.read_foreground(region), foreground[part])
    assert labels_sha256(tmp_path / "a.ome.zarr") == whole
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_a_forgotten_tile_is_named_and_nothing_is_left(tmp_path):
    writer = LabelsWriter(tmp_path / "a.ome.zarr", (1100, 900), None, 1, (1100, 900))
    mask = np.zeros((1024, 900), bool)
    with pytest.raises(InvalidArgumentError, match="1 of 2 chunks of foreground were never written"), writer:
        writer.write_tile(Region(0, 1024, 0, 900), mask, mask.astype(np.int32), mask)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("forgotten", ["foreground", "instances", "judgeable"])
def test_a_forgotten_image_is_named(tmp_path, forgotten):
    mask = np.zeros((9, 9), bool)
    images = {"foreground": mask, "instances": mask.astype(np.int32), "judgeable": mask} | {forgotten: None}
    writer = LabelsWriter(tmp_path / "a.ome.zarr", (9, 9), None, 1, (9, 9))
    with pytest.raises(InvalidArgumentError, match=f"1 of 1 chunks of {forgotten} were never written"), writer:
        writer.write_tile(Region(0, 9, 0, 9), *images.values())


def test_an_error_among_the_tiles_keeps_the_store_of_before(tmp_path):
    *_, digest = write(tmp_path / "a.ome.zarr")
    with pytest.raises(RuntimeError), LabelsWriter(tmp_path / "a.ome.zarr", (9, 9), None, 1, (9, 9)):
        raise RuntimeError
    assert labels_sha256(tmp_path / "a.ome.zarr") == digest
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


@pytest.mark.parametrize("region", [Region(1, 1024, 0, 900), Region(0, 500, 0, 900), Region(0, 1024, 0, 1024)])
def test_unaligned_tiles_are_refused(tmp_path, region):
    writer = LabelsWriter(tmp_path / "a.ome.zarr", (1100, 900), None, 1, (1100, 900))
    with pytest.raises(InvalidArgumentError, match="not aligned to chunks of 1024"):
        writer.write_tile(region, np.zeros(region.shape, bool), None, None)
    writer.abort()


# ---------------------------------------------------------------- whole or not at all


def test_a_store_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "a.ome.zarr", 1100, 1100)
    _, labels, _ = write(tmp_path / "a.ome.zarr", 50, 60, seed=3)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.ome.zarr")[1], labels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


def failing_write(after, code):
    """A stand-in for the file writer that fails as the operating system does, after some files."""

    def write_files(folder, files):
        for n, (name, content) in enumerate(files.items()):
            if n == after:
                raise OSError(code, os.strerror(code))
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    return write_files


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission is denied")],
)
def test_a_disk_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch, code, message):
    monkeypatch.setattr(module, "_write_files", failing_write(5, code))
    with pytest.raises(OutputError, match=f"a.ome.zarr: labels cannot be written: .*{message}") as caught:
        write(tmp_path / "a.ome.zarr")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="its folder does not exist"):
        write(tmp_path / "nowhere" / "a.ome.zarr")
    with pytest.raises(OutputError, match="its folder does not exist"):
        LabelsWriter(tmp_path / "nowhere" / "a.ome.zarr", (9, 9), None, 1, (9, 9))


# ---------------------------------------------------------------- damage


def test_a_hole_is_never_background(tmp_path):
    write(tmp_path / "a.ome.zarr")
    (tmp_path / "a.ome.zarr" / "labels/instances/0/c.0.0").unlink()
    with pytest.raises(InvalidDataError, match=r"chunk labels/instances/0/c\.0\.0 is missing; the store is incomplete"):
        read_labels(tmp_path / "a.ome.zarr")


def test_a_store_of_an_older_version_does_not_pass_for_judged(tmp_path):
    write(tmp_path / "a.ome.zarr")
    shutil.rmtree(tmp_path / "a.ome.zarr" / "labels/judgeable")
    for read in (read_judgeable, is_within_judgeable):
        with pytest.raises(InvalidDataError, match=r"a\.ome\.zarr: it does not say what was judged"):
            read(tmp_path / "a.ome.zarr")
    read_labels(tmp_path / "a.ome.zarr")


def test_damaged_chunk_and_metadata(tmp_path):
    write(tmp_path / "a.ome.zarr")
    chunk = tmp_path / "a.ome.zarr" / "labels/foreground/0/c.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(InvalidDataError, match=r"chunk labels/foreground/0/c\.0\.0"):
        read_labels(tmp_path / "a.ome.zarr")
    (tmp_path / "a.ome.zarr" / "zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(InvalidDataError, match="does not describe labels of this package"):
        read_meta(tmp_path / "a.ome.zarr")
    with pytest.raises(InvalidDataError, match=r"there is no zarr\.json"):
        read_meta(tmp_path)


@pytest.mark.parametrize(
    ("foreground", "labels", "judgeable", "message"),
    [
        (np.zeros((4, 5)), np.zeros((4, 5), np.int32), np.ones((4, 5), bool), "foreground must be bool"),
        (np.zeros((4, 5), bool), np.zeros((4, 5)), np.ones((4, 5), bool), "instances must be int32"),
        (np.zeros((4, 5), bool), np.zeros((5, 4), np.int32), np.ones((4, 5), bool), r"int32 of shape \(4, 5\)"),
        (np.zeros((4, 5), bool), np.zeros((4, 5), np.int32), np.ones((4, 5), np.uint8), "judgeable must be bool"),
        (np.zeros((4, 5), bool), np.zeros((4, 5), np.int32), np.ones((2, 3), bool), "judgeable must be bool"),
        (np.zeros(5, bool), np.zeros(5, np.int32), np.ones(5, bool), "A mask is"),
        (np.zeros((9, 9), bool), np.zeros((9, 9), np.int32), np.ones((9, 9), bool), "do not belong to an image"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, foreground, labels, judgeable, message):
    with pytest.raises(InvalidArgumentError, match=message):
        write_labels(tmp_path / "a.ome.zarr", foreground, labels, judgeable, None, 1, (4, 5))
    assert list(tmp_path.iterdir()) == []


def test_levels_and_regions_that_do_not_exist(tmp_path):
    write(tmp_path / "a.ome.zarr")
    with pytest.raises(InvalidArgumentError, match="level 1 is asked for, it has 0 to 0"):
        read_labels(tmp_path / "a.ome.zarr", 1)
    with pytest.raises(InvalidArgumentError, match="level -1 is asked for"):
        read_judgeable(tmp_path / "a.ome.zarr", -1)
    with pytest.raises(InvalidArgumentError, match="not within the 90 x 130"):
        read_labels(tmp_path / "a.ome.zarr", 0, Region(0, 91, 0, 4))

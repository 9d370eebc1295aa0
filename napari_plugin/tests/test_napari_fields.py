"""Pictures: read whole or piece by piece to the same pixels, kept as long as they fit, read ahead."""

import numpy as np
import pytest
import tifffile

from msc_vision.errors import InvalidDataError
from msc_vision.io.images import content_sha256
from msc_vision.records import FieldScore, PlaneChoice
from napari_msc_vision import fields
from napari_msc_vision.fields import Pictures, check_images, contrast_limits, load_picture
from napari_msc_vision.work import DirectWork


class LaterWork:
    """Keeps jobs until it is told to do them."""

    def __init__(self):
        self.jobs = []

    def submit(self, job, done, failed, *, lane="work"):
        task = _Later(job, done, failed, lane)
        self.jobs.append(task)
        return task

    def do(self):
        jobs, self.jobs = self.jobs, []
        for task in jobs:
            if not task.is_cancelled:
                task.do()

    def close(self):
        pass


class _Later:
    def __init__(self, job, done, failed, lane):
        self.job, self.done, self.failed, self.lane, self.is_cancelled = job, done, failed, lane, False

    def cancel(self):
        self.is_cancelled = True

    def do(self):
        try:
            answer = self.job()
        except InvalidDataError as err:
            self.failed(err)
        else:
            self.done(answer)


@pytest.fixture
def image_files(tmp_path, rng):
    """Return the paths of five images of 512 x 512 pixels by key a to e."""
    found = {}
    for key in "abcde":
        found[key] = tmp_path / f"{key}.tif"
        tifffile.imwrite(found[key], rng.integers(0, 4000, (512, 512), np.uint16))
    return found


def _fail(err):
    raise err


def _pictures(image_files, work, limit_bytes=10**9):
    return Pictures(work, lambda key: (image_files[key], PlaneChoice()), limit_bytes)


def test_levels_halve_down_to_one_that_fits_a_thumbnail(tmp_path, rng):
    path = tmp_path / "a.tif"
    pixels = rng.integers(0, 4000, (1500, 1100), np.uint16)
    tifffile.imwrite(path, pixels)
    picture = load_picture(path, PlaneChoice())
    assert [level.shape for level in picture.levels] == [(1500, 1100), (750, 550), (375, 275)]
    np.testing.assert_array_equal(picture.levels[0], pixels)
    assert picture.levels[1][0, 0] == pytest.approx(pixels[:2, :2].mean(), abs=1)


def test_a_large_picture_shows_the_pixels_of_its_file(tmp_path, rng, monkeypatch):
    """As if 4 megapixels were large: the finest level is read block by block, and holds the same pixels."""
    monkeypatch.setattr(fields, "WHOLE_PX", 1000 * 1000)
    monkeypatch.setattr(fields, "_LARGEST_KEPT_PX", 1024)
    path = tmp_path / "large.tif"
    pixels = rng.integers(0, 4000, (2050, 1900), np.uint16)
    tifffile.imwrite(path, pixels, tile=(256, 256))
    picture = load_picture(path, PlaneChoice())
    assert not isinstance(picture.levels[0], np.ndarray)
    np.testing.assert_array_equal(np.asarray(picture.levels[0][1000:1100, 900:1000]), pixels[1000:1100, 900:1000])
    assert picture.levels[1].shape == (1025, 950)
    kept = sum(level.nbytes for level in picture.levels if isinstance(level, np.ndarray))
    assert picture.n_bytes == kept < pixels.nbytes


def test_pictures_asked_for_longest_ago_go_first(image_files):
    one = load_picture(image_files["a"], PlaneChoice()).n_bytes
    pictures = _pictures(image_files, DirectWork(), limit_bytes=3 * one)
    for key in "abcad":
        pictures.fetch(key, lambda _: None, _fail)
    assert [key for key in "abcde" if pictures.get(key) is not None] == ["a", "c", "d"]
    assert pictures.n_bytes <= 3 * one


def test_a_picture_read_ahead_is_there_at_once(image_files):
    work, came = LaterWork(), []
    pictures = _pictures(image_files, work)
    pictures.prefetch(["b", "c"])
    work.do()
    pictures.fetch("b", came.append, _fail)
    assert len(came) == 1
    assert not work.jobs


def test_asking_for_a_picture_gives_up_those_read_ahead(image_files):
    work = LaterWork()
    pictures = _pictures(image_files, work)
    pictures.prefetch(["b", "c"])
    pictures.fetch("a", lambda _: None, _fail)
    work.do()
    assert [key for key in "abc" if pictures.get(key) is not None] == ["a"]


def test_a_missing_picture_is_told_to_who_asked_and_not_to_who_reads_ahead(image_files):
    image_files["a"].unlink()
    pictures, told = _pictures(image_files, DirectWork()), []
    pictures.prefetch(["a"])
    pictures.fetch("a", lambda _: None, told.append)
    assert [str(err) for err in told] == [f"{image_files['a']}: there is no such file."]


def test_limits_of_a_flat_picture_are_not_one_value():
    low, high = contrast_limits(np.full((4, 4), 7, np.uint8))
    assert low < high
    assert contrast_limits(np.full((4, 4), np.nan, np.float32)) == (0.0, 1.0)


def test_moved_images_are_known_by_their_content(tmp_path, image_files):
    score = FieldScore("a", "a.tif", "scored", image_sha256=content_sha256(image_files["a"]))
    check_images([score], tmp_path)
    with pytest.raises(InvalidDataError, match=r"does not hold a\.tif: choose the folder that does"):
        check_images([score], tmp_path / "elsewhere")
    whole = FieldScore("a", str(image_files["a"]), "scored", image_sha256="0")
    with pytest.raises(InvalidDataError, match="names whole paths: put the images back to"):
        check_images([whole], tmp_path)
    image_files["b"].replace(image_files["a"])
    with pytest.raises(InvalidDataError, match="is not the picture that the run was made from"):
        check_images([score], tmp_path)

"""What the shipped network reads on real pictures: cases a biologist knows. Limits are wide; figures are in docs/."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.records import ManifestRow
from msc_vision.segmentation.network.weights import load_model, shipped_models

SHARED = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.shared


def read(name, tmp_path, pixel_size_um=None):
    (image,) = SHARED.glob(name)
    row = ManifestRow(path=str(image), vessel_id="v", vessel_type="t-75", layer=1, pixel_size_um=pixel_size_um)
    return score_field(FieldTask("f", image, row, load_pipeline("default"), tmp_path / "f.ome.zarr", None))


def test_every_shipped_model_is_whole():
    assert "culture-3" in shipped_models()
    for name in shipped_models():
        assert load_model(name).config.id == name


def test_bare_plastic_reads_nothing(tmp_path):
    assert read("wound_cellprofiler_bsd/images/*empty*", tmp_path).confluency_percent < 0.5


@pytest.mark.parametrize(
    "name", ["wound_cellprofiler_bsd/images/*confluent0*", "scratch_bnsreenu_mit/images/*confluent_t9*"]
)
def test_a_full_monolayer_reads_full(name, tmp_path):
    assert read(name, tmp_path).confluency_percent > 97


def test_sparse_spindle_cells_are_found_one_by_one(tmp_path):
    """A picture that the network did not learn from; its mask covers 22.4 % with 69 cells."""
    truth = cv2.imread(str(SHARED / "usiigaci_t98g/masks/usiigaci_set24.png"), cv2.IMREAD_UNCHANGED)
    score = read("usiigaci_t98g/images/usiigaci_set24.png", tmp_path, pixel_size_um=0.867)
    assert score.confluency_percent == pytest.approx(100 * np.mean(truth > 0), abs=2.5)
    assert score.n_objects == pytest.approx(len(np.unique(truth)) - 1, rel=0.25)


def test_an_unknown_pixel_size_is_guessed_from_the_picture(tmp_path):
    score = read("usiigaci_t98g/images/usiigaci_set24.png", tmp_path)
    assert score.quality["guessed_pixel_size_um"] == pytest.approx(0.867, rel=0.5)
    assert score.pixel_size_um is None


def test_a_dense_layer_of_another_kind_is_seen(tmp_path):
    """Stem-cell colonies, stated as 80 % by a tool that is 5 to 15 points low in the middle range."""
    assert 65 < read("ipsc_ccestimate/images/*VIEW10_20150925*", tmp_path).confluency_percent < 95


def test_colonies_whose_pixel_size_is_guessed_far_off_are_flagged(tmp_path):
    """HeLa colonies are the known failure of the guess: 28 % is read as 44 %, but never in silence."""
    assert "pixel-size-doubtful" in read("hela_cellaap/images/*hela_0*", tmp_path).flags

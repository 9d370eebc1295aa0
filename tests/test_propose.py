"""A proposal: one field by other settings, at the size of the masks it is compared with; the run stays as it is."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.propose import ProposalSettings, propose_masks, proposed_pipeline
from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.io.labels import read_labels
from msc_vision.records import ManifestRow
from test_contrast import field as draw_field


@pytest.fixture(scope="module")
def spindles():
    """24 spindles on bare plastic, 700 x 640, 16 bit."""
    return draw_field(np.random.default_rng(11), 24, shape=(700, 640))[0]


@pytest.fixture
def task(tmp_path, spindles):
    return task_for(tmp_path, spindles)


def task_for(folder, image, pixel_size_um=1.24):
    path = folder / "field.tif"
    tifffile.imwrite(path, image)
    row = ManifestRow("field.tif", "V", "t-75", 1, pixel_size_um=pixel_size_um)
    return FieldTask("V-L01", path, row, load_pipeline("contrast"), folder / "run.ome.zarr", folder / "objects.npy")


def test_without_other_settings_a_proposal_is_what_the_run_found(task):
    score = score_field(task)
    foreground, labels, _ = read_labels(task.labels_path)
    proposal = propose_masks(task, ProposalSettings())
    np.testing.assert_array_equal(proposal.masks.cells, labels)
    np.testing.assert_array_equal(proposal.masks.foreground, foreground)
    assert proposal.score == score


def test_nothing_is_written_beside_the_picture(task):
    propose_masks(task, ProposalSettings())
    assert [path.name for path in task.source.parent.iterdir()] == ["field.tif"]


def test_more_debris_is_left_out_when_its_limit_rises(task):
    few = propose_masks(task, ProposalSettings(debris_um2=3000))
    many = propose_masks(task, ProposalSettings(debris_um2=0))
    assert few.score.confluency_percent < many.score.confluency_percent
    assert few.masks.foreground.sum() < many.masks.foreground.sum()


def test_a_lower_limit_between_bare_and_cells_finds_no_less(task):
    covered = [propose_masks(task, ProposalSettings(between=one)).masks.foreground.sum() for one in (0.05, 0.95)]
    assert covered[0] > covered[1]


def test_a_blurred_field_is_refused_with_a_way_out_and_proposed_when_asked(tmp_path, spindles):
    task = task_for(tmp_path, cv2.GaussianBlur(spindles, (0, 0), 9))
    with pytest.raises(UndefinedResultError, match=r"No proposal: The field is out of focus.*whatever the quality"):
        propose_masks(task, ProposalSettings())
    proposal = propose_masks(task, ProposalSettings(gate="whatever the quality"))
    assert proposal.score.status == "scored"
    assert proposal.masks.shape == (700, 640)


def test_a_blank_field_is_refused_whatever_is_asked(tmp_path):
    task = task_for(tmp_path, np.full((200, 200), 900, np.uint16))
    with pytest.raises(UndefinedResultError, match=r"No proposal: .*nothing was imaged"):
        propose_masks(task, ProposalSettings(gate="whatever the quality"))


def test_an_unreadable_picture_is_named(task):
    task.source.write_bytes(b"no picture")
    with pytest.raises(UndefinedResultError, match=r"field\.tif"):
        propose_masks(task, ProposalSettings())


def test_a_stated_pixel_size_gives_areas_and_the_masks_keep_their_size(tmp_path, spindles):
    task = task_for(tmp_path, spindles, pixel_size_um=None)
    assert propose_masks(task, ProposalSettings()).score.field_area_mm2 is None
    proposal = propose_masks(task, ProposalSettings(pixel_size_um=0.5), shape=(700, 640))
    assert proposal.score.working_factor == 2
    assert proposal.score.field_area_mm2 == pytest.approx(700 * 640 * 0.25e-6)
    assert proposal.masks.shape == (700, 640)
    assert proposal.masks.foreground.mean() == pytest.approx(proposal.score.confluency_percent / 100, abs=0.01)


def test_settings_that_do_nothing_are_refused(task):
    with pytest.raises(InvalidArgumentError, match=r"pixel size is known \(1\.24 µm"):
        propose_masks(task, ProposalSettings(pixel_size_um=2))
    with pytest.raises(InvalidArgumentError, match=r"halo_um: the network finds the cells.*method contrast"):
        proposed_pipeline(load_pipeline("default"), ProposalSettings(halo_um=3))


def test_the_network_proposes_cells_where_the_run_had_none_and_contrast_leaves_it_out():
    contrast, default = load_pipeline("contrast"), load_pipeline("default")
    assert proposed_pipeline(contrast, ProposalSettings(method="network")).network == default.network
    assert proposed_pipeline(default, ProposalSettings(method="contrast", halo_um=3)).network is None
    assert proposed_pipeline(default, ProposalSettings()) == default


def test_the_network_names_single_cells(tmp_path, spindles):
    task = task_for(tmp_path, spindles[:300, :300])
    proposal = propose_masks(replace(task, is_described=False), ProposalSettings(method="network"))
    assert proposal.masks.cells.max() > 1
    assert (proposal.masks.foreground == (proposal.masks.cells > 0)).all()

"""Run folder to layers and back: nothing is lost, and labels lie exactly over the pixels that they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from msc_vision.errors import InvalidArgumentError
from msc_vision.imaging.normalise import intensity_scale, to_working
from msc_vision.morphology.orientation import OrientationMap
from msc_vision.records import FieldScore
from msc_vision.review.events import Reviewer, ReviewEvent, Target
from msc_vision.review.masks import FieldMasks
from msc_vision.review.state import FieldReview
from napari_msc_vision import convert
from napari_msc_vision.convert import Finding, Placement

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
PLACEMENTS = st.builds(
    Placement,
    st.just((40, 60)),
    st.sampled_from([1, 2, 3, 4]),
    st.none() | st.floats(0.05, 10),
)
WORDS = st.text("abcdefghij klmno-", min_size=1, max_size=12).map(str.strip).filter(bool)


@st.composite
def field_masks(draw):
    shape = draw(SHAPES)
    numbers = st.integers(0, 2**31 - 1)
    return FieldMasks(
        draw(arrays(bool, shape)),
        draw(arrays(np.int32, shape, elements=numbers)),
        draw(arrays(bool, shape)),
        draw(arrays(np.int32, shape, elements=numbers)),
    )


@st.composite
def findings(draw):
    y0, x0 = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    box = (y0, y0 + draw(st.integers(1, 300)), x0, x0 + draw(st.integers(1, 300)))
    return Finding(draw(WORDS), box, draw(WORDS), draw(st.sampled_from(["run", "ada"])), draw(st.booleans()))


@settings(max_examples=40)
@given(field_masks(), PLACEMENTS)
def test_masks_come_back_from_layers_as_they_were(masks, placement):
    assert convert.layers_to_masks(convert.masks_to_layers(masks, placement)).sha256 == masks.sha256


@settings(max_examples=40)
@given(st.lists(findings(), max_size=4), PLACEMENTS)
def test_findings_come_back_from_shapes_as_they_were(found, placement):
    assert convert.layer_to_findings(convert.findings_to_layer(found, placement)) == tuple(found)


@settings(max_examples=30)
@given(findings())
def test_a_place_reads_back_as_it_was_written(found):
    read = convert.parse_place(found.place)
    assert (read.kind, read.box_px) == (found.kind, found.box_px)


def test_a_painted_layer_does_not_change_the_masks_it_came_from(rng):
    masks = FieldMasks(*(np.zeros((5, 5), kind) for kind in (bool, np.int32, bool, np.int32)))
    before = masks.sha256
    for data, _, _ in convert.masks_to_layers(masks, Placement((5, 5))):
        data[2, 2] = 1
    assert masks.sha256 == before


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("pixel_size_um", [None, 0.65])
def test_a_label_pixel_covers_exactly_its_block_of_the_image(factor, pixel_size_um):
    """Binning takes native pixels j*factor … j*factor+factor-1 together; their outer edges are those of the label."""
    placement = Placement((12 * factor, 12 * factor), factor, pixel_size_um)
    for j in (0, 5, 11):
        label_edges = [convert.world_of((j + side, j + side), placement.on_labels) for side in (-0.5, 0.5)]
        first, last = j * factor, j * factor + factor - 1
        image_edges = [
            convert.world_of((first - 0.5, first - 0.5), placement.on_image),
            convert.world_of((last + 0.5, last + 0.5), placement.on_image),
        ]
        np.testing.assert_allclose(label_edges, image_edges, rtol=1e-12)


def test_labels_lie_over_the_pixels_that_the_library_bins(rng):
    """The one working pixel that a bright native block turns bright is the one drawn over that block."""
    native = np.zeros((30, 42), np.uint16)
    native[12:15, 27:30] = 60_000
    working = to_working(native, 3, intensity_scale(native.dtype, (0.0, 0.0)))
    row, column = np.unravel_index(int(working.argmax()), working.shape)
    placement = Placement(native.shape, 3, 0.5)
    assert convert.world_of((row, column), placement.on_labels) == convert.world_of((13, 28), placement.on_image)


def test_without_a_pixel_size_lengths_are_called_pixels():
    assert Placement((4, 4)).unit == "pixel"
    assert Placement((4, 4), 2, 0.65).unit == "micrometer"
    assert Placement((4, 4), 2).on_labels["scale"] == (2.0, 2.0)


def test_a_missing_layer_is_named():
    with pytest.raises(InvalidArgumentError, match="The layer Cells is not in the viewer; open the field again"):
        convert.arrays_to_masks({name: np.zeros((2, 2), int) for name in convert.MASK_LAYERS if name != convert.CELLS})


def _event(action, **content):
    event_id = content.pop("event_id", "e")
    blank = {"before": None, "after": None, "reason_code": None, "reason": None, "follows": None}
    time = "2026-01-01T00:00:00.000000+00:00"
    return ReviewEvent(event_id, "r", time, Reviewer("ada"), action, Target("V", 1, "k"), **blank | content)


def test_findings_of_run_and_reviewer_stand_side_by_side_and_dismissed_ones_say_so():
    score = FieldScore(
        "k", "k.tif", "scored",
        contamination_places=("dots 0:128,640:768",),
        notes=("A bubble of 80 µm hides the surface. It lies in rows 10 to 20, columns 30 to 40.", "No place here."),
    )  # fmt: skip
    review = FieldReview(
        "k",
        findings=(
            _event("finding-dismissed", before={"place": "dots 0:128,640:768"}, reason_code="debris"),
            _event("finding-added", after={"kind": "hyphae", "place": "hyphae 1:2,3:4"}, reason="thin threads"),
        ),
    )
    found = convert.findings_of(score, review)
    assert [(one.kind, one.box_px, one.found_by, one.is_dismissed) for one in found] == [
        ("dots", (0, 128, 640, 768), "run", True),
        ("surface", (10, 20, 30, 40), "run", False),
        ("hyphae", (1, 2, 3, 4), "ada", False),
    ]
    assert convert.finding_features(found)["words"] == ["dots, dismissed", "surface", "hyphae (ada)"]


def test_bars_lie_along_the_cells():
    """Angles are counter-clockwise as the picture is looked at: 90° is up and down, 0° along a row."""
    angle = np.array([[0.0, 90.0], [45.0, np.nan]], np.float32)
    coherency = np.array([[1.0, 1.0], [1.0, np.nan]], np.float32)
    bars = convert.orientation_bars(OrientationMap(angle, coherency, 10))
    np.testing.assert_allclose(bars[:, 1], [(0, 10), (-10, 0), (-(50**0.5), 50**0.5)], atol=1e-5)
    np.testing.assert_allclose(bars[:, 0] + bars[:, 1] / 2, [(4.5, 4.5), (4.5, 14.5), (14.5, 4.5)], atol=1e-5)


def test_a_field_that_could_not_be_read_still_has_a_place():
    masks = FieldMasks(*(np.zeros((5, 6), kind) for kind in (bool, np.int32, bool, np.int32)))
    assert convert.placement_of(FieldScore("k", "k.tif", "failed"), masks) == Placement((5, 6))
    assert convert.placement_of(FieldScore("k", "k.tif", "failed"), masks, (10, 12)) == Placement((10, 12), 2)


@settings(max_examples=40)
@given(arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_outlines_are_those_of_napari(labels):
    """The slow, obvious way: a pixel is at an edge if the largest and the smallest label around it differ."""
    cross = ndimage.generate_binary_structure(2, 1)
    is_edge = ndimage.grey_dilation(labels, footprint=cross) != ndimage.grey_erosion(labels, footprint=cross)
    np.testing.assert_array_equal(convert.outlines(labels), np.where(is_edge, labels, 0))


def test_thick_outlines_run_along_every_edge():
    cells = np.zeros((20, 20), np.int32)
    cells[5:15, 5:10], cells[5:15, 10:15] = 1, 2
    lines = convert.thick_outlines(cells)
    assert lines.dtype == np.uint8
    assert np.flatnonzero(lines[10]).tolist() == [4, 5, 6, 8, 9, 10, 11, 13, 14, 15]
    assert not convert.thick_outlines(np.ones((8, 8), np.int32)).any()

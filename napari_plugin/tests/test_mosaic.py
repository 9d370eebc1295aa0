"""The fields of a layer as one picture: each where the stage stood, none over another, failures with their reason."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidDataError
from msc_vision.records import FieldScore, ManifestRow, PlaneChoice
from msc_vision.review.state import FieldReview, ReviewState
from msc_vision.statistics.rollup import ScoredField
from napari_msc_vision.marks import DISPUTED, STANDINGS, field_mark
from napari_msc_vision.mosaic import HATCH, TILE_PX, draw_mosaic, draw_tile, plan_mosaic, thumbnail

NOBODY = ReviewState()


def field(name, y_um=None, x_um=None, percent=80.0, status="scored", reason=None):
    row = ManifestRow(f"L01/{name}.tif", "A", "t-75", 1, field=name, y_um=y_um, x_um=x_um)
    score = FieldScore(
        name,
        row.path,
        status,
        reason=reason,
        confluency_percent=percent if status == "scored" else None,
        height_px=1000,
        width_px=800,
        pixel_size_um=1.0,
    )
    return ScoredField(row, score)


def test_fields_stand_where_the_stage_stood():
    """Left and right above, one below the left one: as on the layer."""
    fields = [field("a", 0, 0), field("b", 0, 20_000), field("c", 20_000, 0)]
    mosaic = plan_mosaic(fields, NOBODY)
    a, b, c = mosaic.tiles
    assert a.y == b.y < c.y
    assert a.x == c.x < b.x
    assert mosaic.note == "Fields stand where the stage stood, drawn 18 times larger than they are."


def test_neighbouring_fields_are_nearly_to_scale():
    mosaic = plan_mosaic([field("a", 0, 0), field("b", 0, 1000)], NOBODY)
    assert mosaic.note == "Fields stand where the stage stood, drawn nearly to scale."


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([(None, None)] * 3, "The manifest states no stage positions: the fields stand in a grid"),
        ([(0, 0), (0, 9000), (None, None)], "1 of 3 fields have no stage positions: the fields stand in a grid"),
        ([(0, 0), (0, 10), (90_000, 90_000)], "lie too unevenly to be drawn in place: they stand in a grid"),
        ([(5, 5), (5, 5), (9000, 0)], "lie too unevenly"),
    ],
    ids=["no positions", "one without", "two close, one far", "two at one place"],
)
def test_what_cannot_be_drawn_in_place_stands_in_a_grid_and_that_is_said(places, said):
    mosaic = plan_mosaic([field(f"f{i}", *at) for i, at in enumerate(places)], NOBODY)
    assert said in mosaic.note
    assert len({(one.y, one.x) for one in mosaic.tiles}) == 3


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=25),
    st.sampled_from([0.5, 1.0, 1.7]),
)
@settings(max_examples=40)
def test_every_tile_lies_within_the_picture_and_none_over_another(places, aspect):
    fields = [field(f"f{i}", 1000.0 * y, 1000.0 * x) for i, (y, x) in enumerate(places)]
    mosaic = plan_mosaic(fields, NOBODY, aspect)
    height, width = mosaic.shape
    taken = np.zeros(mosaic.shape, int)
    for one in mosaic.tiles:
        assert 0 <= one.y <= height - TILE_PX
        assert 0 <= one.x <= width - TILE_PX
        taken[one.y : one.y + TILE_PX, one.x : one.x + TILE_PX] += 1
        assert mosaic.tile_at(one.y + 3, one.x + TILE_PX - 1) is one
    assert taken.max() == 1
    assert height / width == pytest.approx(aspect, rel=0.02)
    assert [one.key for one in mosaic.tiles] == [one.score.key for one in fields]


def test_between_tiles_there_is_no_field():
    mosaic = plan_mosaic([field("a", 0, 0), field("b", 0, 1000)], NOBODY)
    assert mosaic.tile_at(0, 0) is None


def test_a_layer_without_fields_says_so():
    assert plan_mosaic([], NOBODY).note == "No field of this layer was imaged at the latest time point."


def test_a_failed_field_is_hatched_and_carries_its_reason():
    (tile,) = plan_mosaic([field("a", status="failed", reason="the file is  empty")], NOBODY).tiles
    assert (tile.caption, tile.reason) == ("a   failed", "the file is empty")
    drawn = draw_tile(tile, None)
    assert (drawn == HATCH).all(axis=2).mean() > 0.03
    (plain,) = plan_mosaic([field("a")], NOBODY).tiles
    assert not (draw_tile(plain, None) == HATCH).all(axis=2).any()


def test_a_field_that_a_person_left_out_shows_what_it_had():
    found = field("a", percent=71.6)
    left_out = replace(found, score=replace(found.score, status="rejected", confluency_percent=None, reason="debris"))
    (tile,) = plan_mosaic([left_out], NOBODY, original={"a": found}).tiles
    assert (tile.caption, tile.reason) == ("a   left out, was 72 %", None)


def test_standings_differ_by_letter_by_word_and_by_line_or_colour():
    marks = [*STANDINGS.values(), DISPUTED]
    assert len({one.letter for one in marks}) == len({one.word for one in marks}) == len(marks)
    assert len({(one.line, one.colour) for one in marks}) == len(marks)


def test_a_border_shows_how_the_review_stands():
    drawn = {}
    for standing in STANDINGS:
        state = ReviewState({"a": FieldReview("a", standing)})
        (tile,) = plan_mosaic([field("a")], state).tiles
        picture = draw_tile(tile, np.full((TILE_PX, TILE_PX), 90, np.uint8))
        assert (picture[-1] == tile.mark.colour).all(axis=1).any()
        drawn[standing] = picture.tobytes()
    assert len(set(drawn.values())) == len(STANDINGS)
    assert field_mark(FieldReview("a", "rejected", is_disputed=True)) is DISPUTED


def test_a_picture_keeps_its_shape_within_its_tile():
    """A picture half as wide as high leaves both sides of its tile empty."""
    (tile,) = plan_mosaic([field("a")], NOBODY).tiles
    picture = draw_tile(tile, np.full((TILE_PX, TILE_PX // 2), 250, np.uint8))
    middle = picture[TILE_PX // 2, :, 0]
    assert (middle == 250).sum() == TILE_PX // 2


def test_the_mosaic_is_there_before_any_picture_is_read():
    mosaic = plan_mosaic([field("a", 0, 0), field("b", 0, 1000)], NOBODY)
    assert draw_mosaic(mosaic, {}).shape == (*mosaic.shape, 3)


def test_a_thumbnail_is_small_and_uses_all_greys(tmp_path):
    pixels = np.tile(np.linspace(1000, 1200, 600).astype(np.uint16), (900, 1))
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    found = thumbnail(tmp_path / "a.tif", PlaneChoice())
    assert (found.shape, found.dtype) == ((256, 171), np.uint8)
    assert (found.min(), found.max()) == (0, 255)


def test_a_picture_that_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidDataError, match=r"gone\.tif"):
        thumbnail(tmp_path / "gone.tif", PlaneChoice())

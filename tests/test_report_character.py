"""What the page of a run says beyond confluency: drift, aggregates, signs, density, and what the cells look like."""

import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msc_vision.batch.store import layers_columns
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.labels import write_labels
from msc_vision.morphology.baseline import ProfiledField, make_baseline
from msc_vision.morphology.orientation import OrientationMap
from msc_vision.morphology.profile import ProfileTrait
from msc_vision.report.appearance import fill_appearance, suspect_pictures
from msc_vision.report.cells import CELLS_MIN, FIGURES, Cells, deviating_cells, medians
from msc_vision.report.character import character_rows, drift_said, signs_said
from msc_vision.report.crops import crop_region, place_box
from msc_vision.report.distributions import WIDTH_PX, draw_distributions, shares_percent, to_px
from msc_vision.report.gallery import Gallery
from msc_vision.report.load import _character, load_run
from msc_vision.report.orientation import BARS_PER_SIDE, bars_path, middle_of, thinned
from msc_vision.report.page import render_run, write_run_report
from msc_vision.report.pictures import AGGREGATE, FOUND, found_overlay
from msc_vision.statistics.character import Character
from test_drift import CONTEXT, ORIGIN, QUICK
from test_report import HOSTILE, content, field, layer, page_of

PLAIN = Character(
    n_fields=3,
    drift_state="no baseline",
    drift_reason="no baseline was given",
    drift_score=None,
    drift_interval=None,
    drift_probability=None,
    drift_alarm=None,
    drift_words=(),
    aggregates_per_cm2=0.0,
    aggregate_area_percent=0.0,
    contamination="no visual sign",
    n_fields_assessed=3,
    n_fields_suspect=0,
    n_fields_suddenly_hazy=0,
    density_per_cm2=10_117.3,
    density_state="counted",
    density_reason=None,
)
DRIFTED = replace(
    PLAIN,
    drift_state="compared",
    drift_reason=None,
    drift_score=2.31,
    drift_interval=(1.84, 2.71),
    drift_probability=0.0000004,
    drift_alarm=True,
    drift_words=("cells 1.4 times as wide on average", "cells 1.3 times as large on average"),
)
SIGNS = {"contamination": "no visual sign"}


def test_fields_that_turned_hazy_are_told():
    said = signs_said(replace(PLAIN, contamination="suspect", n_fields_suddenly_hazy=2), was_looked=True)
    assert (said.text, said.is_alarm) == ("suspect", True)
    assert said.detail.endswith("2 turned hazy since they were last pictured")


def test_a_place_reads_back_as_a_run_writes_it():
    assert place_box("dots 0:128,640:768") == ("dots", (0, 128, 640, 768))


def said_of(found, **changes):
    """Return the page of a vessel with one layer of this character."""
    entry = layer(1, field(1, **SIGNS | changes), character=found)
    return page_of(content(entry))[0].text


# --- the table -------------------------------------------------------------------------------------------------------


def test_drift_is_told_with_interval_chance_and_what_changed():
    text = said_of(DRIFTED)
    assert "drifted, score 2.3 (1.8 – 2.7)" in text
    assert "Cells 1.4 times as wide on average; cells 1.3 times as large on average." in text
    assert "Chance of this without drift below 0.001." in text


def test_no_drift_is_no_alarm():
    calm = replace(DRIFTED, drift_alarm=False, drift_probability=0.42, drift_score=0.0, drift_words=())
    said = drift_said(calm)
    assert (said.text, said.detail) == ("no drift shown, score 0 (1.8 – 2.7)", "Chance of this without drift 0.42.")
    assert not said.is_alarm
    assert "Many small changes" in drift_said(replace(DRIFTED, drift_words=())).detail


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("no baseline", "no baseline was given", "no baseline"),
        ("not comparable", "objective is '4x'", "not comparable objective is '4x'"),
        ("not measured", "too few cells", "not measured too few cells"),
    ],
)
def test_a_drift_without_a_figure_says_why(state, reason, expected):
    found = replace(PLAIN, drift_state=state, drift_reason=reason)
    assert expected in said_of(found)
    assert not drift_said(found).is_alarm


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aggregates_per_cm2": 0.0}, "none found in 3 fields"),
        ({"aggregates_per_cm2": 12.345, "aggregate_area_percent": 1.23}, "12.3 per cm² 1.2 % of the judged area"),
        ({"aggregates_per_cm2": 0.0, "aggregate_area_percent": 0.5}, "0 per cm² 0.5 % of the judged area"),
        ({"aggregates_per_cm2": None, "aggregate_area_percent": None}, "not measured"),
        ({"aggregates_per_cm2": None}, "none found in 3 fields"),
        (
            {"aggregates_per_cm2": None, "aggregate_area_percent": 2.0},
            "2 % of the judged area not per cm²: no pixel size is known",
        ),
    ],
    ids=["none", "some", "only on the border", "nobody looked", "none, no pixel size", "some, no pixel size"],
)
def test_aggregates_in_words(changes, expected):
    assert expected in said_of(replace(PLAIN, **changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "10,100 per cm² counted"),
        ({"density_state": "calibrated"}, "10,100 per cm² calibrated: read off the confluency"),
        ({"density_state": "not known", "density_per_cm2": None, "density_reason": "no counts"}, "not known no counts"),
    ],
)
def test_density_says_how_it_is_known(changes, expected):
    assert expected in said_of(replace(PLAIN, **changes))


def test_signs_keep_their_locked_words():
    suspect = replace(PLAIN, contamination="suspect", n_fields_suspect=1)
    blind = replace(PLAIN, contamination="not assessable", n_fields_assessed=0)
    assert [signs_said(one, was_looked=True).text for one in (suspect, PLAIN, blind)] == [
        "suspect", "no visual sign", "not assessable",
    ]  # fmt: skip
    assert signs_said(suspect, was_looked=True).is_alarm
    assert signs_said(blind, was_looked=False).text == "not measured"


def test_evidence_for_suspect_contamination_stands_before_the_vessels():
    note = "Visual sign of dots: 217 per mm², limit 190 per mm²."
    seen = field(1, contamination="suspect", contamination_note=note)
    page, html = page_of(content(layer(1, seen, field(2, **SIGNS), character=PLAIN)))
    assert "Visual signs of contamination: suspect (1)" in page.text
    assert note in page.text
    assert html.index(note) < html.index("Layer by layer")
    assert "suspect (" not in said_of(PLAIN)


def test_fields_that_could_not_be_assessed_are_counted_by_reason():
    blind = {"contamination": "not assessable", "contamination_note": "Too little bare surface."}
    page, _ = page_of(content(layer(1, field(1, **blind), field(2, **blind), character=PLAIN)))
    assert "Not assessable: 2 × Too little bare surface." in page.text


def test_a_note_from_a_file_is_never_markup():
    seen = field(1, contamination="suspect", contamination_note=HOSTILE)
    page, html = page_of(content(layer(1, seen, character=replace(DRIFTED, drift_words=(HOSTILE,)))))
    assert page.text.count(HOSTILE) == 2
    assert "<img" not in html


def test_a_run_of_an_older_version_says_not_measured():
    text = page_of(content(layer(1, field(1))))[0].text
    assert text.count("not measured") == 4


def test_the_vessel_has_a_row_of_its_own_only_where_several_layers_were_seen():
    two = content(
        layer(1, field(1), character=PLAIN), layer(2, field(2, 2), character=PLAIN), layer(3, state="missing")
    )
    two = replace(two, vessels=(replace(two.vessels[0], character=DRIFTED),))
    assert [row.where for row in character_rows(two.vessels[0])] == ["measured layers", "layer 2", "layer 1"]
    assert character_rows(two.vessels[0])[0].drift.is_alarm
    assert [row.where for row in character_rows(content(layer(1, field(1))).vessels[0])] == ["layer 1"]


def test_what_the_store_writes_is_read_back():
    row = {name: getattr(DRIFTED, name) for name in layers_columns() if hasattr(DRIFTED, name)}
    row |= {"drift_interval": list(DRIFTED.drift_interval), "drift_words": list(DRIFTED.drift_words)}
    assert _character(row, 3) == DRIFTED
    older = {name: value for name, value in row.items() if not name.startswith("spread_")}
    assert _character(older, 3) == DRIFTED
    assert _character({"layer": 1}, 3) is None
    assert _character(None, 3) is None


# --- cells -----------------------------------------------------------------------------------------------------------


def cells_of(values, weights=None):
    """Cells with these figures (n, 3), in one field."""
    values = np.asarray(values, np.float64)
    n = len(values)
    weights = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    return Cells(np.array(["f1"] * n, object), np.arange(1, n + 1), np.zeros((n, 4), np.int64), weights, values)


def alike(rng, n=60):
    """Cells of 5 times as long as wide, 2000 µm² and 20 µm wide, within some tenth."""
    return np.exp(np.log([5.0, 2000.0, 20.0]) + 0.1 * rng.standard_normal((n, 3)))


def test_a_giant_and_a_dwarf_are_found_first_and_told_by_their_area():
    values = alike(np.random.default_rng(1))
    values[7, 1] *= 8
    values[9, 1] /= 8
    found = deviating_cells(cells_of(values), 2)
    assert {one.index for one in found} == {7, 9}
    assert {FIGURES[one.figure].column for one in found} == {"area_um2"}
    assert sorted(round(math.log2(one.over_middle[1])) for one in found) == [-3, 3]


def test_both_kinds_of_outliers_are_shown_even_where_one_is_more_extreme():
    values = alike(np.random.default_rng(2), 200)
    values[:20, 1] /= 50
    values[20:30, 1] *= 4
    ratios = [one.over_middle[one.figure] for one in deviating_cells(cells_of(values), 12)]
    assert sum(ratio > 1 for ratio in ratios) == 6
    assert len(ratios) == 12


def test_a_population_that_changed_as_a_whole_is_far_from_the_baseline_only():
    values = alike(np.random.default_rng(3))
    values[:, 2] *= 2
    expected = np.array([5.0, 2000.0, 20.0])
    (found,) = deviating_cells(cells_of(values), 1, expected)
    assert FIGURES[found.figure].column == "width_um"
    assert found.over_middle[2] == pytest.approx(values[found.index, 2] / 20)


def test_too_few_or_equal_cells_have_no_outliers():
    assert deviating_cells(cells_of(alike(np.random.default_rng(0), CELLS_MIN - 1)), 12) == ()
    assert deviating_cells(cells_of(np.tile([5.0, 2000.0, 20.0], (40, 1))), 12) == ()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(30)))
def test_the_order_of_the_rows_does_not_count(seed, order):
    cells = cells_of(alike(np.random.default_rng(seed), 30))
    shuffled = Cells(*(getattr(cells, name)[list(order)] for name in Cells.__slots__))
    labels = [cells.labels[one.index] for one in deviating_cells(cells, 5)]
    assert labels == [shuffled.labels[one.index] for one in deviating_cells(shuffled, 5)]


def test_a_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(4)
    values = np.sort(rng.random((301, 1)), axis=0)
    times = np.arange(1, 302)
    (found,) = medians(values, times.astype(float))
    assert found == pytest.approx(float(np.median(np.repeat(values, times, axis=0))), abs=0.01)
    assert found > np.median(values) + 0.1


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(0.1, 5)), min_size=1, max_size=40))
def test_bins_hold_every_cell_once(cells):
    values, weights = np.array(cells).T
    for figure in FIGURES:
        assert shares_percent(figure, values, weights).sum() == pytest.approx(100)


@given(st.floats(1e-6, 1e9))
def test_nothing_is_drawn_outside_the_axis(value):
    assert all(0 <= to_px(figure, value) <= WIDTH_PX for figure in FIGURES)


def test_an_axis_is_logarithmic_and_begins_and_ends_at_its_ends():
    for figure in FIGURES:
        assert to_px(figure, figure.low) == 0
        assert to_px(figure, figure.high) == pytest.approx(WIDTH_PX)
        assert to_px(figure, math.sqrt(figure.low * figure.high)) == pytest.approx(WIDTH_PX / 2)


# --- against a baseline ----------------------------------------------------------------------------------------------

TRAITS = tuple(ProfileTrait(f"cells_{one.column}_mean", "ratio", "x {}") for one in FIGURES)


@pytest.fixture(scope="module")
def baseline():
    """90 fields of six vessels whose cells are as `alike`, at any confluency."""
    rng = np.random.default_rng(5)
    means = np.log([5.0, 2000.0, 20.0])
    fields = [
        ProfiledField(
            f"B{v}_{i}", f"B{v}", 1 + i % 3, rng.uniform(30, 90), 1.3, CONTEXT,
            dict(zip([t.name for t in TRAITS], means + 0.1 * rng.standard_normal(3), strict=True)),
        )
        for v in range(6) for i in range(15)
    ]  # fmt: skip
    return make_baseline(ORIGIN, fields, TRAITS, QUICK)


def compared_vessel(character=DRIFTED):
    """A vessel of two fields whose cells are 1.5 times as wide as the baseline's."""
    profile = dict(zip([t.name for t in TRAITS], np.log([5.0, 2000.0, 30.0]).tolist(), strict=True))
    run = content(layer(1, field(1, morphology=profile), field(2, morphology=profile), character=character))
    return replace(run.vessels[0], character=character)


def test_the_band_of_a_baseline_lies_where_its_fields_do(baseline):
    drawn = draw_distributions(cells_of(alike(np.random.default_rng(6))), compared_vessel(), baseline)
    for figure, one, mean in zip(FIGURES, drawn, (5.0, 2000.0, 20.0), strict=True):
        assert one.band.middle == pytest.approx(to_px(figure, mean), abs=4)
        assert one.band.low == pytest.approx(to_px(figure, mean * math.exp(-0.196)), abs=6)
    assert [dot.x for dot in drawn[2].dots] == pytest.approx([to_px(FIGURES[2], 30.0)] * 2)
    assert drawn[2].dots[0].x > drawn[2].band.high


def test_a_vessel_that_was_not_compared_is_shown_alone(baseline):
    cells = cells_of(alike(np.random.default_rng(6)))
    apart = compared_vessel(replace(PLAIN, drift_state="not comparable"))
    assert all(one.band is None for one in draw_distributions(cells, apart, baseline))
    assert all(one.band is None for one in draw_distributions(cells, compared_vessel(), None))


# --- pictures --------------------------------------------------------------------------------------------------------


def compass(angle, shape=(8, 8), coherency=0.5):
    return OrientationMap(np.full(shape, angle, np.float32), np.full(shape, coherency, np.float32), 16)


def bars_in(path):
    """Return dx, dy of every bar of a path."""
    return np.array([[float(a), float(b)] for a, b in re.findall(r"l(\S+) (-?[\d.]+)", path)])


@pytest.mark.parametrize(
    ("angle", "direction"),
    [(0, (1, 0)), (90, (0, -1)), (45, (1, -1)), (135, (-1, -1))],
    ids=["along the rows", "along the columns", "to the upper right", "to the upper left"],
)
def test_bars_point_along_the_cells_as_the_picture_is_looked_at(angle, direction):
    bars = bars_in(bars_path(compass(angle), scale=1.0))
    wanted = np.array(direction) / np.hypot(*direction)
    assert len(bars) == 64
    np.testing.assert_allclose(bars / np.hypot(*bars.T)[:, None], np.tile(wanted, (64, 1)), atol=0.02)


def test_bars_of_a_bare_field_are_none_and_stronger_order_is_longer():
    assert bars_path(compass(math.nan, coherency=math.nan), 1.0) == ""
    weak, strong = (np.hypot(*bars_in(bars_path(compass(30, coherency=c), 1.0)).T).max() for c in (0.2, 0.9))
    assert weak < strong <= 16


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 200), st.floats(0, 179))
def test_thinning_keeps_a_common_direction_and_bounds_the_bars(height, width, angle):
    few = thinned(compass(angle, (height, width)), BARS_PER_SIDE)
    assert max(few.angle_degrees.shape) <= BARS_PER_SIDE
    known = few.angle_degrees[np.isfinite(few.angle_degrees)]
    assert (np.abs((known - angle + 90) % 180 - 90) < 0.01).all()
    assert np.nan_to_num(few.coherency, nan=0.5) == pytest.approx(0.5)


def test_opposite_directions_do_not_become_their_mean():
    halves = compass(5, (2, 80))
    halves.angle_degrees[:, 1::2] = 175
    few = thinned(halves, 40)
    assert (np.abs((few.angle_degrees + 90) % 180 - 90) < 0.01).all()  # 5 and 175 degrees lie around 0, not around 90


@settings(max_examples=40)
@given(st.tuples(st.integers(10, 300), st.integers(10, 300)), st.tuples(*[st.floats(0, 1)] * 4), st.floats(0, 400))
def test_a_crop_lies_in_the_field_and_holds_its_cell(shape, corners, least):
    y0, y1 = sorted(corner * shape[0] for corner in corners[:2])
    x0, x1 = sorted(corner * shape[1] for corner in corners[2:])
    region = crop_region((y0, y1, x0, x1), shape, least)
    assert 0 <= region.y0 < region.y1 <= shape[0]
    assert 0 <= region.x0 < region.x1 <= shape[1]
    assert region.y0 <= y0 + 1 and y1 - 1 <= region.y1
    assert region.x0 <= x0 + 1 and x1 - 1 <= region.x1


def test_the_middle_of_a_large_field_is_shown():
    assert middle_of((900, 700)).shape == (900, 700)
    assert (middle_of((4096, 900)).y0, middle_of((4096, 900)).y1) == (1024, 3072)


def test_aggregates_have_their_own_outline_and_hide_those_of_cells_within():
    cells, piled = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    cells[5:15, 5:15] = cells[30:40, 30:40] = True
    piled[25:50, 25:50] = True
    overlay = found_overlay(cells, None, piled)
    assert overlay[5, 8] == FOUND
    assert overlay[25, 30] == AGGREGATE
    assert not (overlay[27:48, 27:48] == FOUND).any()


# --- a whole run -----------------------------------------------------------------------------------------------------

SIDE = 512


def stored(folder, *, has_shapes=True, n_cells=40):
    """A field of 512 x 512 with upright stripes and a table of 40 cells on it, as a run stores them."""
    x = np.arange(SIDE)
    pixels = (2000 + 300 * np.sin(x / 3) + 0 * x[:, None]).astype(np.uint16)
    tifffile.imwrite(folder / "a.tif", pixels)
    labels = np.zeros((SIDE, SIDE), np.int32)
    rows = []
    for i in range(n_cells):
        y, x0 = 60 * (i // 8) + 10, 60 * (i % 8) + 10
        high = 48 if i == 3 else 20
        labels[y : y + high, x0 : x0 + 20] = i + 1
        rows.append((y, y + high, x0, x0 + 20, (1990.0 + i % 5 * 5) * high / 20))
    aggregates = np.zeros_like(labels)
    aggregates[400:480, 400:480] = 1
    judged = np.ones((SIDE, SIDE), bool)
    write_labels(folder / "a.ome.zarr", labels > 0, labels, judged, 1.3, 1, labels.shape, aggregates)
    rng = np.random.default_rng(7)
    table = {"key": ["f1"] * n_cells, "label": np.arange(1, n_cells + 1)}
    table |= {name: [row[i] for row in rows] for i, name in enumerate(("y0_px", "y1_px", "x0_px", "x1_px", "area_um2"))}
    if has_shapes:
        table |= {"kind": ["cell"] * n_cells, "is_measured": [True] * n_cells, "border_weight": np.ones(n_cells)}
        table |= {"medial_aspect_ratio": rng.uniform(4, 6, n_cells), "width_um": rng.uniform(18, 22, n_cells)}
    part = folder / "objects.parquet" / "vessel_id=V1" / "layer=1" / "part-0.parquet"
    part.parent.mkdir(parents=True)
    pq.write_table(pa.table(table), part)
    entry = field(
        1, key="f1", image=folder / "a.tif", labels=folder / "a.ome.zarr", pixel_size_um=1.3,
        morphology={"order_100um": 0.7}, aggregate_area_percent=2.0, **SIGNS,
    )  # fmt: skip
    return replace(content(layer(1, entry, character=PLAIN)), folder=folder)


def test_the_appearance_of_a_run_is_read_from_its_files(tmp_path):
    run = stored(tmp_path)
    look = fill_appearance(run)["V1"]
    assert look.note.startswith("40 cells of 1 field")
    assert len(look.distributions) == 3
    assert "no. 4" in look.deviating[0].detail
    assert look.deviating[0].heading == "Area 2.4 × the median"
    bars = bars_in(look.directions[0].picture.strokes)
    assert (np.abs(bars[:, 1]) > 5 * np.abs(bars[:, 0])).all()  # the stripes stand upright
    assert "aggregates on 2 % of the judged area" in look.aggregates[0].detail
    overlay = np.asarray(Image.open(BytesIO(b64decode(look.aggregates[0].picture.overlay.partition("base64,")[2]))))
    assert overlay[400, 440] == AGGREGATE
    page, html = page_of(run)
    assert "Shape of the cells" not in page.text
    html = render_run(run, Gallery(), {"V1": look})
    for words in ("Shape of the cells", "Cells furthest from the others", "How the cells lie", "Aggregates"):
        assert words in html
    assert "script" not in html
    assert len(html) < 500_000


def test_tables_of_an_older_version_have_no_shapes_and_that_is_said(tmp_path):
    look = fill_appearance(stored(tmp_path, has_shapes=False))["V1"]
    assert look.note == "Shape of cells: not measured in this run."
    assert not look.distributions


def test_cells_of_other_fields_and_unmeasured_ones_do_not_count(tmp_path):
    run = stored(tmp_path)
    part = next(tmp_path.rglob("*.parquet/*/*/*.parquet"))
    table = pq.ParquetFile(part).read().to_pydict()
    table["key"][0] = "earlier"
    table["is_measured"][1] = False
    table["kind"][2] = "aggregate"
    table["width_um"][5] = math.nan
    pq.write_table(pa.table(table), part)
    assert fill_appearance(run)["V1"].note.startswith("36 cells of 1 field")


def test_without_a_pixel_size_no_cell_is_measured_and_that_is_said(tmp_path):
    run = stored(tmp_path)
    part = next(tmp_path.rglob("*.parquet/*/*/*.parquet"))
    table = pq.ParquetFile(part).read().to_pydict()
    pq.write_table(pa.table(table | {"is_measured": [False] * 40}), part)
    assert "no cell lies wholly and free" in fill_appearance(run)["V1"].note
    (entry,) = run.vessels[0].layers[0].fields
    unsized = content(layer(1, replace(entry, pixel_size_um=None), character=PLAIN), folder=tmp_path)
    look = fill_appearance(unsized)["V1"]
    assert look.note == "Shape of cells: not measured, because no pixel size is known."
    assert look.directions == ()


def test_a_suspect_field_is_shown_with_its_evidence(tmp_path):
    (entry,) = stored(tmp_path).fields
    entry = replace(entry, contamination="suspect", contamination_note="Visual sign of dots.")
    (shown,) = suspect_pictures([entry])
    assert (shown.heading, shown.detail) == ("suspect", "Visual sign of dots.")
    html = render_run(content(layer(1, entry, character=PLAIN)), Gallery(), {}, (shown,))
    assert html.index(shown.picture.image) < html.index("Layer by layer")


def test_a_missing_image_costs_the_pictures_and_nothing_else(tmp_path):
    run = stored(tmp_path)
    (tmp_path / "a.tif").unlink()
    look = fill_appearance(run)["V1"]
    assert len(look.distributions) == 3
    assert look.deviating == look.directions == look.aggregates == ()


def run_folder_of(folder, baseline_sha256=None):
    """The least that a run folder holds to be shown, as an older version wrote it: no column beyond confluency."""
    settings_said = {
        "plane": {}, "pipeline": {"content": {"name": "contrast"}, "sha256": "0" * 64},
        "optics_profile": "standard", "manifest": {"sha256": "0" * 64},
    }  # fmt: skip
    if baseline_sha256:
        settings_said["baseline"] = {"id": "mcb-7", "version": 1, "sha256": baseline_sha256}
    record = {
        "state": "done", "run_id": "r", "images_folder": str(folder), "settings": settings_said,
        "software": {"name": "msc-vision", "version": "0"},
        "environment": {"packages": {}, "python": "3", "platform": "x", "machine": "y"},
        "timing": {"started_at": "2026-11-22T00:00:00+00:00", "finished_at": None, "elapsed_s": 1.0, "n_attempts": 1},
        "settings_sha256": "0", "hashes_sha256": "0",
    }  # fmt: skip
    record["timing"]["finished_at"] = record["timing"]["started_at"]
    (folder / "run.json").write_text(json.dumps(record))
    names = ("reason", "judgeable_area_mm2", "pixel_size_um", "flags", "labels", "time_index", "z_index")
    row = {"key": "f1", "path": "a.tif", "vessel_id": "V1", "layer": 1, "is_latest": True, "status": "scored"}
    row |= {"confluency_percent": 50.0, "judgeable_percent": 100.0} | dict.fromkeys(names)
    pq.write_table(pa.Table.from_pylist([row]), folder / "fields.parquet")
    one = {"vessel_id": "V1", "layer": 1, "state": "measured", "how": "x", "confluency_percent": 50.0}
    one |= dict.fromkeys(("confluency_interval", "sd_points", "judgeable_area_mm2"))
    pq.write_table(pa.Table.from_pylist([one]), folder / "layers.parquet")
    vessel = {"vessel_id": "V1", "vessel_type": "t-75", "n_layers": 1, "confluency_percent": 50.0, "how": "x"}
    vessel |= {"confluency_interval": None, "culture_area_cm2": 75.0}
    (folder / "vessels.json").write_text(json.dumps({"vessels": [vessel]}))


def test_a_run_folder_of_an_older_version_still_has_a_page(tmp_path):
    run_folder_of(tmp_path)
    html = write_run_report(tmp_path).read_text()
    assert html.count("not measured") >= 5
    assert load_run(tmp_path).vessels[0].layers[0].character is None


def test_another_baseline_than_that_of_the_run_is_refused(tmp_path, baseline):
    run_folder_of(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"not compared with baseline mcb-7.*that of none"):
        write_run_report(tmp_path, baseline=baseline)
    run_folder_of(tmp_path, baseline.sha256)
    assert f"mcb-7, version 1, sha256 {baseline.sha256}" in write_run_report(tmp_path, baseline=baseline).read_text()

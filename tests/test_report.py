"""The page of a run: everything is named, nothing is hidden, nothing comes from the network, names stay names."""

import re
import shutil
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.labels import write_labels
from msc_vision.report.content import FieldEntry, LayerEntry, Range, RunContent, VesselEntry
from msc_vision.report.fields import field_picture, read_small
from msc_vision.report.gallery import Gallery, fill_gallery, picture_size, typical_fields
from msc_vision.report.html import write_page
from msc_vision.report.ladder import draw_ladder
from msc_vision.report.load import load_run
from msc_vision.report.page import render_run
from msc_vision.report.pictures import (
    CASING,
    CLEAR,
    FOUND,
    HATCH,
    VEIL,
    compared_overlay,
    fit,
    found_overlay,
    make_picture,
    outline,
    scale_bar,
    stretch,
)
from msc_vision.report.words import number_ranges, plain_time, trouble_sentence, vessel_sentence

HOSTILE = "L01/<img src=x onerror=alert(1)>&\"'{{ 7*7 }}.tif"


class Page(HTMLParser):
    """The text, the tags and the links of a page."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.links = [], [], []
        self._is_style = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._is_style = tag == "style"
        self.links.extend(value for name, value in attrs if name in {"src", "href", "action", "xlink:href"})

    def handle_data(self, data):
        if not self._is_style:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def field(number, layer=1, confluency=50.0, **changes):
    entry = FieldEntry(
        key=f"f{number}",
        path=f"L{layer:02d}/field_{number:03d}.tif",
        vessel_id="V1",
        layer=layer,
        status="scored",
        confluency_percent=confluency,
        judgeable_percent=100.0,
        pixel_size_um=0.65,
    )
    return replace(entry, **changes)


def broken(number, layer=1, **changes):
    defaults = {"status": "failed", "reason": "the file ends too early; copy it again."}
    return field(number, layer, None, **defaults | changes)


def layer(number, *fields, state="measured", **changes):
    values = [f.confluency_percent for f in fields if f.confluency_percent is not None]
    mean = float(np.mean(values)) if values else None
    return replace(LayerEntry(number, state, confluency_percent=mean, fields=fields), **changes)


def content(*layers, n_layers=None, **changes):
    values = [one.confluency_percent for one in layers if one.confluency_percent is not None]
    vessel = VesselEntry(
        vessel_id="V1",
        type_id="hyperstack-12",
        type_name="Corning HYPERStack-12",
        n_layers=n_layers or len(layers),
        layers=layers,
        confluency_percent=float(np.mean(values)) if values and len(values) == len(layers) else None,
        measured_confluency_percent=float(np.mean(values)) if values else None,
        area_per_layer_cm2=500.0,
        source="a maker's sheet",
    )
    run = RunContent(Path("some.run"), "Confluency of V1", "complete", (vessel,), "msc-vision 0.1.0", "contrast")
    return replace(run, **changes)


def page_of(run, gallery=None):
    html = render_run(run, gallery or Gallery())
    return Page(html), html


def test_every_field_without_a_result_is_named_with_its_reason_before_any_number():
    troubled = [broken(i, reason=f"reason number {i}") for i in range(40)]
    page, html = page_of(content(layer(1, field(99), *troubled)))
    for entry in troubled:
        assert entry.path in page.text
        assert entry.reason in page.text
    assert html.index("Fields without a result (40)") < html.index("Layer by layer")


def test_a_doubtful_field_is_listed_with_its_number_and_why():
    run = content(layer(1, field(1, confluency=0.0, flags=("focus-unknown",)), field(2)))
    text = page_of(run)[0].text
    assert "Scored, but worth a look (1)" in text
    assert "nothing to focus on: an empty surface, or cells blurred away" in text
    assert "worth a look" not in page_of(content(layer(1, field(2))))[0].text


def test_a_run_without_trouble_has_no_such_section():
    page, _ = page_of(content(layer(1, field(1), field(2))))
    assert "Fields without a result" not in page.text
    assert "All 2 fields scored." in page.text


@pytest.mark.parametrize("place", ["path", "reason", "vessel id", "type name", "title"])
def test_names_from_files_are_never_markup(place):
    entry = broken(1, path=HOSTILE if place == "path" else "a.tif", reason=HOSTILE if place == "reason" else "why")
    run = content(layer(1, entry, field(2)))
    if place == "vessel id":
        run = replace(run, vessels=(replace(run.vessels[0], vessel_id=HOSTILE),))
    if place == "type name":
        run = replace(run, vessels=(replace(run.vessels[0], type_name=HOSTILE),))
    if place == "title":
        run = replace(run, title=HOSTILE)
    page, html = page_of(run)
    assert HOSTILE in page.text
    assert "<img" not in html
    assert "img" not in page.tags


def test_the_page_needs_no_network_and_no_script():
    picture = make_picture(np.arange(400.0).reshape(20, 20), overlay=np.zeros((20, 20), np.uint8), pixel_size_um=1.0)
    assert picture.image.startswith("data:image/jpeg;base64,")
    page, html = page_of(content(layer(1, field(1), broken(2)), layer(2, state="unobservable")))
    assert "script" not in page.tags
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"(?:https?:)?//[a-z]", html)
    assert "default-src 'none'" in html


def test_states_are_told_apart_by_words_not_by_colour_alone():
    page, _ = page_of(
        content(
            layer(1, field(1)),
            layer(2, field(2, 2), broken(3, 2), state="measured-degraded"),
            layer(3, state="missing"),
            layer(4, state="unobservable"),
        )
    )
    for words in ("layer 2 43", "degraded · 1 failed", "no usable image", "out of the microscope's reach"):
        assert words.replace(" 43", "") in page.text


def test_unverified_vessel_data_and_missing_pixel_sizes_are_said_at_the_top():
    run = content(layer(1, field(1, pixel_size_um=None)))
    run = replace(run, vessels=(replace(run.vessels[0], is_verified=False),))
    page, html = page_of(run)
    assert "not verified against the maker's sheet" in page.text
    assert "1 field without a pixel size" in page.text
    assert html.index("not verified") < html.index("Layer by layer")
    assert "not a release decision" in page.text


def test_an_interval_is_shown_where_there_is_one():
    page, _ = page_of(content(layer(1, field(1), interval=Range(40.0, 60.0))))
    assert "40.0 – 60.0 %" in page.text
    assert "No intervals." not in page.text
    assert page_of(content(layer(1, field(1))))[0].text.count("No intervals.") == 1


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (content(layer(1, field(1, 1, 40.0), field(2, 1, 50.0))), "45.0 % confluent, from 2 fields."),
        (
            content(layer(1, field(1, 1, 40.0)), layer(2, state="unobservable"), layer(3, state="unobservable")),
            "Undetermined as a whole: 40.0 % confluent over layer 1 (1 of 3 measured, 1 field). "
            "Layers 2-3 are out of the microscope's reach. Nothing is said about them.",
        ),
        (
            content(layer(1, broken(1), state="missing"), layer(2, state="unobservable")),
            "No layer of 2 could be measured. Layer 2 is out of the microscope's reach. Layer 1 has no usable image.",
        ),
        (content(layer(1, broken(1), state="missing")), "Nothing could be measured."),
    ],
    ids=["flask", "stack seen at the bottom", "nothing seen", "flask not seen"],
)
def test_what_is_said_of_a_vessel(run, expected):
    assert vessel_sentence(run.vessels[0]) == expected


def test_what_is_said_of_fields_without_a_result():
    rejected = field(3, confluency=None, status="rejected", reason="blurred")
    run = content(layer(1, field(1, confluency=None, status="failed", reason="r"), rejected, field(2)))
    assert trouble_sentence(run) == (
        "1 of 3 fields scored; 1 field failed and 1 field could not be judged: not counted as empty."
    )


@given(st.sets(st.integers(1, 60), min_size=1))
def test_ranges_name_each_number_once(numbers):
    named = set()
    for part in number_ranges(numbers).split(", "):
        low, _, high = part.partition("-")
        named |= set(range(int(low), int(high or low) + 1))
    assert named == numbers


def test_time_is_written_with_its_zone():
    assert plain_time("2026-11-22T02:12:10+00:00") == "2026-11-22 02:12 UTC"
    assert plain_time("2026-11-22T02:12:10+05:30") == "2026-11-22 02:12 UTC+0530"


# --- the stack of layers ---------------------------------------------------------------------------------------------


def test_the_top_layer_stands_on_top_and_empty_neighbours_share_a_row():
    layers = [layer(1, field(1)), layer(2, field(2, 2)), *(layer(n, state="unobservable") for n in range(3, 37))]
    rungs = draw_ladder(content(*layers).vessels[0]).rungs
    assert [rung.label for rung in rungs] == ["layers 3-36", "layer 2", "layer 1"]
    assert [rung.y for rung in rungs] == sorted(rung.y for rung in rungs)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_dots_lie_at_their_value_within_their_row(values):
    fields = tuple(field(i, confluency=value) for i, value in enumerate(values))
    ladder = draw_ladder(content(layer(1, *fields)).vessels[0])
    (rung,) = ladder.rungs
    assert [dot.x for dot in rung.dots] == pytest.approx([v / 100 * ladder.bar_px for v in sorted(values)])
    assert all(rung.y < dot.y < rung.y + rung.height for dot in rung.dots)


# --- pictures --------------------------------------------------------------------------------------------------------


def square(side=24):
    """A 12 x 12 cell in the middle of a field."""
    mask = np.zeros((side, side), bool)
    mask[6:18, 6:18] = True
    return mask


def test_an_outline_is_the_rim_of_the_cell_and_nothing_else():
    rim = outline(square())
    assert rim[6, 6:18].all()
    assert not rim[9:15, 9:15].any()
    assert not rim[~square()].any()


def test_a_full_field_has_no_outline_along_its_own_edge():
    assert not outline(np.ones((20, 20), bool)).any()


def test_overlay_keeps_cells_clear_and_veils_what_was_not_judged():
    judged = np.ones((24, 24), bool)
    judged[:, :3] = False
    overlay = found_overlay(square(), judged)
    assert overlay[12, 12] == CLEAR
    assert overlay[6, 10] == FOUND
    assert overlay[5, 10] == CASING
    assert set(np.unique(overlay[:, :3])) == {VEIL, HATCH}


def test_comparison_tells_found_from_true():
    shifted = np.roll(square(), 4, axis=1)
    overlay = compared_overlay(square(), shifted)
    assert {1, 2, 3, 4} <= set(np.unique(overlay))


@given(st.integers(50, 3000), st.floats(0.1, 10))
def test_a_scale_bar_is_round_and_fits(width, pixel_size_um):
    bar = scale_bar(width, pixel_size_um)
    if bar is not None:
        assert str(bar.length_um).strip("0.")[0] in "125"
        assert bar.length_px <= 0.28 * width
        assert bar.length_px * pixel_size_um == pytest.approx(bar.length_um)


@settings(max_examples=20)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_fitting_a_mask_keeps_full_full_and_empty_empty(shape, wanted):
    assert fit(np.ones(shape, bool), wanted).all()
    assert fit(np.ones(shape, bool), wanted).shape == wanted
    assert not fit(np.zeros(shape, bool), wanted).any()


def test_stretch_uses_all_greys_and_survives_a_constant_image():
    assert (stretch(np.full((5, 5), 7.0)) == 128).all()
    spread = stretch(np.arange(10000.0).reshape(100, 100))
    assert (spread.min(), spread.max()) == (0, 255)


def test_a_picture_gets_lighter_until_it_fits_its_budget():
    noise = np.random.default_rng(3).normal(size=(400, 400))
    assert make_picture(noise, budget_bytes=40_000).n_bytes < make_picture(noise, budget_bytes=400_000).n_bytes


def test_an_overlay_of_another_size_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"overlay is \(2, 2\), the picture \(3, 3\)"):
        make_picture(np.zeros((3, 3)), overlay=np.zeros((2, 2), np.uint8))


def test_a_large_image_is_read_in_strips_to_the_same_small_one(tmp_path, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 4000, (900, 700)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64))
    whole = read_small(tmp_path / "a.tif", 100)
    monkeypatch.setattr("msc_vision.report.fields.STRIP_PIXELS", 20_000)
    np.testing.assert_allclose(read_small(tmp_path / "a.tif", 100).gray, whole.gray, rtol=1e-5)
    assert whole.gray.shape == (100, 78)
    assert whole.gray.mean() == pytest.approx(pixels.mean(), rel=0.01)


# --- the gallery -----------------------------------------------------------------------------------------------------


def test_lowest_median_and_highest_field_are_shown():
    entry = layer(1, *(field(i, confluency=float(i)) for i in range(1, 10)))
    assert [(w.heading, w.field.confluency_percent) for w in typical_fields(entry, 3)] == [
        ("lowest", 1.0), ("median", 5.0), ("highest", 9.0),
    ]  # fmt: skip
    assert [w.heading for w in typical_fields(entry, 1)] == ["median"]


@given(st.integers(1, 2000))
def test_pictures_never_outgrow_the_page(n):
    longest, budget = picture_size(n)
    assert 420 <= longest <= 960
    assert n * budget <= 8_000_000


def stored(folder, n_layers, n_fields):
    """Write fields with labels, as a run does, and return their content."""
    rng = np.random.default_rng(0)
    layers = []
    for number in range(1, n_layers + 1):
        fields = []
        for i in range(n_fields):
            image, labels = folder / f"{number}_{i}.tif", folder / f"{number}_{i}.ome.zarr"
            tifffile.imwrite(image, rng.integers(0, 4000, (512, 512)).astype(np.uint16))
            mask = np.kron(rng.random((32, 32)) < 0.4, np.ones((16, 16), bool))
            write_labels(labels, mask, mask.astype(np.int32), np.ones_like(mask), 0.65, 1, (512, 512))
            entry = field(i, number, float(rng.uniform(20, 80)))
            fields.append(replace(entry, key=f"{number}-{i}", image=image, labels=labels))
        layers.append(layer(number, *fields))
    return content(*layers)


def test_a_page_stays_below_ten_megabytes_whatever_the_stack(tmp_path):
    run = stored(tmp_path, n_layers=36, n_fields=3)
    gallery = fill_gallery(run)
    assert 36 <= len(gallery.scored) <= 108
    assert len(render_run(run, gallery)) < 10_000_000


def test_a_field_whose_image_is_gone_has_no_picture_but_keeps_its_number(tmp_path):
    run = stored(tmp_path, n_layers=1, n_fields=3)
    run.fields[0].image.unlink()
    gallery = fill_gallery(run)
    assert len(gallery.scored) == 2
    assert run.fields[0].path.rsplit("/")[-1] in page_of(run, gallery)[1]


def half_judged(folder):
    """A field of 1200 x 600 of which the left half was judged, and its image does not show why."""
    tifffile.imwrite(folder / "a.tif", np.random.default_rng(0).integers(0, 4000, (1200, 600)).astype(np.uint16))
    judgeable = np.zeros((1200, 600), bool)
    judgeable[:, :300] = True
    mask = np.zeros_like(judgeable)
    mask[200:600, 100:250] = True
    write_labels(folder / "a.ome.zarr", mask, mask.astype(np.int32), judgeable, 0.65, 1, mask.shape)
    return field(1, image=folder / "a.tif", labels=folder / "a.ome.zarr", judgeable_percent=50.0)


def shown_overlay(entry):
    """Return the values of the palette that the page shows over a field."""
    encoded = field_picture(entry, 400, 200_000).overlay.partition("base64,")[2]
    return np.asarray(Image.open(BytesIO(b64decode(encoded))))


def test_a_picture_veils_what_the_labels_say_was_not_judged(tmp_path):
    overlay = shown_overlay(half_judged(tmp_path))
    assert overlay.shape == (400, 200)
    assert set(np.unique(overlay[:, 101:])) == {VEIL, HATCH}
    assert set(np.unique(overlay[:, :99])) == {CLEAR, CASING, FOUND}


def test_labels_of_an_older_version_draw_a_field_only_if_all_of_it_was_judged(tmp_path):
    entry = half_judged(tmp_path)
    shutil.rmtree(tmp_path / "a.ome.zarr" / "labels" / "judgeable")
    with pytest.raises(InvalidDataError, match="does not say what was judged"):
        field_picture(entry, 400, 200_000)
    assert FOUND in shown_overlay(replace(entry, judgeable_percent=100.0))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match=r"no run folder, run.json is missing"):
        load_run(tmp_path)
    with pytest.raises(InvalidDataError, match="no such run folder"):
        load_run(tmp_path / "nowhere")


def test_a_run_without_results_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"state": "interrupted"}')
    with pytest.raises(InvalidDataError, match="the run is interrupted, without results yet; go on with"):
        load_run(tmp_path)


def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path):
    with pytest.raises(OutputError, match=r"report.html: the page could not be written"):
        write_page(tmp_path / "nowhere" / "report.html", "text")
    assert not list(tmp_path.iterdir())

"""Growth curves and stacks as drawings and sentences: every mark where its figure is, and what it rests on in words."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.courses import vessel_courses
from msc_vision.batch.forecasts import ForecastRequest, VesselForecast, forecast_course
from msc_vision.errors import OutputError
from msc_vision.report.content import LayerEntry, Range, VesselEntry
from msc_vision.report.growth import (
    BOTTOM_PX,
    HEIGHT_PX,
    LEFT_PX,
    RIGHT_PX,
    TOP_PX,
    WIDTH_PX,
    draw_growth,
    forecast_sentences,
    growth_of_run,
    write_forecast_page,
)
from msc_vision.report.html import make_folder, render, write_page
from msc_vision.report.ladder import BAR_PX, draw_ladder
from msc_vision.report.load import load_run
from msc_vision.report.page import write_run_report
from msc_vision.report.words import vessel_sentence
from sampling_cases import CATALOGUE, GROWTH, around, grid, growing_vessels, imaged, spread_layer, study, write_run

FIRST = datetime(2026, 11, 16, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The four vessels of `growing_vessels` in one run."""
    return write_run(tmp_path_factory.mktemp("growing"), growing_vessels())


@pytest.fixture(scope="module")
def course(run):
    return next(one for one in vessel_courses([run], CATALOGUE) if one.vessel_id == "GROWS")


@pytest.fixture(scope="module")
def forecast(course):
    """Medium changed after half a day, two planned hours."""
    at = tuple(FIRST + timedelta(hours=hours) for hours in (60, 84))
    return forecast_course(course, ForecastRequest(at=at, refeeds_at=(FIRST + timedelta(hours=12),)))


def percent_of(y):
    return 100 * (1 - (y - TOP_PX) / (HEIGHT_PX - BOTTOM_PX - TOP_PX))


def points_of(path):
    return np.array([tuple(map(float, pair.split())) for pair in path.strip("MZ").split(" L")])


# --- growth curves ---------------------------------------------------------------------------------------------------


def test_scans_are_drawn_where_they_are(forecast):
    drawing = draw_growth(forecast, ("words",))
    assert [percent_of(mark.y) for mark in drawing.marks] == pytest.approx([*GROWTH.values()], abs=0.3)
    hours = [(mark.x - LEFT_PX) / (drawing.right - LEFT_PX) for mark in drawing.marks]
    assert hours[0] == 0
    assert hours[2] == pytest.approx(2 * hours[1], abs=0.01)
    assert drawing.now_px == drawing.marks[-1].x
    for mark in drawing.marks:
        assert mark.top <= mark.y <= mark.bottom
    assert re.fullmatch(r"24\.0 h: 40\.0 % \(95 %: \d+ – \d+ %\)", drawing.marks[1].title)


def test_window_and_axes_are_drawn_to_one_scale(forecast):
    drawing = draw_growth(forecast, ())
    assert [percent_of(y) for y in drawing.window] == pytest.approx([90, 70], abs=0.3)
    assert [(percent_of(tick.at), tick.label) for tick in drawing.y_ticks] == [
        (pytest.approx(level, abs=0.3), f"{level} %") for level in (0, 20, 40, 60, 80, 100)
    ]
    assert 2 <= len(drawing.x_ticks) <= 10
    hour = next(tick for tick in drawing.x_ticks if int(tick.label) > 0)
    scale = (hour.at - LEFT_PX) / int(hour.label)
    assert drawing.now_px == pytest.approx(LEFT_PX + 48 * scale, abs=0.5)
    assert drawing.refeeds == (pytest.approx(LEFT_PX + 12 * scale, abs=0.5),)
    assert [tick.at for tick in drawing.planned] == pytest.approx([LEFT_PX + h * scale for h in (60, 84)], abs=0.5)
    assert drawing.x_label == "hours since 2026-11-16 09:00 UTC (first scan)"
    assert drawing.window_label == "window 70 – 90 %"


def test_the_band_lies_around_the_course_and_within_the_drawing(forecast):
    drawing = draw_growth(forecast, ())
    mean, band = points_of(drawing.mean), points_of(drawing.band)
    assert len(band) == 2 * len(mean)
    high, low = band[: len(mean)], band[len(mean) :][::-1]
    np.testing.assert_allclose(high[:, 0], low[:, 0])
    assert (high[:, 1] <= mean[:, 1] + 0.1).all()
    assert (mean[:, 1] <= low[:, 1] + 0.1).all()
    for path in (mean, band):
        assert path[:, 0].min() >= LEFT_PX
        assert path[:, 0].max() <= WIDTH_PX - RIGHT_PX
        assert path[:, 1].min() >= TOP_PX
        assert path[:, 1].max() <= HEIGHT_PX - BOTTOM_PX


def test_an_interval_is_drawn_within_0_and_100(forecast):
    """A scan at 1 % with an error of 5 points: its lower end is the axis."""
    points = (replace(forecast.series.points[0], confluency_percent=1.0, standard_error=5.0),)
    drawing = draw_growth(replace(forecast, series=replace(forecast.series, points=points)), ())
    assert percent_of(drawing.marks[0].bottom) == pytest.approx(0, abs=0.3)
    assert drawing.marks[0].title.endswith("(95 %: 0 – 11 %)")


def test_a_vessel_without_a_forecast_has_words_and_no_drawing():
    drawing = draw_growth(VesselForecast("V", reason="no time."), ("No forecast: no time.",))
    assert (drawing.mean, drawing.band, drawing.marks) == ("", "", ())
    assert drawing.sentences == ("No forecast: no time.",)


def test_what_is_said_of_a_forecast(forecast):
    said = forecast_sentences(forecast)
    assert said[0] == forecast.window.words
    assert re.search(r"expected; inside the window with a probability of [01]\.\d\d\.$", said[1])
    assert said[3] == forecast.departure.words
    assert any(re.fullmatch(r"A method error of \d+ points at half cover is included\.", one) for one in said)
    assert len(set(said)) == len(said)
    assert forecast_sentences(VesselForecast("V", reason="no time.")) == ("No forecast: no time.",)


def test_a_report_draws_only_vessels_with_several_time_points(run):
    assert sorted(growth_of_run(run, CATALOGUE)) == ["BLIND", "GROWS", "STACK"]


def test_a_page_of_forecasts_is_whole_and_safe(forecast, tmp_path):
    """The drawing is well-formed XML, and a name from a manifest is text and no markup."""
    odd = replace(forecast, vessel_id="<b>A & B</b>")
    path = write_forecast_page(tmp_path / "new" / "page.html", [odd, VesselForecast("V", reason="no time.")])
    page = path.read_text(encoding="utf-8")
    assert "<b>A" not in page
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page
    (svg,) = re.findall(r'<svg class="ladder".*?</svg>', page, flags=re.S)
    assert len(ElementTree.fromstring(svg).findall(".//circle")) == 3  # our own page
    assert "<li>No forecast: no time.</li>" in page
    assert "A forecast, not a release decision" in page
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]


# --- pages -----------------------------------------------------------------------------------------------------------


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file: cannot be made \(File exists\); choose another --out\.$"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"the page could not be written \(No such file or directory\); free space"):
        write_page(tmp_path / "none" / "page.html", "x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match=r"taken: the page could not be written \(Is a directory\)"):
        write_page(tmp_path / "taken", "x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "taken"]


def test_a_template_that_asks_for_what_it_was_not_given_is_an_error():
    with pytest.raises(Exception, match="'drawings' is undefined"):
        render("forecast.html.j2")


# --- stacks: seen, inferred, undetermined ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A HYPERStack 12 with layers 1 and 2 measured, without and with a layer study."""
    folder = tmp_path_factory.mktemp("stack")
    fields = imaged("S", "hyperstack-12", (1, 2), {None: 60.0}, grid(2), spread=5.0)
    runs = [write_run(folder / name, fields, layer_study=known) for name, known in (("0", None), ("1", study()))]
    return [(load_run(one), write_run_report(one)) for one in runs]


def test_a_stack_seen_at_the_bottom_is_undetermined_in_words(pages):
    (content, path), _ = pages
    (vessel,) = content.vessels
    assert (vessel.confluency_percent, vessel.interval) == (None, None)
    words = vessel_sentence(vessel)
    assert words.startswith("Undetermined as a whole: 60.0 % confluent over layers 1-2 (2 of 12 measured, 8 fields).")
    assert "Layers 4-12 are out of the microscope's reach." in words
    assert "Layer 3 has no usable image." in words
    assert "Nothing is said about them: only the lowest layers speak for themselves (2 of 12)" in words
    page = path.read_text(encoding="utf-8")
    assert "undetermined" in page
    assert "Undetermined as a whole: 60.0 %" in page


def test_with_a_study_the_others_are_inferred_in_words(pages):
    _, (content, path) = pages
    (vessel,) = content.vessels
    low, high = vessel.interval.low, vessel.interval.high
    words = vessel_sentence(vessel)
    assert words.startswith(
        f"{vessel.confluency_percent:.1f} % confluent (95 %: {low:.0f} – {high:.0f} %): layers 1-2 measured (8 fields),"
        " layers 3-12 inferred from the layer study (five opened stacks (test))."
    )
    assert "of the area" in words
    assert "is on layers within 70 – 90 %." in words
    assert "Nothing is said" not in words
    page = path.read_text(encoding="utf-8")
    assert "inferred, not seen, each" in page
    assert "five opened stacks (test)" in page


def test_inferred_layers_are_drawn_apart_from_measured_ones(pages):
    _, (content, _) = pages
    ladder = draw_ladder(content.vessels[0])
    top, *_, second, first = ladder.rungs
    assert (top.state, top.is_seen, top.dots) == ("inferred", False, ())
    assert top.label.startswith("layers 3-12") or top.label.startswith("layer")
    assert (first.label, first.is_seen, len(first.dots)) == ("layer 1", True, 4)
    assert second.interval[0] < second.bar_px < second.interval[1]
    assert top.interval[1] - top.interval[0] > second.interval[1] - second.interval[0]
    assert ladder.window_px == pytest.approx((0.7 * BAR_PX, 0.9 * BAR_PX))


def entry(layer, state="measured", level=50.0, interval=(40.0, 60.0)):
    return LayerEntry(layer, state, confluency_percent=level, interval=None if interval is None else Range(*interval))


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(["measured", "inferred", "missing"]), st.floats(0, 100)), min_size=1, max_size=12
    )
)
def test_every_layer_is_on_one_rung_and_nothing_leaves_the_bar(layers):
    entries = tuple(
        entry(i, state, None if state == "missing" else level, None if state == "missing" else (level / 2, 100.0))
        for i, (state, level) in enumerate(layers, start=1)
    )
    ladder = draw_ladder(VesselEntry("V", "x", "X", len(entries), entries))
    covered = []
    for rung in ladder.rungs:
        low, _, high = rung.label.split()[1].partition("-")
        covered += range(int(low), int(high or low) + 1)
        ends = [rung.bar_px, *(rung.interval or ())]
        assert all(end is None or 0 <= end <= BAR_PX for end in ends)
        assert (rung.bar_px is None) == (rung.state == "missing")
    assert sorted(covered) == list(range(1, len(entries) + 1))
    assert ladder.height == pytest.approx(sum(rung.height for rung in ladder.rungs))


def test_inferred_layers_that_differ_do_not_share_a_rung():
    """Three inferred at 50 %, then one at 60 %: neighbours share a rung only if they read the same."""
    entries = (*(entry(i, "inferred", 50.2) for i in (1, 2, 3)), entry(4, "inferred", 60.0))
    assert [rung.label for rung in draw_ladder(VesselEntry("V", "x", "X", 4, entries)).rungs] == [
        "layer 4",
        "layers 1-3",
    ]


def test_a_flask_says_why_it_has_no_interval(tmp_path):
    fields = [replace(one, row=replace(one.row, y_um=None, x_um=None))
              for one in spread_layer(1, around(50, n=4), grid(2, 75.0), kind="t-75")]  # fmt: skip
    (vessel,) = load_run(write_run(tmp_path, fields)).vessels
    assert vessel_sentence(vessel) == (
        "50.0 % confluent, from 4 fields. No interval: the fields have no coordinates, so which part of the layer they"
        " show is not known."
    )

"""What the correct dock says, without a window: figures before and now, what changed, what was found."""

from dataclasses import replace

import pytest

from msc_vision.records import FieldScore
from napari_msc_vision.convert import Finding
from napari_msc_vision.correcting import (
    FINDING_KINDS,
    FigureRow,
    brush_words,
    changes,
    differences,
    figure_rows,
    finding_words,
    kind_words,
    percent,
    score_rows,
    state_words,
    with_interval,
)
from napari_msc_vision.session import open_session

SCORED = FieldScore(
    "k", "a.tif", "scored", confluency_percent=61.27, judgeable_percent=98.0, n_objects=40, findings={"n_aggregates": 2}
)


def rows_by_name(rows):
    return {(row.about.split()[0], row.name): row for row in rows}


def test_figures_have_units_and_what_is_not_known_is_a_dash():
    rows = rows_by_name(score_rows(SCORED, replace(SCORED, confluency_percent=58.0, findings={})))
    assert rows["Field", "Confluency"] == FigureRow("Field", "Confluency", "61.3 %", "58.0 %")
    assert rows["Field", "Confluency"].is_changed
    assert not rows["Field", "Cells"].is_changed
    assert rows["Field", "Aggregates"].now == "–"


def test_a_field_that_becomes_scored_says_so_first():
    rejected = FieldScore("k", "a.tif", "rejected", reason="The field is out of focus.")
    assert score_rows(rejected, SCORED)[0] == FigureRow("Field", "State", "rejected", "scored")
    assert score_rows(SCORED, SCORED)[0].name == "Confluency"


@pytest.mark.parametrize(
    ("value", "interval", "words"),
    [(72.04, (60.2, 81.9), "72.0 % (60 to 82)"), (72.04, None, "72.0 %"), (None, None, "–")],
    ids=["with interval", "one field", "not known"],
)
def test_an_interval_stands_beside_its_figure(value, interval, words):
    assert with_interval(value, interval) == words


def test_an_edit_shows_in_the_field_its_layer_and_its_vessel(small_run):
    session = open_session(small_run)
    assert figure_rows(session) == ()
    assert state_words(session) == "Open a field in the navigator."
    session.open(session.keys()[0])
    assert not any(row.is_changed for row in figure_rows(session))
    masks = session.masks.copy()
    masks.foreground[:], masks.cells[:] = False, 0
    session.commit(masks, "erase foreground")
    rows = rows_by_name(figure_rows(session))
    assert rows["Field", "Confluency"].now == "0.0 %"
    assert rows["Layer", "Confluency"].is_changed
    assert any(row.is_changed for (about, _), row in rows.items() if about == "Vessel")
    assert state_words(session) == "All figures are of the masks on the screen."
    said = changes(session.run.state.of(session.current))
    assert [line.split("   ")[-1] for line in said] == ["erase foreground", "looked at"]
    assert session.reviewer.name in said[0]


def test_differences_are_listed_and_their_absence_is_said():
    assert differences(score_rows(SCORED, SCORED)) == "No figure differs."
    assert differences(score_rows(SCORED, replace(SCORED, n_objects=41))) == "Cells: 40 → 41"


def test_findings_and_the_brush_in_words():
    finding = Finding("dots", (10, 20, 30, 40), "in rows", "anna", is_dismissed=True)
    assert finding_words(finding) == "dots (added by anna, dismissed), row 10, column 30: in rows"
    assert finding_words(Finding("wall", (0, 9, 0, 9))) == "wall (found by the run), row 0, column 0"
    assert brush_words(20, 24.8) == "25 µm · 20 px"
    assert "unknown" in brush_words(20, None)
    assert percent(None) == "–"
    assert all(kind_words(kind) for kind in FINDING_KINDS)
    assert {"haze", "dots", "budding", "filaments", "bubble"} <= set(FINDING_KINDS)

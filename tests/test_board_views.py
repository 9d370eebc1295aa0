"""What the board makes of a record and a run before any page: layers, images, reasons, small growth lines."""

import pytest

from decision_cases import evidence, figure, no_sign, request, rules, window
from msc_vision.decision import Place, Reading, decision_record
from msc_vision.report.content import FieldEntry, LayerEntry, Range, VesselEntry
from msc_vision.service.board.criteria import criterion_rows, doubts_of
from msc_vision.service.board.digests import digest_of
from msc_vision.service.board.ladder import BAR_PX, ladder_of, window_of
from msc_vision.service.board.overview import SPARK_WIDTH, spark_of
from msc_vision.service.board.pictures import driving_fields
from msc_vision.service.board.words import STATES, known_sentence


def field(layer, percent, number=1, **changes):
    return FieldEntry(f"f{layer}-{number}", f"L{layer}_{number}.png", "V", layer, "scored", None, percent, **changes)


def layer(number, state, percent=None, fields=(), interval=None):
    return LayerEntry(number, state, None, percent, interval, fields=tuple(fields))


def stack(*layers):
    return VesselEntry("V", "hyperstack-12", "HYPERStack 12", len(layers), tuple(layers))


def judged(*criteria, **told):
    return decision_record(evidence(**told), rules(*criteria), request())


EVERY_STATE = stack(
    layer(1, "measured", 80.0, [field(1, 70.0), field(1, 90.0, 2)], Range(70.0, 90.0)),
    layer(2, "measured-degraded", 60.0, [field(2, 60.0), FieldEntry("b", "b.png", "V", 2, "rejected", "out of focus")]),
    layer(3, "missing", None, [FieldEntry("c", "c.png", "V", 3, "failed", "cannot be read")]),
    layer(4, "inferred", 75.0, interval=Range(50.0, 95.0)),
    *(layer(number, "unobservable") for number in range(5, 9)),
)
"""Eight layers: seen, seen in part, failed, inferred, and four out of reach."""


def test_layers_that_nobody_can_see_share_a_row_and_all_others_have_their_own():
    assert [rung.label for rung in ladder_of(EVERY_STATE, None).rungs] == ["5-8", "4", "3", "2", "1"]


def test_every_state_has_its_own_word_and_pattern():
    rungs = ladder_of(EVERY_STATE, None).rungs
    assert [rung.state for rung in rungs] == ["out of reach", "inferred, not seen", "failed", "seen, in part", "seen"]
    assert len({rung.pattern for rung in rungs}) == 5
    assert len({word for word, _, _ in STATES.values()}) == len({pattern for _, pattern, _ in STATES.values()}) == 5


def test_what_is_not_known_is_no_bar_of_no_length():
    by_label = {rung.label: rung for rung in ladder_of(EVERY_STATE, None).rungs}
    assert by_label["5-8"].bar_px is None
    assert by_label["5-8"].figure == "–"
    assert by_label["3"].fields == "0 fields, 1 failed"
    assert by_label["2"].fields == "1 field, 1 not judgeable"
    assert by_label["1"].bar_px == pytest.approx(0.8 * BAR_PX)
    assert by_label["1"].interval_px == pytest.approx((0.7 * BAR_PX, 0.9 * BAR_PX))
    assert [x for x, _ in by_label["1"].dots] == pytest.approx([0.7 * BAR_PX, 0.9 * BAR_PX])


def test_each_layer_shows_its_worst_outcome_and_which_criterion_it_is_of():
    """Layer 2 is surely too dense, layer 3 a person has to look at; and the vessel's window is drawn, not a layer's."""
    layers = {1: figure(80), 2: figure(97, 1), 3: figure(80, doubts=("two methods disagree",))}
    record = judged(
        window(),
        window(None, 90, id="layer-overgrown", level="layer"),
        window(40, 99, id="layer-confluency-window", level="layer"),
        layers=layers,
    )
    vessel = stack(*(layer(n, "measured", 80.0, [field(n, 80.0)]) for n in (1, 2, 3)))
    ladder = ladder_of(vessel, record)
    assert {rung.label: rung.sign.word for rung in ladder.rungs} == {
        "3": "a person has to look", "2": "not met", "1": "met",
    }  # fmt: skip
    assert {rung.label: rung.open_criteria for rung in ladder.rungs}["2"] == "layer-overgrown"
    assert window_of(record) == (70.0, 90.0)
    assert ladder.window_px == pytest.approx((0.7 * BAR_PX, 0.9 * BAR_PX))


def test_quarantine_names_what_is_critical_though_more_is_missing():
    """The confluency is not known, which stands first in the record; but the vessel is set apart for the suspicion."""
    record = judged(
        window(),
        no_sign(),
        vessel=Reading(None, missing="no layer was measured"),
        others={Place("contamination", "vessel"): Reading("suspect")},
    )
    assert record["recommended_action"] == "quarantine"
    assert digest_of(record, frozenset({"contamination"})).reason.startswith("Signs of contamination: suspect")
    assert digest_of(record).reason.startswith("Confluency: not known"), "without the rule set, the record's own order"


def test_the_highest_field_of_a_layer_that_is_too_dense_is_shown_and_only_that():
    record = judged(window(None, 90, id="layer-overgrown", level="layer"), layers={1: figure(80), 2: figure(97, 1)})
    vessel = stack(*(layer(n, "measured", 80.0, [field(n, 60.0), field(n, 99.0, 2)]) for n in (1, 2)))
    chosen = driving_fields(vessel, record)
    assert chosen.is_driving
    assert [one.heading for one in chosen.shown] == ["Layer 2, highest"]
    assert chosen.shown[0].key == "f2-2"


def test_where_no_field_drove_the_verdict_the_ends_are_shown_and_not_called_so():
    vessel = stack(layer(1, "measured", 80.0, [field(1, 70.0), field(1, 90.0, 2)]), layer(2, "unobservable"))
    chosen = driving_fields(vessel, judged())
    assert not chosen.is_driving
    assert [one.heading for one in chosen.shown] == ["Layer 1, lowest", "Layer 1, highest"]
    assert "cells outlined in yellow" in chosen.shown[0].alt


def test_suspect_fields_are_shown_for_a_suspicion():
    suspect = field(1, 80.0, 3, contamination="suspect", contamination_note="filaments")
    record = judged(no_sign(), others={Place("contamination", "vessel"): Reading("suspect")})
    chosen = driving_fields(stack(layer(1, "measured", 80.0, [field(1, 70.0), suspect])), record)
    assert [(one.key, one.caption) for one in chosen.shown] == [
        ("f1-3", "80 % covered; suspect of contamination: filaments")
    ]


def test_all_criteria_are_there_the_worst_first_and_layers_that_say_the_same_together():
    record = judged(
        window(), window(None, 90, id="layer-overgrown", level="layer"), layers={n: figure(95, 1) for n in (1, 2)}
    )
    rows = criterion_rows(record)
    assert (rows[0].id, rows[0].place, rows[0].sign.word) == ("layer-overgrown", "layers 1-2", "not met")
    assert {row.id for row in rows} == {one["id"] for one in record["criteria"]}
    assert [row.sign.rank for row in rows] == sorted(row.sign.rank for row in rows)


def test_only_doubts_can_be_settled():
    record = judged(
        window(),
        window(None, 90, id="layer-overgrown", level="layer"),
        layers={1: figure(80, doubts=("unsure",)), 2: figure(97, 1), 3: Reading(None, missing="no image")},
    )
    assert [(one.criterion, one.layer) for one in doubts_of(record)] == [("layer-overgrown", 1)]


def test_a_reason_is_cut_to_what_was_seen_and_what_a_person_has_to_look_at():
    message = (
        "Confluency 80.5 % (76-84); allowed 70 to 90 %. Within with probability 0.97, 0.95 is needed."
        " A person has to look: x. Cells."
    )
    assert known_sentence(message) == "Confluency 80.5 % (76-84); allowed 70 to 90 %. A person has to look: x."


def test_a_small_growth_line_rises_from_left_to_right():
    scans = [
        {"acquired_to": f"2026-11-{20 + day}T08:00:00+00:00", "confluency_percent": 20.0 + 30 * day} for day in range(3)
    ]
    spark = spark_of(scans)
    places = [tuple(map(float, place.split())) for place in spark.path.removeprefix("M").split(" L")]
    assert [x for x, _ in places] == [2.0, SPARK_WIDTH / 2, SPARK_WIDTH - 2.0]
    assert places[0][1] > places[1][1] > places[2][1], "up is more"
    assert spark.text == "20 % to 80 % in 48 h"
    assert spark_of([]).text == "confluency not known"
    assert spark_of(scans[:1]).path == ""

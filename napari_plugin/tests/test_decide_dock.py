"""The decide dock: what becomes of a field and of its vessel, with a reason, and who signs for it."""

from dataclasses import replace

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from rule_cases import APPROVED

from msc_vision.batch.verify import verify_run
from msc_vision.decision.judgement import Settlement
from msc_vision.decision.rule_file import rule_set_yaml
from msc_vision.decision.rules import RuleSet
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.review.log import read_log
from msc_vision.review.state import FieldReview
from msc_vision.statistics.rollup import ScoredField
from napari_msc_vision import service_link
from napari_msc_vision.desk import MEANING_WORDS, Answer
from napari_msc_vision.docks.decide import DecideDock
from napari_msc_vision.docks.field_judgement import FieldJudgement
from napari_msc_vision.docks.vessel_verdict import VesselVerdict
from napari_msc_vision.registry import close_run, open_run
from napari_msc_vision.session import local_reviewer, open_session


def events(run, action):
    return [one for one in read_log(run).events if one.action == action]


@pytest.fixture
def dock(screen, qtbot, small_run):
    viewer = ViewerModel()
    made = DecideDock(viewer)
    qtbot.addWidget(made)
    made.resize(420, 1000)
    made.show()
    open_run(viewer, small_run)
    made.session.open(made.session.keys("SMALL", 1)[0])  # one that the run could score
    made.heard = []
    made.session.said.connect(lambda message: made.heard.append(message.text))
    yield made
    close_run(viewer)


@pytest.fixture
def approved(tmp_path):
    path = tmp_path / "site-window.yaml"
    path.write_text(rule_set_yaml(RuleSet.model_validate(APPROVED)), encoding="utf-8")
    return path


def choose(box, data):
    box.setCurrentIndex(box.findData(data))


# --- the field -------------------------------------------------------------------------------------------------------


def test_a_field_is_accepted_with_one_click(dock, small_run, qtbot):
    key = dock.session.current
    qtbot.mouseClick(dock.field.buttons["accepted"], Qt.MouseButton.LeftButton)
    (event,) = events(small_run, "accepted")
    assert (event.target.field, event.before) == (key, {"standing": "looked at"})
    assert "A&nbsp;accepted" in dock.field.headline.text()
    assert f"{local_reviewer().name} accepted" in dock.field.history.text()


def test_the_flags_of_a_field_are_told_in_words_when_the_mouse_rests_on_its_name(screen, qtbot):
    field = ScoredField(
        ManifestRow("a.tif", "SMALL", "hyperstack-12", 1),
        FieldScore("SMALL-1-a", "a.tif", "scored", confluency_percent=40.0, flags=("uneven-light", "obscured")),
    )
    widget = FieldJudgement()
    qtbot.addWidget(widget)
    widget.show_field(field, FieldReview(field.score.key))
    assert widget.headline.toolTip() == (
        "• something hides much of the surface, by what the network sees\n"
        "• uneven light: one corner is much darker than another"
    )
    widget.show_field(None, None)
    assert not widget.headline.toolTip()


def test_rejecting_asks_for_a_reason_and_goes_on_when_it_is_there(dock, small_run, qtbot):
    dock.reject_field()
    assert dock.field.trouble.text() == "▸ 'rejected' needs a reason: choose one from the list."
    assert not events(small_run, "rejected")
    dock.field.text.setText("a hair")
    choose(dock.field.reasons, "debris")
    dock.field.reasons.activated.emit(dock.field.reasons.currentIndex())
    (event,) = events(small_run, "rejected")
    assert (event.reason_code, event.reason) == ("debris", "a hair")
    assert not dock.field.trouble.isVisible()
    assert dock.field.text.text() == ""
    assert "left out, was" in dock.field.headline.text()
    assert "rejected (debris, not cells: a hair)" in dock.field.history.text()


def test_something_else_has_to_be_said_in_words(dock, small_run, qtbot):
    choose(dock.field.reasons, "other")
    dock.reimage_field()
    assert "Say in a few words what it is" in dock.field.trouble.text()
    qtbot.keyClicks(dock.field.text, "condensation on the lid")
    qtbot.keyClick(dock.field.text, Qt.Key.Key_Return)
    assert events(small_run, "re-image")[0].reason == "condensation on the lid"


def test_what_was_said_can_be_taken_back_with_a_reason(dock, small_run):
    dock.accept_field()
    assert dock.field.buttons["reopened"].isVisible()
    dock.reopen_field()
    assert "needs a reason" in dock.field.trouble.text()
    assert dock.field.reasons.findData("mistake") > 0  # its own reasons are offered
    choose(dock.field.reasons, "mistake")
    dock.reopen_field()
    assert dock.session.run.state.of(dock.session.current).standing == "looked at"
    assert not dock.field.buttons["reopened"].isVisible()


def test_two_people_who_disagree_stand_out(dock, small_run):
    key = dock.session.current
    other = open_session(small_run, reviewer=replace(local_reviewer(), name="maria"))
    other.open(key)
    dock.accept_field()
    other.judge_field("rejected", "debris", "")
    dock.session.refresh()
    assert "people disagree" in dock.field.headline.text()
    assert dock.field.history.text().startswith("! People disagree")
    other.close()


def test_another_field_forgets_what_was_begun(dock):
    dock.field.text.setText("a hair")
    dock.reject_field()
    keys = dock.session.keys()
    dock.session.open(next(key for key in keys if key != dock.session.current))
    assert (dock.field.text.text(), dock.field.trouble.isVisible(), dock.field.wanted) == ("", False, None)


# --- the vessel ------------------------------------------------------------------------------------------------------


def test_nobody_has_judged_yet(dock):
    assert dock.vessel.banner.sign is None
    assert not dock.vessel.sign.isEnabled()
    assert not dock.vessel.say.isEnabled()
    assert dock.vessel.rule_sets.findData("msc-expansion-default") >= 0
    assert f"You sign as {local_reviewer().name}: the name of the user of this computer." in dock.vessel.who.text()


def test_a_vessel_is_judged_and_the_verdict_is_told(dock, small_run):
    choose(dock.vessel.rule_sets, "msc-expansion-default")
    choose(dock.vessel.purposes, "trial")
    dock.judge_vessel()
    view = dock.vessel.view
    assert dock.vessel.banner.sign is view.sign
    assert "trial, not for production" in dock.vessel.about.text()
    first = dock.vessel.criteria.topLevelItem(0)
    assert first.text(0) == view.rows[0].sign.word
    assert view.rows[0].message in dock.vessel.why.text()
    dock.vessel.more.setChecked(True)
    assert view.changes[0] in dock.vessel.changes.text()
    assert events(small_run, "decided")[0].after["decision_id"] == view.decision_id
    assert "draft rule set: such a record cannot be signed" in dock.vessel.signed.text()
    assert not dock.vessel.sign.isEnabled()


def test_a_rejected_field_changes_the_next_record_and_the_change_is_told(dock, approved, small_run):
    dock.vessel.add_rules(str(approved), approved.name)
    dock.judge_vessel()
    first = dock.vessel.view.decision_id
    choose(dock.field.reasons, "debris")
    dock.reject_field()
    dock.judge_vessel()
    assert dock.vessel.view.change.startswith("Against the record before: verdict ")
    assert dock.vessel.records.topLevelItemCount() == 2
    old = dock.vessel.records.topLevelItem(1)
    assert old.text(3) == "superseded"
    dock.vessel.records.setCurrentItem(old)
    assert dock.vessel.view.decision_id == first
    assert dock.vessel.signed.text() == "This record was superseded: sign the last one."
    assert not dock.vessel.sign.isEnabled()


def test_holding_a_vessel_takes_a_reason_and_makes_a_new_record(dock, approved, small_run):
    dock.vessel.add_rules(str(approved), approved.name)
    dock.judge_vessel()
    before = dock.vessel.view.decision_id
    choose(dock.vessel.kinds, "hold")
    dock.vessel.say.click()
    assert "needs a reason" in dock.vessel.trouble.text()
    choose(dock.vessel.reasons, "process")
    dock.vessel.text.setText("The incubator stood open.")
    dock.vessel.say.click()
    held = events(small_run, "held")[0]
    assert (held.reason_code, held.reason) == ("process", "The incubator stood open.")
    assert held.before["decision_id"] == before
    assert "held it for review (reason of the process" in dock.vessel.about.text()
    assert dock.session.records("SMALL")[0]["supersedes"] == before


def test_a_record_is_signed_by_the_user_of_this_computer(dock, approved, small_run, tmp_path):
    dock.vessel.add_rules(str(approved), approved.name)
    dock.judge_vessel()
    assert dock.vessel.sign.isEnabled()
    assert not dock.vessel.password.isVisible()
    choose(dock.vessel.meanings, "approval")
    dock.vessel.sign.click()
    (event,) = events(small_run, "signed")
    record = dock.session.records("SMALL")[0]
    assert event.after["record_sha256"] == record["record_sha256"]
    assert (event.after["meaning"], event.reviewer.identified_by) == ("approval", "operating-system user")
    assert f"Signed: {local_reviewer().name}, " in dock.vessel.signed.text()
    assert "approval (operating-system user)" in dock.vessel.signed.text()


def test_what_was_said_and_signed_is_there_when_the_run_is_opened_again(dock, approved, small_run, qtbot):
    dock.vessel.add_rules(str(approved), approved.name)
    dock.accept_field()
    dock.judge_vessel()
    dock.vessel.sign.click()
    decision_id, key = dock.vessel.view.decision_id, dock.session.current
    close_run(dock.viewer)
    viewer = ViewerModel()
    again = DecideDock(viewer)
    qtbot.addWidget(again)
    open_run(viewer, small_run)
    again.session.open(key)
    assert "A&nbsp;accepted" in again.field.headline.text()
    assert again.vessel.view.decision_id == decision_id
    assert "Signed: " in again.vessel.signed.text()
    close_run(viewer)
    assert not [one for one in verify_run(small_run) if one.severity == "error"]


def test_a_rule_set_that_cannot_be_read_is_told(dock, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("id: bad\n", encoding="utf-8")
    dock.vessel.add_rules(str(path), path.name)
    dock.judge_vessel()
    assert "bad.yaml" in dock.heard[-1]
    assert dock.vessel.view is None


@pytest.fixture
def doubtful(dock, approved):
    """A record on which one criterion waits for a person."""
    dock.vessel.add_rules(str(approved), approved.name)
    dock.judge_vessel()
    record = dock.session.records("SMALL")[0]
    still_open = [{"criterion": "layer-window", "layer": 2, "why": "doubt", "side": None}]
    return {**record, "quality": {**record["quality"], "open": still_open}}


def test_doubts_are_settled_one_by_one(screen, qtbot, doubtful):
    widget = VesselVerdict()
    qtbot.addWidget(widget)
    widget.show_vessels(["SMALL"])
    widget.show_records([doubtful])
    heard = []
    widget.answered.connect(lambda record, answer: heard.append((record, answer)))
    choose(widget.kinds, "settle")
    choose(widget.reasons, "cells-look-usual")
    widget.say.click()
    assert "Answer at least one of the doubts" in widget.trouble.text()
    ((criterion, layer, choice),) = widget.answers
    choose(choice, "met")
    widget.say.click()
    settled = Settlement("layer-window", 2, "met")
    assert heard == [(doubtful, Answer("settle", "cells-look-usual", "", (settled,)))]
    assert (criterion, layer) == ("layer-window", 2)


def test_a_signature_at_the_service_takes_the_password(screen, qtbot, doubtful):
    widget = VesselVerdict()
    qtbot.addWidget(widget)
    widget.show_vessels(["SMALL"])
    widget.show_desk("You sign as Maria.", signs_with_password=True)
    widget.show_records([doubtful])
    widget.show()
    heard = []
    widget.sign_wanted.connect(lambda record, meaning, password: heard.append((meaning, password)))
    widget.sign.click()
    assert widget.signed.text() == "Give your password to sign."
    widget.password.setText("pass phrase")
    widget.sign.click()
    assert heard == [("review", "pass phrase")]
    assert widget.password.text() == ""  # handed on, not kept


def test_every_meaning_of_a_signature_has_words():
    from msc_vision.decision.record import MEANINGS

    assert tuple(MEANING_WORDS) == MEANINGS


def test_without_the_extra_the_dock_says_how_to_install_it(dock, monkeypatch):
    monkeypatch.setattr("napari_msc_vision.docks.service_login.is_installed", lambda: False)
    dock.login.fold.click()
    assert dock.login.words.text() == service_link.HOW_TO_INSTALL
    assert not dock.login.form.isVisible()


def test_a_service_that_is_not_there_is_told_and_the_password_is_gone(dock, monkeypatch):
    monkeypatch.setattr(service_link, "PATIENCE_S", 0.1)
    dock.login.fold.click()
    dock.login.url.setText("http://127.0.0.1:9")
    dock.login.username.setText("maria")
    dock.login.button.click()
    assert "Give the address of the service" in dock.login.words.text()
    dock.login.password.setText("pass phrase")
    dock.login.button.click()
    assert "cannot be reached" in dock.login.words.text()
    assert dock.login.password.text() == ""

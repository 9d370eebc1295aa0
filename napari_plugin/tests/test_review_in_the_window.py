"""A whole review in the real window, by mouse and keys: open, walk, paint, split, reject, judge, sign, open again."""

import threading

import numpy as np
import pytest
from napari_plugin.mouse import Mouse, settle, until
from rule_cases import APPROVED

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.decision.rule_file import rule_set_yaml
from msc_vision.decision.rules import RuleSet
from msc_vision.review.log import read_log
from napari_msc_vision import fields, mosaic_view, proposal_view, registry, tables
from napari_msc_vision import session as session_module
from napari_msc_vision.opening import open_later


@pytest.fixture
def site_rules(tmp_path):
    path = tmp_path / "site-window.yaml"
    path.write_text(rule_set_yaml(RuleSet.model_validate(APPROVED)), encoding="utf-8")
    return path


@pytest.fixture
def opened(shown_viewer, small_run):
    """The small run in a window with its docks."""
    scenes = []
    shown_viewer.window._qt_window.resize(1500, 1050)
    open_later(shown_viewer, small_run, scenes.append)
    until(lambda: bool(scenes) and scenes[0].is_complete)
    settle(0.5)
    return shown_viewer, scenes[0]


def dock(viewer, name):
    return viewer.window.dock_widgets[f"{name} (napari-msc-vision)"]


def cut_a_cell_and_paint_out_a_strip(viewer, scene, correct, rest):
    session = scene.session
    mouse = Mouse(viewer, scene)
    areas = np.bincount(session.masks.cells.ravel())
    areas[0] = 0
    rows, columns = np.nonzero(session.masks.cells == int(areas.argmax()))
    n_cells = np.count_nonzero(areas)
    correct.take("split")
    middle = float(np.median(columns))
    mouse.stroke((max(rows.min() - 4, 0), middle), (min(rows.max() + 4, session.masks.shape[0] - 1), middle))
    rest()
    assert np.count_nonzero(np.bincount(session.masks.cells.ravel())[1:]) > n_cells
    correct.take("not judgeable")
    mouse.stroke((20, 20), (20, 120))
    rest()
    assert not session.masks.judgeable[20, 60]


LONG = {
    ReviewedRun: ("masks", "with_score", "edit", "keep_measured", "act"),
    session_module: ("second_look", "measure_masks", "decide", "save_decision"),
    fields: ("load_picture",),
    mosaic_view: ("thumbnail",),
    tables: ("vessel_cells", "answer"),
    proposal_view: ("propose_masks",),
}
"""What reads, measures or writes a field."""


@pytest.fixture
def threads(monkeypatch):
    """Note for everything that takes long the threads that it ran in."""
    noted = {name: set() for names in LONG.values() for name in names}
    for owner, names in LONG.items():
        for name in names:
            own = getattr(owner, name)

            def noting(*args, _own=own, _name=name, **options):
                noted[_name].add(threading.get_ident())
                return _own(*args, **options)

            monkeypatch.setattr(owner, name, noting)
    return noted


def test_a_review_from_opening_to_signing_is_there_when_the_run_is_opened_again(
    opened, small_run, make_viewer, site_rules
):
    viewer, scene = opened
    session = scene.session
    navigator, correct, decide = (dock(viewer, name) for name in ("Navigator", "Correct", "Decide"))

    def rest():
        settle(0.2)
        until(lambda: scene.is_complete and session.is_measured and session.n_unsaved == 0)

    refused = session.current  # the one that the run found out of focus comes first
    assert session.run.original.fields[refused].score.status == "rejected"
    decide.field.reasons.setCurrentIndex(decide.field.reasons.findText("out of focus"))
    decide.reimage_field()
    rest()
    navigator.open_next()
    until(lambda: session.current != refused)
    rest()
    corrected = session.current
    cut_a_cell_and_paint_out_a_strip(viewer, scene, correct, rest)
    decide.accept_field()
    rest()
    navigator.open_next()
    until(lambda: session.current not in (refused, corrected))
    rest()
    rejected = session.current
    decide.field.reasons.setCurrentIndex(decide.field.reasons.findText("debris, not cells"))
    decide.reject_field()
    rest()
    decide.vessel.add_rules(str(site_rules), site_rules.name)
    decide.judge_vessel()
    until(decide.vessel.sign.isEnabled)
    decide.vessel.sign.click()
    rest()
    record = session.records("SMALL")[0]
    left = session.run.masks(corrected).sha256
    registry.close_run(viewer)

    again = ReviewedRun.open(small_run)
    assert again.problems == ()
    assert again.masks(corrected).sha256 == left
    standings = [again.state.of(key).standing for key in (refused, corrected, rejected)]
    assert standings == ["re-image", "accepted", "rejected"]
    assert not again.state.of(corrected).needs_measuring
    signed = [one for one in read_log(small_run).events if one.action == "signed"]
    assert [one.after["decision_id"] for one in signed] == [record["decision_id"]]
    assert {one["path"].split("/")[0] for one in record["provenance"]["inputs"]} >= {"reviews"}
    other = make_viewer(show=False)
    scene_again = registry.open_run(other, small_run)
    scene_again.session.open(corrected)
    assert np.array_equal(scene_again.cells.data, again.masks(corrected).cells)


def test_what_takes_long_is_never_done_in_the_thread_of_the_window(threads, opened, site_rules):
    viewer, scene = opened
    session = scene.session
    navigator, correct, decide, measure = (dock(viewer, name) for name in ("Navigator", "Correct", "Decide", "Measure"))

    def rest():
        settle(0.2)
        until(lambda: scene.is_complete and session.is_measured and session.n_unsaved == 0)

    measure.parentWidget().raise_()
    until(lambda: measure.cells is not None)
    scene.pictures.clear()
    navigator.open_next()
    rest()
    cut_a_cell_and_paint_out_a_strip(viewer, scene, correct, rest)
    correct.tabs.setCurrentWidget(correct.proposal)
    correct.proposal.propose.click()
    until(lambda: not correct.proposal.accept.isHidden())
    correct.proposal.accept.click()
    rest()
    navigator.toggle_mosaic()
    until(lambda: bool(threads["thumbnail"]))
    decide.vessel.add_rules(str(site_rules), site_rules.name)
    decide.judge_vessel()
    until(decide.vessel.sign.isEnabled)
    assert {name for name, seen in threads.items() if not seen} == set()
    assert {name for name, seen in threads.items() if threading.get_ident() in seen} == set()


def test_a_dock_that_nobody_sees_asks_nothing_and_catches_up_when_it_is_seen(threads, opened):
    viewer, scene = opened
    navigator, correct, measure = (dock(viewer, name) for name in ("Navigator", "Correct", "Measure"))

    def walk_on():
        before = scene.key
        navigator.open_next()
        until(lambda: scene.key != before and scene.is_complete)
        settle(0.3)
        return scene.key

    walk_on()
    assert measure.cells is None
    assert not threads["answer"]
    measure.parentWidget().raise_()
    until(lambda: measure.cells is not None)
    assert measure.cells.fields == (scene.key,)
    correct.parentWidget().raise_()
    until(lambda: measure.visibleRegion().isEmpty())
    threads["answer"].clear()
    walk_on()
    assert measure.cells is None
    assert not threads["answer"]
    measure.parentWidget().raise_()
    until(lambda: measure.cells is not None)
    assert measure.cells.fields == (scene.key,)

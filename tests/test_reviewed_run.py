"""A finished run and its review: figures as the run wrote them, and what follows from what people say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence_cases import run_of
from msc_vision.batch.figures import FigureKeeper, FigureSettings
from msc_vision.batch.review_overlay import objects_bytes
from msc_vision.batch.reviewed import ReviewedRun, measured_content, quick_score, unmeasured
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError, UndefinedResultError
from msc_vision.review.events import Deed, Target
from msc_vision.review.log import append_event
from msc_vision.review.masks import difference
from msc_vision.segmentation.objects import OBJECT_COLUMNS
from msc_vision.statistics.amounts import with_intervals
from msc_vision.statistics.character import Yardsticks, characters
from msc_vision.statistics.rollup import ScoredField, layer_estimates
from msc_vision.statistics.vessel_rollup import batch_estimates, batches_of, vessel_estimates
from review_cases import (
    ANNA,
    BEN,
    doubtful,
    figures_content,
    first_key,
    flask_with_empty_field,
    layers_of,
    opened,
    paint,
    reject,
    say,
    stack_with_empty_field,
)
from sampling_cases import CATALOGUE, SAMPLING, around, grid, spread_layer


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("stack"), stack_with_empty_field())


@pytest.fixture
def out(stack, tmp_path):
    return shutil.copytree(stack, tmp_path / "STACK.run")


@pytest.fixture
def run(out):
    return opened(out)


# --- as the run wrote it ---------------------------------------------------------------------------------------------


def test_without_a_review_every_figure_is_the_one_that_the_run_wrote(run, out):
    assert figures_content(run.figures()) == json.loads((out / "vessels.json").read_text())
    assert layers_of(run.figures()).equals(pq.ParquetFile(out / "layers.parquet").read())
    assert run.figures() == run.original


def test_looking_changes_nothing(run):
    say(run, ANNA, "looked", first_key(run))
    assert run.figures() == run.original


def full_figures(fields):
    """The slow way: everything from all fields at once."""
    layers = layer_estimates(fields.values(), CATALOGUE, settings=SAMPLING)
    vessels = vessel_estimates(layers, CATALOGUE, settings=SAMPLING)
    batches = batch_estimates(vessels, batches_of(one.row for one in fields.values()))
    found = characters(fields.values(), "recipe", Yardsticks())
    return vessels, batches, with_intervals(found, fields.values(), CATALOGUE, SAMPLING)


@settings(max_examples=8)
@given(st.data())
def test_figures_kept_at_hand_are_those_of_doing_everything_again(data):
    made = [
        *flask_with_empty_field("A"),
        *flask_with_empty_field("B"),
        *(one for layer in (1, 6, 12) for one in spread_layer(layer, around(70.0 + layer, seed=layer))),
    ]
    fields = {one.score.key: one for one in made}
    keeper = FigureKeeper(fields, FigureSettings(CATALOGUE, "standard", SAMPLING, "recipe", Yardsticks()))
    signs = ("suspect", "no visual sign", "not assessable", None)
    originals = dict(fields)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(fields)))
        score = replace(
            originals[key].score,
            confluency_percent=data.draw(st.floats(0, 100)),
            contamination=data.draw(st.sampled_from(signs)),
            findings={"aggregates_per_cm2": data.draw(st.floats(0, 50))},
        )
        if data.draw(st.booleans()):
            score = replace(score, status="rejected", reason="no", confluency_percent=None, contamination=None)
        fields = fields | {key: ScoredField(fields[key].row, score, data.draw(st.booleans()))}
        found = keeper.figures(fields)
        assert (found.vessels, found.batches, found.characters) == full_figures(fields)


# --- what people say -------------------------------------------------------------------------------------------------


def test_rejecting_the_empty_field_of_layer_3_raises_its_confluency(run):
    before = run.original.vessel("STACK").layers[2]
    reject(run, ANNA, first_key(run, layer=3))
    after = run.figures().vessel("STACK").layers[2]
    others = [one.score.confluency_percent for one in run.original.fields.values() if one.row.layer == 3][1:]
    assert after.confluency_percent == pytest.approx(np.mean(others))
    assert after.confluency_percent > before.confluency_percent + 5
    assert (after.n_fields_scored, after.n_fields_rejected, after.state) == (8, 1, "measured-degraded")


def test_a_rejected_field_says_who_and_why(run):
    key = first_key(run, layer=3)
    reject(run, ANNA, key)
    score = run.figures().fields[key].score
    assert (score.status, score.confluency_percent) == ("rejected", None)
    assert score.reason == "Rejected by Anna: debris: a hair over the field"


def test_reopening_a_field_gives_its_figures_back(run):
    key = first_key(run)
    reject(run, ANNA, key)
    say(run, ANNA, "reopened", key, "mistake", "wrong field")
    assert run.figures() == run.original


def test_accepted_fields_keep_their_flags_and_are_no_doubt_any_more(tmp_path):
    fields = doubtful(flask_with_empty_field(), "unsure")
    keeper = FigureKeeper(
        {one.score.key: one for one in fields},
        FigureSettings(CATALOGUE, "standard", SAMPLING, "recipe", Yardsticks()),
    )
    flagged = keeper.figures({one.score.key: one for one in fields})
    accepted = keeper.figures({one.score.key: replace(one, is_accepted=True) for one in fields})
    assert flagged.vessels[0].layers[0].method_error_points == SAMPLING.flagged_error_points
    assert accepted.vessels[0].layers[0].method_error_points == SAMPLING.method_error_points
    assert all(one.score.flags == ("unsure",) for one in accepted.fields.values())


def test_what_others_added_is_read_and_nothing_is_lost(out):
    annas, bens = opened(out), opened(out)
    key, other = first_key(annas, 1), first_key(annas, 3)
    reject(annas, ANNA, key)
    reject(bens, BEN, other)
    assert [one.reviewer for one in annas.refresh()] == [BEN]
    bens.refresh()
    assert annas.figures() == bens.figures() == opened(out).figures()
    assert annas.refresh() == ()


def test_looking_at_what_others_corrected_takes_nothing_in(out):
    annas, bens = opened(out), opened(out)
    key = first_key(annas)
    before = annas.masks(key)
    written = paint(bens, BEN, key)
    assert annas.masks_on_disk(key).equals(bens.masks(key))
    assert annas.masks(key) is before
    say(annas, ANNA, "looked", key)
    assert opened(out).state.of(key).events[-1].follows is None  # she did not know of it
    assert annas.refresh() == (written,)
    assert annas.masks_on_disk(key).equals(annas.masks(key))


def test_what_a_person_corrected_is_not_read_from_disk_again(out):
    annas = opened(out)
    key = first_key(annas)
    paint(annas, ANNA, key)
    annas.masks(key)
    shutil.rmtree(out / "reviews" / "patches")
    assert annas.masks_on_disk(key).equals(annas.masks(key))


def test_a_clock_that_runs_ahead_does_not_turn_the_order_round(out):
    run = opened(out)
    key = first_key(run)
    ahead = datetime.now(UTC) + timedelta(hours=2)
    run.act(BEN, Deed("rejected", run.target(key), reason_code="debris"), at=ahead)
    say(run, ANNA, "accepted", key)
    state = opened(out).state.of(key)
    assert (state.standing, state.is_disputed) == ("accepted", False)


def test_what_is_not_there_cannot_be_reviewed(run):
    with pytest.raises(InvalidArgumentError, match="has no field 'nowhere'"):
        run.act(ANNA, Deed("looked", Target("STACK", 1, "nowhere")))
    with pytest.raises(InvalidArgumentError, match="shows no vessel 'OTHER'"):
        run.act(ANNA, Deed("held", Target("OTHER"), reason_code="other"))


# --- visual signs ----------------------------------------------------------------------------------------------------


def mark(run, who, key, kind="dots", place="dots 0:10,0:10", note="moving dots"):
    return say(run, who, "finding-added", key, reason=note, after={"kind": kind, "place": place})


def dismiss(run, who, key, place):
    before = {"place": place}
    return run.act(who, Deed("finding-dismissed", run.target(key), before, None, "debris", "pieces of plastic"))


def signs(run, key):
    score, vessel = run.figures().fields[key].score, run.figures().characters.vessels["STACK"]
    return score.contamination, vessel.contamination


def test_a_marked_sign_makes_field_and_vessel_suspect(run):
    key = first_key(run)
    mark(run, ANNA, key)
    assert signs(run, key) == ("suspect", "suspect")
    score = run.figures().fields[key].score
    assert score.contamination_places == ("dots 0:10,0:10",)
    assert "dots marked by Anna (moving dots)" in score.contamination_note


def test_accepting_or_rejecting_a_suspect_field_silences_nothing(run):
    key = first_key(run)
    mark(run, ANNA, key)
    say(run, BEN, "accepted", key)
    assert signs(run, key) == ("suspect", "suspect")
    reject(run, BEN, key)
    assert signs(run, key) == ("suspect", "suspect")


def test_a_suspicion_ends_when_every_place_was_dismissed(run):
    key = first_key(run)
    mark(run, ANNA, key)
    mark(run, ANNA, key, place="dots 20:30,0:10")
    dismiss(run, BEN, key, "dots 0:10,0:10")
    assert signs(run, key)[0] == "suspect"
    dismiss(run, BEN, key, "dots 20:30,0:10")
    assert signs(run, key)[0] == "no visual sign"
    note = run.figures().fields[key].score.contamination_note
    assert note == "The 2 places that looked suspect were dismissed by Ben (debris: pieces of plastic)."


def test_a_sign_that_is_seen_again_after_a_dismissal_counts_again(run):
    key = first_key(run)
    mark(run, ANNA, key)
    dismiss(run, BEN, key, "dots 0:10,0:10")
    mark(run, ANNA, key)
    assert signs(run, key)[0] == "suspect"


def test_other_findings_change_no_figure(run):
    mark(run, ANNA, first_key(run), kind="aggregate", place="aggregate 0:10,0:10")
    assert run.figures() == run.original


# --- corrected masks -------------------------------------------------------------------------------------------------


def test_painting_over_half_a_field_raises_its_cover_at_once(run):
    key = first_key(run, layer=3)
    event = paint(run, ANNA, key, rows=slice(0, 50))
    assert run.figures().fields[key].score.confluency_percent == pytest.approx(50.0, abs=1.0)
    assert run.masks(key).foreground[:50].all()
    assert event.after["tool"] == "paint"
    assert unmeasured(run) == [key]


def test_corrections_are_there_when_the_run_is_opened_again(run, out):
    key = first_key(run, layer=3)
    paint(run, ANNA, key)
    paint(run, BEN, key, rows=slice(50, 60))
    again = opened(out)
    assert again.masks(key).equals(run.masks(key))
    assert again.figures() == run.figures()


def test_what_was_taken_back_leaves_the_figures_of_the_run(run):
    key = first_key(run, layer=3)
    event = paint(run, ANNA, key)
    run.edit(key, run.patch(event).reversed(), ANNA, "undo")
    assert run.masks(key).equals(run.original_masks(key))
    assert run.figures().vessels == run.original.vessels


def test_figures_of_an_edit_are_those_after_it_was_written(run):
    key = first_key(run, layer=3)
    masks = run.masks(key)
    after = masks.copy()
    after.foreground[:30] = True
    ahead = run.with_score(key, run.quick_score(run.base_score(key), after))
    run.edit(key, difference(masks, after), ANNA, "paint")
    assert run.figures() == ahead


def test_a_rejected_field_stays_rejected_while_it_is_corrected(run):
    key = first_key(run)
    reject(run, ANNA, key)
    found = run.with_score(key, replace(run.original.fields[key].score, confluency_percent=1.0))
    assert found.fields[key].score.status == "rejected"


def test_measured_figures_are_kept_and_read_again(run, out):
    key = first_key(run, layer=3)
    paint(run, ANNA, key)
    masks = run.masks(key)
    score = replace(run.base_score(key), morphology={"order_field": 0.25}, n_objects=1)
    objects = np.zeros(1, OBJECT_COLUMNS)
    event = run.keep_measured(key, masks, score, objects, ANNA)
    assert event.after["masks_sha256"] == masks.sha256
    assert unmeasured(run) == []
    assert opened(out).figures().fields[key].score == score
    assert opened(out).objects(key).num_rows == 1


def test_masks_that_somebody_else_corrected_meanwhile_are_not_said_to_be_measured(run):
    key = first_key(run)
    paint(run, ANNA, key)
    stale = run.masks(key)
    paint(run, BEN, key, rows=slice(60, 70), value=False)
    assert run.keep_measured(key, stale, run.base_score(key), np.zeros(0, OBJECT_COLUMNS), ANNA) is None
    assert unmeasured(run) == [key]


@pytest.mark.parametrize(("tool", "status"), [("proposal", "scored"), ("annotation", "scored"), ("paint", "rejected")])
def test_only_masks_made_anew_give_a_field_figures_that_the_run_could_not_score(out, tool, status):
    run = opened(out)
    key = first_key(run)
    scored = run.original.fields[key].score
    rejected = replace(scored, status="rejected", reason="out of focus", confluency_percent=None)
    run._fields[key] = replace(run._fields[key], score=rejected)
    masks = run.masks(key)
    after = masks.copy()
    after.foreground[:] = True
    run.edit(key, difference(masks, after), ANNA, tool)
    run.keep_measured(key, after, replace(scored, confluency_percent=100.0), np.zeros(0, OBJECT_COLUMNS), ANNA)
    assert run.figures().fields[key].score.status == status


def test_a_score_keeps_every_digit_in_its_event(run):
    score = replace(run.original.fields[first_key(run)].score, quality={"a": 0.1 + 0.2, "b": float("nan")})
    content = json.loads(json.dumps(measured_content(run.masks(first_key(run)), score)))["score"]
    assert content["quality"] == {"a": 0.30000000000000004}
    assert content["confluency_percent"] == score.confluency_percent


def test_tables_of_objects_have_the_same_bytes_for_the_same_objects():
    objects = np.zeros(3, OBJECT_COLUMNS)
    assert objects_bytes(objects) == objects_bytes(objects.copy())


def test_quick_figures_of_masks_nobody_edited_are_those_of_the_run(run):
    for key, one in run.original.fields.items():
        quick = quick_score(one.score, run.original_masks(key))
        assert quick.confluency_percent == pytest.approx(one.score.confluency_percent, abs=1e-9)
        assert quick.judgeable_percent == one.score.judgeable_percent


def test_a_field_of_which_nothing_can_be_judged_has_no_confluency(run):
    masks = run.original_masks(first_key(run)).copy()
    masks.judgeable[:] = False
    with pytest.raises(UndefinedResultError, match="Nothing of the field is judgeable: reject the field"):
        quick_score(run.original.fields[first_key(run)].score, masks)


# --- damage and crashes ----------------------------------------------------------------------------------------------


def test_a_patch_that_is_gone_leaves_the_field_as_it_was_and_is_told(run, out):
    key = first_key(run, layer=3)
    event = paint(run, ANNA, key)
    (out / event.after["patch"]).unlink()
    again = opened(out)
    assert again.figures().fields[key].score == again.original.fields[key].score
    assert "counts as it was before its corrections" in again.problems[0]
    with pytest.raises(InvalidDataError, match="cannot be read"):
        again.masks(key)


def test_a_patch_without_an_event_counts_for_nothing(run, out):
    key = first_key(run, layer=3)
    event = paint(run, ANNA, key)
    (out / "reviews" / event.name).unlink()  # as if the program had been killed between the two
    assert opened(out).figures() == run.original
    assert opened(out).problems == ()


def test_a_program_killed_while_it_writes_loses_at_most_the_last_stroke(out):
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from review_cases import ANNA, first_key, opened, paint
        from pathlib import Path
        run = opened(Path({str(out)!r}))
        key = first_key(run, 3)
        for i in range(1000):
            paint(run, ANNA, key, rows=slice(i % 90, i % 90 + 5), value=i % 2 == 0)
            print(i, flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 4:
                os.kill(process.pid, signal.SIGKILL)
                break
        told = 5 + len(process.stdout.readlines())
    again = opened(out)
    key = first_key(again, 3)
    assert again.problems == ()
    assert told <= len(again.state.of(key).edits) <= told + 1
    assert again.masks(key).shape == (100, 100)
    reject(again, ANNA, key)  # and one can go on


def test_a_folder_that_cannot_be_written_to_takes_nothing_in(run, out):
    (out / "reviews").write_text("a file in the place of the folder, as on a disk that takes nothing")
    with pytest.raises(OutputError, match=r"cannot be written: .+\."):
        reject(run, ANNA, first_key(run))
    assert run.figures() == run.original
    assert run.state.fields == {}


def test_an_event_of_another_run_is_left_out_and_told(run, out, tmp_path):
    other = ReviewedRun.open(shutil.copytree(out, tmp_path / "other"))
    event = reject(other, ANNA, first_key(other))
    record = json.loads((out / "run.json").read_text())
    append_event(out, replace(event, run_id="elsewhere"))
    assert record["run_id"] == event.run_id
    again = opened(out)
    assert again.figures() == again.original
    assert any("was altered" in one or "another run" in one for one in again.problems)


def test_a_run_of_a_newer_version_says_what_to_do(out):
    content = json.loads((out / "vessels.json").read_text()) | {"schema_version": 99}
    (out / "vessels.json").write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=r"written by a newer msc-vision \(schema 99.*update"):
        opened(out)


@pytest.mark.parametrize("name", ["fields.parquet", "vessels.json"])
def test_a_damaged_run_is_said_to_be_one(out, name):
    (out / name).write_bytes(b"half of it")
    with pytest.raises(InvalidDataError, match="verify"):
        opened(out)


def test_what_is_no_run_folder_is_said_to_be_none(tmp_path):
    with pytest.raises(InvalidArgumentError, match="is no run folder"):
        opened(tmp_path)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_whatever_order_files_come_in_the_figures_are_the_same(stack, tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order") / "run"
    shutil.copytree(stack, folder)
    run = opened(folder)
    keys = [first_key(run, layer) for layer in (1, 3, 6)]
    for key in keys:
        paint(run, ANNA, key)
        reject(run, BEN, key)
    events = [one for key in keys for one in run.state.of(key).events]
    for one in events:
        (folder / "reviews" / one.name).unlink()
    late = opened(folder)
    for i in order:
        append_event(folder, events[i])
        late.refresh()
        late.figures()
    assert late.figures() == run.figures()


def test_grids_of_the_cases_are_where_they_say():
    assert len(grid(3, 75.0)) == 9


def test_one_changed_field_costs_its_layer_and_its_vessel_and_nothing_else():
    fields = {one.score.key: one for one in stack_with_empty_field()}
    keeper = FigureKeeper(fields, FigureSettings(CATALOGUE, "standard", SAMPLING, "recipe", Yardsticks()))
    before = keeper.figures(fields)
    key = next(key for key, one in fields.items() if one.row.layer == 3)
    changed = replace(fields[key], score=replace(fields[key].score, confluency_percent=40.0))
    after = keeper.figures(fields | {key: changed})
    layers = zip(before.vessels[0].layers, after.vessels[0].layers, strict=True)
    assert [old.layer for old, new in layers if old is not new and old.state == "measured"] == [3]
    characters_of = before.characters.layers, after.characters.layers
    assert [place for place in characters_of[0] if characters_of[0][place] is not characters_of[1][place]] == [
        ("STACK", 3)
    ]
    again = keeper.figures(fields)
    assert again.vessels[0] is before.vessels[0]
    assert again.characters.vessels["STACK"] is before.characters.vessels["STACK"]

"""``msc-vision review`` and the form of its events."""

import json
import shutil

import jsonschema
import pytest

from evidence_cases import run_of
from msc_vision.review.events import Deed, Target
from msc_vision.review.schema import form_problems, review_schema
from review_cases import ANNA, BEN, first_key, flask_with_empty_field, opened, paint, reject, say
from test_cli import call, error_of


@pytest.fixture(scope="module")
def flask(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("flask"), flask_with_empty_field())


@pytest.fixture
def out(flask, tmp_path):
    return shutil.copytree(flask, tmp_path / "FLASK.run")


def test_a_run_that_nobody_reviewed_says_so_and_what_to_do(out):
    result = call("review", out)
    assert result.exit_code == 0, result.output
    assert "FLASK: 0 of 9 looked at." in result.stdout
    assert "FLASK: 9 fields nobody looked at." in result.stdout
    assert "napari --plugin napari-msc-vision" in result.stdout


def test_progress_figures_and_who_did_what(out):
    run = opened(out)
    reject(run, ANNA, first_key(run))
    say(run, BEN, "accepted", run.latest[1])
    paint(run, BEN, run.latest[2])
    result = call("review", out)
    assert "FLASK: 3 of 9 looked at, 1 accepted, 1 rejected, 1 corrected." in result.stdout
    assert " % (95 %: " in result.stdout
    assert " after the review" in result.stdout
    assert "its masks were corrected; cover and counts follow" in result.stdout
    assert "Anna" in result.stdout
    assert "rejected · debris: a hair over the field" in result.stdout
    assert "edited · paint" in result.stdout


def test_the_same_as_json(out):
    run = opened(out)
    reject(run, ANNA, first_key(run))
    content = json.loads(call("review", out, "--json").stdout)
    (vessel,) = content["vessels"]
    assert (vessel["n_fields"], vessel["n_looked_at"], vessel["n_rejected"]) == (9, 1, 1)
    assert vessel["confluency_after_percent"] > vessel["confluency_before_percent"] + 5
    assert content["events"][0]["reviewer"]["name"] == "Anna"
    assert content["still_open"] == ["FLASK: 8 fields nobody looked at."]


def test_measuring_what_was_left_closes_it(out):
    run = opened(out)
    paint(run, ANNA, first_key(run), rows=slice(40, 60))
    result = call("review", out, "--measure")
    assert result.exit_code == 0, result.output
    assert ".tif: measured." in result.stderr
    again = opened(out)
    review = again.state.of(first_key(again))
    assert not review.needs_measuring
    assert review.measured.reviewer.name != "Anna"
    assert again.figures().fields[first_key(again)].score.confluency_percent == pytest.approx(22.0, abs=1)


def test_a_field_whose_image_is_gone_is_named_and_left_open(out):
    run = opened(out)
    key = first_key(run)
    paint(run, ANNA, key)
    run.task(key).source.rename(run.task(key).source.with_suffix(".gone"))
    try:
        result = call("review", out, "--measure")
    finally:
        run.task(key).source.with_suffix(".gone").rename(run.task(key).source)
    assert result.exit_code == 3
    assert "not measured: " in result.stderr
    assert opened(out).state.of(key).needs_measuring


def test_a_damaged_event_is_told_on_stderr(out):
    run = opened(out)
    event = reject(run, ANNA, first_key(run))
    (out / "reviews" / event.name).write_text("{")
    result = call("review", out)
    assert result.exit_code == 0
    assert f"Cannot be relied on: reviews/{event.name} cannot be read as JSON" in result.stderr


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    assert "is no run folder" in error_of(call("review", tmp_path))


# --- the form of events ----------------------------------------------------------------------------------------------


def test_the_schema_is_one_and_events_of_every_kind_are_of_its_form(out):
    jsonschema.Draft202012Validator.check_schema(review_schema())
    run = opened(out)
    key = first_key(run)
    paint(run, ANNA, key)
    run.keep_measured(key, run.masks(key), run.base_score(key), _objects(), ANNA)
    reject(run, BEN, key)
    say(run, ANNA, "finding-added", key, after={"kind": "dots", "place": "dots 0:9,0:9"})
    run.act(ANNA, Deed("finding-dismissed", run.target(key), {"place": "dots 0:9,0:9"}, reason_code="debris"))
    run.act(ANNA, Deed("held", Target("FLASK"), reason_code="other"))
    files = sorted((out / "reviews").glob("*.json"))
    assert len(files) == 6
    for path in files:
        assert form_problems(json.loads(path.read_bytes())) == ()


def _objects():
    import numpy as np

    from msc_vision.segmentation.objects import OBJECT_COLUMNS

    return np.zeros(2, OBJECT_COLUMNS)


def test_two_heads_are_of_the_form(out):
    annas, bens = opened(out), opened(out)
    key = first_key(annas)
    say(annas, ANNA, "accepted", key)
    reject(bens, BEN, key)
    annas.refresh()
    event = say(annas, ANNA, "accepted", key)
    assert len(event.follows.split()) == 2
    assert form_problems(json.loads((out / "reviews" / event.name).read_bytes())) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"action": "guessed"}, "is not one of"),
        ({"reason_code": None}, "is not of type 'string'"),
        ({"at": "yesterday"}, "does not match"),
        ({"more": 1}, "Additional properties"),
    ],
)
def test_what_is_not_of_the_form_is_told(out, change, told):
    run = opened(out)
    event = reject(run, ANNA, first_key(run))
    content = json.loads((out / "reviews" / event.name).read_bytes()) | change
    assert any(told in one for one in form_problems(content))

"""From runs to baselines and back: what is said of layers and vessels beyond confluency, and the two commands."""

import json
import math
import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from typer.testing import CliRunner

from batch_cases import VESSEL_TYPE, cell_image, manifest_of, plain_score, write_images
from msc_vision.batch.drift_course import drift_course
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, compared_with, plan_run
from msc_vision.batch.profiles import baseline_of_runs, read_profiles
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.run import resume_run, run_folder
from msc_vision.batch.verify import verify_run
from msc_vision.cli import app
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.manifest import write_manifest
from msc_vision.morphology.baseline import load_baseline, save_baseline
from msc_vision.morphology.profile import PROFILE_TRAITS
from msc_vision.morphology.reference import DriftSettings
from msc_vision.records import FieldScore, Manifest, ManifestRow
from msc_vision.statistics.character import Yardsticks, characters
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import load_catalogue
from review_cases import ANNA, first_key, reject

QUICK = DriftSettings(n_refits=60, n_resamples=100, fields_min=20)
CATALOGUE = load_catalogue()


def seen(task, *, shift=0.0, tile_map=map):
    """Score by the plain threshold, and add a profile that is drawn from the field's own pixels."""
    score = plain_score(task, tile_map=tile_map)
    rng = np.random.default_rng(int(score.image_sha256[:8], 16))
    values = 1 + 0.01 * score.confluency_percent + 0.1 * (rng.standard_normal(len(PROFILE_TRAITS)) + shift)
    profile = dict(zip([trait.name for trait in PROFILE_TRAITS], values.tolist(), strict=True))
    return replace(
        score,
        working_pixel_size_um=1.24,
        morphology=profile | {"density_per_cm2": 5000.0, "cells_per_covered_cm2": 20_000 * math.exp(-values[0])},
        findings={"aggregates_per_cm2": 2.0, "aggregate_area_percent": 0.5},
        contamination="no visual sign",
        contamination_note="No visual sign of contamination in this field.",
    )


def vessel_run(folder, number, scorer=seen, *, bank="MCB-7", passage=3, yardsticks=None):
    """Run a small vessel whose pictures are its own."""
    images = folder / f"V{number}"
    write_images(images, n=8)
    for i, path in enumerate(sorted(images.rglob("*.tif"))):
        tifffile.imwrite(path, cell_image(1000 * number + i))
    context = {"bank": bank, "medium": "aMEM", "objective": "10x", "passage": passage}
    rows = tuple(replace(row, **context) for row in manifest_of(images, f"V{number}").rows)
    plan = plan_run(
        Manifest(images, rows), CATALOGUE, load_pipeline("contrast"), folder / f"V{number}.run",
        settings=RunSettings(workers=1),
    )  # fmt: skip
    plan = plan if yardsticks is None else compared_with(plan, yardsticks)
    run_folder(plan, scorer=scorer)
    return plan


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [vessel_run(folder, number).out for number in range(4)]


@pytest.fixture(scope="module")
def baseline(runs):
    return baseline_of_runs(runs, "mcb-7", settings=QUICK)


def test_a_baseline_of_runs_says_where_it_comes_from(runs, baseline):
    head = baseline.head
    assert (head.n_fields, head.n_vessels, head.n_layers) == (32, 4, 8)
    assert head.applies_to["bank"] == "MCB-7"
    assert head.applies_to["surface"] is None
    assert [one.n_fields for one in head.origin.sources] == [8] * 4
    records = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    assert [one.run_id for one in head.origin.sources] == [record["run_id"] for record in records]


def test_a_run_with_a_baseline_scores_fields_layers_and_vessels(baseline, tmp_path):
    shifted = partial(seen, shift=3.0)
    out = vessel_run(tmp_path, 9, shifted, yardsticks=Yardsticks(baseline)).out
    assert verify_run(out) == ()
    fields = pq.read_table(out / "fields.parquet").to_pylist()
    assert {row["drift_state"] for row in fields} == {"compared"}
    assert all(row["morphology_density_per_cm2"] == 5000 for row in fields)
    layers = [row for row in pq.read_table(out / "layers.parquet").to_pylist() if row["state"] == "measured"]
    assert [row["drift_alarm"] for row in layers] == [True, True]
    assert layers[0]["contamination"] == "no visual sign"
    (vessel,) = json.loads((out / "vessels.json").read_text(encoding="utf-8"))["vessels"]
    assert vessel["character"]["drift_alarm"]
    assert vessel["character"]["drift_score"] > 2
    assert vessel["character"]["drift_words"]
    assert vessel["character"]["density_per_cm2"] == 5000
    assert vessel["layers"][0]["character"]["aggregates_per_cm2"] == 2
    spread = vessel["character"]
    assert (spread["spread_state"], spread["spread_alarm"], spread["spread_n_fields"]) == ("compared", True, 8)
    assert spread["spread_interval"][1] < 1
    assert "times as many cells per covered cm² as in the baseline" in spread["spread_words"]
    assert {row["spread_state"] for row in layers} == {"compared"}
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["settings"]["baseline"] == {"id": "mcb-7", "version": 1, "sha256": baseline.sha256}


def test_a_run_without_a_baseline_says_so_and_has_no_score(runs):
    (vessel,) = json.loads((runs[0] / "vessels.json").read_text(encoding="utf-8"))["vessels"]
    character = vessel["character"]
    assert (character["drift_state"], character["drift_score"]) == ("no baseline", None)
    assert character["drift_reason"] == "no baseline was given"
    assert (character["spread_state"], character["spread_ratio"]) == ("no baseline", None)


def test_another_bank_is_not_compared(baseline, tmp_path):
    out = vessel_run(tmp_path, 9, bank="MCB-8", yardsticks=Yardsticks(baseline)).out
    (vessel,) = json.loads((out / "vessels.json").read_text(encoding="utf-8"))["vessels"]
    assert vessel["character"]["drift_state"] == vessel["character"]["spread_state"] == "not comparable"
    assert "bank is 'MCB-8', the baseline is of 'MCB-7'" in vessel["character"]["drift_reason"]


def test_a_run_is_not_resumed_with_another_baseline(baseline, tmp_path):
    plan = vessel_run(tmp_path, 9, yardsticks=Yardsticks(baseline))
    with pytest.raises(InvalidArgumentError, match=r"baseline \(was .*, is absent\)"):
        resume_run(replace(plan, identity={k: v for k, v in plan.identity.items() if k != "baseline"}), scorer=seen)


def drift_of_layer_1(run):
    """Return what is said of the drift of layer 1 after its first field was rejected."""
    figures = run.figures()
    (vessel,) = figures.vessels
    character = figures.characters.layers[vessel.vessel_id, 1]
    return character.drift_state, character.drift_reason


def rejected_first_field(out):
    """Return a run of which somebody rejected the first field."""
    run = ReviewedRun.open(out)
    reject(run, ANNA, first_key(run))
    return run


def test_what_a_review_changes_is_compared_with_the_baseline_that_the_run_keeps(baseline, tmp_path):
    out = vessel_run(tmp_path, 9, partial(seen, shift=3.0), yardsticks=Yardsticks(baseline)).out
    assert load_baseline(out / "baseline").sha256 == baseline.sha256
    untouched = ReviewedRun.open(out)
    assert untouched.figures() == untouched.original
    run = rejected_first_field(out)
    assert drift_of_layer_1(run) == ("compared", None)
    given = ReviewedRun.open(out, yardsticks=Yardsticks(baseline))
    assert given.figures() == run.figures()
    ((name, layer),) = [place for place in run.figures().characters.layers if place[1] == 1]
    before, after = (one.characters.layers[name, layer] for one in (run.original, run.figures()))
    assert before.drift_score != after.drift_score


def test_without_its_baseline_nothing_is_said_of_the_drift_of_a_reviewed_layer(baseline, tmp_path):
    plan = vessel_run(tmp_path, 9, yardsticks=Yardsticks(baseline))
    shutil.rmtree(plan.out / "baseline")
    state, reason = drift_of_layer_1(rejected_first_field(plan.out))
    assert state == "not comparable"
    assert reason == (
        "a review changed what was compared, and baseline mcb-7, version 1, is not at hand: open the run together with"
        " it"
    )
    (complaint,) = verify_run(plan.out)
    assert (complaint.severity, complaint.path) == ("warning", "baseline")
    assert "--resume with --baseline puts it there" in complaint.message
    resume_run(plan, scorer=seen)
    assert verify_run(plan.out) == ()
    assert drift_of_layer_1(ReviewedRun.open(plan.out)) == ("compared", None)


def test_a_copy_of_the_baseline_that_was_altered_is_not_relied_on(baseline, tmp_path):
    out = vessel_run(tmp_path, 9, yardsticks=Yardsticks(baseline)).out
    head = out / "baseline" / "baseline.json"
    head.write_text(head.read_text(encoding="utf-8").replace("MCB-7", "MCB-8"), encoding="utf-8")
    state, reason = drift_of_layer_1(rejected_first_field(out))
    assert state == "not comparable"
    assert "the copy of baseline mcb-7, version 1, cannot be relied on" in reason
    assert "was altered since it was made" in reason
    assert [(one.severity, one.path) for one in verify_run(out)] == [("error", "baseline")]


def test_a_baseline_of_something_else_is_not_taken_for_that_of_the_run(runs, baseline, tmp_path):
    out = vessel_run(tmp_path, 9, yardsticks=Yardsticks(baseline)).out
    shutil.rmtree(out / "baseline")
    save_baseline(baseline_of_runs(runs, "mcb-8", settings=QUICK), out / "baseline")
    state, reason = drift_of_layer_1(rejected_first_field(out))
    assert state == "not comparable"
    assert "holds another baseline than baseline mcb-7, version 1" in reason
    (complaint,) = verify_run(out)
    assert complaint.message == "It is not baseline mcb-7, version 1, of this run."


def test_a_vessel_in_two_runs_would_count_twice(runs):
    with pytest.raises(InvalidArgumentError, match=r"Vessel V0 is in .* its fields would count twice"):
        baseline_of_runs([runs[0], runs[0]], "twice")


def test_a_run_without_profiles_makes_no_baseline(tmp_path):
    out = vessel_run(tmp_path, 5, plain_score).out
    with pytest.raises(InvalidArgumentError, match="has no profiles of its fields"):
        read_profiles(out)
    with pytest.raises(InvalidArgumentError, match="is no run folder"):
        read_profiles(tmp_path)


def test_over_passages_a_lasting_drift_raises_an_alarm(baseline, tmp_path):
    runs = [
        vessel_run(tmp_path, 20 + passage, partial(seen, shift=0.35 * max(passage - 4, 0)), passage=passage).out
        for passage in range(2, 8)
    ]
    course = drift_course(runs[::-1], baseline)
    assert [one.passage for one in course.vessels] == [2, 3, 4, 5, 6, 7]
    assert course.first_alarm in {"V25", "V26", "V27"}
    assert "370" in course.chart.words


def test_vessels_that_nothing_puts_in_order_are_not_charted(runs, baseline):
    course = drift_course(runs, baseline)  # all of passage 3, no times
    assert course.chart is None
    assert {one.drift.state for one in course.vessels} == {"compared"}


def test_the_commands_make_a_baseline_and_compare_with_it(runs, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="msc-vision")

    made = call("baseline", *runs, "--out", tmp_path / "MCB-7", "--description", "four simulated flasks")
    assert made.exit_code == 0, made.output
    assert made.stdout.strip() == str(tmp_path / "MCB-7")
    assert "32 fields on 8 layers of 4 vessels" in made.stderr
    assert "cells were counted in 32 fields" in " ".join(made.stderr.split())
    assert "four simulated flasks" in (tmp_path / "MCB-7" / "card.md").read_text(encoding="utf-8")
    found = call("drift", runs[0], "--baseline", tmp_path / "MCB-7", "--json")
    assert found.exit_code == 0, found.output
    (vessel,) = json.loads(found.stdout)["vessels"]
    assert vessel["vessel_id"] == "V0"
    assert vessel["drift"]["state"] == "compared"
    assert not vessel["drift"]["is_alarm"]
    assert vessel["spread"]["state"] == "compared"
    assert not vessel["spread"]["is_alarm"]
    shown = call("drift", *runs, "--baseline", tmp_path / "MCB-7")
    assert "Chance without drift" in shown.stderr
    assert "V3: " in shown.stderr
    assert "times as many cells per covered cm² as in the baseline" in " ".join(shown.stderr.split())
    refused = call("baseline", *runs, "--out", tmp_path / "MCB-7")
    assert refused.exit_code == 2
    assert "exists already; choose another --out" in refused.stderr


def test_a_run_ends_with_how_many_cells_there_are_to_a_covered_area(baseline, tmp_path, monkeypatch):
    save_baseline(baseline, tmp_path / "b")
    images = tmp_path / "V9"
    write_images(images, n=8)
    context = {"bank": "MCB-7", "medium": "aMEM", "objective": "10x"}
    rows = tuple(replace(row, **context) for row in manifest_of(images, "V9").rows)
    write_manifest(Manifest(images, rows), images / "manifest.csv")
    monkeypatch.setattr("msc_vision.batch.run.run_folder", partial(run_folder, scorer=partial(seen, shift=3.0)))
    options = ["--baseline", tmp_path / "b", "--pipeline", "contrast", "--workers", 1, "--out", tmp_path / "V9.run"]
    ended = CliRunner().invoke(app, [str(one) for one in ("run", images, *options)], prog_name="msc-vision")
    assert ended.exit_code == 0, ended.output
    said = " ".join(ended.stderr.split())
    assert re.search(r"V9: 0\.\d+ times as many cells per covered cm² as in the baseline \(.*\): ALARM\.", said)


def test_too_few_vessels_are_refused_in_one_line(runs, tmp_path):
    result = CliRunner().invoke(app, ["baseline", str(runs[0]), "--out", str(tmp_path / "b")], prog_name="msc-vision")
    assert result.exit_code == 2
    assert "A baseline needs 30 fields with a profile from 3 vessels; these runs have 8 from 1." in result.stderr


# --- layers and vessels from fields -----------------------------------------------------------------------------------


def field(number, layer=1, **score):
    row = ManifestRow(f"f{number}.tif", "V1", VESSEL_TYPE, layer)
    base = {"confluency_percent": 50.0, "judgeable_percent": 100.0, "judgeable_area_mm2": 1.0, "field_area_mm2": 1.0}
    return ScoredField(row, FieldScore(f"k{number}", row.path, "scored", **base | score))


@pytest.mark.parametrize(
    ("signs", "together", "n_assessed"),
    [
        (("no visual sign", "suspect", "not assessable"), "suspect", 2),
        (("no visual sign", "not assessable"), "no visual sign", 1),
        (("not assessable", "not assessable"), "not assessable", 0),
        ((None, None), "not assessable", 0),
    ],
)
def test_one_suspect_field_makes_a_layer_suspect(signs, together, n_assessed):
    fields = [field(i, contamination=one) for i, one in enumerate(signs)]
    (found,) = characters(fields, "x", Yardsticks()).layers.values()
    assert (found.contamination, found.n_fields_assessed) == (together, n_assessed)


def at_hour(number, hour, grain):
    clear = {"background_grain_percent": grain, "background_noise_percent": 0.2, "bare_percent": 40.0, "bare_mm2": 0.4}
    one = field(number, contamination="no visual sign", findings=clear, working_pixel_size_um=1.3)
    time = f"2026-03-01T{hour:02d}:00:00+00:00"
    return replace(one, row=replace(one.row, field="F01", acquired_at=time))


def test_a_place_that_turns_hazy_overnight_makes_its_vessel_suspect():
    steady = characters([at_hour(0, 1, 0.2), at_hour(1, 20, 0.25)], "x", Yardsticks()).vessels["V1"]
    assert (steady.contamination, steady.n_fields_suddenly_hazy) == ("no visual sign", 0)
    hazy = characters([at_hour(0, 1, 0.2), at_hour(1, 20, 0.6)], "x", Yardsticks()).vessels["V1"]
    assert (hazy.contamination, hazy.n_fields_suddenly_hazy, hazy.n_fields_suspect) == ("suspect", 1, 0)
    cleared = characters([at_hour(0, 1, 0.6), at_hour(1, 20, 0.2)], "x", Yardsticks()).vessels["V1"]
    assert cleared.contamination == "no visual sign"


def test_only_the_latest_time_point_speaks_for_a_vessel():
    early, late = at_hour(0, 1, 0.2), at_hour(1, 20, 0.2)
    early = replace(early, score=replace(early.score, contamination="suspect"))
    found = characters([early, late], "x", Yardsticks()).vessels["V1"]
    assert (found.n_fields, found.contamination) == (1, "no visual sign")


def test_aggregates_are_a_mean_over_the_fields_that_were_looked_at():
    fields = [field(0, findings={"aggregates_per_cm2": 10.0}), field(1, findings={"aggregates_per_cm2": 0.0}), field(2)]
    found = characters(fields, "x", Yardsticks()).vessels["V1"]
    assert found.aggregates_per_cm2 == 5
    assert found.aggregate_area_percent is None
    assert found.density_state == "not known"


def test_the_order_of_fields_does_not_matter():
    fields = [field(i, layer=1 + i % 2, morphology={"density_per_cm2": 100.0 * i}) for i in range(6)]
    assert characters(fields, "x", Yardsticks()) == characters(fields[::-1], "x", Yardsticks())
    assert math.isclose(characters(fields, "x", Yardsticks()).vessels["V1"].density_per_cm2, 250)


def test_saved_and_loaded_baselines_judge_runs_alike(runs, baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    fields = read_profiles(runs[1]).fields
    assert load_baseline(tmp_path / "b").drift(fields) == baseline.drift(fields)

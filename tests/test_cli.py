"""The command line as people and scripts meet it: what lands on stdout, what on stderr, and with which exit code."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from typer.testing import CliRunner

import msc_vision.batch.masks
from batch_cases import cell_image
from msc_vision import __version__
from msc_vision.batch.masks import write_masks
from msc_vision.cli import app
from msc_vision.cli.demo import main as compare_with_truth
from msc_vision.cli.segment import find_inputs
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.labels import write_labels
from sampling_cases import GROWTH, grid, growing_vessels, imaged, placed, study, write_run

ROOT = Path(__file__).parents[1]
SCORER = ROOT.parent / "shared" / "tools" / "score_masks.py"
COMMANDS = (
    "run", "manifest", "segment", "evaluate", "decide", "verify", "report", "review", "plan", "layer-study", "forecast",
    "growth-prior", "doublings", "baseline", "drift", "vessels", "synth", "train", "export", "serve",
)  # fmt: skip
GROUPS = ("rules", "store", "access")
"""Commands of commands; each has its own tests."""


def call(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="msc-vision")


def call_for_real(*arguments, cwd=None):
    """Run a command as a shell does."""
    return subprocess.run(
        [sys.executable, "-c", "from msc_vision.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=cwd, check=False, encoding="utf-8",
    )  # fmt: skip


def error_of(result):
    """Return the one line that a failed command says."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.rstrip().splitlines()[-1] == errors[-1]
    return errors[-1]


def write_fields(folder, n=2, first=0):
    """Write readable fields ``f0.tif`` … into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        tifffile.imwrite(folder / f"f{i}.tif", cell_image(i, 320), metadata=None)
    return folder


@pytest.fixture(scope="module")
def flask(tmp_path_factory):
    """A flask of two fields and a file that was cut off while it was copied."""
    folder = write_fields(tmp_path_factory.mktemp("images") / "FLASK-7")
    whole = (folder / "f0.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 3])
    return folder


@pytest.fixture(scope="module")
def finished(flask):
    """The run of that flask, and what the command said."""
    result = call("run", flask, "--vessel", "t-75", "--pixel-size-um", "1.24", "--workers", 2)
    return flask.with_name("FLASK-7.run"), result


# --- help, version, usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_teaches(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert f"msc-vision {command}" in text
    assert re.search(r"Examples?", text)
    assert "Exit codes: 0 done" in text


def test_help_lists_exactly_the_commands_that_exist():
    text = call("--help").stdout
    listed = re.findall(r"^│ ([a-z][a-z-]*) {2,}", text, flags=re.M)
    assert tuple(listed) == (*COMMANDS, *GROUPS)


def test_help_is_there_at_once():
    took = []
    for _ in range(3):
        start = time.perf_counter()
        assert call_for_real("--help").returncode == 0
        took.append(time.perf_counter() - start)
    assert min(took) < 0.5 * float(os.environ.get("MSC_VISION_TEST_PATIENCE", "3"))


def test_version():
    assert call("--version").stdout.strip() == f"msc-vision {__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "error: No such command 'nope'. See `msc-vision --help`."),
        (("run",), "error: Missing argument 'FOLDER'. See `msc-vision run --help`."),
        (("run", "x", "--workres", "2"), "--workers"),
        (("run", "x", "--workers", "many"), "Invalid value for '--workers'"),
        (("segment", "x.tif"), "Missing option '--out'"),
    ],
    ids=["no such command", "no folder", "misspelt option", "no number", "no output folder"],
)
def test_usage_errors_are_one_line_that_names_the_help(arguments, message):
    result = call(*arguments)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in error_of(result)
    assert "--help`." in result.stderr


def test_an_error_of_the_program_itself_is_a_line_and_a_log(monkeypatch):
    def broken():
        raise RuntimeError("a bug\nof two lines")

    monkeypatch.setattr("msc_vision.vessels.load_catalogue", lambda *_: broken())
    result = call("vessels")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: Unexpected RuntimeError: a bug of two lines. The traceback is in ")
    log = Path(re.search(r"is in (\S+\.log);", line)[1])
    assert "in broken" in log.read_text(encoding="utf-8")
    log.unlink()
    assert isinstance(call("--debug", "vessels").exception, RuntimeError)


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_writes_a_run_folder_beside_the_images_and_prints_its_path(finished):
    run, result = finished
    assert result.exit_code == 3, result.output
    assert result.stdout.strip() == str(run)
    for name in ("run.json", "fields.parquet", "layers.parquet", "vessels.json", "journal.sqlite", "report.html"):
        assert (run / name).is_file()
    assert len(list((run / "labels").iterdir())) == 2


def test_run_ends_with_a_table_the_failures_and_a_sentence_on_stderr(finished):
    run, result = finished
    assert re.search(r"FLASK-7 +1 +measured-degraded +[\d.]+ +- +2 of 3", result.stderr)
    assert re.search(r"^failed: cut.tif: ", result.stderr, flags=re.M)
    assert re.search(r"^FLASK-7 \(T-75 flask\): [\d.]+ % confluent, from 2 fields\.", result.stderr, flags=re.M)
    assert "2 of 3 fields scored; 1 field failed: not counted as empty." in result.stderr
    assert re.search(
        r"^FLASK-7: drift: no baseline; aggregates: .*visual signs of contamination: ", result.stderr, re.M
    )
    assert f"Report: {run / 'report.html'}" in result.stderr


def test_the_report_of_a_run_names_the_failed_field(finished):
    run, _ = finished
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "Fields without a result (1)" in html
    assert "cut.tif" in html
    enlarged = re.findall('aria-label="enlarge ([^"]*)"', html)
    assert set(re.findall(r"% · (\w+)", " ".join(enlarged))) == {"f0", "f1"}
    assert not any("cut" in name for name in enlarged)
    assert html.count("data:image/jpeg") == len(enlarged)


def test_run_writes_nothing_into_the_image_folder(finished, flask):
    assert sorted(path.name for path in flask.iterdir()) == ["cut.tif", "f0.tif", "f1.tif"]


def test_a_second_run_is_refused_and_resume_keeps_the_first(finished, flask):
    run, _ = finished
    message = error_of(call("run", flask, "--vessel", "t-75"))
    assert message == f"error: {run} holds a run already; add --resume to go on with it, or choose another --out."
    before = (run / "fields.parquet").read_bytes()
    assert call("run", flask, "--resume").exit_code == 3
    assert (run / "fields.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "3 things are wrong with the manifest"),
        (("--vessel", "t75x"), "Unknown vessel type 't75x'. Did you mean t-75"),
        (("--vessel", "microcarriers"), "out of scope"),
        (("--vessel", "t-75", "--pipeline", "best"), "No recipe 'best': give a YAML file or one of contrast, default"),
        (("--vessel", "t-75", "--workers", "0"), "workers is 0; at least 1 is needed"),
        (("--vessel", "t-75", "--tile-px", "1000"), "Tile side 1000 is no multiple of 1024"),
        (("--vessel", "t-75", "--optics", "magic"), "has no optics profile 'magic'"),
        (("--vessel", "t-75", "--pixel-size-um", "-1"), "--pixel-size-um is -1; give the side of a pixel in µm"),
        (("--vessel", "t-75", "--pattern", "(?P<layer"), "is not a regular expression"),
        (("--manifest", "nowhere.csv"), "nowhere.csv: there is no such manifest file"),
        (("--vessel", "t-75", "--scheduler", "fast"), "Unknown scheduler 'fast'; use threads, processes or an address"),
    ],
    ids=lambda value: " ".join(value) or "no vessel" if isinstance(value, tuple) else "",
)
def test_what_run_refuses(flask, tmp_path, arguments, message):
    assert message in error_of(call("run", flask, "--out", tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


def test_run_of_no_folder_is_one_line(tmp_path):
    assert "nowhere: there is no such folder." in error_of(call("run", tmp_path / "nowhere", "--vessel", "t-75"))


def test_what_is_missing_for_many_rows_is_said_once(flask):
    result = call("run", flask)
    assert result.stderr.count("nothing tells the vessel type; give one, such as --vessel") == 1
    assert "error: 3 rows, from cut.tif to f1.tif: nothing tells the vessel type" in result.stderr


def test_a_manifest_in_the_folder_is_used_and_cannot_be_contradicted(tmp_path):
    folder = write_fields(tmp_path / "A")
    (folder / "manifest.csv").write_text("path,vessel_id,vessel_type,layer\nf0.tif,HS,hyperstack-12,2\n")
    message = error_of(call("run", folder, "--vessel", "t-75"))
    assert "--vessel cannot go with the manifest" in message
    result = call("run", folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Manifest: " in result.stderr
    assert "HS (Corning HYPERStack-12)" in result.stderr
    assert "Layers 1, 3 have no usable image." in result.stderr


def test_resume_takes_the_manifest_with_which_the_run_was_begun(tmp_path):
    folder = write_fields(tmp_path / "A")
    out = tmp_path / "out"
    assert call("run", folder, "--vessel", "t-75", "--pixel-size-um", 0.65, "--out", out).exit_code == 0
    result = call("run", folder, "--resume", "--out", out)
    assert result.exit_code == 0, result.output


def test_interruption_says_how_to_go_on(tmp_path, monkeypatch):
    folder = write_fields(tmp_path / "A")

    def stop(*_, **__):
        raise KeyboardInterrupt("Stopped with 1 of 2 fields done. To go on, run the same command with --resume.")

    monkeypatch.setattr("msc_vision.batch.run.run_folder", stop)
    result = call("run", folder, "--vessel", "t-75", "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert result.stderr.rstrip().endswith("To go on, run the same command with --resume.")


# --- verify, report --------------------------------------------------------------------------------------------------


def test_verify_is_silent_on_stdout_when_all_is_well(finished):
    run, _ = finished
    result = call("verify", run)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "every result is as it was written" in result.stderr


def test_verify_names_what_was_touched(tmp_path):
    folder = write_fields(tmp_path / "A", n=1)
    call("run", folder, "--vessel", "t-75", "--out", tmp_path / "out")
    (tmp_path / "out" / "vessels.json").write_text("{}")
    result = call("verify", tmp_path / "out")
    assert result.exit_code == 2
    assert "vessels.json" in result.stdout
    assert "do not rely on this run" in result.stderr


def test_verify_and_report_refuse_a_folder_that_is_no_run(tmp_path):
    assert "is not a run folder: it has no run.json" in error_of(call("verify", tmp_path))
    assert "no run folder, run.json is missing" in error_of(call("report", tmp_path))


def test_report_writes_the_page_again(finished):
    run, _ = finished
    (run / "report.html").unlink()
    assert call("report", run).stdout.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()


# --- manifest --------------------------------------------------------------------------------------------------------


def test_manifest_drafts_csv_on_stdout_and_complaints_on_stderr(flask):
    result = call("manifest", flask, "--vessel", "t-75")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["path"] for row in rows] == ["cut.tif", "f0.tif", "f1.tif"]
    assert {(row["vessel_type"], row["layer"]) for row in rows} == {("t-75", "1")}
    assert re.search(r"warning: row 1: cut.tif: cannot be read", result.stderr)


def test_manifest_writes_a_file_that_it_then_finds_right(tmp_path):
    folder = write_fields(tmp_path / "A")
    target = tmp_path / "A.csv"
    assert call("manifest", folder, "--vessel", "t-75", "--out", target).stdout.strip() == str(target)
    result = call("manifest", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 fields, 0 errors" in result.stderr


def test_manifest_lists_all_errors_and_leaves_unknown_cells_empty(tmp_path):
    folder = write_fields(tmp_path / "A")
    result = call("manifest", folder, "--vessel", "hyperstack-12")
    assert result.exit_code == 2
    assert [row["layer"] for row in csv.DictReader(result.stdout.splitlines())] == ["", ""]
    assert result.stderr.count("error: row") >= 2


# --- segment ---------------------------------------------------------------------------------------------------------


def test_segment_writes_the_promised_files(tmp_path, flask):
    tifffile.imwrite(tmp_path / "blank.tif", np.full((320, 320), 2000, np.uint16))
    out = tmp_path / "masks"
    result = call("segment", flask / "f0.tif", flask / "cut.tif", tmp_path / "blank.tif", "--out", out)
    assert result.exit_code == 3, result.output
    assert result.stdout.strip() == str(out / "fields.csv")
    labels, foreground = tifffile.imread(out / "f0_labels.tif"), tifffile.imread(out / "f0_foreground.tif")
    assert (labels.dtype, foreground.dtype) == (np.int32, np.uint8)
    assert labels.shape == foreground.shape == (320, 320)
    assert set(np.unique(foreground)) <= {0, 1}
    np.testing.assert_array_equal(labels > 0, foreground == 1)
    rows = {Path(row["path"]).name: row for row in csv.DictReader((out / "fields.csv").open(newline=""))}
    assert list(rows) == ["f0.tif", "cut.tif", "blank.tif"]
    assert [rows[name]["status"] for name in rows] == ["scored", "failed", "failed"]
    covered = float(rows["f0.tif"]["confluency_percent"]) * float(rows["f0.tif"]["judgeable_percent"]) / 100
    assert covered == pytest.approx(100 * foreground.mean(), abs=0.5)
    assert rows["cut.tif"]["reason"]
    assert rows["cut.tif"]["confluency_percent"] == ""
    assert any(name.startswith("quality_") for name in rows["f0.tif"])
    assert sorted(path.name for path in out.iterdir()) == ["f0_foreground.tif", "f0_labels.tif", "fields.csv"]


def test_segment_refuses_two_images_with_one_stem_before_it_writes(tmp_path, flask):
    other = write_fields(tmp_path / "other", n=1)
    message = error_of(call("segment", flask / "f0.tif", other / "f0.tif", "--out", tmp_path / "masks"))
    assert "would both be written as f0_labels.tif" in message
    assert not (tmp_path / "masks").exists()


def test_masks_of_an_earlier_call_never_stand_for_a_failed_image(tmp_path):
    folder, out = write_fields(tmp_path / "A", n=1), tmp_path / "masks"
    assert call("segment", folder / "f0.tif", "--out", out).exit_code == 0
    (folder / "f0.tif").write_bytes(b"II*\0")
    assert call("segment", folder / "f0.tif", "--out", out).exit_code == 3
    assert sorted(path.name for path in out.iterdir()) == ["fields.csv"]


def test_segment_takes_folders_and_patterns(tmp_path):
    folder = write_fields(tmp_path / "A", n=3)
    names = ["f0.tif", "f1.tif", "f2.tif"]
    assert [path.name for path in find_inputs([str(folder)])] == names
    assert [path.name for path in find_inputs([str(folder / "f*.tif"), str(folder / "f1.tif")])] == names
    with pytest.raises(InvalidArgumentError, match=r"g\*\.tif: there is no such image, folder or pattern"):
        find_inputs([str(folder / "g*.tif")])


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_masks_written_in_tiles_equal_masks_written_whole(tmp_path, monkeypatch, factor):
    shape = (157, 211)
    working = -(-shape[0] // factor), -(-shape[1] // factor)
    labels = np.random.default_rng(factor).integers(0, 9, working).astype(np.int32)
    write_labels(tmp_path / "a.ome.zarr", labels > 0, labels, np.ones(working, bool), None, factor, shape)
    whole, tiled = (msc_vision.batch.masks.mask_paths(Path(f"{name}.tif"), tmp_path) for name in ("whole", "tiled"))
    write_masks(tmp_path / "a.ome.zarr", whole)
    monkeypatch.setattr(msc_vision.batch.masks, "WHOLE_PX", 10)
    monkeypatch.setattr(msc_vision.batch.masks, "TILE_PX", 64)
    write_masks(tmp_path / "a.ome.zarr", tiled)
    for one, other in ((whole.labels, tiled.labels), (whole.foreground, tiled.foreground)):
        np.testing.assert_array_equal(tifffile.imread(one), tifffile.imread(other))
        assert tifffile.imread(other).shape == shape


# --- evaluate --------------------------------------------------------------------------------------------------------


def write_pairs(folder, n=4):
    """Write images, truths and deliberately wrong predictions; the last image has an expert's number only."""
    from PIL import Image

    rng = np.random.default_rng(2)
    masks = folder / "masks"
    masks.mkdir(parents=True)
    lines = ["image,truth,kind,set,confluency_percent,ignore"]
    for i in range(n):
        truth = np.kron(rng.integers(0, 7, (8, 8)), np.ones((20, 20), int)).astype(np.int32)
        found = np.roll(truth, 3 * i, axis=1)
        tifffile.imwrite(folder / f"i{i}.tif", cell_image(i, 160))
        Image.fromarray(truth.astype(np.uint8)).save(folder / f"t{i}.png")
        ignore = np.zeros((160, 160), np.uint8)
        ignore[:, :40] = 255
        Image.fromarray(ignore).save(folder / f"ignore{i}.png")
        tifffile.imwrite(masks / f"i{i}_labels.tif", found)
        tifffile.imwrite(masks / f"i{i}_foreground.tif", (found > 0).astype(np.uint8))
        kind = "instances" if i % 2 else "foreground"
        lines.append(f"i{i}.tif,t{i}.png,{kind},set{i // 2},,{f'ignore{i}.png' if i == 1 else ''}")
    lines[-1] = f"i{n - 1}.tif,,,weak,55,"
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv", masks


def test_evaluate_prints_json_and_writes_a_page(tmp_path):
    pairs, masks = write_pairs(tmp_path / "set")
    result = call("evaluate", pairs, "--predictions", masks, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert set(record["sets"]) == {"set0", "set1", "weak"}
    assert record["images"][0]["dice"] == 1.0
    html = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "Bland-Altman" in html
    assert html.count("data:image/jpeg") == 3


def test_a_pair_without_masks_is_a_failure_and_never_empty(tmp_path):
    pairs, masks = write_pairs(tmp_path / "set")
    (masks / "i0_foreground.tif").unlink()
    tifffile.imwrite(masks / "i1_foreground.tif", np.zeros((9, 9), np.uint8))
    result = call("evaluate", pairs, "--predictions", masks, "--out", tmp_path / "out")
    assert result.exit_code == 3
    record = json.loads(result.stdout)
    assert [failure["image"] for failure in record["failures"]] == ["i0.tif", "i1.tif"]
    assert "no such mask" in record["failures"][0]["reason"]
    assert record["sets"]["set0"]["failures"] == 2
    assert "dice" not in record["sets"]["set0"]


def test_evaluate_segments_the_images_itself_when_no_masks_are_given(tmp_path):
    write_fields(tmp_path / "A", n=2)
    truth = np.zeros((320, 320), np.uint8)
    truth[::3] = 1
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    rows = "".join(f"A/f{i}.tif,truth.tif,foreground,s\n" for i in range(2))
    (tmp_path / "pairs.csv").write_text("image,truth,kind,set\n" + rows)
    result = call("evaluate", tmp_path / "pairs.csv", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "masks" / "f1_labels.tif").is_file()
    assert 0 < json.loads(result.stdout)["sets"]["s"]["dice"] < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,kind\na.tif,instances\n", "column truth is missing"),
        ("image,truth,kind\na.tif,t.png,cells\n", "row 1: kind is 'cells'; write foreground or instances"),
        ("image,truth,kind\n,t.png,instances\n", "row 1: image is empty"),
        ("image,truth,kind,confluency_percent\na.tif,,,lots\n", "confluency_percent is 'lots', not a number"),
        ("image,truth,kind\na.tif,,\n", "none of 1 rows has a truth mask or a confluency_percent"),
    ],
    ids=["column", "kind", "image", "number", "nothing to compare with"],
)
def test_lists_that_evaluate_refuses(tmp_path, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    assert message in error_of(call("evaluate", tmp_path / "pairs.csv", "--out", tmp_path / "out"))


@pytest.mark.shared
def test_evaluate_agrees_with_the_independent_scorer(tmp_path):
    pairs, masks = write_pairs(tmp_path / "set", n=6)
    command = [sys.executable, SCORER, pairs, masks, "--json", tmp_path / "theirs.json"]
    assert subprocess.run(command, capture_output=True, check=False).stderr == b""
    theirs = json.loads((tmp_path / "theirs.json").read_text())
    ours = json.loads(call("evaluate", pairs, "--predictions", masks, "--out", tmp_path / "out").stdout)
    by_image = {record["image"]: record for record in ours["images"]}
    for pair in theirs["pairs"]:
        for name in ("dice", "iou", "ap50", "ap", "confluency_error"):
            if name in pair:
                assert by_image[pair["image"]][name] == pytest.approx(pair[name], abs=1e-6)
    for name, summary in theirs["summary"].items():
        for figure in ("n", "failures", "dice", "dice_worst", "iou", "ap", "ap50", "count_ratio", "confluency_mae",
                       "confluency_bias", "confluency_worst"):  # fmt: skip
            if figure in summary:
                assert ours["sets"][name][figure] == pytest.approx(summary[figure], abs=1e-4)  # theirs are rounded
        if "limits_of_agreement" in summary:
            assert ours["sets"][name]["limits_of_agreement"] == pytest.approx(summary["limits_of_agreement"], abs=0.01)


# --- vessels, synth, demo --------------------------------------------------------------------------------------------


def test_vessels_lists_shows_and_knows_near_names():
    listed = call("vessels").stdout.splitlines()
    assert listed[0].split()[:2] == ["id", "layers"]
    assert any(line.startswith("hyperstack-36") and line.endswith("no") for line in listed)
    assert "18000 cm2" in call("vessels", "HYPERStack 36").stdout
    assert json.loads(call("vessels", "t75", "--json").stdout)["area_per_layer_cm2"] == 75
    assert "Did you mean hyperstack-36" in error_of(call("vessels", "hyperstak36"))


def test_a_site_adds_a_vessel_without_code(tmp_path):
    own = tmp_path / "ours.yaml"
    own.write_text(
        "vessels:\n  - {id: our-tray, name: Our tray, layers: 2, area_per_layer_cm2: 100, total_area_cm2: 200,\n"
        "     surface: treated, imageable_layers: {standard: [1]}, source: measured by us, verified: true}\n"
    )
    assert "measured by us" in call("vessels", "our-tray", "--catalogue", own).stdout
    folder = write_fields(tmp_path / "A" / "L01", n=1).parent
    result = call("run", folder, "--vessel", "our-tray", "--catalogue", own, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Our tray" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_synthetic_vessel_is_made_scored_and_compared_with_its_truth(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "description: tiny\nvessel_id: TINY\nvessel_type: t-25\nseed: 3\nfile_format: png\n"
        "layers: [{layer: 1, confluency_percent: 40, n_fields: 2}]\nfield_spread: 2\n"
        "settings: {height_px: 512, width_px: 512, pixel_size_um: 1.2, bit_depth: 8}\n"
    )
    assert call("synth", recipe, "--out", tmp_path / "TINY").stdout.strip() == str(tmp_path / "TINY")
    assert call("run", tmp_path / "TINY", "--out", tmp_path / "out").exit_code == 0
    assert compare_with_truth([f"{tmp_path / 'out'}={tmp_path / 'TINY'}"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"layer 1: found [\d.]+ %, true [\d.]+ % over the same 2 fields", said)
    assert f"Look at it: {tmp_path / 'out' / 'report.html'}" in said


def test_synth_refuses_a_folder_in_use(tmp_path):
    write_fields(tmp_path / "A", n=1)
    recipe = ROOT / "sample_data" / "recipes" / "t-75.yaml"
    assert str(tmp_path / "A") in error_of(call("synth", recipe, "--out", tmp_path / "A"))


# --- plan, layer-study, forecast -------------------------------------------------------------------------------------


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """A run of four vessels over three mornings; see `growing_vessels`."""
    return write_run(tmp_path_factory.mktemp("growing"), growing_vessels())


def test_plan_prints_places_and_says_what_they_cost():
    result = call("plan", "--vessel", "HYPERStack 36", "--half-width", 5, "--sd", 12)
    assert result.exit_code == 0, result.output
    places = rows_of(result.stdout)
    assert list(places[0]) == ["layer", "field", "y_um", "x_um", "stratum"]
    assert len(places) == 25 * len({place["layer"] for place in places})
    said = " ".join(result.stderr.split())
    assert (
        "hyperstack-36: 25 fields on each of 3 layers (1-3) give ±5.0 points a layer at a standard deviation of 12"
        in said
    )
    assert re.search(r"About \d+ minutes and 0\.63 GB\. Layers taken as 224 x 224 mm\.", said)
    assert "Not seen: layers 4-36, 92 % of the culture area." in said
    assert "Vessel as a whole: undetermined: only the lowest layers speak for themselves (3 of 36)" in said


def test_plan_for_layers_over_the_stack_tells_what_is_known_of_the_vessel(tmp_path):
    result = call("plan", "--vessel", "hyperstack-36", "--layers", "1-2,18,36", "--layer-sd", 7, "--json",
                  "--out", tmp_path / "places.csv")  # fmt: skip
    found = json.loads(result.stdout)
    assert found["layers"] == [1, 2, 18, 36]
    assert f"Vessel as a whole: ±{found['vessel_half_width']:.1f} points; layers over the whole stack" in result.stderr
    assert len(rows_of((tmp_path / "places.csv").read_text())) == len(found["places"]) == 100


def test_plan_after_a_run_says_what_is_missing(growing, tmp_path):
    result = call("plan", "--after", growing, "--half-width", 3, "--out", tmp_path / "more.csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "more.csv")
    lines = [line.split() for line in result.stderr.splitlines()]
    (flask,) = [words for words in lines if words[:1] == ["GROWS"]]
    assert flask[1:3] == ["1", "4"]
    assert re.fullmatch(r"±\d+\.\d", flask[3])
    (blind,) = [words for words in lines if words[:1] == ["BLIND"]]
    assert blind[1:5] == ["1", "2", "-", "-"]
    places = rows_of((tmp_path / "more.csv").read_text())
    assert sum(int(words[4]) for words in lines if words[:1] and words[0] in ("GROWS", "STACK", "TIMELESS")) == len(
        places
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either --vessel TYPE, to plan, or --after RUN, to see what is missing."),
        (("--vessel", "t-75", "--after", "RUN"), "Give either --vessel TYPE"),
        (("--vessel", "t-75", "--layers", "1,x"), "'1,x' is no list of layers; write 1-3,9."),
        (("--vessel", "t-75", "--layers", "2"), "t-75 has layers 1..1, not 2."),
        (("--vessel", "t-75", "--half-width", 0), "Half-width and standard deviation must be above 0, got 0 and 12."),
        (("--after", "nowhere"), "nowhere is no run folder"),
    ],
    ids=["nothing", "both", "no list", "no such layer", "no goal", "no run"],
)
def test_what_plan_refuses(arguments, message):
    assert message in error_of(call("plan", *arguments))


def opened(folder, vessel, *levels, site="Leiden"):
    """The run of a CellSTACK 2 that was opened: two fields on each layer."""
    fields = [
        placed(layer, level + d, None, name=f"f{d}", vessel=vessel, kind="cellstack-2", site=site)
        for layer, level in enumerate(levels, start=1)
        for d in (-1, 1)
    ]  # fmt: skip
    return write_run(folder / vessel, fields)


def test_two_opened_stacks_say_how_their_layers_differ(tmp_path):
    runs = [opened(tmp_path, "A", 60, 50), opened(tmp_path, "B", 70, 58)]
    result = call("layer-study", *runs, "--source", "two opened stacks", "--out", tmp_path / "study.yaml")
    assert result.stdout.strip() == str(tmp_path / "study.yaml"), result.output
    assert re.search(r"2 vessels of type cellstack-2: layers scatter by \d\.\d points", " ".join(result.stderr.split()))
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["source"] == "two opened stacks"
    printed = call("layer-study", *runs, "--source", "two opened stacks")
    assert printed.stdout == (tmp_path / "study.yaml").read_text(encoding="utf-8")


def test_one_vessel_is_too_few_for_a_layer_study(tmp_path):
    message = error_of(call("layer-study", opened(tmp_path, "A", 60, 50), "--source", "one stack"))
    assert message.endswith(
        "A layer study needs at least 2 vessels of one type with every layer measured; got 1 with 2 layers."
    )


def test_run_refuses_a_layer_study_of_another_site(tmp_path):
    folder = write_fields(tmp_path / "V" / "L01", n=1).parent
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(study(2, kind="cellstack-2", site="Leiden").model_dump(mode="json"))
    )
    message = error_of(
        call(
            "run", folder, "--vessel", "cellstack-2", "--layer-study", tmp_path / "study.yaml", "--pipeline", "contrast"
        )
    )
    assert message.endswith("f0.tif: the layer study is of site Leiden, the vessels are of an unknown site.")
    assert not (tmp_path / "V.run").exists()
    assert "no such file; `msc-vision layer-study RUN...` writes one" in error_of(
        call("run", folder, "--vessel", "cellstack-2", "--layer-study", tmp_path / "none.yaml")
    )


def test_forecast_says_when_a_flask_enters_its_window_and_why_others_have_no_forecast(growing, tmp_path):
    result = call("forecast", growing, "--page", tmp_path / "page.html", "--at", "2026-11-19T09:00+01:00")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    said = " ".join(result.stderr.split())
    assert re.search(r"GROWS 3 62 % 70-90", said)
    assert re.search(r"GROWS: At 2026-11-19 08:00 .{0,5}\d+ % \(\d+ – \d+ %\) is expected", said)
    assert "BLIND: No forecast: BLIND in" in said
    assert "state one in points with --standard-error." in said
    assert "TIMELESS: No forecast:" in said
    assert "STACK: Of the measured layers only: the others are undetermined, and so is the vessel." in said
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 4
    assert page.count('<svg class="ladder"') == 2


def test_forecast_as_json_with_a_stated_standard_error(growing):
    result = call("forecast", growing, "--standard-error", 4, "--window", 50, 80, "--json")
    found = {one["vessel_id"]: one for one in json.loads(result.stdout)}
    assert found["BLIND"]["reason"] is None
    assert found["BLIND"]["window"]["low_percent"] == 50
    assert found["BLIND"]["band"]["hours"][1] == 2
    assert "no field has a time" in found["TIMELESS"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeded", "yesterday"), "'yesterday' is no time; write 2026-11-20T08:00+01:00."),
        (("--at", "2026-11-20T08:00"), "has no time zone; write 2026-11-20T08:00+01:00, or 2026-11-20T08:00Z for UTC."),
        (("--prior", "none.yaml"), "none.yaml: cannot be read as YAML"),
    ],
)
def test_what_forecast_refuses(growing, arguments, message):
    assert message in error_of(call("forecast", growing, *arguments))


def test_growth_prior_needs_vessels_with_times(tmp_path):
    once = write_run(tmp_path, [placed(1, 50.0, None, name="f", vessel="A", kind="t-75")])
    assert "No vessel has two time points or more: nothing to learn growth from." in error_of(
        call("growth-prior", once, "--source", "test")
    )


def test_growth_prior_learns_from_one_bank_and_forecast_uses_it(growing, tmp_path):
    refused = call("growth-prior", growing, "--source", "MCB-7", "--standard-error", 4)
    assert "The vessels are of several banks: MCB-7, None; learn from one." in error_of(refused)
    flasks = [one for name in "AB" for one in imaged(name, "t-75", (1,), GROWTH, grid(2, 75.0), bank="MCB-7")]
    runs = write_run(tmp_path, flasks)
    written = call("growth-prior", runs, "--source", "MCB-7, two flasks", "--out", tmp_path / "prior.yaml")
    assert written.stdout.strip() == str(tmp_path / "prior.yaml"), written.output
    assert re.search(
        r"2 cultures: doubling in \d+ h after a lag of \d+ h, up to \d+ %\.", " ".join(written.stderr.split())
    )
    (found,) = json.loads(call("forecast", write_run(tmp_path / "2", flasks[:12]), "--json",
                               "--prior", tmp_path / "prior.yaml").stdout)  # fmt: skip
    assert found["vessel_id"] == "A"
    assert found["window"] is not None
    assert not any("placeholder" in note for note in found["notes"])


# --- for real --------------------------------------------------------------------------------------------------------


def test_the_console_script_keeps_data_and_talk_apart(tmp_path):
    folder = write_fields(tmp_path / "A", n=1)
    result = call_for_real("run", folder, "--vessel", "t-75", "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "A.run")
    assert "Report: " in result.stderr
    result = call_for_real("run", folder, "--vessel", "t75x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: Unknown vessel type 't75x'")


def readme_blocks(language):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def test_the_ten_lines_of_the_readme_run(tmp_path, monkeypatch):
    (block,) = readme_blocks("python")
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "T75-B.run" / "report.html").is_file()
    assert names["summary"].n_scored == 5


# --- doublings -------------------------------------------------------------------------------------------------------


def test_doublings_are_printed_and_said():
    result = call("doublings", "--seeded", "1e6", "--harvested", "8e6")
    assert (result.exit_code, result.stdout.strip()) == (0, "3.000")
    assert "3.00 population doublings" in result.stderr


def test_caps_tell_how_many_passages_are_left():
    arguments = ("--hours", "96", "--pdl", "14", "--passage", "4", "--max-pdl", "25", "--max-passage", "7", "--json")
    result = call("doublings", "--seeded", "1e6", "--harvested", "8e6", *arguments)
    left = json.loads(result.stdout)["remaining"]
    assert (left["passages"], left["further_passages"]) == (3, 2)
    assert left["doublings"]["value"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seeded", "0", "--harvested", "8e6"), "error: The seeded number of cells is above 0 and finite, not 0."),
        (
            ("--seeded", "1e6", "--harvested", "8e6", "--max-pdl", "25"),
            "error: Caps need to know the age: give --pdl, --passage and --hours too.",
        ),
    ],
    ids=["nothing seeded", "caps without an age"],
)
def test_doublings_of_nonsense_are_one_line(arguments, words):
    result = call("doublings", *arguments)
    assert (result.exit_code, result.stderr.strip()) == (2, words)

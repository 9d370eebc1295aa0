"""`verify` says everything that is wrong with a run folder, and nothing about a sound one."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_cases import largest_file, make_hashes_fit, plain_score, plan_of, write_images
from msc_vision.batch.run import run_folder
from msc_vision.batch.verify import verify_run
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.labels import labels_sha256, read_labels, write_labels
from msc_vision.io.sealed import canonical_sha256
from sampling_cases import around, spread_layer, write_run


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Return images and their complete run, with one failed field."""
    folder = tmp_path_factory.mktemp("verify")
    write_images(folder / "images", 4, side=128)
    (folder / "images" / "L01" / "field_99.tif").write_bytes(b"II*\0 cut off")
    run_folder(plan_of(folder / "images", folder / "RUN"), scorer=plain_score)
    return folder


@pytest.fixture
def out(original, tmp_path):
    """Return a copy of the run, which a test may damage; the images stay where they are."""
    return shutil.copytree(original / "RUN", tmp_path / "RUN")


def errors(out):
    return [str(complaint) for complaint in verify_run(out) if complaint.severity == "error"]


def edit_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_fields(out, **columns):
    """Give the first field other values, and make every hash fit: only the contradiction itself is left to find."""
    path = out / "fields.parquet"
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    rows[0] |= columns
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    make_hashes_fit(out)


def test_a_sound_run_has_no_complaint(out):
    assert verify_run(out) == ()


def test_a_run_of_an_older_version_is_named_as_such(out):
    content = json.loads((out / "vessels.json").read_text()) | {"schema_version": 2}
    for layer in content["vessels"][0]["layers"]:
        del layer["confluency_quantiles"]
    (out / "vessels.json").write_text(json.dumps(content))
    make_hashes_fit(out)
    assert errors(out) == [
        "error: vessels.json: An older version wrote it (schema 2): score the images again to decide on it."
    ]


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"is not a run folder: it has no run.json"):
        verify_run(tmp_path)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "fields.parquet",
        "layers.parquet",
        "vessels.json",
        "manifest.csv",
        "hashes.json",
        "run.json",
        "objects",
        "labels",
    ],
)
@pytest.mark.parametrize("damage", [flip_a_bit, lambda path: path.unlink()], ids=["bit flipped", "gone"])
def test_every_damaged_result_is_named(out, name, damage):
    if name == "objects":
        path = next((out / "objects.parquet").rglob("*.parquet"))
    elif name == "labels":
        path = largest_file(out / "labels")
    else:
        path = out / name
    damage(path)
    if name == "run.json" and not path.exists():
        with pytest.raises(InvalidArgumentError):
            verify_run(out)
        return
    assert any(name.split(".")[0] in message for message in errors(out))


def test_all_damage_is_named_at_once(out):
    flip_a_bit(out / "fields.parquet")
    (out / "vessels.json").unlink()
    shutil.rmtree(sorted((out / "labels").iterdir())[0])
    (out / "labels" / "foreign.ome.zarr").mkdir()
    found = "\n".join(errors(out))
    for part in ("fields.parquet", "vessels.json", "The file is missing", "foreign.ome.zarr"):
        assert part in found


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"status": "fine"}, "status is 'fine'; a field is scored, rejected or failed"),
        ({"confluency_percent": None}, "confluency_percent is None; a scored field has one"),
        ({"confluency_percent": 101.0}, "confluency_percent is 101.0"),
        ({"judgeable_percent": 0.0}, "judgeable_percent is 0.0"),
        ({"status": "failed", "reason": "why"}, "confluency_percent is .*, but the field was failed"),
        ({"status": "rejected", "confluency_percent": None}, "the field was rejected without a reason"),
        ({"status": "rejected", "confluency_percent": None, "reason": "why"}, "counts.rejected is 0, but .* has 1"),
        ({"image_sha256": "0" * 64}, "raw image is not the one that was scored"),
        ({"labels_sha256": "0" * 64}, "do not have their labels_sha256"),
    ],
    ids=[
        "unknown state", "no confluency", "over 100", "nothing judgeable", "failed with a number", "no reason",
        "counts", "image", "labels",
    ],
)  # fmt: skip
def test_fields_that_contradict_themselves_are_named(out, columns, message):
    edit_fields(out, **columns)
    assert any(__import__("re").search(message, found) for found in errors(out)), errors(out)


def test_cells_where_nothing_was_judged_are_named(out):
    labels = pq.ParquetFile(out / "fields.parquet").read()["labels"][0].as_py()
    foreground, instances, meta = read_labels(out / labels)
    digest = write_labels(out / labels, foreground, instances, ~foreground, 1.24, 1, meta.image_shape)
    edit_fields(out, labels_sha256=digest)
    assert errors(out) == [f"error: {labels}: Cells are marked where nothing was judged."]


def test_labels_that_do_not_say_what_was_judged_are_named(out):
    labels = pq.ParquetFile(out / "fields.parquet").read()["labels"][0].as_py()
    shutil.rmtree(out / labels / "labels" / "judgeable")
    edit_fields(out, labels_sha256=labels_sha256(out / labels))
    (found,) = errors(out)
    assert "it does not say what was judged" in found


def test_a_changed_setting_breaks_the_seal_of_the_record(out):
    record = json.loads((out / "run.json").read_text())
    record["settings"]["optics_profile"] = "better"
    (out / "run.json").write_text(json.dumps(record))
    assert [m.partition(": ")[2] for m in errors(out)] == [
        "run.json: It was changed after it was written: its content does not have its record_sha256.",
        "run.json: The settings do not have the settings_sha256 that stands beside them.",
    ]


def test_a_record_of_another_shape_is_named_by_its_place(out):
    edit_json(out / "run.json", state="perfect", surprise=1)
    found = errors(out)
    assert any("$.state: 'perfect' is not one of" in message for message in found)
    assert any("'surprise' was unexpected" in message for message in found)


def test_a_missing_column_is_named(out):
    table = pq.ParquetFile(out / "fields.parquet").read()
    pq.write_table(table.drop_columns(["status"]), out / "fields.parquet")
    assert "error: fields.parquet: Column status is missing." in errors(out)


def test_a_run_that_is_not_complete_is_no_evidence(out):
    record = json.loads((out / "run.json").read_text())
    del record["record_sha256"]
    record |= {"state": "interrupted", "hashes_sha256": None}
    (out / "run.json").write_text(json.dumps(record | {"record_sha256": canonical_sha256(record)}))
    assert errors(out) == ["error: run.json: The run is interrupted, not complete: resume it before relying on it."]


def test_images_out_of_reach_are_a_warning(tmp_path):
    write_images(tmp_path / "images", 2, side=64)
    run_folder(plan_of(tmp_path / "images", tmp_path / "RUN"), scorer=plain_score)
    shutil.rmtree(tmp_path / "images")
    (complaint,) = verify_run(tmp_path / "RUN")
    assert complaint.severity == "warning"
    assert "2 raw images cannot be reached" in complaint.message


def test_later_additions_are_no_complaint_and_strangers_a_warning(out):
    (out / "report.html").touch()
    (out / "decisions").mkdir()
    assert verify_run(out) == ()
    (out / "Thumbs.db").touch()
    assert [str(c) for c in verify_run(out)] == ["warning: Thumbs.db: It does not belong to a run folder."]


@pytest.mark.parametrize("numbers", [(1, 6, 12), (1, 2, 3)], ids=["all over the stack", "only the bottom"])
def test_a_run_with_inferred_or_undetermined_layers_is_as_it_was_written(numbers, tmp_path):
    fields = [one for n in numbers for one in spread_layer(n, around(60.0, seed=n))]
    run = write_run(tmp_path, fields)
    states = {layer["state"] for layer in json.loads((run / "vessels.json").read_text())["vessels"][0]["layers"]}
    assert ("inferred" in states) == (12 in numbers)
    assert verify_run(run) == ()

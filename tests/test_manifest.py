"""Manifests: written and read back, drafted from folders, and checked with all complaints at once."""

import csv
import json
import random
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.manifest import (
    check_manifest,
    draft_manifest,
    manifest_schema,
    read_manifest,
    write_manifest,
)
from msc_vision.io.manifest_draft import is_same_time, natural_key
from msc_vision.records import ImageInfo, Manifest, ManifestRow
from msc_vision.vessels import load_catalogue

CATALOGUE = load_catalogue()
COLUMNS = [column.name for column in fields(ManifestRow)]

# --- writing and reading -----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)
WORDS = st.lists(TEXT, min_size=1, max_size=3).map(" ".join)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    ManifestRow,
    path=st.lists(TEXT.filter(lambda text: not text.startswith("/")), min_size=1, max_size=3).map("/".join),
    vessel_id=WORDS,
    vessel_type=st.sampled_from(sorted(CATALOGUE)),
    layer=st.integers(1, 40),
    acquired_at=st.none() | st.datetimes(timezones=st.none() | st.timezones()).map(lambda t: t.isoformat()[:19]),
    pixel_size_um=st.none() | st.floats(1e-6, 1e6),
    passage=st.none() | st.integers(0, 60),
    pdl=st.none() | st.floats(0, 200),
    sha256=st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    **dict.fromkeys(("y_um", "x_um", "z_um"), st.none() | FINITE),
    **dict.fromkeys(("field", "modality", "donor", "lot", "medium", "operator", "surface"), st.none() | WORDS),
)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_what_is_written_comes_back(tmp_path, suffix, rows):
    manifest = Manifest(tmp_path, tuple(rows))
    write_manifest(manifest, tmp_path / f"m{suffix}")
    assert read_manifest(tmp_path / f"m{suffix}") == manifest


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_csv_and_parquet_say_the_same_and_rewriting_changes_nothing(tmp_path, rows):
    first, second, third = tmp_path / "a.csv", tmp_path / "b.parquet", tmp_path / "c.csv"
    write_manifest(Manifest(tmp_path, tuple(rows)), first)
    write_manifest(read_manifest(first), second)
    write_manifest(read_manifest(second), third)
    assert first.read_bytes() == third.read_bytes()


@settings(max_examples=50, deadline=None)
@given(row=ROWS)
def test_rows_obey_the_shipped_schema(row):
    plain = {name: value for name, value in asdict(row).items() if value is not None}
    jsonschema.Draft202012Validator(manifest_schema()).validate([plain])


def test_schema_is_sound_and_names_every_column():
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert list(schema["$defs"]["row"]["properties"]) == COLUMNS
    assert schema["$defs"]["row"]["required"] == ["path", "vessel_id", "vessel_type", "layer"]
    assert all(column["description"] for column in schema["$defs"]["row"]["properties"].values())


def test_paths_are_rewritten_for_another_folder(tmp_path):
    row = ManifestRow("L01/F1.tif", "V", "t-75", 1)
    absolute = ManifestRow(str(tmp_path / "x.tif"), "V", "t-75", 1)
    write_manifest(Manifest(tmp_path / "images", (row, absolute)), tmp_path / "tables" / "m.csv")
    again = read_manifest(tmp_path / "tables" / "m.csv")
    assert again.rows[0].path == "../images/L01/F1.tif"
    assert again.image_path(again.rows[0]).resolve() == (tmp_path / "images" / "L01" / "F1.tif").resolve()
    assert again.rows[1].path == str(tmp_path / "x.tif")


def write_text(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,vessel_id,vessel_type,layer,pixel_size_um\r\na b.tif,V1,t-75,1,0.65\r\n",
        "\ufeffpath;vessel_id;vessel_type;layer;pixel_size_um\na b.tif;V1;t-75;1;0.65\n;;;;\n",
        'Path\tVessel_ID\tVessel_Type\tLayer\tPixel_size_um\n"a b.tif"\t V1 \tt-75\t1.0\t6.5e-1\n\n',
    ],
    ids=["comma", "semicolon, byte-order mark and an empty row, as Excel writes", "tab, capitals, spaces"],
)
def test_csv_as_people_save_it(tmp_path, text):
    path = write_text(tmp_path, text)
    assert read_manifest(path).rows == (ManifestRow("a b.tif", "V1", "t-75", 1, pixel_size_um=0.65),)


def test_parquet_as_pandas_writes_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "path": ["a.tif", "b.tif"],
            "vessel_id": [17, 18],
            "vessel_type": "t-75",
            "layer": [1.0, 1.0],
            "passage": [4.0, float("nan")],
            "acquired_at": pandas.to_datetime(["2026-01-05T10:00:00+01:00", None]),
        }
    )
    table.to_parquet(tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet").rows
    assert (first.vessel_id, first.layer, first.passage, first.acquired_at) == ("17", 1, 4, "2026-01-05T10:00:00+01:00")
    assert (second.passage, second.acquired_at) == (None, None)


HEAD = "path,vessel_id,vessel_type,layer"
WRONG_CELLS = {
    "layer in words": ("layer", "two", r"row 1: a\.tif: layer is 'two'; it must be a whole number; 1 is the bottom"),
    "layer 0": ("layer", "0", r"row 1: a\.tif: layer is 0; it must be a whole number"),
    "half a layer": ("layer", "1.5", r"layer is 1\.5; it must be a whole number"),
    "no layer": ("layer", "", r"row 1: a\.tif: layer is missing: a whole number; 1 is the bottom layer"),
    "no path": ("path", "", r"row 1: path is missing: the image"),
    "decimal comma": ("pixel_size_um", '"0,65"', r"pixel_size_um is '0,65'; it must be .* with a decimal point"),
    "pixel size zero": ("pixel_size_um", "0", r"pixel_size_um is 0; it must be micrometres per pixel, above zero"),
    "pixel size infinite": ("pixel_size_um", "1e999", r"pixel_size_um is 'inf'; it must be"),
    "pixel size NaN": ("pixel_size_um", "nan", r"pixel_size_um is 'nan'; it must be"),
    "date of the day": (
        "acquired_at",
        "05/01/2026",
        r"acquired_at is '05/01/2026'; it must be date and time with zone",
    ),
    "13th month": ("acquired_at", "2026-13-01T10:00Z", r"acquired_at is '2026-13-01T10:00Z', which no calendar"),
    "short hash": ("sha256", "abc", r"sha256 is 'abc'; it must be SHA-256 of the image: 64 hexadecimal"),
    "passage": ("passage", "P4", r"passage is 'P4'; it must be the passage, a whole number"),
}


@pytest.mark.parametrize("case", WRONG_CELLS)
def test_wrong_cell_names_row_file_and_what_to_do(tmp_path, case):
    column, cell, message = WRONG_CELLS[case]
    cells = {"path": "a.tif", "vessel_id": "V", "vessel_type": "t-75", "layer": "1"} | {column: cell}
    path = write_text(tmp_path, f"{','.join(cells)}\n{','.join(cells.values())}\n")
    with pytest.raises(InvalidDataError, match=message) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: 1 thing is wrong with this manifest:\n  row 1: ")


def test_all_complaints_at_once_and_the_rest_counted(tmp_path):
    lines = [f"f{number}.tif,,t-75,x" for number in range(1, 16)]
    path = write_text(tmp_path, "\n".join((HEAD, "ok.tif,V,t-75,1", *lines)))
    with pytest.raises(InvalidDataError) as caught:
        read_manifest(path)
    said = str(caught.value).splitlines()
    assert said[0] == f"{path}: 30 things are wrong with this manifest:"
    assert said[1].startswith("  row 2: f1.tif: vessel_id is missing")
    assert said[2].startswith("  row 2: f1.tif: layer is 'x'")
    assert len(said) == 22
    assert said[-1] == "  and 10 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,vessel_id,layer\n", r"column 'vessel_type' is missing\. Columns of a manifest: path, "),
        (f"{HEAD},pixel_size\n", r"unknown column 'pixel_size' \(did you mean pixel_size_um\?\)"),
        (f"{HEAD},layer\n", r"column 'layer' comes twice"),
        (f"{HEAD}\n", r"the manifest has no rows"),
        ("", r"the manifest is empty"),
        (f"{HEAD}\na.tif,V,t-75\n", r"row 1: a\.tif: 3 cells, but the header has 4 columns"),
        (f'{HEAD}\n"a.tif,V,t-75,1\n', r"not readable as CSV: unexpected end of data"),
    ],
    ids=["column missing", "typing error", "column twice", "no rows", "empty", "short row", "open quote"],
)
def test_broken_csv(tmp_path, text, message):
    with pytest.raises(InvalidDataError, match=message):
        read_manifest(write_text(tmp_path, text))


def test_files_that_are_no_manifest(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"m\.csv: there is no such manifest file"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(InvalidArgumentError, match=r"a manifest is one of \.csv, .*, not '\.xlsx'"):
        read_manifest(tmp_path / "m.xlsx")
    (tmp_path / "latin.csv").write_bytes(HEAD.encode() + b"\n0.65\xb5m.tif,V,t-75,1\n")
    with pytest.raises(InvalidDataError, match=r"latin\.csv: not UTF-8 text \(byte 0xb5 at 37\); save it as CSV UTF-8"):
        read_manifest(tmp_path / "latin.csv")
    (tmp_path / "text.parquet").write_text(HEAD)
    with pytest.raises(InvalidDataError, match=r"text\.parquet: not readable as Parquet"):
        read_manifest(tmp_path / "text.parquet")


def test_what_cannot_be_written(tmp_path):
    manifest = Manifest(tmp_path, (ManifestRow("bad\udcff.tif", "V", "t-75", 1),))
    with pytest.raises(InvalidDataError, match=r"m\.csv: row 1: path .* is not valid Unicode; rename"):
        write_manifest(manifest, tmp_path / "m.csv")
    (tmp_path / "file").touch()
    fine = Manifest(tmp_path, (ManifestRow("a.tif", "V", "t-75", 1),))
    with pytest.raises(OutputError, match=r"m\.csv: the manifest cannot be written"):
        write_manifest(fine, tmp_path / "file" / "m.csv")
    write_manifest(fine, tmp_path / "m.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m.csv"]


# --- drafting ----------------------------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def blank_info(path: Path) -> ImageInfo:
    return ImageInfo(path, "TIFF", (10, 10), "uint16", None, None)


def telling(**columns):
    """Return an `open_info` whose images state these columns."""
    return lambda path: replace(blank_info(path), **columns)


def draft(folder, vessel_type=None, *, open_info=blank_info, **options):
    return draft_manifest(folder, CATALOGUE, vessel_type=vessel_type, open_info=open_info, **options)


def seen(manifest):
    return [(row.path, row.vessel_id, row.layer, row.field) for row in manifest.rows]


def test_layer_folders_in_natural_order(tmp_path):
    touch(tmp_path / "HS-A", "L10/F1.tif", "L2/F10.tif", "L2/F9.tif", "Layer 3/x y.png", "layer_01/field_7.ome.tif")
    manifest, complaints = draft(tmp_path / "HS-A", "HYPERStack 36")
    assert complaints == ()
    assert seen(manifest) == [
        ("L2/F9.tif", "HS-A", 2, "9"),
        ("L2/F10.tif", "HS-A", 2, "10"),
        ("L10/F1.tif", "HS-A", 10, "1"),
        ("Layer 3/x y.png", "HS-A", 3, "x y"),
        ("layer_01/field_7.ome.tif", "HS-A", 1, "7"),
    ]
    assert {row.vessel_type for row in manifest.rows} == {"hyperstack-36"}


def test_vessel_folders_passage_folders_and_own_names(tmp_path):
    touch(tmp_path, "P4/HS-A/L01/F1.tif", "P4/HS-B/L01/F1.tif", "flat/HS-C_L02_F03.tif", "HS-D_L02/7.tif")
    manifest, complaints = draft(tmp_path, "hyperstack-12")
    assert complaints == ()
    assert seen(manifest) == [
        ("HS-D_L02/7.tif", "HS-D", 2, "7"),
        ("P4/HS-A/L01/F1.tif", "HS-A", 1, "1"),
        ("P4/HS-B/L01/F1.tif", "HS-B", 1, "1"),
        ("flat/HS-C_L02_F03.tif", "HS-C", 2, "3"),
    ]
    assert [row.passage for row in manifest.rows] == [None, 4, 4, None]


def test_wells_of_a_plate_are_vessels(tmp_path):
    touch(tmp_path / "P1", "TimePoint_1/A01_s1_w1.tif", "TimePoint_1/B03_s1_w1.tif")
    manifest, complaints = draft(tmp_path, "plate-6")
    assert complaints == ()
    assert [(row.vessel_id, row.layer, row.field) for row in manifest.rows] == [("P1:A1", 1, "1"), ("P1:B3", 1, "1")]


def test_wells_on_a_flask_are_part_of_the_field(tmp_path):
    touch(tmp_path, "MSC_A1_1_2021y08m06d_11h39m.tif", "MSC_A2_1_2021y08m06d_11h39m.tif")
    manifest, complaints = draft(tmp_path, "T75")
    assert [(row.vessel_id, row.field) for row in manifest.rows] == [("MSC", "A1_1"), ("MSC", "A2_1")]
    assert {row.acquired_at for row in manifest.rows} == {"2021-08-06T11:39"}
    assert [str(one) for one in complaints] == [
        f"warning: row {number}: MSC_A{number}_1_2021y08m06d_11h39m.tif: acquired_at 2021-08-06T11:39 has no time "
        "zone; add one, such as +02:00, or times between sites cannot be compared."
        for number in (1, 2)
    ]


def test_metadata_is_read(tmp_path):
    touch(tmp_path, "L01/F1.tif")
    info = telling(pixel_size_um=0.65, acquired_at="2026-01-05T10:00:00+01:00", objective="10x", y_um=5.0, x_um=-3.0)
    (row,) = draft(tmp_path, "hyperstack-12", open_info=info)[0].rows
    assert (row.pixel_size_um, row.objective, row.y_um, row.x_um) == (0.65, "10x", 5.0, -3.0)
    assert row.acquired_at == "2026-01-05T10:00:00+01:00"


def test_time_of_metadata_with_zone_completes_that_of_the_name(tmp_path):
    touch(tmp_path, "MSC_A1_1_2021y08m06d_11h39m.tif")
    manifest, complaints = draft(tmp_path, "t-75", open_info=telling(acquired_at="2021-08-06T09:39:24Z"))
    assert (manifest.rows[0].acquired_at, complaints) == ("2021-08-06T09:39:24Z", ())


def test_what_is_no_field_is_left_out(tmp_path):
    touch(tmp_path, "L01/F1.tif", ".hidden.tif", ".cache/F2.tif", "RUN/run.json", "RUN/labels/x.tif", "labels/F3.tif")
    touch(tmp_path, "notes.txt", "L01/F1_labels.tif", "L01/F1_thumb_w1.tif", "L02/F1.ome.zarr/0/c.tif")
    manifest, complaints = draft(tmp_path, "hyperstack-12")
    assert [row.path for row in manifest.rows] == ["L01/F1.tif", "L02/F1.ome.zarr"]
    assert [(one.severity, one.path) for one in complaints] == [
        ("warning", "L01/F1_labels.tif"),
        ("warning", "L01/F1_thumb_w1.tif"),
    ]


DISAGREE = {
    "folder and name on the layer": (
        "HS-A/L01/HS-A_L02_F1.tif",
        {},
        "sources disagree on layer: folder 'L01' says 1; the file name (as msc-vision) says 2. Correct the wrong one.",
    ),
    "folder and name on the vessel": (
        "HS-A/L01/HS-B_L01_F1.tif",
        {},
        "sources disagree on vessel_id: the file name (as msc-vision) says HS-B; folder 'HS-A' says HS-A. "
        "Correct the wrong one.",
    ),
    "given id and name on the vessel": (
        "HS-B_L01_F1.tif",
        {"vessel_id": "HS-A"},
        "sources disagree on vessel_id: the vessel id given says HS-A; the file name (as msc-vision) says HS-B. "
        "Correct the wrong one.",
    ),
    "folder and given type": (
        "T-75/L01/F1.tif",
        {},
        "sources disagree on vessel_type: the vessel type given says hyperstack-12; folder 'T-75' says t-75. "
        "Correct the wrong one.",
    ),
    "metadata and name on the pixel size": (
        "L01/a_0.65um.tif",
        {"pattern": r"_(?P<pixel_size_um>[\d.]+)um", "open_info": telling(pixel_size_um=1.24)},
        "sources disagree on pixel_size_um: the image's metadata says 1.24; the file name (as the site's own pattern) "
        "says 0.65. Correct the wrong one.",
    ),
    "metadata and name on the time": (
        "L01/MSC_A1_1_2021y08m06d_11h39m.tif",
        {"open_info": telling(acquired_at="2021-08-09T11:39:00+02:00")},
        "sources disagree on acquired_at: the image's metadata says 2021-08-09T11:39:00+02:00; the file name "
        "(as incucyte-long) says 2021-08-06T11:39. Correct the wrong one.",
    ),
}


@pytest.mark.parametrize("case", DISAGREE)
def test_sources_that_disagree_are_named_and_the_cell_stays_empty(tmp_path, case):
    name, options, message = DISAGREE[case]
    touch(tmp_path, name)
    manifest, complaints = draft(tmp_path, "hyperstack-12", **options)
    assert [str(one) for one in complaints] == [f"error: row 1: {name}: {message}"]
    column = message.split()[3].rstrip(":")
    assert getattr(manifest.rows[0], column) in (None, "", 0)


def test_missing_layer_is_an_error_and_stays_empty_when_written(tmp_path):
    touch(tmp_path, "scan.tif")
    manifest, (complaint,) = draft(tmp_path, "hyperstack-12")
    assert str(complaint) == (
        "error: row 1: scan.tif: nothing tells the layer of this hyperstack-12 (1..12); use a folder such as L01."
    )
    write_manifest(manifest, tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["layer"] == ""
    with pytest.raises(InvalidDataError, match=r"row 1: scan\.tif: layer is missing"):
        read_manifest(tmp_path / "m.csv")


def test_vessel_type_from_a_folder_or_an_error(tmp_path):
    touch(tmp_path, "T-75/scan.tif", "other/scan.tif")
    manifest, complaints = draft(tmp_path)
    assert {row.path: row.vessel_type for row in manifest.rows} == {"T-75/scan.tif": "t-75", "other/scan.tif": ""}
    (complaint,) = complaints
    assert (complaint.path, complaint.severity) == ("other/scan.tif", "error")
    assert "nothing tells the vessel type" in complaint.message


def test_several_scenes_are_refused_not_silently_the_first(tmp_path):
    touch(tmp_path, "L01/scan.czi")
    _, (complaint,) = draft(tmp_path, "hyperstack-12", open_info=telling(n_scenes=9))
    assert str(complaint) == (
        "error: row 1: L01/scan.czi: holds 9 scenes or positions, a row means one; export each to its own file."
    )


def test_blank_metadata_says_nothing(tmp_path):
    touch(tmp_path, "L01/F1.tif")
    manifest, complaints = draft(
        tmp_path, "cellstack-1", open_info=telling(objective=" ", x_um=float("nan"), modality=" BF")
    )
    assert (manifest.rows[0].objective, manifest.rows[0].x_um, manifest.rows[0].modality) == (None, None, "BF")
    assert complaints == ()


STYLES = {
    "folders": "{vessel}/L{layer:02}/F{field:03}.tif",
    "words": "{vessel}/Layer {layer}/field {field}.png",
    "names": "{vessel}_L{layer}_F{field:02}.tif",
    "vessel and layer in one folder": "{vessel}_L{layer:02}/{field}.jpg",
    "passages and scans": "P3/{vessel}/layer_{layer:02}/scan 1/image_{field}.tif",
    "Leica in layer folders": "{vessel}/L{layer}/MSC_Series{field:03}_t00_ch00.tif",
}


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=15, deadline=None)
@given(
    places=st.sets(st.tuples(st.sampled_from(["HS-A", "HS-B"]), st.integers(1, 36), st.integers(1, 99)), min_size=1),
)
def test_whatever_the_style_of_naming_the_same_fields_are_drafted(tmp_path_factory, style, places):
    folder = tmp_path_factory.mktemp("images")
    touch(folder, *(STYLES[style].format(vessel=v, layer=layer, field=f) for v, layer, f in places))
    manifest, complaints = draft(folder, "hyperstack-36")
    assert {(row.vessel_id, row.layer, row.field) for row in manifest.rows} == {(v, n, str(f)) for v, n, f in places}
    assert complaints == ()


def test_unreadable_image_is_kept_and_named(tmp_path):
    def broken(path):
        raise InvalidDataError(f"{path}: truncated after 12 bytes.")

    touch(tmp_path, "L01/F1.tif")
    manifest, (complaint,) = draft(tmp_path, "hyperstack-12", open_info=broken)
    assert len(manifest.rows) == 1
    assert str(complaint) == (
        "warning: row 1: L01/F1.tif: cannot be read and will count as a failed field: truncated after 12 bytes."
    )


def test_channels_z_and_times_become_fields_of_their_own_with_a_warning(tmp_path):
    names = [f"M1/Images/r01c01f01p0{z}-ch{c}sk1fk1fl1.tiff" for z in (1, 2) for c in (1, 2)]
    touch(tmp_path, *names, "M1/Images/r01c01f02p01-ch1sk1fk1fl1.tiff")
    manifest, complaints = draft(tmp_path, "plate-96")
    assert [row.field for row in manifest.rows] == ["1_z1_ch1", "1_z1_ch2", "1_z2_ch1", "1_z2_ch2", "2"]
    assert [one.message for one in complaints] == [
        "vessel 'M1:A1': file names tell z planes 1, 2 apart; each is a field of its own here. "
        "Keep the rows of the sharpest plane.",
        "vessel 'M1:A1': file names tell channels 1, 2 apart; each is a field of its own here. "
        "Keep the transmitted-light rows.",
    ]


def test_one_id_for_several_vessel_folders_is_an_error(tmp_path):
    touch(tmp_path, "HS-A/L01/F1.tif", "HS-B/L01/F2.tif")
    _, (complaint,) = draft(tmp_path, "hyperstack-12", vessel_id="HS")
    assert "there are several vessel folders: HS-A, HS-B. Draft each alone" in str(complaint)


def test_export_name_in_several_folders_is_a_warning(tmp_path):
    touch(tmp_path, "flask 1/name_Series001.tif", "flask 2/name_Series002.tif")
    _, (complaint,) = draft(tmp_path, "t-75")
    assert str(complaint) == (
        "warning: vessel 'name' is named after files in several folders: flask 1, flask 2. "
        "If these are several vessels, draft each alone."
    )


def test_site_pattern(tmp_path):
    touch(tmp_path, "x/HS1_S03_12_p5.tif", "x/other.tif")
    own = r"(?P<vessel_id>[^_/]+)_S(?P<layer>\d+)_(?P<field>\d+)_p(?P<passage>\d+)\.tif$"
    manifest, complaints = draft(tmp_path, "hyperstack-12", pattern=own)
    assert seen(manifest)[0] == ("x/HS1_S03_12_p5.tif", "HS1", 3, "12")
    assert manifest.rows[0].passage == 5
    assert "warning: row 2: x/other.tif: the site's own pattern does not match this name." in map(str, complaints)


def test_site_pattern_that_captures_nonsense_is_named(tmp_path):
    touch(tmp_path, "Lx_pq.tif")
    _, complaints = draft(tmp_path, "hyperstack-12", pattern=r"L(?P<layer>\w)_p(?P<passage>\w)")
    assert [one.message for one in complaints] == [
        "the file name (as the site's own pattern) says layer x; layers are numbers from 1 up.",
        "the file name (as the site's own pattern): passage is 'q'; it must be the passage, a whole number from 0 up.",
    ]
    touch(tmp_path / "b", "L²_p³.tif")
    _, complaints = draft(tmp_path / "b", "hyperstack-12", pattern=r"L(?P<layer>\w)_p(?P<passage>\w)")
    assert [one.message[:60] for one in complaints] == [
        "the file name (as the site's own pattern) says layer ²; laye",
        "the file name (as the site's own pattern): passage is '³'; i",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "there is no such folder"),
        (lambda folder: touch(folder, "notes.txt"), r"no image found; looked for \.btf, \.czi"),
        (lambda folder: touch(folder, "run.json", "a.tif"), r"this is a run folder \(run\.json lies in it\)"),
        (lambda folder: touch(folder / "x.zarr", "zarr.json"), "this is one image; give the folder in which it lies"),
    ],
    ids=["absent", "no image", "run folder", "one zarr"],
)
def test_folder_that_is_none(tmp_path, make, message):
    with pytest.raises(InvalidDataError, match=message):
        draft(make(tmp_path), "t-75")


def test_unknown_vessel_type_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidArgumentError, match="Unknown vessel type 'T-76'"):
        draft(touch(tmp_path, "a.tif"), "T-76")


def test_links_in_a_circle_end(tmp_path):
    touch(tmp_path, "L01/F1.tif")
    try:
        (tmp_path / "L01" / "up").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links on this file system")
    assert [row.path for row in draft(tmp_path, "hyperstack-12")[0].rows] == ["L01/F1.tif"]


@given(st.lists(st.integers(0, 2000), unique=True, max_size=20))
def test_natural_order_is_that_of_the_numbers(numbers):
    assert sorted((f"L{n}/F.tif" for n in numbers), key=natural_key) == [f"L{n}/F.tif" for n in sorted(numbers)]


@example(["cm²", "cm2", "cm٢"], random.Random(0))
@given(st.lists(st.text(max_size=8), max_size=8), st.randoms(use_true_random=False))
def test_natural_order_is_total(texts, rng):
    shuffled = rng.sample(texts, len(texts))
    assert sorted(texts, key=natural_key) == sorted(shuffled, key=natural_key)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2021-08-06T11:39", "2021-08-06T11:39:24", True),
        ("2021-08-06T11:39", "2021-08-06T11:49", False),
        ("2021-08-06T11:39", "2021-08-06T09:39:24Z", True),
        ("2021-08-06T11:39", "2021-08-06T09:46:00Z", False),
        ("2021-08-06T11:39", "2021-08-08T11:39:00Z", False),
        ("2021-08-06T11:39+02:00", "2021-08-06T09:39Z", True),
    ],
    ids=["seconds", "ten minutes", "two zones", "no zone is seven minutes", "two days", "same moment"],
)
def test_same_time(one, other, same):
    assert is_same_time(one, other) is same
    assert is_same_time(other, one) is same


def test_nine_hundred_rows_draft_and_check_in_seconds(tmp_path):
    for layer in range(1, 37):
        touch(tmp_path / "HS", *(f"L{layer:02}/F{field:02}.tif" for field in range(1, 26)))
    started = time.perf_counter()
    manifest, complaints = draft(tmp_path, "hyperstack-36")
    write_manifest(manifest, tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    found = check(again)
    assert time.perf_counter() - started < 8
    assert (len(again.rows), complaints, found) == (900, (), ())


# --- checking ----------------------------------------------------------------------------------------------------


def check(manifest, *, open_info=blank_info, wait=lambda: None, **options):
    return check_manifest(manifest, CATALOGUE, open_info=open_info, wait=wait, **options)


def one_layer(folder, *rows):
    """A manifest whose images all exist; each holds its own name."""
    touch(folder, *(row.path for row in rows))
    return Manifest(folder, rows)


def flask(path, **columns):
    return ManifestRow(path, **({"vessel_id": "V", "vessel_type": "t-75", "layer": 1} | columns))


ROW_CASES = {
    "layer that the vessel does not have": (
        [flask("b.tif"), flask("a.tif", layer=2)],
        "error: row 2: a.tif: layer is 2, but a t-75 has 1 layer.",
    ),
    "unknown vessel type": (
        [flask("a.tif", vessel_type="T-76")],
        "error: row 1: a.tif: Unknown vessel type 'T-76'. Did you mean t-",
    ),
    "out of scope": (
        [flask("a.tif", vessel_type="Cytodex microcarriers")],
        "error: row 1: a.tif: 'Cytodex microcarriers' is out of scope (microcarriers): ",
    ),
    "well left out": (
        [flask("a.tif", vessel_type="plate-6", vessel_id="P")],
        "error: row 1: a.tif: vessel_id is 'P'; each well of a plate-6 is a vessel: write P:A1.",
    ),
    "well off the plate": (
        [flask("a.tif", vessel_type="plate-6", vessel_id="P:C1")],
        "error: row 1: a.tif: vessel_id is 'P:C1', but a plate-6 has wells A1 to B3.",
    ),
    "one vessel of two types": (
        [flask("a.tif"), flask("b.tif", vessel_type="t-175")],
        "error: row 2: b.tif: vessel 'V' is a t-175 here, but a t-75 in row 1 (a.tif).",
    ),
    "field twice": (
        [flask("a.tif", field="7"), flask("b.tif", field="7")],
        "error: row 2: b.tif: field '7' of vessel 'V', layer 1 is already in row 1 (a.tif); it would count twice.",
    ),
    "same place": (
        [flask("a.tif", field="1", y_um=5.0, x_um=3.0), flask("b.tif", field="2", y_um=5.01, x_um=3.0)],
        "warning: row 2: b.tif: the same place (y 5.01 µm, x 3 µm), layer and time as row 1 (a.tif); is it one field",
    ),
    "listed twice": (
        [flask("a.tif", field="1"), flask("a.tif", field="2")],
        "error: row 2: a.tif: this image is listed twice, first in row 1.",
    ),
    "no zone": (
        [flask("a.tif", acquired_at="2026-01-05T10:00")],
        "warning: row 1: a.tif: acquired_at 2026-01-05T10:00 has no time zone; add one",
    ),
    "spheroid surface": (
        [flask("a.tif", surface="Ultra-Low Attachment")],
        "warning: row 1: a.tif: surface is 'Ultra-Low Attachment': cells form spheroids there, confluency has no",
    ),
    "layer against its folder": (
        [flask("L01/a.tif", vessel_type="cellstack-2", layer=2), flask("b.tif", vessel_type="cellstack-2")],
        "error: row 1: L01/a.tif: sources disagree on layer: the manifest says 2; folder 'L01' says 1. Correct",
    ),
    "hash contradicts": (
        [flask("a.tif", sha256="0" * 64)],
        "error: row 1: a.tif: sha256 is ed4cf50d",
    ),
    "mixed pixel sizes": (
        [flask("a.tif", pixel_size_um=0.65), flask("b.tif", pixel_size_um=1.24)],
        "warning: row 2: b.tif: mixed pixel sizes in vessel 'V': 1.24 µm here, 0.65 µm in row 1 (a.tif).",
    ),
    "pixel size of one only": (
        [flask("a.tif", pixel_size_um=0.65), flask("b.tif")],
        "warning: row 2: b.tif: mixed pixel sizes in vessel 'V': unknown here, 0.65 µm in row 1 (a.tif).",
    ),
}


@pytest.mark.parametrize("case", ROW_CASES)
def test_complaint_names_row_and_file(tmp_path, case):
    rows, message = ROW_CASES[case]
    (complaint,) = check(one_layer(tmp_path, *rows))
    assert str(complaint).startswith(message)
    assert "\n" not in str(complaint)


def test_a_good_manifest_gives_no_complaint(tmp_path):
    rows = [flask(f"{n}.tif", field=str(n), y_um=0.0, x_um=900.0 * n, acquired_at="2026-01-05T10:00Z") for n in (1, 2)]
    later = [replace(row, path=f"later {row.path}", acquired_at="2026-01-06T10:00Z") for row in rows]
    assert check(one_layer(tmp_path, *rows, *later)) == ()


def test_missing_layers_are_named_with_those_that_could_be_imaged(tmp_path):
    row = flask("a.tif", vessel_type="hyperstack-36", layer=2)
    (complaint,) = check(one_layer(tmp_path, row))
    assert str(complaint) == (
        "warning: vessel 'V' (hyperstack-36): no image of layers 1, 3-36; "
        "of these, layers 1, 3 can be imaged with standard optics."
    )
    with pytest.raises(InvalidArgumentError, match=r"hyperstack-36 has no optics profile 'x'"):
        check(one_layer(tmp_path, row), optics_profile="x")


def test_missing_file_is_an_error(tmp_path):
    said = check(Manifest(tmp_path, (flask("a.tif"), flask("L1\\b.tif", vessel_id="W"))))
    assert [one.severity for one in said] == ["error", "error"]
    assert "row 1: a.tif: there is no such file" in str(said[0])
    assert str(said[1]).endswith("Write / between folders.")


def test_duplicates_by_content_hash_only_what_may_be_one(tmp_path):
    rows = [flask(f"{name}.tif", field=name) for name in ("a", "b", "c", "d")]
    manifest = one_layer(tmp_path, *rows)
    contents = {"a": b"same" * 9000, "b": b"size" * 9000, "c": b"same" * 9000, "d": b"other size"}
    for name, content in contents.items():
        (tmp_path / f"{name}.tif").write_bytes(content)
    hashed = []

    def hash_contents(path):
        hashed.append(path.name)
        return path.read_bytes().hex()

    (complaint,) = check(manifest, hash_contents=hash_contents)
    assert str(complaint) == "error: row 3: c.tif: the same content as row 1 (a.tif); it would count twice."
    assert sorted(hashed) == ["a.tif", "c.tif"]


def test_files_of_one_size_that_differ_between_the_samples_are_no_duplicates(tmp_path):
    manifest = one_layer(tmp_path, flask("a.tif", field="1"), flask("b.tif", field="2"))
    for name, byte in (("a", b"x"), ("b", b"y")):
        (tmp_path / f"{name}.tif").write_bytes(b"0" * 10_000 + byte + b"0" * 50_000)
    assert check(manifest) == ()


def test_file_that_still_grows_is_half_copied(tmp_path):
    manifest = one_layer(tmp_path, flask("a.tif", field="1"), flask("b.tif", field="2"), flask("c.tif", field="3"))
    (tmp_path / "c.tif").write_bytes(b"")
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").write_text(name)

    def copy_on():
        (tmp_path / "b.tif").write_bytes(b"12345")

    said = [str(one) for one in check(manifest, wait=copy_on)]
    assert said == [
        "error: row 2: b.tif: still being copied: its size went from 1 to 5 bytes; wait until it is there.",
        "warning: row 3: c.tif: half-copied: the file is empty (0 bytes); it will count as a failed field.",
    ]


def test_zarr_folders_are_compared_and_measured_as_a_whole(tmp_path):
    for name in ("a.zarr", "b.zarr"):
        touch(tmp_path / name, "zarr.json", "0/c/0")
    (complaint,) = check(Manifest(tmp_path, (flask("a.zarr", field="1"), flask("b.zarr", field="2"))))
    assert "row 2: b.zarr: the same content as row 1 (a.zarr)" in str(complaint)


@pytest.mark.parametrize(
    ("columns", "stored", "message"),
    [
        (
            {"pixel_size_um": 0.65},
            {"pixel_size_um": 1.24},
            "sources disagree on pixel_size_um: the manifest says 0.65; the image's metadata says 1.24.",
        ),
        (
            {"acquired_at": "2026-01-05T10:00Z"},
            {"acquired_at": "2026-01-06T10:00:00Z"},
            "sources disagree on acquired_at: the manifest says 2026-01-05T10:00Z; the image's metadata says 2026-01",
        ),
        ({}, {"n_scenes": 4}, "holds 4 scenes or positions, a row means one; export each to its own file."),
    ],
    ids=["pixel size", "time", "scenes"],
)
def test_manifest_against_metadata(tmp_path, columns, stored, message):
    (complaint,) = check(one_layer(tmp_path, flask("a.tif", **columns)), open_info=telling(**stored))
    assert complaint.message.startswith(message)
    assert (complaint.severity, complaint.row, complaint.path) == ("error", 1, "a.tif")


def test_all_complaints_at_once_in_the_order_of_the_rows(tmp_path):
    rows = [flask("a.tif", layer=3, vessel_type="T-76"), flask("gone.tif", vessel_id="W"), flask("c.tif", layer=2)]
    manifest = one_layer(tmp_path, *rows)
    (tmp_path / "gone.tif").unlink()
    said = check(manifest)
    assert [one.row for one in said] == [1, 2, 3, 3]
    assert check(manifest) == said


def test_absolute_paths_are_fine(tmp_path):
    touch(tmp_path / "images", "a.tif")
    assert check(Manifest(tmp_path / "tables", (flask(str(tmp_path / "images" / "a.tif")),))) == ()


def test_the_package_reader_is_used_by_default(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    numpy = pytest.importorskip("numpy")
    pixels = numpy.arange(64 * 64, dtype="uint16").reshape(64, 64)
    (tmp_path / "L01").mkdir()
    tifffile.imwrite(
        tmp_path / "L01" / "F01.ome.tif", pixels, metadata={"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}
    )
    (tmp_path / "L01" / "F02.tif").write_bytes(b"no image at all")
    manifest, (complaint,) = draft_manifest(tmp_path, CATALOGUE, vessel_type="cellstack-1")
    assert manifest.rows[0].pixel_size_um == pytest.approx(0.65)
    assert str(complaint).startswith("warning: row 2: L01/F02.tif: cannot be read and will count as a failed field: ")
    assert check_manifest(manifest, CATALOGUE, wait=lambda: None) == (complaint,)


def test_schema_file_is_plain_json():
    assert json.loads(json.dumps(manifest_schema())) == manifest_schema()

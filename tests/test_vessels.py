"""Vessel types: the shipped figures, the spellings people type, and a site's own YAML files."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.vessels import Catalogue, VesselType, load_catalogue

CATALOGUE = load_catalogue()

# id, layers, area per layer (cm2), wells, total (cm2), layers reached with standard and long-working-distance optics
SHEET = [
    ("t-25", 1, 25, 1, 25, 1, 1),
    ("t-75", 1, 75, 1, 75, 1, 1),
    ("t-150", 1, 150, 1, 150, 1, 1),
    ("t-175", 1, 175, 1, 175, 1, 1),
    ("t-225", 1, 225, 1, 225, 1, 1),
    ("plate-6", 1, 9.5, 6, 57, 1, 1),
    ("plate-12", 1, 3.8, 12, 45.6, 1, 1),
    ("plate-24", 1, 1.9, 24, 45.6, 1, 1),
    ("plate-96", 1, 0.3165, 96, 30.384, 1, 1),
    ("cellstack-1", 1, 636, 1, 636, 1, 1),
    ("cellstack-2", 2, 636, 1, 1272, 1, 2),
    ("cellstack-5", 5, 636, 1, 3180, 1, 2),
    ("cellstack-10", 10, 636, 1, 6360, 1, 2),
    ("cellstack-40", 40, 636, 1, 25440, 1, 2),
    ("cell-factory-1", 1, 632, 1, 632, 1, 1),
    ("cell-factory-2", 2, 632, 1, 1264, 1, 2),
    ("cell-factory-4", 4, 632, 1, 2528, 1, 2),
    ("cell-factory-10", 10, 632, 1, 6320, 1, 2),
    ("cell-factory-40", 40, 632, 1, 25280, 1, 2),
    ("hyperflask-m", 10, 172, 1, 1720, 3, 3),
    ("hyperstack-12", 12, 500, 1, 6000, 3, 3),
    ("hyperstack-36", 36, 500, 1, 18000, 3, 3),
    ("cellcube-10", 10, 850, 1, 8500, 0, 0),
    ("cellcube-25", 25, 850, 1, 21250, 0, 0),
    ("cellcube-100", 100, 850, 1, 85000, 0, 0),
]
VERIFIED = {"t-25", "t-75", "plate-6", "plate-12", "plate-24", "plate-96"}

SITE_VESSEL = """\
vessels:
  - id: slab-4
    name: Slab of four
    layers: 4
    area_per_layer_cm2: 100
    total_area_cm2: 400
    surface: CellBIND
    imageable_layers: {standard: [1, 2]}
    source: site drawing 12, 2026-01-05
    verified: true
"""


@pytest.mark.parametrize("row", SHEET, ids=[row[0] for row in SHEET])
def test_shipped_figures(row):
    vessel_id, layers, area, wells, total, standard, long_distance = row
    vessel = CATALOGUE[vessel_id]
    assert (vessel.layers, vessel.area_per_layer_cm2, vessel.wells) == (layers, area, wells)
    assert vessel.total_area_cm2 == pytest.approx(total)
    assert vessel.reachable_layers("standard") == tuple(range(1, standard + 1))
    assert vessel.reachable_layers("long-working-distance") == tuple(range(1, long_distance + 1))
    assert vessel.verified == (vessel_id in VERIFIED)
    assert vessel.source


def test_nothing_is_shipped_beyond_the_sheet():
    assert set(CATALOGUE) == {row[0] for row in SHEET}
    assert len(CATALOGUE) == len(SHEET)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("HYPERStack-36", "hyperstack-36"),
        ("hyperstack 36", "hyperstack-36"),
        ("HYPERSTACK_36", "hyperstack-36"),
        ("Corning HYPERStack 36", "hyperstack-36"),
        ("T75", "t-75"),
        ("T-75 flask", "t-75"),
        ("Nunc Cell Factory 4", "cell-factory-4"),
        ("HYPERFlask", "hyperflask-m"),
        ("6-well plate", "plate-6"),
        ("96 well", "plate-96"),
    ],
)
def test_spellings_people_type(typed, expected):
    assert CATALOGUE.get(typed).id == expected


@given(st.sampled_from(sorted(CATALOGUE)), st.sampled_from(["", " ", "_", "-", " - "]), st.booleans())
def test_case_and_separators_do_not_matter(vessel_id, separator, upper):
    typed = vessel_id.replace("-", separator)
    assert CATALOGUE.get(typed.upper() if upper else typed).id == vessel_id


def test_unknown_name_lists_near_names():
    with pytest.raises(InvalidArgumentError, match=r"Unknown vessel type 'HYPERStack-24'.*hyperstack-12 or hyperstack"):
        CATALOGUE.get("HYPERStack-24")


def test_name_like_nothing_lists_all():
    with pytest.raises(InvalidArgumentError, match=r"Known: cell-factory-1, .*t-225"):
        CATALOGUE.get("banana")


def test_get_with_default_is_that_of_a_mapping():
    assert CATALOGUE.get("banana", None) is None
    assert "t-75" in CATALOGUE
    assert "T75" not in CATALOGUE


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("Cytodex 3 microcarriers", r"out of scope \(microcarriers\): .*no layer"),
        ("micro-carrier", r"out of scope \(microcarriers\)"),
        ("iCELLis nano", r"out of scope \(packed beds\)"),
        ("packed_bed", r"out of scope \(packed beds\)"),
        ("Quantum", r"out of scope \(hollow fibre\)"),
        ("hollow fiber", r"out of scope \(hollow fibre\)"),
        ("stirred spheroids", r"out of scope \(stirred spheroids\): .*confluency"),
        ("Vertical-Wheel 0.1", r"out of scope \(stirred spheroids\)"),
    ],
)
def test_out_of_scope_is_refused_by_name(typed, reason):
    with pytest.raises(InvalidArgumentError, match=reason):
        CATALOGUE.get(typed)


def test_unknown_optics_profile_lists_the_known():
    with pytest.raises(InvalidArgumentError, match=r"t-75 has no optics profile 'confocal'; it has: long-.*standard"):
        CATALOGUE["t-75"].reachable_layers("confocal")


@pytest.mark.parametrize(
    ("vessel_id", "well", "expected"),
    [
        ("plate-6", "B3", True),
        ("plate-6", "C1", False),
        ("plate-6", "A4", False),
        ("plate-96", "H12", True),
        ("plate-6", "A0", False),
        ("t-75", "A1", False),
        ("plate-6", "a1", False),
    ],
)
def test_wells_of_plates(vessel_id, well, expected):
    assert CATALOGUE[vessel_id].has_well(well) is expected


def test_types_and_catalogue_travel_to_other_processes():
    assert pickle.loads(pickle.dumps(CATALOGUE)) == CATALOGUE


def test_types_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        CATALOGUE["t-75"].layers = 2


def site_file(folder: Path, text: str, name: str = "site.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_site_adds_a_vessel_by_yaml_alone(tmp_path):
    site_file(tmp_path, SITE_VESSEL)
    for extra in (tmp_path / "site.yaml", tmp_path):
        catalogue = load_catalogue([extra])
        assert isinstance(catalogue, Catalogue)
        assert catalogue.get("Slab 4").reachable_layers("standard") == (1, 2)
        assert set(CATALOGUE) < set(catalogue)


def test_volume_may_be_one_figure_or_a_range():
    assert CATALOGUE["t-75"].volume_ml == (12, 12)
    assert CATALOGUE["t-150"].volume_ml == (30, 45)
    assert CATALOGUE["plate-6"].volume_ml is None


BROKEN = {
    "area contradicts": (("400", "401"), r"'slab-4': 4 layers x 100 cm2 x 1 wells is 400 cm2, but total.* is 401\.$"),
    "unknown key": (("surface: CellBIND", "surface: CellBIND\n    colour: red"), r"'slab-4': unknown key 'colour' "),
    "missing key": (("    surface: CellBIND\n", ""), r"'slab-4': surface is missing\.$"),
    "layers as text": (("layers: 4\n", "layers: four\n"), r"'slab-4': layers: input should be a valid integer.*'four'"),
    "negative area": (("cm2: 100", "cm2: -100"), r"'slab-4': area_per_layer_cm2: input should be greater than 0"),
    "infinite area": (("cm2: 100", "cm2: .inf"), r"'slab-4': area_per_layer_cm2: input should be a finite number"),
    "layer 5 of 4": (("[1, 2]", "[1, 5]"), r"'slab-4': imageable_layers for 'standard' .* 1\.\.4, .*got \[1, 5\]"),
    "key twice": (("layers: 4\n", "layers: 4\n    layers: 5\n"), r"line 5: not readable as YAML: key 'layers' twice"),
    "bad YAML": (("vessels:", "vessels: [}"), r"line 1: not readable as YAML"),
    "other top key": (("vessels:", "flasks:"), r"must hold one key 'vessels' with a list under it, got: flasks"),
    "bad id": (("id: slab-4", "id: Slab 4"), r"'Slab 4': id: string should match pattern"),
    "verified as text": (("verified: true", "verified: 'yes'"), r"verified: input should be a valid boolean"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_site_file_is_one_line_naming_file_and_id(tmp_path, case):
    (old, new), message = BROKEN[case]
    path = site_file(tmp_path, SITE_VESSEL.replace(old, new, 1))
    with pytest.raises(InvalidDataError, match=message) as caught:
        load_catalogue([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_redefining_a_shipped_id_names_both_files(tmp_path):
    path = site_file(tmp_path, SITE_VESSEL.replace("id: slab-4", "id: t-75"))
    with pytest.raises(
        InvalidDataError, match=r"site\.yaml: vessel 't-75' is already defined in .*t_flask\.yaml; give"
    ):
        load_catalogue([path])


def test_taking_the_name_of_another_vessel_names_both_files(tmp_path):
    path = site_file(tmp_path, SITE_VESSEL.replace("name: Slab of four", "name: T 75"))
    with pytest.raises(InvalidDataError, match=r"site\.yaml: vessel 'slab-4': the name 'T 75' .*'t-75' of .*t_flask"):
        load_catalogue([path])


@pytest.mark.parametrize(("name", "message"), [("absent.yaml", "no such file or folder"), ("empty", r"no \.yaml file")])
def test_absent_site_file(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDataError, match=message):
        load_catalogue([tmp_path / name])


def test_not_utf8_is_named(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_bytes(b"vessels: \xff\xfe")
    with pytest.raises(InvalidDataError, match=r"site\.yaml: cannot be read as a UTF-8 text file"):
        load_catalogue([path])


@given(layers=st.integers(1, 60), area=st.floats(0.1, 1000), off=st.sampled_from([0.0, 0.01, -0.3]))
def test_total_area_is_checked_for_any_figures(layers, area, off):
    sheet = {
        "id": "x",
        "name": "X",
        "layers": layers,
        "area_per_layer_cm2": area,
        "total_area_cm2": layers * area * (1 + off),
        "surface": "plastic",
        "imageable_layers": {"standard": [1]},
        "source": "test",
        "verified": False,
    }
    if off:
        with pytest.raises(ValueError, match="but total_area_cm2 is"):
            VesselType.model_validate(sheet)
    else:
        assert VesselType.model_validate(sheet).layers == layers

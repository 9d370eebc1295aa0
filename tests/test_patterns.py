"""Names of files and folders: every example in the shipped tables is run, and a site's own pattern is checked."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.io.patterns import (
    KNOWN_GROUPS,
    clock_time,
    field_name,
    filename_patterns,
    folder_levels,
    name_without_suffix,
    parse_folder,
    parse_name,
    site_pattern,
    well_name,
)

EXAMPLES = [(p.name, text, groups) for p in filename_patterns() for text, groups in p.examples]
MISSES = [(p, text) for p in filename_patterns() for text in p.misses]
FOLDERS = [(p.name, text, groups) for p in folder_levels() for text, groups in p.examples]
FOLDER_MISSES = [(p, text) for p in folder_levels() for text in p.misses]
SYSTEMS = {"incucyte-long", "incucyte-short", "incucyte-raw", "imagexpress", "opera", "yokogawa-cq1", "yokogawa-cv"}
SYSTEMS |= {"leica-export", "zeiss-export", "nikon-export", "keyence", "msc-vision"}


@pytest.mark.parametrize(("name", "text", "groups"), EXAMPLES, ids=[f"{n}: {t}" for n, t, _ in EXAMPLES])
def test_example_is_recognised_by_its_own_pattern(name, text, groups):
    assert parse_name(text) == (name, groups)


@pytest.mark.parametrize(("name", "text", "groups"), EXAMPLES, ids=[f"{n}: {t}" for n, t, _ in EXAMPLES])
def test_folders_before_a_name_change_nothing_it_says(name, text, groups):
    recognised = parse_name(f"campaign 3/vessels/{text}")
    assert recognised is not None
    assert recognised[0] == name
    assert recognised[1].items() >= groups.items()


@pytest.mark.parametrize(("pattern", "text"), MISSES, ids=[f"{p.name}: {t}" for p, t in MISSES])
def test_name_of_something_else_is_not_matched(pattern, text):
    assert pattern.groups_in(name_without_suffix(text)) is None


@pytest.mark.parametrize(("name", "text", "groups"), FOLDERS, ids=[f"{n}: {t}" for n, t, _ in FOLDERS])
def test_folder_example(name, text, groups):
    assert parse_folder(text) == (name, groups)


@pytest.mark.parametrize(("pattern", "text"), FOLDER_MISSES, ids=[f"{p.name}: {t}" for p, t in FOLDER_MISSES])
def test_folder_of_something_else(pattern, text):
    assert pattern.groups_in(text) is None


def test_every_system_is_there_with_examples_and_misses_and_known_groups():
    assert {pattern.name for pattern in filename_patterns()} >= SYSTEMS
    for pattern in (*filename_patterns(), *folder_levels()):
        assert pattern.examples, pattern.name
        assert pattern.misses, pattern.name
        assert set(pattern.expression.groupindex) <= KNOWN_GROUPS, pattern.name


def test_no_vendor_pattern_claims_a_layer():
    own = {"msc-vision", "msc-vision-in-vessel-folder", "layer-then-number"}
    assert {p.name for p in filename_patterns() if "layer" in p.expression.groupindex} == own


@pytest.mark.parametrize("text", ["scan.tif", "notes/readme.tif", "2021-08-06.tif", ".tif", "a_b_c.tif"])
def test_unknown_names_are_left_alone(text):
    assert parse_name(text) is None


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_left_alone(text):
    recognised = parse_name(text)
    assert recognised is None or set(recognised[1]) <= KNOWN_GROUPS
    parse_folder(text)


@given(
    st.from_regex(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,4})?", fullmatch=True), st.integers(1, 36), st.integers(1, 99_999)
)
def test_own_names_come_back(vessel, layer, field):
    recognised = parse_name(f"any/folder/{vessel}_L{layer:02}_F{field:03}.tif")
    assert recognised is not None
    assert recognised[1]["vessel_id"] == vessel
    assert (int(recognised[1]["layer"]), field_name(recognised[1], with_well=False)) == (layer, str(field))


def test_site_pattern_is_the_only_one_tried():
    own = site_pattern(r"(?P<vessel_id>[^_/]+)_S(?P<layer>\d+)_(?P<field>\d+)\.tif")
    assert parse_name("x/HS1_S03_12.tif", own) == (own.name, {"vessel_id": "HS1", "layer": "03", "field": "12"})
    assert parse_name("HS1_L03_F12.tif", own) is None


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        (r"(?P<layer>\d+", r"is not a regular expression: missing \)"),
        (r"L(\d+)", r"has no named group; write for example \(\?P<layer>"),
        (r"(?P<tray>\d+)", r"unknown groups tray; known: .*layer"),
        (r"(?P<path>.*)", r"unknown groups path; known: "),
    ],
)
def test_bad_site_pattern(regex, message):
    with pytest.raises(InvalidArgumentError, match=message):
        site_pattern(regex)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"well": "A01"}, "A1"),
        ({"well": "h12"}, "H12"),
        ({"well_row": "08", "well_column": "12"}, "H12"),
        ({"well_number": "0007"}, "W7"),
        ({"field": "1"}, None),
    ],
)
def test_wells_in_one_spelling(groups, expected):
    assert well_name(groups) == expected


@pytest.mark.parametrize(
    ("groups", "with_well", "expected"),
    [
        ({"field": "007"}, False, "7"),
        ({"position": "02", "field": "00001"}, False, "2_1"),
        ({"well": "A01", "field": "3"}, False, "3"),
        ({"well": "A01", "field": "3"}, True, "A1_3"),
        ({"well": "A01"}, True, "A1"),
        ({"field": "left"}, False, "left"),
        ({}, True, None),
    ],
)
def test_field_names(groups, with_well, expected):
    assert field_name(groups, with_well=with_well) == expected


def test_clock_time_has_no_invented_zone():
    long = parse_name("NAME_A1_1_2021y08m06d_11h39m.tif")
    raw = parse_name("2108/06/1139/1042/A1-1-Ph.tif")
    assert clock_time(long[1]) == clock_time(raw[1]) == "2021-08-06T11:39"
    assert clock_time({"year": "2021", "hour": "11"}) is None


@given(
    st.from_regex(r"[a-zA-Z0-9_ ]{1,9}", fullmatch=True), st.sampled_from([".tif", ".ome.tif", ".OME.TIFF", ".zarr"])
)
def test_suffix_is_taken_off(stem, suffix):
    assert name_without_suffix(f"{stem}{suffix}") == stem
    assert name_without_suffix(f"L01/{stem}{suffix}") == str(PurePosixPath("L01") / stem)

"""Sealed JSON: reads back as it was, and a change shows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.errors import InvalidDataError
from msc_vision.io.sealed import canonical_sha256, read_sealed, sealed_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text().filter(lambda name: name != "sha256"), VALUES, max_size=4))
def test_sealed_content_reads_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("sealed") / "x.json"
    path.write_text(sealed_text(content), encoding="utf-8", newline="")
    assert read_sealed(path) == content


def test_the_order_of_keys_does_not_matter():
    assert canonical_sha256({"a": 1, "b": [2, {"µ": 3, "c": 4}]}) == canonical_sha256(
        {"b": [2, {"c": 4, "µ": 3}], "a": 1}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("1", "2", 1), "was altered since it was made"),
        (lambda text: text[:-9], "cannot be read"),
        (lambda _: "{}", "cannot be read"),
        (lambda _: "[1]", "cannot be read"),
    ],
    ids=["a digit", "cut off", "no seal", "a list"],
)
def test_a_change_is_named_with_its_file(tmp_path, change, message):
    path = tmp_path / "x.json"
    path.write_text(change(sealed_text({"a": 1, "b": "text"})), encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"x\.json") as caught:
        read_sealed(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_data_files_of_the_package_are_sealed():
    from importlib.resources import files

    for package, name in (("findings", "signs"), ("findings", "aggregates"), ("morphology", "looks")):
        content = read_sealed(files(f"msc_vision.{package}") / "data" / f"{name}.json")
        assert json.dumps(content)
        assert content

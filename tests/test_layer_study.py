"""Layer studies: what fully measured vessels say of their layers, written, read back, and refused elsewhere."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.layer_study import LayerStudy, read_layer_study, study_layers
from sampling_cases import study

ANGLE = math.pi / 4
"""Half cover."""


def percent(angles):
    return (100 * np.sin(angles) ** 2).tolist()


def test_a_layer_that_is_always_denser_is_learned_as_such():
    """Layer 1 lies 0.06 above, layer 3 as much below its vessel's mean, in sparse and in dense vessels alike."""
    vessels = {f"V{i}": percent(np.array([0.06, 0.0, -0.06]) + level) for i, level in enumerate((0.6, 0.8, 1.0))}
    found = study_layers(vessels, "hyperstack-12", "Leiden", "test vessels")
    assert found.offsets == pytest.approx((0.06, 0.0, -0.06), abs=1e-6)
    assert found.between == pytest.approx(0, abs=2e-6)
    assert (found.n_vessels, found.freedom, found.site) == (3, 4, "Leiden")


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 12))
def test_spread_and_offsets_are_those_of_a_two_way_table(seed, n_vessels, n_layers):
    """Each angle less its vessel's and its layer's mean; the rest squared, cell by cell, over (a - 1)(b - 1)."""
    table = np.random.default_rng(seed).uniform(0.3, 1.2, (n_vessels, n_layers))
    found = study_layers({f"V{i}": percent(row) for i, row in enumerate(table)}, "t", None, "test")
    rest = 0.0
    for row in range(n_vessels):
        for column in range(n_layers):
            rest += (table[row, column] - table[row].mean() - table[:, column].mean() + table.mean()) ** 2
    freedom = (n_vessels - 1) * (n_layers - 1)
    assert found.freedom == freedom
    assert found.between == pytest.approx(max(math.sqrt(rest / freedom), 1e-6), rel=1e-6)
    assert found.offsets == pytest.approx(table.mean(axis=0) - table.mean(), abs=1e-8)
    assert sum(found.offsets) == pytest.approx(0, abs=1e-6)


def test_the_order_of_vessels_does_not_show():
    vessels = {f"V{i}": percent(np.random.default_rng(i).uniform(0.5, 1, 5)) for i in range(4)}
    turned = dict(reversed(vessels.items()))
    assert study_layers(vessels, "t", None, "test") == study_layers(turned, "t", None, "test")


@pytest.mark.parametrize(
    ("vessels", "words"),
    [
        ({}, "got 0 with no layers"),
        ({"A": [50.0, 60.0]}, "got 1 with 2 layers"),
        ({"A": [50.0, 60.0], "B": [50.0, 60.0, 70.0]}, "got 2 with 2, 3 layers"),
        ({"A": [50.0], "B": [60.0]}, "got 2 with 1 layers"),
    ],
    ids=["no vessel", "one vessel", "two heights", "flasks"],
)
def test_too_little_to_learn_from(vessels, words):
    needs = "A layer study needs at least 2 vessels of one type with every layer measured; "
    with pytest.raises(InvalidArgumentError) as caught:
        study_layers(vessels, "t", None, "test")
    assert str(caught.value) == f"{needs}{words}."


def test_a_study_holds_for_its_own_type_site_and_number_of_layers_only():
    known = study(12, site="Leiden")
    assert known.refusal_of_type("hyperstack-12", 12) is None
    assert known.refusal_of_site("Leiden") is None
    assert known.refusal_of_type("cellstack-10", 10) == (
        "the layer study is of hyperstack-12, this vessel is a cellstack-10"
    )
    assert study(3).refusal_of_type("hyperstack-12", 12) == (
        "the layer study has 3 offsets, a hyperstack-12 has 12 layers"
    )
    assert known.refusal_of_site("Boston") == "the layer study is of site Leiden, the vessels are of Boston"
    assert known.refusal_of_site(None) == "the layer study is of site Leiden, the vessels are of an unknown site"
    assert study(12, site=None).refusal_of_site("Boston") is None


def test_a_study_is_written_and_read_back_as_it_was(tmp_path):
    vessels = {f"V{i}": percent(np.random.default_rng(i).uniform(0.5, 1, 12)) for i in range(3)}
    known = study_layers(vessels, "hyperstack-12", "Leiden", "three vessels, µm")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(known.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    assert read_layer_study(path) == known


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offsets": [0.1, 0.1]}, "Value error, offsets have to add up to 0"),
        ({"between": 0}, "between: Input should be greater than 0"),
        ({"n_vessels": 1}, "n_vessels: Input should be greater than or equal to 2"),
        ({"surce": "x"}, "surce: Extra inputs are not permitted"),
        ({"offsets": []}, "offsets: Tuple should have at least 1 item"),
    ],
    ids=["offsets", "no spread", "one vessel", "misspelt", "no layers"],
)
def test_what_a_file_of_a_study_may_not_say(tmp_path, change, words):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study(2).model_dump(mode="json") | change), encoding="utf-8")
    with pytest.raises(InvalidArgumentError) as caught:
        read_layer_study(path)
    assert str(caught.value).startswith(f"{path}: no layer study: ")
    assert words in str(caught.value)


def test_files_that_are_no_study(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"no such file; `msc-vision layer-study RUN\.\.\.` writes one\.$"):
        read_layer_study(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"bad\.yaml: cannot be read as YAML \(while parsing"):
        read_layer_study(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"empty\.yaml: no layer study: file: Input should be"):
        read_layer_study(tmp_path / "empty.yaml")


def test_a_study_has_no_other_fields():
    with pytest.raises(ValidationError, match="Extra inputs"):
        LayerStudy(**study(2).model_dump(), note="x")

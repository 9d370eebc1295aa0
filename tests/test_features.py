"""The page of figures says what the code says, and nothing that is measured is missing from it."""

import ast
from pathlib import Path

import pytest

import msc_vision
from msc_vision.morphology.feature import Feature
from msc_vision.morphology.shape_features import SHAPE_FEATURES
from msc_vision.report.features import TITLES, _escaped, feature_groups, features_page

PAGE = Path(__file__).parents[1] / "docs" / "features.md"


def test_the_committed_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == features_page(), "run `make docs` and commit docs/features.md"


def test_no_tuple_of_figures_anywhere_in_the_package_is_left_out():
    """Found in the source, not by importing: another route to the same names."""
    written = set()
    for path in Path(msc_vision.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            written |= {name for name in names if name.endswith("_FEATURES")}
    assert len(written) >= 7
    assert written == set(feature_groups())


@pytest.mark.parametrize("name", sorted(feature_groups()))
def test_every_figure_is_described_in_full(name):
    for feature in feature_groups()[name]:
        assert isinstance(feature, Feature)
        assert all((feature.name, feature.unit, feature.meaning, feature.formula, feature.source)), feature
        assert feature.meaning.endswith("."), feature


def test_every_figure_has_one_row_below_its_heading():
    page = features_page()
    assert page.count("\n| `") == sum(len(features) for features in feature_groups().values())
    shape = page.split(f"## {TITLES['SHAPE_FEATURES']}")[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in shape.splitlines() if line.startswith("| `")] == [
        feature.name for feature in SHAPE_FEATURES
    ]


def test_a_bar_or_a_tag_in_a_formula_does_not_break_its_table():
    assert _escaped("|a -\n b| < c") == "\\|a - b\\| &lt; c"
    assert all(line.replace("\\|", "").count("|") == 7 for line in features_page().splitlines() if line.startswith("|"))

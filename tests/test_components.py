"""Variance components: against the closed form of balanced data, against statsmodels, and what cannot be told."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import UndefinedResultError
from msc_vision.statistics.components import variance_components


def nested(seed, n_vessels, n_layers, n_fields, sds=(8.0, 6.0, 5.0), keep=1.0):
    """Values of a nested population with these SDs of fields, layers and vessels; ``keep`` thins the fields out."""
    rng = np.random.default_rng(seed)
    rows = []
    for vessel in range(n_vessels):
        of_vessel = 60 + sds[2] * rng.standard_normal()
        for layer in range(1, n_layers + 1):
            of_layer = of_vessel + sds[1] * rng.standard_normal()
            values = of_layer + sds[0] * rng.standard_normal(n_fields)
            rows += [(v, layer, f"V{vessel}") for i, v in enumerate(values) if i < 2 or rng.random() < keep]
    return pd.DataFrame(rows, columns=["value", "layer", "vessel"])


def components(table):
    return variance_components(table["value"].tolist(), table["layer"].tolist(), table["vessel"].tolist())


def anova(table):
    """Components of balanced data from mean squares, as every textbook has them."""
    layers = table.groupby(["vessel", "layer"])["value"]
    n = layers.size().iloc[0]
    k = table.groupby("vessel")["layer"].nunique().iloc[0]
    within = layers.var().mean()
    means = layers.mean()
    between_layers = n * means.groupby("vessel").var().mean()
    between_vessels = n * k * means.groupby("vessel").mean().var()
    return within, (between_layers - within) / n, (between_vessels - between_layers) / (n * k)


@pytest.mark.parametrize("seed", range(4))
def test_balanced_data_of_three_levels_have_the_components_of_the_textbook(seed):
    table = nested(seed, 5, 4, 6, sds=(8, 10, 15))
    variances = np.array(anova(table))
    assert (variances > 0).all(), "a draw for which the textbook has no negative variance"
    found = components(table)
    np.testing.assert_allclose([found.field, found.layer, found.vessel], variances**0.5, rtol=1e-6)
    assert found.mean == pytest.approx(table["value"].mean())
    error = table.groupby("vessel")["value"].mean().std() / np.sqrt(5)
    assert found.mean_error == pytest.approx(error, rel=1e-6)
    assert found.how == "Nested mixed model, restricted likelihood."


@pytest.mark.parametrize("seed", range(4))
def test_balanced_data_of_one_vessel_have_the_components_of_the_textbook(seed):
    table = nested(seed, 1, 8, 5)
    within = table.groupby("layer")["value"].var().mean()
    between = table.groupby("layer")["value"].mean().var() - within / 5
    assert between > 0
    found = components(table)
    assert (found.field, found.layer) == (pytest.approx(within**0.5, rel=1e-6), pytest.approx(between**0.5, rel=1e-6))
    assert found.vessel is None
    assert found.how == "Nested mixed model, restricted likelihood; nothing here tells how vessels differ."


def test_layers_that_differ_by_less_than_their_fields_explain_are_alike():
    """Each layer holds the same five figures: less between layers than chance would give."""
    table = pd.DataFrame([(v, layer, "V") for layer in range(6) for v in (40.0, 50, 60, 70, 80)],
                         columns=["value", "layer", "vessel"])  # fmt: skip
    found = components(table)
    assert found.layer == 0
    assert found.field == pytest.approx(table["value"].std(), rel=1e-6)  # all fields are of one population then
    assert found.mean_error == pytest.approx(table["value"].sem(), rel=1e-6)


@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_unbalanced_layers_of_one_vessel_agree_with_statsmodels(seed):
    table = nested(seed, 1, 9, 8, sds=(8, 12, 5), keep=0.5)
    fitted = smf.mixedlm("value ~ 1", table, groups="layer").fit(reml=True, method="powell")
    assert fitted.converged
    found = components(table)
    assert found.field == pytest.approx(fitted.scale**0.5, rel=1e-6)
    assert found.layer == pytest.approx(float(fitted.cov_re.iloc[0, 0]) ** 0.5, rel=1e-6)
    assert found.mean == pytest.approx(fitted.fe_params["Intercept"], rel=1e-6)
    assert found.mean_error == pytest.approx(fitted.bse_fe["Intercept"], rel=1e-3)  # theirs is numerical


@pytest.mark.parametrize("seed", range(3))
def test_unbalanced_vessels_agree_with_statsmodels(seed):
    """To five digits: the optimisers of statsmodels stop that early."""
    table = nested(seed, 8, 5, 6, sds=(8, 10, 12), keep=0.6)
    model = smf.mixedlm("value ~ 1", table, groups="vessel", re_formula="1", vc_formula={"layer": "0 + C(layer)"})
    fitted = model.fit(reml=True, method="bfgs")
    assert fitted.converged
    found = components(table)
    assert found.field == pytest.approx(fitted.scale**0.5, rel=1e-4)
    assert found.layer == pytest.approx(float(fitted.vcomp[0]) ** 0.5, rel=1e-4)
    assert found.vessel == pytest.approx(float(fitted.cov_re.iloc[0, 0]) ** 0.5, rel=1e-4)
    assert found.mean == pytest.approx(fitted.fe_params["Intercept"], rel=1e-5)


@settings(max_examples=8)
@given(st.integers(0, 1000), st.randoms())
def test_the_order_of_fields_and_the_names_of_vessels_do_not_show(seed, random):
    table = nested(seed, 3, 3, 4, keep=0.5)
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = components(table), components(table.iloc[order])
    assert one == other
    renamed = components(table.assign(vessel="x" + table["vessel"]))
    assert renamed == one


@settings(max_examples=8)
@given(st.integers(0, 1000), st.floats(-30, 30), st.floats(0.01, 100))
def test_level_and_unit_do_not_matter(seed, level, unit):
    table = nested(seed, 3, 3, 4)
    one, other = components(table), components(table.assign(value=unit * table["value"] + level))
    for name in ("field", "layer", "vessel", "mean_error"):
        assert getattr(other, name) == pytest.approx(unit * getattr(one, name), rel=1e-3, abs=1e-3 * unit)
    assert other.mean == pytest.approx(unit * one.mean + level, rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "known", "words"),
    [
        ([(50.0, 1, "A"), (60.0, 1, "A")], ("field",), "layers or vessels"),
        ([(50.0, 1, "A"), (60.0, 2, "A")], ("layer",), "fields or vessels"),
        ([(50.0, 1, "A"), (60.0, 1, "B")], ("vessel",), "fields or layers"),
    ],
    ids=["two fields of a layer", "a field on each of two layers", "a field of each of two vessels"],
)
def test_what_these_data_cannot_tell_is_none(rows, known, words):
    found = components(pd.DataFrame(rows, columns=["value", "layer", "vessel"]))
    for name in ("field", "layer", "vessel"):
        value = getattr(found, name)
        assert value == (pytest.approx(np.sqrt(50), rel=1e-6) if name in known else None)
    assert found.how.endswith(f"nothing here tells how {words} differ.")
    assert (found.mean, found.mean_error) == (pytest.approx(55), pytest.approx(5, rel=1e-6))


def test_fields_that_all_read_the_same_do_not_differ():
    found = variance_components([70.0] * 12, [1, 2, 3] * 4, ["A"] * 6 + ["B"] * 6)
    assert (found.field, found.layer, found.vessel, found.mean, found.mean_error) == (0, 0, 0, 70, 0)


@pytest.mark.parametrize(("values", "n"), [([], 0), ([50.0], 1)])
def test_too_few_fields_are_refused(values, n):
    with pytest.raises(UndefinedResultError, match=rf"^{n} field says nothing of how fields differ\.$"):
        variance_components(values, [1] * n, ["A"] * n)

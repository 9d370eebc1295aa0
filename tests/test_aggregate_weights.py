"""Weights of the evidence for aggregates: sealed, whole, and fitted to fields that are drawn from seeds."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.findings.aggregate_evidence import SIGNS
from msc_vision.findings.aggregate_weights import HIDDEN_MOST, AggregateNet, net_json, read_net, shipped_net
from msc_vision.io.sealed import sealed_text
from msc_vision.learning.aggregates import (
    Examples,
    FitSettings,
    Layers,
    SeenField,
    collect,
    collect_without,
    drawn_settings,
    examples_of,
    fit,
    main,
    whole_numbers,
)

SMALL = FitSettings(side_px=256, hidden=4, epochs=2)


def net_of(seed: int, n_signs: int = 5, hidden: int = 3) -> AggregateNet:
    rng = np.random.default_rng(seed)
    names = tuple(f"sign {i}" for i in range(n_signs))
    weights_in = rng.integers(-200, 201, (hidden, n_signs)).astype(np.float32)
    bias_in, weights_out = (rng.integers(-200, 201, hidden).astype(np.float32) for _ in range(2))
    return AggregateNet(names, weights_in, bias_in, weights_out, int(rng.integers(-999, 999)), (4, 6), {"seed": seed})


def test_a_net_comes_back_from_its_file(tmp_path: Path) -> None:
    net = net_of(1)
    path = tmp_path / "net.json"
    path.write_bytes(net_json(net))
    found = read_net(path)
    assert net_json(found) == net_json(net)
    assert found.training == {"seed": 1}


@pytest.mark.parametrize("name", ["bias_out", "weights_out", "training", "shift"])
def test_an_altered_file_is_refused(name: str, tmp_path: Path) -> None:
    content = json.loads(net_json(net_of(1)))
    altered = {"bias_out": 7, "weights_out": [1, 2, 3], "training": {}, "shift": [4, 5]}
    path = tmp_path / "net.json"
    path.write_text(json.dumps(content | {name: altered[name]}))
    with pytest.raises(InvalidDataError, match="altered"):
        read_net(path)


@pytest.mark.parametrize("content", ["", "[]", sealed_text({})], ids=["empty", "a list", "nothing in it"])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(content)
    with pytest.raises(InvalidDataError, match="cannot be read"):
        read_net(path)


def test_sums_that_float32_cannot_hold_are_refused() -> None:
    net = net_of(1)
    with pytest.raises(InvalidArgumentError, match="whole numbers"):
        replace(net, weights_in=net.weights_in + np.float32(0.5))
    with pytest.raises(InvalidArgumentError, match="below"):
        replace(net, weights_out=net.weights_out * np.float32(1000))
    with pytest.raises(InvalidArgumentError, match="2 signs"):
        replace(net, signs=("a", "b"))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_weighing_is_whole_number_arithmetic(seed: int) -> None:
    net = net_of(seed)
    signs = np.random.default_rng(seed + 1).integers(-127, 128, (5, 3, 4))
    hidden = np.tensordot(net.weights_in.astype(np.int64), signs, 1) + net.bias_in.astype(np.int64)[:, None, None]
    hidden = np.minimum(np.maximum(hidden, 0) >> net.shift[0], HIDDEN_MOST)
    answer = np.tensordot(net.weights_out.astype(np.int64), hidden, 1) + net.bias_out
    np.testing.assert_array_equal(net.weigh(signs.astype(np.float32)), np.clip((answer >> net.shift[1]) + 128, 0, 255))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_whole_numbers_answer_as_the_fitted_net_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(SIGNS)
    signs = rng.integers(-127, 128, (300, n)).astype(np.float32)
    layers = Layers(rng.normal(0, 0.3, (n, 8)), rng.normal(0, 1, 8), rng.normal(0, 0.5, (8, 1)), rng.normal(0, 1, 1))
    logit = np.maximum(signs / 64 @ layers.weights_in + layers.bias_in, 0) @ layers.weights_out + layers.bias_out
    answers = whole_numbers(layers, signs).weigh(signs.T[:, :, None])[:, 0]
    np.testing.assert_allclose(answers, np.clip(128 + 16 * logit[:, 0], 0, 255), atol=3)


def test_the_shipped_net_weighs_the_signs_that_are_measured() -> None:
    assert shipped_net().signs == SIGNS
    assert shipped_net().training["settings"] == FitSettings().model_dump(mode="json")


def test_a_number_names_one_field_and_every_second_has_aggregates() -> None:
    assert drawn_settings(4, SMALL) == drawn_settings(4, SMALL)
    assert drawn_settings(4, SMALL) != drawn_settings(6, SMALL)
    piles = [drawn_settings(number, SMALL)[0].cells.aggregates.per_mm2 for number in range(40)]
    assert all((per_mm2 > 0) == (number % 2 == 0) for number, per_mm2 in enumerate(piles))


def test_examples_lie_where_the_truth_says() -> None:
    """A bright square is the aggregate: its places are brighter than all others."""
    truth = np.zeros((160, 160), np.uint8)
    truth[40:80, 60:120] = 1
    working = np.where(truth, 30_000, 20_000).astype(np.uint16)
    found = examples_of(SeenField(working, np.zeros((6, 160, 160), np.uint8), truth, 1.25), 2, SMALL)
    brightness = found.signs[:, SIGNS.index("brightness 0")]
    assert int(found.inside.sum()) == 10 * 15
    assert brightness[found.inside > 0].min() > brightness[found.inside == 0].max()
    assert (found.field == 2).all()


def test_a_real_picture_without_aggregates_is_learned_from_and_not_held_out(tmp_path: Path) -> None:
    """Whole field numbers decide what is held out: those of pictures lie beyond the drawn ones."""
    path = tmp_path / "real.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(90, 160, (200, 220)).astype(np.uint8))
    wanted = SMALL.model_copy(update={"places_of_picture": 300, "striking_of_picture": 0})
    found = collect_without([path] * 9, 1.3, wanted)
    assert not found.inside.any()
    assert np.bincount(found.field)[found.field].tolist() == [300] * 2700
    assert (found.field >= wanted.n_fields).all()
    assert (found.field // 2 % 7 != 0).all()


def test_pictures_without_their_pixel_size_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "net.json"), "--without", "a.png"])
    assert "--without needs --without-um" in capsys.readouterr().err


def test_a_fit_tells_apart_what_can_be_told() -> None:
    rng = np.random.default_rng(1)
    signs = rng.integers(-127, 128, (4000, len(SIGNS))).astype(np.int8)
    examples = Examples(signs, (signs[:, 3] > 40).astype(np.uint8), rng.integers(0, 40, 4000).astype(np.int32))
    precision = fit(examples, SMALL.model_copy(update={"epochs": 60}))[1]
    assert precision > 0.95
    assert net_json(fit(examples, SMALL)[0]) == net_json(fit(examples, SMALL)[0])
    with pytest.raises(UndefinedResultError, match="nothing to tell apart"):
        fit(examples._replace(inside=np.zeros(4000, np.uint8)), SMALL)


def test_kept_fields_give_the_same_examples(tmp_path: Path) -> None:
    wanted = FitSettings(n_fields=10, side_px=256, places_around=50, places_without=50, places_striking=20)
    first = collect(wanted, tmp_path)
    again = collect(wanted, tmp_path)
    assert len(list(tmp_path.iterdir())) == 10
    for made, kept in zip(first, again, strict=True):
        np.testing.assert_array_equal(made, kept)
    assert set(again.field.tolist()) == set(range(10))

"""A model folder is whole and unaltered, or it is not used."""

import errno
import json
import os

import numpy as np
import pytest
import torch

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.segmentation.network import weights
from msc_vision.segmentation.network.model import CultureNetwork, NetworkShape
from msc_vision.segmentation.network.weights import ModelConfig, load_model, save_model, seal_model, shipped_models

SHAPE = NetworkShape(widths=(4, 4, 4), n_deep=1)


def make_model(folder, shape=SHAPE, seed=0):
    torch.manual_seed(seed)
    network = CultureNetwork(shape)
    config = ModelConfig(id="small", network=shape, canonical_pixel_size_um=0.8)
    return network, save_model(folder, config, network, recipe="name: small\n", card="# small\n")


@pytest.fixture
def folder(tmp_path):
    make_model(tmp_path / "small")
    return tmp_path / "small"


def test_what_was_saved_is_what_is_loaded(tmp_path):
    network, sha256 = make_model(tmp_path / "small")
    model = load_model(tmp_path / "small")
    pictures = torch.rand(1, 4, 32, 32)
    with torch.inference_mode():
        expected, found = network.eval()(pictures), model.network(pictures)
    assert not model.network.training
    assert model.sha256 == sha256
    assert model.config.id == "small"
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_same_weights_are_the_same_bytes(tmp_path):
    (_, first), (_, second) = (make_model(tmp_path / name) for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_an_altered_file_is_refused_by_name(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidDataError, match=f"{name}: was altered"):
        load_model(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "SHA256SUMS"])
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(InvalidDataError, match=f"{name} is missing"):
        load_model(folder)


def test_weights_of_another_network_are_refused(folder, tmp_path):
    make_model(tmp_path / "wide", NetworkShape(widths=(8, 8, 8), n_deep=1))
    (folder / "weights.safetensors").write_bytes((tmp_path / "wide" / "weights.safetensors").read_bytes())
    seal_model(folder)
    with pytest.raises(InvalidDataError, match=r"weights.safetensors: does not fit config.json"):
        load_model(folder)


def test_a_config_with_unknown_keys_is_refused_by_name(folder):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"treshold": 0.5}))
    with pytest.raises(InvalidDataError, match="treshold"):
        seal_model(folder)


def test_a_settled_limit_makes_another_model(folder):
    before = load_model(folder).sha256
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"calibration_temperature": 1.5}))
    seal_model(folder)
    assert load_model(folder).sha256 != before


def test_an_unknown_name_is_answered_with_near_ones(monkeypatch):
    monkeypatch.setattr(weights, "shipped_models", lambda: ("culture-1", "culture-2"))
    with pytest.raises(InvalidArgumentError, match=r"No model 'cultur-1': did you mean culture-1"):
        load_model("cultur-1")


def test_a_model_is_never_overwritten(folder):
    with pytest.raises(OutputError, match="exists already"):
        make_model(folder)


def test_a_full_disk_leaves_no_half_model(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("msc_vision.io.output.os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        make_model(tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_are_whole(name):
    model = load_model(name)
    assert model.config.id == name
    assert np.isfinite(sum(float(p.detach().abs().sum()) for p in model.network.parameters()))

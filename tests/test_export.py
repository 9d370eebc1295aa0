"""Other tools get the same maps, and the site's own validator takes the package; nothing asks a network."""

import socket
import zipfile

import numpy as np
import pytest
import torch

from msc_vision.errors import InvalidArgumentError, MissingDependencyError
from msc_vision.learning.export import (
    PackageText,
    PortableNetwork,
    export_bioimageio,
    export_onnx,
    portable_inputs,
)
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.model import CultureNetwork, NetworkShape
from msc_vision.segmentation.network.weights import ModelConfig, load_model, save_model
from training_cases import disc_field

SHAPE = NetworkShape(widths=(4, 4, 4), n_deep=1)
TEXT = PackageText("Culture network", "Cells against bare surface.", ("The developers",), "https://example.org/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    config = ModelConfig(id="small", network=SHAPE, canonical_pixel_size_um=0.8, calibration_temperature=1.7)
    save_model(folder, config, CultureNetwork(SHAPE), recipe="name: small\n", card="# small\n\nA card.\n")
    return folder


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def picture():
    return disc_field(0, 144)[0].astype(np.float32)


def test_inputs_of_the_graph_are_those_of_the_program():
    expected = network_inputs(picture())
    found = portable_inputs(torch.from_numpy(picture())[None, None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_onnx_gives_the_maps_of_the_program_at_any_size(folder, tmp_path):
    import onnxruntime

    model = load_model(folder)
    session = onnxruntime.InferenceSession(str(export_onnx(model, tmp_path / "m.onnx")))
    for size in ((128, 128), (144, 160)):
        pictures = np.random.default_rng(1).uniform(500, 2000, (2, 1, *size)).astype(np.float32)
        (found,) = session.run(None, {"pictures": pictures})
        with torch.inference_mode():
            inputs = torch.from_numpy(np.stack([network_inputs(one[0]) for one in pictures]))
            logits, _ = model.network(inputs)
            logits[:, MAPS.index("foreground")] /= 1.7
        np.testing.assert_allclose(found, torch.sigmoid(logits).numpy(), atol=1e-3)


def test_the_package_passes_the_validator_and_runs(folder, tmp_path, offline):
    from bioimageio.spec import load_description

    package = export_bioimageio(folder, tmp_path / "small.zip", picture(), TEXT)
    described = load_description(package)
    assert described.validation_summary.status in ("passed", "valid-format")
    assert described.name == TEXT.title
    assert {"model.onnx", "README.md", "test_input.npy"} <= set(zipfile.ZipFile(package).namelist())


def test_a_description_that_the_site_refuses_is_one_line(folder, tmp_path):
    short = PackageText("x", TEXT.description, TEXT.authors, TEXT.url)
    with pytest.raises(InvalidArgumentError, match="does not take this description: name"):
        export_bioimageio(folder, tmp_path / "small.zip", picture(), short)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_message_is_its_fix(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .msc-vision\[train\]"):
        export_onnx(load_model(folder), tmp_path / "m.onnx")


def test_the_graph_keeps_the_order_of_the_maps(folder):
    model = load_model(folder)
    with torch.inference_mode():
        maps = PortableNetwork(model).eval()(torch.from_numpy(picture())[None, None])
    assert maps.shape == (1, len(MAPS), 144, 144)
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1


def test_the_command_writes_both_files_and_says_where(folder, tmp_path, offline):
    from typer.testing import CliRunner

    from msc_vision.cli import app

    out = tmp_path / "exported"
    result = CliRunner().invoke(app, ["export", str(folder), "--out", str(out), "--url", "https://example.org/"])
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(out / "small.onnx"), str(out / "small.bioimageio.zip")]
    assert {path.name for path in out.iterdir()} == {"small.onnx", "small.bioimageio.zip"}

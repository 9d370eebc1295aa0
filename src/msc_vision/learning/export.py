"""A model for other tools: as ONNX, and as a package of bioimage.io.

The exported network takes plain brightness at the canonical pixel size and gives probabilities, so that no other tool
has to know how this package prepares its inputs.
"""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from msc_vision.errors import InvalidArgumentError, InvalidDataError, MissingDependencyError, OutputError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.segmentation.network import inputs
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.model import GRID
from msc_vision.segmentation.network.weights import CARD, Model, load_model

OPSET = 17
LEAST_PX = 128
"""Smallest picture that an exported network takes: mirroring its edges needs as much."""
_REPOSITORY_TEXT = "msc-vision: confluency, morphology and aggregates of MSC cultures"


class PortableNetwork(nn.Module):
    """Input pictures, network and probabilities in one graph of plain operations.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        divisors = torch.ones(1, len(MAPS), 1, 1)
        divisors[0, MAPS.index("foreground")] = model.config.calibration_temperature
        self.register_buffer("divisors", divisors)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return probabilities.

        Parameters
        ----------
        pictures : (N, 1, Y, X) float32 tensor
            Brightness in any unit, not negative; Y and X multiples of 16, at least 128.

        Returns
        -------
        (N, 6, Y, X) float32 tensor
            In the order of `MAPS`, 0 to 1.
        """
        logits, _ = self.network(portable_inputs(pictures))
        return torch.sigmoid(logits / self.divisors)


def portable_inputs(pictures: Tensor) -> Tensor:
    """Return what `inputs.network_inputs` returns, for (N, 1, Y, X) tensors, in operations that ONNX knows."""
    contrast = pictures / _window_mean(pictures, inputs.MEAN_PX).clamp(min=1e-6) - 1
    knees = contrast * (1 / inputs.KNEE)
    compressed = torch.sign(knees) * torch.log(knees.abs() + torch.sqrt(knees * knees + 1))  # arcsinh
    plain = (contrast * 5).clamp(-3, 3)
    spreads = [_log_spread(contrast, window) for window in (inputs.FINE_PX, inputs.COARSE_PX)]
    return torch.cat([compressed, plain, *spreads], dim=1)


def _log_spread(contrast: Tensor, window_px: int) -> Tensor:
    mean = _window_mean(contrast, window_px)
    square = _window_mean(contrast * contrast, window_px)
    variance = (square - mean * mean).clamp(min=0) + inputs.FLOOR**2
    return 0.5 * torch.log(variance) + 3.5


def _window_mean(pictures: Tensor, window_px: int) -> Tensor:
    """Return the mean of a square window, mirrored at the edges; rows and columns apart cost a fraction."""
    reach = window_px // 2
    mirrored = functional.pad(pictures, (reach, reach, reach, reach), mode="reflect")
    return functional.avg_pool2d(functional.avg_pool2d(mirrored, (window_px, 1), 1), (1, window_px), 1)


def export_onnx(model: Model, path: Path) -> Path:
    """Write a model as ONNX: input ``pictures`` (N, 1, Y, X) float32, output ``maps`` (N, 6, Y, X) float32.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    OutputError
        If it cannot be written.
    """
    try:
        import onnx
    except ImportError as err:
        raise MissingDependencyError('Export needs onnx: pip install "msc-vision[train]".') from err
    sides = {0: "batch", 2: "y", 3: "x"}
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.onnx"
        with warnings.catch_warnings():  # about torch's other exporter, and about slices that are not folded
            warnings.simplefilter("ignore")
            torch.onnx.export(
                PortableNetwork(model).eval(),
                (torch.ones(1, 1, LEAST_PX, LEAST_PX),),
                str(draft),
                input_names=["pictures"],
                output_names=["maps"],
                dynamic_axes={"pictures": sides, "maps": sides},
                opset_version=OPSET,
                dynamo=False,
            )
        graph = onnx.load(draft)
    graph.metadata_props.add(key="msc_vision_model", value=model.config.id)
    graph.metadata_props.add(key="msc_vision_sha256", value=model.sha256)
    graph.metadata_props.add(key="canonical_pixel_size_um", value=f"{model.config.canonical_pixel_size_um:g}")
    onnx.checker.check_model(graph, full_check=True)
    write_whole(path, graph.SerializeToString())
    return path


@dataclass(frozen=True, slots=True)
class PackageText:
    """What a bioimage.io package says of itself besides the card.

    Attributes
    ----------
    title : str
    description : str
        One paragraph.
    authors : tuple of str
    url : str
        Where the project lives; cited.
    """

    title: str
    description: str
    authors: tuple[str, ...]
    url: str


def export_bioimageio(folder: Path, path: Path, example: NDArray[Any], text: PackageText) -> Path:
    """Write a model as a package of bioimage.io, and let its validator judge the package.

    Parameters
    ----------
    folder : Path
        Of the model.
    path : Path
        ``.zip`` to write.
    example : (Y, X) array
        Picture at the canonical pixel size whose licence allows to pass it on; becomes the test input. Cut to
        multiples of 16.
    text : PackageText

    Raises
    ------
    InvalidDataError
        If the validator finds fault; its words are in the message.
    MissingDependencyError
        If bioimageio.spec or onnx is not installed.
    OutputError
        If it cannot be written.
    """
    try:
        from bioimageio.spec import InvalidDescr, ValidationContext, load_description, save_bioimageio_package
    except ImportError as err:
        raise MissingDependencyError('Export needs bioimageio.spec: pip install "msc-vision[train]".') from err
    model = load_model(folder)
    if path.suffix != ".zip" or path.exists():
        raise OutputError(f"{path}: give the name of a new .zip file.")
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        with output_errors(work):
            export_onnx(model, work / "model.onnx")
            (work / "README.md").write_bytes((folder / CARD).read_bytes())
            _write_test_tensors(model, example, work)
            _write_cover(work)
        # relative names are looked up in the folder, never on a network
        with ValidationContext(root=work, perform_io_checks=True, log_warnings=False):
            description = _checked_description(model, text, work)
            with output_errors(path):
                save_bioimageio_package(description, output_path=path, local_files_only=True)
    with ValidationContext(perform_io_checks=True, log_warnings=False):
        checked = load_description(path, format_version="latest")
    if isinstance(checked, InvalidDescr) or checked.validation_summary.status == "failed":
        reason = " ".join(str(checked.validation_summary.errors).split())[:400]
        path.unlink(missing_ok=True)
        raise InvalidDataError(f"{path}: the validator of bioimage.io refuses the package: {reason}")
    return path


def example_field(pixel_size_um: float) -> NDArray[Any]:
    """Return a synthetic field of 256 x 256 pixels, half covered: an example that anyone may pass on."""
    from msc_vision.synth import FieldSettings, render_field

    settings = FieldSettings(height_px=256, width_px=256, pixel_size_um=pixel_size_um, confluency_percent=50)
    return render_field(settings, 1).image


def _write_test_tensors(model: Model, example: NDArray[Any], work: Path) -> None:
    height, width = (length // GRID * GRID for length in example.shape)
    if min(height, width) < LEAST_PX:
        raise InvalidDataError(f"The example is {example.shape}; give at least {LEAST_PX} x {LEAST_PX} pixels.")
    pictures = np.ascontiguousarray(example[None, None, :height, :width], np.float32)
    with torch.inference_mode():
        maps = PortableNetwork(model).eval()(torch.from_numpy(pictures)).numpy()
    np.save(work / "test_input.npy", pictures)
    np.save(work / "test_output.npy", maps)


def _write_cover(work: Path) -> None:
    """Draw the example beside its foreground, 2 to 1, as the site shows it."""
    import cv2

    picture = np.load(work / "test_input.npy")[0, 0]
    maps = np.load(work / "test_output.npy")[0]
    low, high = np.percentile(picture, [0.5, 99.5])
    grey = np.clip((picture - low) * (255 / max(float(high - low), 1e-6)), 0, 255).astype(np.uint8)
    foreground = (maps[MAPS.index("foreground")] * 255).astype(np.uint8)
    side = min(grey.shape)
    pair = np.hstack([grey[:side, :side], foreground[:side, :side]])
    cv2.imwrite(str(work / "cover.png"), cv2.resize(pair, (512, 256), interpolation=cv2.INTER_AREA))


def _checked_description(model: Model, text: PackageText, work: Path) -> Any:
    try:
        return _description(model, text, work)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"bioimage.io does not take this description: {problems}.") from err


def _description(model: Model, text: PackageText, work: Path) -> Any:
    from bioimageio.spec.model import v0_5 as spec

    tensor = spec.TensorId("pictures")
    size_um = model.config.canonical_pixel_size_um
    space: dict[str, Any] = {"unit": "micrometer", "scale": size_um}
    least = spec.ParameterizedSize(min=LEAST_PX, step=GRID)
    pictures = spec.InputTensorDescr(
        id=tensor,
        description=f"Brightness in any unit, not negative, at {size_um:g} µm per pixel.",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier("transmitted_light")]),
            *(spec.SpaceInputAxis(id=spec.AxisId(name), size=least, **space) for name in "yx"),
        ],
        test_tensor=spec.FileDescr(source=work / "test_input.npy"),
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, None)),
    )
    maps = spec.OutputTensorDescr(
        id=spec.TensorId("maps"),
        description="Probabilities, 0 to 1; core is the depth within a cell, 1 at its deepest place.",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier(name) for name in MAPS]),
            *(
                spec.SpaceOutputAxis(
                    id=spec.AxisId(name),
                    size=spec.SizeReference(tensor_id=tensor, axis_id=spec.AxisId(name)),
                    **space,
                )
                for name in "yx"
            ),
        ],
        test_tensor=spec.FileDescr(source=work / "test_output.npy"),
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
    )
    return spec.ModelDescr(
        name=text.title,
        description=text.description,
        authors=[spec.Author(name=name) for name in text.authors],
        cite=[spec.CiteEntry(text=_REPOSITORY_TEXT, url=spec.HttpUrl(text.url))],
        license=spec.LicenseId(model.config.licence),
        documentation=spec.FileDescr(source=work / "README.md"),
        covers=[spec.FileDescr(source=work / "cover.png")],
        tags=["segmentation", "phase-contrast", "cells", "confluency", "2d", "pytorch", "onnx"],
        version=spec.Version(model.config.version),
        inputs=[pictures],
        outputs=[maps],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=work / "model.onnx", opset_version=OPSET)),
    )

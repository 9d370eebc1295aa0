"""The same weights in other runtimes on the same windows: how fast, and how far their maps are from torch's."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.annotated import listed
from benchmarks.network_speed import canonical_picture
from benchmarks.setup import PAIRS, Setup, picture_uses_of
from benchmarks.speed import alternately, spread
from benchmarks.tables import Figure, Section, table
from msc_vision.io.images import open_image
from msc_vision.learning.targets import resampled
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.model import GRID
from msc_vision.segmentation.network.weights import Model, load_model

REPEATS = 3
OPSET = 17
N_REAL = 1
WORTH_IT = 2.0
FOREGROUND = 0

FloatArray = NDArray[np.float32]
Forward = Callable[[FloatArray], FloatArray]
"""Input pictures (1, C, Y, X) to logits (1, maps, Y, X)."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way to compute the network."""

    name: str
    build: Callable[[], Forward]


@dataclass(frozen=True, slots=True)
class Timed:
    """How one runtime did, against torch in float32."""

    name: str
    times: list[float]
    largest: float
    foreground_largest: float
    other_side_percent: float


def measure(setup: Setup) -> Section:
    """Time every runtime that is installed, one after the other, and compare their maps."""
    recipe = setup.network
    if recipe is None or recipe.network is None:
        return Section("Not measured: no recipe has a network.")
    model = load_model(recipe.network.model)
    windows = _windows(setup, model)
    n_px = sum(window[0, 0].size for window in windows)
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as folder:
        runtimes, missing = _runtimes(model, Path(folder))
        found = _timed(runtimes, windows, model, 1 if setup.is_trial else REPEATS)
    return Section(_intro(windows), _figures(found, n_px), (_table(found, n_px), *missing))


def _intro(windows: Sequence[FloatArray]) -> str:
    sizes = " and ".join(f"{w.shape[-2]} x {w.shape[-1]}" for w in windows)
    return (
        f"The network alone (input pictures to logits) on {len(windows)} windows of {sizes} pixels: one synthetic, "
        f"one real where annotated images are at hand. All on the CPU with {torch.get_num_threads()} threads, one "
        "runtime after the other, as the threads of one spin on after its work and slow the next; torch goes through "
        "autocast in bfloat16, as in the product. Differences are those of probabilities from torch in float32, over "
        "all maps and for the foreground alone; the last column is the share of pixels that change sides of the "
        f"foreground limit. {_versions()}"
    )


def _versions() -> str:
    found = []
    for name in ("torch", "onnxruntime", "openvino"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return f"Versions: {', '.join(found)}."


def _windows(setup: Setup, model: Model) -> list[FloatArray]:
    pictures = [canonical_picture(model)]
    rows = [row for row in listed(setup, picture_uses_of(setup.network)) if row["pixel_size_um"]]
    held_out = [row for row in rows if row["group"].endswith("held out")] or rows
    for row in held_out[:N_REAL]:
        with open_image(PAIRS.parent / row["image"]) as image:
            native = image.read()
        real = resampled(native, float(row["pixel_size_um"]) / model.config.canonical_pixel_size_um)
        height, width = (side // GRID * GRID for side in real.shape)
        pictures.append(real[:height, :width].astype(np.float32))
    return [network_inputs(picture)[None] for picture in pictures]


# --- runtimes --------------------------------------------------------------------------------------------------------


class _Logits(nn.Module):
    """The network without its guess of the pixel size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.network(pictures)[0]
        return logits


def _runtimes(model: Model, folder: Path) -> tuple[list[Runtime], list[str]]:
    """Return what can be measured, torch in float32 first, and a sentence on each runtime that cannot."""
    network = model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = [
        Runtime("torch, float32", partial(_torch_forward, network, is_bf16=False)),
        Runtime("torch, bfloat16", partial(_torch_forward, network, is_bf16=True)),
    ]
    missing = []
    try:
        path = _export(network, model.config.network.n_inputs, folder / "network.onnx")
    except ImportError as err:
        return found, [f"Other runtimes were not measured: export needs a package that is missing ({err})."]
    if find_spec("onnxruntime"):
        found.append(Runtime("ONNX Runtime, float32", partial(_onnx_forward, path)))
        missing.append("ONNX Runtime computes no convolution in bfloat16 on a CPU.")
    if find_spec("openvino"):
        found += [Runtime(f"OpenVINO, {name}", partial(_openvino_forward, path, hint)) for name, hint in _HINTS]
    return found, missing


_HINTS = (("float32", "f32"), ("bfloat16", "bf16"))


def _torch_forward(network: nn.Module, *, is_bf16: bool) -> Forward:
    @torch.inference_mode()
    def forward(inputs: FloatArray) -> FloatArray:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
            pictures = torch.from_numpy(inputs).to(memory_format=torch.channels_last)
            logits: FloatArray = network(pictures)[0].float().numpy()
            return logits

    return forward


def _export(network: nn.Module, n_inputs: int, path: Path) -> Path:
    import onnx  # noqa: F401  (says at once that it is missing; torch would say it later and otherwise)

    sides = {0: "batch", 2: "y", 3: "x"}
    with warnings.catch_warnings():  # torch announces its other exporter, which needs one more package
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Logits(network).eval(),
            (torch.zeros(1, n_inputs, 8 * GRID, 8 * GRID),),
            str(path),
            input_names=["pictures"],
            output_names=["logits"],
            dynamic_axes={"pictures": sides, "logits": sides},
            opset_version=OPSET,
            dynamo=False,
        )
    return path


def _onnx_forward(path: Path) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(inputs: FloatArray) -> FloatArray:
        logits: FloatArray = session.run(None, {"pictures": inputs})[0]
        return logits

    return forward


def _openvino_forward(path: Path, precision: str) -> Forward:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def forward(inputs: FloatArray) -> FloatArray:
        logits: FloatArray = np.asarray(compiled(inputs)[0], np.float32)
        return logits

    return forward


# --- comparison ------------------------------------------------------------------------------------------------------


def _timed(runtimes: Sequence[Runtime], windows: Sequence[FloatArray], model: Model, repeats: int) -> list[Timed]:
    limit = model.config.settings.foreground_limit
    reference: list[FloatArray] = []
    found = []
    for runtime in runtimes:
        forward = runtime.build()
        (own,) = alternately([partial(_seconds, forward, windows)], repeats)
        maps = [_probabilities(forward, window, model) for window in windows]
        del forward  # and with it its threads
        reference = reference or maps
        pairs = list(zip(maps, reference, strict=True))
        largest = max(float(np.abs(a - b).max()) for a, b in pairs)
        foreground = max(float(np.abs(a[FOREGROUND] - b[FOREGROUND]).max()) for a, b in pairs)
        n_other = sum(int(((a[FOREGROUND] > limit) != (b[FOREGROUND] > limit)).sum()) for a, b in pairs)
        n_px = sum(b[FOREGROUND].size for b in reference)
        found.append(Timed(runtime.name, own, largest, foreground, 100 * n_other / n_px))
    return found


def _seconds(forward: Forward, windows: Sequence[FloatArray]) -> float:
    start = time.perf_counter()
    for window in windows:
        forward(window)
    return time.perf_counter() - start


def _probabilities(forward: Forward, window: FloatArray, model: Model) -> FloatArray:
    logits = forward(window)[0].copy()
    logits[FOREGROUND] /= model.config.calibration_temperature
    probabilities: FloatArray = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return probabilities


def _figures(found: Sequence[Timed], n_px: int) -> tuple[Figure, ...]:
    own = max(_rate(one, n_px) for one in found if one.name.startswith("torch"))
    others = [one for one in found if not one.name.startswith("torch")]
    if not others:
        return ()
    best = max(others, key=lambda one: _rate(one, n_px))
    gain = _rate(best, n_px) / own
    verdict = "worth an extra" if gain >= WORTH_IT else "not worth an extra"
    name = f"fastest other runtime ({best.name}) over the faster torch"
    return (Figure(name, f"{gain:.2f}x", f"{WORTH_IT:g}x to be offered: {verdict}"),)


def _rate(one: Timed, n_px: int) -> float:
    return n_px / 1e6 / statistics.median(one.times)


def _table(found: Sequence[Timed], n_px: int) -> str:
    first = _rate(found[0], n_px)
    lines = [
        (
            one.name,
            spread(one.times),
            f"{_rate(one, n_px):.1f}",
            f"{_rate(one, n_px) / first:.2f}x",
            f"{one.largest:.4f}",
            f"{one.foreground_largest:.4f}",
            f"{one.other_side_percent:.3f} %",
        )
        for one in found
    ]
    header = (
        "runtime",
        "s (median, range)",
        "MP/s",
        "against torch float32",
        "largest difference",
        "of the foreground",
    )
    return table((*header, "change sides"), lines)

"""Speed of the network: from file to written labels with cells, alone, and against what its arithmetic would take."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.inputs import PIXEL_SIZE_UM, SIDE_PX, base_fields, manifest_of, tiff_folder
from benchmarks.setup import Setup
from benchmarks.speed import MEGAPIXELS, STAGES, Stages, alternately, profile_table, run_seconds, spread
from benchmarks.tables import Figure, Section, at_least, at_most, table
from msc_vision.batch.execute import libraries_in_one_thread
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.records import FieldScore, Region
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.model import GRID
from msc_vision.segmentation.network.predict import has_native_bf16, interpolated
from msc_vision.segmentation.network.weights import Model, load_model

WORKERS = 2
N_FIELDS = 8
REPEATS = 3
MATRIX_SIDE = 2048
GPU_BAR_MPX = 500

_IN_COMMON = {
    "io/images.py:content_sha256",
    "io/images.py:open_image",
    "io/images.py:read",
    "imaging/normalise.py:to_working",
    "imaging/overview.py:add",
    "imaging/artefacts.py:judgeable_mask",
    "imaging/quality.py:judge_field",
    "io/labels.py:write_labels",
}
NETWORK_STAGES: Stages = (
    *(stage for stage in STAGES if stage[0] in _IN_COMMON and stage[0] != "io/labels.py:write_labels"),
    ("segmentation/contrast.py:texture", "local contrast beside it: texture"),
    ("segmentation/contrast.py:foreground_mask", "local contrast beside it: foreground"),
    (
        "network/field_maps.py:window_maps - network/predict.py:predict_window",
        "to the network's pixel size, and maps back from it",
    ),
    ("network/inputs.py:network_inputs", "input pictures"),
    ("network/predict.py:predict_window - network/inputs.py:network_inputs", "network"),
    ("segmentation/cells.py:cell_parts", "basins and their contacts"),
    ("segmentation/cells.py:join_cells", "basins to cells"),
    ("batch/describe.py:describe", "describe: shapes, order, aggregates, signs"),
    ("io/labels.py:write_labels", "write labels"),
)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast the network alone is; pixels are those that it sees.

    Attributes
    ----------
    name : str
        Processor and number format.
    passes : list of float
        Seconds of one pass over the picture.
    matrix : float
        Multiply-adds per second of a large matrix product.
    """

    name: str
    passes: list[float]
    matrix: float


def measure(setup: Setup) -> Section:
    """Measure a run of whole fields, where its time goes, and the network alone."""
    recipe = setup.network
    if recipe is None or recipe.network is None:
        return Section("Not measured: no recipe has a network.")
    model = load_model(recipe.network.model)
    n, repeats = (2, 1) if setup.is_trial else (N_FIELDS, REPEATS)
    folder = tiff_folder(N_FIELDS, "zlib")
    cases = [
        lambda: run_seconds(folder, n, WORKERS, recipe, cells_only),
        lambda: run_seconds(folder, n, WORKERS, recipe),
    ]
    times, all_times = alternately(cases, repeats)
    rate = n * MEGAPIXELS / statistics.median(times)
    costs = multiply_adds(model.network, model.config.network.n_inputs)
    picture = canonical_picture(model)
    rates = _rates(model, picture, repeats)
    figures = [at_least("file to written labels, cells included", rate, 8, " MP/s", digits=1)]
    figures.append(Figure("the same against the aim", f"{rate:.1f} MP/s", "aim 12 MP/s"))
    figures.append(
        Figure("with shapes, aggregates and signs", f"{n * MEGAPIXELS / statistics.median(all_times):.1f} MP/s")
    )
    figures.append(at_most("what these add, of one thread", describing_percent(folder, recipe, n), 40, " %", digits=0))
    figures += [_gpu_figure(r, picture.size) for r in rates if r.name.startswith("cuda")]
    if not torch.cuda.is_available():
        figures.append(Figure("network alone on a GPU", "not measured: none here", f"≥ {GPU_BAR_MPX} MP/s"))
    run = table(
        ("run", "s (median, range)", "MP/s"),
        [
            (f"{n} fields, {WORKERS} workers, {what}", spread(some), f"{n * MEGAPIXELS / statistics.median(some):.1f}")
            for what, some in (("cells only", times), ("all", all_times))
        ],
    )
    tables = (run, profile_table(folder, recipe, NETWORK_STAGES, n), _rate_table(rates, costs, picture.size, model))
    return Section(_intro(recipe, model, costs, n, repeats), tuple(figures), tables)


def cells_only(task: FieldTask, **options: Any) -> FieldScore:
    """Score a field without saying anything of it but its cells."""
    return score_field(replace(task, is_described=False), **options)


def describing_percent(folder: Path, recipe: Pipeline, n: int) -> float:
    """Return what shapes, order, aggregates and signs add to the processor time of a field, file to written labels."""
    rows = manifest_of(folder, n).rows
    torch.set_num_threads(1)

    def scored(*, is_described: bool) -> float:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            for i, row in enumerate(rows):
                labels = Path(scratch) / f"{i}.ome.zarr"
                task = FieldTask(str(i), folder / row.path, row, recipe, labels, None, is_described=is_described)
                score_field(task)
        return time.process_time() - start

    cases = [partial(scored, is_described=is_described) for is_described in (True, False)]
    with libraries_in_one_thread():
        with_all, without = alternately(cases, 3)
    return 100 * (statistics.median(with_all) / statistics.median(without) - 1)


def _intro(recipe: Pipeline, model: Model, costs: float, n: int, repeats: int) -> str:
    precision = "bfloat16" if has_native_bf16() else "float32"
    n_parameters = sum(p.numel() for p in model.network.parameters())
    return (
        f"Recipe `{recipe.name}` with model `{model.config.id}`: {n_parameters / 1e6:.2f} M parameters, "
        f"{costs / 1e3:.1f} thousand multiply-adds for each pixel of {model.config.canonical_pixel_size_um:g} µm, "
        f"computed in {precision} here. A run: {n} synthetic fields of {SIDE_PX} x {SIDE_PX} pixels, 16 bit, TIFF with "
        f"deflate, {PIXEL_SIZE_UM:g} µm per pixel, {WORKERS} workers, from files to the complete run folder, in a "
        f"process that is up; {repeats} repeats. Network alone: one pass over one such field at the network's pixel "
        f"size, {torch.get_num_threads()} threads, input pictures ready. Matrix rate: a product of two matrices of "
        f"{MATRIX_SIDE} x {MATRIX_SIDE} in the same number format, by turns with the network; the share is the time "
        "that the network's multiply-adds would take at that rate over the time that it takes."
    )


def multiply_adds(network: nn.Module, n_inputs: int) -> float:
    """Return the multiply-adds of convolutions and linear layers per input pixel."""
    side = 8 * GRID
    total = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            total += out.numel() * (layer.in_channels // layer.groups) * height * width
        elif isinstance(layer, nn.Linear):
            total += out.numel() * layer.in_features

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, n_inputs, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return total / side**2


def canonical_picture(model: Model) -> NDArray[np.float32]:
    """Return a synthetic field at the network's pixel size, cut to whole blocks of the network."""
    field = base_fields()[1]
    ratio = model.config.canonical_pixel_size_um / PIXEL_SIZE_UM
    side = int(SIDE_PX / ratio) // GRID * GRID
    whole = Region(0, SIDE_PX, 0, SIDE_PX)
    return interpolated(field, whole, Region(0, side, 0, side), ratio).astype(np.float32)


def _rates(model: Model, picture: NDArray[np.float32], repeats: int) -> list[Rate]:
    """Measure network and matrix product in turns, in each number format, on each processor there is."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = []
    for device in devices:
        network = model.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = torch.from_numpy(network_inputs(picture))[None].to(device, memory_format=torch.channels_last)
        for dtype in (torch.float32, torch.bfloat16):
            matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE, device=device).to(dtype)
            cases = (partial(_pass, network, inputs, dtype), partial(torch.matmul, matrix, matrix))
            passes, products = alternately([partial(_seconds, case, device) for case in cases], repeats)
            name = f"{device}, {str(dtype).removeprefix('torch.')}"
            found.append(Rate(name, passes, MATRIX_SIDE**3 / statistics.median(products)))
    model.network.to("cpu")
    return found


@torch.inference_mode()
def _pass(network: nn.Module, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits: Tensor = network(inputs)[0]
        return logits


def _seconds(work: Callable[[], Any], device: str) -> float:
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _gpu_figure(rate: Rate, n_px: int) -> Figure:
    return at_least(f"network alone, {rate.name}", n_px / 1e6 / statistics.median(rate.passes), GPU_BAR_MPX, " MP/s")


def _rate_table(rates: list[Rate], costs: float, n_px: int, model: Model) -> str:
    zoom = (model.config.canonical_pixel_size_um / PIXEL_SIZE_UM) ** 2
    lines = []
    for rate in rates:
        speed = n_px / statistics.median(rate.passes)
        share = 100 * speed * costs / rate.matrix
        speeds = (f"{speed / 1e6:.1f}", f"{zoom * speed / 1e6:.1f}")
        lines.append((rate.name, spread(rate.passes), *speeds, f"{rate.matrix / 1e9:.0f}", f"{share:.0f} %"))
    size = f"{model.config.canonical_pixel_size_um:g} µm"
    header = ("network alone", "s (median, range)", f"MP/s of {size}", f"MP/s of {PIXEL_SIZE_UM:g} µm")
    return table((*header, "matrix rate, G multiply-adds/s", "share of it"), lines)

"""Weights of the evidence for aggregates, fitted to synthetic cultures: ``python -m msc_vision.learning.aggregates``.

Fields are drawn from seeds, a shipped network looks at them, and a small net learns from the signs at their places
where aggregates are. Real pictures without any aggregate may be added. Seed, number of fields, pictures and software
decide the weights, nothing else does.
"""

import argparse
import hashlib
import logging
import math
import multiprocessing
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision import __version__
from msc_vision.batch.network_field import network_field
from msc_vision.batch.pipeline import NetworkSettings
from msc_vision.errors import UndefinedResultError
from msc_vision.findings.aggregate_evidence import SIGNS, aggregate_signs, places_side_px
from msc_vision.findings.aggregate_weights import HIDDEN_MOST, AggregateNet, net_json
from msc_vision.imaging.frame import Frame
from msc_vision.imaging.normalise import intensity_scale, to_working, working_factor
from msc_vision.io.images import open_image
from msc_vision.io.output import output_errors, write_whole
from msc_vision.records import ImageInfo, Region
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.weights import model_sha256
from msc_vision.synth import FieldSettings, render_field

logger = logging.getLogger(__name__)

_COVERS = (5.0, 30.0, 50.0, 70.0, 85.0, 90.0, 95.0)
_BARE_COVERS = (0.0, 10.0, 30.0, 50.0, 70.0, 85.0, 95.0, 100.0)
_COMPACT = (0.0, 0.3, 0.6, 0.8, 1.0)
_WITHOUT: tuple[Mapping[str, Mapping[str, Any]], ...] = (
    {},
    {"cells": {"shares": {"spindle": 0.5, "stellate": 0.4, "rounded": 0.1}}},
    {"cells": {"shares": {"spindle": 0.5, "stellate": 0.4, "rounded": 0.1}, "dead_per_mm2": 40.0}},
    {"cells": {"dead_per_mm2": 60.0, "debris_per_mm2": 400.0}},
    {"cells": {"crowding": 1.0}},
    {"faults": {"bubbles": 3}},
    {"faults": {"bubbles": 6, "fibres": 1}},
    {"faults": {"scratches": 6}},
    {"faults": {"fibres": 2}},
    {"faults": {"layer_above": 0.2, "condensation": 0.3}},
    {"background": {"dust_per_mm2": 15.0}},
    {"contamination": {"kind": "haze", "amount": 0.4}},
    {"contamination": {"kind": "dots", "amount": 0.4}},
    {"contamination": {"kind": "budding", "amount": 0.4}},
    {"contamination": {"kind": "filaments", "amount": 0.4}},
)
"""What may be taken for an aggregate and is none."""
_STRIKING, _STRIKING_FROM = ("obscured 20", "brightness 15"), 36
"""Signs, and from where on they are strong: the walls of bubbles are rare, and the likeliest to be mistaken."""
_HELD_OUT_EVERY = 7
"""Of pairs of fields; shares no factor with the kinds above, so that each is learned from and held out."""
_LARGEST_WEIGHT = 200.0
_SIGN_SCALE = 64.0
_KEPT = 0.9999
"""Share of places whose hidden units are not cut off."""
_STEPS = 16
"""Of the answer in whole numbers that are 1 in the logarithm of the odds."""


class FitSettings(BaseModel):
    """What decides the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(20_261_124, ge=0)
    n_fields: int = Field(1000, ge=10, description="half of them with aggregates")
    side_px: int = Field(640, ge=256)
    model: str = "culture-3"
    hidden: int = Field(64, ge=1, le=64)
    epochs: int = Field(10, ge=1)
    places_per_aggregate: int = Field(150, ge=1, description="at most, so that large ones do not decide alone")
    places_around: int = Field(1000, ge=1, description="of a field with aggregates, outside them")
    places_without: int = Field(1500, ge=1, description="of a field without")
    places_striking: int = Field(2000, ge=0, description="and outside aggregates where much is bright, dark or hidden")
    places_of_picture: int = Field(4000, ge=1, description="of a real picture without aggregates")
    striking_of_picture: int = Field(3000, ge=0, description="and where much in it is bright, dark or hidden")


class SeenField(NamedTuple):
    """A drawn field as the network sees it, in working pixels.

    ``working`` (Y, X) uint16, ``maps`` (6, Y, X) uint8, ``truth`` (Y, X) uint8 1 where aggregates are.
    """

    working: NDArray[np.uint16]
    maps: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    working_um: float


class Examples(NamedTuple):
    """Places of fields: signs (N, signs) int8, whether in an aggregate (N,) uint8, number of the field (N,) int32."""

    signs: NDArray[np.int8]
    inside: NDArray[np.uint8]
    field: NDArray[np.int32]


def drawn_settings(number: int, settings: FitSettings) -> tuple[FieldSettings, int]:
    """Return how a field is drawn and its seed; even numbers have aggregates."""
    rng = np.random.Generator(np.random.PCG64([settings.seed, number]))
    shares = {"spindle": rng.uniform(0.3, 0.7), "stellate": rng.uniform(0.2, 0.5), "flattened": rng.uniform(0, 0.2)}
    cells: dict[str, Any] = {
        "shares": shares | {"rounded": float(rng.choice([0.02, 0.05, 0.1]))},
        "area_um2": rng.uniform(1500, 2700),
        "slenderness": rng.uniform(3.5, 7.0),
        "phase": rng.uniform(0.3, 0.7),
        "alignment": rng.uniform(0.5, 1.0),
    }
    field: dict[str, Any] = {
        "height_px": settings.side_px,
        "width_px": settings.side_px,
        "pixel_size_um": math.exp(rng.uniform(math.log(0.7), math.log(1.6))),
    }
    if number % 2 == 0:
        field["confluency_percent"] = float(rng.choice(_COVERS))
        is_small = rng.random() < 0.4
        cells["aggregates"] = {
            "per_mm2": rng.uniform(15, 40) if is_small else rng.uniform(6, 20),
            "diameter_um": rng.uniform(50, 90) if is_small else rng.uniform(60, 200),
            "compactness": float(rng.choice(_COMPACT)),
        }
    else:
        field["confluency_percent"] = float(rng.choice(_BARE_COVERS))
        for group, change in _WITHOUT[number // 2 % len(_WITHOUT)].items():
            if group == "cells":
                cells |= change
            else:
                field[group] = dict(change)
    return FieldSettings(**field, cells=cells), int(rng.integers(2**31))


def see_field(number: int, settings: FitSettings) -> SeenField:
    """Draw a field and let the network look at it."""
    wanted, seed = drawn_settings(number, settings)
    drawn = render_field(wanted, seed)
    native = np.asarray(drawn.image)
    info = ImageInfo(Path("drawn"), "drawn", native.shape[:2], str(native.dtype), None, wanted.pixel_size_um)
    return _see(native, info, wanted.pixel_size_um, settings.model, drawn.aggregates)


def see_picture(path: Path, pixel_size_um: float, settings: FitSettings) -> SeenField:
    """Let the network look at a real picture in 8 or 16 bit that has no aggregate."""
    with open_image(path) as image:
        native = image.read()
        return _see(native, image.info, pixel_size_um, settings.model, np.zeros(native.shape, np.uint8))


def _see(
    native: NDArray[Any], info: ImageInfo, pixel_size_um: float, model: str, aggregates: NDArray[np.uint8]
) -> SeenField:
    factor = working_factor(pixel_size_um, 1.3)
    frame = Frame(info, pixel_size_um, factor, intensity_scale(native.dtype, (0.0, 0.0)))

    def read(region: Region) -> NDArray[Any]:
        return native[region.y0 : region.y1, region.x0 : region.x1]

    look = network_field(NetworkSettings(model=model), frame, pixel_size_um, read)
    picture = to_working(native, look.plan.binning, frame.scale)
    maps = np.empty((len(MAPS), *frame.working_shape), np.uint8)
    for window in look.plan.windows:
        at = look.plan.working(window)
        found = look.answers(window, lambda r: picture[r.y0 : r.y1, r.x0 : r.x1])
        maps[:, at.y0 : at.y1, at.x0 : at.x1] = found.maps
    truth = aggregates[factor // 2 :: factor, factor // 2 :: factor].astype(np.uint8)
    whole = np.zeros(frame.working_shape, np.uint8)
    whole[: truth.shape[0], : truth.shape[1]] = truth
    return SeenField(to_working(native, factor, frame.scale), maps, whole, pixel_size_um * factor)


def examples_of(seen: SeenField, number: int, settings: FitSettings) -> Examples:
    """Return places of a field to learn from, drawn by the field's own seed."""
    rng = np.random.Generator(np.random.PCG64([settings.seed, number, 1]))
    signs = aggregate_signs(seen.working, seen.maps, seen.working_um)
    side = places_side_px(seen.working_um)
    parts = cv2.connectedComponents(seen.truth, connectivity=8)[1][side // 2 :: side, side // 2 :: side]
    owner = np.zeros(signs.shape[1:], np.int32)
    owner[: parts.shape[0], : parts.shape[1]] = parts
    wanted = [settings.places_around if seen.truth.any() else settings.places_without]
    wanted += [settings.places_per_aggregate] * int(parts.max())
    chosen = [_some(np.flatnonzero(owner.ravel() == i), n, rng) for i, n in enumerate(wanted)]
    striking = np.abs(signs[[SIGNS.index(name) for name in _STRIKING]]).max(axis=0) > _STRIKING_FROM
    chosen.append(_some(np.flatnonzero(striking & (owner == 0)), settings.places_striking, rng))
    at = np.concatenate(chosen)
    return Examples(
        signs.reshape(len(signs), -1)[:, at].T.astype(np.int8),
        (owner.ravel()[at] > 0).astype(np.uint8),
        np.full(at.size, number, np.int32),
    )


def _some(places: NDArray[np.intp], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.choice(places, min(n, places.size), replace=False) if places.size else places


def collect(settings: FitSettings, folder: Path | None = None, *, workers: int = 1) -> Examples:
    """Return the places of all fields.

    Parameters
    ----------
    settings : FitSettings
    folder : Path, optional
        Keeps what the network saw, and is read where it holds a field already.
    workers : int
        Processes; 1 works in this one.
    """
    numbers = range(settings.n_fields)
    more = [settings] * len(numbers), [folder] * len(numbers)
    if workers <= 1:
        found = list(map(_examples, numbers, *more))
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_examples, numbers, *more))
    return _together(found)


def _examples(number: int, settings: FitSettings, folder: Path | None) -> Examples:
    cv2.setNumThreads(1)
    import torch

    torch.set_num_threads(1)
    if folder is None:
        return examples_of(see_field(number, settings), number, settings)
    path = folder / f"{settings.model}-{settings.seed}-{settings.side_px}-{number}.npz"
    if not path.is_file():
        np.savez(path, **see_field(number, settings)._asdict())
    with np.load(path) as kept:
        seen = SeenField(kept["working"], kept["maps"], kept["truth"], float(kept["working_um"]))
    return examples_of(seen, number, settings)


def collect_without(pictures: Sequence[Path], pixel_size_um: float, settings: FitSettings) -> Examples:
    """Return places of real pictures that have no aggregate; all of them are learned from, none is held out."""
    wanted = {"places_without": settings.places_of_picture, "places_striking": settings.striking_of_picture}
    of_picture = settings.model_copy(update=wanted)
    numbers = [2 * (_HELD_OUT_EVERY * (settings.n_fields + i) + 1) for i in range(len(pictures))]
    seen = (see_picture(path, pixel_size_um, settings) for path in pictures)
    return _together([examples_of(s, n, of_picture) for s, n in zip(seen, numbers, strict=True)])


def _together(parts: Sequence[Examples]) -> Examples:
    return Examples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def fit(examples: Examples, settings: FitSettings) -> tuple[AggregateNet, float]:
    """Return a net fitted to six of seven pairs of fields, and its average precision on places of the rest.

    Raises
    ------
    UndefinedResultError
        If the places are all inside aggregates or all outside.
    """
    from sklearn.metrics import average_precision_score
    from sklearn.neural_network import MLPClassifier

    if len(np.unique(examples.inside)) < 2:
        raise UndefinedResultError("No place in an aggregate, or none outside: there is nothing to tell apart.")
    signs = examples.signs.astype(np.float32)
    is_held_out = examples.field // 2 % _HELD_OUT_EVERY == 0
    learner = MLPClassifier(
        (settings.hidden,),
        max_iter=settings.epochs,
        batch_size=1000,
        learning_rate_init=3e-3,
        alpha=1e-4,
        tol=0.0,
        n_iter_no_change=settings.epochs,
        random_state=settings.seed % 2**32,
    )
    partly_done = "Stochastic Optimizer: Maximum iterations"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=partly_done)  # so many rounds are wanted
        learner.fit(signs[~is_held_out] / _SIGN_SCALE, examples.inside[~is_held_out])
    layers = zip(learner.coefs_, learner.intercepts_, strict=True)
    net = whole_numbers(Layers(*(values for layer in layers for values in layer)), signs[~is_held_out])
    answers = net.weigh(signs[is_held_out].T[:, :, None])[:, 0]
    return net, float(average_precision_score(examples.inside[is_held_out], answers))


class Layers(NamedTuple):
    """Weights and biases of two layers, of signs over `_SIGN_SCALE`."""

    weights_in: NDArray[np.floating[Any]]
    bias_in: NDArray[np.floating[Any]]
    weights_out: NDArray[np.floating[Any]]
    bias_out: NDArray[np.floating[Any]]


def whole_numbers(layers: Layers, signs: NDArray[np.float32]) -> AggregateNet:
    """Return the net in whole numbers whose answer is nearest.

    Parameters
    ----------
    layers : Layers
    signs : (N, signs) float32 array
        What it was fitted to: how far the hidden units go decides how many bits they keep.
    """
    weights = layers.weights_in.astype(np.float64) / _SIGN_SCALE
    stretch = _LARGEST_WEIGHT / np.maximum(np.abs(weights).max(axis=0), 1e-3)
    weights_in, bias_in = np.rint(weights * stretch), np.rint(layers.bias_in * stretch)
    hidden = np.maximum(signs @ weights_in.astype(np.float32) + bias_in.astype(np.float32), 0)
    top = float(np.quantile(hidden, _KEPT, axis=0).max())
    drop_in = max(0, math.ceil(math.log2(max(top, 1.0) / HIDDEN_MOST)))
    weights = layers.weights_out[:, 0].astype(np.float64) / stretch * 2**drop_in
    drop_out = max(0, math.floor(math.log2(_LARGEST_WEIGHT / (max(float(np.abs(weights).max()), 1e-6) * _STEPS))))
    scale = _STEPS * 2.0**drop_out
    return AggregateNet(
        SIGNS,
        np.ascontiguousarray(weights_in.T, np.float32),
        bias_in.astype(np.float32),
        np.rint(weights * scale).astype(np.float32),
        round(float(layers.bias_out[0]) * scale),
        (drop_in, drop_out),
    )


class Without(NamedTuple):
    """Real pictures without any aggregate, all of one pixel size."""

    pictures: tuple[Path, ...] = ()
    pixel_size_um: float = math.nan


_NO_PICTURES = Without()


def fitted_net(
    settings: FitSettings, folder: Path | None = None, without: Without = _NO_PICTURES, *, workers: int = 1
) -> AggregateNet:
    """Draw, look, collect and fit; what was done stands in the net's ``training``."""
    examples = collect(settings, folder, workers=workers)
    if without.pictures:
        examples = _together([examples, collect_without(*without, settings)])
    net, precision = fit(examples, settings)
    facts = {
        "made_by": f"python -m msc_vision.learning.aggregates, msc-vision {__version__}",
        "model_sha256": model_sha256(settings.model),
        "settings": settings.model_dump(mode="json"),
        "pictures_without": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in without.pictures},
        "n_places": int(examples.inside.size),
        "n_places_inside": int(examples.inside.sum()),
        "held_out_average_precision": round(precision, 4),
        "held_out": f"one of {_HELD_OUT_EVERY} pairs of fields",
        "scikit_learn": version("scikit-learn"),
    }
    return replace(net, training=facts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the weights and write them as a data file."""
    parser = argparse.ArgumentParser(prog="msc_vision.learning.aggregates", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file to be written")
    parser.add_argument("--fields", type=Path, metavar="FOLDER", help="keeps what the network saw for the next fit")
    parser.add_argument("--n-fields", type=int, default=FitSettings().n_fields)
    parser.add_argument("--without", type=Path, nargs="+", default=[], metavar="PICTURE", help="without aggregates")
    parser.add_argument("--without-um", type=float, metavar="UM", help="side of a pixel of these pictures")
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.without and chosen.without_um is None:
        parser.error("--without needs --without-um")
    if chosen.fields is not None:
        with output_errors(chosen.fields):
            chosen.fields.mkdir(parents=True, exist_ok=True)
    without = Without(tuple(chosen.without), chosen.without_um or math.nan)
    net = fitted_net(FitSettings(n_fields=chosen.n_fields), chosen.fields, without, workers=chosen.workers)
    write_whole(chosen.out, net_json(net))
    logger.info("%s: %s", chosen.out, net.training)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    sys.exit(main())

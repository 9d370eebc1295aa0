"""Simulated vessels for the drift benchmark: with and without drifted cells, under ordinary and odd imaging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from msc_vision.synth.settings import FieldSettings

SIDE_PX, PIXEL_UM = 768, 1.3
FIELD_SD = 6.0
SHARES = {"spindle": 0.55, "stellate": 0.36, "flattened": 0.05, "cuboidal": 0.0, "lipid": 0.0, "rounded": 0.02}


@dataclass(frozen=True, slots=True)
class VesselPlan:
    """One vessel.

    ``kind`` and ``share``: which part of the cells was turned into what. ``imaging`` overrides the vessel's ordinary
    light and camera, which are drawn from its seed.
    """

    name: str
    seed: int
    confluency_percent: float
    n_fields: int
    kind: str | None = None
    share: float = 0.0
    imaging: Mapping[str, Any] = field(default_factory=dict)


def vessel_fields(plan: VesselPlan) -> list[tuple[FieldSettings, int]]:
    """Return settings and seed of each field of a vessel."""
    rng = np.random.default_rng([20261122, plan.seed])
    ordinary = _ordinary(rng)
    confluency = (plan.confluency_percent + FIELD_SD * rng.standard_normal(plan.n_fields)).clip(3, 99)
    seeds = rng.integers(0, 2**31, plan.n_fields)
    return [
        (
            FieldSettings.model_validate(
                _merged(ordinary, plan.imaging)
                | {
                    "confluency_percent": float(one),
                    "height_px": SIDE_PX,
                    "width_px": SIDE_PX,
                    "pixel_size_um": PIXEL_UM,
                }
                | {"cells": _cells(rng_cells, plan)}
            ),
            int(seed),
        )
        for one, seed, rng_cells in zip(confluency, seeds, [ordinary["cells"]] * plan.n_fields, strict=True)
    ]


def _ordinary(rng: np.random.Generator) -> dict[str, Any]:
    """Draw what differs from vessel to vessel though nothing has drifted: light, camera, focus, and cells a little."""
    return {
        "optics": {
            "ring_transmission": rng.uniform(0.34, 0.42),
            "blur_um": rng.uniform(0.6, 0.8),
            "defocus_um": rng.uniform(0.0, 0.4),
            "stray_light": rng.uniform(0.0, 0.1),
        },
        "background": {
            "level": rng.uniform(0.3, 0.45),
            "vignetting": rng.uniform(0.05, 0.2),
            "tilt": rng.uniform(0.0, 0.1),
        },
        "camera": {"electrons": rng.uniform(30000, 90000), "read_noise": rng.uniform(0.0, 0.004)},
        "cells": {
            "area_um2": 2100 * np.exp(0.04 * rng.standard_normal()),
            "slenderness": 5.0 * np.exp(0.04 * rng.standard_normal()),
            "phase": 0.45 * np.exp(0.06 * rng.standard_normal()),
            "debris_per_mm2": rng.uniform(30, 90),
        },
    }


def _cells(ordinary: Mapping[str, Any], plan: VesselPlan) -> dict[str, Any]:
    total = sum(SHARES.values())
    shares = {name: share / total * (1 - plan.share) for name, share in SHARES.items()}
    if plan.kind is not None:
        shares[plan.kind] += plan.share
    return {**ordinary, "shares": shares}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged

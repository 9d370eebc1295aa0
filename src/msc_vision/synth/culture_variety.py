"""Cultures as different as lines, ages, densities and media make them: for training and for stress tests."""

import math
from collections.abc import Callable

import numpy as np

from msc_vision.synth.culture_settings import (
    AggregateSettings,
    CellSettings,
    IslandSettings,
    KindShares,
    ScratchSettings,
)

_LEAST_CELL_PX = 110.0  # smaller cells cannot be outlined by anyone


def random_confluency(rng: np.random.Generator) -> float:
    """Return percent: exactly 0 or 100 now and then, near either end often, anything between."""
    choice = rng.random()
    if choice < 0.10:
        return 0.0
    if choice < 0.15:
        return 100.0
    if choice < 0.24:
        return float(rng.uniform(90, 100))
    if choice < 0.32:
        return float(rng.uniform(0.2, 6))
    return float(rng.uniform(2, 98))


def random_pixel_size(cells: CellSettings, rng: np.random.Generator) -> float:
    """Return 0.5 to 2 µm, finer where cells would be too small to be seen."""
    pixel_size_um = _log_uniform(rng, 0.5, 2.0)
    smallest = cells.area_um2 if cells.islands.share == 0 else min(cells.area_um2, cells.islands.cell_area_um2)
    return max(0.5, min(pixel_size_um, math.sqrt(smallest / _LEAST_CELL_PX)))


def random_cell_settings(rng: np.random.Generator) -> CellSettings:
    """Draw a culture: stromal cells, small bright spindles, flat cells, sheets or differentiated ones.

    Phases span more than a decade between cultures, and most of a decade between the cells of one: a network that only
    ever saw cells of one contrast in a picture takes the faint ones for background.
    """
    styles: tuple[Callable[[np.random.Generator], CellSettings], ...] = (_stromal, _small, _flat, _sheets, _other)
    style = styles[int(rng.choice(len(styles), p=(0.44, 0.17, 0.12, 0.14, 0.13)))]
    return style(rng).model_copy(
        update={
            "phase_spread": rng.uniform(0.2, 0.7),
            "flattened_phase": _log_uniform(rng, 0.2, 0.7),
            "edge_um": _log_uniform(rng, 0.8, 5.0),
            "roughness_um": _log_uniform(rng, 0.2, 1.6),
            "texture": _log_uniform(rng, 0.12, 0.8),
            "clumping": rng.uniform(0, 2.5),
            "alignment": rng.uniform(0, 1),
            "swirl_um": _log_uniform(rng, 120, 700),
            "contact": rng.uniform(0, 0.5),
            "crowding": rng.uniform(0.1, 0.8) if rng.random() < 0.3 else 0.0,
            "aggregates": _aggregates(rng) if rng.random() < 0.09 else AggregateSettings(),
            "scratch": _scratch(rng) if rng.random() < 0.09 else None,
            "debris_per_mm2": _log_uniform(rng, 3, 800),
            "dead_per_mm2": _log_uniform(rng, 0.3, 60),
        }
    )


def _stromal(rng: np.random.Generator) -> CellSettings:
    return CellSettings(
        shares=KindShares(
            spindle=rng.uniform(0, 1),
            stellate=rng.uniform(0, 1),
            flattened=rng.uniform(0, 0.5) if rng.random() < 0.7 else 0.0,
            cuboidal=rng.uniform(0, 0.3) if rng.random() < 0.2 else 0.0,
            lipid=rng.uniform(0, 0.3) if rng.random() < 0.15 else 0.0,
            rounded=rng.uniform(0.001, 0.15),
        ),
        area_um2=_log_uniform(rng, 900, 3600),
        flattened_area_um2=_log_uniform(rng, 4000, 16000),
        slenderness=_log_uniform(rng, 2.5, 11),
        process_width_um=rng.uniform(1.4, 2.6),
        process_length_um=_log_uniform(rng, 5, 60),
        phase=_log_uniform(rng, 0.2, 1.2),
        rounded_diameter_um=rng.uniform(12, 22),
    )


def _small(rng: np.random.Generator) -> CellSettings:
    return CellSettings(
        shares=KindShares(
            spindle=rng.uniform(0.1, 1),
            stellate=rng.uniform(0, 0.7),
            flattened=rng.uniform(0, 0.3) if rng.random() < 0.5 else 0.0,
            cuboidal=rng.uniform(0, 0.7),
            rounded=0.5 * float(rng.beta(0.8, 2.0)),
        ),
        area_um2=_log_uniform(rng, 200, 900),
        flattened_area_um2=_log_uniform(rng, 900, 4000),
        slenderness=_log_uniform(rng, 1.6, 5),
        process_length_um=_log_uniform(rng, 2, 12),
        phase=_log_uniform(rng, 0.25, 1.6),
        rounded_diameter_um=rng.uniform(8, 16),
    )


def _flat(rng: np.random.Generator) -> CellSettings:
    """Draw flattened cells with a few thick ones among them: the hardest neighbours."""
    return CellSettings(
        shares=KindShares(
            spindle=rng.uniform(0, 0.5), stellate=rng.uniform(0, 0.5), flattened=1.0, rounded=rng.uniform(0, 0.25)
        ),
        area_um2=_log_uniform(rng, 1200, 4000),
        flattened_area_um2=_log_uniform(rng, 5000, 20000),
        phase=_log_uniform(rng, 0.25, 1.2),
    )


def _sheets(rng: np.random.Generator) -> CellSettings:
    area = _log_uniform(rng, 90, 1200)
    return CellSettings(
        shares=KindShares(
            spindle=rng.uniform(0, 1), stellate=rng.uniform(0, 1), cuboidal=1.0, rounded=rng.uniform(0.02, 0.35)
        ),
        area_um2=max(area * rng.uniform(1, 3), 200),
        slenderness=_log_uniform(rng, 1.6, 4),
        process_length_um=_log_uniform(rng, 2, 15),
        phase=_log_uniform(rng, 0.2, 1.2),
        rounded_diameter_um=1.1 * math.sqrt(area),
        islands=IslandSettings(
            share=rng.uniform(0.5, 1.0),
            size_um=_log_uniform(rng, 120, 900),
            cell_area_um2=area,
            jitter=rng.uniform(0.3, 1),
        ),
    )


def _other(rng: np.random.Generator) -> CellSettings:
    """Draw a differentiated culture: compact cells, fat droplets."""
    return CellSettings(
        shares=KindShares(
            spindle=rng.uniform(0, 0.4),
            stellate=rng.uniform(0, 0.4),
            flattened=rng.uniform(0, 0.4),
            cuboidal=rng.uniform(0, 1),
            lipid=rng.uniform(0, 1),
            rounded=rng.uniform(0.001, 0.1),
        ),
        area_um2=_log_uniform(rng, 700, 3500),
        phase=_log_uniform(rng, 0.2, 1.0),
    )


def _aggregates(rng: np.random.Generator) -> AggregateSettings:
    return AggregateSettings(
        per_mm2=_log_uniform(rng, 2, 60),
        diameter_um=_log_uniform(rng, 35, 220),
        diameter_spread=rng.uniform(0.1, 0.6),
        compactness=rng.uniform(0, 1),
    )


def _scratch(rng: np.random.Generator) -> ScratchSettings:
    return ScratchSettings(
        width_um=_log_uniform(rng, 100, 1200),
        roughness_um=_log_uniform(rng, 5, 60),
        angle_degrees=float(rng.choice([0.0, 90.0])) if rng.random() < 0.6 else rng.uniform(0, 179),
        offset=rng.uniform(-0.4, 0.4),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * math.exp(rng.random() * math.log(high / low))

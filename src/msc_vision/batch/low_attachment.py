"""Ultra-low attachment surfaces: cells form spheroids there, so there is no layer whose confluency could be told."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.pipeline import Pipeline
from msc_vision.findings.spheroids import find_spheroids
from msc_vision.imaging.frame import Frame

LOW_ATTACHMENT = "Ultra-low attachment surface: confluency is not applicable;"


class Spheroids(NamedTuple):
    """What a person reads of the spheroids of a field, and their figures."""

    reason: str
    figures: dict[str, float]


def is_low_attachment(surface: str | None) -> bool:
    """Return whether a surface, as manifests name it, is one on which cells form spheroids instead of a layer."""
    words = (surface or "").lower().replace("-", " ").split()
    return "ula" in words or "low attachment" in " ".join(words)


def measure_spheroids(
    pipeline: Pipeline,
    frame: Frame,
    working: NDArray[np.uint16],
    judged: NDArray[np.uint8],
    aggregates: NDArray[np.int32] | None,
) -> Spheroids:
    """Return what lies on a surface that nothing is meant to cover.

    Parameters
    ----------
    pipeline : Pipeline
    frame : Frame
    working : (Y, X) uint16 array
        The whole field.
    judged : (Y, X) uint8 array
        0 or 1.
    aggregates : (Y, X) int32 array or None
        What the network takes for aggregates; None where it found none, or where there is no network.
    """
    known_um = frame.working_pixel_size_um
    working_um = known_um or pipeline.contrast.assumed_pixel_size_um
    labels = aggregates
    if labels is None and pipeline.network is not None:
        labels = np.zeros(working.shape, np.int32)
    summary = find_spheroids(working, judged, working_um, known_um, pipeline.spheroids, labels)[2]
    figures = {
        "n_spheroids": float(summary.n_spheroids),
        "n_spheroids_fused": float(summary.n_fused),
        "spheroid_diameter_mean_um": summary.diameter_mean_um,
        "spheroid_diameter_cv_percent": summary.diameter_cv_percent,
        "spheroid_circularity_mean": summary.circularity_mean,
    }
    words = f"{summary.n_spheroids} spheroids, {summary.n_fused} of them fused"
    if math.isfinite(summary.diameter_mean_um):
        words += f", mean diameter {summary.diameter_mean_um:.0f} µm"
    if math.isfinite(summary.diameter_cv_percent):
        words += f" (CV {summary.diameter_cv_percent:.0f} %)"
    known = {name: value for name, value in figures.items() if math.isfinite(value)}
    return Spheroids(f"{LOW_ATTACHMENT} {words}.", known)

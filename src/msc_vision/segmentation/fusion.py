"""Two methods look at a field, network and local contrast: what they say together, and when a person has to look."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

UNSURE = (51, 204)
"""Probabilities of 20 and 80 percent on the scale of the maps."""


class DoubtSettings(BaseModel):
    """When a field is flagged for a person to look at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    disagreement_points: float = Field(
        20.0, gt=0, description="confluency by network and by local contrast further apart: `methods-disagree`"
    )
    unsure_percent: float = Field(
        50.0,
        gt=0,
        description="share of the judgeable area at 20 to 80 % probability from which `unsure` is flagged; "
        "placeholder: dense synthetic fields with 35 to 40 % were still within 4 points",
    )


@dataclass(frozen=True, slots=True)
class Probabilities:
    """What the foreground map says of an area, in working pixels.

    ``expected`` is the sum of probabilities: of a calibrated network the covered area to be expected, which differs
    from the counted one where it is unsure. ``n_unsure`` counts pixels between 20 and 80 percent.
    """

    expected: float = 0.0
    n_unsure: int = 0

    def __add__(self, other: "Probabilities") -> "Probabilities":
        """Return the sums over two areas."""
        return Probabilities(self.expected + other.expected, self.n_unsure + other.n_unsure)


def probabilities(foreground_map: NDArray[np.uint8], judged: NDArray[np.uint8]) -> Probabilities:
    """Sum up a foreground map, 255 for one, over the judgeable pixels."""
    counts = cv2.calcHist([foreground_map], [0], judged, [256], [0, 256]).ravel().astype(np.float64)
    return Probabilities(float(counts @ np.arange(256)) / 255, int(counts[UNSURE[0] : UNSURE[1] + 1].sum()))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a network says of its own answer for a field.

    ``strangeness`` is how far the field lies from what it was trained on (1: as far as its training pictures on
    average), ``strange_from`` where it no longer knows its way. ``guessed_pixel_size_um`` is what it took a native
    pixel for, where nobody said.
    """

    probabilities: Probabilities
    strangeness: float
    strange_from: float
    guessed_pixel_size_um: float | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Figures on how far a field's confluency can be trusted, in percent of the judgeable area, and what they flag."""

    figures: dict[str, float]
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def doubt(n_foreground: int, n_contrast: int, n_judgeable: int, opinion: Opinion, settings: DoubtSettings) -> Doubt:
    """Return what network and local contrast together say of a field.

    Parameters
    ----------
    n_foreground, n_contrast, n_judgeable : int
        Working pixels that the network and that local contrast count as cells, and all that can be judged.
    opinion : Opinion
    settings : DoubtSettings
    """
    sums = opinion.probabilities
    network, contrast, expected, unsure = (
        100.0 * n / max(n_judgeable, 1) for n in (n_foreground, n_contrast, sums.expected, sums.n_unsure)
    )
    figures = {
        "confluency_contrast_percent": contrast,
        "confluency_expected_percent": expected,
        "unsure_percent": unsure,
        "strangeness": opinion.strangeness,
    }
    flags, notes = [], []
    if opinion.guessed_pixel_size_um is not None:
        figures["guessed_pixel_size_um"] = opinion.guessed_pixel_size_um
        notes.append(f"The network took a pixel for {opinion.guessed_pixel_size_um:.2g} µm, where it was surest.")
    if abs(network - contrast) > settings.disagreement_points:
        flags.append("methods-disagree")
        notes.append(f"The network reads {network:.0f} %, local contrast {contrast:.0f} %: look at it.")
    if unsure > settings.unsure_percent:
        flags.append("unsure")
        notes.append(f"The network is unsure about {unsure:.0f} % of the area: look at it.")
    if opinion.strangeness > opinion.strange_from:
        flags.append("strange")
        notes.append("The picture lies outside what the network was trained on: look at it.")
    return Doubt(figures, tuple(flags), tuple(notes))

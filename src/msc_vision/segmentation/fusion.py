"""Two methods look at a field, network and local contrast: what they say together, and when a person has to look."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.flags import Flag

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
    guess_factor: float = Field(
        2.0,
        gt=1,
        description="a guessed pixel size further than this from the usual one, either way: `pixel-size-doubtful`; "
        "placeholder, but colonies of a line unlike those that the size was learned on were guessed at 2.5 and 2.8",
    )
    obscured_percent: float = Field(
        30.0, gt=0, description="share of the field that something hides, from which `obscured` is flagged; placeholder"
    )


class TrustSettings(BaseModel):
    """How far the confluency of a field may be off: the larger of a floor and a share of what is unsure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor_points: float = Field(10.0, ge=0, description="points of confluency; placeholder until a training finds it")
    per_unsure: float = Field(0.5, ge=0, description="points for each percent of the area at 20 to 80 % probability")

    def within_points(self, unsure_percent: float) -> float:
        """Return the half width, in points, within which 9 of 10 held-out fields lay."""
        return max(self.floor_points, self.per_unsure * unsure_percent)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """What the foreground map says of an area, in working pixels.

    ``n_255ths`` is the sum of probabilities in steps of 1/255: whole numbers add up to the same in any order.
    ``n_unsure`` counts pixels between 20 and 80 percent.
    """

    n_255ths: int = 0
    n_unsure: int = 0

    @property
    def expected(self) -> float:
        """Sum of probabilities: of a calibrated network the covered area to be expected, in pixels."""
        return self.n_255ths / 255

    def __add__(self, other: "Probabilities") -> "Probabilities":
        """Return the sums over two areas."""
        return Probabilities(self.n_255ths + other.n_255ths, self.n_unsure + other.n_unsure)


def probabilities(foreground_map: NDArray[np.uint8], judged: NDArray[np.uint8]) -> Probabilities:
    """Sum up a foreground map, 255 for one, over the judgeable pixels."""
    counts = cv2.calcHist([foreground_map], [0], judged, [256], [0, 256]).ravel().astype(np.float64)
    return Probabilities(int(counts @ np.arange(256)), int(counts[UNSURE[0] : UNSURE[1] + 1].sum()))


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas of a field in working pixels.

    ``n_judgeable`` is what both methods judge, ``n_obscured`` what only the network leaves out, because something hides
    the surface there; ``n_contrast`` is what local contrast counts as cells within the judgeable area.
    """

    n_judgeable: int = 0
    n_obscured: int = 0
    n_contrast: int = 0

    def __add__(self, other: "Areas") -> "Areas":
        """Return the sums over two parts of a field."""
        return Areas(
            self.n_judgeable + other.n_judgeable,
            self.n_obscured + other.n_obscured,
            self.n_contrast + other.n_contrast,
        )


def areas(judged: NDArray[np.uint8], visible: NDArray[np.uint8], contrast: NDArray[np.uint8]) -> Areas:
    """Count the areas of a part of a field.

    Parameters
    ----------
    judged, visible, contrast : (Y, X) uint8 arrays, 0 or 1
        What can be judged; what of it the network finds nothing in front of; what local contrast takes for cells.
    """
    n_judgeable = cv2.countNonZero(visible)
    return Areas(n_judgeable, cv2.countNonZero(judged) - n_judgeable, cv2.countNonZero(contrast & visible))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a network says of its own answer for a field.

    ``strangeness`` is how far the field lies from what it was trained on (1: as far as its training pictures on
    average), ``strange_from`` where it no longer knows its way, ``trust`` how its doubts relate to its errors.
    ``guessed_pixel_size_um`` is what it took a native pixel for where nobody said, ``guessed_ratio`` that over what
    pictures of this width usually have.
    """

    probabilities: Probabilities
    strangeness: float
    strange_from: float
    trust: TrustSettings = TrustSettings()  # noqa: RUF009  (frozen)
    guessed_pixel_size_um: float | None = None
    guessed_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """Figures on how far a field's confluency can be trusted, in percent of the judgeable area, and what they flag."""

    figures: dict[str, float]
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]


def doubt(n_foreground: int, seen: Areas, opinion: Opinion, settings: DoubtSettings) -> Doubt:
    """Return what network and local contrast together say of a field.

    Parameters
    ----------
    n_foreground : int
        Working pixels that the network counts as cells.
    seen : Areas
    opinion : Opinion
    settings : DoubtSettings
    """
    sums = opinion.probabilities
    network, contrast, expected, unsure = (
        100.0 * n / max(seen.n_judgeable, 1) for n in (n_foreground, seen.n_contrast, sums.expected, sums.n_unsure)
    )
    obscured = 100.0 * seen.n_obscured / max(seen.n_judgeable + seen.n_obscured, 1)
    figures = {
        "confluency_contrast_percent": contrast,
        "confluency_expected_percent": expected,
        "unsure_percent": unsure,
        "confluency_within_points": opinion.trust.within_points(unsure),
        "strangeness": opinion.strangeness,
        "obscured_percent": obscured,
    }
    flags: list[Flag] = []
    notes: list[str] = []
    if opinion.guessed_pixel_size_um is not None:
        figures["guessed_pixel_size_um"] = opinion.guessed_pixel_size_um
        notes.append(f"The network took a pixel for {opinion.guessed_pixel_size_um:.2g} µm, by the size of the cells.")
        if abs(math.log(opinion.guessed_ratio)) > math.log(settings.guess_factor):
            flags.append("pixel-size-doubtful")
            notes.append("That is far from what such pictures usually have: look at it, or state the pixel size.")
    if abs(network - contrast) > settings.disagreement_points:
        flags.append("methods-disagree")
        notes.append(f"The network reads {network:.0f} %, local contrast {contrast:.0f} %: look at it.")
    if unsure > settings.unsure_percent:
        flags.append("unsure")
        notes.append(f"The network is unsure about {unsure:.0f} % of the area: look at it.")
    if obscured > settings.obscured_percent:
        flags.append("obscured")
        notes.append(f"Something hides {obscured:.0f} % of the surface, by what the network sees: look at it.")
    if opinion.strangeness > opinion.strange_from:
        flags.append("strange")
        notes.append("The picture lies outside what the network was trained on: look at it.")
    return Doubt(figures, tuple(flags), tuple(notes))

"""Visual signs of contamination: haze, dots, budding bodies and filaments, each by limits on a few figures.

They are known from positive phase contrast and only looked for where cells look as they do there.

The answer is ``suspect``, ``no visual sign`` or ``not assessable``. A picture shows neither mycoplasma nor a first few
bacteria, so no answer says more than what could be seen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.errors import InvalidArgumentError
from msc_vision.findings.background import BODY_FIGURES, CELL_SAMPLE, PERCENT, BackgroundParts, join_threads
from msc_vision.io.sealed import read_sealed
from msc_vision.morphology.feature import Feature

Outcome = Literal["suspect", "no visual sign", "not assessable"]
SignName = Literal["haze", "dots", "budding", "filaments"]

_WHITE_MIDDLE, _WHITE_COARSE = 1.16, 0.55
"""Contrast of white noise at the two coarser scales over that at the finest (computed at 1.3 µm per pixel)."""


class ContaminationSettings(BaseModel):
    """Limits of the signs. All were chosen on synthetic fields: placeholders until real ones are at hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_max_um: float = Field(1.7, gt=0, description="Coarser pixels show neither dots nor buds.")
    focus_ratio_min: float = Field(
        0.6, gt=0, description="Below this focus, the limit of `soft-focus`, dots blur away."
    )
    bare_percent_min: float = Field(5.0, ge=0, le=100, description="Less bare surface does not stand for the field.")
    bare_mm2_min: float = Field(0.03, gt=0, description="On less, a few pieces of debris make a high density.")
    grain_percent_min: float = Field(
        0.45, gt=0, description="Least grain of haze, noise taken off; of 654 fields without any, three read more."
    )
    grain_coarse_low: float = Field(0.25, ge=0, description="Coarse over middle grain: less may be smeared noise.")
    grain_coarse_high: float = Field(1.3, gt=0, description="Above it lies film or remnants, coarser than bacteria.")
    grain_lean_max: float = Field(0.1, gt=0, le=1, description="Streaked plastic reads more, bacteria up to 0.06.")
    grain_noise_max: float = Field(4.0, gt=0, description="Noise, percent, that would hide haze and small spots.")
    spots_per_mm2_min: float = Field(
        215.0, gt=0, description="Single dark spots; three of 654 fields without any read more, all full of debris."
    )
    n_spots_min: int = Field(12, ge=1)
    spot_dark_percent: float = Field(25.0, gt=0, description="Protein and most debris are paler than bacteria.")
    spot_n_near_max: int = Field(1, ge=0, description="Clumps of protein have more spots within 8 µm; pairs may be.")
    spot_coarse_max: float = Field(0.25, gt=0, le=1, description="A larger speck shows also at the coarser scale.")
    spot_over_grain: float = Field(5.0, gt=0, description="Spots exceed the grain's 90th percentile this many times.")
    spot_percent_max: float = Field(
        40.0, gt=0, description="Where only stronger spots would stand out, none is judged."
    )
    bodies_per_mm2_min: float = Field(
        24.0, gt=0, description="Cells, dead cells and rims of fibres: of 654 fields, one reads more."
    )
    n_bodies_min: int = Field(3, ge=1)
    body_bare_percent_min: float = Field(5.0, ge=0, le=100, description="In real closed layers, cells look like yeast.")
    threads_um_per_mm2_min: float = Field(420.0, gt=0, description="Length of threads; dense spindles read up to 404.")
    threads_um_min: float = Field(300.0, gt=0, description="In all, or a process or two decide over a small field.")
    thread_length_um: float = Field(90.0, gt=0)
    thread_dark_percent: float = Field(40.0, gt=0)
    thread_width_um: tuple[float, float] = Field((4.5, 20.0), description="Area over length; branches count as width.")
    thread_across_um: float = Field(12.0, ge=0, description="Scratches and most fibres are straighter.")
    thread_halo_share: float = Field(0.94, ge=0, le=1, description="Threads shine on both sides, cells on one.")
    thread_coarse_max: float = Field(0.6, gt=0, description="Darkness at 2.6 over that at 0.65 µm; fibres read more.")
    thread_rim_max: float = Field(0.76, gt=0, description="Halo over darkness; more between bright rounded cells.")
    thread_edge_max: float = Field(0.9, gt=0, le=1, description="Share of pixels on the edge; scratches read more.")
    judged_mm2_min: float = Field(0.05, gt=0, description="Less judged area does not show threads.")
    cells_mm2_min: float = Field(0.003, gt=0, description="Fewer cells do not tell the contrast of the picture.")
    cell_step_percent_max: float = Field(
        -2.0, le=0, description="Inside less rim: cells darker than their halos; relief reads -2 to 1, negative 10."
    )
    cell_halo_percent_min: float = Field(
        -20.0, description="Rim less bare surface: dark rims on bright ground are brightfield."
    )
    cell_lean_max: float = Field(0.15, gt=0, le=1, description="Edges bright on one side, dark on the other: relief.")
    n_places: int = Field(5, ge=1, description="Boxes of evidence for each sign.")
    haze_jump: float = Field(1.8, gt=1, description="Sudden haze: the grain grew by this factor between two times,")
    haze_jump_percent: float = Field(0.25, gt=0, description="and by so much.")
    contrast_loss: float = Field(0.3, gt=0, lt=1, description="Sudden haze: the cells' contrast fell by this share.")


@dataclass(frozen=True, slots=True)
class Place:
    """A box of working pixels, half-open, in which a sign is strong."""

    sign: SignName
    y0_px: int
    y1_px: int
    x0_px: int
    x1_px: int


@dataclass(frozen=True, slots=True)
class BackgroundFigures:
    """Figures of a field on which signs are judged; `BACKGROUND_FEATURES` describes each. NaN: not measurable."""

    pixel_size_um: float
    judged_mm2: float
    bare_mm2: float
    bare_percent: float
    background_noise_percent: float
    background_grain_percent: float
    background_grain_coarse: float
    background_grain_lean: float
    spot_limit_percent: float
    n_spots: int
    spots_per_mm2: float
    n_bodies: int
    bodies_per_mm2: float
    cells_mm2: float
    cell_step_percent: float
    cell_halo_percent: float
    cell_lean: float
    threads_um: float
    threads_um_per_mm2: float
    places: tuple[Place, ...]


BACKGROUND_FEATURES = (
    Feature(
        "bare_percent",
        "field",
        "percent",
        "Bare surface away from cells, on which the fine signs are looked for.",
        "bare pixels, 4 µm from cells, over judged pixels",
        "own",
    ),
    Feature(
        "background_noise_percent",
        "field",
        "percent",
        "Finest texture of bare surface, mostly of the camera.",
        "median |ln I - G(0.65 µm) ln I| over bare surface",
        "own",
    ),
    Feature(
        "background_grain_percent",
        "field",
        "percent",
        "Grain of bare surface beyond noise; it rises with turbid medium.",
        "sqrt(b² - (1.16 noise)²), b = median |G(0.65 µm) - G(1.3 µm)| of ln I over bare surface",
        "own",
    ),
    Feature(
        "background_grain_coarse",
        "field",
        "1",
        "Coarse over fine grain: film and remnants are coarser than bacteria.",
        "the same one octave coarser, over background_grain_percent",
        "own",
    ),
    Feature(
        "background_grain_lean",
        "field",
        "1",
        "How far the grain runs in one direction, as streaks of moulded plastic do.",
        "hypot(yy - xx, 2 yx) / (yy + xx) of the slopes of G(0.65 µm) - G(2.6 µm) of ln I over bare surface",
        "own",
    ),
    Feature(
        "spots_per_mm2",
        "field",
        "1/mm²",
        "Single dark small spots; protein and debris are paler or lie in clumps.",
        "local minima of G(0.65 µm) - G(2.6 µm) of ln I darker than 25 %, at most one more within 8 µm, per bare area",
        "own",
    ),
    Feature(
        "bodies_per_mm2",
        "field",
        "1/mm²",
        "Bodies as rough, ringed and small as budding yeast; dead cells add to it.",
        "places rougher than all within 6 µm whose weighted grey and texture (a logistic score) pass, per judged area",
        "own",
    ),
    Feature(
        "cell_step_percent",
        "field",
        "percent",
        "How much brighter cells are inside than beside; below 0 in positive phase contrast.",
        "mean ln I 4 µm inside cells less 4 µm outside",
        "own",
    ),
    Feature(
        "cell_halo_percent",
        "field",
        "percent",
        "How much brighter the surface beside cells is than farther away.",
        "mean ln I 4 µm outside cells less that of 10 µm and more",
        "own",
    ),
    Feature(
        "cell_lean",
        "field",
        "1",
        "How far edges of cells are bright on one side of the picture and dark on the other, as in relief.",
        "|sum c g| / sum |c| |g|, c contrast against 12 µm around, g gradient of the blurred cells",
        "own",
    ),
    Feature(
        "threads_um_per_mm2",
        "field",
        "µm/mm²",
        "Length of dark threads that bend or branch.",
        "sum of diagonals of dark thin parts of 90 µm and more with a halo on both sides, per judged area",
        "own",
    ),
)
"""What is measured of the surface between cells."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign: if it shows, the figure that tells, and why not where it could not be judged."""

    name: SignName
    outcome: Outcome
    figure: float
    limit: float
    unit: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContaminationFinding:
    """What a field shows. ``suspect`` if any sign shows; ``no visual sign`` only if all four could be judged."""

    outcome: Outcome
    signs: tuple[Sign, ...]
    places: tuple[Place, ...]
    reason: str

    @property
    def shown(self) -> tuple[SignName, ...]:
        """Names of the signs that show."""
        return tuple(sign.name for sign in self.signs if sign.outcome == "suspect")


# --- figures ---------------------------------------------------------------------------------------------------------


def join_background(
    tiles: Sequence[BackgroundParts],
    shape: tuple[int, int],
    pixel_size_um: float,
    settings: ContaminationSettings | None = None,
) -> BackgroundFigures:
    """Return the figures of a field from those of its tiles, the same for any tiling.

    Parameters
    ----------
    tiles : sequence of BackgroundParts
        They cover the field without overlap; one for a whole field.
    shape : (int, int)
        Of the field in working pixels.
    pixel_size_um : float
        Of a working pixel.
    """
    if not tiles:
        raise InvalidArgumentError("A field has at least one tile.")
    limits = settings or ContaminationSettings()
    mm2 = (pixel_size_um / 1000) ** 2
    n_judged, n_bare = (sum(getattr(tile, name) for tile in tiles) for name in ("n_judged", "n_bare"))
    noise, middle, coarse, p90 = _grain_levels(np.sum([tile.grain for tile in tiles], axis=0))
    grain = math.sqrt(max(middle**2 - (_WHITE_MIDDLE * noise) ** 2, 0.0)) if n_bare else math.nan
    grain_coarse = math.sqrt(max(coarse**2 - (_WHITE_COARSE * noise) ** 2, 0.0))
    spots, spot_limit = _single_spots(np.concatenate([tile.spots for tile in tiles]), p90, limits)
    bodies = np.concatenate([tile.bodies for tile in tiles])
    bodies = bodies[is_budding(bodies["figures"])]
    step, halo, lean = _contrast_of_cells(np.sum([tile.cells for tile in tiles], axis=0))
    threads = _moulds(join_threads([t.threads for t in tiles], shape, pixel_size_um, limits.thread_length_um), limits)
    threads_um = math.fsum(threads["length_um"])
    places = (
        *_crowded("dots", spots, shape, limits),
        *_crowded("budding", bodies, shape, limits),
        *_largest("filaments", threads, limits),
    )
    return BackgroundFigures(
        pixel_size_um=pixel_size_um,
        judged_mm2=n_judged * mm2,
        bare_mm2=n_bare * mm2,
        bare_percent=100 * n_bare / n_judged if n_judged else 0.0,
        background_noise_percent=noise,
        background_grain_percent=grain,
        background_grain_coarse=grain_coarse / grain if grain > 0 else math.nan,
        background_grain_lean=_lean(np.sum([tile.slopes for tile in tiles], axis=0)),
        spot_limit_percent=spot_limit,
        n_spots=spots.size,
        spots_per_mm2=spots.size / (n_bare * mm2) if n_bare else math.nan,
        n_bodies=bodies.size,
        bodies_per_mm2=bodies.size / (n_judged * mm2) if n_judged else math.nan,
        cells_mm2=sum(int(tile.cells[0]) for tile in tiles) * CELL_SAMPLE**2 * mm2,
        cell_step_percent=step,
        cell_halo_percent=halo,
        cell_lean=lean,
        threads_um=threads_um,
        threads_um_per_mm2=threads_um / (n_judged * mm2) if n_judged else math.nan,
        places=places,
    )


def _grain_levels(counts: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """Return the medians of the three scales and the 90th percentile of the middle one, percent."""
    medians = [_quantile(row, 0.5) for row in counts]
    return medians[0], medians[1], medians[2], _quantile(counts[1], 0.9)


def _lean(slopes: NDArray[np.int64]) -> float:
    """Return how far slopes prefer one direction, 0 to 1; NaN where there are none."""
    down, right, both = (int(value) for value in slopes)
    return math.hypot(down - right, 2 * both) / (down + right) if down + right else math.nan


def _quantile(counts: NDArray[np.int64], share: float) -> float:
    """Return a quantile of a histogram in percent of brightness, between levels in proportion to their counts."""
    total = np.cumsum(counts)
    if total[-1] == 0:
        return math.nan
    wanted = share * float(total[-1])
    level = int(np.searchsorted(total, wanted))
    below = float(total[level - 1]) if level else 0.0
    inside = (wanted - below) / float(counts[level])
    return (0.5 * inside if level == 0 else level - 0.5 + inside) / PERCENT  # |0| is half as wide as the others


def _single_spots(
    spots: NDArray[np.void], grain90_percent: float, limits: ContaminationSettings
) -> tuple[NDArray[np.void], float]:
    """Return small dark spots that lie apart, and how dark they had to be to stand out of the grain."""
    least = 0.0 if math.isnan(grain90_percent) else limits.spot_over_grain * grain90_percent
    darkness = -spots["strength"].astype(np.int64)
    is_single = np.abs(spots["coarse"]) < limits.spot_coarse_max * darkness
    is_single &= darkness >= max(least, limits.spot_dark_percent) * PERCENT
    is_single &= spots["n_near"] <= limits.spot_n_near_max
    found: NDArray[np.void] = spots[is_single]
    return found, least


def is_budding(figures: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which bodies look like yeast.

    Parameters
    ----------
    figures : (n, len(BODY_FIGURES)) integer array
    """
    weights, bias = _body_weights()
    mask: NDArray[np.bool_] = figures.astype(np.int64) @ weights + bias >= 0
    return mask


@lru_cache(maxsize=1)
def _body_weights() -> tuple[NDArray[np.int64], int]:
    """Return a weight for each of `BODY_FIGURES`, whole numbers so that no order of sums matters."""
    read = read_sealed(files("msc_vision.findings") / "data" / "signs.json")["budding"]
    return np.array([read["weights"][name] for name in BODY_FIGURES], np.int64), int(read["bias"])


def _contrast_of_cells(sums: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return inside less rim and rim less bare surface, percent, and the lean of edges; NaN where one is missing."""
    n_inside, inside, n_rim, rim, n_bare, bare, lean_y, lean_x, steepness = (int(value) for value in sums)
    levels = [total / n / PERCENT if n else math.nan for n, total in ((n_inside, inside), (n_rim, rim), (n_bare, bare))]
    lean = math.hypot(lean_y, lean_x) / steepness if steepness else math.nan
    return levels[0] - levels[1], levels[1] - levels[2], lean


def _moulds(threads: NDArray[np.void], limits: ContaminationSettings) -> NDArray[np.void]:
    low, high = limits.thread_width_um
    is_mould = (threads["width_um"] >= low) & (threads["width_um"] <= high)
    is_mould &= threads["across_um"] >= limits.thread_across_um
    is_mould &= threads["dark_percent"] >= limits.thread_dark_percent
    is_mould &= threads["halo_share"] >= limits.thread_halo_share
    is_mould &= threads["coarse_percent"] <= limits.thread_coarse_max * threads["dark_percent"]
    is_mould &= threads["rim_percent"] <= limits.thread_rim_max * threads["dark_percent"]
    is_mould &= threads["edge_share"] <= limits.thread_edge_max
    found: NDArray[np.void] = threads[is_mould]
    return found


def _crowded(
    sign: SignName, spots: NDArray[np.void], shape: tuple[int, int], limits: ContaminationSettings
) -> list[Place]:
    """Return the squares of 128 pixels with the most spots or bodies."""
    side = 128
    keys, counts = np.unique(spots["y_px"] // side * 65536 + spots["x_px"] // side, return_counts=True)
    best = keys[np.lexsort((keys, -counts))][: limits.n_places]
    corners = [(int(key) // 65536 * side, int(key) % 65536 * side) for key in best]
    return [Place(sign, y, min(y + side, shape[0]), x, min(x + side, shape[1])) for y, x in corners]


def _largest(sign: SignName, rows: NDArray[np.void], limits: ContaminationSettings) -> list[Place]:
    best = rows[np.lexsort((rows["x0_px"], rows["y0_px"], -rows["area_px"]))][: limits.n_places]
    return [Place(sign, *(int(row[name]) for name in ("y0_px", "y1_px", "x0_px", "x1_px"))) for row in best]


# --- judgement -------------------------------------------------------------------------------------------------------


def visual_signs(
    figures: BackgroundFigures | None,
    settings: ContaminationSettings | None = None,
    *,
    focus_ratio: float | None = None,
    modality: str | None = None,
) -> ContaminationFinding:
    """Return which visual signs of contamination a field shows.

    Parameters
    ----------
    figures : BackgroundFigures or None
        None where the size of a pixel is not known: then no sign can be judged.
    focus_ratio : float, optional
        Fine over coarse structure of the field (`msc_vision.imaging.quality`), where it could be read.
    modality : str, optional
        What the manifest says, such as ``phase contrast``.
    """
    limits = settings or ContaminationSettings()
    if figures is None:
        return ContaminationFinding("not assessable", (), (), "The size of a pixel is not known.")
    if foreign := _foreign(figures, modality, limits):
        return ContaminationFinding("not assessable", (), (), foreign)
    hidden = _hidden(figures, focus_ratio, limits)
    unsure = _unsure(figures, modality, limits)
    signs = (
        _haze(figures, hidden, limits),
        _dots(figures, hidden, limits),
        _budding(figures, _hidden_fine(figures, focus_ratio, limits), limits),
        _filaments(figures, limits),
    )
    shown = tuple(sign.name for sign in signs if sign.outcome == "suspect")
    unseen = [sign for sign in signs if sign.outcome == "not assessable"]
    places = tuple(place for place in figures.places if place.sign in shown)
    if shown:
        return ContaminationFinding("suspect", signs, places, " ".join(s.reason for s in signs if s.name in shown))
    if unsure or unseen:
        why = " ".join(dict.fromkeys([*filter(None, [unsure]), *(sign.reason for sign in unseen)]))
        names = ", ".join(sign.name for sign in (signs if unsure else unseen))
        return ContaminationFinding("not assessable", signs, (), f"Not assessed: {names}. {why}")
    return ContaminationFinding("no visual sign", signs, (), "No visual sign of contamination in this field.")


def _foreign(figures: BackgroundFigures, modality: str | None, limits: ContaminationSettings) -> str:
    """Return why a picture is none of positive phase contrast, "" where nothing speaks against it."""
    if modality is not None and not _says_phase_contrast(modality):
        return f"Signs are known in positive phase contrast only; the manifest says {modality}."
    if _shows_few_cells(figures, limits):
        return ""
    known = "Signs are known in positive phase contrast only: here"
    if figures.cell_step_percent > limits.cell_step_percent_max:
        return f"{known} cells are not darker than their rims ({figures.cell_step_percent:.1f} %)."
    if figures.cell_halo_percent < limits.cell_halo_percent_min:
        return f"{known} cells have dark rims ({figures.cell_halo_percent:.1f} %)."
    if figures.cell_lean > limits.cell_lean_max:
        return f"{known} cells are bright on one side and dark on the other ({figures.cell_lean:.2f})."
    return ""


def _unsure(figures: BackgroundFigures, modality: str | None, limits: ContaminationSettings) -> str:
    """Return why the absence of signs says nothing: neither cells nor the manifest tell the contrast."""
    if modality is None and _shows_few_cells(figures, limits):
        return "Neither edges of cells nor the manifest tell that this is positive phase contrast."
    return ""


def _shows_few_cells(figures: BackgroundFigures, limits: ContaminationSettings) -> bool:
    return figures.cells_mm2 < limits.cells_mm2_min or not math.isfinite(figures.cell_step_percent)


def _says_phase_contrast(modality: str) -> bool:
    words = "".join(letter if letter.isalpha() else " " for letter in modality.lower()).split()
    return any(word.startswith("phase") for word in words) and "negative" not in words


def _hidden(figures: BackgroundFigures, focus_ratio: float | None, limits: ContaminationSettings) -> str:
    """Return what hides signs on bare surface, "" if nothing does."""
    if hidden := _hidden_fine(figures, focus_ratio, limits):
        return hidden
    if figures.bare_percent < limits.bare_percent_min or figures.bare_mm2 < limits.bare_mm2_min:
        return (
            f"Too little bare surface: {figures.bare_percent:.1f} %, {figures.bare_mm2:.3f} mm² (limits"
            f" {limits.bare_percent_min:g} %, {limits.bare_mm2_min:g} mm²)."
        )
    return ""


def _hidden_fine(figures: BackgroundFigures, focus_ratio: float | None, limits: ContaminationSettings) -> str:
    """Return what hides every small sign, on cells too."""
    if figures.pixel_size_um > limits.pixel_size_max_um:
        return f"Pixels of {figures.pixel_size_um:.2f} µm are too coarse (limit {limits.pixel_size_max_um:g} µm)."
    if focus_ratio is not None and focus_ratio < limits.focus_ratio_min:
        return f"The field is too blurred (focus {focus_ratio:.2f}, limit {limits.focus_ratio_min:g})."
    if figures.judged_mm2 < limits.judged_mm2_min:
        return f"Only {figures.judged_mm2:.3f} mm² can be judged."
    return ""


def _said(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _sign(name: SignName, figure: float, limit: float, unit: str, hidden: str, *, more: str = "") -> Sign:
    """Return a sign that shows if its figure reaches its limit; ``more`` says what else forbids it."""
    if hidden:
        return Sign(name, "not assessable", figure, limit, unit, hidden)
    measured = f"{name}: {_said(figure)} {unit}, limit {limit:g} {unit}."
    if figure >= limit and not more:
        return Sign(name, "suspect", figure, limit, unit, f"Visual sign of {measured}")
    return Sign(name, "no visual sign", figure, limit, unit, f"{more or 'No visual sign of'} {measured}")


def _haze(figures: BackgroundFigures, hidden: str, limits: ContaminationSettings) -> Sign:
    if not hidden and figures.background_noise_percent > limits.grain_noise_max:
        hidden = f"Noise of {figures.background_noise_percent:.1f} % hides haze."
    coarse = figures.background_grain_coarse
    more = ""
    if not hidden and figures.background_grain_percent >= limits.grain_percent_min and coarse < limits.grain_coarse_low:
        hidden = f"The grain is as fine as noise ({coarse:.2f}): haze and smeared noise look alike."
    if coarse > limits.grain_coarse_high:
        more = "Too coarse a grain for"
    elif figures.background_grain_lean > limits.grain_lean_max:
        more = "Streaks in one direction, no"
    return _sign("haze", figures.background_grain_percent, limits.grain_percent_min, "percent grain", hidden, more=more)


def _dots(figures: BackgroundFigures, hidden: str, limits: ContaminationSettings) -> Sign:
    if not hidden and figures.spot_limit_percent > limits.spot_percent_max:
        hidden = f"Spots weaker than {figures.spot_limit_percent:.0f} % drown in grain."
    more = "" if figures.n_spots >= limits.n_spots_min else "Too few spots for"
    return _sign("dots", figures.spots_per_mm2, limits.spots_per_mm2_min, "per mm²", hidden, more=more)


def _budding(figures: BackgroundFigures, hidden: str, limits: ContaminationSettings) -> Sign:
    if not hidden and figures.bare_percent < limits.body_bare_percent_min:
        hidden = f"Cells cover all but {figures.bare_percent:.1f} %, and hide yeast."
    more = "" if figures.n_bodies >= limits.n_bodies_min else "Too few bodies for"
    return _sign("budding", figures.bodies_per_mm2, limits.bodies_per_mm2_min, "per mm²", hidden, more=more)


def _filaments(figures: BackgroundFigures, limits: ContaminationSettings) -> Sign:
    hidden = ""
    if figures.pixel_size_um > 2 * limits.pixel_size_max_um:
        hidden = f"Pixels of {figures.pixel_size_um:.2f} µm are too coarse."
    elif figures.judged_mm2 < limits.judged_mm2_min:
        hidden = f"Only {figures.judged_mm2:.3f} mm² can be judged."
    more = "" if figures.threads_um >= limits.threads_um_min else "Too short threads for"
    return _sign(
        "filaments", figures.threads_um_per_mm2, limits.threads_um_per_mm2_min, "µm per mm²", hidden, more=more
    )


# --- between two times -----------------------------------------------------------------------------------------------


def sudden_haze(
    before: BackgroundFigures,
    after: BackgroundFigures,
    settings: ContaminationSettings | None = None,
    *,
    cell_contrasts_percent: tuple[float, float] | None = None,
) -> bool | None:
    """Tell whether the medium of one place turned hazy between two times; None where that cannot be told.

    Parameters
    ----------
    before, after : BackgroundFigures
        Of one place at one pixel size.
    cell_contrasts_percent : (float, float), optional
        Contrast of the cells at both times: scattered light takes it from them.
    """
    limits = settings or ContaminationSettings()
    if not math.isclose(before.pixel_size_um, after.pixel_size_um, rel_tol=1e-6):
        raise InvalidArgumentError(f"Pixel sizes differ: {before.pixel_size_um} and {after.pixel_size_um} µm.")
    if cell_contrasts_percent is not None:
        first, last = cell_contrasts_percent
        if first > 0 and last <= (1 - limits.contrast_loss) * first:
            return True
    if any(_hidden(figures, None, limits) for figures in (before, after)):
        return None
    first, last = before.background_grain_percent, after.background_grain_percent
    return last >= limits.haze_jump * first and last - first >= limits.haze_jump_percent


def as_row(figures: BackgroundFigures) -> dict[str, float]:
    """Return the figures without their places, as a field's row holds them."""
    return {f.name: float(getattr(figures, f.name)) for f in fields(figures) if f.name != "places"}


def of_row(row: Mapping[str, float], pixel_size_um: float) -> BackgroundFigures:
    """Return the figures that a field's row holds; what it lacks could not be measured. Places are not in a row."""
    known = {f.name: row.get(f.name, math.nan) for f in fields(BackgroundFigures) if f.name != "places"}
    values: dict[str, Any] = known | {name: round(row.get(name, 0.0)) for name in ("n_spots", "n_bodies")}
    return BackgroundFigures(**(values | {"pixel_size_um": pixel_size_um, "places": ()}))

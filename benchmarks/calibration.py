"""Whether the network's probabilities mean what they say: reliability by set, on pictures it did not learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.annotated import Row, listed
from benchmarks.setup import PAIRS, Setup, picture_uses_of
from benchmarks.tables import Figure, Section, table
from msc_vision.errors import MscVisionError
from msc_vision.learning.jobs import AnnotatedJob
from msc_vision.learning.recipe import Truth
from msc_vision.learning.score import foreground_probability
from msc_vision.learning.sources import SourceImage
from msc_vision.segmentation.network.weights import Model, load_model

N_BINS = 10
LEARNED = ", learned from"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "reliability.png"
ASSUMED_UM: Mapping[str, float] = {  # for pictures whose pixel size nobody wrote down: what the first recipe assumes
    "hela_cellaap": 0.65,
    "scratch_bnsreenu_mit": 1.6,
    "wound_cellprofiler_bsd": 1.2,
}
INTRO = """Every pixel's probability of being cell against how often it is one, `{model}`, pictures that it did not
learn from where it left some out of a set, all pictures otherwise and then said so. The expected calibration error is
the mean distance between the two over {bins} steps of probability, weighted by the pixels in each. The one
temperature that calibrates the network was found on held-out pictures of instance sets, so for these the figure says
how well one temperature fits, not how it does on a new set. Of sets whose truth is a covered area, a band along the
outline is left out. Confluency counts pixels above {limit:.2f}; "expected" is the mean probability, which of a
calibrated network has no bias.

![Share of true cell pixels at each predicted probability, by set](images/reliability.png)"""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Pixels by predicted probability.

    Attributes
    ----------
    n : (N_BINS,) int64 array
        Pixels in each step.
    n_cell : (N_BINS,) int64 array
        How many of them are cell.
    total : (N_BINS,) float64 array
        Sum of their probabilities.
    """

    n: NDArray[np.int64]
    n_cell: NDArray[np.int64]
    total: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1."""
        return float(np.abs(self.n_cell - self.total).sum() / self.n.sum())

    @property
    def predicted(self) -> NDArray[np.float64]:
        """Mean probability of each step, NaN where there is no pixel."""
        return np.where(self.n > 0, self.total / np.maximum(self.n, 1), np.nan)

    @property
    def observed(self) -> NDArray[np.float64]:
        """Share of cell pixels of each step, NaN where there is no pixel."""
        return np.where(self.n > 0, self.n_cell / np.maximum(self.n, 1), np.nan)

    def __add__(self, other: "Reliability") -> "Reliability":
        """Return the sums over two pictures."""
        return Reliability(self.n + other.n, self.n_cell + other.n_cell, self.total + other.total)


def reliability(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> Reliability:
    """Sort pixels into steps of probability.

    Parameters
    ----------
    probability : (n,) float32 array
        0 to 1.
    truth : (n,) bool array
    """
    step = np.minimum((probability * N_BINS).astype(np.intp), N_BINS - 1)
    return Reliability(
        np.bincount(step, minlength=N_BINS),
        np.bincount(step[truth], minlength=N_BINS),
        np.asarray(np.bincount(step, probability.astype(np.float64), minlength=N_BINS), np.float64),
    )


def measure(setup: Setup) -> Section:
    """Compare probabilities with truth by set, and draw the diagram."""
    recipe = setup.network
    if recipe is None or recipe.network is None:
        return Section("Not measured: no recipe has a network.")
    uses = picture_uses_of(recipe)
    rows = listed(setup, uses, frozenset({"instances", "foreground"}))
    if not rows:
        return Section("Not measured: no annotated images of these sets beside this checkout.")
    apart = {row["set"] for row in rows if not row["group"].endswith(LEARNED)}
    rows = [row for row in rows if row["set"] not in apart or not row["group"].endswith(LEARNED)]
    model = load_model(recipe.network.model)
    found: dict[str, Reliability] = {}
    failures = []
    for row in rows:
        try:
            one = _of_picture(model, row)
        except MscVisionError as err:
            failures.append(str(err))
            continue
        found[row["group"]] = found[row["group"]] + one if row["group"] in found else one
    if not setup.is_trial:
        _draw(found)
    figures = [Figure(f"expected calibration error, {name}", f"{r.error:.3f}") for name, r in found.items()]
    intro = INTRO.format(model=model.config.id, bins=N_BINS, limit=model.config.settings.foreground_limit)
    head, picture = intro.split("\n\n")
    text = f"{' '.join(head.split())}{uses.note}\n\n{picture}"
    return Section(text, tuple(figures), (_table(found), *(f"Without a result: {f}" for f in failures)))


def _of_picture(model: Model, row: Row) -> Reliability:
    truth: Truth = "instances" if row["kind"] == "instances" else "foreground"
    if "area" in row["use"]:
        truth = "area"
    size = float(row["pixel_size_um"]) if row["pixel_size_um"] else None
    source = SourceImage(
        row["image"],
        row["set"],
        PAIRS.parent / row["image"],
        PAIRS.parent / row["truth"],
        row["kind"],
        size,
        row["sha256"],
    )
    job = AnnotatedJob(source, truth, ASSUMED_UM.get(row["set"]), model.config.canonical_pixel_size_um)
    made = job.make()
    judged = made.maps[0, ..., 3] > 127
    temperature = model.config.calibration_temperature
    probability = foreground_probability(model.network, made.picture, temperature=temperature)
    return reliability(probability[judged], (made.maps[0, ..., 0] > 127)[judged])


def _table(found: Mapping[str, Reliability]) -> str:
    lines = []
    for name, one in found.items():
        n = one.n.sum()
        observed = [
            f"{v:.2f}" if not np.isnan(v) and k >= 100 else "" for v, k in zip(one.observed, one.n, strict=True)
        ]
        shares = (f"{100 * one.n_cell.sum() / n:.1f}", f"{100 * one.total.sum() / n:.1f}")
        lines.append((name, f"{n / 1e6:.1f}", f"{one.error:.3f}", *shares, *observed))
    steps = (f"{i / N_BINS:.1f}-{(i + 1) / N_BINS:.1f}" for i in range(N_BINS))
    text = table(("set", "Mpx", "error", "true %", "expected %", *steps), lines)
    return f"Share of true cell pixels at each step of predicted probability (empty: fewer than 100 pixels):\n\n{text}"


def _draw(found: Mapping[str, Reliability]) -> None:
    """Draw the reliability diagram."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(8.6, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for (name, one), mark in zip(found.items(), _marks(found), strict=True):
        enough = one.n >= 100
        label = f"{name} ({one.error:.3f})"
        axes.plot(one.predicted[enough], one.observed[enough], marker=mark, markersize=5, linewidth=1.2, label=label)
    axes.set_xlabel("predicted probability of cell")
    axes.set_ylabel("share of pixels that are cell")
    axes.set_aspect("equal")
    drawing.legend(title="set (expected calibration error)", fontsize=8, title_fontsize=8, loc="outside right upper")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(PICTURE)


def _marks(found: Mapping[str, Reliability]) -> Sequence[str]:
    known = "osD^vPX*<>"
    return [known[i % len(known)] for i in range(len(found))]

"""Visual signs of contamination on synthetic fields: how often each kind and amount is found, how often none is."""

import math
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
from scipy.stats import beta

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import available_cores
from msc_vision.learning.signs import Kind, drawn_field
from msc_vision.records import ManifestRow
from msc_vision.synth import render_field
from msc_vision.synth.vessel import write_image

KINDS: tuple[Kind, ...] = ("haze", "dots", "budding", "filaments")
AMOUNTS = (0.1, 0.3, 0.6)
N_FIELDS, SEED = 10, 20_261_122
N_CLEAN = 24
"""Clean fields for each of `N_FIELDS`: a specificity of .98 takes more than 200 to be told from .95."""
SIDE_PX = 768
LEAST_AMOUNT = 0.3
INTRO = """Fields of 768 x 768 working pixels of 1.3 µm in phase contrast, 0-80 % covered, with light, noise, film,
debris (15-600 per mm²), dead cells, scratches and fibres drawn anew for each. Exact 95 % intervals. A field that cannot
be assessed counts neither as found nor as free of signs; how many there were is given. Limits and
weights were chosen on other fields of the same simulator: real contamination has not been tested."""


Seen = tuple[str, frozenset[str]]
"""Outcome of a field, and the signs that show."""


@dataclass(frozen=True, slots=True)
class Row:
    """Fields of one kind and amount.

    ``rate`` is the share in which a sign shows; of ``none``, in which none does. ``shown`` counts fields by sign.
    """

    kind: Kind
    amount: float
    n_assessed: int
    n_not_assessed: int
    rate: float
    low: float
    high: float
    shown: Mapping[str, int]


def measure(setup: Setup) -> Section:
    """Draw the fields, let the recipe with a network read them, and judge each."""
    if setup.network is None:
        return Section("Needs a recipe with a network.")
    rows = contamination_table(2 if setup.is_trial else N_FIELDS, SEED, setup.network)
    free = next(row for row in rows if row.kind == "none")
    lines = [
        (r.kind, f"{r.amount:g}", r.n_assessed, r.n_not_assessed, f"{r.rate:.2f}", f"{r.low:.2f}-{r.high:.2f}")
        for r in rows
        if r.kind != "none"
    ]
    asked = [row for row in rows if row.amount >= LEAST_AMOUNT]
    n, n_hits = (
        sum(row.n_assessed for row in asked),
        sum(round(row.rate * row.n_assessed) for row in asked if row.n_assessed),
    )
    low, high = exact_interval(n_hits, n)
    figures = (
        at_least("specificity", free.rate, 0.98),
        Figure("its interval", f"{free.low:.3f}-{free.high:.3f}, {free.n_assessed} fields"),
        at_least(f"sensitivity from amount {LEAST_AMOUNT:g}", n_hits / n if n else math.nan, 0.9),
        Figure("its interval", f"{low:.3f}-{high:.3f}, {n} fields"),
        Figure("uncontaminated fields not assessed", str(free.n_not_assessed)),
    )
    header = ("kind", "amount", "fields", "not assessed", "found", "95 % interval")
    false_header = ("sign", "clean fields that show it", "of")
    false_lines = [(kind, free.shown.get(kind, 0), free.n_assessed) for kind in KINDS]
    return Section(" ".join(INTRO.split()), figures, (table(header, lines), table(false_header, false_lines)))


def contamination_table(n_fields: int, seed: int, recipe: Pipeline) -> tuple[Row, ...]:
    """Return a row for each kind and amount, and one for clean fields, of which there are `N_CLEAN` times as many.

    Parameters
    ----------
    n_fields : int
        Of each kind and amount.
    seed : int
        Decides all fields.
    recipe : Pipeline
        Finds the cells; a recipe with a network.
    """
    rows: list[tuple[Kind, float, int]] = [("none", 0.0, N_CLEAN * n_fields)]
    rows += [(kind, amount, n_fields) for kind in KINDS for amount in AMOUNTS]
    wanted = [(kind, amount, (seed, i, j)) for i, (kind, amount, n) in enumerate(rows) for j in range(n)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(available_cores(), mp_context=context) as pool:
        outcomes = list(pool.map(_look, wanted, [recipe] * len(wanted)))
    by_row = [[o for w, o in zip(wanted, outcomes, strict=True) if w[:2] == row[:2]] for row in rows]
    return tuple(_row(kind, amount, found) for (kind, amount, _), found in zip(rows, by_row, strict=True))


def exact_interval(n_hits: int, n: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share, 95 %."""
    low = float(beta.ppf(0.025, n_hits, n - n_hits + 1)) if n_hits else 0.0
    high = float(beta.ppf(0.975, n_hits + 1, n - n_hits)) if n_hits < n else 1.0
    return low, high


def _row(kind: Kind, amount: float, found: Sequence[Seen]) -> Row:
    wanted = "no visual sign" if kind == "none" else "suspect"
    assessed = [outcome for outcome, _ in found if outcome != "not assessable"]
    n, n_hits = len(assessed), sum(outcome == wanted for outcome in assessed)
    low, high = exact_interval(n_hits, n)
    shown = Counter(sign for _, signs in found for sign in signs)
    return Row(kind, amount, n, len(found) - n, n_hits / n if n else math.nan, low, high, shown)


def _look(wanted: tuple[Kind, float, tuple[int, int, int]], recipe: Pipeline) -> Seen:
    """Return what a run says of a field, and the signs that show."""
    cv2.setNumThreads(1)
    kind, amount, seed = wanted
    drawn = drawn_field(kind, amount, seed, SIDE_PX)
    image, pixel_size_um = render_field(drawn.settings, drawn.seed).image, drawn.settings.pixel_size_um
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as folder:
        path = Path(folder) / "field.ome.tif"
        write_image(path, image, pixel_size_um, "ome-tiff")
        row = ManifestRow(str(path), "V", "t-75", 1, pixel_size_um=pixel_size_um)
        score = score_field(FieldTask("field", path, row, recipe, None, None))
    shown = frozenset(kind for kind in KINDS if f"sign of {kind}:" in (score.contamination_note or ""))
    return score.contamination or "not assessable", shown

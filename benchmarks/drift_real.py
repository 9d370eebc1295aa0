"""Do populations of different lines separate, and halves of one line not? On real pictures with a known pixel size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.setup import PAIRS
from benchmarks.tables import table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.morphology.profile import PROFILE_TRAITS, profile_array
from msc_vision.records import ManifestRow

LINE = "usiigaci_t98g"
OTHERS = ("livecell_crops512",)
N_SPLITS, N_EXCHANGES = 5, 999


@dataclass(frozen=True, slots=True)
class Population:
    """Profiles (n, p) and confluencies (n,) of some pictures."""

    profiles: np.ndarray
    confluency: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Population":
        return Population(self.profiles[chosen], self.confluency[chosen])


def real_section(recipe: str, sets: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the table of p-values, with a sentence; of other lines only those among ``sets``, if any are named."""
    pairs = pd.read_csv(PAIRS)
    others = [name for name in OTHERS if sets is None or name in sets]
    found = {name: _population(pairs[pairs["set"] == name], recipe) for name in (LINE, *others)}
    rng = np.random.default_rng(7)
    rows: list[tuple[object, ...]] = []
    line = found[LINE]
    for i in range(N_SPLITS):
        order = rng.permutation(len(line.confluency))
        half = len(order) // 2
        first, second = line[order[:half]], line[order[half:]]
        rows.append((f"two halves of {LINE}, split {i + 1}", half, len(order) - half, _p_text(first, second, rng)))
    for name in others:
        other = found[name]
        low, high = line.confluency.min() - 5, line.confluency.max() + 5
        near = other[(other.confluency >= low) & (other.confluency <= high)]
        every = f"{LINE} against {name}"
        rows.append((f"{every}, all", len(line.confluency), len(other.confluency), _p_text(line, other, rng)))
        rows.append(
            (
                f"{every}, at {low:.0f}-{high:.0f} %",
                len(line.confluency),
                len(near.confluency),
                _p_text(line, near, rng),
            )
        )
    intro = (
        "Real populations: energy distance between the profiles of pictures, standardised over both, labels exchanged"
        f" {N_EXCHANGES} times. The halves of one line must not separate, two lines should. Nothing is matched by"
        " confluency here, so the last row keeps only pictures as sparse as the line's. livecell: evaluation only."
    )
    return (intro, table(("populations", "n", "n", "p"), rows))


def _population(pairs: pd.DataFrame, recipe: str) -> Population:
    pipeline = load_pipeline(recipe)
    profiles, confluency = [], []
    for row in pairs.itertuples():
        path = PAIRS.parent / str(row.image)
        manifest = ManifestRow(str(path), "v", "t-75", 1, pixel_size_um=float(row.pixel_size_um))
        score = score_field(FieldTask("f", Path(path), manifest, pipeline, None, None))
        if score.status == "scored":
            profiles.append(score.morphology)
            confluency.append(score.confluency_percent)
    values = profile_array(profiles, PROFILE_TRAITS)
    known = np.isfinite(values).all(axis=1)
    return Population(values[known], np.array(confluency)[known])


def _p_text(first: Population, second: Population, rng: np.random.Generator) -> str:
    if min(len(first.confluency), len(second.confluency)) < 3:
        return "too few"
    both = np.concatenate([first.profiles, second.profiles])
    both = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    apart = np.sqrt(((both[:, None] - both[None]) ** 2).sum(axis=2))
    is_first = np.arange(len(both)) < len(first.confluency)
    own = energy(apart, is_first)
    n_beyond = sum(energy(apart, rng.permutation(is_first)) >= own for _ in range(N_EXCHANGES))
    return f"{(1 + n_beyond) / (1 + N_EXCHANGES):.3f}"


def energy(apart: np.ndarray, is_first: np.ndarray) -> float:
    """Return the energy distance of two groups by the distances between all their members."""
    across = apart[np.ix_(is_first, ~is_first)].mean()
    return float(2 * across - apart[np.ix_(is_first, is_first)].mean() - apart[np.ix_(~is_first, ~is_first)].mean())

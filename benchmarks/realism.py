"""How far synthetic patches are from real ones, with the distance of real sources from each other as the yardstick.

Patches of 128 px are described by some fifty figures that were chosen by hand before anything was measured: spectrum,
greys, local contrast, directions, the profile across edges, noise. Two ways to compare sets of such descriptions:

- the Fréchet distance between Gaussians fitted to ten principal components,
- how well a random forest tells two sets apart, cross-validated by picture: 50 % is chance, 100 % a give-away. By one
  group of figures alone it is a logistic regression, which is quick and says which group to look at.

Neither says that synthetic pictures are good for training; they say what to look at next.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, table
from msc_vision.synth.culture_variety import random_cell_settings, random_confluency, random_pixel_size
from msc_vision.synth.field import render_field
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.variety import random_image_settings

SHARED = Path(__file__).parents[1].parent / "shared"
SIDE_PX = 128
PER_SOURCE = 60  # patches of each real source
PER_PICTURE = 12  # and at most of one picture: more would show the same cells again
N_SYNTHETIC = 240
SEED = 11
SHEET = Path(__file__).parent / ".cache" / "real-and-synthetic.png"
"""Never part of the repository: real pictures stay where they are."""
# wound_cellprofiler_bsd holds the pictures of woundhealing_cellprofiler at half size: one source, read once
SOURCES: Mapping[str, float] = {  # folder, and what its pictures are scaled by to come near 1 µm per pixel
    "usiigaci_t98g": 0.867,
    "msc_unlabelled_scads": 1.0,
    "scratch_nu_mit_unlabelled": 1.0,
    "woundhealing_cellprofiler": 0.5,
    "phantast_demo": 1.0,
}
GROUPS = ("spectrum", "greys", "local contrast", "directions", "edge profile", "noise")
FloatArray = NDArray[np.float32]
INTRO = """Real patches ({n_real}, of {n_sources} sources, never livecell) against synthetic ones ({n_synthetic} of
each kind). `plain` is in-focus phase contrast with the default picture settings, `training mix` is what
`random_image_settings` draws; cultures of both are those of `random_cell_settings`. The yardstick in italics is the
same comparison between one real source and all others. Sources differ in cells, density, optics and camera, and some
have two or three pictures only: figures below 50 % come of that, and differences below 5 points mean nothing."""


@dataclass(frozen=True, slots=True)
class Patches:
    """Descriptions of patches: a row each, and the picture that each was cut from."""

    features: NDArray[np.float64]
    picture: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> "Patches":
        """Return some of the rows."""
        return Patches(self.features[rows], self.picture[rows])


def measure(_: Setup) -> Section:
    """Compare synthetic with real patches, and real sources with each other."""
    if not (SHARED / "data").exists():
        return Section("Not measured: the real images are not beside this checkout.")
    sources = {name: _described(_real_patches(name, scale)) for name, scale in SOURCES.items()}
    made = {"plain": _described(_synthetic_patches(is_plain=True)), "training mix": _described(_synthetic_patches())}
    real = _joined(list(sources.values()))
    rows = [_compared(name, part, real, real) for name, part in made.items()]
    for name, part in sources.items():
        if np.unique(part.picture).size > 1:  # one picture cannot be cross-validated
            rest = _joined([other for key, other in sources.items() if key != name])
            rows.append(_compared(f"*{name} against the other real sources*", part, rest, real))
    rows.append(_compared("*two halves of the real pictures*", *_halves(real), real))
    intro = INTRO.format(n_real=len(real.features), n_sources=len(sources), n_synthetic=N_SYNTHETIC)
    SHEET.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(SHEET), side_by_side())
    main = table(("set", "Fréchet distance", "told apart (%)", *(f"by {g} alone (%)" for g in GROUPS)), rows)
    return Section(" ".join(intro.split()), tables=(main, _give_aways(made["plain"], real)), figures=_figures(rows))


def _figures(rows: Sequence[tuple[str, ...]]) -> tuple[Figure, ...]:
    """Return the synthetic sets in words, beside the middle of the yardsticks."""
    sources = [row for row in rows if row[0].endswith("sources*")]
    distance, apart = (f"{np.median([float(row[i]) for row in sources]):.1f}" for i in (1, 2))
    return tuple(
        Figure(f"{row[0]}: {what}", row[i], f"(real sources: {yardstick})")
        for row in rows[:2]
        for i, what, yardstick in ((1, "Fréchet distance", distance), (2, "told from real", apart))
    )


# --- patches ---------------------------------------------------------------------------------------------------------


def _real_patches(name: str, scale: float) -> Iterator[tuple[int, FloatArray]]:
    paths = sorted((SHARED / "data" / name / "images").iterdir())
    each = min(math.ceil(PER_SOURCE / len(paths)), PER_PICTURE)
    rng = np.random.default_rng(SEED)
    for number, path in enumerate(paths):
        image = _read(path)
        if scale != 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for patch in _cut(image, each, rng):
            yield number, patch


def _read(path: Path) -> FloatArray:
    grey = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    assert grey is not None, path
    return grey.astype(np.float32) / np.float32(np.iinfo(grey.dtype).max)


def _cut(image: FloatArray, n: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    for _ in range(n):
        y, x = (int(rng.integers(0, max(size - SIDE_PX, 0) + 1)) for size in image.shape)
        yield image[y : y + SIDE_PX, x : x + SIDE_PX]


def _synthetic_patches(*, is_plain: bool = False) -> Iterator[tuple[int, FloatArray]]:
    """Yield two patches of each of many pictures; the plain ones show cells, as nearly all real ones do."""
    for number in range(N_SYNTHETIC // 2):
        rng = np.random.default_rng([SEED, number])
        image = synthetic_picture(rng, number, is_plain=is_plain)
        for patch in _cut(image, 2, rng):
            yield number, patch


def synthetic_picture(rng: np.random.Generator, seed: int, *, is_plain: bool) -> FloatArray:
    """Return a picture of 320 x 320 pixels, 0 to 1 of full scale."""
    cells = random_cell_settings(rng)
    size_um = min(random_pixel_size(cells, rng), 1.4)
    confluency = float(rng.uniform(5, 100)) if is_plain else random_confluency(rng)
    picture = {"bit_depth": 8} if is_plain else dict(random_image_settings(rng, pixel_size_um=size_um))
    settings = FieldSettings(
        height_px=320, width_px=320, pixel_size_um=size_um, confluency_percent=confluency, cells=cells, **picture
    )
    image = render_field(settings, seed).image
    return image.astype(np.float32) / np.float32(2**settings.bit_depth - 1)


def contact_sheet(*, is_plain: bool, rows: int = 4, columns: int = 5) -> NDArray[np.uint8]:
    """Return synthetic pictures side by side, each stretched to its own greys: for looking at."""
    lines = []
    for row in range(rows):
        line = []
        for seed in range(row * columns, (row + 1) * columns):
            image = synthetic_picture(np.random.default_rng([SEED + 1, seed]), seed, is_plain=is_plain)
            line.append(_stretched(image))
        lines.append(np.hstack(line))
    return np.vstack(lines)


def side_by_side(columns: int = 6) -> NDArray[np.uint8]:
    """Return a row of each real source and rows of synthetic patches, each stretched to its own greys."""
    rng = np.random.default_rng(SEED)
    real = [[patch for _, patch in _real_patches(name, scale)] for name, scale in SOURCES.items()]
    made = [[patch for _, patch in _synthetic_patches(is_plain=is_plain)] for is_plain in (True, False)]
    lines = [_line(patches, columns, rng) for patches in (*real, *made, *made)]
    bar = np.full((6, lines[0].shape[1]), 255, np.uint8)
    return np.vstack([*lines[: len(real)], bar, *lines[len(real) :]])


def _line(patches: Sequence[FloatArray], columns: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    chosen = rng.permutation(len(patches))[:columns]
    return np.hstack([_stretched(patches[int(i)]) for i in chosen])


def _stretched(image: FloatArray) -> NDArray[np.uint8]:
    low, high = np.percentile(image, (0.3, 99.7))
    return np.clip(255 * (image - low) / max(high - low, 1e-3), 0, 255).astype(np.uint8)


def _described(patches: Iterator[tuple[int, FloatArray]]) -> Patches:
    numbers, rows = zip(*((number, describe(patch)) for number, patch in patches), strict=True)
    return Patches(np.array(rows), np.array(numbers))


def _joined(parts: Sequence[Patches]) -> Patches:
    """Return sets one below the other; pictures get numbers of their own."""
    features = np.concatenate([part.features for part in parts])
    return Patches(features, np.concatenate([part.picture + 10_000 * i for i, part in enumerate(parts)]))


def _halves(real: Patches) -> tuple[Patches, Patches]:
    is_even = real.picture % 2 == 0
    return real.take(np.flatnonzero(is_even)), real.take(np.flatnonzero(~is_even))


# --- descriptions ----------------------------------------------------------------------------------------------------


def describe(patch: FloatArray) -> NDArray[np.float64]:
    """Return the figures of a patch, group by group; brightness and contrast of the whole do not count.

    Parameters
    ----------
    patch : (128, 128) float32 array
        0 to 1.
    """
    parts = feature_groups(patch)
    return np.concatenate([np.asarray(parts[name], np.float64) for name in GROUPS])


def feature_groups(patch: FloatArray) -> dict[str, NDArray[np.float64]]:
    """Return the figures of a patch by group."""
    spread = float(patch.std())
    grey = (patch - np.median(patch)) / max(spread, 1e-4)
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return {
        "spectrum": _spectrum(grey),
        "greys": _quantiles(grey, (0.5, 5, 25, 75, 95, 99.5)),
        "local contrast": np.concatenate([_local_contrast(grey, sigma) for sigma in (1.0, 4.0)]),
        "directions": np.array([_coherence(across, down, sigma) for sigma in (2.0, 6.0, 40.0)]),
        "edge profile": _edge_profile(grey),
        "noise": np.array([*_noise(grey), math.log(spread + 1e-4)]),
    }


def _quantiles(values: NDArray[np.floating], percent: Sequence[float]) -> NDArray[np.float64]:
    return np.clip(np.percentile(values, percent), -8, 8)


def _spectrum(grey: FloatArray) -> NDArray[np.float64]:
    """Return the logarithm of power in twelve rings of spatial frequency, each over the whole."""
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    power = np.abs(np.fft.rfft2(grey * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.rfftfreq(grey.shape[1])[None, :])
    edges = np.geomspace(0.012, 0.6, 13)
    ring = np.digitize(frequency, edges)
    sums = np.array([power[ring == i].mean() for i in range(1, len(edges))])
    return np.log(sums / max(sums.sum(), 1e-9) + 1e-9)


def _local_contrast(grey: FloatArray, sigma: float) -> NDArray[np.float64]:
    mean, square = cv2.GaussianBlur(grey, (0, 0), sigma), cv2.GaussianBlur(grey * grey, (0, 0), sigma)
    local = np.log(np.sqrt(np.clip(square - mean * mean, 0, None)) + 1e-3)
    return np.percentile(local, (5, 25, 50, 75, 95))


def _coherence(across: FloatArray, down: FloatArray, sigma: float) -> float:
    """Return how far gradients near each other share one direction, 0 to 1."""
    xx, yy, xy = (cv2.GaussianBlur(p, (0, 0), sigma) for p in (across * across, down * down, across * down))
    difference = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    return float(difference.sum() / max(float((xx + yy).sum()), 1e-9))


def _edge_profile(grey: FloatArray) -> NDArray[np.float64]:
    """Return grey across the strongest edges, from their dark side to the bright one: halo and rim show here."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.2)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    inner = np.s_[12:-12, 12:-12]
    rows, columns = np.nonzero(strength[inner] >= np.percentile(strength[inner], 97))
    rows, columns = rows + 12, columns + 12
    length = np.maximum(strength[rows, columns], 1e-9)
    steps = np.array([-10, -7, -5, -3, -1, 1, 3, 5, 7, 10])[:, None]
    x = np.rint(columns + steps * across[rows, columns] / length).astype(int)
    y = np.rint(rows + steps * down[rows, columns] / length).astype(int)
    return np.clip(grey[y, x].mean(axis=1), -6, 6)


def _noise(grey: FloatArray) -> tuple[float, float]:
    """Return the finest detail, and how far it hangs together from pixel to pixel, in the calmest quarter."""
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 1.5)
    level = cv2.GaussianBlur(detail * detail, (0, 0), 5.0)
    calm = detail[level <= np.percentile(level, 25)]
    is_calm = (level <= np.percentile(level, 25))[:, 1:]
    product = (detail[:, 1:] * detail[:, :-1])[is_calm].mean()
    variance = max(float((calm**2).mean()), 1e-12)
    return 0.5 * math.log(variance + 1e-8), float(product / variance)


# --- comparisons -----------------------------------------------------------------------------------------------------


def _compared(name: str, first: Patches, second: Patches, scale: Patches) -> tuple[str, ...]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    forest = RandomForestClassifier(200, class_weight="balanced", min_samples_leaf=2, random_state=0)
    line = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    widths = [len(part) for part in feature_groups(np.zeros((SIDE_PX, SIDE_PX), np.float32)).values()]
    ends = np.cumsum([0, *widths])
    return (
        name,
        f"{frechet_distance(first.features, second.features, scale.features):.1f}",
        f"{100 * told_apart(first, second, np.arange(ends[-1]), forest):.0f}",
        *(f"{100 * told_apart(first, second, np.arange(a, b), line):.0f}" for a, b in itertools.pairwise(ends)),
    )


def frechet_distance(
    first: NDArray[np.float64], second: NDArray[np.float64], scale: NDArray[np.float64], n_components: int = 10
) -> float:
    """Return the squared Fréchet distance between two sets, in standard deviations of a third one's figures.

    Over the principal components of ``scale`` only: with more, sets of some dozens would differ by chance.
    """
    spread = scale.std(axis=0) + 1e-9
    _, _, axes = np.linalg.svd((scale - scale.mean(axis=0)) / spread, full_matrices=False)
    one, other = ((part - scale.mean(axis=0)) / spread @ axes[:n_components].T for part in (first, second))
    shift = one.mean(axis=0) - other.mean(axis=0)
    one_cov, other_cov = np.cov(one.T), np.cov(other.T)
    values = np.linalg.eigvals(one_cov @ other_cov)
    overlap = np.sqrt(np.clip(values.real, 0, None)).sum()
    return float(shift @ shift + np.trace(one_cov) + np.trace(other_cov) - 2 * overlap)


def told_apart(first: Patches, second: Patches, columns: NDArray[np.intp], classifier: Any) -> float:
    """Return the balanced accuracy of a classifier that never saw the pictures it is asked about, 0 to 1."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    features = np.concatenate([first.features, second.features])[:, columns]
    is_second = np.repeat([0, 1], [len(first.features), len(second.features)])
    groups = np.concatenate([first.picture, second.picture + 1_000_000])
    n_folds = min(5, np.unique(first.picture).size, np.unique(second.picture).size)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    said = cross_val_predict(classifier, features, is_second, groups=groups, cv=folds)
    return float(balanced_accuracy_score(is_second, said))


def _give_aways(synthetic: Patches, real: Patches, n: int = 8) -> str:
    """Return the figures that differ most, in standard deviations of the real ones."""
    names = [
        f"{group} {i + 1}"
        for group, part in feature_groups(np.zeros((SIDE_PX, SIDE_PX), np.float32)).items()
        for i in range(len(part))
    ]
    shift = (synthetic.features.mean(axis=0) - real.features.mean(axis=0)) / (real.features.std(axis=0) + 1e-9)
    most = np.argsort(-np.abs(shift))[:n]
    rows = [(names[i], f"{shift[i]:+.2f}") for i in most]
    return "What gives `plain` away most:\n\n" + table(("figure", "shift, in real standard deviations"), rows)

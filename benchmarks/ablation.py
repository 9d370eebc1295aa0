"""What each ingredient of a recipe is worth, and how much it hangs on the pictures: short trainings without some.

This trains, so it takes most of an hour and runs only when it is asked for. Finished trainings are kept in
``benchmarks/.cache/ablation`` and not repeated; delete that folder after a change of recipe or simulator.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.annotated import Result, cell_figures, listed, score
from benchmarks.setup import PAIRS, Setup, picture_uses_of
from benchmarks.tables import Section, table
from msc_vision.batch.plan import available_cores
from msc_vision.errors import OutputError
from msc_vision.resources import resource_path

CACHE = Path(__file__).parent / ".cache" / "ablation"
N_STEPS = 1000
RECIPE = "culture-2-base"
COMMAND = Path(sys.executable).with_name("msc-vision")
SPINDLES, COLONIES = "usiigaci_t98g", "hela_cellaap"
SCRATCHES = ("scratch_bnsreenu_mit", "wound_cellprofiler_bsd")
SAME_DISHES = ("scratch_nu_mit_unlabelled", "woundhealing_cellprofiler", "phantast_demo")
INGREDIENTS = ("synthetic", "paste", "pseudo")
HELD_OUT = f"{SPINDLES}, held out"
FOLD_COLUMNS = {"dice": ".2f", "confluency_mae": ".1f", "confluency_bias": "+.1f", "ap50": ".2f"}
INTRO = """Recipe `{name}`, {n_steps} steps instead of {all_steps}: differences show what is worth learning from, not
how good the shipped weights are. Each cell is foreground Dice / mean error of the covered share in points, of the
network alone (nothing masked, no joining of cells), at the canonical pixel size. No variant sees the {colonies}
colonies, the held-out part of {spindles} or the held-out simulated fields; the last two leave out another whole source
as well. Bold: a source of which that variant never saw anything. One training each, so differences under 0.03 are
noise."""
FOLDS_INTRO = """Cross-validation on {spindles}: each picture read by the whole recipe `default`, with the network of
the row, which did not see it."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One training: ingredients beside the annotated pictures, and which sets and fold of others it never sees."""

    title: str
    ingredients: tuple[str, ...]
    hold_out: tuple[str, ...] = (COLONIES,)
    fold: int = 0

    @property
    def name(self) -> str:
        """Id of its model."""
        words = ["only", *self.ingredients, "without", *self.hold_out, "fold", str(self.fold + 1)]
        return "-".join(words).replace("_", "-")


VARIANTS = (
    Variant("annotated pictures alone", ()),
    Variant("+ simulated", ("synthetic",)),
    Variant("+ simulated, + pasted", ("synthetic", "paste")),
    Variant("all: + as local contrast sees it", INGREDIENTS),
    Variant("all, fold 2", INGREDIENTS, fold=1),
    Variant("all, fold 3, without scratch assays", INGREDIENTS, (COLONIES, *SCRATCHES, *SAME_DISHES), fold=2),
    Variant("all, without T98G", INGREDIENTS, (COLONIES, SPINDLES)),
)
FOLDS = VARIANTS[3:6]


def measure(_: Setup) -> Section:
    """Train what is missing and compare."""
    recipe = yaml.safe_load(resource_path(f"models/recipes/{RECIPE}.yaml").read_text(encoding="utf-8"))
    with ThreadPoolExecutor(available_cores()) as pool:
        found = list(pool.map(lambda variant: _trained(recipe, variant), VARIANTS))
    sets = sorted({name for scores in found for name in scores})
    rows = [
        (variant.title, *(_cell(scores, name, variant) for name in sets))
        for variant, scores in zip(VARIANTS, found, strict=True)
    ]
    intro = INTRO.format(
        name=recipe["name"],
        n_steps=N_STEPS,
        all_steps=recipe["training"]["n_steps"],
        colonies=COLONIES,
        spindles=SPINDLES,
    )
    folds = " ".join(FOLDS_INTRO.format(spindles=SPINDLES).split()) + "\n\n" + _fold_table()
    return Section(" ".join(intro.split()), tables=(table(("learned from", *sets), rows), folds))


def _fold_table() -> str:
    """Return how the recipe reads the spindle cells that each fold held out."""
    results = [_of_fold(variant) for variant in FOLDS]
    rows = []
    for variant, result in zip(FOLDS, results, strict=True):
        own, cells = result.of(HELD_OUT), cell_figures(result, HELD_OUT)
        texts = [f"{own[key]:{form}}" for key, form in FOLD_COLUMNS.items()]
        rows.append((variant.title, own["n"], *texts, f"{cells['count_error']:.1f}", f"{cells['aspect_error']:+.1f}"))
    n_all = sum(result.of(HELD_OUT)["n"] for result in results)
    means = [
        sum(result.of(HELD_OUT)["n"] * result.of(HELD_OUT)[key] for result in results) / n_all for key in FOLD_COLUMNS
    ]
    rows.append(("mean over pictures", n_all, *(f"{m:{f}}" for m, f in zip(means, FOLD_COLUMNS.values(), strict=True))))
    header = ("network", "pictures", "Dice", "MAE", "bias", "AP50", "count off by, %", "median aspect ratio off by, %")
    return table(header, [(*row, *[""] * (len(header) - len(row))) for row in rows])


def _of_fold(variant: Variant) -> Result:
    recipe = yaml.safe_load(resource_path("pipelines/default.yaml").read_text(encoding="utf-8"))
    recipe |= {"name": variant.name, "network": {**recipe["network"], "model": str(CACHE / variant.name)}}
    path = CACHE / f"{variant.name}-pipeline.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    setup = Setup(pipelines=(str(path),), sets=(SPINDLES,))
    rows = [row for row in listed(setup, picture_uses_of(setup.network)) if row["group"] == HELD_OUT]
    return score(rows, str(path), with_size=True)


def variant_recipe(recipe: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """Return the recipe of a variant."""
    kept = {key: value for key, value in recipe.items() if key not in INGREDIENTS or key in variant.ingredients}
    if SPINDLES in variant.hold_out:  # pasted cells are theirs
        kept.pop("paste", None)
    training = {**recipe["training"], "n_steps": N_STEPS, "checkpoint_every": N_STEPS}
    validation = {**recipe["validation"], "hold_out": list(variant.hold_out), "fold": variant.fold}
    validation |= {"every_steps": 10 * N_STEPS, "patience": 0}
    if "synthetic" not in kept:
        validation["n_synthetic"] = 0
    return {**kept, "name": variant.name, "training": training, "validation": validation}


def _trained(recipe: Mapping[str, Any], variant: Variant) -> dict[str, dict[str, float]]:
    """Return the scores of a variant by set, trained in one thread unless it is there already."""
    model = CACHE / variant.name
    if not (model / "config.json").is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        written = CACHE / f"{variant.name}.yaml"
        written.write_text(yaml.safe_dump(variant_recipe(recipe, variant), sort_keys=False), encoding="utf-8")
        options = ["--data", PAIRS.parent, "--out", CACHE, "--name", variant.name, "--cache", CACHE / "pictures"]
        command = [COMMAND, "train", written, *options, "--threads", "1", "--workers", "1"]
        log = CACHE / f"{variant.name}.log"
        with log.open("wb") as out:
            done = subprocess.run([str(part) for part in command], stdout=out, stderr=out, check=False)
        if done.returncode:
            raise OutputError(f"{log}: the training of {variant.name!r} failed; its last lines say why.")
    config = json.loads((model / "config.json").read_bytes())
    return {row["set"]: row for row in config["training"]["held_out_figures"]}


def _cell(scores: Mapping[str, Mapping[str, float]], name: str, variant: Variant) -> str:
    if name not in scores:
        return ""
    text = f"{scores[name]['dice']:.2f} / {scores[name]['mean_error_points']:.1f}"
    return f"**{text}**" if name in variant.hold_out else text

"""``msc-vision train``: a recipe in, a model folder out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say
from msc_vision.errors import InvalidArgumentError

if TYPE_CHECKING:
    from msc_vision.learning.recipe import TrainRecipe
    from msc_vision.segmentation.network.weights import Model

HELD = "What is held out"


def train(  # noqa: PLR0913, PLR0917  (one parameter per option)
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="YAML file; with --from also a folder of images with corrected masks.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder to which the lists of images in the recipe are relative; default: the recipe's folder.",
            rich_help_panel=options.WHERE,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder in which the model's folder is made, and NAME.training with checkpoint and log.",
            rich_help_panel=options.WHERE,
        ),
    ] = Path("models"),
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Id of the new model; default: the recipe's.", rich_help_panel=options.WHERE
        ),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin with the weights of this model (name or folder): fine-tuning. MODEL itself stays as it is.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    pixel_size_um: options.PixelSize = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an interrupted training; the weights become those of an undisturbed one.",
            rich_help_panel=options.WHERE,
        ),
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            metavar="I/K",
            help="Cut every large set into K parts by groups of images and hold out part I (from 1): one of the K "
            "models of a cross-validation.",
            rich_help_panel=HELD,
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out",
            metavar="SET",
            help="Never train on this set, and score on it; may be given more than once.",
            rich_help_panel=HELD,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where prepared images are kept for the next training; default: ~/.cache/msc-vision/training.",
            rich_help_panel=options.WHERE,
        ),
    ] = None,
    workers: options.Workers = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="Threads of the network's arithmetic; default: every core. Another number gives other roundings.",
            rich_help_panel=options.WHERE,
        ),
    ] = None,
) -> None:
    """Train a network on annotated and synthetic images, or fine-tune one on corrected masks of your own.

    RECIPE says which sets with which share, how many synthetic fields, how images are varied, how long, and what is
    held out (sets or groups, never single images). Sets whose `use` is evaluation-only are refused. The same recipe on
    the same machine gives the same weights. A checkpoint is written every few hundred steps: after a stop or a power
    cut, the same command with --resume goes on. A finished model is a folder DIR/NAME with weights, config, recipe,
    card and checksums; its path is printed on stdout. Nothing learns while images are scored.

    A folder instead of a recipe needs --from: it holds images, each with X_labels.tif beside X.tif (as `segment` writes
    them and napari corrects them), or a pairs.csv. The new model gets an id and a card of its own.

    **Examples**

        msc-vision train models/recipes/culture-3.yaml --data annotated --out models
        msc-vision train models/recipes/culture-3.yaml --data annotated --fold 1/3 --out crossvalidation
        msc-vision train corrected/ --from culture-3 --name lab7-1 --pixel-size-um 0.65
    """
    from msc_vision.learning.heap import keep_freed_memory
    from msc_vision.learning.progress import progress_on
    from msc_vision.learning.train import TrainPlan, available_cores, available_device
    from msc_vision.learning.train import train as train_model
    from msc_vision.segmentation.network.weights import load_model

    model = load_model(parent) if parent is not None else None
    chosen = _with_held_out(_recipe(recipe, name, model, pixel_size_um), fold, hold_out or [])
    plan = TrainPlan(
        recipe=chosen,
        name=_checked_name(name or _default_name(chosen)),
        data=data or (recipe if recipe.is_dir() else recipe.parent),
        out=out,
        cache=cache or Path.home() / ".cache" / "msc-vision" / "training",
        parent=model,
        is_resumed=resume,
        workers=workers or available_cores(),
        threads=threads or available_cores(),
        device=available_device(),
    )
    keep_freed_memory()
    folder = train_model(plan, progress_on(sys.stderr))
    say(f"Model {plan.name} is finished. Read {folder / 'card.md'}; losses by step are in {plan.work / 'log.csv'}.")
    typer.echo(folder)


def _recipe(path: Path, name: str | None, parent: "Model | None", pixel_size_um: float | None) -> "TrainRecipe":
    """Return the recipe of a file, or the one that fine-tunes on a folder."""
    from msc_vision.learning.finetune import folder_recipe, refuse_other_scale
    from msc_vision.learning.recipe import load_recipe

    if path.is_dir():
        if parent is None or name is None:
            raise InvalidArgumentError(
                f"{path}: is a folder; to fine-tune on it, say which model to begin with and what the new one is "
                "called: --from MODEL --name NAME."
            )
        return folder_recipe(path, _checked_name(name), parent.config, pixel_size_um)
    if pixel_size_um is not None:
        raise InvalidArgumentError("--pixel-size-um goes with a folder; a recipe says it as assumed_pixel_size_um.")
    recipe = load_recipe(path)
    if parent is not None:
        refuse_other_scale(recipe, parent.config)
    return recipe


def _with_held_out(recipe: "TrainRecipe", fold: str | None, hold_out: list[str]) -> "TrainRecipe":
    from msc_vision.learning.recipe import parse_recipe

    changes: dict[str, object] = {}
    if hold_out:
        changes["hold_out"] = [*recipe.validation.hold_out, *hold_out]
    if fold is not None:
        number, _, of = fold.partition("/")
        if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of) and int(of) >= 2):
            raise InvalidArgumentError(f"--fold is {fold!r}; write which of how many, such as 1/3.")
        changes |= {"fold": int(number) - 1, "folds": int(of)}
    if not changes:
        return recipe
    content = recipe.model_dump(mode="json")
    content["validation"] |= changes
    return parse_recipe(content, "--fold and --hold-out")


def _default_name(recipe: "TrainRecipe") -> str:
    held = recipe.validation
    return f"{recipe.name}-fold{held.fold + 1}of{held.folds}" if held.folds else recipe.name


def _checked_name(name: str) -> str:
    import re

    from msc_vision.segmentation.network.weights import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        raise InvalidArgumentError(f"--name is {name!r}; use small letters, digits, dots and dashes, such as lab7-2.")
    return name

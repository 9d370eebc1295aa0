"""The training itself: recipe, data, seed, machine and number of threads decide the weights, nothing else does."""

import csv
import io
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from msc_vision import __version__
from msc_vision.errors import InvalidArgumentError, OutputError, UndefinedResultError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.learning.batches import Batch, BatchMaker, batches
from msc_vision.learning.card import card_text, data_record, score_record
from msc_vision.learning.checkpoint import Checkpoint, Weights, load_checkpoint, save_checkpoint
from msc_vision.learning.data import TrainingData, collect, held_out_cells
from msc_vision.learning.jobs import SYNTHETIC
from msc_vision.learning.loss import map_losses, scale_loss, total_loss
from msc_vision.learning.prepared import TrainingItem
from msc_vision.learning.progress import Progress, Silent
from msc_vision.learning.recipe import TrainRecipe, recipe_yaml
from msc_vision.learning.score import Score, score_items
from msc_vision.learning.settle import Annotated, remember, settle, trust
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.model import CultureNetwork, NetworkShape
from msc_vision.segmentation.network.predict import has_native_bf16
from msc_vision.segmentation.network.weights import Model, ModelConfig, ModelSettings, save_model

logger = logging.getLogger(__name__)

_LOOK_AT_LOSS_EVERY = 20
_ENOUGH_TO_SETTLE = 4
"""Held-out pictures with single cells, from which on they say how basins are joined."""
_ENOUGH_TO_TRUST = 20
"""Held-out pictures, from which on 9 of 10 of them mean something; real ones, if there are so many."""
LOSSES = (*MAPS, "scale")


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """One training: what, from where, to where, and with which part of the machine.

    Attributes
    ----------
    recipe : TrainRecipe
    name : str
        Id of the new model.
    data : Path
        Folder to which the recipe's lists are relative.
    out : Path
        Folder for the model's folder; ``NAME.training`` beside it keeps checkpoint and log.
    cache : Path
        Where prepared pictures are kept.
    parent : Model, optional
        Whose weights it begins with.
    is_resumed : bool
        Go on with an interrupted training.
    workers : int
        Processes that prepare, and threads that make crops.
    threads : int
        Of torch; other numbers give other roundings.
    device : str
        ``cpu`` or ``cuda``.
    """

    recipe: TrainRecipe
    name: str
    data: Path
    out: Path
    cache: Path
    parent: Model | None = None
    is_resumed: bool = False
    workers: int = 2
    threads: int = 2
    device: str = "cpu"

    @property
    def model(self) -> Path:
        """Folder of the finished model."""
        return self.out / self.name

    @property
    def work(self) -> Path:
        """Folder of checkpoint and log."""
        return self.out / f"{self.name}.training"


@dataclass(slots=True)
class Learner:
    """Network, its average and optimiser, at some step."""

    network: CultureNetwork
    average: Weights
    optimiser: torch.optim.Optimizer
    state: Checkpoint
    losses: list[Tensor] = field(default_factory=list)


def train(plan: TrainPlan, progress: Progress = Silent()) -> Path:  # noqa: B008  (it holds nothing)
    """Train a model and write its folder.

    Returns
    -------
    Path
        The model's folder.

    Raises
    ------
    OutputError
        If the model exists, another training works on it, or the disk is full: what the last checkpoint has is kept.
    InvalidArgumentError
        If there is an interrupted training of this name and it is not to be resumed, or recipe or data differ from it.
    InvalidDataError
        If data are missing, have no masks, or cannot be read.
    UndefinedResultError
        If the loss is no longer a number.
    """
    if plan.model.exists():
        raise OutputError(f"{plan.model}: exists already; a model is never overwritten, choose another --name.")
    with output_errors(plan.work):
        plan.work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(plan.work / ".lock", timeout=0)
    try:
        with lock, _torch_threads(plan.threads):
            return _train(plan, progress)
    except Timeout as err:
        raise OutputError(f"{plan.work}: another training works here; wait for it or choose another --name.") from err


def _train(plan: TrainPlan, progress: Progress) -> Path:
    found = load_checkpoint(plan.work)
    if found is not None and not plan.is_resumed:
        raise InvalidArgumentError(
            f"{plan.work}: holds an interrupted training, {found.step} steps done; go on with --resume, "
            "or delete the folder to begin again."
        )
    recipe = plan.recipe
    data = collect(recipe, plan.data, plan.cache, workers=plan.workers, progress=progress)
    for line in data.describe():
        progress.say(line)
    learner = _learner(plan, data, found)
    try:
        _run(plan, data, learner, progress)
    except KeyboardInterrupt as err:
        kept = load_checkpoint(plan.work)
        raise KeyboardInterrupt(
            f"Stopped; {kept.step if kept else 0} steps are kept. Go on with the same command and --resume."
        ) from err
    if data.held_out:
        _look(plan, data, learner)
    return _finish(plan, data, learner)


# --- the loop --------------------------------------------------------------------------------------------------------


def _learner(plan: TrainPlan, data: TrainingData, found: Checkpoint | None) -> Learner:
    recipe = plan.recipe
    torch.manual_seed(recipe.training.seed)
    network = CultureNetwork(_shape(plan))
    if plan.parent:
        network.load_state_dict(plan.parent.network.state_dict())
    if found is not None:
        _refuse_other(plan, data, found)
        network.load_state_dict(found.network)
        torch.set_rng_state(found.random)
    network.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = recipe.training
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    if found is not None:
        optimiser.load_state_dict(found.optimiser)
    start = found.average if found is not None else network.state_dict()
    average = {name: tensor.detach().clone().to(plan.device) for name, tensor in start.items()}
    state = found or Checkpoint(recipe_hash(plan), data.sha256, 0, {}, {}, {}, torch.get_rng_state())
    return Learner(network, average, optimiser, state)


def recipe_hash(plan: TrainPlan) -> str:
    """Return the hash of the recipe and of the model that it begins with."""
    return plan.recipe.sha256 if plan.parent is None else f"{plan.recipe.sha256}+{plan.parent.sha256}"


def _refuse_other(plan: TrainPlan, data: TrainingData, found: Checkpoint) -> None:
    for what, now, then in (
        ("recipe", recipe_hash(plan), found.recipe_sha256),
        ("data", data.sha256, found.data_sha256),
    ):
        if now != then:
            raise InvalidArgumentError(
                f"{plan.work}: was begun with another {what}; begin anew under another --name, or delete the folder."
            )


def _run(plan: TrainPlan, data: TrainingData, learner: Learner, progress: Progress) -> None:
    settings, looks = plan.recipe.training, plan.recipe.validation
    maker = BatchMaker(data.parts, settings, plan.recipe.augmentation)
    state = learner.state
    if _is_over(plan, state):
        return
    with progress.stage("Training", "steps", settings.n_steps, state.step) as advance:
        for batch in batches(maker, state.step, threads=plan.workers):
            learner.losses.append(_step(plan, learner, batch))
            state.step += 1
            is_last = state.step >= settings.n_steps
            if state.step % _LOOK_AT_LOSS_EVERY == 0 or is_last:
                _note_losses(plan, learner)
            advance(_remark(state))
            if data.held_out and state.step % looks.every_steps == 0 and not is_last:
                _look(plan, data, learner, say=progress.say)
            if state.step % settings.checkpoint_every == 0 or is_last or _is_over(plan, state):
                _save(plan, learner)
            if _is_over(plan, state):
                break


def _is_over(plan: TrainPlan, state: Checkpoint) -> bool:
    patience = plan.recipe.validation.patience
    return state.step >= plan.recipe.training.n_steps or bool(patience and state.n_looks_since >= patience)


def _step(plan: TrainPlan, learner: Learner, batch: Batch) -> Tensor:
    """Learn from one batch; return the loss of each map."""
    settings, network = plan.recipe.training, learner.network
    for group in learner.optimiser.param_groups:
        group["lr"] = learning_rate(plan.recipe, learner.state.step)
    batch = Batch(*(tensor.to(plan.device, non_blocking=True) for tensor in batch))
    network.train()
    with autocast(plan.device):
        logits, guess = network(batch.inputs.to(memory_format=torch.channels_last))
    losses = map_losses(logits.float(), batch.targets.float() / 255, batch.judged.float() / 255, batch.valid)
    losses["scale"] = scale_loss(guess.float(), batch.log_scale, batch.scale_weight)
    learner.optimiser.zero_grad()
    total_loss(losses, settings.map_weights).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_limit)
    learner.optimiser.step()
    step = learner.state.step
    _follow(learner.average, network.state_dict(), keep=min(settings.average, step / (step + 20.0)))
    return torch.stack([loss.detach() for loss in losses.values()])


def learning_rate(recipe: TrainRecipe, step: int) -> float:
    """Return the learning rate of a step: a straight rise, then half a cosine down to the last one."""
    settings = recipe.training
    rise = min(1.0, (step + 1) / max(settings.warm_up_steps, 1))
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / settings.n_steps))
    return settings.learning_rate * rise * fall + settings.last_learning_rate


def autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which convolutions use bfloat16 where the device computes it in hardware."""
    if device != "cpu" or has_native_bf16():
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def _follow(average: Weights, now: dict[str, Tensor], *, keep: float) -> None:
    """Move the average towards the weights of now."""
    with torch.no_grad():
        moving = [name for name, tensor in now.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([average[name] for name in moving], [now[name] for name in moving], 1 - keep)
        for name in now.keys() - set(moving):
            average[name].copy_(now[name])


def _note_losses(plan: TrainPlan, learner: Learner) -> None:
    mean = torch.stack(learner.losses).mean(0).tolist()
    learner.losses.clear()
    state = learner.state
    if not all(map(math.isfinite, mean)):
        raise UndefinedResultError(
            f"Recipe {plan.recipe.name}: the loss is no number after {state.step} steps; lower training.learning_rate."
        )
    row = {"step": float(state.step), "learning_rate": learning_rate(plan.recipe, state.step - 1)}
    state.history.append(row | {f"loss_{name}": value for name, value in zip(LOSSES, mean, strict=True)})


def _remark(state: Checkpoint) -> str:
    if not state.history:
        return ""
    losses = {k.removeprefix("loss_"): v for k, v in state.history[-1].items() if k.startswith("loss_")}
    return "loss " + ", ".join(f"{name} {value:.3f}" for name, value in losses.items())


# --- what is held out ------------------------------------------------------------------------------------------------


def _look(plan: TrainPlan, data: TrainingData, learner: Learner, say: Callable[[str], None] = lambda _: None) -> None:
    """Score the averaged weights on what is held out, and keep them if they are the best so far."""
    score = _score(plan, data, learner.average)
    state = learner.state
    say(f"After {state.step} steps, held out: {score}.")
    if score.overall > state.best_score:
        state.best = {name: tensor.detach().clone().cpu() for name, tensor in learner.average.items()}
        state.best_score, state.best_step, state.n_looks_since = score.overall, state.step, 0
    else:
        state.n_looks_since += 1
    state.history.append({"step": float(state.step), "score": score.overall})


def _score(plan: TrainPlan, data: TrainingData, weights: Weights) -> Score:
    network = CultureNetwork(_shape(plan))
    network.load_state_dict(weights)
    network.to(plan.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return score_items(network, data.held_out, device=plan.device)


def _shape(plan: TrainPlan) -> NetworkShape:
    return plan.parent.config.network if plan.parent else plan.recipe.network


# --- what is kept ----------------------------------------------------------------------------------------------------


def _save(plan: TrainPlan, learner: Learner) -> None:
    state = learner.state
    state.network = {name: tensor.detach().cpu() for name, tensor in learner.network.state_dict().items()}
    state.average = {name: tensor.detach().cpu() for name, tensor in learner.average.items()}
    state.optimiser = learner.optimiser.state_dict()
    state.random = torch.get_rng_state()
    save_checkpoint(plan.work, state)
    write_whole(plan.work / "log.csv", _log(state.history).encode())


def _log(history: list[dict[str, float]]) -> str:
    columns = ["step", "learning_rate", *(f"loss_{name}" for name in LOSSES), "score"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
    return text.getvalue()


def _finish(plan: TrainPlan, data: TrainingData, learner: Learner) -> Path:
    recipe, state = plan.recipe, learner.state
    is_early = bool(recipe.validation.patience) and state.best is not None
    weights = state.best if is_early and state.best is not None else learner.average
    network = CultureNetwork(_shape(plan))
    network.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()})
    training: dict[str, Any] = {
        "recipe_sha256": recipe.sha256,
        "data_sha256": data.sha256,
        "steps": state.best_step if is_early else state.step,
        "seed": recipe.training.seed,
        "data": data_record(data, plan.data),
        "held_out_figures": score_record(_score(plan, data, weights)) if data.held_out else [],
        "device": plan.device,
        "threads": plan.threads,
        "torch": torch.__version__,
        "msc_vision": __version__,
    }
    if plan.parent:
        training["parent"] = {"id": plan.parent.config.id, "sha256": plan.parent.sha256}
    settings, temperature = _meaning(plan, data, network.eval())
    config = ModelConfig(
        id=plan.name,
        version=recipe.version,
        network=_shape(plan),
        canonical_pixel_size_um=recipe.canonical_pixel_size_um,
        settings=settings,
        calibration_temperature=temperature,
        licence=recipe.licence,
        training=training,
    )
    card = card_text(config, recipe.description)
    save_model(plan.model, config, network, recipe=recipe_yaml(recipe), card=card)
    logger.info("%s written after %d steps.", plan.model, state.step)
    return plan.model


def _meaning(plan: TrainPlan, data: TrainingData, network: CultureNetwork) -> tuple[ModelSettings, float]:
    """Return what the maps mean: as the recipe says, as held-out cells say, or as the parent's did."""
    recipe, temperature = plan.recipe, 1.0
    settings = recipe.settings or ModelSettings()
    cells = held_out_cells(recipe, plan.data)
    if len(cells) >= _ENOUGH_TO_SETTLE:
        settled = settle(network, [Annotated(*job.read()) for job in cells], recipe.canonical_pixel_size_um)
        settings, temperature = recipe.settings or settled.settings, settled.temperature
    elif plan.parent:
        settings = recipe.settings or plan.parent.config.settings
        temperature = plan.parent.config.calibration_temperature
    found: dict[str, Any] = {
        "strange_from": remember(network, (item.picture for part in data.parts for item in part.items))
    }
    if judges := trusted_judges(data.held_out):
        found["trust"] = trust(network, judges, temperature)
    return settings.model_copy(update=found), temperature


def trusted_judges(held_out: Sequence[TrainingItem]) -> Sequence[TrainingItem]:
    """Return the held-out pictures that tell how far an answer may be off: real ones if they are enough, else all.

    Simulated fields are far wilder than any laboratory's, and what is learned from them holds for none. Empty if even
    all are too few.
    """
    photographed = [item for item in held_out if item.set_name != SYNTHETIC]
    judges = photographed if len(photographed) >= _ENOUGH_TO_TRUST else held_out
    return judges if len(judges) >= _ENOUGH_TO_TRUST else ()


@contextmanager
def _torch_threads(n: int) -> Iterator[None]:
    """Give torch a number of threads while a block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_device() -> str:
    """Return ``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

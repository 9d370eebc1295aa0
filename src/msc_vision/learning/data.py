"""Everything a recipe learns from and is judged by, with what is held out kept apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msc_vision.errors import InvalidDataError
from msc_vision.learning.batches import Part, parts_of
from msc_vision.learning.jobs import AnnotatedJob, SyntheticJob, TaughtJob, teacher_sha256
from msc_vision.learning.paste import PasteJob
from msc_vision.learning.prepared import Job, TrainingItem, hash_of, prepare
from msc_vision.learning.progress import Progress
from msc_vision.learning.recipe import SourceRecipe, TrainRecipe, ValidationRecipe
from msc_vision.learning.sources import annotated_images, group_of, plain_images

Use = Literal["learned from", "held out"]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from, what it is judged by, and a hash of all of it."""

    parts: tuple[Part, ...]
    held_out: tuple[TrainingItem, ...]
    sha256: str

    def describe(self) -> list[str]:
        """Return a line per part: title, pictures, share."""
        total = sum(part.share for part in self.parts)
        lines = [f"{p.title}: {len(p.items)} pictures, {100 * p.share / total:.0f} % of the crops" for p in self.parts]
        held: dict[str, int] = {}
        for item in self.held_out:
            held[item.set_name] = held.get(item.set_name, 0) + 1
        return [*lines, *(f"held out: {n} pictures of {name}" for name, n in sorted(held.items()))]


@dataclass(frozen=True, slots=True)
class _Planned:
    """The jobs of one part."""

    title: str
    share: float
    jobs: tuple[Job, ...]


def collect(recipe: TrainRecipe, data: Path, cache: Path, *, workers: int, progress: Progress) -> TrainingData:
    """Return the data of a recipe, made as far as the cache does not have them.

    Parameters
    ----------
    recipe : TrainRecipe
    data : Path
        Folder to which the lists in the recipe are relative.
    cache : Path
        Where prepared pictures are kept.
    workers : int
        Processes that prepare.
    progress : Progress

    Raises
    ------
    MscVisionError
        If data are missing, without masks, for evaluation only, or cannot be read.
    """
    learned, held = _plan(recipe, data)
    if not any(part.jobs for part in learned):
        raise InvalidDataError(f"Recipe {recipe.name}: everything is held out; nothing is left to learn from.")
    jobs = [job for part in learned for job in part.jobs]
    items = prepare([*jobs, *held], cache, workers=workers, progress=progress)
    by_key = {item.key: item for item in items}
    parts = parts_of([(p.title, p.share, [by_key[job.key] for job in p.jobs if job.key in by_key]) for p in learned])
    if not parts:
        raise InvalidDataError(f"Recipe {recipe.name}: none of its pictures teaches anything.")
    held_out = tuple(by_key[job.key] for job in held if job.key in by_key)
    keys = [[part.share, *(item.key for item in part.items)] for part in parts]
    return TrainingData(parts, held_out, hash_of(keys, [item.key for item in held_out]))


def _plan(recipe: TrainRecipe, data: Path) -> tuple[list[_Planned], list[Job]]:
    away = held_out_sets(recipe.validation)
    learned: list[_Planned] = []
    held: list[Job] = []
    donors: list[AnnotatedJob] = []
    for source in recipe.sources:
        jobs = _annotated(source, recipe, data)
        apart = _held_out(jobs, recipe.validation, away)
        held += [job for job in jobs if job in apart and job.set_name not in away - set(recipe.validation.hold_out)]
        kept = tuple(job for job in jobs if job not in apart)
        title = ", ".join(dict.fromkeys(job.set_name for job in jobs))
        learned.append(_Planned(title, source.share, kept))
        donors += [job for job in kept if source.truth == "instances"]
    if recipe.synthetic:
        made = recipe.synthetic
        size = recipe.canonical_pixel_size_um
        n_all = made.n_fields + recipe.validation.n_synthetic
        fields = tuple(SyntheticJob(made.seed, i, made.side_px, size) for i in range(n_all))
        learned.append(_Planned("synthetic", made.share, fields[: made.n_fields]))
        held += fields[made.n_fields :]
    if recipe.paste and donors:
        pasted = tuple(PasteJob(recipe.paste, i, tuple(donors)) for i in range(recipe.paste.n_fields))
        learned.append(_Planned("pasted", recipe.paste.share, pasted))
    learned += _taught(recipe, data, away)
    return learned, list(held)


def _annotated(source: SourceRecipe, recipe: TrainRecipe, data: Path) -> list[AnnotatedJob]:
    size = recipe.canonical_pixel_size_um
    return [
        AnnotatedJob(image, source.truth, source.assumed_pixel_size_um, size)
        for image in annotated_images(source, data)
    ]


def held_out_sets(validation: ValidationRecipe) -> set[str]:
    """Return the sets that are held out whole, with those that show the same cells."""
    away = set(validation.hold_out)
    for alike in validation.same_origin:
        if away & set(alike):
            away |= set(alike)
    return away


def _held_out(jobs: list[AnnotatedJob], validation: ValidationRecipe, away: set[str]) -> set[AnnotatedJob]:
    """Return the pictures of a source that are held out: whole sets, or one part of each set that can be cut."""
    apart = {job for job in jobs if job.set_name in away}
    if not validation.folds:
        return apart
    for set_name in dict.fromkeys(job.set_name for job in jobs):
        own = [job for job in jobs if job.set_name == set_name]
        apart |= set(_fold(own, set_name, validation))
    return apart


def _fold(jobs: list[AnnotatedJob], set_name: str, validation: ValidationRecipe) -> Iterable[AnnotatedJob]:
    patterns = validation.groups.get(set_name, ())
    n_groups = validation.folds * validation.groups_per_fold
    if not patterns and len(jobs) < n_groups:
        return []  # too small to be cut: it stays with what is learned
    group = group_of([job.name for job in jobs], n_groups, patterns)
    return [job for job in jobs if group[job.name] % validation.folds == validation.fold]


def _taught(recipe: TrainRecipe, data: Path, away: set[str]) -> list[_Planned]:
    planned = []
    for pseudo in recipe.pseudo:
        teacher = teacher_sha256(pseudo.teacher)
        jobs = tuple(
            TaughtJob(
                image,
                pseudo.teacher,
                teacher,
                pseudo.sure,
                pseudo.assumed_pixel_size_um,
                recipe.canonical_pixel_size_um,
            )
            for image in plain_images(pseudo, data)
            if image.set_name not in away
        )
        title = ", ".join(dict.fromkeys(job.set_name for job in jobs))
        planned.append(_Planned(f"{title} as {pseudo.teacher} sees it", pseudo.share, jobs))
    return planned


def held_out_cells(recipe: TrainRecipe, data: Path) -> tuple[AnnotatedJob, ...]:
    """Return the pictures with single cells that a recipe holds out."""
    _, held = _plan(recipe, data)
    return tuple(job for job in held if isinstance(job, AnnotatedJob) and job.truth == "instances")


def picture_uses(recipe: TrainRecipe, data: Path) -> dict[str, Use]:
    """Return what a recipe does with each picture of its lists, by the picture's name in its list.

    Nothing is prepared or read but the lists. A set that shows the same cells as one that is held out counts as held
    out too. A picture that is taught counts as learned from: the network saw it, if not its mask.

    Parameters
    ----------
    recipe : TrainRecipe
    data : Path
        Folder to which the lists in the recipe are relative.
    """
    away = held_out_sets(recipe.validation)
    uses: dict[str, Use] = {}
    for source in recipe.sources:
        jobs = _annotated(source, recipe, data)
        apart = _held_out(jobs, recipe.validation, away)
        uses |= {job.name: "held out" if job in apart else "learned from" for job in jobs}
    for pseudo in recipe.pseudo:
        taught = (image for image in plain_images(pseudo, data) if image.set_name not in away)
        uses |= {image.name: "learned from" for image in taught}
    return uses

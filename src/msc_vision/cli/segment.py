"""``msc-vision segment``: images in, masks of the same size out."""

import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import DONE_WITH_FAILURES, say
from msc_vision.errors import InvalidArgumentError

if TYPE_CHECKING:
    from msc_vision.records import FieldScore


def segment(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Images, folders of images, or patterns such as *.tif.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the masks.", rich_help_panel=options.WHERE, show_default=False
        ),
    ],
    pipeline: options.PipelineName = "default",
    pixel_size_um: options.PixelSize = None,
    workers: options.Workers = None,
) -> None:
    """Segment single images: cells against bare surface, as masks in the size of the image.

    Writes DIR/<stem>_labels.tif (int32, 0 = background), DIR/<stem>_foreground.tif (uint8, 1 = cell) and DIR/fields.csv
    with a row per image: path, status, reason, confluency and quality figures. An image that cannot be read or judged
    gets a row with its reason and no masks. Two images with one stem are refused before anything is written.

    **Examples**

        msc-vision segment field1.tif field2.tif --out masks
        msc-vision segment STACK-7/L01 --out masks --pixel-size-um 0.65
    """
    found = find_inputs(images)
    sizes = {} if pixel_size_um is None else dict.fromkeys(found, _checked_size(pixel_size_um))
    scores = segment_with_progress(found, out, pipeline, workers, sizes)
    n_scored = sum(score.status == "scored" for score in scores)
    for score in scores:
        if score.status != "scored":
            say(f"{score.status}: {score.path}: {(score.reason or '').removeprefix(f'{score.path}: ')}")
    say(f"{n_scored} of {len(scores)} images segmented into {out}; every image has a row in {out / 'fields.csv'}.")
    typer.echo(out / "fields.csv")
    if any(score.status == "failed" for score in scores):
        raise typer.Exit(DONE_WITH_FAILURES)


def segment_with_progress(
    images: list[Path], out: Path, pipeline: str, workers: int | None, pixel_sizes_um: Mapping[Path, float]
) -> "tuple[FieldScore, ...]":
    """Segment images while telling how far it is."""
    from msc_vision.batch.masks import segment_images
    from msc_vision.batch.pipeline import load_pipeline
    from msc_vision.batch.plan import RunSettings, available_cores
    from msc_vision.batch.progress import progress_on, showing

    progress = progress_on()
    settings = RunSettings(workers=min(workers if workers is not None else available_cores(), max(1, len(images))))
    recipe = load_pipeline(pipeline)
    with showing(progress, len(images), 0):
        return segment_images(
            images, out, recipe, settings=settings, pixel_sizes_um=pixel_sizes_um, on_done=progress.advance
        )


def find_inputs(names: Iterable[str]) -> list[Path]:
    """Return the images that files, folders and patterns name, each once, in the order given.

    Raises
    ------
    InvalidArgumentError
        If a name leads to nothing.
    """
    found = [path for name in names for path in _expand(name)]
    return list(dict.fromkeys(found))


def _expand(name: str) -> Iterator[Path]:
    from msc_vision.io.manifest_draft import find_images

    path = Path(name)
    if path.is_file() or path.suffix.lower() == ".zarr":
        yield path
    elif path.is_dir():
        yield from (path / image for image in find_images(path)[0])
    else:
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (the pattern may be absolute)
        if not matches:
            raise InvalidArgumentError(f"{name}: there is no such image, folder or pattern that matches one.")
        for match in matches:
            yield from _expand(match)


def _checked_size(pixel_size_um: float) -> float:
    if not 0 < pixel_size_um < 1000:
        raise InvalidArgumentError(
            f"--pixel-size-um is {pixel_size_um:g}; give the side of a pixel in µm, such as 0.65."
        )
    return pixel_size_um

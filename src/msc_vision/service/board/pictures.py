"""Pictures of fields: small ones for a page and large ones to look at, out of registered runs and nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from msc_vision.report.content import FieldEntry, LayerEntry, RunContent, VesselEntry
from msc_vision.report.fields import field_picture
from msc_vision.report.load import load_run
from msc_vision.report.pictures import Picture
from msc_vision.service.board.caches import Kept
from msc_vision.service.evidence_cache import evidence_stamp
from msc_vision.service.paths import path_within
from msc_vision.service.problems import ProblemError

Size = Literal["small", "large"]
LONGEST_PX: Final[dict[str, int]] = {"small": 480, "large": 2000}
BUDGET_BYTES: Final[dict[str, int]] = {"small": 90_000, "large": 3_000_000}
KEPT_BYTES = 64 * 1024 * 1024
KEPT_RUNS = 24
MOST_PICTURES = 8


class Gallery:
    """Pictures of runs, made in two threads of its own, kept in memory while the runs stay as they are."""

    def __init__(self) -> None:
        self.workers = ThreadPoolExecutor(2, thread_name_prefix="msc-vision-board")
        self._runs: Kept[RunContent] = Kept(KEPT_RUNS)
        self._pictures: Kept[bytes] = Kept(KEPT_BYTES, len)

    def run(self, path: str, roots: Sequence[Path]) -> RunContent:
        """Return what a run shows.

        Raises
        ------
        ProblemError
            ``outside-roots``: it lies outside the folders of this service, or is not there any more.
        InvalidDataError
            If it cannot be read.
        """
        folder = path_within(path, roots)
        return self._runs.get((folder, evidence_stamp((folder,))), lambda: load_run(folder))

    def picture(self, run: RunContent, key: str, size: Size, *, outlined: bool, roots: Sequence[Path]) -> bytes:
        """Return a field as JPEG, its cells outlined if that is asked for.

        Raises
        ------
        ProblemError
            ``not-found``: the run has no such field; ``outside-roots``: its image lies outside the folders of this
            service.
        InvalidDataError
            If it cannot be read.
        """
        entry = field_of(run, key)
        check_files(run, entry, roots)
        name = (run.folder, evidence_stamp((run.folder,)), key, size, outlined)
        longest, budget = LONGEST_PX[size], BUDGET_BYTES[size]
        return self._pictures.get(name, lambda: _jpeg(field_picture(entry, longest, budget), outlined=outlined))


def field_of(run: RunContent, key: str) -> FieldEntry:
    """Return a field of a run by its key.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    for entry in run.fields:
        if entry.key == key:
            return entry
    raise ProblemError("not-found", f"The run has no field {key[:100]!r}.")


def check_files(run: RunContent, entry: FieldEntry, roots: Sequence[Path]) -> None:
    """Check that a field's image lies in an opened folder and its labels in its run, all links followed.

    A run may have been uploaded: where it says that its images lie proves nothing.

    Raises
    ------
    ProblemError
        ``outside-roots``.
    """
    if entry.image is not None:
        path_within(str(entry.image.resolve().parent), roots)
    if entry.labels is not None:
        path_within(str(entry.labels), (run.folder,))


def _jpeg(picture: Picture, *, outlined: bool) -> bytes:
    """Return a picture as one JPEG, with what lies over it drawn in."""
    gray = base64.b64decode(picture.image.partition(",")[2])
    if picture.overlay is None or not outlined:
        return gray
    from PIL import Image

    cover = Image.open(io.BytesIO(base64.b64decode(picture.overlay.partition(",")[2]))).convert("RGBA")
    shown = Image.alpha_composite(Image.open(io.BytesIO(gray)).convert("RGBA"), cover).convert("RGB")
    out = io.BytesIO()
    shown.save(out, "JPEG", quality=85)
    return out.getvalue()


# --- which fields ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A field on a page: why it is shown, and what it says."""

    key: str
    heading: str
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Fields to be shown; ``is_driving``: they show why the verdict is not GO."""

    shown: tuple[Shown, ...]
    is_driving: bool


def driving_fields(vessel: VesselEntry, record: Mapping[str, Any] | None) -> Choice:
    """Return the fields that drove a verdict, worst first, or else the lowest and the highest of each layer."""
    wishes: dict[str, Shown] = {}
    for one in () if record is None else record["quality"]["open"]:
        for entry, why in _of_criterion(vessel, one):
            wishes.setdefault(entry.key, shown_field(entry, why))
    if not wishes:
        ends = [pair for layer in vessel.layers[::-1] if layer.scored for pair in _ends(layer)]
        return Choice(tuple(shown_field(*pair) for pair in ends[:MOST_PICTURES]), is_driving=False)
    return Choice(tuple(wishes.values())[:MOST_PICTURES], is_driving=True)


def _of_criterion(vessel: VesselEntry, one: Mapping[str, Any]) -> list[tuple[FieldEntry, str]]:
    """Return the fields that show why a criterion keeps the verdict from GO."""
    layers = [layer for layer in vessel.layers if one["layer"] in (None, layer.layer)]
    name = str(one["criterion"])
    if "contamin" in name:
        return [(f, "suspect") for layer in layers for f in layer.fields if f.contamination == "suspect"]
    if "doubt" in name:
        return [(f, "doubtful") for layer in layers for f in layer.scored if f.flags]
    if "reject" in name or "fail" in name:
        return [(f, "not judgeable") for layer in layers for f in layer.fields if f.status == "rejected"]
    scored = [layer for layer in layers if layer.scored]
    if not scored or (one["layer"] is None and one["side"] is None):
        return []
    lowest, *_, highest = sorted((*scored, *scored), key=lambda layer: layer.confluency_percent or 0.0)
    return [_ends(lowest)[0]] if one["side"] == "below" else [_ends(highest)[-1]]


def _ends(layer: LayerEntry) -> list[tuple[FieldEntry, str]]:
    """Return the lowest and the highest field of a layer."""
    if len(layer.scored) == 1:
        return [(layer.scored[0], "only field")]
    return [(layer.scored[0], "lowest"), (layer.scored[-1], "highest")]


def shown_field(entry: FieldEntry, why: str) -> Shown:
    """Return the words around a field."""
    level = "no figure" if entry.confluency_percent is None else f"{entry.confluency_percent:.0f} % covered"
    sign = "; suspect of contamination" if entry.contamination == "suspect" else ""
    note = f": {entry.contamination_note}" if sign and entry.contamination_note else ""
    return Shown(
        key=entry.key,
        heading=f"Layer {entry.layer}, {why}",
        caption=f"{level}{sign}{note}",
        alt=f"Phase-contrast image {entry.name}, layer {entry.layer}: {level}{sign}; cells outlined in yellow",
    )

"""One field through the network: its maps, and its cells.

Whole fields keep their maps in memory; those of large fields lie in files beside the labels until the cells are
numbered. Both go through the same windows and the same functions.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.describe import Describer, DescribeSettings, Description, Hints, ReadView, View
from msc_vision.batch.pipeline import NetworkSettings, Precision
from msc_vision.errors import OutputError
from msc_vision.findings.aggregates import FieldScale
from msc_vision.imaging.frame import Frame
from msc_vision.imaging.normalise import to_working
from msc_vision.io.labels import LabelsWriter
from msc_vision.records import Region
from msc_vision.segmentation.cells import SURROUNDINGS_PX, CellMaps, CellParts, cell_parts, join_cells
from msc_vision.segmentation.fusion import Areas, Opinion, Probabilities, areas, probabilities
from msc_vision.segmentation.network.field_maps import FieldPlan, ReadBinned, plan_field, window_maps
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.predict import Window, WindowAnswers, has_native_bf16
from msc_vision.segmentation.network.weights import Model, load_model
from msc_vision.segmentation.objects import ObjectTable

ReadNative = Callable[[Region], NDArray[Any]]
Masked = Callable[[Region], NDArray[np.uint8]]
TileMap = Callable[..., Iterator[Any]]


_OBSCURED = MAPS.index("obscured")
_LOOK_PX = 700
"""Canonical pixels a side of the middle of a field, by which an unknown pixel size is chosen."""
_SIZES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Pixel sizes at which the network is asked, over the assumed one."""
_ENOUGH_CELLS = 0.02
"""Covered share from which cells tell the size of a pixel; the assumed one stands where no size shows so many."""


class Masks(NamedTuple):
    """Cells, (Y, X) int32, and what was judged, (Y, X) uint8: less than was asked where something hides the surface.

    ``aggregates`` (Y, X) int32 are numbered apart; None without any.
    """

    labels: NDArray[np.int32]
    judged: NDArray[np.uint8]
    aggregates: NDArray[np.int32] | None


class Look(NamedTuple):
    """What the network found in a field; ``masks`` is None where they were written to a file tile by tile."""

    masks: Masks | None
    objects: ObjectTable
    areas: Areas
    opinion: Opinion
    description: Description | None


@dataclass(frozen=True, slots=True)
class NetworkField:
    """A field, the network that looks at it, and how it goes through.

    ``pixel_size_um`` is that of a native pixel, or what is taken for it: then ``guessed_ratio`` is that over what was
    assumed. Without ``describing`` nothing is said of a field but its cells.
    """

    model: Model
    frame: Frame
    plan: FieldPlan
    pixel_size_um: float
    precision: Precision
    guessed_ratio: float = 1.0
    describing: DescribeSettings | None = None
    hints: Hints = Hints()  # noqa: RUF009  (frozen)

    def look_whole(
        self,
        native: NDArray[Any],
        working: NDArray[np.uint16],
        judged: NDArray[np.uint8],
        contrast: NDArray[np.uint8],
    ) -> Look:
        """Return the cells of a field in memory.

        Parameters
        ----------
        native : (Y, X) array
        working : (Y, X) uint16 array
            The same at the working pixel size.
        judged : (Y, X) uint8 array
            Where it can be judged, 0 or 1, working pixels.
        contrast : (Y, X) uint8 array
            What local contrast takes for cells, 0 or 1.
        """
        maps, strangeness = self.maps_whole(native, working)
        region = Region(0, working.shape[0], 0, working.shape[1])
        visible = self._visible(maps, judged)
        parts, local = self._parts(maps, visible, region, region)
        objects = self._join([parts])
        labels = objects.lookups[0][local]
        described = None
        if self.describing is not None:
            describer = self._describer(_views_of(View(working, labels, visible, maps)), self.describing)
            described = describer.describe(objects.table, [region], map, self.hints)
        return Look(
            masks=Masks(labels, visible, described.aggregate_image if described else None),
            objects=objects,
            areas=areas(judged, visible, contrast),
            opinion=self._opinion(probabilities(maps[0], visible), strangeness),
            description=described,
        )

    def maps_whole(
        self, native: NDArray[Any], working: NDArray[np.uint16]
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
        """Return the maps of a field in memory, (len(MAPS), Y, X) of working pixels, and how strange it is."""
        binning = self.plan.binning
        picture = working if binning == self.frame.factor else to_working(native, binning, self.frame.scale)
        read = _part_of(picture)
        maps = np.empty((len(MAPS), *working.shape), np.uint8)
        strangeness = []
        for window in self.plan.windows:
            target = self.plan.working(window)
            found = self.answers(window, read)
            maps[:, target.y0 : target.y1, target.x0 : target.x1] = found.maps
            strangeness.append(found.strangeness)
        return maps, strangeness

    def describe_whole(
        self, view: View, table: NDArray[np.void], painted: NDArray[np.int32], hints: Hints, settings: DescribeSettings
    ) -> Description:
        """Return the description of a field in memory whose cells and aggregates a person drew.

        Parameters
        ----------
        view : View
            The whole field; its cells are 1 to n without gaps.
        table : structured array of `OBJECT_COLUMNS`
            Those cells.
        painted : (Y, X) int32 array
            Aggregates, 1 to n without gaps.
        hints : Hints
        settings : DescribeSettings
        """
        describer = replace(self._describer(_views_of(view), settings), painted=painted)
        height, width = view.labels.shape
        return describer.describe(table, [Region(0, height, 0, width)], map, hints)

    def look_tiled(
        self,
        read_native: ReadNative,
        judged: Masked,
        contrast: Masked,
        tiles: Sequence[Region],
        target: Path | None,
        tile_map: TileMap,
    ) -> Look:
        """Return the cells of a large field, and write their labels to ``target``.

        Parameters
        ----------
        read_native : callable
            Returns a region of native pixels.
        judged, contrast : callable
            Return what can be judged, and what local contrast takes for cells, of a region of working pixels.
        tiles : sequence of Region
            They cover the field, in working pixels.
        """
        frame, shape = self.frame, self.frame.working_shape

        def read(region: Region) -> NDArray[np.uint16]:
            native = read_native(_unbinned(region, self.plan.binning, frame.info.shape))
            return to_working(native, self.plan.binning, frame.scale)

        with _map_folder(target) as folder:
            stored = self._stored_maps(read, Path(folder), tile_map)

            def split(region: Region) -> tuple[CellParts, NDArray[np.int32]]:
                around = _surroundings(region, shape)
                maps = stored.read(around)
                return self._parts(maps, self._visible(maps, judged(around)), around, region)

            def evidence(region: Region) -> tuple[CellParts, Probabilities, Areas]:
                maps, asked = stored.read(region), judged(region)
                visible = self._visible(maps, asked)
                seen = areas(asked, visible, contrast(region))
                return split(region)[0], probabilities(maps[0], visible), seen

            found = list(tile_map(evidence, tiles))
            objects = self._join([parts for parts, *_ in found])
            seen = sum((seen for *_, seen in found), start=Areas())
            path = target or Path(folder) / "labels.ome.zarr"
            with LabelsWriter(path, shape, frame.pixel_size_um, frame.factor, frame.info.shape) as writer:

                def number(region: Region, lookup: NDArray[np.int32]) -> None:
                    labels = lookup[split(region)[1]]
                    visible = self._visible(stored.read(region), judged(region))
                    writer.write_tile(region, labels > 0, labels, visible.view(np.bool_))

                for _ in tile_map(number, tiles, objects.lookups):
                    pass

                def view(region: Region) -> View:
                    maps = stored.read(region)
                    working = to_working(read_native(frame.native(region)), frame.factor, frame.scale)
                    return View(working, writer.read_instances(region), self._visible(maps, judged(region)), maps)

                described = self._describe_tiled(view, writer, objects, tiles, tile_map)
        if target is not None and seen.n_judgeable == 0:
            shutil.rmtree(target)
        sums = sum((sums for _, sums, _ in found), start=Probabilities())
        return Look(None, objects, seen, self._opinion(sums, stored.strangeness), described)

    def _describe_tiled(
        self, read: ReadView, writer: LabelsWriter, objects: ObjectTable, tiles: Sequence[Region], tile_map: TileMap
    ) -> Description | None:
        """Describe a large field whose cells are written, and write its aggregates beside them."""
        if self.describing is None:
            return None
        describer = self._describer(read, self.describing)
        described = describer.describe(objects.table, tiles, tile_map, self.hints)
        if described.has_aggregates:

            def pile(region: Region, lookup: NDArray[np.int32]) -> None:
                writer.write_tile(region, None, None, None, describer.aggregate_labels(region, lookup))

            for _ in tile_map(pile, tiles, described.aggregates.lookups):
                pass
        return described

    def _describer(self, read: ReadView, settings: DescribeSettings) -> Describer:
        frame = self.frame
        working_um = self.pixel_size_um * frame.factor
        scale = FieldScale(frame.working_shape, frame.info.shape, frame.factor, working_um, frame.pixel_size_um)
        return Describer(read, scale, settings)

    def _opinion(self, sums: Probabilities, strangeness: Sequence[NDArray[np.float32]]) -> Opinion:
        is_known = self.frame.pixel_size_um is not None
        return Opinion(
            probabilities=sums,
            strangeness=float(np.median(np.concatenate(strangeness))),
            strange_from=self.model.config.settings.strange_from,
            trust=self.model.config.settings.trust,
            guessed_pixel_size_um=None if is_known else self.pixel_size_um,
            guessed_ratio=self.guessed_ratio,
        )

    def answers(self, window: Window, read: ReadBinned) -> WindowAnswers:
        """Return the answers for a window, its maps on working pixels."""
        return window_maps(self.model, self.plan, window, read, bf16=self.precision == "bfloat16")

    def middle(self, side_px: int) -> Region:
        """Return the middle of the field, so many canonical pixels a side, in native pixels."""
        side = round(side_px * self.model.config.canonical_pixel_size_um / self.pixel_size_um)
        height, width = self.frame.info.shape
        return Region(
            max((height - side) // 2, 0),
            min((height + side) // 2, height),
            max((width - side) // 2, 0),
            min((width + side) // 2, width),
        )

    def _stored_maps(self, read: ReadBinned, folder: Path, tile_map: TileMap) -> "_StoredMaps":
        def one(number: int, window: Window) -> tuple[Region, Path, NDArray[np.float32]]:
            found = self.answers(window, read)
            path = folder / f"{number}.npy"
            try:
                np.save(path, found.maps)
            except OSError as err:
                raise OutputError(f"{path}: cannot keep the maps of a large field: {err.strerror or err}.") from err
            return self.plan.working(window), path, found.strangeness

        listed = self.plan.windows
        found = list(tile_map(one, range(len(listed)), listed))
        return _StoredMaps(tuple((region, path) for region, path, _ in found), tuple(last for *_, last in found))

    def _visible(self, maps: NDArray[np.uint8], judged: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what of the judgeable area nothing hides, 0 or 1."""
        limit = round(255 * self.model.config.settings.obscured_limit)
        return (maps[_OBSCURED] <= limit).view(np.uint8) & judged

    def _parts(
        self, maps: NDArray[np.uint8], judged: NDArray[np.uint8], around: Region, region: Region
    ) -> tuple[CellParts, NDArray[np.int32]]:
        limit = round(255 * self.model.config.settings.foreground_limit)
        named = dict(zip(MAPS, maps, strict=True))
        named["foreground"] = (maps[0] > limit).view(np.uint8) & judged
        cells = CellMaps(*(named[name] for name in CellMaps._fields))
        return cell_parts(cells, around, region, self.frame.working_shape[1], self._smooth_px)

    @property
    def _smooth_px(self) -> float:
        return self.model.config.settings.cells.smooth_um / (self.pixel_size_um * self.frame.factor)

    def _join(self, parts: Sequence[CellParts]) -> ObjectTable:
        frame, cells = self.frame, self.model.config.settings.cells
        return join_cells(
            parts, cells, frame.working_shape, frame.factor, frame.info.shape, frame.pixel_size_um, self.pixel_size_um
        )


def network_field(
    settings: NetworkSettings, frame: Frame, assumed_pixel_size_um: float, read_native: ReadNative
) -> NetworkField:
    """Return how a field goes through the network that the settings name.

    Parameters
    ----------
    settings : NetworkSettings
    frame : Frame
    assumed_pixel_size_um : float
        Of a native pixel, where none is known: sizes around it are then tried on the middle of the field.
    read_native : callable
        Returns a region of native pixels.
    """
    model = _loaded(settings.model)
    precision = resolved_precision(settings.precision)
    first = _with_size(model, settings, frame, frame.pixel_size_um or assumed_pixel_size_um, precision)
    if frame.pixel_size_um is not None:
        return first
    ratio = _ratio_by_cells(first, settings, read_native)
    found = _with_size(model, settings, frame, first.pixel_size_um * ratio, precision)
    return replace(found, guessed_ratio=ratio)


def _with_size(
    model: Model, settings: NetworkSettings, frame: Frame, pixel_size_um: float, precision: Precision
) -> NetworkField:
    plan = plan_field(
        frame.info.shape,
        frame.working_shape,
        frame.factor,
        pixel_size_um,
        model.config.canonical_pixel_size_um,
        settings.scale_tolerance,
    )
    return NetworkField(model, frame, plan, pixel_size_um, precision)


def _ratio_by_cells(field: NetworkField, settings: NetworkSettings, read_native: ReadNative) -> float:
    """Return the pixel size at which cells seem to the network as large as they are, over the assumed one."""
    guesses = {}
    for ratio in _SIZES:
        size_um = field.pixel_size_um * ratio
        sized = _with_size(field.model, settings, field.frame, size_um, field.precision)
        middle = sized.middle(_LOOK_PX)
        part = replace(field.frame, info=replace(field.frame.info, shape=middle.shape))
        look = _with_size(field.model, settings, part, size_um, field.precision)
        picture = to_working(read_native(middle), look.plan.binning, part.scale)
        found = look.answers(look.plan.windows[0], _part_of(picture))
        if float((found.maps[0] > round(255 * field.model.config.settings.foreground_limit)).mean()) >= _ENOUGH_CELLS:
            guesses[math.log(ratio)] = found.log_scale
    return math.exp(log_size(guesses))


def log_size(guesses: Mapping[float, float]) -> float:
    """Return where the guesses say that the size is right.

    Parameters
    ----------
    guesses : mapping
        For logarithms of sizes that were tried, in ascending order, how much larger still the network guesses the size
        to be: positive below the right one, negative above.

    Returns
    -------
    float
        The crossing of zero nearest to 0; without one, the tried size whose guess is nearest to zero, and the guess
        added; 0 without guesses.
    """
    if not guesses:
        return 0.0
    tried = list(guesses.items())
    crossings = [
        low + (high - low) * at_low / (at_low - at_high)
        for (low, at_low), (high, at_high) in pairwise(tried)
        if at_low >= 0 > at_high
    ]
    if crossings:
        return min(crossings, key=abs)
    nearest, guess = min(tried, key=lambda one: abs(one[1]))
    return nearest + guess


def _part_of(picture: NDArray[np.uint16]) -> ReadBinned:
    """Return what reads a region of a picture in memory."""

    def read(region: Region) -> NDArray[np.uint16]:
        return picture[region.y0 : region.y1, region.x0 : region.x1]

    return read


def largest_window_px(
    settings: NetworkSettings, native_shape: tuple[int, int], factor: int, pixel_size_um: float
) -> int:
    """Return how many canonical pixels, surroundings included, go through the network at once for such a field."""
    working_shape = -(-native_shape[0] // factor), -(-native_shape[1] // factor)
    canonical_um = _loaded(settings.model).config.canonical_pixel_size_um
    plan = plan_field(native_shape, working_shape, factor, pixel_size_um, canonical_um, settings.scale_tolerance)
    return max(math.prod(window.around.shape) for window in plan.windows)


def resolved_precision(precision: Precision) -> Precision:
    """Return what ``auto`` means on this machine."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_native_bf16() else "float32"


def load_network(settings: NetworkSettings) -> Model:
    """Return the network of a recipe; it is read once in a process."""
    return _loaded(settings.model)


@lru_cache(maxsize=2)
def _loaded(name: str) -> Model:
    return load_model(name)


def _views_of(whole: View) -> ReadView:
    """Return what reads a region of a field in memory."""

    def read(region: Region) -> View:
        at = np.s_[..., region.y0 : region.y1, region.x0 : region.x1]
        loose = None if whole.loose is None else whole.loose[at]
        return View(whole.working[at], whole.labels[at], whole.judged[at], whole.maps[at], loose)

    return read


@dataclass(frozen=True, slots=True)
class _StoredMaps:
    """Maps of a large field in files, one per window."""

    windows: tuple[tuple[Region, Path], ...]
    strangeness: tuple[NDArray[np.float32], ...]

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Return the maps of a region of working pixels, (len(MAPS), Y, X)."""
        out = np.zeros((len(MAPS), *region.shape), np.uint8)
        for covered, path in self.windows:
            y0, y1 = max(covered.y0, region.y0), min(covered.y1, region.y1)
            x0, x1 = max(covered.x0, region.x0), min(covered.x1, region.x1)
            if y0 < y1 and x0 < x1:
                stored = np.load(path, mmap_mode="r")
                out[:, y0 - region.y0 : y1 - region.y0, x0 - region.x0 : x1 - region.x0] = stored[
                    :, y0 - covered.y0 : y1 - covered.y0, x0 - covered.x0 : x1 - covered.x0
                ]
        return out


def _map_folder(target: Path | None) -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for the maps of a large field, on the disk of the run, gone when the field is done."""
    return tempfile.TemporaryDirectory(prefix=".maps-", dir=None if target is None else target.parent)


def _surroundings(region: Region, shape: tuple[int, int]) -> Region:
    return Region(
        max(region.y0 - SURROUNDINGS_PX, 0),
        min(region.y1 + SURROUNDINGS_PX, shape[0]),
        max(region.x0 - SURROUNDINGS_PX, 0),
        min(region.x1 + SURROUNDINGS_PX, shape[1]),
    )


def _unbinned(region: Region, binning: int, shape: tuple[int, int]) -> Region:
    """Return a region of binned pixels in native ones."""
    return Region(
        region.y0 * binning,
        min(region.y1 * binning, shape[0]),
        region.x0 * binning,
        min(region.x1 * binning, shape[1]),
    )

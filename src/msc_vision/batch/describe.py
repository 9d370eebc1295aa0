"""After the cells of a field are known: what they look like, how they lie, and what else is there.

A field in memory and a large one in tiles go through the same functions: each asks for the surroundings it needs, hands
back rows that belong to exactly one tile or whole numbers that add up, and so gives the same result.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msc_vision.findings.aggregates import (
    AGGREGATE_COLUMNS,
    MASK_REACH_UM,
    SURROUNDINGS_UM,
    AggregateParts,
    AggregateSettings,
    AggregateView,
    FieldScale,
    FoundAggregates,
    aggregate_mask,
    aggregate_parts,
    join_aggregates,
    measure_aggregates,
    painted_aggregates,
    summarise_aggregates,
)
from msc_vision.findings.background import (
    BackgroundParts,
    BackgroundSettings,
    TileArea,
    background_reach_px,
    measure_background,
)
from msc_vision.findings.bright_lines import thin_bright
from msc_vision.findings.coarse import CoarseView, coarse_view, join_views
from msc_vision.findings.contamination import (
    ContaminationFinding,
    ContaminationSettings,
    as_row,
    join_background,
    visual_signs,
)
from msc_vision.findings.surface import SurfaceFinding, SurfaceParts, SurfaceSettings, surface_figures
from msc_vision.morphology.density import DensitySettings, field_density
from msc_vision.morphology.looks import LOOK_COLUMNS, LookSettings, field_looks
from msc_vision.morphology.orientation import (
    OrderParts,
    OrderSettings,
    measure_order,
    order_figures,
    order_reach_px,
)
from msc_vision.morphology.profile import cell_profile, order_profile
from msc_vision.morphology.shape import (
    SHAPE_COLUMNS,
    CellBoxes,
    ShapeSettings,
    cell_boxes,
    cell_shapes,
    surroundings_px,
)
from msc_vision.records import Region
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.objects import OBJECT_COLUMNS

CELL, AGGREGATE = "cell", "aggregate"

DESCRIBED_COLUMNS = np.dtype(
    [
        ("kind", "<U9"),
        *((name, OBJECT_COLUMNS[name]) for name in OBJECT_COLUMNS.names or ()),
        *((n, SHAPE_COLUMNS[n]) for n in SHAPE_COLUMNS.names or () if n not in (OBJECT_COLUMNS.names or ())),
        *(
            (n, AGGREGATE_COLUMNS[n])
            for n in AGGREGATE_COLUMNS.names or ()
            if n not in {*(OBJECT_COLUMNS.names or ()), *(SHAPE_COLUMNS.names or ())}
        ),
        *((name, LOOK_COLUMNS[name]) for name in LOOK_COLUMNS.names or ()),
    ]
)
"""A row per cell, then one per aggregate, each kind in numbers of its own. What is not measured on a kind is NaN."""


@dataclass(frozen=True, slots=True)
class DescribeSettings:
    """What is measured of a field once its cells are known."""

    shape: ShapeSettings = ShapeSettings()  # noqa: RUF009  (frozen)
    order: OrderSettings = OrderSettings()  # noqa: RUF009  (frozen)
    density: DensitySettings = DensitySettings()  # noqa: RUF009  (frozen)
    aggregates: AggregateSettings = AggregateSettings()  # noqa: RUF009  (frozen)
    background: BackgroundSettings = BackgroundSettings()  # noqa: RUF009  (frozen)
    contamination: ContaminationSettings = ContaminationSettings()  # noqa: RUF009  (frozen)
    surface: SurfaceSettings = SurfaceSettings()  # noqa: RUF009  (frozen)
    looks: LookSettings = LookSettings()  # noqa: RUF009  (frozen)


class View(NamedTuple):
    """A region of a field: grey (Y, X) uint16, cells int32, what is judged uint8, and the network's maps (6, Y, X).

    ``loose`` (Y, X) uint8, 0 or 1, is cover that a person drew and that is no single cell; None without any.
    """

    working: NDArray[np.uint16]
    labels: NDArray[np.int32]
    judged: NDArray[np.uint8]
    maps: NDArray[np.uint8]
    loose: NDArray[np.uint8] | None = None

    @property
    def occupied(self) -> NDArray[np.int32]:
        """Cells, and cover that is no single cell: everything but the surface beside them."""
        return self.labels if self.loose is None else np.maximum(self.labels, self.loose)

    @property
    def covered(self) -> NDArray[np.uint8]:
        """Where the judged surface is covered, 0 or 1."""
        return (self.occupied > 0).view(np.uint8) & self.judged


ReadView = Callable[[Region], View]
TileMap = Callable[..., Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Description:
    """What a field is beyond its labels.

    Attributes
    ----------
    objects : structured array of `DESCRIBED_COLUMNS`
    morphology : dict
        The profile of the field, on the compared scale (logarithms of what changes by factors), its density, and the
        shares of cells by look, which are exploratory.
    findings : dict
        Figures of aggregates and of the surface.
    signs : ContaminationFinding
    flaws : tuple of SurfaceFinding
        Of the surface itself.
    aggregates : FoundAggregates
        Whose lookups number the parts of each tile.
    aggregate_image : (Y, X) int32 array or None
        Of a field in memory that has any.
    """

    objects: NDArray[np.void]
    morphology: dict[str, float]
    findings: dict[str, float]
    signs: ContaminationFinding
    flaws: tuple[SurfaceFinding, ...]
    aggregates: FoundAggregates
    aggregate_image: NDArray[np.int32] | None

    @property
    def has_aggregates(self) -> bool:
        """Whether any aggregate was found."""
        return len(self.aggregates.table) > 0


class Piled(NamedTuple):
    """Aggregates of a field in memory, kept so that they are looked for once: mask with evidence, and local numbers."""

    mask: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    local: NDArray[np.int32]
    is_painted: bool = False


class Hints(NamedTuple):
    """What helps to judge signs: fine over coarse structure, and what the manifest says of the microscope, if known."""

    focus_ratio: float | None = None
    modality: str | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one tile adds."""

    shapes: NDArray[np.void]
    order: OrderParts | None
    background: BackgroundParts | None
    coarse: CoarseView | None
    aggregates: AggregateParts
    piled: Piled | None
    n_covered: int
    n_judged: int


@dataclass(frozen=True, slots=True)
class Describer:
    """How the tiles of one field are described.

    Attributes
    ----------
    read : callable
        Returns a `View` of a region of working pixels.
    scale : FieldScale
    settings : DescribeSettings
    painted : (Y, X) int32 array or None
        Aggregates that a person drew, 1 to n without gaps, of a field in memory; None: they are looked for.
    """

    read: ReadView
    scale: FieldScale
    settings: DescribeSettings
    painted: NDArray[np.int32] | None = None

    @property
    def known_um(self) -> float | None:
        """Side of a working pixel, None where no pixel size is known."""
        return None if self.scale.pixel_size_um is None else self.scale.working_um

    def describe(
        self, table: NDArray[np.void], tiles: Sequence[Region], tile_map: TileMap, hints: Hints
    ) -> Description:
        """Return the description of a field.

        Parameters
        ----------
        table : structured array of `OBJECT_COLUMNS`
            Its cells.
        tiles : sequence of Region
            They cover it, and begin at multiples of 1024 working pixels.
        tile_map : callable
            Works like `map`.
        hints : Hints
        """
        cells = cell_boxes(table, self.scale.factor)
        is_whole = len(tiles) == 1
        parts = list(tile_map(lambda tile: self._tile(tile, cells, is_whole=is_whole), tiles))
        piled = parts[0].piled
        shapes = np.concatenate([part.shapes for part in parts])
        shapes = shapes[np.argsort(shapes["label"], kind="stable")]
        found = join_aggregates([part.aggregates for part in parts], self.scale, self.settings.aggregates)
        if piled is not None and self.painted is not None:
            found, piled = self._as_painted(self.painted, found, piled)
        aggregates = self._aggregates(found, tiles, tile_map, piled)
        summary = summarise_aggregates(aggregates, found.n_area_px, self.scale)
        _leave_out(shapes, self._piled_up(table, found, tiles, tile_map, piled))
        signs, beside = self._signs(parts, hints)
        flaws, flawed = self._flaws(parts, tiles)
        rows = _joined(table, shapes)
        looks = field_looks(rows, self.settings.looks)
        for name in LOOK_COLUMNS.names or ():
            rows[name] = looks.cells[name]
        return Description(
            _objects(rows, aggregates),
            _known(self._morphology(parts, rows) | looks.figures),
            _known({k: float(v) for k, v in asdict(summary).items()} | beside | flawed),
            signs,
            flaws,
            found,
            found.lookups[0][piled.local] if piled is not None and len(found.table) else None,
        )

    def aggregate_labels(self, tile: Region, lookup: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the numbers of the aggregates of a tile, (Y, X) int32."""
        return lookup[
            aggregate_parts(self._aggregate_view(tile, MASK_REACH_UM), self.scale, self.settings.aggregates)[1]
        ]

    def _tile(self, tile: Region, cells: CellBoxes, *, is_whole: bool) -> _Parts:
        settings, known_um = self.settings, self.known_um
        seen = self._aggregate_view(tile, MASK_REACH_UM)
        mask = aggregate_mask(seen, self.scale, settings.aggregates)
        piles, local = aggregate_parts(seen, self.scale, settings.aggregates, mask)
        view = self.read(tile)
        covered = view.covered
        background, coarse = (None, None) if known_um is None else self._beside_cells(tile, known_um)
        return _Parts(
            self._shapes(tile, cells.starting_in(tile)),
            None if known_um is None else self._order(tile, known_um),
            background,
            coarse,
            piles,
            Piled(mask, local) if is_whole else None,
            int(np.count_nonzero(covered)),
            int(np.count_nonzero(view.judged)),
        )

    def _around(self, tile: Region, reach_px: int) -> Region:
        height, width = self.scale.shape
        return Region(
            max(tile.y0 - reach_px, 0),
            min(tile.y1 + reach_px, height),
            max(tile.x0 - reach_px, 0),
            min(tile.x1 + reach_px, width),
        )

    def _shapes(self, tile: Region, cells: CellBoxes) -> NDArray[np.void]:
        around = self._around(tile, surroundings_px(self.known_um, self.settings.shape))
        view = self.read(around)
        return cell_shapes(
            view.working, view.labels, view.maps, cells, around, self.scale.shape, self.known_um, self.settings.shape
        )

    def _order(self, tile: Region, working_um: float) -> OrderParts:
        around = self._around(tile, order_reach_px(working_um, self.settings.order))
        view = self.read(around)
        return measure_order(view.working, view.covered, around, tile, working_um, self.settings.order)

    def _beside_cells(self, tile: Region, working_um: float) -> tuple[BackgroundParts, CoarseView]:
        """Return what shows beside the cells of a tile, and the tile in places."""
        around = self._around(tile, background_reach_px(working_um))  # thin bright lines need less
        view, settings = self.read(around), self.settings
        area = TileArea(around, tile, self.scale.shape[1])
        foreground = view.maps[MAPS.index("foreground")]
        background = measure_background(
            view.working, view.occupied, view.judged, foreground, area, working_um, settings.background
        )
        window = np.s_[tile.y0 - around.y0 : tile.y1 - around.y0, tile.x0 - around.x0 : tile.x1 - around.x0]
        bright = thin_bright(view.working, view.judged, window, working_um, settings.surface.bright_lines)
        inner = view.working[window], view.occupied[window], view.judged[window]
        return background, coarse_view(*inner, bright, working_um)

    def _as_painted(
        self, painted: NDArray[np.int32], found: FoundAggregates, piled: Piled
    ) -> tuple[FoundAggregates, Piled]:
        """Return the aggregates as a person drew them; what was found and not taken stays what is around them."""
        taken = found.lookups[0][piled.local]
        if np.array_equal(taken, painted):
            return found, piled
        mask, evidence = piled.mask
        height, width = self.scale.shape
        view = self._aggregate_view(Region(0, height, 0, width), MASK_REACH_UM)
        around = (((mask > 0) & (taken == 0)) | (painted > 0)).view(np.uint8)
        drawn = painted_aggregates(view, painted, evidence, self.scale, self.settings.aggregates)
        return drawn, Piled((around, evidence), painted, is_painted=True)

    def _aggregate_view(self, tile: Region, reach_um: float) -> AggregateView:
        around = self._around(tile, self.scale.px(reach_um))
        view = self.read(around)
        return AggregateView(view.working, view.maps, view.judged, around, tile)

    def _aggregates(
        self, found: FoundAggregates, tiles: Sequence[Region], tile_map: TileMap, piled: Piled | None
    ) -> NDArray[np.void]:
        """Return the rows of the aggregates, outlines measured; tiles without any are not read again."""
        rows, columns = np.divmod(found.first, self.scale.shape[1])

        def measured(tile: Region) -> NDArray[np.void]:
            inside = (rows >= tile.y0) & (rows < tile.y1) & (columns >= tile.x0) & (columns < tile.x1)
            if not inside.any():
                return found.table[:0]
            view = self._aggregate_view(tile, SURROUNDINGS_UM)
            known = None if piled is None else piled.mask
            painted = None if piled is None or not piled.is_painted else piled.local
            return measure_aggregates(view, found, self.scale, self.settings.aggregates, known, painted)

        table = np.concatenate([found.table[:0], *tile_map(measured, tiles)])
        return table[np.argsort(table["label"], kind="stable")]

    def _piled_up(
        self,
        table: NDArray[np.void],
        found: FoundAggregates,
        tiles: Sequence[Region],
        tile_map: TileMap,
        known: Piled | None,
    ) -> NDArray[np.bool_]:
        """Return for each cell whether half of it or more lies in an aggregate; (n,) bool."""

        def overlap(tile: Region, lookup: NDArray[np.int32]) -> NDArray[np.int64]:
            if not lookup.any():
                return np.zeros(len(table) + 1, np.int64)
            piled = (self.aggregate_labels(tile, lookup) if known is None else lookup[known.local]) > 0
            return np.bincount(self.read(tile).labels[piled], minlength=len(table) + 1)

        inside = sum(tile_map(overlap, tiles, found.lookups), start=np.zeros(len(table) + 1, np.int64))
        return np.asarray(2 * inside[1:] >= np.maximum(table["area_px"], 1))

    def _signs(self, parts: Sequence[_Parts], hints: Hints) -> tuple[ContaminationFinding, dict[str, float]]:
        limits, known = self.settings.contamination, [p.background for p in parts if p.background is not None]
        if self.known_um is None:
            return visual_signs(None, limits), {}
        figures = join_background(known, self.scale.shape, self.known_um, limits)
        row = as_row(figures)
        row.pop("pixel_size_um")
        return visual_signs(figures, limits, focus_ratio=hints.focus_ratio, modality=hints.modality), row

    def _flaws(
        self, parts: Sequence[_Parts], tiles: Sequence[Region]
    ) -> tuple[tuple[SurfaceFinding, ...], dict[str, float]]:
        if self.known_um is None:
            return (), {}
        shape, settings = self.scale.shape, self.settings.surface
        view = join_views([p.coarse for p in parts if p.coarse is not None], tiles, shape, self.known_um)
        known = SurfaceParts(tuple(p.background for p in parts if p.background is not None), view)
        surface = surface_figures(known, shape, self.known_um, settings=settings)
        return surface.findings, surface.figures

    def _morphology(self, parts: Sequence[_Parts], cells: NDArray[np.void]) -> dict[str, float]:
        order = sum((part.order for part in parts if part.order is not None), start=OrderParts())
        figures = order_figures(order, self.known_um, self.settings.order)
        n_judged, n_covered = sum(p.n_judged for p in parts), sum(p.n_covered for p in parts)
        percent = 100 * n_covered / n_judged if n_judged else 0.0
        area_mm2 = None if self.known_um is None else n_judged * self.known_um**2 / 1e6
        density = field_density(cells["touches_border"], percent, area_mm2, self.settings.density)
        if self.known_um is None:
            return density
        return cell_profile(cells) | figures | order_profile(figures) | density


def _leave_out(shapes: NDArray[np.void], piled_up: NDArray[np.bool_]) -> None:
    """Take cells that lie in aggregates out of the statistics of shape."""
    shapes["in_aggregate"] |= piled_up
    shapes["is_measured"] &= ~piled_up


def _known(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _joined(table: NDArray[np.void], shapes: NDArray[np.void]) -> NDArray[np.void]:
    """Return cells with their shapes: `DESCRIBED_COLUMNS`, those of aggregates and looks empty."""
    cells = _blank(len(table), CELL)
    for name in OBJECT_COLUMNS.names or ():
        cells[name] = table[name]
    for name in SHAPE_COLUMNS.names or ():
        cells[name] = shapes[name]
    return cells


def _objects(cells: NDArray[np.void], aggregates: NDArray[np.void]) -> NDArray[np.void]:
    piled = _blank(len(aggregates), AGGREGATE)
    for name in AGGREGATE_COLUMNS.names or ():
        piled[name] = aggregates[name]
    return np.concatenate([cells, piled])


def _blank(n: int, kind: str) -> NDArray[np.void]:
    rows = np.zeros(n, DESCRIBED_COLUMNS)
    for name in DESCRIBED_COLUMNS.names or ():
        if DESCRIBED_COLUMNS[name].kind == "f":
            rows[name] = np.nan
    rows["kind"] = kind
    return rows

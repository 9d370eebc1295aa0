"""What the cells of a synthetic field look like. Lengths in µm, areas in µm², densities per mm², phases in radians."""

from pydantic import Field, model_validator

from msc_vision.synth.frozen import FrozenModel


class KindShares(FrozenModel):
    """How many of the cells are of which kind; only the proportions count."""

    spindle: float = Field(0.55, ge=0, description="long, with two tapering processes")
    stellate: float = Field(0.36, ge=0, description="three to six processes")
    flattened: float = Field(0.05, ge=0, description="large and thin, as senescent cells are")
    cuboidal: float = Field(0.0, ge=0, description="compact polygons, as in osteogenic differentiation")
    lipid: float = Field(0.0, ge=0, description="with droplets, as in adipogenic differentiation")
    rounded: float = Field(0.02, ge=0, description="attached and round: in division")

    @model_validator(mode="after")
    def _some_kind(self) -> "KindShares":
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("at least one share must be above 0")
        return self


class IslandSettings(FrozenModel):
    """Closed sheets of compact polygonal cells, as epithelial and stem cell lines grow; off by default."""

    share: float = Field(0.0, ge=0, le=1, description="part of the covered area that lies in such sheets")
    size_um: float = Field(300.0, gt=0, description="distance from one sheet to the next")
    cell_area_um2: float = Field(320.0, gt=20)
    jitter: float = Field(0.7, ge=0, le=1, description="0: a honeycomb; 1: cells of very different size")


class AggregateSettings(FrozenModel):
    """Clusters of several layers on the surface, or spheroids; off by default."""

    per_mm2: float = Field(0.0, ge=0)
    diameter_um: float = Field(90.0, gt=10, description="median; 70 µm is a natural class edge: strainers")
    diameter_spread: float = Field(0.35, ge=0, description="standard deviation of its logarithm")
    compactness: float = Field(
        0.3, ge=0, le=1, description="0: loose heap of round cells; 1: smooth dark ball (ultra-low attachment)"
    )


class ScratchSettings(FrozenModel):
    """A gap scratched into the layer, as in wound assays."""

    width_um: float = Field(500.0, gt=0, description="narrower where the wanted confluency leaves less room")
    roughness_um: float = Field(25.0, ge=0, description="how far its edges wander")
    angle_degrees: float = Field(90.0, ge=0, lt=180, description="direction of the gap; 90 runs down the picture")
    offset: float = Field(0.0, ge=-0.5, le=0.5, description="of its middle from that of the field, as a share")


class CellSettings(FrozenModel):
    """Shape and optical thickness of the cells; areas from FACTS of the field (Oja 2018: 1,800-2,500 µm² spread).

    A cell of dry mass m on an area A delays light by 2 pi a m / (wavelength A) on average, with a = 0.18 µm³/pg (R.
    Barer, Nature 169, 366 (1952)). The defaults give spindles and stars of some 260 pg, flattened cells of 650 pg and
    rounded ones of 540 pg: a cell that rounds up or flattens keeps its mass. The masses themselves are a placeholder.
    """

    shares: KindShares = KindShares()
    area_um2: float = Field(2100.0, gt=60, description="median spread area of spindles and stars")
    area_spread: float = Field(0.30, ge=0, le=1.5, description="standard deviation of its logarithm")
    flattened_area_um2: float = Field(9000.0, gt=200, description="median area of flattened cells")
    rounded_diameter_um: float = Field(18.0, gt=3)
    slenderness: float = Field(5.0, ge=1.2, le=30, description="median length over width of spindles' bodies")
    process_width_um: float = Field(1.8, gt=0, description="width of the processes near their tips")
    process_length_um: float = Field(22.0, ge=0, description="mean length of the thin end of a process")
    roughness_um: float = Field(0.7, ge=0, description="unevenness of the rim")
    phase: float = Field(0.45, gt=0, description="median phase shift of a spread cell's body")
    phase_spread: float = Field(
        0.4, ge=0, le=2, description="standard deviation of its logarithm, cell to cell; 0.55 spans a decade"
    )
    flattened_phase: float = Field(0.35, gt=0, description="phase of a flattened cell over that of a spindle")
    edge_um: float = Field(2.2, gt=0, description="median distance over which the rim rises to the interior")
    texture: float = Field(0.15, ge=0, description="median unevenness of the cytoplasm, over its phase")
    granularity: float = Field(0.2, ge=0, description="phase of granules around the nucleus")
    clumping: float = Field(1.0, ge=0, le=3, description="how unevenly cells settle; 0 spaces them evenly")
    alignment: float = Field(0.9, ge=0, le=1, description="how far neighbours share one direction in a full field")
    swirl_um: float = Field(260.0, gt=10, description="distance over which that direction turns")
    contact: float = Field(0.2, ge=0, le=0.8, description="how much smaller cells are in a full field")
    crowding: float = Field(
        0.0, ge=0, le=1.5, description="cells that still settle on top of a full layer, in layers; over-confluency"
    )
    islands: IslandSettings = IslandSettings()
    aggregates: AggregateSettings = AggregateSettings()
    scratch: ScratchSettings | None = None
    debris_per_mm2: float = Field(60.0, ge=0, description="pieces of 1 to 8 µm; no part of the foreground")
    dead_per_mm2: float = Field(4.0, ge=0, description="dead or floating cells; no part of the foreground")

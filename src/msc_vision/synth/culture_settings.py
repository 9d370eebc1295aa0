"""What the cells of a synthetic field look like. Lengths in µm, densities per mm², phases in radians."""

from pydantic import Field

from msc_vision.synth.frozen import FrozenModel


class CellSettings(FrozenModel):
    """Shape and optical thickness of the cells; areas from FACTS of the field (Oja 2018: 1,800-2,500 µm² spread)."""

    area_um2: float = Field(2100.0, gt=0, description="median spread area")
    area_spread: float = Field(0.22, ge=0, description="standard deviation of its logarithm")
    length_um: float = Field(135.0, gt=0, description="mean length from tip to tip")
    length_spread_um: float = Field(20.0, ge=0)
    branched_share: float = Field(0.4, ge=0, le=1, description="cells with a third or fourth process")
    rounded_share: float = Field(0.02, ge=0, le=1, description="rounded, bright cells, still attached")
    phase: float = Field(0.19, gt=0, description="median phase shift of a spread cell's body")
    phase_spread: float = Field(0.40, ge=0, description="standard deviation of its logarithm, cell to cell")
    edge_um: float = Field(2.5, gt=0, description="distance over which the rim rises to the flat interior")
    granularity: float = Field(0.2, ge=0, description="phase of granules around the nucleus")
    clumping: float = Field(1.0, ge=0, le=3, description="how unevenly cells settle; 0 spaces them evenly")
    alignment: float = Field(0.9, ge=0, le=1, description="how far neighbours share one direction in a full field")

"""What a synthetic field looks like. Lengths in µm, densities per mm², phases in radians."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CellSettings(_Frozen):
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


class OpticsSettings(_Frozen):
    """Zernike phase contrast: the ring shifts and dims what a wide blur keeps of the wave, the rest is detail."""

    ring_transmission: float = Field(0.45, gt=0, le=1, description="amplitude that the phase ring lets through")
    halo_um: float = Field(3.5, gt=0, description="radius of the bright rim around cells")
    shade_off_um: float = Field(18.0, gt=0, description="distance over which flat interiors fade to the background")
    halo_share: float = Field(0.55, ge=0, le=1, description="share of the rim against the fading")
    blur_um: float = Field(0.7, ge=0, description="resolution of the objective, one sigma")
    defocus_um: float = Field(0.0, ge=0, description="further blur, one sigma: a field out of focus")


class BackgroundSettings(_Frozen):
    """Light, dirt and the camera."""

    level: float = Field(0.38, gt=0, lt=1, description="grey level of bare surface as a share of full scale")
    vignetting: float = Field(0.12, ge=0, lt=1, description="loss of light in the corners")
    tilt: float = Field(0.05, ge=0, lt=1, description="change of light across the field, in a random direction")
    film: float = Field(0.003, ge=0, description="phase of the protein film on the bare surface, one sigma")
    debris_per_mm2: float = Field(60.0, ge=0)
    dust_per_mm2: float = Field(4.0, ge=0, description="specks far out of focus")
    electrons: float = Field(80000.0, gt=0, description="photo-electrons at full scale: shot noise")


class FieldSettings(_Frozen):
    """One synthetic field."""

    height_px: int = Field(1024, ge=64, le=8192)
    width_px: int = Field(1024, ge=64, le=8192)
    pixel_size_um: float = Field(1.0, ge=0.2, le=4.0)
    bit_depth: Literal[8, 12, 16] = Field(16, description="12 bits are kept in 16-bit files, as cameras do")
    confluency_percent: float = Field(50.0, ge=0, le=100)
    cells: CellSettings = CellSettings()
    optics: OpticsSettings = OpticsSettings()
    background: BackgroundSettings = BackgroundSettings()

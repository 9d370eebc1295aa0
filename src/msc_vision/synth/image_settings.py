"""Light, optics and camera of a synthetic field. Lengths in µm, densities per mm², phases in radians."""

from pydantic import Field

from msc_vision.synth.frozen import FrozenModel


class OpticsSettings(FrozenModel):
    """Zernike phase contrast: the ring shifts and dims what a wide blur keeps of the wave, the rest is detail."""

    ring_transmission: float = Field(0.45, gt=0, le=1, description="amplitude that the phase ring lets through")
    halo_um: float = Field(3.5, gt=0, description="radius of the bright rim around cells")
    shade_off_um: float = Field(18.0, gt=0, description="distance over which flat interiors fade to the background")
    halo_share: float = Field(0.55, ge=0, le=1, description="share of the rim against the fading")
    blur_um: float = Field(0.7, ge=0, description="resolution of the objective, one sigma")
    defocus_um: float = Field(0.0, ge=0, description="further blur, one sigma: a field out of focus")


class BackgroundSettings(FrozenModel):
    """Light, dirt and the camera."""

    level: float = Field(0.38, gt=0, lt=1, description="grey level of bare surface as a share of full scale")
    vignetting: float = Field(0.12, ge=0, lt=1, description="loss of light in the corners")
    tilt: float = Field(0.05, ge=0, lt=1, description="change of light across the field, in a random direction")
    film: float = Field(0.003, ge=0, description="phase of the protein film on the bare surface, one sigma")
    debris_per_mm2: float = Field(60.0, ge=0)
    dust_per_mm2: float = Field(4.0, ge=0, description="specks far out of focus")
    electrons: float = Field(80000.0, gt=0, description="photo-electrons at full scale: shot noise")

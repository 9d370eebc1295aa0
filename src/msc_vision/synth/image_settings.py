"""Light, optics, camera and faults of a synthetic field. Lengths in µm, densities per mm², phases in radians."""

from typing import Literal

from pydantic import Field

from msc_vision.synth.frozen import FrozenModel

Mode = Literal["phase-contrast", "negative-phase-contrast", "brightfield", "relief"]


class OpticsSettings(FrozenModel):
    """How the microscope turns phase into light.

    The phase ring is given by its outer radius and its width, as numerical aperture. The defaults give halos of some
    4 µm and flat interiors that fade over 15 µm, as pictures with a 10x Ph1 objective show them (T98G cells of a
    public set). A smaller or narrower ring gives wider halos.
    """

    mode: Mode = Field("phase-contrast", description="in positive phase contrast flat cells are darker than plastic")
    ring_na: float = Field(0.16, gt=0, le=0.6, description="outer radius of the phase ring")
    ring_width_na: float = Field(0.048, gt=0, le=0.3, description="width of the phase ring")
    ring_transmission: float = Field(0.38, gt=0, le=1, description="amplitude that the phase ring lets through")
    ring_shift_um: float = Field(0.0, ge=0, description="ring off centre: the halo moves to one side by this much")
    stray_light: float = Field(0.0, ge=0, lt=1, description="share of light that forms no image: it takes contrast")
    wavelength_um: float = Field(0.55, ge=0.3, le=1.0)
    blur_um: float = Field(0.7, ge=0, description="resolution of the objective, one sigma")
    defocus_um: float = Field(0.0, ge=0, description="further blur, one sigma: a field out of focus")
    focus_height_um: float = Field(
        0.0, ge=-200, le=200, description="plane of focus above (+) or below (-) the cells; brightfield contrast"
    )
    relief_shear_um: float = Field(0.8, ge=0, le=10, description="relief: distance over which phase is compared")
    relief_bias: float = Field(0.9, gt=0.05, le=3.0, description="relief: phase that bare surface gets, radians")
    direction_deg: float = Field(45.0, ge=-360, le=360, description="side that the relief, or a ring off centre, shows")


class TextureSettings(FrozenModel):
    """What makes the inside of a cell uneven beyond the folds and fibres that the culture has drawn."""

    unevenness: float = Field(0.05, ge=0, le=2, description="added to the cells' own, as a share of a body's phase")
    fine_um: float = Field(0.8, gt=0, le=10, description="size of the finest structure, one sigma")
    coarse_um: float = Field(3.5, gt=0, le=30, description="size of the coarsest structure, one sigma")
    coarse_share: float = Field(0.6, ge=0, le=1, description="how much of the unevenness is coarse")
    dots: float = Field(1.0, ge=0, le=5, description="phase of granules, times the geometric mean of body and 0.2")
    dot_um: float = Field(0.8, gt=0, le=5, description="size of granules, one sigma")
    vacuoles: float = Field(0.2, ge=0, le=1, description="share of granules that are thinner than the cell, not denser")


class BackgroundSettings(FrozenModel):
    """Light, and what lies on the bare surface."""

    level: float = Field(0.38, gt=0, lt=1, description="grey level of bare surface as a share of full scale")
    vignetting: float = Field(0.12, ge=0, lt=1, description="loss of light in the corners")
    tilt: float = Field(0.05, ge=0, lt=1, description="change of light across the field, in a random direction")
    unevenness: float = Field(0.01, ge=0, lt=1, description="broad clouds of light, one sigma")
    film: float = Field(0.004, ge=0, description="phase of the protein film on the surface, one sigma")
    film_um: float = Field(1.3, gt=0, le=20, description="grain of the film, one sigma")
    film_patchiness: float = Field(0.3, ge=0, le=1, description="0: the film is even; 1: it lies in patches")
    remnants: float = Field(0.05, ge=0, description="phase of what crawling cells left behind")
    remnants_share: float = Field(0.01, ge=0, le=0.5, description="share of the surface that remnants cover")
    debris_per_mm2: float = Field(20.0, ge=0, description="specks of 1 to 4 µm, on plastic and cells")
    dust_per_mm2: float = Field(4.0, ge=0, description="specks far out of focus")


class CameraSettings(FrozenModel):
    """What the camera and its software make of the light."""

    electrons: float = Field(80000.0, gt=0, description="photo-electrons at full scale: shot noise")
    read_noise: float = Field(0.0, ge=0, le=0.5, description="noise in the dark as a share of full scale, one sigma")
    fixed_pattern: float = Field(0.0, ge=0, le=0.2, description="gain from pixel to pixel, one sigma")
    line_noise: float = Field(0.0, ge=0, le=0.1, description="offset from row to row as a share of full scale")
    noise_px: float = Field(0.0, ge=0, le=3, description="noise smeared by demosaicing or enlarging, one sigma")
    least_texture_snr: float = Field(
        0.0,
        ge=0,
        description="see to it that noise, rounding and JPEG stay this far below the faintest cells; 0: as set",
    )
    black_level: float = Field(0.0, ge=0, lt=0.5, description="grey of no light as a share of full scale")
    gamma: float = Field(1.0, ge=0.3, le=3)
    sharpen: float = Field(0.0, ge=0, le=3, description="unsharp mask, times its detail")
    sharpen_px: float = Field(1.2, gt=0, le=10, description="radius of the unsharp mask, one sigma")
    auto_contrast: float = Field(
        0.0, ge=0, lt=0.2, description="share of pixels clipped at each end when software stretches; 0: it does not"
    )
    jpeg_quality: int = Field(0, ge=0, le=100, description="0: not compressed; a picture of 8 bits then")
    eyepiece: float = Field(
        0.0, ge=0, le=2, description="phone at an eyepiece: radius of the round field over half the short side; 0: none"
    )


class FaultSettings(FrozenModel):
    """What goes wrong between the culture and the eye; all off by default."""

    condensation: float = Field(0.0, ge=0, le=1, description="droplets on the lid, far out of focus: depth of shading")
    meniscus: float = Field(0.0, ge=0, le=1, description="bent liquid near a wall: loss of light on one side")
    plastic: float = Field(0.0, ge=0, le=0.2, description="streaks from moulding, phase in radians, one sigma")
    layer_above: float = Field(0.0, ge=0, le=1, description="a second culture out of focus: depth of shading")
    scratches: int = Field(0, ge=0, le=50)
    bright_scratches: int = Field(0, ge=0, le=50, description="straight ones, brighter than the surface")
    detaching_um: float = Field(0.0, ge=0, le=300, description="width of the rolled edge of a layer that comes off")
    fibres: int = Field(0, ge=0, le=10, description="hairs and lint")
    bubbles: int = Field(0, ge=0, le=20)
    wall: float = Field(0.0, ge=0, le=0.5, description="share of the field that a wall or a channel's edge hides")
    motion_um: float = Field(0.0, ge=0, le=50, description="length of the smear when the stage moved")
    seams: int = Field(0, ge=0, le=4, description="stitching: edges of tiles in each direction")
    seam_step: float = Field(0.05, ge=0, le=0.5, description="change of light from tile to tile, one sigma")
    burnt_in: Literal["none", "white", "black", "box"] = Field("none", description="scale bar and text in the picture")
    frame: float = Field(0.0, ge=0, le=0.2, description="width of a frame around the picture over its short side")


class ContaminationSettings(FrozenModel):
    """Life that should not be there. Visual signs only: nothing here imitates what cannot be seen."""

    kind: Literal["none", "haze", "dots", "budding", "filaments"] = "none"
    amount: float = Field(0.3, gt=0, le=1, description="from a first sign to everywhere")


class PictureSettings(FrozenModel):
    """Everything between the culture and the file, except for what lies in the culture."""

    bit_depth: Literal[8, 12, 16] = Field(16, description="12 bits are kept in 16-bit files, as cameras do")
    optics: OpticsSettings = OpticsSettings()
    texture: TextureSettings = TextureSettings()
    background: BackgroundSettings = BackgroundSettings()
    camera: CameraSettings = CameraSettings()
    faults: FaultSettings = FaultSettings()
    contamination: ContaminationSettings = ContaminationSettings()

"""What a synthetic field looks like: cells, light and camera. Lengths in µm."""

from pydantic import Field

from msc_vision.synth.culture_settings import CellSettings
from msc_vision.synth.image_settings import PictureSettings


class FieldSettings(PictureSettings):
    """One synthetic field."""

    height_px: int = Field(1024, ge=64, le=8192)
    width_px: int = Field(1024, ge=64, le=8192)
    pixel_size_um: float = Field(1.0, ge=0.2, le=4.0)
    confluency_percent: float = Field(50.0, ge=0, le=100)
    cells: CellSettings = CellSettings()

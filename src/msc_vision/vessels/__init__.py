"""Vessel types: layers, areas, volumes and which layers a microscope reaches, as data that a site can extend."""

from msc_vision.vessels.catalogue_files import load_catalogue
from msc_vision.vessels.vessel_type import Catalogue, Refusal, VesselType, layer_ranges

__all__ = ["Catalogue", "Refusal", "VesselType", "layer_ranges", "load_catalogue"]

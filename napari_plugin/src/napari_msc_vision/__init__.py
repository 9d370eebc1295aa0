"""Review MSC culture vessels in napari: a thin window on the library `msc_vision`."""

__version__ = "0.1.0"

"""Confluency, spindle-morphology drift and aggregates of MSC cultures, per field, layer and vessel.

Importing this package loads neither torch nor napari nor a web framework.
"""

__version__ = "0.1.0"

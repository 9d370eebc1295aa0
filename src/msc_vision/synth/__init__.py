"""Synthetic vessels with known truth: for samples, tests and benchmarks, not a simulator of a culture."""

from msc_vision.synth.field import RenderedField, render_field
from msc_vision.synth.recipe import VesselRecipe, load_recipe
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.vessel import render_vessel, synthesise

__all__ = [
    "FieldSettings",
    "RenderedField",
    "VesselRecipe",
    "load_recipe",
    "render_field",
    "render_vessel",
    "synthesise",
]

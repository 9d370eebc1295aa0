"""Synthetic vessels with known truth: for training, validation, samples, tests and benchmarks."""

from msc_vision.synth.culture import CellKind, Culture
from msc_vision.synth.field import RenderedField, render_field
from msc_vision.synth.recipe import VesselRecipe, load_recipe
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.variety import random_settings
from msc_vision.synth.vessel import render_vessel, synthesise

__all__ = [
    "CellKind",
    "Culture",
    "FieldSettings",
    "RenderedField",
    "VesselRecipe",
    "load_recipe",
    "random_settings",
    "render_field",
    "render_vessel",
    "synthesise",
]

"""Readers of image containers, one module each; `msc_vision.io.images` lists them and is the way in."""

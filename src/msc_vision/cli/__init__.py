"""The command line: parses, makes one library call, and says what came of it."""

from msc_vision.cli.app import app, main

__all__ = ["app", "main"]

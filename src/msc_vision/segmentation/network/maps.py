"""What the network answers, for those who read its maps without running it."""

from typing import Literal

MapName = Literal["foreground", "obscured", "core", "rounded", "aggregate", "debris"]
MAPS: tuple[MapName, ...] = ("foreground", "obscured", "core", "rounded", "aggregate", "debris")
"""One map each, in this order."""

"""``python -m msc_vision.cli``: the command line, for those who have an interpreter but no console script."""

from msc_vision.cli import main

main()

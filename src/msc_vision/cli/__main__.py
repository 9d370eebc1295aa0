"""``python -m msc_vision.cli``: the command line where there is no console script."""

from msc_vision.cli import main

main()

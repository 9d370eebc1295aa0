"""Figures of accuracy, speed and memory, measured and written to docs/benchmarks.md by ``make bench``."""

"""What else lies in a field: aggregates, visual signs of contamination, and what is wrong with the surface."""

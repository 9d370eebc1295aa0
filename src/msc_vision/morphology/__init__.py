"""What cells and cell layers look like: shape, order, and how far both lie from a reference population."""

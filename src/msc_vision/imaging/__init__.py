"""From native pixels to a picture that can be judged and measured: working resolution, overview, quality."""

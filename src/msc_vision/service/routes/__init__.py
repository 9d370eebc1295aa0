"""The JSON routes: each parses, makes one call into `actions`, and sends what came of it."""

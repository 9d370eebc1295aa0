"""From a manifest to a run folder: plan, execute, store, journal, progress, verify."""

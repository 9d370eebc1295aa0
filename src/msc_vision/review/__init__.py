"""What people say of a run: events that are only ever added, corrected masks as patches, and what follows from them.

Nothing here measures anything, and nothing here writes to what a run wrote: `msc_vision.batch.reviewed` reads both.
"""

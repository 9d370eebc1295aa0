"""What one person did and is not on disk yet, in its order, and how it gets there. No Qt and no napari here.

The main thread puts entries in, the lane of writing takes them out. Numbers of new cells and aggregates are settled
when an edit is written, as what others wrote can be seen then: where one is taken, those of this person move up.
"""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.reviewed import ReviewedRun, SecondLook, measure_masks, second_look
from msc_vision.errors import InvalidDataError
from msc_vision.records import FieldScore
from msc_vision.review.events import Deed, Reviewer
from msc_vision.review.masks import FieldMasks, MaskPatch
from msc_vision.review.numbers import NewNumbers, Shift, renumbered, renumbered_new, shifts_clear_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """An edit that is to be written; a ``Deed`` in its place is something that was said.

    Attributes
    ----------
    new : mapping of kind to tuple of int
        The numbers that it gives out.
    n_told : int
        How many shifts of numbers the masks that it was made in had gone through.
    """

    key: str
    patch: MaskPatch
    tool: str
    new: NewNumbers
    n_told: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Masks of a field that are to be measured for good and kept; ``found`` if that was done already."""

    key: str
    masks: FieldMasks
    base: FieldScore
    look: SecondLook | None
    found: tuple[FieldScore, NDArray[np.void]] | None
    n_told: int


Entry = Edit | Measured | Deed


class Outbox:
    """What is to be written to a run, each entry with who made it: a log-in may come between.

    An entry speaks in the numbers that were on the screen when it was made, and is translated when it is written; the
    main thread asks with `news` which numbers moved meanwhile.
    """

    def __init__(self, run: ReviewedRun) -> None:
        self.run = run
        self.n_told = 0
        self._entries: deque[tuple[Entry, Reviewer]] = deque()
        self._shifts: list[tuple[str, Shift]] = []

    def __len__(self) -> int:
        """Return how many entries wait."""
        return len(self._entries)

    # --- on the main thread ------------------------------------------------------------------------------------------

    def put(self, entry: Entry, reviewer: Reviewer) -> None:
        """Let what somebody did wait for `empty`."""
        self._entries.append((entry, reviewer))

    def last_of(self, key: str) -> Edit | Measured | None:
        """Return what waits last of the masks of a field."""
        waiting = [one for one, _ in tuple(self._entries) if not isinstance(one, Deed) and one.key == key]
        return waiting[-1] if waiting else None

    @property
    def edited(self) -> frozenset[str]:
        """The fields with edits that wait."""
        return frozenset(one.key for one, _ in tuple(self._entries) if isinstance(one, Edit))

    def news(self) -> Mapping[str, tuple[Shift, ...]]:
        """Return the shifts of numbers that were not told yet, by field; entries that come from now on know of them."""
        found: dict[str, tuple[Shift, ...]] = {}
        shifts = self._shifts[self.n_told :]
        self.n_told += len(shifts)
        for key, shift in shifts:
            found[key] = (*found.get(key, ()), shift)
        return found

    # --- in the lane of writing --------------------------------------------------------------------------------------

    def empty(self) -> bool:
        """Write what waits, in its order, and return whether it was anything; what cannot be written stays.

        Raises
        ------
        MscVisionError
            If an entry cannot be written: as `ReviewedRun.act`, or as it is measured.
        """
        is_anything = bool(self._entries)
        while self._entries:
            self._write(*self._entries[0])
            self._entries.popleft()
        return is_anything

    def _write(self, entry: Entry, reviewer: Reviewer) -> None:
        if isinstance(entry, Edit):
            self._settle_numbers(entry)
            patch = renumbered(entry.patch, self._shifts_since(entry))
            self.run.edit(entry.key, patch, reviewer, entry.tool)
        elif isinstance(entry, Measured):
            self._write_measured(entry, reviewer)
        else:
            self.run.act(reviewer, entry)

    def _settle_numbers(self, edit: Edit) -> None:
        """Let numbers move up if somebody else gave out those that an edit gives out, or higher ones."""
        if not edit.new:
            return
        try:
            there = self.run.masks_on_disk(edit.key)
        except InvalidDataError:  # whoever opens the field is told of it; what this person did is written all the same
            logger.warning("Numbers of %s cannot be compared with those of others", edit.key, exc_info=True)
            return
        new = renumbered_new(edit.new, self._shifts_since(edit))
        self._shifts += [(edit.key, shift) for shift in shifts_clear_of(there, new)]

    def _shifts_since(self, entry: Edit | Measured) -> list[Shift]:
        return [shift for key, shift in self._shifts[entry.n_told :] if key == entry.key]

    def _write_measured(self, entry: Measured, reviewer: Reviewer) -> None:
        is_renumbered = bool(self._shifts_since(entry))
        masks = self.run.masks(entry.key) if is_renumbered else entry.masks
        found = None if is_renumbered else entry.found
        if found is None:
            look = entry.look or second_look(self.run.task(entry.key))
            found = measure_masks(look, entry.base, masks)
        self.run.keep_measured(entry.key, masks, *found, reviewer)

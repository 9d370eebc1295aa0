"""What a reviewer did and what is not on disk yet, written in its order beside the window. No Qt here.

Numbers of cells are settled when an edit is written: by then the files of somebody else who works on the same field are
there, and who comes second gives way.
"""

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.reviewed import ReviewedRun, SecondLook, measure_masks, second_look
from msc_vision.records import FieldScore
from msc_vision.review.events import Deed, Reviewer, ReviewEvent
from msc_vision.review.masks import FieldMasks, Kind, MaskPatch, Numbers, apply_patch, renumbered


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """An edit that is to be written.

    Attributes
    ----------
    key : str
    patch : MaskPatch
    tool : str
    before : FieldMasks
        The field on the screen before it.
    epoch : int
        How often the screen had taken over numbers from the disk by then, see `Outbox.take_over`.
    """

    key: str
    patch: MaskPatch
    tool: str
    before: FieldMasks
    epoch: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Masks of a field that are to be measured for good and kept; ``found`` if that was done already."""

    key: str
    masks: FieldMasks
    base: FieldScore
    look: SecondLook | None
    found: tuple[FieldScore, NDArray[np.void]] | None


Entry = Edit | Measured | Deed


class Outbox:
    """What is to be written, the earliest first; what could not be written stays.

    `add`, `take_over`, `pending` and `heard` are called on the main thread, `empty` in the lane of writing alone.
    """

    def __init__(self, run: ReviewedRun) -> None:
        self._run = run
        self._entries: deque[tuple[Entry, Reviewer]] = deque()
        self._heard: deque[ReviewEvent] = deque()
        self._numbers: defaultdict[tuple[str, int], dict[Kind, dict[int, int]]] = defaultdict(dict)
        self._changed: deque[tuple[str, Numbers]] = deque()
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, reviewer: Reviewer) -> None:
        """Put at the end what somebody did."""
        self._entries.append((entry, reviewer))

    def last_of(self, key: str) -> Edit | Measured | None:
        """Return what was done last to the masks of a field and is not on disk yet."""
        waiting = [one for one, _ in tuple(self._entries) if not isinstance(one, Deed) and one.key == key]
        return waiting[-1] if waiting else None

    # --- the lane of writing -----------------------------------------------------------------------------------------

    def empty(self) -> bool:
        """Write what waits, in its order; return whether there was anything."""
        is_anything = bool(self._entries)
        while self._entries:
            self._put_down(*self._entries[0])
            self._entries.popleft()
        return is_anything

    def _put_down(self, entry: Entry, reviewer: Reviewer) -> None:
        if isinstance(entry, Edit):
            self._edit(entry, reviewer)
        elif isinstance(entry, Measured):
            found = entry.found or _measured(self._run, entry)
            self._run.keep_measured(entry.key, entry.masks, *found, reviewer)
        else:
            self._run.act(reviewer, entry)

    def _edit(self, entry: Edit, reviewer: Reviewer) -> None:
        """Write an edit; cells that it brings in get other numbers where somebody else took theirs meanwhile."""
        self._heard.extend(self._run.refresh())
        free = self._run.free_numbers(entry.key, entry.patch, entry.before)
        for epoch in range(entry.epoch, self.epoch + 1):
            known = self._numbers[entry.key, epoch]
            for kind, numbers in free.items():
                known[kind] = {**known.get(kind, {}), **numbers}
        patch = renumbered(entry.patch, self._numbers[entry.key, entry.epoch])
        self._run.edit(entry.key, patch, reviewer, entry.tool)
        if free:
            self._changed.append((entry.key, free))

    # --- the main thread ---------------------------------------------------------------------------------------------

    def heard(self) -> tuple[ReviewEvent, ...]:
        """Return the events of others that were read while writing, and were not told yet."""
        return tuple(self._heard.popleft() for _ in range(len(self._heard)))

    def take_over(self) -> dict[str, Numbers]:
        """Return by field the numbers that are other on disk than on the screen; from now on they are the same."""
        found: defaultdict[str, dict[Kind, dict[int, int]]] = defaultdict(dict)
        for key, free in (self._changed.popleft() for _ in range(len(self._changed))):
            for kind, numbers in free.items():
                found[key][kind] = {**found[key].get(kind, {}), **numbers}
        self.epoch += bool(found)
        return dict(found)

    def pending(self, key: str, masks: FieldMasks) -> FieldMasks:
        """Return the masks of a field on disk with the edits that are not there yet."""
        for entry, _ in tuple(self._entries):
            if isinstance(entry, Edit) and entry.key == key:
                masks = apply_patch(masks, renumbered(entry.patch, self._numbers[key, entry.epoch]))
        return masks


def _measured(run: ReviewedRun, entry: Measured) -> tuple[FieldScore, NDArray[np.void]]:
    look = entry.look or second_look(run.task(entry.key))
    return measure_masks(look, entry.base, entry.masks)

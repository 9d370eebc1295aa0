"""Numbers of new cells that move up: the same cells, the same pixels, other numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.review.masks import KINDS, apply_patch, difference, empty_masks
from msc_vision.review.numbers import (
    NUMBERED,
    Shift,
    moved,
    new_numbers,
    renumbered,
    renumbered_masks,
    renumbered_new,
    shifts_above,
    shifts_clear_of,
)
from review_cases import random_masks

shift_lists = st.lists(st.builds(Shift, st.sampled_from(NUMBERED), st.integers(1, 6), st.integers(1, 9)), max_size=3)


@settings(max_examples=60)
@given(st.integers(0, 10**6), shift_lists)
def test_an_edit_does_the_same_before_and_after_its_numbers_move(seed, shifts):
    rng = np.random.default_rng(seed)
    before, after = random_masks(rng), random_masks(rng)
    patch = difference(before, after)
    elsewhere = renumbered(patch, shifts)
    for start, end, one in ((before, after, elsewhere), (after, before, elsewhere.reversed())):
        assert apply_patch(renumbered_masks(start, shifts), one).equals(renumbered_masks(end, shifts))
    for kind in KINDS:
        assert elsewhere.after[kind].dtype == patch.after[kind].dtype
        np.testing.assert_array_equal(
            elsewhere.before[kind] != elsewhere.after[kind], patch.before[kind] != patch.after[kind]
        )
        assert len(np.unique(elsewhere.after[kind])) == len(np.unique(patch.after[kind]))


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_numbers_that_two_people_gave_out_alike_are_apart_afterwards(seed):
    rng = np.random.default_rng(seed)
    start = random_masks(rng)
    edits = []
    for rows in (slice(0, 12), slice(12, 24)):
        after = start.copy()
        for kind in NUMBERED:
            labels = after.of(kind)
            labels[rows][rng.random(labels[rows].shape) < 0.2] = labels.max() + rng.integers(1, 3)
        edits.append(difference(start, after))
    annas, bens = edits
    theirs = apply_patch(start, annas)
    new = new_numbers(start, bens)
    shifts = shifts_clear_of(theirs, new)
    both = apply_patch(theirs, renumbered(bens, shifts))
    for kind in NUMBERED:
        old = set(np.unique(start.of(kind)))
        above, below = (set(np.unique(both.of(kind)[rows])) - old for rows in (slice(0, 12), slice(12, 24)))
        assert len(above) == len(below) == 1
        assert not above & below
        assert below == set(renumbered_new(new, shifts)[kind])


def test_an_edit_without_new_numbers_has_none_and_stays():
    masks = random_masks(np.random.default_rng(4))
    after = masks.copy()
    after.cells[after.cells == 2] = 1
    after.foreground[:3] = True
    patch = difference(masks, after)
    assert new_numbers(masks, patch) == {}
    assert shifts_clear_of(masks, new_numbers(masks, patch)) == ()


def test_new_numbers_that_are_above_all_others_stay():
    masks = empty_masks((8, 8))
    masks.cells[0, 0] = 7
    assert shifts_clear_of(masks, {"cells": (8, 9)}) == ()
    assert shifts_clear_of(masks, {"cells": (7, 9)}) == (Shift("cells", 7, 1),)
    assert shifts_clear_of(masks, {"cells": (5, 6)}) == (Shift("cells", 5, 3),)


def test_numbers_of_strokes_taken_back_move_above_what_came_meanwhile():
    before, after = empty_masks((8, 8)), empty_masks((8, 8))
    before.cells[0, 0], after.cells[0, :3] = 7, (7, 8, 9)
    shifts = shifts_above(before, after)
    assert [moved(number, "cells", shifts) for number in (6, 7, 8)] == [6, 7, 10]
    assert shifts_above(after, before) == ()


@pytest.mark.parametrize("kind", NUMBERED)
def test_only_numbers_of_the_kind_move(kind):
    masks = random_masks(np.random.default_rng(5))
    found = renumbered_masks(masks, [Shift(kind, 1, 10)])
    assert all((found.of(one) is masks.of(one)) == (one != kind) for one in KINDS)

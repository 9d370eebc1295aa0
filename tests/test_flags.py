"""Flags: every one that a field can carry says in plain words what it means."""

from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.batch.field import surface_flaws
from msc_vision.findings.surface import FLAW_FLAGS
from msc_vision.flags import FLAG_WORDS, Flag, flag_words
from msc_vision.records import QualityReport
from msc_vision.segmentation.fusion import Doubt
from msc_vision.statistics.settings import DOUBTFUL, DOUBTS

FLAGS = get_args(Flag)


def test_every_flag_has_words_of_its_own():
    assert tuple(FLAG_WORDS) == FLAGS
    assert len(set(FLAG_WORDS.values())) == len(FLAGS)
    assert not [words for words in FLAG_WORDS.values() if not words.strip() or words.endswith(".")]


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        (get_type_hints(QualityReport)["flags"], tuple[Flag, ...]),
        (get_type_hints(Doubt)["flags"], tuple[Flag, ...]),
        (get_type_hints(surface_flaws)["return"], tuple[tuple[Flag, ...], tuple[str, ...]]),
    ],
    ids=["quality", "two methods", "surface"],
)
def test_what_sets_flags_states_that_it_sets_no_others(stated, wanted):
    """A type checker then refuses a flag that is not in the list."""
    assert stated == wanted


def test_flags_that_make_a_figure_doubtful_are_worth_a_look():
    assert set(DOUBTS) >= DOUBTFUL | {*FLAW_FLAGS.values()}


@given(st.lists(st.sampled_from([*FLAGS, "of-another-version"]), unique=True))
def test_words_come_with_the_most_serious_first_and_no_flag_is_lost(flags):
    said = flag_words(tuple(flags))
    assert len(said) == len(flags)
    assert list(said) == [words for flag, words in FLAG_WORDS.items() if flag in flags] + [
        flag for flag in flags if flag == "of-another-version"
    ]

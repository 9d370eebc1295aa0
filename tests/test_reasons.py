"""Reasons that can be counted, and the one for everything else, which has to say what it is."""

import re
from typing import get_args

import pytest

from msc_vision.errors import InvalidArgumentError
from msc_vision.review.events import ACTIONS, NEED_REASON
from msc_vision.review.reasons import OTHER, REASONS, check_reason, reason_words, reasons_for
from msc_vision.service.schemas import Slug


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_that_needs_a_reason_has_some_and_no_other_has(action):
    codes = [one.code for one in reasons_for(action)]
    assert bool(codes) == (action in NEED_REASON)
    assert not codes or codes[-1] == OTHER


def test_codes_are_unique_and_such_as_the_service_takes():
    codes = [one.code for one in REASONS]
    assert len(set(codes)) == len(codes)
    pattern = next(one.pattern for one in get_args(Slug) if hasattr(one, "pattern"))
    assert all(re.fullmatch(pattern, code) for code in codes)


@pytest.mark.parametrize(
    ("action", "code", "text", "said"),
    [
        ("rejected", None, "blurred", "'rejected' needs a reason: choose one"),
        ("rejected", "", "blurred", "'rejected' needs a reason: choose one"),
        ("rejected", "mistake", "", "'mistake' is no reason for 'rejected'; there are out-of-focus"),
        ("held", "other", "  ", "Say in a few words what it is"),
    ],
)
def test_a_reason_that_says_too_little_is_refused(action, code, text, said):
    with pytest.raises(InvalidArgumentError, match=re.escape(said)):
        check_reason(action, code, text)


def test_a_reason_that_fits_is_taken_and_none_is_asked_for_where_none_is_needed():
    check_reason("rejected", "debris", "")
    check_reason("held", "other", "The incubator door stood open.")
    check_reason("accepted", None, "")


def test_words_of_a_code():
    assert reason_words("debris") == "debris, not cells"
    assert (reason_words("site-own-code"), reason_words(None)) == ("site-own-code", "")

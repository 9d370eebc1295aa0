"""Events, masks and what follows from them: nothing here needs a run."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.records import Region
from msc_vision.review.events import ACTIONS, Deed, Reviewer, Target, event_text, new_event, parse_event
from msc_vision.review.log import append_event, read_blob, read_log, read_patch, save_patch
from msc_vision.review.masks import KINDS, MaskPatch, apply_patch, difference, parse_patch, patch_bytes
from msc_vision.review.state import heads, review_state
from review_cases import ANNA, BEN, CARO, random_masks

RUN = "run-1"
T0 = datetime(2026, 11, 22, 9, tzinfo=UTC)
FIELD = Target("STACK", 3, "field-a")


def event(action, who=ANNA, minute=0, follows=None, target=FIELD, **rest):
    needs = action in ("rejected", "re-image", "reopened", "finding-dismissed", "settled", "held", "vessel-rejected")
    deed = Deed(action, target, reason_code="debris" if needs else None, **rest)
    return new_event(RUN, who, deed, at=T0 + timedelta(minutes=minute), follows=follows)


# --- masks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_edits_and_then_their_reverses_give_the_masks_as_they_were(seed, n):
    rng = np.random.default_rng(seed)
    start = random_masks(rng)
    masks, edits = start, []
    for _ in range(n):
        after = random_masks(rng) if rng.random() < 0.2 else masks.copy()
        y, x = rng.integers(0, 20, 2)
        after.cells[y : y + 6, x : x + 9] = rng.integers(0, 9)
        patch = difference(masks, after)
        if patch is not None:
            edits.append(patch)
            masks = apply_patch(masks, patch)
            assert masks.equals(after)
    for patch in reversed(edits):
        masks = apply_patch(masks, patch.reversed())
    assert masks.equals(start)
    assert masks.sha256 == start.sha256


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_a_patch_comes_back_from_its_file_as_it_was(seed):
    rng = np.random.default_rng(seed)
    patch = difference(random_masks(rng), random_masks(rng))
    again = parse_patch(patch_bytes(patch), patch.region, patch.kinds)
    for kind in KINDS:
        for side in ("before", "after"):
            np.testing.assert_array_equal(getattr(patch, side)[kind], getattr(again, side)[kind])
            assert getattr(patch, side)[kind].dtype == getattr(again, side)[kind].dtype


def test_two_people_who_paint_in_different_corners_both_keep_their_strokes():
    rng = np.random.default_rng(1)
    masks = random_masks(rng)
    annas, bens = masks.copy(), masks.copy()
    annas.foreground[:5, :5] = ~annas.foreground[:5, :5]
    bens.cells[-4:, -4:] += 1
    both = apply_patch(apply_patch(masks, difference(masks, annas)), difference(masks, bens))
    np.testing.assert_array_equal(both.foreground, annas.foreground)
    np.testing.assert_array_equal(both.cells, bens.cells)


def test_equal_masks_are_no_edit():
    masks = random_masks(np.random.default_rng(2))
    assert difference(masks, masks.copy()) is None


def test_an_edit_beyond_the_field_is_refused():
    masks = random_masks(np.random.default_rng(2))
    one = {"foreground": np.ones((4, 4), bool)}
    with pytest.raises(InvalidArgumentError, match="does not lie within a field of 24 x 31"):
        apply_patch(masks, MaskPatch(Region(22, 26, 0, 4), one, one))


@pytest.mark.parametrize("content", [b"", b"no TIFF", b"II*\x00" + b"\xff" * 40], ids=["empty", "text", "cut off"])
def test_a_damaged_patch_is_said_to_be_one(content):
    with pytest.raises(InvalidDataError, match=r"cannot be read as a TIFF|its event speaks of"):
        parse_patch(content, Region(0, 4, 0, 4), ("cells",))


def test_a_patch_of_another_size_than_its_event_says_is_refused():
    rng = np.random.default_rng(3)
    patch = difference(random_masks(rng), random_masks(rng))
    with pytest.raises(InvalidDataError, match="its event speaks of"):
        parse_patch(patch_bytes(patch), Region(0, 3, 0, 3), patch.kinds)


# --- events ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.sampled_from(ACTIONS),
    st.text(min_size=1).filter(str.strip),
    st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)),
)
def test_an_event_comes_back_from_its_file_as_it_was(action, name, after):
    made = new_event(RUN, Reviewer(name), Deed(action, FIELD, after=after, reason_code="other", reason="x"), at=T0)
    assert parse_event(event_text(made).encode()) == made


def test_a_changed_event_is_noticed():
    text = event_text(event("accepted")).replace("Anna", "Otto")
    with pytest.raises(InvalidDataError, match="was altered"):
        parse_event(text.encode())


def test_an_event_of_a_newer_version_says_what_to_do():
    text = event_text(event("accepted")).replace('"schema_version": 1', '"schema_version": 2')
    with pytest.raises(InvalidDataError, match=r"newer msc-vision \(schema 2\); update"):
        parse_event(text.encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"event_id"', b"null", b"\xff\xfe"])
def test_what_is_no_event_is_said_to_be_none(content):
    with pytest.raises(InvalidDataError, match=r"is no review event|cannot be read as JSON"):
        parse_event(content)


def test_a_rejection_without_a_reason_is_refused():
    with pytest.raises(InvalidArgumentError, match="'rejected' needs a reason"):
        new_event(RUN, ANNA, Deed("rejected", FIELD), at=T0)


# --- what follows ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_the_order_in_which_events_are_read_does_not_matter(data):
    made = []
    for minute in range(data.draw(st.integers(1, 8))):
        known = data.draw(st.lists(st.sampled_from(made), unique=True)) if made else []
        action = data.draw(st.sampled_from(["looked", "accepted", "rejected", "reopened", "edited", "measured"]))
        made.append(event(action, data.draw(st.sampled_from([ANNA, BEN])), minute, heads(known)))
    assert review_state(data.draw(st.permutations(made))) == review_state(made)


def test_two_people_who_did_not_know_of_each_other_disagree_and_the_stricter_stands():
    state = review_state([event("accepted", ANNA, 0), event("rejected", BEN, 1)]).of("field-a")
    assert (state.standing, state.is_disputed, state.decided_by.reviewer) == ("rejected", True, BEN)


def test_who_knew_of_the_other_has_the_last_word():
    first = event("rejected", ANNA, 0)
    state = review_state([first, event("accepted", BEN, 1, first.event_id)]).of("field-a")
    assert (state.standing, state.is_disputed) == ("accepted", False)


def test_a_third_person_who_knows_of_both_ends_the_dispute():
    annas, bens = event("accepted", ANNA, 0), event("rejected", BEN, 1)
    caros = event("accepted", CARO, 2, heads([annas, bens]))
    state = review_state([annas, bens, caros]).of("field-a")
    assert (state.standing, state.is_disputed) == ("accepted", False)


def test_a_third_person_who_knows_of_one_does_not_end_it():
    annas, bens = event("accepted", ANNA, 0), event("rejected", BEN, 1)
    caros = event("accepted", CARO, 2, annas.event_id)
    assert review_state([annas, bens, caros]).of("field-a").is_disputed


def test_a_measurement_covers_the_corrections_it_knew_of_and_no_others():
    annas = event("edited", ANNA, 0)
    measured = event("measured", ANNA, 2, annas.event_id)
    assert not review_state([annas, measured]).of("field-a").needs_measuring
    bens = event("edited", BEN, 1)  # earlier by the clock, but Anna's program had not read it
    state = review_state([annas, bens, measured]).of("field-a")
    assert state.needs_measuring
    assert state.unmeasured == (bens,)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_damaged_event_costs_nothing_but_itself(tmp_path):
    for minute in range(3):
        append_event(tmp_path, event("looked", minute=minute))
    victim = sorted((tmp_path / "reviews").glob("*.json"))[1]
    victim.write_bytes(victim.read_bytes()[:100])
    log = read_log(tmp_path)
    assert len(log.events) == 2
    assert log.problems == (f"reviews/{victim.name} {log.problems[0].split(' ', 1)[1]}",)
    assert "cannot be read as JSON" in log.problems[0]


def test_a_file_that_was_not_finished_is_not_read(tmp_path):
    append_event(tmp_path, event("looked"))
    (tmp_path / "reviews" / ".20261122T090000000000Z-x.json.123-ab.tmp").write_text("{")
    assert len(read_log(tmp_path).events) == 1
    assert read_log(tmp_path).problems == ()


def test_a_folder_that_cannot_be_written_to_is_said_in_a_sentence(tmp_path):
    (tmp_path / "reviews").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"reviews.*cannot be written: .+\."):
        append_event(tmp_path, event("looked"))


def test_the_same_patch_is_kept_once(tmp_path):
    rng = np.random.default_rng(4)
    patch = difference(random_masks(rng), random_masks(rng))
    assert save_patch(tmp_path, patch) == save_patch(tmp_path, patch)
    assert len(list((tmp_path / "reviews" / "patches").iterdir())) == 1


def test_an_altered_patch_is_noticed(tmp_path):
    rng = np.random.default_rng(5)
    patch = difference(random_masks(rng), random_masks(rng))
    name, digest = save_patch(tmp_path, patch)
    region = [patch.region.y0, patch.region.y1, patch.region.x0, patch.region.x1]
    after = {"region": region, "kinds": list(patch.kinds), "patch": name, "patch_sha256": digest}
    made = event("edited", after=after)
    assert read_patch(tmp_path, made).region == patch.region
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(InvalidDataError, match="was altered: it does not have the sha256 that its event names"):
        read_patch(tmp_path, made)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidDataError, match="cannot be read"):
        read_patch(tmp_path, made)


def test_an_event_cannot_point_out_of_the_folder(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(InvalidDataError, match="does not lie in reviews/patches"):
        read_blob(tmp_path, "reviews/patches/../../secret", "0" * 64)


def test_a_field_says_in_words_who_did_what():
    edited = event("edited", ANNA, 0)
    rejected = event("rejected", BEN, 1, edited.event_id)
    assert review_state([edited, rejected]).of("field-a").words == "corrected by Anna; rejected by Ben (debris)"
    assert review_state([event("looked")]).of("field-a").words is None
    both = [event("accepted", ANNA, 0), event("rejected", BEN, 1)]
    assert review_state(both).of("field-a").words == "rejected by Ben (debris); others disagree"

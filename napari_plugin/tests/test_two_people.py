"""Two people who correct one field at about the same time: every cell has a number of its own, and nothing is lost."""

from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.errors import OutputError
from msc_vision.review import log
from msc_vision.review.events import Reviewer
from msc_vision.review.masks import apply_patch, difference, empty_masks
from msc_vision.review.numbers import new_numbers, renumbered, renumbered_masks
from napari_msc_vision.outbox import Edit, Outbox
from napari_msc_vision.session import Message, ReviewSession, open_session

ANNA, BERT = Reviewer("anna"), Reviewer("bert")
ANNAS, BERTS = (slice(5, 45), slice(5, 45)), (slice(5, 45), slice(105, 145))
"""Where they paint."""


@pytest.fixture
def anna(small_run: Path) -> ReviewSession:
    return at_work(small_run, ANNA)


@pytest.fixture
def bert(small_run: Path) -> ReviewSession:
    return at_work(small_run, BERT)


def at_work(run, who, work=None):
    """Let somebody open the first field."""
    session = open_session(run, work, who)
    session.open(session.keys()[0])
    return session


def add(session, place, kind="cells"):
    """Let somebody add a cell or an aggregate, and return its number."""
    masks = session.masks.copy()
    number = masks.of(kind).max() + 1
    masks.of(kind)[place] = number
    masks.foreground[place] = True
    session.commit(masks, "new cell")
    return int(number)


def enlarge(session, number, place):
    """Let somebody paint a cell that is there over a place."""
    masks = session.masks.copy()
    masks.cells[place], masks.foreground[place] = number, True
    session.commit(masks, "paint cell")


def full(path, content):
    raise OutputError(f"{path}: cannot be written: the disk is full; free some space.")


def number_at(session, place, kind="cells"):
    """Return the one number that a place has."""
    (number,) = np.unique(session.masks.of(kind)[place])
    return int(number)


def assert_all_see_the_same(*sessions):
    """Let everybody look once more, and hold what they see against what somebody sees who opens the run now."""
    for session in sessions:
        session.refresh()
    fresh = at_work(sessions[0].run.folder, Reviewer("caro"))
    for session in sessions:
        assert session.masks.equals(fresh.masks)
        assert session.score.n_objects == fresh.score.n_objects
    return fresh


@pytest.mark.parametrize("kind", ["cells", "aggregates"])
def test_what_both_add_are_two(anna, bert, kind):
    assert add(anna, ANNAS, kind) == add(bert, BERTS, kind)
    assert_all_see_the_same(anna, bert)
    assert number_at(anna, BERTS, kind) == number_at(anna, ANNAS, kind) + 1


def test_two_cells_more_are_counted(anna, bert):
    blank = empty_masks(anna.masks.shape)
    anna.replace_masks(blank, "annotation")
    bert.refresh()
    add(anna, ANNAS)
    add(bert, BERTS)
    assert assert_all_see_the_same(anna, bert).score.n_objects == 2


def test_what_came_second_can_be_taken_back_and_made_again(anna, bert):
    add(anna, ANNAS)
    original = bert.masks
    add(bert, BERTS)
    bert.undo()
    assert_all_see_the_same(anna, bert)
    np.testing.assert_array_equal(bert.masks.cells[BERTS], original.cells[BERTS])
    assert number_at(bert, ANNAS) == original.cells.max() + 1
    bert.redo()
    assert_all_see_the_same(anna, bert)
    assert number_at(bert, BERTS) != number_at(bert, ANNAS)


def test_a_stroke_made_again_leaves_alone_the_cell_that_somebody_added_meanwhile(anna, bert):
    add(bert, BERTS)
    bert.undo()
    anna.refresh()
    add(anna, ANNAS)
    bert.refresh()
    bert.redo()
    assert_all_see_the_same(anna, bert)
    assert number_at(bert, BERTS) != number_at(bert, ANNAS)


def test_a_cell_that_was_taken_away_comes_back_as_one_of_its_own(anna, bert):
    number = add(anna, ANNAS)
    add(anna, (slice(60, 80), slice(5, 45)))
    enlarge(anna, 0, ANNAS)
    assert add(bert, BERTS) == number
    anna.undo()
    assert_all_see_the_same(anna, bert)
    assert number_at(anna, ANNAS) == number
    assert number_at(anna, BERTS) == number + 2


def test_what_waited_for_the_disk_speaks_of_the_same_cells_when_it_is_written(anna, bert, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(log, "write_whole", full)
        first = add(bert, BERTS)
        second = add(bert, (slice(60, 80), slice(105, 145)))
        enlarge(bert, first, (slice(45, 50), slice(105, 145)))
    add(anna, ANNAS)
    add(anna, (slice(60, 80), slice(5, 45)))
    bert.refresh()
    assert bert.n_unsaved == 3
    assert number_at(bert, BERTS) == first
    assert not bert.masks.equals(bert.run.masks(bert.current))  # what the other did is shown once this is written
    bert.save()
    assert bert.n_unsaved == 0
    assert_all_see_the_same(anna, bert)
    number = number_at(bert, (slice(5, 50), slice(105, 145)))
    places = (ANNAS, (slice(60, 80), slice(5, 45)), (slice(60, 80), slice(105, 145)))
    assert len({number, *(number_at(bert, place) for place in places)}) == 4
    assert number_at(bert, places[2]) - number == second - first
    for _ in range(3):
        bert.undo()
    anna.refresh()
    assert anna.masks.cells.max() == first + 1
    assert_all_see_the_same(anna, bert)


def test_a_field_that_was_left_is_measured_with_the_numbers_that_its_cells_have(anna, bert, small_run, monkeypatch):
    key = bert.current
    with monkeypatch.context() as patched:
        patched.setattr(log, "write_whole", full)
        number = add(bert, BERTS)
        bert.open(bert.keys()[1])
    add(anna, ANNAS)
    bert.save()
    measured = [one for one in ReviewedRun.open(small_run).state.of(key).events if one.action == "measured"]
    assert [one.reviewer for one in measured] == [BERT]
    bert.open(key)
    assert_all_see_the_same(anna, bert)
    assert (number_at(bert, ANNAS), number_at(bert, BERTS)) == (number, number + 1)


def test_a_stroke_with_numbers_that_are_there_keeps_them(anna, bert):
    add(anna, ANNAS)
    number = int(bert.masks.cells[bert.masks.cells > 0][0])
    told = []
    bert.numbers_moved.connect(told.append)
    enlarge(bert, number, BERTS)
    assert_all_see_the_same(anna, bert)
    assert number_at(anna, BERTS) == number
    assert told == []


def test_who_added_a_cell_hears_of_its_number_and_stays_with_it(anna, bert):
    add(anna, ANNAS)
    told, selected = [], []
    bert.cell_selected.emit(int(bert.masks.cells.max()) + 1)  # the cell that is about to be there
    bert.cell_selected.connect(selected.append)
    bert.masks_changed.connect(lambda _: told.append((number_at(bert, BERTS), (bert.masks.cells[ANNAS] > 0).all())))
    number = add(bert, BERTS)
    assert told == [(number + 1, False), (number + 1, True)]  # first its own cells, then what the other did
    assert selected == [number + 1]


def test_what_others_said_meanwhile_is_reported_still(anna, bert, small_run):
    add(anna, ANNAS)
    anna.open(anna.keys()[1])
    anna.judge_field("rejected", "out-of-focus", "")
    told: list[Message] = []
    bert.said.connect(told.append)
    add(bert, BERTS)
    words = [one.text for one in told]
    assert any("anna worked on this run too: 4 entries were taken in, nothing was lost." in one for one in words)
    assert bert.run.state.of(anna.current).standing == "rejected"
    assert bert.run.state.fields.keys() == ReviewedRun.open(small_run).state.fields.keys()


def test_who_judges_without_knowing_of_the_other_is_not_said_to_have_known(anna, bert, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(log, "write_whole", full)
        add(bert, BERTS)
        bert.judge_field("accepted", None, "")
    add(anna, ANNAS)
    anna.judge_field("rejected", "out-of-focus", "")
    bert.save()
    state = assert_all_see_the_same(anna, bert).run.state.of(bert.current)
    assert (state.standing, state.is_disputed) == ("rejected", True)


def test_where_both_painted_everybody_sees_the_stroke_that_came_last(anna, bert):
    add(anna, ANNAS)
    add(bert, (slice(25, 65), slice(25, 65)))
    assert_all_see_the_same(anna, bert)


def test_a_correction_that_cannot_be_read_keeps_nobody_from_writing(anna, bert, small_run):
    add(anna, ANNAS)
    for path in (small_run / "reviews" / "patches").glob("*.tif"):
        path.write_bytes(b"damaged")
    add(bert, BERTS)
    assert bert.n_unsaved == 0
    told: list[Message] = []
    bert.said.connect(told.append)
    bert.refresh()
    assert any("was altered" in one.text for one in told)


class SlowWork:
    """Work whose jobs are done, and whose answers are handed over, when the test says so."""

    def __init__(self):
        self.jobs, self.answers = deque(), deque()

    def submit(self, job, done, failed, *, lane="work"):
        self.jobs.append((lane, job, done, failed))
        return self

    def cancel(self):
        """Let it be: what was asked came already."""

    def do(self, lane):
        """Do the jobs of a lane; the main thread does not hear of it yet."""
        for one in [one for one in self.jobs if one[0] == lane]:
            self.jobs.remove(one)
            self.answers.append((one[2], one[1]()))

    def tell(self):
        while self.answers:
            done, answer = self.answers.popleft()
            done(answer)

    def finish(self):
        while self.jobs or self.answers:
            for lane in {one[0] for one in self.jobs}:
                self.do(lane)
            self.tell()

    def finish_opening(self):
        """Do what opening a field asks for, and hand over nothing else."""
        for one in [one for one in self.jobs if one[0] == "open"]:
            self.jobs.remove(one)
            one[2](one[1]())

    def later(self, call, after_ms=0):
        call()

    def close(self):
        self.finish()


def test_strokes_between_writing_and_hearing_of_it_speak_of_the_same_cells(bert, small_run):
    work = SlowWork()
    anna = at_work(small_run, ANNA, work)
    work.finish()
    add(bert, BERTS)
    first = add(anna, ANNAS)
    anna.refresh()
    work.do("write")  # written with another number, and what Bert did is read; Anna knows of neither
    second = add(anna, (slice(60, 80), slice(5, 45)))
    enlarge(anna, first, (slice(45, 50), slice(5, 45)))
    anna.undo()
    anna.redo()
    work.do("write")
    add(bert, (slice(60, 80), slice(105, 145)))
    assert number_at(anna, (slice(5, 50), slice(5, 45))) == first
    work.finish()
    anna.refresh()
    work.finish()
    bert.refresh()
    fresh = at_work(small_run, Reviewer("caro"))
    assert anna.masks.equals(fresh.masks)
    assert bert.masks.equals(fresh.masks)
    number = number_at(anna, (slice(5, 50), slice(5, 45)))
    places = (BERTS, (slice(60, 80), slice(105, 145)), (slice(60, 80), slice(5, 45)))
    assert len({number, *(number_at(anna, place) for place in places)}) == 4
    assert (number, number_at(anna, places[2])) == (first + 1, second + 1)


def test_a_field_that_was_left_and_is_opened_again_shows_the_numbers_that_were_written(bert, small_run):
    work = SlowWork()
    anna = at_work(small_run, ANNA, work)
    work.finish()
    add(bert, BERTS)
    key, number = anna.current, add(anna, ANNAS)
    anna.open(anna.keys()[1])
    work.finish_opening()
    assert anna.current != key
    work.do("write")
    anna.open(key)
    assert number_at(anna, ANNAS) == number + 1
    work.finish()
    bert.refresh()
    assert anna.masks.equals(bert.masks)


# --- whatever they do ------------------------------------------------------------------------------------------------


class Disk:
    """What an outbox needs of a run: masks that several people write to."""

    def __init__(self, masks):
        self.masks_now = masks

    def masks_on_disk(self, _key):
        return self.masks_now

    def edit(self, _key, patch, _reviewer, _tool):
        self.masks_now = apply_patch(self.masks_now, patch)


class Person:
    """Somebody who corrects a field and sees nothing of what the others do; ``cells`` of ``truth`` names each cell."""

    def __init__(self, disk, start, name):
        self.outbox, self.name = Outbox(disk), name
        self.screen = self.truth = start
        self.n_cells, self.waiting, self.done, self.undone = 0, [], [], []

    def paint(self, place, number, name):
        screen, truth = self.screen.copy(), self.truth.copy()
        screen.cells[place], truth.cells[place] = number, name
        strokes = difference(self.screen, screen), difference(self.truth, truth)
        if strokes[0] is not None:
            self.done, self.undone = [*self.done, strokes], []
            self.put(strokes)

    def put(self, strokes):
        edit = Edit("field", strokes[0], "paint", new_numbers(self.screen, strokes[0]), self.outbox.n_told)
        self.screen, self.truth = apply_patch(self.screen, strokes[0]), apply_patch(self.truth, strokes[1])
        self.outbox.put(edit, Reviewer(self.name))
        self.waiting.append(strokes[1])

    def new(self, place):
        self.n_cells += 1
        self.paint(place, self.screen.cells.max() + 1, 1000 * ord(self.name) + self.n_cells)

    def enlarge(self, place):
        corner = place[0].start, place[1].start
        if self.screen.cells[corner]:
            self.paint(place, self.screen.cells[corner], self.truth.cells[corner])

    def undo(self, _place):
        if self.done:
            self.undone.append(self.done.pop())
            self.put([one.reversed() for one in self.undone[-1]])

    def redo(self, _place):
        if self.undone:
            self.done.append(self.undone.pop())
            self.put(self.done[-1])

    def learn(self, _place):
        shifts = self.outbox.news().get("field", ())
        self.screen = renumbered_masks(self.screen, shifts)
        self.done, self.undone = ([(renumbered(a, shifts), b) for a, b in some] for some in (self.done, self.undone))


@settings(max_examples=150)
@given(st.data())
def test_whatever_two_people_do_cells_are_the_same_cells(data):
    start = empty_masks((12, 12))
    start.cells[1:3, 1:5], start.cells[6:9, 2:4] = 1, 2
    disk = Disk(start)
    people, truth = [Person(disk, start, name) for name in "ab"], start
    deeds = st.tuples(
        st.sampled_from(people),
        st.sampled_from(["new", "enlarge", "undo", "redo", "write", "learn"]),
        st.tuples(*[st.integers(0, 10), st.integers(1, 6)] * 2),
    )
    for person, deed, (y, height, x, width) in [*data.draw(st.lists(deeds, max_size=30)), *all_write(people)]:
        if deed == "write":
            person.outbox.empty()
            for stroke in person.waiting:
                truth = apply_patch(truth, stroke)
            person.waiting = []
        else:
            getattr(person, deed)((slice(y, y + height), slice(x, x + width)))
    pairs = set(zip(disk.masks_now.cells.ravel().tolist(), truth.cells.ravel().tolist(), strict=True))
    assert len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})


def all_write(people):
    return [(person, "write", (0, 1, 0, 1)) for person in people]

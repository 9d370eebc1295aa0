"""A few things a turn of the event loop each: in their order, behind a curtain that never stays closed."""

from functools import partial

import pytest

from napari_msc_vision.steps import Steps


class Stage:
    """Turns of an event loop by hand, and a curtain that notes when it moves."""

    def __init__(self):
        self.seen, self._turns = [], []
        self.steps = Steps(self._turns.append, self)

    def close(self):
        self.seen.append("closed")

    def open(self):
        self.seen.append("open")

    def act(self, *names):
        return [partial(self.seen.append, name) for name in names]

    def turn(self):
        self._turns.pop(0)()

    def turns(self):
        while self._turns:
            self.turn()


@pytest.fixture
def stage():
    return Stage()


def test_each_has_a_turn_of_its_own_and_so_has_the_curtain(stage):
    stage.steps.begin(stage.act("a", "b"))
    assert stage.seen == ["closed"]
    for expected in ("a", "b", "open"):
        assert stage.steps.is_busy
        stage.turn()
        assert stage.seen[-1] == expected
    assert not stage.steps.is_busy


def test_others_come_after_what_is_left(stage):
    stage.steps.begin(stage.act("a", "b"))
    stage.turn()
    stage.steps.then(stage.act("c"))
    stage.turns()
    stage.steps.then(stage.act("d"))
    stage.turns()
    assert stage.seen == ["closed", "a", "b", "c", "open", "closed", "d", "open"]


def test_what_begins_anew_lets_the_rest_be(stage):
    stage.steps.begin(stage.act("a", "b"))
    stage.turn()
    stage.steps.begin(stage.act("c"))
    stage.turns()
    assert stage.seen == ["closed", "a", "c", "open"]


def test_who_cannot_wait_has_it_done(stage):
    stage.steps.begin(stage.act("a", "b"))
    stage.steps.finish()
    assert stage.seen == ["closed", "a", "b", "open"]
    stage.turns()
    assert stage.seen == ["closed", "a", "b", "open"]


def test_one_that_fails_keeps_neither_the_others_back_nor_the_curtain_closed(stage):
    stage.steps.begin([*stage.act("a"), lambda: 1 / 0, *stage.act("b")])
    stage.turn()
    with pytest.raises(ZeroDivisionError):
        stage.turn()
    stage.turns()
    assert stage.seen == ["closed", "a", "b", "open"]

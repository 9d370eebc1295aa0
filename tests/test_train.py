"""A training gives the same weights however often it is stopped, and a model of its own with a card."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from msc_vision.cli import app
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError, UndefinedResultError
from msc_vision.learning.card import CardTable, card_text
from msc_vision.learning.checkpoint import load_checkpoint
from msc_vision.learning.prepared import TrainingItem
from msc_vision.learning.progress import Lines, Silent, rate_and_rest
from msc_vision.learning.train import learning_rate, train, trusted_judges
from msc_vision.segmentation.network.weights import load_model
from training_cases import disc_field, tiny_plan, tiny_recipe, write_data


class StopAt(Silent):
    """Interrupts after a number of steps, as a hand on the keyboard would."""

    def __init__(self, n, error=KeyboardInterrupt):
        self.left, self.error = n, error

    @contextmanager
    def stage(self, title, unit, n_total, n_before=0):
        def advance(_remark=""):
            self.left -= unit == "steps"
            if not self.left:
                raise self.error

        yield advance


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("training") / "data")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A model of twelve undisturbed steps."""
    return train(tiny_plan(data, tmp_path_factory.mktemp("models")))


def weights_of(folder):
    return load_model(folder).network.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_recipe_gives_the_same_weights_with_any_number_of_loaders(data, trained, tmp_path):
    again = train(tiny_plan(data, tmp_path, workers=2))
    assert same(weights_of(trained), weights_of(again))


def test_another_seed_gives_other_weights(data, trained, tmp_path):
    settings = tiny_recipe().training.model_dump() | {"seed": 1}
    other = train(tiny_plan(data, tmp_path, recipe=tiny_recipe(training=settings)))
    assert not same(weights_of(trained), weights_of(other))


def test_a_stopped_training_goes_on_to_the_weights_of_an_undisturbed_one(data, trained, tmp_path):
    plan = tiny_plan(data, tmp_path)
    with pytest.raises(KeyboardInterrupt, match="4 steps are kept"):
        train(plan, StopAt(7))
    with pytest.raises(KeyboardInterrupt, match="8 steps are kept"):
        train(tiny_plan(data, tmp_path, is_resumed=True), StopAt(5))
    assert same(weights_of(trained), weights_of(train(tiny_plan(data, tmp_path, is_resumed=True))))


def test_a_killed_training_leaves_its_last_checkpoint(data, tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_train import StopAt, train, tiny_plan, Path\n"
        "class Kill(Exception):\n"
        "    def __init__(self): os.kill(os.getpid(), 9)\n"
        "train(tiny_plan(Path(sys.argv[2]), Path(sys.argv[3])), StopAt(6, Kill))\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, here, str(data), str(tmp_path)], check=False, timeout=120)
    assert done.returncode == -9
    assert load_checkpoint(tmp_path / "tiny.training").step == 4
    assert train(tiny_plan(data, tmp_path, is_resumed=True)).is_dir()


def test_an_interrupted_training_is_not_begun_again_by_mistake(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_plan(data, tmp_path), StopAt(5))
    with pytest.raises(InvalidArgumentError, match=r"4 steps done; go on with --resume"):
        train(tiny_plan(data, tmp_path))


def test_another_recipe_does_not_go_on_from_a_checkpoint(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_plan(data, tmp_path), StopAt(5))
    other = tiny_recipe(augmentation={"blur_chance": 0.0})
    with pytest.raises(InvalidArgumentError, match="begun with another recipe"):
        train(tiny_plan(data, tmp_path, recipe=other, is_resumed=True))


def test_a_damaged_checkpoint_is_one_clear_line(data, tmp_path):
    (tmp_path / "tiny.training").mkdir()
    (tmp_path / "tiny.training" / "checkpoint.pt").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(InvalidDataError, match=r"checkpoint.pt: cannot be read"):
        train(tiny_plan(data, tmp_path, is_resumed=True))


def test_a_full_disk_keeps_the_checkpoint_before(data, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_plan(data, tmp_path), StopAt(5))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("msc_vision.io.output.os.fsync", full)
        with pytest.raises(OutputError, match="disk is full"):
            train(tiny_plan(data, tmp_path, is_resumed=True))
    assert load_checkpoint(tmp_path / "tiny.training").step == 4
    assert train(tiny_plan(data, tmp_path, is_resumed=True)).is_dir()


def test_a_finished_model_is_never_overwritten(data, trained):
    with pytest.raises(OutputError, match="exists already"):
        train(tiny_plan(data, trained.parent))


def test_a_loss_that_is_no_number_ends_the_training(data, tmp_path):
    settings = tiny_recipe().training.model_dump() | {"learning_rate": 1e30, "gradient_limit": 1e30}
    with pytest.raises(UndefinedResultError, match=r"lower training.learning_rate"):
        train(tiny_plan(data, tmp_path, recipe=tiny_recipe(training=settings)))


def test_training_learns(data, tmp_path):
    settings = {"n_steps": 60, "batch": 4, "crop_px": 64, "learning_rate": 0.01, "warm_up_steps": 5}
    train(tiny_plan(data, tmp_path, recipe=tiny_recipe(training=settings)))
    log = np.genfromtxt(tmp_path / "tiny.training" / "log.csv", delimiter=",", names=True)
    assert log["loss_foreground"][-1] < 0.8 * log["loss_foreground"][0]


def test_it_stops_early_and_keeps_the_best(data, tmp_path, monkeypatch):
    from msc_vision.learning import train as loop
    from msc_vision.learning.score import Score, SetScore

    dice = iter([0.5, 0.8, 0.7, 0.6, 0.5, 0.4])
    given = lambda *_: Score((SetScore("areas", 2, next(dice, 0.3), 1.0, 2.0),))  # noqa: E731
    monkeypatch.setattr(loop, "_score", given)
    recipe = tiny_recipe(validation={"hold_out": ["areas"], "every_steps": 2, "patience": 2})
    model = load_model(train(tiny_plan(data, tmp_path, recipe=recipe)))
    assert model.config.training["steps"] == 4
    assert load_checkpoint(tmp_path / "tiny.training").step == 8


def test_what_was_held_out_is_scored_in_the_card(data, tmp_path):
    recipe = tiny_recipe(validation={"hold_out": ["areas"], "every_steps": 6})
    folder = train(tiny_plan(data, tmp_path, recipe=recipe))
    (row,) = json.loads((folder / "config.json").read_text())["training"]["held_out_figures"]
    assert row["set"] == "areas"
    assert "| areas | 2 |" in (folder / "card.md").read_text()


def test_a_laboratory_fine_tunes_on_its_own_masks_into_a_new_model(trained, tmp_path, monkeypatch):
    from msc_vision.learning import finetune
    from msc_vision.learning.recipe import SyntheticRecipe, TrainingRecipe

    monkeypatch.setattr(finetune, "SyntheticRecipe", lambda **_: SyntheticRecipe(n_fields=1, side_px=128, share=0.1))
    short = TrainingRecipe(n_steps=4, batch=2, crop_px=64)
    monkeypatch.setattr(finetune, "TrainingRecipe", lambda **_: short)
    own = tmp_path / "own"
    own.mkdir()
    for i in range(2):
        picture, labels = disc_field(i)
        tifffile.imwrite(own / f"f{i}.tif", picture)
        tifffile.imwrite(own / f"f{i}_labels.tif", labels)
    before = load_model(trained).sha256
    called = CliRunner().invoke(
        app,
        ["train", str(own), "--from", str(trained), "--name", "lab7-1", "--pixel-size-um", "0.8",
         "--out", str(tmp_path / "models"), "--cache", str(tmp_path / "cache"), "--workers", "1", "--threads", "1"],
    )  # fmt: skip
    assert called.exit_code == 0, called.output
    folder = Path(called.stdout.strip())
    model = load_model(folder)
    assert (model.config.id, model.config.training["parent"]["sha256"]) == ("lab7-1", before)
    assert model.sha256 != before
    assert load_model(trained).sha256 == before
    assert "Began with the weights of tiny" in (folder / "card.md").read_text()


def test_a_model_teaches_the_next_one_where_it_is_sure(data, trained, tmp_path):
    taught = {"sets": ["plain"], "teacher": str(trained), "share": 0.5, "sure": [0.4, 0.6]}
    folder = train(tiny_plan(data, tmp_path, recipe=tiny_recipe(pseudo=[taught])))
    parts = {row["part"]: row["pictures"] for row in load_model(folder).config.training["data"]}
    assert parts[f"plain as {trained} sees it"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{recipe}", "--fold", "4/3"], "--fold is '4/3'"),
        (["{recipe}", "--name", "Lab 7"], "--name is 'Lab 7'"),
        (["{folder}"], "--from MODEL --name NAME"),
        (["{recipe}", "--from", "no-such-model"], "No model 'no-such-model'"),
        (["{recipe}", "--data", "nowhere"], "no such list of pictures"),
        (["missing.yaml"], "the recipe cannot be read"),
    ],
    ids=["fold out of range", "name with blanks", "folder without a model", "unknown model", "no data", "no recipe"],
)
def test_what_is_wrong_with_a_command_is_one_line(data, tmp_path, arguments, said):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("{name: tiny, description: d, sources: [{sets: [discs], truth: instances, share: 1}]}")
    filled = [a.format(recipe=recipe, folder=data) for a in arguments]
    result = CliRunner().invoke(app, ["train", *filled, "--out", str(tmp_path / "models")])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_learning_rate_rises_and_falls():
    settings = {"n_steps": 100, "warm_up_steps": 10, "learning_rate": 1.0, "last_learning_rate": 0.0}
    recipe = tiny_recipe(training=settings)
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] < 0.11
    assert max(rates) == rates[9] > 0.97
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_progress_says_rate_and_time_left(capsys):
    assert rate_and_rest(50, 100, 10.0, "steps") == "5 steps/s, 20 s left"
    clock = iter(range(0, 1000, 6))
    with Lines(sys.stderr, clock=lambda: next(clock)).stage("Training", "steps", 8, 2) as advance:
        for _ in range(6):
            advance("loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Training: 8 steps, 2 of them done before."
    assert lines[1] == "4/8 steps, 0.167 steps/s, 24 s left; loss 1"
    assert lines[-1].startswith("Training: 8/8 steps in")


def test_a_card_states_data_licences_limits_and_figures(trained):
    config = load_model(trained).config
    table = CardTable("By density", ("density, %", "Dice"), [("10-30", 0.8512)], "Cross-validated.")
    card = card_text(config, "Discs.", tables=[table], failures=["Pale large cells read as bare."])
    for said in ("## For", "## Not for", "| discs | 6 |", "not stated", "| 10-30 | 0.851 |", "Cross-validated.",
                 "Pale large cells", "Licence of the weights: BSD-3-Clause", "12 steps, seed 0"):  # fmt: skip
        assert said in card


@pytest.mark.parametrize(
    ("n_real", "n_simulated", "names"),
    [(20, 40, {"dishes"}), (19, 1, {"dishes", "synthetic"}), (12, 7, set())],
    ids=["enough real ones", "enough together", "too few"],
)
def test_real_pictures_say_how_far_an_answer_may_be_off_where_there_are_enough(n_real, n_simulated, names):
    picture, maps = np.zeros((4, 4), np.uint16), np.zeros((2, 4, 4, 4), np.uint8)
    sets = ["dishes"] * n_real + ["synthetic"] * n_simulated
    items = [TrainingItem(str(i), name, "", picture, maps, (), True) for i, name in enumerate(sets)]
    assert {item.set_name for item in trusted_judges(items)} == names

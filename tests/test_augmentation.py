"""Crops differ as pictures do, and picture and truth stay together."""

import itertools

import numpy as np
import pytest
import torch

from msc_vision.learning.augment import photometric
from msc_vision.learning.batches import BatchMaker, Part, batches, crop
from msc_vision.learning.loss import map_losses, scale_loss, total_loss
from msc_vision.learning.prepared import TrainingItem
from msc_vision.learning.recipe import AugmentationRecipe, TrainingRecipe
from msc_vision.learning.targets import INSTANCES, instance_maps
from msc_vision.segmentation.network.maps import MAPS
from training_cases import disc_field

TRAINING = TrainingRecipe(batch=2, crop_px=64)
STILL = AugmentationRecipe(
    scale=(1, 1), contrast=(1, 1), inversion_chance=0, vignetting_chance=0, blur_chance=0, noise_chance=0,
    gamma_chance=0, jpeg_chance=0,
)  # fmt: skip


def disc_item(seed=0):
    picture, labels = disc_field(seed)
    return TrainingItem("d", "discs", "k", picture, instance_maps(labels), INSTANCES, True)


def only(**changes):
    return STILL.model_copy(update=changes)


def varied(recipe, seed=0):
    picture = torch.from_numpy(disc_field(2)[0].astype(np.float32))[None]
    picture /= picture.mean()
    return picture, photometric(recipe, np.random.default_rng(seed))(picture)


def test_nothing_drawn_changes_nothing():
    before, after = varied(STILL)
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (only(contrast=(0.5, 0.5)), lambda p: 1 + 0.5 * (p - 1)),
        (only(inversion_chance=1), lambda p: 2 - p),
        (only(gamma_chance=1, gamma=(2, 2)), lambda p: p * p),
    ],
    ids=["half the contrast", "dark becomes bright", "gamma of two"],
)
def test_a_step_does_what_its_name_says(recipe, expected):
    before, after = varied(recipe)
    torch.testing.assert_close(after, expected(before).clamp(min=0.02))


def test_blur_takes_texture_and_noise_adds_it():
    before, blurred = varied(only(blur_chance=1, blur_sigma_px=(1.5, 1.5)))
    _, noisy = varied(only(noise_chance=1, noise=(0.05, 0.05)))
    texture = [float(p.diff(dim=-1).std()) for p in (blurred, before, noisy)]
    assert texture == sorted(texture)


def test_noise_is_weaker_where_contrast_is():
    flat, noisy = (varied(only(contrast=(0.1, 0.1), noise_chance=c, noise=(0.05, 0.05)))[1] for c in (0, 1))
    assert float((noisy - flat).std()) == pytest.approx(0.005, rel=0.05)


def test_jpeg_leaves_the_picture_but_not_its_pixels():
    before, after = varied(only(jpeg_chance=1, jpeg_quality=(50, 50)))
    assert not torch.equal(before, after)
    assert float((before - after).abs().mean()) < 0.03


def test_light_is_uneven_but_the_middle_keeps_its_own():
    before, after = varied(only(vignetting_chance=1, tilt=0.3, vignetting=(-0.3, -0.3)))
    ratio = (after / before)[0]
    assert float(ratio[60:68, 60:68].mean()) == pytest.approx(1, abs=0.02)
    assert float(ratio[:8, :8].mean() + ratio[-8:, -8:].mean()) < 1.7


def test_maps_turn_with_the_picture():
    item = disc_item()
    for seed in range(8):
        planes = np.zeros((2, 64, 64, 4), np.uint8)
        picture, _ = crop(item, np.random.default_rng(seed), AugmentationRecipe(), planes)
        is_cell = planes[0, ..., 0] > 127
        assert picture[is_cell].min() > picture[~is_cell].max() - 0.35
        assert picture[is_cell].mean() - picture[~is_cell].mean() > 0.2


def test_a_crop_says_how_much_larger_things_are_in_it():
    item, planes = disc_item(), np.zeros((2, 64, 64, 4), np.uint8)
    _, zoom = crop(item, np.random.default_rng(0), only(scale=(1.4, 1.4)), planes)
    assert zoom == pytest.approx(1.4)
    batch = BatchMaker((Part("d", 1, (item,)),), TRAINING, only(scale=(1.4, 1.4)))(0)
    torch.testing.assert_close(batch.log_scale, torch.full((2,), -float(np.log(1.4))))


def test_batches_do_not_depend_on_how_many_threads_make_them():
    maker = BatchMaker((Part("a", 1, (disc_item(0), disc_item(1))), Part("b", 2, (disc_item(2),))), TRAINING,
                       AugmentationRecipe())  # fmt: skip
    alone = list(itertools.islice(batches(maker, 0, threads=1), 6))
    together = list(itertools.islice(batches(maker, 0, threads=3), 6))
    later = list(itertools.islice(batches(maker, 4, threads=2), 2))
    for a, b in [*zip(alone, together, strict=True), *zip(alone[4:], later, strict=True)]:
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_targets_come_in_the_order_of_the_maps():
    batch = BatchMaker((Part("d", 1, (disc_item(),)),), TRAINING, STILL)(0)
    assert batch.targets.shape == (2, len(MAPS), 64, 64)
    assert batch.valid.tolist() == [[1, 0, 1, 0, 0, 0]] * 2
    assert int(batch.judged.min()) == 255
    inside = batch.targets[:, MAPS.index("core")] > 0
    assert bool((batch.targets[:, 0][inside] > 0).all())


# --- the loss --------------------------------------------------------------------------------------------------------


def perfect(targets, sure=12.0):
    eps = 1e-6
    return torch.logit(targets.clamp(eps, 1 - eps)).clamp(-sure, sure)


def case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(2, len(MAPS), 32, 32, generator=generator) > 0.5).float()
    return targets, torch.ones(2, 1, 32, 32), torch.ones(2, len(MAPS))


def test_the_right_answer_costs_next_to_nothing_and_the_wrong_one_much():
    targets, judged, valid = case()
    right = map_losses(perfect(targets), targets, judged, valid)
    wrong = map_losses(-perfect(targets), targets, judged, valid)
    assert max(float(loss) for loss in right.values()) < 0.01
    assert min(float(loss) for loss in wrong.values()) > 0.5


def test_what_the_truth_does_not_know_cannot_be_wrong():
    targets, judged, valid = case()
    answers = perfect(targets)
    answers[0, MAPS.index("debris")] *= -1
    answers[:, :, :16] *= -1
    judged[:, :, :16] = 0
    valid[0, MAPS.index("debris")] = 0
    valid[:, MAPS.index("obscured")] = 0
    assert max(float(loss) for loss in map_losses(answers, targets, judged, valid).values()) < 0.01


def test_what_a_person_outlined_is_not_obscured_and_elsewhere_nobody_knows():
    targets, judged, valid = case()
    obscured = MAPS.index("obscured")
    targets[:, obscured] = 0
    valid[:, obscured] = 0
    answers = perfect(targets)
    answers[:, obscured][targets[:, 0] == 0] = 12.0
    assert float(map_losses(answers, targets, judged, valid)["obscured"]) < 0.01
    answers[:, obscured][targets[:, 0] == 1] = 12.0
    assert float(map_losses(answers, targets, judged, valid)["obscured"]) > 5


def test_whether_something_hides_the_surface_is_learned_where_nothing_else_is():
    targets, judged, valid = case()
    answers = perfect(targets)
    answers[:, MAPS.index("obscured")] *= -1
    assert float(map_losses(answers, targets, torch.zeros_like(judged), valid)["obscured"]) > 5


def test_a_guess_of_the_pixel_size_counts_only_where_it_is_known():
    known = scale_loss(torch.tensor([0.5, 0.0]), torch.zeros(2), torch.tensor([1.0, 1.0]))
    unknown = scale_loss(torch.tensor([0.5, 0.0]), torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert float(known) > 0.1
    assert float(unknown) == 0


def test_a_map_without_weight_counts_nothing():
    losses = {"foreground": torch.tensor(2.0), "debris": torch.tensor(5.0)}
    assert float(total_loss(losses, {"foreground": 1.5})) == 3.0

"""Training GANs: every preset runs, keeps its limits, resumes exactly, and learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.synthesis.conftest import LABELS, PICTURE, VOLUME, organ, squares, volumes_set
from tests.trainers.test_fit import StopAt, run_twice
from trainers.data.sets import Entry
from trainers.fit import fit
from trainers.monitor import Cancelled, Monitor
from trainers.task import FitConfig
from trainers.tasks.synthesis import PRESETS, SynthesisConfig, SynthesisTask, recipe_for
from trainers.tasks.synthesis.images import Images, SynthesisPreprocess, prepare
from trainers.tasks.synthesis.presets import Shape
from trainers.tasks.synthesis.recipe import MaskConfig
from trainers.tasks.synthesis.train import map_task

FLAT = Shape(PICTURE, generator=(12, 8), discriminator=(8, 12), categories=(2,), latent=8)
SOLID = Shape(VOLUME, generator=(8, 4), discriminator=(4, 8), maps=3, latent=6, stem=2, noise=True, patches=True)


def loop(preset: str, steps: int, **changes: Any) -> FitConfig:
    row = PRESETS[preset]
    usual = FitConfig(
        steps, 8, row.learning_rate, betas=row.betas, weight_decay=0.0, precision="fp32", ema=0.9, device="cpu"
    )
    return replace(usual, **changes)


def task_of(preset: str, steps: int = 10, shape: Shape = FLAT, **config: Any) -> SynthesisTask:
    torch.manual_seed(0)
    validation = config.pop("validation", None)
    return SynthesisTask(squares(32), shape, SynthesisConfig(preset, steps, **config), validation)


def organs(number: int) -> Images:
    entries = [Entry(f"v{i}", f"v{i}", lambda i=i: organ(i)) for i in range(number)]  # type: ignore[misc]
    return prepare(entries, SynthesisPreprocess(VOLUME, (1.0, 1.0, 1.0), (0.5, 99.5)), list(LABELS.values()))


def parameters(task: SynthesisTask, name: str) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in task.networks[name].parameters()])


class Walk(Monitor):
    """Notes something of a task after every step."""

    def __init__(self, look: Any) -> None:
        self.look, self.seen = look, [look()]

    def report(self, **state: Any) -> None:
        if "seconds" in state:
            self.seen.append(self.look())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_with_finite_losses(preset: str) -> None:
    task = task_of(preset, validation=squares(8, seed=1))
    before = {name: parameters(task, name) for name in task.networks}
    networks, history = fit(task, loop(preset, 10))
    turns = range(PRESETS[preset].critic_steps, 11, PRESETS[preset].critic_steps)
    assert [step for step, _ in history.losses] == list(turns)  # the generator's
    assert np.isfinite([loss for _, loss in history.losses]).all()
    for name, was in before.items():
        assert not torch.equal(parameters(task, name), was), name
        assert all(torch.isfinite(v).all() for v in networks[name].state_dict().values())
    assert np.isfinite(history.metrics[-1][1]["kid"])


@pytest.mark.parametrize("preset", ["default", "wgan-gp"])
def test_volumes_train_too(preset: str) -> None:
    torch.manual_seed(0)
    shape = SOLID if preset == "default" else Shape(VOLUME, generator=(8, 4), discriminator=(4, 8), latent=6)
    task = SynthesisTask(organs(6), shape, SynthesisConfig(preset, 5), organs(3))
    _, history = fit(task, loop(preset, 5, batch_size=2))
    assert history.losses[-1][0] == 5 and np.isfinite(history.metrics[-1][1]["kid"])


def test_label_maps_train_without_augmentation() -> None:
    images = organs(2)
    assert images.labels is not None
    recipe = recipe_for(volumes_set(2), window=VOLUME, masks=True)
    task = map_task(recipe, MaskConfig((8, 4), (4, 8), 4, penalty=3.0), images.labels, images.labels)
    networks, history = fit(task, loop("default", 5))
    assert "augment" not in history.metrics[-1][1] and task.config.penalty == 3
    assert task.sample(networks["generator"], images).shape[1:] == (3, 5, 6, 4)


def test_a_wgans_weights_stay_within_the_limit() -> None:
    task = task_of("wgan")
    walk = Walk(lambda: float(parameters(task, "discriminator").abs().max()))
    fit(task, loop("wgan", 10, learning_rate=0.05), monitor=walk)
    assert walk.seen[0] > 0.021 and len(walk.seen) == 11
    assert max(walk.seen[1:]) == pytest.approx(PRESETS["wgan"].weight)


def test_the_limit_can_be_set() -> None:
    task = task_of("wgan", penalty=0.005)
    fit(task, loop("wgan", 2))
    assert parameters(task, "discriminator").abs().max() <= 0.005 + 1e-9


def test_the_penalty_falls_unless_it_is_kept() -> None:
    weights = {
        falling: [
            float(task_of("default", falling=falling)._penalty_weight(torch.tensor(p))) for p in (0.0, 0.25, 0.5, 1.0)
        ]
        for falling in (True, False)
    }
    assert weights[False] == [1.0] * 4
    assert weights[True] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_moved_images_keep_their_labels_and_come_again_by_seed() -> None:
    """Each organ is bright, so that image and label must say the same of where it lies."""
    images = organs(6)
    assert images.labels is not None
    bright = replace(images, array=np.where(images.labels[:, None] > 0, 0.9, -0.9).astype(np.float32))
    torch.manual_seed(0)
    task = SynthesisTask(bright, SOLID, SynthesisConfig("default", 5, moves=True))
    batch, again = task.batch(3, 40, 0), task.batch(3, 40, 0)
    for key in ("image", "labels"):
        assert torch.equal(batch[key], again[key])
    assert batch["labels"].dtype is torch.int64 and batch["labels"].unique().tolist() == [0, 1, 2]
    agrees = (batch["image"] > 0) == (batch["labels"] > 0)
    assert agrees.float().mean() > 0.97 and batch["image"].abs().max() <= 1
    known = {label.tobytes() for label in images.labels}
    same = sum(label.numpy().astype(np.uint8).tobytes() in known for label in batch["labels"])
    assert 5 < same < 35  # half of them are moved


@pytest.mark.parametrize(("preset", "every"), [("wgan", 5), ("wgan-gp", 5), ("default", 1)])
def test_a_critic_learns_more_often_than_its_generator(preset: str, every: int) -> None:
    task = task_of(preset)
    walks = {name: Walk(lambda name=name: parameters(task, name)) for name in ("generator", "discriminator")}

    class Both(Monitor):
        def report(self, **state: Any) -> None:
            for walk in walks.values():
                walk.report(**state)

    fit(task, loop(preset, 10), monitor=Both())
    moved = {
        name: [i + 1 for i in range(10) if not torch.equal(walk.seen[i], walk.seen[i + 1])]
        for name, walk in walks.items()
    }
    assert moved["discriminator"] == list(range(1, 11))
    assert moved["generator"] == list(range(every, 11, every))


def penalty_at(task: SynthesisTask, step: int, **changes: torch.Tensor) -> float | None:
    """The discriminator's penalty term for one batch, with the same chance each time."""
    batch = {**task.batch(0, 8, 0), **{k: v for k, v in task.batch(step, 8, 0).items() if v.ndim == 0}, **changes}
    torch.manual_seed(0)
    found = task.phases()[0].losses(batch).get("penalty")
    return None if found is None else found.item()


def test_the_lazy_penalty_is_four_times_as_strong_each_fourth_step() -> None:
    task = task_of("default", steps=1000)
    terms = [penalty_at(task, step) for step in range(9)]
    assert [i for i, term in enumerate(terms) if term is not None] == [0, 4, 8]
    once = penalty_at(task, 0, penalise=torch.tensor(1.0))
    assert once is not None and once > 0
    assert terms[0] == pytest.approx(4 * once, rel=1e-5)


@pytest.mark.parametrize(("given", "strength"), [(0.0, 1.0), (5.0, 5.0)])
def test_the_penalty_falls_to_a_tenth_in_the_first_half(given: float, strength: float) -> None:
    task = task_of("default", steps=100, penalty=given)
    plain = penalty_at(task_of("default", steps=100), 0)
    terms = {step: penalty_at(task, step) for step in (0, 24, 48, 52, 100)}
    assert plain is not None and all(term is not None for term in terms.values())
    share = {step: float(term or 0) / plain / strength for step, term in terms.items()}
    assert share[0] == pytest.approx(1, rel=1e-4)
    assert share[24] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * 0.48)), rel=1e-3)
    assert share[48] == pytest.approx(0.1, rel=0.05)
    assert share[52] == pytest.approx(0.1, rel=1e-4) and share[100] == pytest.approx(0.1, rel=1e-4)


def test_a_batch_comes_from_the_seed_the_step_and_the_rank() -> None:
    task, other = task_of("default"), task_of("default", seed=1)
    one, again = task.batch(3, 8, 0), task.batch(3, 8, 0)
    assert one["image"].shape == (8, 1, *PICTURE) and one["targets"].shape == (8, 1)
    assert all(torch.equal(one[key], again[key]) for key in one)
    for unlike in (task.batch(4, 8, 0), task.batch(3, 8, 1), other.batch(3, 8, 0)):
        assert not torch.equal(one["image"], unlike["image"])
    which = [int((task.train.array == image.numpy()).all((1, 2, 3)).argmax()) for image in one["image"]]
    assert task.train.targets is not None
    assert one["targets"].tolist() == task.train.targets[which].tolist()


def test_a_preset_without_classes_is_told_none() -> None:
    task = task_of("dcgan")
    assert task.described[0]["categories"] == [] and task.described[1]["categories"] == []


START = 0.4


def augmented(task: SynthesisTask) -> SynthesisTask:
    """With the adaptive augmentation at work from the start, if the preset has one."""
    augment = task.networks["discriminator"].augment
    if augment is not None:
        augment.p.fill_(START)  # type: ignore[union-attr, operator]
    return task


def augmentation_of(task: SynthesisTask) -> float:
    return float(task.networks["discriminator"].augment.p)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("preset", ["default", "wgan-gp", "acgan", "gan"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, preset: str) -> None:
    """With the augmentation's state, the critic's turns, batch norm and dropout."""
    config = loop(preset, 14)

    def fresh() -> SynthesisTask:
        return augmented(task_of(preset, steps=14, ada_kimg=1.0))

    whole_task = fresh()
    whole, _ = fit(whole_task, config)
    with pytest.raises(Cancelled):
        fit(fresh(), config, tmp_path, StopAt(7))
    torch.rand(3)
    resumed_task = fresh()
    resumed, history = fit(resumed_task, config, tmp_path)
    turns = PRESETS[preset].critic_steps
    assert [step for step, _ in history.losses] == list(range(turns, 15, turns))
    for one, two in ((whole, resumed), (whole_task.networks, resumed_task.networks)):
        for name in one:
            for (key, a), b in zip(one[name].state_dict().items(), two[name].state_dict().values(), strict=True):
                assert torch.equal(a, b), (name, key)
    if preset == "default":
        assert 0.2 < augmentation_of(resumed_task) != START


TWO = """
import os
import torch
from tests.trainers.synthesis.test_task import augmented, loop, task_of
from trainers.distributed import World
from trainers.fit import fit

found = {}
with World.from_environment():  # one group for several trainings, as in a whole run
    for preset in ("default", "dcgan", "wgan-gp"):
        task = augmented(task_of(preset, steps=6, ada_kimg=1.0))
        networks, history = fit(task, loop(preset, 6, batch_size=4))
        found[preset] = {n: dict(net.named_parameters()) for n, net in networks.items()}
        found[preset]["losses"] = [loss for _, loss in history.losses]
        if preset == "default":
            found["augment"] = [float(b) for n, b in networks["discriminator"].named_buffers() if "augment" in n]
torch.save(found, os.environ["RANK"] + ".pt")
"""


def test_two_processes_train_a_gan_as_one(tmp_path: Path) -> None:
    """Each sees other images; weights and the augmentation's state stay the same in both."""
    script = tmp_path / "run.py"
    script.write_text(TWO)
    done = run_twice(tmp_path, str(script))
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    for preset in ("default", "dcgan", "wgan-gp"):
        assert one[preset]["losses"] != two[preset]["losses"]
        for network in ("generator", "discriminator"):
            for key, value in one[preset][network].items():
                assert torch.equal(value, two[preset][network][key]), (preset, network, key)
    assert one["augment"] == two["augment"] and one["augment"][0] > 0.2


def middle_of_mass(images: np.ndarray) -> np.ndarray:
    """Along the first axis, of what is bright."""
    bright = (images[:, 0] > 0).sum(2) + 1e-6
    return (bright * np.arange(images.shape[2])).sum(1) / bright.sum(1)


@pytest.mark.parametrize(("preset", "rate"), [("default", 2e-3), ("dcgan", 2e-3)])
def test_it_learns_squares(preset: str, rate: float) -> None:
    """KID to images that were kept away falls, and classes are where they belong."""
    unseen = squares(64, seed=1)
    torch.manual_seed(0)
    shape = replace(FLAT, generator=(24, 16), discriminator=(12, 24))
    task = SynthesisTask(squares(128), shape, SynthesisConfig(preset, 160), unseen)
    start = task.validate(task.networks)["kid"]
    networks, history = fit(task, loop(preset, 160, batch_size=16, learning_rate=rate))
    assert history.metrics[-1][1]["kid"] < 0.15 * start
    made = task.sample(networks["generator"], unseen)
    assert made.shape == (256, 1, *PICTURE) and 0.05 < (made > 0).mean() < 0.3
    if preset == "default":
        assert unseen.targets is not None
        told = unseen.targets[np.arange(256) % 64, 0]
        left, right = (np.median(middle_of_mass(made[told == c])) for c in (0, 1))
        assert left < 4.5 and right > 6.5


def test_samples_are_the_same_each_time_and_follow_maps() -> None:
    torch.manual_seed(0)
    images = organs(3)
    task = SynthesisTask(images, SOLID, SynthesisConfig("default", 5), images)
    made = task.sample(task.networks["generator"], images)
    assert made.shape == images.array.shape
    torch.rand(5)
    np.testing.assert_array_equal(task.sample(task.networks["generator"], images), made)
    assert images.labels is not None
    emptied = Images(images.ids, images.array, np.zeros_like(images.labels))
    assert not np.allclose(task.sample(task.networks["generator"], emptied), made)


def test_batch_norm_has_the_statistics_of_its_own_weights() -> None:
    """After it is settled a generator makes one by one what it makes in a large batch while training."""
    task = task_of("dcgan")
    generator = task.networks["generator"]
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(3)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    settled = task.settled(generator)
    latents = generator.latents(256, torch.Generator().manual_seed(5))  # type: ignore[operator]
    with torch.no_grad():
        stale, made = generator.eval()(latents), settled(latents)
        trained = settled.train()(latents)
    assert (made - trained).abs().mean() < 0.2 * (stale - trained).abs().mean()
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    for (name, a), b in zip(settled.named_parameters(), generator.parameters(), strict=True):
        assert torch.equal(a, b), name
    without = task_of("default")
    assert without.settled(without.networks["generator"]) is without.networks["generator"]


def test_another_run_is_told_by_its_images_networks_and_settings() -> None:
    task = task_of("default")
    assert task.identity() == task_of("default").identity()
    others = [task_of("dcgan"), task_of("default", seed=1), task_of("default", shape=replace(FLAT, latent=9))]
    others.append(SynthesisTask(squares(32, seed=5), FLAT, SynthesisConfig("default", 10)))
    assert all(other.identity() != task.identity() for other in others)

"""Training a reconstruction model from a recipe: L1 weights, adversarial weights, then its figures and its card."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainers.card import write_card
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet
from trainers.data.splits import DataSplit, split_data, stored_split
from trainers.distributed import World
from trainers.files import atomic_write_json
from trainers.known import named_by
from trainers.monitor import Monitor
from trainers.networks import build, load
from trainers.spec import WEIGHTS_FILE, ModelSpec, part_file
from trainers.stages import Stage, trained
from trainers.task import FitConfig
from trainers.tasks.reconstruction.evaluate import LOWER, Report, evaluate
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.measurements import measurement_of, settings_of
from trainers.tasks.reconstruction.picture import PICTURE_FILE, save_comparison
from trainers.tasks.reconstruction.run import GAN
from trainers.tasks.reconstruction.task import ReconstructionConfig, ReconstructionTask
from trainers.tasks.reconstruction.volumes import PreparedVolumes, Room

METRIC = "psnr"  # watched in training
SHOWN = 3  # patients in the card's picture
SPLIT_FILE, FIGURES_FILE = "split.json", "figures.json"


@dataclass(frozen=True)
class TwoStageRecipe:
    """A model with safe and adversarial weights before it is trained.

    Attributes:
        spec: the model without metrics.
        config: the task's settings. fit: the loop's, for the L1 weights.
        adversarial: weight of the adversarial loss for the other weights, which go on from those. steps: how long.
        validation, test: number of patients.
    """

    spec: ModelSpec
    config: Any
    fit: FitConfig
    adversarial: float = 0.03
    steps: int = 500
    validation: int = 10
    test: int = 40

    def adversarial_fit(self) -> FitConfig:
        """The loop's settings for the adversarial weights."""
        return replace(self.fit, steps=self.steps, learning_rate=self.fit.learning_rate / 4, betas=(0.5, 0.99))

    def record(
        self, data: DataSet, split: DataSplit, stages: dict[str, Stage], command: str, metric: str
    ) -> dict[str, Any]:
        """What a spec tells of the training; `metric` is what was watched."""
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        watched = f"validation_{metric}_by_step"
        return {
            "command": command,
            **named_by(data),
            "patients": {part: sorted({e.patient for e in entries}) for part, entries in parts.items()},
            "minutes": {name: stage["minutes"] for name, stage in stages.items()},
            watched: {name: stage[watched] for name, stage in stages.items()},
            "task": asdict(self.config), "fit": asdict(self.fit),
            "adversarial": self.adversarial, "adversarial_steps": self.steps,
        }  # fmt: skip


@dataclass(frozen=True)
class ReconstructionRecipe(TwoStageRecipe):
    """A recipe of a model that undoes a measurement, which its spec's `preprocess` has."""

    config: ReconstructionConfig


def train(
    recipe: ReconstructionRecipe, data: DataSet, out: Path, command: str = "", monitor: Monitor = Monitor(),
    room: Room = Room(),
) -> Report | None:  # fmt: skip
    """Trains a recipe and writes weights, spec, card and split to `out`.

    Of several processes started by torchrun only the first one measures and writes. Weights that are there are not
    trained again; a run that was stopped goes on.

    Args:
        recipe: what to train.
        data: the set; volumes of one channel, or the first of several.
        out: the model's folder.
        command: that made it, for the card.
        monitor: see `trainers.fit.fit`; also hears `stage`.
        room: how many images are kept in memory, and whether on the disk.

    Returns:
        The figures on the test patients; None in all processes but the first.

    Raises:
        CasesError: too few patients. CheckpointMismatch: `out` holds a stopped run with other settings.
        FileNotFoundError, VolumeError: the data cannot be read.
    """
    if data.dimensions != 3:
        raise CasesError(f"{data.name} has pictures; reconstruction learns from volumes.")
    out.mkdir(parents=True, exist_ok=True)
    with World.from_environment() as world:
        make = partial(split_data, data, recipe.validation, recipe.test)
        split = stored_split(out / SPLIT_FILE, data, make, world.rank == 0)
        monitor.report(stage="reading images")
        recipe, images, watched = _read(recipe, data, split, monitor, room)
        monitor.report(stage="L1 weights")
        stages = {"l1": _l1_stage(recipe, images, watched, out, monitor)}
        monitor.report(stage="adversarial weights")
        stages[GAN] = _adversarial_stage(recipe, images, watched, out, monitor)
        if world.rank > 0:
            return None
        return _finish(recipe, data, split, stages, out, command, monitor)


def _read(
    recipe: ReconstructionRecipe, data: DataSet, split: DataSplit, monitor: Monitor, room: Room
) -> tuple[ReconstructionRecipe, PreparedVolumes, PreparedVolumes]:
    """The recipe with what its measurement learns from the training images, those, and the watched ones.

    All of them are looked at once, so that one that is of no use stops the training before it begins.
    """
    measurement, parts = measurement_of(recipe.spec.preprocess), []
    everything = len(split.train) + len(split.validation)
    for entries in (split.train, split.validation):
        share = replace(room, memory=int(room.memory * len(entries) / max(1, everything)))
        part = PreparedVolumes(entries, measurement, data.channels, share)
        for number, _ in enumerate(part):
            monitor.check()
            monitor.report(progress=(number + 1) / len(entries))
        parts.append(part)
    spec = recipe.spec.replace(preprocess=settings_of(measurement.fitted(parts[0])))
    return replace(recipe, spec=spec), parts[0], parts[1]


def _l1_stage(
    recipe: ReconstructionRecipe, images: PreparedVolumes, watched: PreparedVolumes, out: Path, monitor: Monitor
) -> Stage:
    """The L1 weights."""
    torch.manual_seed(recipe.config.seed)
    network, measurement = build(recipe.spec.network), measurement_of(recipe.spec.preprocess)
    task = ReconstructionTask(network, measurement, images, watched, recipe.config)
    return trained("l1", task, recipe.fit, {"generator": out / WEIGHTS_FILE}, out, METRIC, monitor)


def _adversarial_stage(
    recipe: ReconstructionRecipe, images: PreparedVolumes, watched: PreparedVolumes, out: Path, monitor: Monitor
) -> Stage:
    """The adversarial weights, which go on from the L1 weights."""
    World.from_environment().barrier()
    network = load(recipe.spec.network, out / WEIGHTS_FILE)
    config = replace(recipe.config, adversarial=recipe.adversarial)
    task = ReconstructionTask(network, measurement_of(recipe.spec.preprocess), images, watched, config)
    weights = {"generator": part_file(out, GAN)}
    stage = trained(GAN, task, recipe.adversarial_fit(), weights, out / GAN, METRIC, monitor)
    if World.from_environment().rank == 0:
        shutil.rmtree(out / GAN, ignore_errors=True)
    return stage


def _finish(
    recipe: ReconstructionRecipe,
    data: DataSet,
    split: DataSplit,
    stages: dict[str, Stage],
    out: Path,
    command: str,
    monitor: Monitor,
) -> Report:
    monitor.report(stage="measuring")
    training = recipe.record(data, split, stages, command, METRIC)
    spec = recipe.spec.replace(parts={GAN: recipe.spec.network}, training=training)
    spec.save(out)
    reconstructor = Reconstructor(out)
    report = evaluate(reconstructor, split.test, monitor, channels=data.channels)
    measured = spec.replace(metrics=card_metrics(report))
    measured.save(out)
    atomic_write_json(out / FIGURES_FILE, report.as_dict())
    save_comparison(out / PICTURE_FILE, reconstructor, split.test[:SHOWN], data.channels)
    write_card(measured, out, picture=PICTURE_FILE)
    return report


def card_metrics(report: Report) -> dict[str, dict[str, Any]]:
    """The figures of both ends of the slider as a spec keeps them, beside what one has without a network."""
    found = {}
    for part in (report, *report.others):
        suffix = f"_{part.variant}" if part.variant else ""
        for method in (m for m in part.methods if m not in part.plain):
            for metric in part.per_case[0][method]:
                compared = [f"{n} {part.estimate(n, metric)}" for n in part.plain if part.values(n, metric)]
                known = part.estimate(method, metric)
                note = [f"95 % {known.low:.4g} to {known.high:.4g}", f"{len(part.per_case)} patients not trained on"]
                found[f"{metric}_{method}{suffix}"] = {
                    "value": float(f"{known.value:.4g}"),
                    "higher_is_better": metric not in LOWER,
                    "note": "; ".join([*note, *compared]),
                    **({"best": 1.0} if metric == "texture" else {}),
                }
    return found

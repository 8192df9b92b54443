"""Training an anomaly model from a recipe: healthy images, four methods, calibration, figures, card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.data.cases import CasesError
from trainers.data.sets import DataSet, Entry
from trainers.data.splits import DataSplit, split_data, stored_split
from trainers.distributed import World
from trainers.known import named_by
from trainers.metrics.encoder import describe_encoder, train_encoder
from trainers.monitor import Monitor
from trainers.spec import WEIGHTS_FILE, ModelSpec, load_weights, part_file, plain, save_weights
from trainers.stages import Stage, trained
from trainers.tasks.anomaly.calibration import calibration_of
from trainers.tasks.anomaly.corruption import Floats
from trainers.tasks.anomaly.data import healthy
from trainers.tasks.anomaly.infer import Detector
from trainers.tasks.anomaly.methods import FANOGAN, INTENSITY, MEDGAN, NEAREST
from trainers.tasks.anomaly.methods.fanogan import FAnoGAN, MappingTask
from trainers.tasks.anomaly.methods.intensity import GreyRarity
from trainers.tasks.anomaly.methods.nearest import NearestFeatures
from trainers.tasks.anomaly.methods.restoration import Restoration
from trainers.tasks.anomaly.recipe import GAN_PRESET, AnomalyRecipe, ReferenceConfig
from trainers.tasks.anomaly.report import finish
from trainers.tasks.anomaly.restoring import JUDGE, RESTORER, RestoringTask, unet
from trainers.tasks.synthesis.images import Images, prepare
from trainers.tasks.synthesis.task import SynthesisConfig, SynthesisTask

SPLIT_FILE, WORK = "split.json", "stages"
FEWEST = 10  # healthy patients that a calibration is worth something with


def train(
    recipe: AnomalyRecipe,
    data: DataSet,
    out: Path,
    command: str = "",
    monitor: Monitor = Monitor(),
) -> dict[str, Any] | None:
    """Trains a recipe on the healthy images of a set and writes weights, spec, card and split to `out`.

    Abnormal images of the set are only measured on, and those of patients with healthy images only if these were left
    for the test. Of several processes started by torchrun only the first one calibrates, measures and writes. A stage
    that is done is not done again; one that was stopped goes on.

    Args:
        recipe: what to train.
        data: the set; if it has classes, with one of healthy images.
        out: the model's folder.
        command: that made it, for the card.
        monitor: see `trainers.fit.fit`; also hears `stage`.

    Returns:
        The figures, as `trainers.tasks.anomaly.report` gives them; None in all processes but the first.

    Raises:
        CasesError: too few patients, or no class of healthy images. CheckpointMismatch: `out` holds a stopped run with
        other settings. FileNotFoundError, VolumeError: the data cannot be read.
    """
    good = healthy(data, recipe.normal)
    if data.dimensions != recipe.spec.dimensions:
        name, wanted = recipe.spec.name, recipe.spec.dimensions
        raise CasesError(f"{data.name} is {data.dimensions}D; {name} learns from {wanted}D images.")
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with World.from_environment() as world:
        make = partial(split_data, good, recipe.validation, recipe.test)
        split = stored_split(out / SPLIT_FILE, good, make, world.rank == 0)
        if len({e.patient for e in split.validation}) < FEWEST or len(split.test) < 2:
            raise CasesError(f"{good.name} leaves too few healthy patients to calibrate with; {FEWEST} are needed.")
        monitor.report(stage="reading images")
        parts = [prepare(e, recipe.preprocess, monitor=monitor).array for e in (split.train, split.validation)]
        trainer = _Trainer(recipe, parts[0], parts[1], out, monitor)
        methods, stages = trainer.methods()
        if world.rank > 0:
            return None
        spec = _spec(recipe, trainer.described, split, stages, {"command": command, **named_by(data)})
        spec = spec.replace(calibration=calibrate(spec, methods, split.validation))
        spec.save(out)
        report = finish(spec, out, split.test, unseen(data, good, split), monitor, left_out(data, good, split))
        shutil.rmtree(out / WORK)
        return report


def calibrate(
    spec: ModelSpec, methods: Mapping[str, nn.Module], entries: Sequence[Entry]
) -> dict[str, dict[str, list[float]]]:
    """What healthy patients who were not learned from score, by method; of several images of one the highest counts."""
    return {
        name: calibration_of(Detector.from_network(spec, method, name).worst(entries))
        for name, method in methods.items()
    }


def unseen(data: DataSet, good: DataSet, split: DataSplit) -> list[Entry]:
    """The abnormal images of patients of whom nothing was learned or calibrated with."""
    known = {entry.patient for entry in (*split.train, *split.validation)}
    return [entry for entry in _abnormal(data, good) if entry.patient not in known]


def left_out(data: DataSet, good: DataSet, split: DataSplit) -> dict[str, int]:
    """How many images are neither healthy nor measured on, by the names of `trainers.tasks.anomaly.report.LEFT_OUT`."""
    abnormal = _abnormal(data, good)
    return {
        "unknown_class": len(data.entries) - len(good.entries) - len(abnormal),
        "known_abnormal": len(abnormal) - len(unseen(data, good, split)),
    }


def _abnormal(data: DataSet, good: DataSet) -> list[Entry]:
    """Images of another class than the healthy ones; those of unknown class may be healthy."""
    ids = {entry.id for entry in good.entries}
    return [entry for entry in data.entries if entry.id not in ids and entry.target is not None]


class _Trainer:
    """The methods of one run, one after the other."""

    def __init__(self, recipe: AnomalyRecipe, train: Floats, validation: Floats, out: Path, monitor: Monitor) -> None:
        self.recipe, self.train, self.validation = recipe, train, validation
        self.out, self.work, self.monitor = out, out / WORK, monitor
        self.size, self.channels = tuple(train.shape[2:]), int(train.shape[1])
        self.described: dict[str, dict[str, Any]] = {}
        if recipe.fit.threads:
            torch.set_num_threads(recipe.fit.threads)

    def methods(self) -> tuple[dict[str, nn.Module], dict[str, Stage]]:
        """All methods, with their weights in `out`, and what is known of their trainings."""
        makers = {MEDGAN: self._restoration, NEAREST: self._nearest, INTENSITY: self._intensity}
        if self.recipe.reference:
            makers[FANOGAN] = partial(self._fanogan, self.recipe.reference)
        made: dict[str, nn.Module] = {}
        stages: dict[str, Stage] = {}
        for name, make in makers.items():
            self.monitor.report(stage=name)
            made[name], stages[name] = make()
            if World.from_environment().rank == 0:
                save_weights(made[name], self._file(name), half=name != MEDGAN)
                load_weights(made[name], self._file(name))  # calibrated with what is read back
        return made, stages

    def _file(self, name: str) -> Path:
        return self.out / WEIGHTS_FILE if name == MEDGAN else part_file(self.out, name)

    def _restoration(self) -> tuple[nn.Module, Stage]:
        recipe = self.recipe
        torch.manual_seed(recipe.restoring.seed)
        task = RestoringTask(self.train, self.validation, recipe.restoring)
        stage = self._trained(MEDGAN, task, recipe.fit, (RESTORER, JUDGE), task.key_metric)
        networks = {name: _arguments(network) for name, network in
                    unet(len(self.size), self.channels, recipe.restoring).items()}  # fmt: skip
        self.described[MEDGAN] = {
            **networks, "grid": list(recipe.grid), "sigmas": list(recipe.sigmas), "residual": recipe.residual,
        }  # fmt: skip
        made = Restoration(**self.described[MEDGAN])
        for name in (RESTORER, JUDGE):
            load_weights(getattr(made, name), self._part(name))
        made.settle(self.train, self.validation)
        return made, stage

    def _fanogan(self, config: ReferenceConfig) -> tuple[nn.Module, Stage]:
        self.described[FANOGAN] = config.described(self.size, self.channels)
        seed = self.recipe.restoring.seed
        torch.manual_seed(seed)
        images = Images([str(n) for n in range(len(self.train))], self.train)
        settings = SynthesisConfig(GAN_PRESET, config.fit.steps, seed=seed)
        gan = SynthesisTask(images, config.shape(self.size, self.channels), settings)
        first = self._trained("gan", gan, config.fit, ("generator", "discriminator"), "")
        made = FAnoGAN(**self.described[FANOGAN])
        made.generator.load_state_dict(self._settled(gan))
        load_weights(_Wrapped(made.discriminator), self._part("discriminator"))
        task = MappingTask(made, self.train, self.validation, config.mapping)
        second = self._trained("mapping", task, config.mapping_fit, ("encoder",), task.key_metric)
        load_weights(made.encoder, self._part("encoder"))
        minutes = {name: round(first[name] + second[name], 1) for name in ("minutes", "cpu_minutes")}
        return made.requires_grad_(True), {**second, **minutes}

    def _settled(self, gan: SynthesisTask) -> Mapping[str, Any]:
        """The generator's weights with batch statistics that belong to them."""
        generator = gan.networks["generator"].cpu()
        load_weights(generator, self._part("generator"))
        return gan.settled(generator).state_dict()

    def _nearest(self) -> tuple[nn.Module, Stage]:
        started = time.monotonic()
        encoder = train_encoder(self.train, None, self.recipe.encoder, self.monitor)
        described = _arguments(describe_encoder(encoder))
        self.described[NEAREST] = {"encoder": described, "size": self.recipe.bank}
        made = NearestFeatures.learned(described, encoder, self.train, self.recipe.bank)
        return made, {"minutes": round((time.monotonic() - started) / 60, 1)}

    def _intensity(self) -> tuple[nn.Module, Stage]:
        self.described[INTENSITY] = {"channels": self.channels}
        return GreyRarity.learned(self.train), {"minutes": 0.0}

    def _trained(self, name: str, task: Any, loop: Any, networks: Sequence[str], metric: str) -> Stage:
        files = {network: self._part(network) for network in networks}
        return trained(name, task, loop, files, self.work / name, metric, self.monitor)

    def _part(self, name: str) -> Path:
        return part_file(self.work, name)


class _Wrapped(nn.Module):
    """A discriminator as `AugmentedDiscriminator` names it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def _arguments(described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key != "name"}


def _spec(
    recipe: AnomalyRecipe,
    described: Mapping[str, Any],
    split: DataSplit,
    stages: Mapping[str, Stage],
    told: Mapping[str, str],
) -> ModelSpec:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    curves = {name: stage[key] for name, stage in stages.items() for key in stage if key.startswith("validation_")}
    training = {
        **told,
        "patients": {part: sorted({e.patient for e in entries}) for part, entries in parts.items()},
        "minutes": {name: stage["minutes"] for name, stage in stages.items()},
        "cpu_minutes": {name: stage["cpu_minutes"] for name, stage in stages.items() if "cpu_minutes" in stage},
        "validation_by_step": curves,
        **recipe.settings(),
    }
    return recipe.spec.replace(
        network={"name": MEDGAN, **described[MEDGAN]},
        parts={name: value for name, value in described.items() if name != MEDGAN},
        preprocess=plain(asdict(recipe.preprocess)),
        training=plain(training),
        labels={"anomaly": 1},
        colors={"anomaly": [0.95, 0.35, 0.1]},
    )

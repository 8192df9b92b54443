"""Training a synthesis model from a recipe: encoder, label maps, images, then its figures, its audit and its card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainers.checksums import checksum
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet
from trainers.data.splits import DataSplit, split_data, stored_split
from trainers.distributed import World
from trainers.files import atomic_write_json, read_json
from trainers.fit import CHECKPOINT_FILE, CheckpointMismatch, History, fit
from trainers.known import hashes_of, named_by
from trainers.metrics.encoder import describe_encoder, train_encoder
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.spec import WEIGHTS_FILE, part_file, plain, save_weights
from trainers.stages import STAGES_FILE
from trainers.tasks.synthesis.evaluate import finish
from trainers.tasks.synthesis.images import Images, Labels, prepare
from trainers.tasks.synthesis.presets import PRESETS, Network, Shape, networks_of
from trainers.tasks.synthesis.recipe import MaskConfig, SynthesisRecipe
from trainers.tasks.synthesis.shapes import distance_maps, label_sizes, map_channels, map_statistics
from trainers.tasks.synthesis.task import SynthesisConfig, SynthesisTask

SPLIT_FILE = "split.json"
ENCODER, MASKS = "encoder", "masks"
VALIDATION_MAPS = 200
FEWEST = {"train": 4, "validation": 2, "test": 12}  # images that encoder, KID while training, and figures need
MOST_NAMED = 1000  # training patients that a spec names; of more it keeps a hash of each


@dataclass(frozen=True)
class Learned:
    """The parts of a split, prepared."""

    train: Images
    validation: Images
    test: Images


def train(
    recipe: SynthesisRecipe, data: DataSet, out: Path, command: str = "", monitor: Monitor = Monitor()
) -> dict[str, Any] | None:
    """Trains a recipe and writes weights, spec, card, split and a picture of samples to `out`.

    Of several processes started by torchrun only the first one measures and writes. A stage that is finished (encoder,
    label maps) is not done again; one that was stopped goes on.

    Args:
        recipe: what to train.
        data: the set.
        out: the model's folder.
        command: that made it, for the card.
        monitor: see `trainers.fit.fit`; also hears `stage`.

    Returns:
        The figures, as `trainers.tasks.synthesis.evaluate` gives them; None in all processes but the first.

    Raises:
        CasesError: too few patients, or settings that do not go together. CheckpointMismatch: `out` holds a stopped run
        with other settings. FileNotFoundError, VolumeError: the data cannot be read.
    """
    _check(recipe, data)
    out.mkdir(parents=True, exist_ok=True)
    with World.from_environment():
        return _stages(recipe, data, out, command, monitor)


def _stages(recipe: SynthesisRecipe, data: DataSet, out: Path, command: str, monitor: Monitor) -> dict[str, Any] | None:
    split = _split(recipe, data, out)
    learned = _prepare(recipe, data, split, monitor)
    if recipe.fit.threads:
        torch.set_num_threads(recipe.fit.threads)
    _check_stages(recipe, learned.train, out)
    encoder, encoder_network = _encoder(recipe, learned.train, out, monitor)
    parts = {ENCODER: encoder_network}
    if recipe.masks:
        parts[MASKS] = _masks(recipe, recipe.masks, learned, out, monitor)
    monitor.report(stage="images")
    cpu = time.process_time()
    task = _task(recipe, learned, encoder)
    averaged, history = fit(task, recipe.fit, out, monitor)
    if World.from_environment().rank > 0:
        return None
    save_weights(task.settled(averaged["generator"]), out / WEIGHTS_FILE)
    record = _record(recipe, split, history, command, time.process_time() - cpu)
    record |= named_by(data) | _statistics(recipe, learned)
    told = recipe.spec.classes if task.preset.condition else []  # others cannot be asked for a class
    spec = recipe.spec.replace(
        network=task.described[0], parts=parts, preprocess=plain(asdict(recipe.preprocess)), training=record,
        classes=told,
    )  # fmt: skip
    spec.save(out)
    report = finish(spec, out, encoder, learned.train, learned.test, monitor)
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return report


def _check_stages(recipe: SynthesisRecipe, images: Images, out: Path) -> None:
    """Notes what encoder and label maps learn from, and how; those of a run that was stopped are taken up.

    Raises:
        CheckpointMismatch: `out` holds some that learned from other images, or in another way.
    """
    digest = checksum((images.array, images.labels, images.targets))
    settings = {"encoder": asdict(recipe.encoder), "masks": asdict(recipe.masks) if recipe.masks else None}
    way = json.loads(json.dumps({"images": digest, **settings, "seed": recipe.config.seed}))
    file, parts = out / STAGES_FILE, [part_file(out, name) for name in (ENCODER, MASKS)]
    if any(part.is_file() for part in parts) and (read_json(file) if file.is_file() else way) != way:
        raise CheckpointMismatch(f"{parts[0]} was trained in another way; choose another --out or remove it.")
    if World.from_environment().rank == 0:
        atomic_write_json(file, way)


def _check(recipe: SynthesisRecipe, data: DataSet) -> None:
    """Raises CasesError for settings that do not go together, before anything is trained."""
    name, spec = recipe.config.preset, recipe.spec
    try:
        networks_of(PRESETS[name], recipe.shape(1, ()))
    except ValueError as error:
        raise CasesError(str(error)) from error
    if PRESETS[name].condition in ("concatenate", "auxiliary") and not (spec.classes or spec.modalities):
        raise CasesError(f"The preset {name} is told the class of each image; {data.name} has none. Choose another.")


def _split(recipe: SynthesisRecipe, data: DataSet, out: Path) -> DataSplit:
    """The stored split, or a new one that is stored."""
    stratify = bool(data.classes) and not recipe.own_parts
    make = partial(split_data, data, recipe.validation, recipe.test, stratify, recipe.own_parts)
    return stored_split(out / SPLIT_FILE, data, make, World.from_environment().rank == 0)


def _prepare(recipe: SynthesisRecipe, data: DataSet, split: DataSplit, monitor: Monitor) -> Learned:
    monitor.report(stage="reading images")
    values = list(recipe.spec.labels.values()) if recipe.masks else []
    modalities = len(recipe.spec.modalities)
    for part, least in FEWEST.items():
        number = len(getattr(split, part)) * max(1, modalities)
        if number < least:
            raise CasesError(f"{data.name} leaves {number} images for {part}; at least {least} are needed. Give more.")
    parts = [
        prepare(e, recipe.preprocess, values, modalities, monitor) for e in (split.train, split.validation, split.test)
    ]
    if recipe.spec.classes and any(p.targets is None for p in parts):
        raise CasesError(f"Some images of {data.name} have no class. Give all a class, or none.")
    known = len(recipe.spec.classes)
    if known and any(p.targets is not None and p.targets[:, 0].max() >= known for p in parts):
        raise CasesError(f"{data.name} has more classes than the {known} of {recipe.spec.name}.")
    return Learned(*parts)


def _task(recipe: SynthesisRecipe, learned: Learned, encoder: nn.Module) -> SynthesisTask:
    categories = [len(names) for names in (recipe.spec.classes, recipe.spec.modalities) if names]
    torch.manual_seed(recipe.config.seed)
    return SynthesisTask(
        learned.train,
        recipe.shape(learned.train.array.shape[1], categories),
        recipe.config,
        learned.validation,
        encoder,
    )


def _encoder(recipe: SynthesisRecipe, images: Images, out: Path, monitor: Monitor) -> tuple[nn.Module, Network]:
    """The encoder of features for the figures, from `out` if it is there."""
    monitor.report(stage="encoder of features")
    file = part_file(out, ENCODER)
    classes = images.targets[:, 0] if images.targets is not None and recipe.spec.classes else None
    if not file.is_file():
        encoder: nn.Module = train_encoder(images.array, classes, recipe.encoder, monitor)
        network = describe_encoder(encoder)  # type: ignore[arg-type]
        if World.from_environment().rank == 0:
            save_weights(encoder, file, half=False)
        return encoder, network
    network = {
        "name": "FeatureEncoder", "spatial_dims": images.array.ndim - 2, "in_channels": images.array.shape[1],
        "channels": list(recipe.encoder.channels), "features": recipe.encoder.features,
    }  # fmt: skip
    return load(network, file).eval(), network


def _masks(recipe: SynthesisRecipe, config: MaskConfig, learned: Learned, out: Path, monitor: Monitor) -> Network:
    """Trains the GAN of label maps, unless it is there; returns its generator's description."""
    monitor.report(stage="label maps")
    assert learned.train.labels is not None and learned.validation.labels is not None
    task = map_task(recipe, config, learned.train.labels, learned.validation.labels)
    if not part_file(out, MASKS).is_file():
        loop = replace(config.fit, threads=recipe.fit.threads, betas=(0.0, 0.99), warmup=0.02)
        averaged, _ = fit(task, loop, out / MASKS, monitor)
        if World.from_environment().rank == 0:
            save_weights(averaged["generator"], part_file(out, MASKS))
            (out / MASKS / CHECKPOINT_FILE).unlink(missing_ok=True)
            (out / MASKS).rmdir()
    return task.described[0]


def map_task(
    recipe: SynthesisRecipe, config: MaskConfig, train: Labels, validation: Labels | None = None
) -> SynthesisTask:
    """The GAN of label maps, before it is trained.

    Args:
        recipe: of the model.
        config: of the maps.
        train: (n, *window) class indices.
        validation: the same, of other patients.
    """
    classes, seed = len(recipe.spec.labels) + 1, recipe.config.seed
    maps = distance_maps(train, classes, seed)
    watched = None
    if validation is not None:
        varied = distance_maps(validation, classes, seed)
        watched = varied.part(np.linspace(0, len(varied) - 1, min(VALIDATION_MAPS, len(varied))))
    shape = Shape(
        maps.array.shape[2:], map_channels(classes), config.generator, config.discriminator,
        latent=config.latent, output="linear",
    )  # fmt: skip
    torch.manual_seed(seed)
    settings = SynthesisConfig("default", config.fit.steps, config.penalty, augment=False, seed=seed)
    return SynthesisTask(maps, shape, settings, watched)


def _statistics(recipe: SynthesisRecipe, learned: Learned) -> dict[str, Any]:
    """What drawing needs to know of the training images: shares of classes and modalities, sizes of labels."""
    found: dict[str, Any] = {}
    targets, column = learned.train.targets, 0
    for kind, names in (("class", recipe.spec.classes), ("modality", recipe.spec.modalities)):
        if names and targets is not None:
            found[f"{kind}_share"] = _shares(names, targets[:, column])
            column += 1
    if recipe.masks and learned.train.labels is not None:
        sizes = label_sizes(learned.train.labels, len(recipe.spec.labels) + 1)
        found["label_voxels"] = map_statistics(recipe.spec.labels, sizes)
    return found


def _shares(names: Sequence[str], column: np.ndarray[Any, Any]) -> dict[str, float]:
    return {name: round(float((column == i).mean()), 4) for i, name in enumerate(names)}


def _record(recipe: SynthesisRecipe, split: DataSplit, history: History, command: str, cpu: float) -> dict[str, Any]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    patients: dict[str, Any] = {part: sorted({e.patient for e in entries}) for part, entries in parts.items()}
    if len(patients["train"]) > MOST_NAMED:
        patients |= {"train": None, "train_hashes": hashes_of(patients["train"])}
    return {
        "command": command,
        "images": {part: len(entries) for part, entries in parts.items()},
        "patients": patients,
        "minutes": round(history.seconds / 60, 1),
        "cpu_minutes_of_the_last_process": round(cpu / 60, 1),
        "validation_kid_by_step": [[step, round(m["kid"], 4)] for step, m in history.metrics],
        "task": asdict(recipe.config),
        "fit": plain(asdict(recipe.fit)),
    }

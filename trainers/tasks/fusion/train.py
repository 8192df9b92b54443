"""Training a fusion model from a recipe: safe weights, adversarial weights, then its figures and its card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import torch

from trainers.card import write_card
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet, Entry
from trainers.data.splits import DataSplit, split_data, stored_split
from trainers.distributed import World
from trainers.files import atomic_write_json
from trainers.monitor import Monitor
from trainers.networks import build, load
from trainers.spec import WEIGHTS_FILE, part_file
from trainers.stages import Stage, trained
from trainers.tasks.fusion.evaluate import AVERAGE, FIGURES, MAXIMUM, Report, evaluate
from trainers.tasks.fusion.infer import SAFE, Fuser
from trainers.tasks.fusion.picture import save_panel
from trainers.tasks.fusion.task import FusionConfig, FusionTask, Study
from trainers.tasks.fusion.windows import modality_of
from trainers.tasks.reconstruction.infer import order_of
from trainers.tasks.reconstruction.picture import PICTURE_FILE
from trainers.tasks.reconstruction.run import GAN
from trainers.tasks.reconstruction.train import FIGURES_FILE, SPLIT_FILE, TwoStageRecipe

METRIC = "ahead"


@dataclass(frozen=True)
class FusionRecipe(TwoStageRecipe):
    """A recipe of a model that fuses images; its spec's `preprocess` has the windows."""

    config: FusionConfig
    adversarial: float = 0.05
    steps: int = 300
    validation: int = 2
    test: int = 3


def train(
    recipe: FusionRecipe, data: DataSet, out: Path, command: str = "", monitor: Monitor = Monitor()
) -> list[Report] | None:
    """Trains a recipe and writes weights, spec, card, figures and split to `out`.

    Of several processes started by torchrun only the first one measures and writes. Weights that are there are not
    trained again; a run that was stopped goes on.

    Args:
        recipe: what to train.
        data: the set; its channels are named for their modality, see `windows.modality_of`.
        out: the model's folder.
        command: that made it, for the card.
        monitor: see `trainers.fit.fit`; also hears `stage`.

    Returns:
        The figures on the test patients, of each pair of channels; None in all processes but the first.

    Raises:
        CasesError: pictures, channels of no known modality, or too few patients or channels. CheckpointMismatch: `out`
            holds a stopped run with other settings. FileNotFoundError, VolumeError: the data cannot be read.
    """
    if data.dimensions != 3 or len({modality_of(name) for name in data.channels}) < 2:
        raise CasesError(f"{data.name} has {', '.join(data.channels)}; fusion learns from volumes of two modalities.")
    out.mkdir(parents=True, exist_ok=True)
    with World.from_environment() as world:
        make = partial(split_data, data, recipe.validation, recipe.test)
        split = stored_split(out / SPLIT_FILE, data, make, world.rank == 0)
        monitor.report(stage="reading images")
        studies = [read_studies(part, data.channels) for part in (split.train, split.validation)]
        monitor.report(stage="safe weights")
        stages = {SAFE: _safe_stage(recipe, studies, out, monitor)}
        monitor.report(stage="adversarial weights")
        stages[GAN] = _adversarial_stage(recipe, studies, out, monitor)
        if world.rank > 0:
            return None
        return _finish(recipe, data, split, stages, out, command, monitor)


def read_studies(entries: Sequence[Entry], channels: Sequence[str]) -> list[Study]:
    """Volumes by channel, oriented as they are when a model is served: the thickest axis last."""
    studies: list[Study] = []
    for entry in entries:
        sample = entry.read()
        order = order_of(np.eye(4) if sample.affine is None else sample.affine, thick_last=True)
        volumes = [np.ascontiguousarray(orientations.apply_orientation(x, order)) for x in sample.image]
        studies.append(dict(zip(channels, volumes, strict=True)))
    return studies


def _safe_stage(recipe: FusionRecipe, studies: Sequence[list[Study]], out: Path, monitor: Monitor) -> Stage:
    torch.manual_seed(recipe.config.seed)
    task = FusionTask(build(recipe.spec.network), studies[0], studies[1], recipe.config)
    return trained(SAFE, task, recipe.fit, {"generator": out / WEIGHTS_FILE}, out, METRIC, monitor)


def _adversarial_stage(recipe: FusionRecipe, studies: Sequence[list[Study]], out: Path, monitor: Monitor) -> Stage:
    """The adversarial weights, which go on from the safe weights."""
    World.from_environment().barrier()
    network = load(recipe.spec.network, out / WEIGHTS_FILE)
    config = replace(recipe.config, adversarial=recipe.adversarial, choosing=0)
    task = FusionTask(network, studies[0], studies[1], config)
    weights = {"generator": part_file(out, GAN)}
    stage = trained(GAN, task, recipe.adversarial_fit(), weights, out / GAN, METRIC, monitor)
    if World.from_environment().rank == 0:
        shutil.rmtree(out / GAN, ignore_errors=True)
    return stage


def _finish(
    recipe: FusionRecipe, data: DataSet, split: DataSplit, stages: dict[str, Stage], out: Path, command: str,
    monitor: Monitor,
) -> list[Report]:  # fmt: skip
    monitor.report(stage="measuring")
    training = recipe.record(data, split, stages, command, METRIC)
    spec = recipe.spec.replace(parts={GAN: recipe.spec.network}, training=training)
    spec.save(out)
    fuser = Fuser(out)
    reports = evaluate(fuser, data, split.test, monitor=monitor)
    measured = spec.replace(metrics=card_metrics(reports))
    measured.save(out)
    atomic_write_json(out / FIGURES_FILE, {"pairs": [report.as_dict() for report in reports]})
    save_panel(out / PICTURE_FILE, fuser, data, split.test[:1])
    write_card(measured, out, {"Ahead of the brighter of both, figures of six": ahead(reports)}, PICTURE_FILE)
    return reports


def card_metrics(reports: Sequence[Report]) -> dict[str, dict[str, Any]]:
    """The figures of both ends of the slider as a spec keeps them, beside what one has without a network."""
    found = {}
    for report in reports:
        suffix = report.pair.replace(" + ", "_")
        for method in (m for m in report.methods if m in (SAFE, GAN)):
            for figure in FIGURES:
                known = report.estimates[method][figure]
                note = [f"95 % {known['low']:.4g} to {known['high']:.4g}"] if "low" in known else []
                note.append(f"{len(report.per_patient)} patients not trained on")
                note += [f"{name} {report.mean(name, figure):.4g}" for name in (MAXIMUM, AVERAGE)]
                value = float(f"{report.mean(method, figure):.4g}")
                found[f"{figure}_{method}_{suffix}"] = {
                    "value": value, "higher_is_better": True, "note": "; ".join(note),
                }  # fmt: skip
    return found


def ahead(reports: Sequence[Report]) -> list[str]:
    """Of which figures each method has more than the pixel-wise maximum, a line for each pair."""
    return [
        f"{report.pair}, {method}: {len(report.ahead(method))} ({', '.join(report.ahead(method)) or 'none'})"
        for report in reports
        for method in report.methods
        if method in (SAFE, GAN)
    ]

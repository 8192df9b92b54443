"""Learning from a clinic's corrections without forgetting what was learned before."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.augment import Augmentation
from trainers.card import write_card
from trainers.data.cases import Case
from trainers.fit import CheckpointMismatch, fit
from trainers.losses.anchor import l2_sp
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.spec import WEIGHTS_FILE, ModelSpec, part_file, save_weights
from trainers.task import FitConfig
from trainers.tasks.segmentation.adapting import AdaptingTask
from trainers.tasks.segmentation.correcting import CorrectingConfig
from trainers.tasks.segmentation.quality import PART
from trainers.tasks.segmentation.task import SegmentationConfig

CHECKPOINT_SECONDS = 15.0


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune.

    Attributes:
        epochs: most passes over the labelled studies; each pass has at least `least_steps` steps.
        patience: passes without a better Dice on the validation studies after which it ends; the best one counts.
        learning_rate: highest; about a tenth of the rate of training from nothing.
        anchor: weight of L2-SP, which holds the network near the serving version.
        replay: share of a batch from the replay cases, if there are any.
        balance: how strongly rare labels count, see `SegmentationConfig`.
        corrected: share of batches with simulated corrections, so that they are not forgotten.
        threads: CPU threads; one beside a busy server is many times faster than two.
    """

    epochs: int = 12
    patience: int = 4
    learning_rate: float = 1e-4
    batch_size: int = 2
    least_steps: int = 8
    anchor: float = 1e-3
    replay: float = 0.5
    balance: float = 0.25
    corrected: float = 0.2
    seed: int = 0
    threads: int = 1
    device: str = "auto"


def finetune(
    base_dir: Path | str,
    out_dir: Path | str,
    train: Sequence[Case],
    validation: Sequence[Case] = (),
    replay: Sequence[Case] = (),
    config: FinetuneConfig = FinetuneConfig(),
    monitor: Monitor = Monitor(),
    work: Path | None = None,
    unlabelled: Sequence[Path] = (),
) -> None:
    """Fine-tunes the model in `base_dir` and writes the result to `out_dir` (weights, spec, card).

    The result has no figures until someone measures it; those of `base_dir` are not its own.

    Args:
        base_dir: the serving version; not changed.
        out_dir: the candidate.
        train: corrected studies.
        validation: studies to measure on after every epoch; they are not learned from.
        replay: pairs learned before, mixed into every batch so that they are not forgotten.
        config: how.
        monitor: hears `epoch, epochs, step, steps, loss, eta_seconds` and `epoch, metric`; may cancel.
        work: where checkpoints go, and what a run that was interrupted goes on from; one of other data or settings is
            dropped. None keeps none.
        unlabelled: crops without labels, which are learned from as well.

    Raises:
        ModelNotAvailable: `base_dir` is not usable. VolumeError: a case is not. Cancelled: nothing is written.
    """
    spec = ModelSpec.load(base_dir)
    network = load(spec.network, Path(base_dir) / WEIGHTS_FILE)
    critic = load(spec.parts[PART], part_file(base_dir, PART)) if PART in spec.parts else None
    steps_an_epoch = max(config.least_steps, math.ceil(len(train) / config.batch_size))
    torch.manual_seed(config.seed)
    task = AdaptingTask(
        spec, network, train, validation, replay, unlabelled, critic, _task_config(spec, config),
        CorrectingConfig(alone=1 - config.corrected, hard=0.0, watched=(0, 0)),
        regulariser=_anchor(network, config),
    )  # fmt: skip
    averaged = _fit(task, _fit_config(config, steps_an_epoch), work, _Epochs(monitor, steps_an_epoch, config.epochs))
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    save_weights(averaged["generator"], out / WEIGHTS_FILE)
    for part in spec.parts:  # the discriminator goes on to judge
        shutil.copyfile(part_file(base_dir, part), part_file(out, part))
    record = {**_record(spec, train, replay, config), "unlabelled_cases": len(unlabelled)}
    tuned = spec.replace(metrics={}, training={**spec.training, "finetuned": record})
    tuned.save(out)
    write_card(tuned, out)


def _fit(task: AdaptingTask, config: FitConfig, work: Path | None, monitor: Monitor) -> dict[str, nn.Module]:
    try:
        return fit(task, config, work, monitor)[0]
    except CheckpointMismatch:
        if work:
            shutil.rmtree(work)
        return fit(task, config, work, monitor)[0]


class _Epochs(Monitor):
    """Tells steps as epochs, and the mean loss of the epoch so far."""

    def __init__(self, monitor: Monitor, steps: int, epochs: int) -> None:
        self.monitor, self.steps, self.epochs = monitor, steps, epochs
        self._losses: list[float] = []

    def report(self, **state: Any) -> None:
        epoch = math.ceil(state["step"] / self.steps)
        if "metrics" in state:
            state["metric"] = state.pop("metrics")["dice_mean"]
        if "loss" in state:
            if (state["step"] - 1) % self.steps == 0:
                self._losses.clear()
            self._losses.append(state["loss"])
            state["loss"] = sum(self._losses) / len(self._losses)
        self.monitor.report(epoch=epoch, epochs=self.epochs, **state)

    def check(self) -> None:
        self.monitor.check()


def _anchor(network: nn.Module, config: FinetuneConfig) -> Any:
    """The L2-SP term with the network's present weights as its centre."""
    start = {name: p.detach().clone() for name, p in network.named_parameters()}

    def regulariser(trained: nn.Module) -> torch.Tensor:
        device = next(trained.parameters()).device
        if next(iter(start.values())).device != device:
            start.update({name: weight.to(device) for name, weight in start.items()})
        return config.anchor * l2_sp(trained, start)

    return regulariser


def _task_config(spec: ModelSpec, config: FinetuneConfig) -> SegmentationConfig:
    """The augmentation and patch that the model was trained with."""
    trained = spec.training.get("task", {})
    patch = tuple(trained.get("patch", SegmentationConfig.patch))  # norms over smaller ones are others
    augmentation = Augmentation(**trained.get("augmentation", {}))
    return SegmentationConfig(
        patch=patch, balance=config.balance, replay=config.replay, seed=config.seed, augmentation=augmentation
    )


def _fit_config(config: FinetuneConfig, steps_an_epoch: int) -> FitConfig:
    return FitConfig(
        steps=config.epochs * steps_an_epoch, batch_size=config.batch_size, learning_rate=config.learning_rate,
        ema=1 - 1 / max(2.0, 0.1 * config.epochs * steps_an_epoch), validate_every=steps_an_epoch,
        warmup=0.2, checkpoint_every=CHECKPOINT_SECONDS, patience=config.patience,
        threads=config.threads, device=config.device,
    )  # fmt: skip


def _record(spec: ModelSpec, train: Sequence[Case], replay: Sequence[Case], config: FinetuneConfig) -> dict[str, Any]:
    return {"from": spec.version, "cases": len(train), "replay_cases": len(replay), **asdict(config)}

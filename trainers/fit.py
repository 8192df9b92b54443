"""The one training loop: averaged weights, mixed precision, resume, checkpoints, several GPUs.

A task says what to learn, a `FitConfig` how (both in `trainers/task.py`). A batch depends on the
seed, the step and the rank alone, and so does all that is random in the networks: a run that was stopped goes on
exactly as if it had not been.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainers.batches import load_batches, seed_of
from trainers.devices import mixed_precision, pick_device, pick_precision
from trainers.distributed import World
from trainers.files import atomic_path
from trainers.monitor import Monitor
from trainers.patience import Patience
from trainers.task import NO_EFFECT, Batch, FitConfig, Phase, TrainingTask

CHECKPOINT_FILE = "checkpoint.pt"
MOST_SKIPPED = 50


class CheckpointMismatch(RuntimeError):
    """A checkpoint of a run with other settings; to go on from it would make neither run's model."""


@dataclass
class History:
    """What was measured during a run, as [step, value] pairs."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    task: TrainingTask,
    config: FitConfig,
    folder: Path | None = None,
    monitor: Monitor = Monitor(),
) -> tuple[dict[str, nn.Module], History]:
    """Trains `task` and returns the averaged networks and what was measured.

    Args:
        task: what to learn.
        config: how.
        folder: where checkpoints go and are resumed from; None keeps none.
        monitor: hears `step, steps, loss, eta_seconds` and `step, metrics`; its `check` is called at each step. Of
            several processes only the first one's is used. A loss that is not finite is not told.

    Raises:
        Cancelled: from the monitor; a checkpoint is left behind first.
        FloatingPointError: the loss is not finite; with loss scaling, for many steps on end.
        CheckpointMismatch: `folder` holds a checkpoint of a run with other settings.
    """
    with World.from_environment() as world:
        fitter = _Fitter(task, config, folder, monitor, world)
        try:
            return fitter.run()
        finally:
            fitter.give_back()


class _Fitter:
    """One run of the loop."""

    def __init__(
        self, task: TrainingTask, config: FitConfig, folder: Path | None, monitor: Monitor, world: World
    ) -> None:
        self.task, self.config, self.world = task, config, world
        self.monitor = monitor if world.rank == 0 else Monitor()
        self.checkpoint = folder / CHECKPOINT_FILE if folder else None
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = pick_device(config.device, world.local_rank)
        self.dtype = pick_precision(config.precision, self.device)
        self._wrap_networks()
        self.phases = task.phases()
        self.averages = {name: self._average(name) for name in self.raw}
        self.optimisers = [self._optimiser(phase) for phase in self.phases]
        self.schedules = [self._scheduler(o, p) for o, p in zip(self.optimisers, self.phases, strict=True)]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.history, self.step, self.validated = History(), 0, 0
        self.patience = Patience(config.patience, task.higher_is_better)
        self.skipped: Counter[str] = Counter()
        self.fingerprint = self._fingerprint() if self.checkpoint else ""
        self._resume()
        world.barrier()

    def run(self) -> tuple[dict[str, nn.Module], History]:
        """Trains from where it stands to the last step."""
        begun = saved = time.monotonic()
        started, done_before = begun - self.history.seconds, self.step
        for batch in () if self._stale() else self._batches():
            self._check()
            loss = self._update(batch)
            self.step += 1
            if math.isfinite(loss):
                self.history.losses.append((self.step, loss))
            self.history.seconds = time.monotonic() - started
            self._report(loss, done_before, begun)
            if self._due():
                self._validate()
                if self._stale():
                    break
            if time.monotonic() - saved > self.config.checkpoint_every:
                self._save()
                saved = time.monotonic()
        if self.validated != self.step:
            self._validate()
        self._save()
        averaged = self._averaged()
        self.patience.restore(averaged)
        return averaged, self.history

    def give_back(self) -> None:
        """Leaves the task with its own networks, neither wrapped nor standing still."""
        for name, net in self.raw.items():
            self.task.networks[name] = net
            for parameter in self.trainable[name]:
                parameter.requires_grad_(True)

    def _wrap_networks(self) -> None:
        """Moves networks, makes their averages, and lets several processes share gradients."""
        self.raw = {name: net.to(self.device) for name, net in self.task.networks.items()}
        self.trainable = {name: [p for p in net.parameters() if p.requires_grad] for name, net in self.raw.items()}
        self.shared: dict[str, nn.Module] = dict(self.raw)
        if self.world.size > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            self.shared = {n: DistributedDataParallel(net, device_ids=devices) for n, net in self.raw.items()}

    def _average(self, name: str) -> AveragedModel:
        """An average that looks equally many steps back, however seldom the network has its turn."""
        every = min((phase.every for phase in self.phases if name in phase.networks), default=1)
        ema = get_ema_multi_avg_fn(self.config.ema**every)
        return AveragedModel(self.raw[name], multi_avg_fn=ema, use_buffers=True)

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        parameters = [p for name in phase.networks for p in self.trainable[name]]
        config, rate = self.config, self.config.learning_rate * phase.learning_rate
        return torch.optim.AdamW(parameters, rate, config.betas, weight_decay=config.weight_decay)

    def _scheduler(self, optimiser: torch.optim.Optimizer, phase: Phase) -> torch.optim.lr_scheduler.LRScheduler:
        """A phase that takes its turn at some steps alone follows the same curve in fewer updates."""
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda turn: self._schedule(turn * phase.every))

    def _schedule(self, step: int) -> float:
        warmup = max(1, round(self.config.warmup * self.config.steps))
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, self.config.steps - warmup))))

    def _batches(self) -> Iterator[Batch]:
        loader = load_batches(self.task, self.config, self.step, self.world.rank, self.device.type == "cuda")
        for batch in loader:
            yield {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    def _update(self, batch: Batch) -> float:
        """The phases whose turn it is; returns the last one's loss, NaN if it has not its turn."""
        told, changed = torch.tensor(math.nan), set[str]()
        torch.manual_seed(seed_of(self.task.seed, self.step, self.world.rank))
        for phase, optimiser, schedule in zip(self.phases, self.optimisers, self.schedules, strict=True):
            if (self.step + 1) % phase.every:
                continue
            self._open(phase)
            with mixed_precision(self.device, self.dtype):
                total = torch.stack([loss.float() for loss in phase.losses(batch).values()]).sum()
            self._watch(phase, total)
            self._descend(phase, optimiser, total)
            schedule.step()
            if phase.after:
                phase.after()
            changed |= set(phase.networks)
            told = total.detach() if phase is self.phases[-1] else told
        self.scaler.update()
        for name in changed:
            self.averages[name].update_parameters(self.raw[name])
        return float(told)

    def _watch(self, phase: Phase, loss: torch.Tensor) -> None:
        """Stops a run that is lost. Loss scaling begins too high and may skip some steps before it fits."""
        self.skipped[phase.name] = 0 if torch.isfinite(loss) else self.skipped[phase.name] + 1
        if self.skipped[phase.name] >= (MOST_SKIPPED if self.scaler.is_enabled() else 1):
            raise FloatingPointError(
                f"The {phase.name} loss is not finite at step {self.step}; lower the learning rate."
            )

    def _open(self, phase: Phase) -> None:
        """Lets a phase change its own networks, with gradients shared among processes, and no other.

        Parameters that the task froze before the run stay frozen.
        """
        for name, net in self.raw.items():
            mine = name in phase.networks
            net.train()
            for parameter in self.trainable[name]:
                parameter.requires_grad_(mine)
            self.task.networks[name] = self.shared[name] if mine else net

    def _descend(self, phase: Phase, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        """One step along the gradient, which may be infinite though the loss is not: loss scaling skips such a step.

        Without it the run stops before the weights, and the checkpoints to come, are lost.
        """
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimiser)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        if not (self.scaler.is_enabled() or torch.isfinite(norm)):
            raise FloatingPointError(
                f"The gradient of the {phase.name} loss is not finite at step {self.step}; lower the learning rate."
            )
        self.scaler.step(optimiser)

    def _averaged(self) -> dict[str, nn.Module]:
        return {name: average.module.eval() for name, average in self.averages.items()}

    def _stale(self) -> bool:
        """Whether patience is at its end. All processes know: only the first one measures."""
        return bool(self.config.patience and self.task.key_metric) and self.world.agree(self.patience.over)

    def _due(self) -> bool:
        return bool(self.config.validate_every) and self.step % self.config.validate_every == 0

    def _validate(self) -> None:
        """Measures the averaged networks on the first process while the others wait."""
        if self.task.key_metric and self.world.rank == 0:
            with torch.inference_mode():
                metrics = self.task.validate(self._averaged())
            self.history.metrics.append((self.step, metrics))
            self.patience.see(metrics[self.task.key_metric], self._averaged())
            self.monitor.report(step=self.step, steps=self.config.steps, metrics=metrics)
        self.validated = self.step
        self.world.barrier()

    def _report(self, loss: float, done_before: int, begun: float) -> None:
        elapsed = max(1e-9, time.monotonic() - begun)
        share = (self.step - done_before) / max(1, self.config.steps - done_before)
        eta = elapsed * (1 - share) / share if share else math.inf
        told = {"loss": loss} if math.isfinite(loss) else {}
        self.monitor.report(
            step=self.step, steps=self.config.steps, **told, seconds=self.history.seconds, eta_seconds=eta
        )

    def _check(self) -> None:
        try:
            self.monitor.check()
        except BaseException:
            self._save()
            raise

    def _state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "validated": self.validated,
            "networks": {n: net.state_dict() for n, net in self.raw.items()},
            "averages": {n: a.state_dict() for n, a in self.averages.items()},
            "optimisers": [o.state_dict() for o in self.optimisers],
            "schedules": [s.state_dict() for s in self.schedules],
            "scaler": self.scaler.state_dict(),
            "losses": self.history.losses,
            "metrics": self.history.metrics,
            "patience": self.patience.state(),
            "seconds": self.history.seconds,
        }

    def _fingerprint(self) -> str:
        """All that a run must share with the one that left a checkpoint to go on from there."""
        settings = {k: v for k, v in asdict(self.config).items() if k not in NO_EFFECT}
        parts = {"fit": settings, "task": self.task.identity(), "processes": self.world.size}
        return json.dumps(parts, sort_keys=True)

    def _save(self) -> None:
        if self.checkpoint and self.world.rank == 0:
            with atomic_path(self.checkpoint) as temporary:
                torch.save(self._state(), temporary)

    def _resume(self) -> None:
        if not (self.checkpoint and self.checkpoint.is_file()):
            return
        # Not to the GPU: Adam's counters of steps would stay there and cost a wait for each weight at every step.
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state.get("fingerprint") != self.fingerprint:
            raise CheckpointMismatch(
                f"{self.checkpoint} is of a run with other settings; choose another --out or remove it."
            )
        for name in self.raw:
            self.raw[name].load_state_dict(state["networks"][name])
            self.averages[name].load_state_dict(state["averages"][name])
        for live, saved in zip(self.optimisers, state["optimisers"], strict=True):
            live.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.validated = state["step"], state["validated"]
        self.patience.load(state["patience"])
        self.history = History(
            [tuple(x) for x in state["losses"]], [tuple(x) for x in state["metrics"]], state["seconds"]
        )

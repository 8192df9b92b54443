"""Stages of a training that takes several: each is done once, goes on if it was stopped, and is known afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainers.distributed import World
from trainers.files import atomic_write_json, read_json
from trainers.fit import CHECKPOINT_FILE, CheckpointMismatch, fit
from trainers.monitor import Monitor
from trainers.spec import save_weights
from trainers.task import NO_EFFECT, FitConfig, TrainingTask

STAGES_FILE = "stages.json"
Stage = dict[str, Any]


def trained(
    name: str,
    task: TrainingTask,
    loop: FitConfig,
    weights: Mapping[str, Path],
    folder: Path,
    metric: str,
    monitor: Monitor = Monitor(),
) -> Stage:
    """Trains a stage, unless its weights are there and were trained in the same way.

    Args:
        name: of the stage.
        task: what to learn.
        loop: how.
        weights: where the averaged networks go, by their names in the task; all in one folder, which also has the
            record of the stages.
        folder: of the checkpoints.
        metric: what is told of the validation patients; empty tells nothing.
        monitor: see `trainers.fit.fit`.

    Returns:
        What is known of the stage: `way`, `minutes`, `cpu_minutes` of this process (all its threads, none of an earlier
        one), and `validation_<metric>_by_step`.

    Raises:
        CheckpointMismatch: the weights that are there were trained in another way.
    """
    file = next(iter(weights.values())).parent / STAGES_FILE
    known: dict[str, Stage] = read_json(file) if file.is_file() else {}
    settings = {k: v for k, v in asdict(loop).items() if k not in NO_EFFECT}
    way = json.loads(json.dumps({"fit": settings, "task": task.identity()}))
    if all(path.is_file() for path in weights.values()):
        if known.get(name, {}).get("way") != way:
            first = next(iter(weights.values()))
            raise CheckpointMismatch(f"{first} was trained in another way; choose another --out or remove it.")
        return known[name]
    busy = time.process_time()
    with World.from_environment() as world:
        averaged, history = fit(task, loop, folder, monitor)
        minutes = {"minutes": history.seconds / 60, "cpu_minutes": (time.process_time() - busy) / 60}
        stage: Stage = {"way": way, **{name: round(value, 1) for name, value in minutes.items()}}
        if metric:
            stage[f"validation_{metric}_by_step"] = [[step, round(m[metric], 3)] for step, m in history.metrics]
        if world.rank == 0:
            atomic_write_json(file, {**known, name: stage})  # before the weights: those without a record are of no use
            for network, path in weights.items():
                save_weights(averaged[network], path)
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        world.barrier()  # the next stage of every process reads them
    return stage

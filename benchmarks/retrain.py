"""From submitted labels to a better model, through the real server with the real client: how long, and how much better.

A weak version, trained on eight patients in few steps, serves. A simulated clinician asks the server for the next
study, by each of two strategies, submits its true label, ten times; then the model is fine-tuned, judged by the gate
and served.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.clinic import MedGANClient, clinic, served_dice
from benchmarks.finetune import HELD_OUT, MODEL, WEAK_CASES, weak_models
from trainers.data.cases import Case, find_cases, hash_fraction, split_cases
from trainers.recipes import RECIPES

POOL, LABELLED, WEAK_STEPS = 30, 10, 300
STRATEGIES = ("hybrid", "foreground")
SCORED_SECONDS, SERVED_SECONDS = 300.0, 1800.0


def measure(data: Path, out: Path, strategies: Sequence[str] = STRATEGIES) -> list[dict[str, Any]]:
    """One row a strategy.

    Studies are training patients of the recipe that the weak version did not see; measured is on twenty patients of its
    test part.
    """
    models = weak_models(data, out, WEAK_STEPS)
    recipe = RECIPES[MODEL]
    split = split_cases(find_cases(data), recipe.validation, recipe.test)
    unseen = sorted(split.train, key=lambda case: hash_fraction(case.id))[WEAK_CASES:]
    pool, held_out = unseen[:POOL], split.test[-HELD_OUT:]
    return [_play(strategy, pool, held_out, models, out) for strategy in strategies]


def _play(strategy: str, pool: Sequence[Case], held_out: Sequence[Case], models: Path, out: Path) -> dict[str, Any]:
    labels = {case.id: case.label for case in pool}
    with clinic(out / "clinic", pool, "--models", str(models)) as client:
        scored = _until_scored(client)
        before = served_dice(client, MODEL, held_out, out / "answers")
        version = client.serving().models[MODEL].version
        started = time.monotonic()
        for _ in range(LABELLED):
            study = client.next_sample(strategy).id
            client.submit_label(study, labels[study], model=MODEL)
        submitted = time.monotonic() - started
        client.train_start(MODEL, {})
        state = _until_served(client, version)
        served = time.monotonic() - started
        after = served_dice(client, MODEL, held_out, out / "answers")
    return {
        "strategy": strategy, "studies": len(pool), "labelled": LABELLED, "scored after s": round(scored),
        "ten submitted in s": round(submitted, 1), "state": state, "minutes to the new version": round(served / 60, 2),
        "held-out Dice before": before, "after": after,
    }  # fmt: skip


def _until_scored(client: MedGANClient) -> float:
    """Seconds until the server has looked at every study; it does so by itself."""
    started = time.monotonic()
    while time.monotonic() - started < SCORED_SECONDS:
        if client.review(MODEL).waiting == 0:
            break
        time.sleep(1)
    return time.monotonic() - started


def _until_served(client: MedGANClient, version: str) -> str:
    """Waits until another version serves, or the run ended without one. Returns the run's state."""
    end = time.monotonic() + SERVED_SECONDS
    while time.monotonic() < end:
        if client.serving().models[MODEL].version != version:
            return "promoted"
        status = client.train_status()
        if not status.running and status.state != "queued":
            return status.state
        time.sleep(0.5)
    raise TimeoutError(f"The training did not end within {SERVED_SECONDS:.0f} s.")

"""A server with patients and a client, as the benchmarks need them."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from demo.server import ROOT, running_server
from trainers.data.cases import Case
from trainers.data.volumes import read_label
from trainers.metrics import label_metrics

sys.path.insert(0, str(ROOT / "MedGANSlicerExtension" / "MedGAN"))

from MedGANLib.client import MedGANClient
from MedGANLib.training import TrainingStatus


@contextmanager
def clinic(folder: Path, cases: Sequence[Case], *options: str) -> Iterator[MedGANClient]:
    """A fresh server whose studies are the images of `cases`, and a client of it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "studies").mkdir(parents=True)
    for case in cases:
        shutil.copy(case.image, folder / "studies" / case.image.name)
    with running_server(folder / "studies", folder / "server.log", *options) as url:
        yield MedGANClient(url, cache_dir=folder / "cache")


def served_dice(client: MedGANClient, model: str, cases: Sequence[Case], out: Path) -> float:
    """Mean Dice, over labels and cases, of what the server answers to uploaded images, each looked at once."""
    info = client.info().model(model)
    assert info is not None
    scores: list[float] = []
    for case in cases:
        part = client.infer(model, out, file=case.image, options={"test_time_augmentation": False}).parts[0]
        truth = read_label(case.label)
        found = read_label(part.path)
        scores += label_metrics(found.array, truth.array, info.labels, truth.spacing)["dice"].values()
    return float(np.nanmean(scores))


def train(client: MedGANClient, model: str, timeout: float = 1800) -> TrainingStatus:
    """Starts a run and waits for its end."""
    client.train_start(model, {})
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        status = client.train_status()
        if not status.running:
            return status
        time.sleep(1)
    raise TimeoutError(f"The training did not end within {timeout:.0f} s.")

"""Measuring a synthesis model: fidelity and diversity against real images, and what it gives away of its patients."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from trainers.card import write_card
from trainers.data.sets import Entry
from trainers.data.volumes import VolumeError
from trainers.files import atomic_write_json
from trainers.metrics.encoder import extract_features
from trainers.metrics.generation import FidelityReport, fidelity
from trainers.metrics.privacy import FEWEST, PrivacyReport, audit
from trainers.monitor import Monitor
from trainers.networks import load
from trainers.spec import ModelNotAvailable, ModelSpec, part_file
from trainers.tasks.synthesis.grid import GRID_FILE, save_grid
from trainers.tasks.synthesis.images import Images, prepare
from trainers.tasks.synthesis.infer import Synthesizer

FIGURES_FILE = "figures.json"
CARD_IMAGES, CARD_VOLUMES = 1000, 400  # made for the figures of a card
DIGITS = 4


@dataclass(frozen=True)
class Report:
    """Figures of one model.

    Attributes:
        fidelity: against real images. privacy: None without training images to audit against, and why in `notes`.
        seconds: median for one image.
    """

    fidelity: FidelityReport
    privacy: PrivacyReport | None
    seconds: float
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the figures under their names, and again with intervals and floors."""
        figures = {name: f.fake.value for name, f in self.fidelity.figures.items()}
        return {
            **{name: None if math.isnan(v) else v for name, v in figures.items()},
            "seconds_per_image": self.seconds,
            "fidelity": self.fidelity.as_dict(),
            "privacy": None if self.privacy is None else self.privacy.as_dict(),
            "notes": self.notes,
        }


def evaluate(
    model_dir: Path | str,
    real: Sequence[Entry],
    number: int,
    training: Sequence[Entry] = (),
    seed: int = 0,
    monitor: Monitor = Monitor(),
    device: str = "cpu",
) -> Report:
    """Measures a model.

    Args:
        model_dir: the model.
        real: images of patients that it did not learn from.
        number: of images to make.
        training: images that it learned from, for the privacy audit.
        seed: of the first made image.
        monitor: hears `progress`; may cancel.
        device: as for `trainers.devices.pick_device`.

    Raises:
        ModelNotAvailable: no usable weights, or no encoder. VolumeError: an image cannot be read. ValueError: too few.
    """
    synthesizer = Synthesizer(model_dir, device)
    encoder = load_encoder(model_dir)
    spec = synthesizer.spec
    known, unknown = (
        prepare(entries, synthesizer.settings, [], len(spec.modalities), monitor) if entries else None
        for entries in (training, real)
    )
    if unknown is None:
        raise ValueError("There are no real images to compare with.")
    for images in (unknown, known):
        _check_channels(spec, images)
    return measure(synthesizer, encoder, unknown, known, number, seed, monitor)


def _check_channels(spec: ModelSpec, images: Images | None) -> None:
    made = spec.network.get("out_channels", 1)
    if images is not None and images.array.shape[1] != made:
        found = images.array.shape[1]
        raise VolumeError("cannot_process", f"The images have {found} channels; {spec.name} makes images of {made}.")


def load_encoder(model_dir: Path | str) -> nn.Module:
    """The encoder that ships with a model. Raises ModelNotAvailable."""
    spec = ModelSpec.load(model_dir)
    if "encoder" not in spec.parts:
        raise ModelNotAvailable(f"{spec.name} has no encoder of features to be measured with.")
    return load(spec.parts["encoder"], part_file(model_dir, "encoder")).eval()


def measure(
    synthesizer: Synthesizer,
    encoder: nn.Module,
    real: Images,
    training: Images | None,
    number: int,
    seed: int = 0,
    monitor: Monitor = Monitor(),
) -> Report:
    """Measures a model in memory; arguments as of `evaluate`."""
    made, seconds = make_images(synthesizer, number, seed, monitor)
    real_features, fake_features = (extract_features(encoder, a) for a in (real.array, made))
    notes: list[str] = []
    privacy = None
    if training is None:
        notes.append("No privacy audit: the images that the model learned from were not given (--training).")
    elif min(len(real), len(training), number) < FEWEST:
        notes.append(f"No privacy audit: it needs at least {FEWEST} real, training and made images.")
    else:
        features = extract_features(encoder, training.array)
        privacy = audit(
            {"features": features, "grey values": training.array},
            {"features": real_features, "grey values": real.array},
            {"features": fake_features, "grey values": made},
            seed=seed,
        )
    return Report(fidelity(real_features, fake_features, real.array, made, seed), privacy, seconds, notes)


def make_images(
    synthesizer: Synthesizer, number: int, seed: int, monitor: Monitor = Monitor()
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
    """Images (number, channel, *window) in [-1, 1], and the median seconds for one."""
    images, seconds = [], []
    for index in range(number):
        monitor.check()
        started = time.perf_counter()
        images.append(synthesizer.make(seed + index).image)
        seconds.append(time.perf_counter() - started)
        monitor.report(progress=(index + 1) / number)
    return np.stack(images), float(np.median(seconds))


def finish(
    spec: ModelSpec, out: Path, encoder: nn.Module, training: Images, test: Images, monitor: Monitor
) -> dict[str, Any]:
    """Measures a model that was just trained, and writes its spec with the figures, its card and a picture."""
    monitor.report(stage="measuring")
    synthesizer = Synthesizer(out)
    number = CARD_VOLUMES if spec.dimensions == 3 else CARD_IMAGES
    report = measure(synthesizer, encoder, test, training, number, monitor=monitor)
    note = f"{number} made images, {len(test)} real images of patients not trained on"
    measured = spec.replace(metrics=card_metrics(report, note))
    measured.save(out)
    words = {"Fidelity and diversity": report.fidelity.sentences()}
    words["Privacy"] = report.privacy.sentences() if report.privacy else report.notes
    write_card(measured, out, words, GRID_FILE)
    save_grid(out / GRID_FILE, synthesizer, test)
    found = report.as_dict()
    atomic_write_json(out / FIGURES_FILE, found)
    return found


def card_metrics(report: Report, note: str) -> dict[str, dict[str, Any]]:
    """The figures as a spec keeps them."""
    metrics = {
        name: {
            "value": round(f.fake.value, DIGITS), "higher_is_better": f.better == "higher",
            **({"best": round(f.real.value, DIGITS)} if f.better == "near real" else {}),
            "note": f"{note}; between real images {f.real.value:.4f}",
        }
        for name, f in report.fidelity.figures.items()
        if math.isfinite(f.fake.value)
    }  # fmt: skip
    if report.privacy is not None:
        for name, space in report.privacy.spaces.items():
            short = name.replace(" ", "_")
            auroc, median = space.membership.auroc.value, space.synthetic.median.value
            words = f"{note}; by {name}"
            metrics[f"membership_auroc_{short}"] = {
                "value": round(auroc, DIGITS),
                "higher_is_better": False,
                "note": words,
            }
            metrics[f"memorisation_ratio_{short}"] = {
                "value": round(median, DIGITS), "higher_is_better": True,
                "note": f"{words}; between real patients {space.real.median.value:.4f}",
            }  # fmt: skip
    return metrics

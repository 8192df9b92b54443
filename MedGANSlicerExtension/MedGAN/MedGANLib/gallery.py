"""The samples of a synthesis model as plain records: what was made, which is looked at, accepted, added."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, FrozenSet, Mapping, Optional, Sequence, Tuple

from .errors import CannotProcess
from .records import Color, InferResult, ModelInfo, ResultPart

ADDED, THERE, FAILED, UNTRIED = "added", "there", "failed", "untried"
"""What became of a sample that was to be added to the training studies."""


@dataclass(frozen=True)
class Sample:
    """One synthetic image, with its label when the model gives one.

    Attributes:
        number: Its place in the gallery, from 1 on.
        seed: What it was made from; the same seed gives the same sample.
        class_name: What it shows; empty for a model without classes.
        image, label: Files on this computer.
        labels: Name -> value of the label map.
        colors: Name -> RGB in 0…1.
        units: Of the voxels.
    """

    number: int
    seed: int
    image: Path
    label: Optional[Path] = None
    class_name: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, Color] = field(default_factory=dict)
    units: str = ""


@dataclass(frozen=True)
class Addition:
    """What became of a sample at the server: ADDED, THERE, FAILED or UNTRIED, and why."""

    kind: str
    reason: str = ""


@dataclass(frozen=True)
class Gallery:
    """What one press of *Generate* gave, and what the clinician thinks of it.

    Attributes:
        model: The model as the server describes it.
        version: Its version.
        server: The server's address.
        samples: In the order of their numbers; never empty.
        warnings: What the server remarked.
        from_shape: Whether the samples fill a shape that was drawn here.
        index: The sample that is looked at, from 0 on.
        accepted: Numbers of the samples that are good enough to train on.
        additions: Number -> what became of it at the server.
    """

    model: ModelInfo
    version: str
    server: str
    samples: Tuple[Sample, ...]
    warnings: Tuple[str, ...] = ()
    from_shape: bool = False
    index: int = 0
    accepted: FrozenSet[int] = frozenset()
    additions: Mapping[int, Addition] = field(default_factory=dict)

    @property
    def current(self) -> Sample:
        """The sample that is looked at."""
        return self.samples[self.index]

    @property
    def labels(self) -> Mapping[str, int]:
        """Name -> value of the labels; empty unless every sample has a label."""
        return self.samples[0].labels if all(sample.label for sample in self.samples) else {}

    @property
    def waiting(self) -> Tuple[Sample, ...]:
        """The accepted samples that the server does not have yet."""
        done = {number for number, addition in self.additions.items() if addition.kind in (ADDED, THERE)}
        return tuple(s for s in self.samples if s.number in self.accepted - done)

    def at(self, index: int) -> Gallery:
        """Return the gallery with another sample looked at; beyond the ends stays at the end."""
        return replace(self, index=max(0, min(index, len(self.samples) - 1)))

    def judged(self, number: int, accepted: bool) -> Gallery:
        """Return the gallery with a sample accepted or rejected."""
        return replace(self, accepted=self.accepted | {number} if accepted else self.accepted - {number})

    def with_additions(self, additions: Mapping[int, Addition]) -> Gallery:
        """Return the gallery with news of what became of samples."""
        return replace(self, additions={**self.additions, **additions})


def study_id(gallery: Gallery, sample: Sample) -> str:
    """Return the id under which a sample is a study of the server.

    The seed alone does not tell samples of other classes, shapes or versions apart; a checksum of the files does.
    """
    content = b"".join(file.read_bytes() for file in (sample.image, sample.label) if file is not None)
    return f"synthetic_{gallery.model.name}_{sample.seed}_{hashlib.sha256(content).hexdigest()[:8]}"


def make_gallery(result: InferResult, model: ModelInfo, server: str, from_shape: bool) -> Gallery:
    """Return the gallery of what a synthesis model gave.

    Raises:
        CannotProcess: There is no image, or nothing says of what seed one was made.
    """
    images = {_number(part): part for part in result.parts if part.kind == "volume"}
    labels = {_number(part): part for part in result.parts if part.kind == "labelmap"}
    if not images:
        raise CannotProcess("The model gave no samples.", "Try other options; if it stays, tell the administrator.")
    samples = tuple(_sample(number, images[number], labels.get(number), model) for number in sorted(images))
    return Gallery(model, result.version or model.version, server, samples, result.warnings, from_shape)


def _number(part: ResultPart) -> int:
    """Return a part's sample; a server that does not say it counts in the part's name, `image_001`."""
    counted = re.search(r"(\d+)$", part.name)
    return part.sample or (int(counted.group(1)) if counted else 1)


def _sample(number: int, image: ResultPart, label: Optional[ResultPart], model: ModelInfo) -> Sample:
    if image.seed is None:
        raise CannotProcess(f"The server does not say of what seed sample {number} was made.", "Update the server.")
    named = (label.labels or model.labels) if label else {}
    labels: Dict[str, int] = {name: value for name, value in named.items() if value}
    colors = {**model.colors, **(label.colors if label else {})}
    path = label.path if label else None
    return Sample(number, image.seed, image.path, path, image.class_name, labels, colors, image.units)


def learner_of(labels: Mapping[str, int], models: Sequence[ModelInfo]) -> Optional[ModelInfo]:
    """Return a trainable segmentation model with exactly these labels, by name and value; None when there is none."""
    learners = (m for m in models if m.trainable and m.task == "segmentation" and dict(m.labels) == dict(labels))
    return next(learners, None) if labels else None

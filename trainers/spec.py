"""ModelSpec: all that is needed to rebuild and run a model, kept beside its weights as spec.json."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trainers.files import atomic_path, atomic_write_json, read_json

SPEC_FILE = "spec.json"
WEIGHTS_FILE = "model.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
CARD_FILE = "card.md"
FORMAT = 1


class ModelNotAvailable(RuntimeError):
    """A model that cannot run: no weights, damaged weights, or a spec that does not fit them."""


@dataclass(frozen=True)
class ModelSpec:
    """A model's description.

    Attributes:
        name: the model's name, also its folder's. version: `v0001`, … task: `segmentation`, …
        network: `{"name": …, **arguments}` for `trainers.networks.build`.
        preprocess: arguments of the task's preprocessing.
        labels: label name to value. colors: label name to RGB in 0-1.
        clicks: of models that can be corrected by clicks, how far the mark of one spreads, voxels; 0 takes none. Their
            network has one more input channel for each class.
        organs: how many of the organ a patient has, for models that look for one.
        inputs: `[{"name", "modality"}]`, in channel order; empty for a model that needs no image.
        classes: names of what a class-conditional model can be asked for. modalities: the same for channels or
            scanners.
        dimensions: of the images, 2 or 3.
        parts: the model's other networks by name, each with its weights beside the main ones as `NAME.safetensors`.
        views: sizes, relative to the model's spacing, at which an image is looked at when views are averaged.
        calibration: of models that detect, by method: `scores` and `peaks` of healthy patients, ascending.
        limits: where the model fails, a paragraph for the card.
        metrics: name to `{"value": float, "higher_is_better": bool, …}`, measured on patients not trained on; `best` is
            the right value of one that can be too high as well.
        training: what it was trained with, for the card and for fine-tuning.
    """

    name: str
    task: str
    title: str
    description: str
    network: dict[str, Any]
    preprocess: dict[str, Any]
    labels: dict[str, int] = field(default_factory=dict)
    colors: dict[str, list[float]] = field(default_factory=dict)
    inputs: list[dict[str, str]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    modalities: list[str] = field(default_factory=list)
    dimensions: int = 3
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    clicks: float = 0.0
    organs: int = 1
    views: list[float] = field(default_factory=lambda: [1.0])
    version: str = "v0001"
    data: str = ""
    licence: str = ""
    body_part: str = ""
    modality: str = ""
    calibration: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    limits: str = ""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def load(cls, model_dir: Path | str) -> ModelSpec:
        """Reads `model_dir/spec.json`. Raises ModelNotAvailable if it is missing or not a spec of this format."""
        path = Path(model_dir) / SPEC_FILE
        try:
            value = read_json(path)
            found = dict(value).get("format", FORMAT)
            if found != FORMAT:
                raise ModelNotAvailable(f"{path.parent.name} has spec format {found}; this program reads {FORMAT}.")
            spec = cls(**value)
            if not all(type(number) is int for number in spec.labels.values()):
                raise ValueError("a label's value is no whole number")
            return spec
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelNotAvailable(f"{path.parent.name}/{SPEC_FILE} cannot be read: {error}") from error

    def save(self, model_dir: Path | str) -> None:
        """Writes `model_dir/spec.json`, all or nothing."""
        atomic_write_json(Path(model_dir) / SPEC_FILE, dataclasses.asdict(self))

    def replace(self, **changes: Any) -> ModelSpec:
        """Returns a copy with `changes`."""
        return dataclasses.replace(self, **changes)


def save_weights(network: torch.nn.Module, path: Path | str, half: bool = True) -> None:
    """Writes a network's state as safetensors, all or nothing; floats as float16 if `half` (a few MB, not twice that).

    A tensor that the network knows by several names is written once, under the first.
    """
    names = _first_names(network)
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if names[k] == k}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def load_weights(network: torch.nn.Module, path: Path | str) -> None:
    """Loads safetensors into `network`, every tensor and no other.

    Raises:
        ModelNotAvailable: missing or damaged file, or one that is of another network.
    """
    path = Path(path)
    place = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise ModelNotAvailable(f"The weights {place} are missing.")
    try:
        stored = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        names = _first_names(network)
        aliases = {k: stored[first] for k, first in names.items() if first in stored}
        network.load_state_dict({**stored, **aliases}, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelNotAvailable(f"The weights {place} are damaged or of another network.") from error
    if not all(torch.isfinite(v).all() for v in network.state_dict().values()):
        raise ModelNotAvailable(f"The weights {place} hold values that are not finite.")


def plain(value: Any) -> Any:
    """Settings with lists for tuples, as JSON gives them back."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def part_file(model_dir: Path | str, name: str) -> Path:
    """Where the weights of one of `ModelSpec.parts` are."""
    return Path(model_dir) / f"{name}.safetensors"


def _first_names(network: torch.nn.Module) -> dict[str, str]:
    """For every name of a tensor in a network's state, the first name of the same tensor."""
    first: dict[tuple[int, int], str] = {}
    return {
        k: first.setdefault((v.data_ptr(), v.numel()), k) if v.numel() else k for k, v in network.state_dict().items()
    }


def weights_checksum(model_dir: Path | str) -> str:
    """`sha256:…` of the weights of the main network and all parts. Raises ModelNotAvailable if there are none."""
    path = Path(model_dir) / WEIGHTS_FILE
    if not path.is_file():
        raise ModelNotAvailable(f"The weights {path.parent.name}/{path.name} are missing.")
    digest = hashlib.sha256()
    for part in [path, *sorted(p for p in path.parent.glob("*.safetensors") if p != path)]:
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"

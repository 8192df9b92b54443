"""What all models have in common: their description for clients, and the way from a file to a result file."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask

from monailabel_app.infers.result import Part, check_extension, write_result
from monailabel_app.options import Schema, validate
from monailabel_app.registry import Registry, Version
from monailabel_app.serving import ModelCache
from trainers.data.volumes import Limits, Volume, read_volume
from trainers.monitor import Monitor
from trainers.spec import ModelNotAvailable, ModelSpec

DIGITS = 4


@dataclass(frozen=True)
class Outcome:
    """What a model made of one image.

    Attributes:
        parts: the volumes, the main one first. warnings: what the clinician should know.
        seconds: for `pre`, `infer` and `post`.
    """

    parts: list[Part]
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class ModelInfer(InferTask):
    """One model as MONAI Label sees it.

    Args:
        model: its name. registry: its versions. cache: its loaded versions.
        folder: where results are written. limits: what is too large to read.
    """

    task = ""
    output = "labelmap"
    trainable = False

    def __init__(self, model: str, registry: Registry, cache: ModelCache, folder: Path, limits: Limits) -> None:
        self.model, self.registry, self.cache = model, registry, cache
        self.folder, self.limits = folder, limits
        self.spec = any_spec(registry, model)
        super().__init__(self.task, self.spec.labels, 3, self.spec.description)

    @abstractmethod
    def schema(self) -> Schema:
        """The options that a client can set, as JSON Schema."""

    @abstractmethod
    def run(self, loaded: Any, image: Volume, options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Applies a loaded model to an image."""

    def is_valid(self) -> bool:
        """MONAI Label shows the model; a request finds out whether its weights are usable."""
        return True

    def info(self) -> dict[str, Any]:
        """MONAI Label's description, and MedGAN's under `medgan`."""
        result: dict[str, Any] = super().info()
        return {**result, "medgan": self._describe()}

    def options(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Options from a request's params, and the keys that are none. Raises MedGANError `bad_option`."""
        check_extension(params.get("result_extension") or ".nii.gz")
        return validate(params, self.schema())

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Runs the model on `request["image"]`, a path.

        Args:
            request: params of the client; beside them `image` and perhaps `monitor`.

        Returns:
            The result's file, which the caller removes, and the answer's params.
        """
        start = time.perf_counter()
        options, _ = self.options(request)
        version = self.registry.current(self.model)
        loaded = self.cache.get(version)
        clock = time.perf_counter()
        image = read_volume(request["image"], self.limits)
        read = time.perf_counter() - clock
        outcome = self.run(loaded, image, options, request.get("monitor") or Monitor())
        about = self._about(version, outcome)
        about["latencies"] = {"read": round(read, DIGITS), **{k: round(v, DIGITS) for k, v in outcome.seconds.items()}}
        clock = time.perf_counter()
        path = write_result(outcome.parts, about, request.get("result_extension") or ".nii.gz", self.folder)
        now = time.perf_counter()
        about["latencies"] |= {"write": round(now - clock, DIGITS), "total": round(now - start, DIGITS)}
        return str(path), about

    def _about(self, version: Version, outcome: Outcome) -> dict[str, Any]:
        return {
            "label_names": dict(self.spec.labels),
            "model": self.model,
            "version": version.name,
            "checksum": version.checksum,
            "warnings": list(outcome.warnings),
        }

    def _describe(self) -> dict[str, Any]:
        fixed = {"task": self.task, "output": self.output, "title": self.spec.title, "inputs": self.spec.inputs}
        try:
            version = self.registry.current(self.model)
            spec = ModelSpec.load(version.path)
            serving = {"version": version.name, "checksum": version.checksum, "metrics": spec.metrics}
        except ModelNotAvailable as error:
            spec = self.spec
            serving = {"version": "", "checksum": "", "metrics": {}, "unavailable": str(error)}
        about = {"data": spec.data, "licence": spec.licence, "body_part": spec.body_part, "modality": spec.modality}
        return {
            **fixed,
            "options": self.schema(),
            **serving,
            **about,
            "colors": spec.colors,
            "trainable": self.trainable,
        }


def any_spec(registry: Registry, model: str) -> ModelSpec:
    """The spec of the version that serves or, failing that, of any: labels are the same in all."""
    candidates = registry.versions(model)
    with contextlib.suppress(ModelNotAvailable):
        candidates = [registry.current(model), *candidates]
    for version in candidates:
        try:
            return ModelSpec.load(version.path)
        except ModelNotAvailable:
            continue
    raise ModelNotAvailable(f"No version of {model} has a readable spec.")

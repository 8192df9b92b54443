"""What all models have in common: their description for clients, and the way from a request to a result file."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monailabel_app.errors import MedGANError
from monailabel_app.infers.result import Part, check_extension, write_result
from monailabel_app.jobs import Job
from monailabel_app.options import Schema, validate
from monailabel_app.recent import RecentVolumes
from monailabel_app.registry import Registry, Version
from monailabel_app.serving import ModelCache
from trainers.data.volumes import SUFFIXES, Limits, Volume, check_file
from trainers.metrics.titles import titled
from trainers.monitor import Monitor
from trainers.spec import ModelNotAvailable, ModelSpec

DIGITS = 4


@dataclass(frozen=True)
class Outcome:
    """What a model made of one request.

    Attributes:
        parts: the volumes, the main one first. warnings: what the clinician should know.
        seconds: for each stage, e.g. `pre`, `infer` and `post`.
        about: what the task adds to the answer's params.
    """

    parts: list[Part]
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


class ModelInfer(InferTask):
    """One model as MONAI Label sees it.

    Args:
        model: its name. registry: its versions. cache: its loaded versions.
        folder: where results are written. limits: what is too large to read. recent: keeps images of earlier requests.

    Attributes:
        task: its name in a spec. output: `labelmap`, `volume` or `both`. trainable: whether it can be fine-tuned here.
        kind: MONAI Label's name for what it does.
        reads: the files of a request that it reads: `image`, names of further inputs, or `label`.
        load: is called with a version's folder and a device; makes the model that is ready to run.
    """

    task = ""
    output = "labelmap"
    trainable = False
    kind: ClassVar[InferType] = InferType.OTHERS
    reads: tuple[str, ...] = ()
    load: ClassVar[Any]

    def __init__(
        self,
        model: str,
        registry: Registry,
        cache: ModelCache,
        folder: Path,
        limits: Limits,
        recent: RecentVolumes = RecentVolumes(),
    ) -> None:
        self.model, self.registry, self.cache, self.recent = model, registry, cache, recent
        self.spec = any_spec(registry, model)
        self.folder, self.limits = folder, replace(limits, pictures=self.spec.dimensions == 2)
        super().__init__(self.kind, self.spec.labels, self.spec.dimensions, self.spec.description)

    @abstractmethod
    def schema(self) -> Schema:
        """The options that a client can set, as JSON Schema."""

    @abstractmethod
    def answer(self, loaded: Any, request: Mapping[str, Any], options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Does what a request asks of a loaded model.

        Args:
            loaded: what `load` made.
            request: the client's params; beside them, by the names in `reads`, the paths of the files that were sent.
            options: the model's options among the params, checked, with defaults.
            monitor: hears of progress; may cancel.
        """

    def check_sent(self, sent: Collection[str], options: Mapping[str, Any]) -> None:
        """Refuses, before anything is read, a request without a file that the model needs or with one it cannot use.

        Args:
            sent: names of the files that came with the request, or are named in it.
            options: as for `answer`.

        Raises:
            MedGANError: `bad_request`.
        """

    def suffixes(self, name: str) -> tuple[str, ...]:
        """Those that a file which it reads under a name can have."""
        return SUFFIXES

    def check_file(self, name: str, path: Path) -> None:
        """Looks at the header of a file that it is about to read under a name. Raises VolumeError."""
        check_file(path, replace(self.limits, pictures=self.limits.pictures or name == "label"))

    def inputs(self) -> list[dict[str, Any]]:
        """The images that it takes, as `/info/` tells them: `name`, `modality`."""
        return list(self.spec.inputs)

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
        """Runs the model.

        Args:
            request: params of the client; beside them the files that it reads, as paths, and perhaps `monitor`, and
                `near` for a client on this computer, to whom nothing is gained by compressing an image.

        Returns:
            The result's file, which the caller removes, and the answer's params.
        """
        start = time.perf_counter()
        options, _ = self.options(request)
        version = self.registry.current(self.model)
        monitor = request.get("monitor") or Monitor()
        loaded = self.cache.get(version, monitor.device if isinstance(monitor, Job) else "")
        outcome = self.answer(loaded, request, options, monitor)
        about = self._about(version, outcome)
        about["latencies"] = {k: round(v, DIGITS) for k, v in outcome.seconds.items()}
        clock = time.perf_counter()
        extension, near = request.get("result_extension") or ".nii.gz", bool(request.get("near"))
        path = write_result(outcome.parts, about, extension, self.folder, near)
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
            **outcome.about,
        }

    def _describe(self) -> dict[str, Any]:
        fixed = {"task": self.task, "output": self.output, "title": self.spec.title, "inputs": self.inputs()}
        try:
            version = self.registry.current(self.model)
            spec = version.spec
            serving = {"version": version.name, "checksum": version.checksum, "metrics": titled(spec)}
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


class ImageInfer(ModelInfer):
    """A model that makes something of an image, or of several."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads = tuple(str(entry["name"]) for entry in self.spec.inputs) or ("image",)

    @abstractmethod
    def run(self, loaded: Any, images: Mapping[str, Volume], options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Applies a loaded model to images, by the names in `reads`."""

    def answer(self, loaded: Any, request: Mapping[str, Any], options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Reads the images of the request and runs the model on them."""
        clock = time.perf_counter()
        images = {name: self.recent.read(request[name], self.limits) for name in self.reads}
        read = time.perf_counter() - clock
        outcome = self.run(loaded, images, options, monitor)
        return replace(outcome, seconds={"read": read, **outcome.seconds})

    def check_sent(self, sent: Collection[str], options: Mapping[str, Any]) -> None:
        """Needs all images; a label map, which stock clients send to some models, is left alone."""
        if "image" not in sent:
            hint = "Send image=ID, a part 'file' or session_id=ID."
            raise MedGANError("bad_request", "There is no image in the request.", hint)
        for name in self.reads:
            if name not in sent:
                hint = f"Send {name!r} as well: a study's id in params, or a file as the part {name!r}."
                message = f"{self.model} needs {len(self.reads)} images; {self._told(name)} is missing."
                raise MedGANError("bad_request", message, hint)

    def _told(self, name: str) -> str:
        """An input's name with its modality."""
        modality = next((i.get("modality", "") for i in self.spec.inputs if i["name"] == name), "")
        return f"{name!r} ({modality})" if modality else repr(name)


def any_spec(registry: Registry, model: str) -> ModelSpec:
    """The spec of the version that serves or, failing that, of any: labels are the same in all."""
    candidates = registry.versions(model)
    with contextlib.suppress(ModelNotAvailable):
        candidates = [registry.current(model), *candidates]
    for version in candidates:
        try:
            return version.spec
        except ModelNotAvailable:
            continue
    raise ModelNotAvailable(f"No version of {model} has a readable spec.")

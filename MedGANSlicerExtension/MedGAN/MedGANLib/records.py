"""Typed records of what the server says.

Unknown keys are ignored and missing ones have defaults, so that an older or newer server, or a stock MONAI Label
server, can still be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

from .training import GateCheck, TrainingStatus, Verdict, VersionInfo, VersionList

__all__ = [
    "Color",
    "ConnectionReport",
    "GateCheck",
    "InferResult",
    "JobStatus",
    "ModelInfo",
    "ResultPart",
    "Sample",
    "ServerInfo",
    "SubmitReceipt",
    "TrainingStatus",
    "Verdict",
    "VersionInfo",
    "VersionList",
]

Color = Tuple[float, float, float]

IMAGE_TASKS = ("reconstruction", "synthesis", "others")


def _label_values(labels: Any) -> Mapping[str, int]:
    """Read name -> value; a plain list of names (old servers) counts from 1. The background is left out."""
    if isinstance(labels, Mapping):
        pairs = {str(name): int(value) for name, value in labels.items() if isinstance(value, (int, float))}
    else:
        pairs = {str(name): value for value, name in enumerate(labels or (), start=1)}
    return {name: value for name, value in pairs.items() if value != 0}


def _count(number: Any) -> int:
    """Read a number of studies, or such numbers by kind."""
    if isinstance(number, Mapping):
        return int(number.get("total") or 0)
    return int(number or 0)


def _descriptions(entries: Any) -> Mapping[str, str]:
    """Read name -> `description`; a plain list of names (old servers) has none."""
    named = entries.items() if isinstance(entries, Mapping) else ()
    return {str(name): str(entry.get("description") or "") for name, entry in named if isinstance(entry, Mapping)}


def _colors(colors: Any) -> Mapping[str, Color]:
    return {str(name): (float(c[0]), float(c[1]), float(c[2])) for name, c in (colors or {}).items()}


@dataclass(frozen=True)
class ModelInfo:
    """One model of the server.

    Attributes:
        name: The name by which the server knows it.
        title: The name for people.
        task: `segmentation`, `reconstruction`, `synthesis`, `anomaly` …; MONAI Label's `type` on a stock server.
        output: `labelmap`, `volume` or `both`.
        labels: Name of each label -> integer value; the background is not listed.
        colors: Name of each label -> RGB in 0…1; names without a colour are absent.
        options: JSON Schema (the part named in docs/api.md) of the options of a run; `{}` when there are none.
        inputs: `{"name", "modality"}` of each input, and `"kspace": true` of one that can be measured k-space.
        metrics: Name -> `{"value", "higher_is_better"}`, and `title` and `unit` for people from newer servers.
        trainable: Whether the server can train it.
        is_medgan: False for a model of a stock server, whose description has no `medgan` key.
    """

    name: str
    title: str
    task: str
    output: str
    description: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, Color] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Tuple[Mapping[str, Any], ...] = ()
    version: str = ""
    checksum: str = ""
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: str = ""
    licence: str = ""
    body_part: str = ""
    modality: str = ""
    trainable: bool = False
    is_medgan: bool = False

    @property
    def option_properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each option, by name."""
        return self.options.get("properties", {})

    @property
    def synthesises(self) -> bool:
        """Whether it makes images out of nothing: it is run on no study."""
        return self.is_medgan and self.task == "synthesis"

    @property
    def reconstructs(self) -> bool:
        """Whether it makes a better image of a study, with a map of how far off it may be beside."""
        return self.is_medgan and self.task == "reconstruction"

    @property
    def detects(self) -> bool:
        """Whether it tells where a study is unlike healthy ones, as a heat map."""
        return self.is_medgan and self.task == "anomaly"

    @property
    def input_names(self) -> Tuple[str, ...]:
        """Names of the images that it needs; the first one is the study's."""
        return tuple(str(entry.get("name") or "image") for entry in self.inputs) or ("image",)

    @property
    def kspace_inputs(self) -> Tuple[str, ...]:
        """Names of the inputs for which a file of measured k-space can be sent in place of an image."""
        return tuple(str(entry.get("name") or "image") for entry in self.inputs if entry.get("kspace"))

    def options_with_widget(self, widget: str) -> Tuple[str, ...]:
        """Names of the options marked `"x-widget": widget` (`points`, `roi`, `clicks` or `labelmap`)."""
        return tuple(name for name, option in self.option_properties.items() if option.get("x-widget") == widget)

    @property
    def clicks(self) -> str:
        """Name of the option that takes corrections by clicks; empty when the model cannot be corrected so."""
        return next(iter(self.options_with_widget("clicks")), "")

    @property
    def click_labels(self) -> Tuple[str, ...]:
        """What a click can say of a place: the names of labels, and the name of the background."""
        items = self.option_properties.get(self.clicks, {}).get("items") or {}
        named = ((items.get("properties") or {}).get("label") or {}).get("enum")
        return tuple(str(name) for name in named or ("background", *self.labels)) if self.clicks else ()

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any], trainers: Sequence[str] = ()) -> ModelInfo:
        """Read one entry of `models` in `/info/`."""
        extra = entry.get("medgan") or {}
        task = str(extra.get("task") or entry.get("type") or "")
        return cls(
            name=name,
            title=str(extra.get("title") or name),
            task=task,
            output=str(extra.get("output") or ("volume" if task in IMAGE_TASKS else "labelmap")),
            description=str(entry.get("description") or ""),
            labels=_label_values(entry.get("labels")),
            colors=_colors(extra.get("colors")),
            options=extra.get("options") or {},
            inputs=tuple(extra.get("inputs") or ()),
            version=str(extra.get("version") or ""),
            checksum=str(extra.get("checksum") or ""),
            metrics=extra.get("metrics") or {},
            data=str(extra.get("data") or ""),
            licence=str(extra.get("licence") or ""),
            body_part=str(extra.get("body_part") or ""),
            modality=str(extra.get("modality") or ""),
            trainable=bool(extra.get("trainable", name in trainers)),
            is_medgan=bool(extra),
        )


@dataclass(frozen=True)
class ServerInfo:
    """What `/info/` says.

    Attributes:
        version: MedGAN's version, or MONAI Label's on a stock server.
        strategies: Names of the ways to choose the next study; `described` has a sentence on each.
        default_strategy: The one that the server prefers.
        max_upload_mb, max_voxels: Limits; 0 when the server names none.
        studies, labelled: Number of studies at the server, and of those with a final label.
        synthetic: Number of studies made by a model; they are not among the others.
        archive: Whether it can store results in a DICOM archive; None when it does not tell.
        is_medgan: False for a stock MONAI Label server.
    """

    name: str
    description: str
    version: str
    models: Tuple[ModelInfo, ...] = ()
    trainers: Tuple[str, ...] = ()
    strategies: Tuple[str, ...] = ()
    described: Mapping[str, str] = field(default_factory=dict)
    default_strategy: str = ""
    max_upload_mb: int = 0
    max_voxels: int = 0
    token_required: bool = False
    studies: int = 0
    labelled: int = 0
    synthetic: int = 0
    archive: Optional[bool] = None
    is_medgan: bool = False

    def model(self, name: str) -> Optional[ModelInfo]:
        """Return the model called `name`, or None."""
        return next((model for model in self.models if model.name == name), None)

    @classmethod
    def from_json(cls, info: Mapping[str, Any]) -> ServerInfo:
        """Read the answer of `/info/`; raises `KeyError`, `TypeError` or `ValueError` when it is something else."""
        extra = info.get("medgan") or {}
        limits = extra.get("limits") or {}
        store = info.get("datastore") or {}
        trainers = tuple(info.get("trainers") or ())
        strategies = tuple(info.get("strategies") or ())
        preferred = str(extra.get("default_strategy") or "")
        return cls(
            name=str(info.get("name") or ""),
            description=str(info.get("description") or ""),
            version=str(extra.get("version") or info.get("version") or ""),
            models=tuple(ModelInfo.from_json(name, entry, trainers) for name, entry in info["models"].items()),
            trainers=trainers,
            strategies=strategies,
            described=_descriptions(info.get("strategies")),
            default_strategy=preferred if preferred in strategies else next(iter(strategies), ""),
            max_upload_mb=int(limits.get("max_upload_mb") or 0),
            max_voxels=int(limits.get("max_voxels") or 0),
            token_required=bool(extra.get("token_required")),
            studies=int(store.get("total") or 0),
            labelled=int(store.get("completed") or 0),
            synthetic=_count(store.get("synthetic")),
            archive=None if extra.get("archive") is None else bool(extra["archive"]),
            is_medgan=bool(extra),
        )


@dataclass(frozen=True)
class ConnectionReport:
    """The outcome of a test of the connection.

    Attributes:
        ok: Whether the server can be used. A stock MONAI Label server can, with a note.
        code: Names the failure: `ok`, `bad_address`, `connection_refused`, `host_not_found`, `timed_out`, `tls_failed`,
            `not_http`, `not_a_medgan_server`, `token_required`, `server_too_old`, `server_failure`, `disconnected`.
        message: What was found, for people.
        hint: What to do about it.
        info: What the server is, when it could be read.
        notes: What was changed in the address, for example that 0.0.0.0 was replaced.
    """

    ok: bool
    code: str
    message: str
    hint: str = ""
    info: Optional[ServerInfo] = None
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class JobStatus:
    """A job at the server; `state` is queued, running, done, cancelled or failed; `progress` in 0…1."""

    id: str
    model: str
    state: str
    progress: float
    seconds: float

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> JobStatus:
        """Read the answer of `/jobs/{job_id}`."""
        return cls(
            id=str(answer.get("id") or ""),
            model=str(answer.get("model") or ""),
            state=str(answer.get("state") or ""),
            progress=float(answer.get("progress") or 0.0),
            seconds=float(answer.get("seconds") or 0.0),
        )


@dataclass(frozen=True)
class Sample:
    """A study that the server offers for labelling; `checksum` looks like `SHA256:…` or is empty.

    `reason` is a sentence on why it was chosen; empty on older servers.
    """

    id: str
    name: str
    checksum: str = ""
    reason: str = ""

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Sample:
        """Read the answer of `/activelearning/{strategy}`; a name with a path in it is cut to its last part."""
        name = str(answer.get("name") or answer.get("path") or answer["id"]).replace("\\", "/")
        said = answer.get("medgan") or {}
        return cls(
            id=str(answer["id"]),
            name=name.split("/")[-1],
            checksum=str(answer.get("checksum") or ""),
            reason=str(said.get("reason") or ""),
        )


@dataclass(frozen=True)
class ResultPart:
    """One file of a result: `kind` is `labelmap` or `volume`; `labels` name -> value; `units` of a volume.

    A synthesis model says of each part to which sample it belongs (from 1 on; 0 when it is no sample), and the seed
    and the class that the sample was made with; a reconstruction model, whether a GAN altered it, and how strongly.
    """

    name: str
    kind: str
    path: Path
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, Color] = field(default_factory=dict)
    units: str = ""
    sample: int = 0
    seed: Optional[int] = None
    class_name: str = ""
    altered: bool = False
    strength: float = 0.0


@dataclass(frozen=True)
class InferResult:
    """What a run of a model gave: files on this computer and the words that belong to them."""

    model: str
    version: str
    checksum: str
    parts: Tuple[ResultPart, ...]
    warnings: Tuple[str, ...] = ()
    latencies: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmitReceipt:
    """The server's word that a label is stored: voxels for each value, and whether it replaced an earlier one.

    `training` is the run that was queued because of it, if any; `history` is the number of its entry, 0 when the
    server keeps none.
    """

    image: str
    label: str
    voxels: Mapping[int, int] = field(default_factory=dict)
    replaced: bool = False
    training: str = ""
    history: int = 0

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> SubmitReceipt:
        """Read the answer of `PUT /datastore/label`."""
        extra = answer.get("medgan") or {}
        return cls(
            image=str(answer.get("image") or ""),
            label=str(answer.get("label") or ""),
            voxels={int(value): int(count) for value, count in (extra.get("voxels") or {}).items()},
            replaced=bool(extra.get("replaced")),
            training=str((extra.get("training") or {}).get("run") or ""),
            history=int(extra.get("history") or 0),
        )

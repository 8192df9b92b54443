"""Typed records of what the server says. Unknown keys are ignored and missing ones have defaults,
so that an older or newer server, or a stock MONAI Label server, can still be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

Color = Tuple[float, float, float]


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
        inputs: `{"name", "modality"}` of each input.
        metrics: Name -> `{"value", "higher_is_better"}`.
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
    inputs: Tuple[Mapping[str, str], ...] = ()
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
        raise NotImplementedError

    def options_with_widget(self, widget: str) -> Tuple[str, ...]:
        """Names of the options marked `"x-widget": widget` (`points` or `roi`)."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any], trainers: Sequence[str] = ()) -> ModelInfo:
        """Read one entry of `models` in `/info/`."""
        raise NotImplementedError


@dataclass(frozen=True)
class ServerInfo:
    """What `/info/` says.

    Attributes:
        version: MedGAN's version, or MONAI Label's on a stock server.
        max_upload_mb, max_voxels: Limits; 0 when the server names none.
        studies, labelled: Number of studies at the server, and of those with a final label.
        is_medgan: False for a stock MONAI Label server.
    """

    name: str
    description: str
    version: str
    models: Tuple[ModelInfo, ...] = ()
    trainers: Tuple[str, ...] = ()
    strategies: Tuple[str, ...] = ()
    max_upload_mb: int = 0
    max_voxels: int = 0
    token_required: bool = False
    studies: int = 0
    labelled: int = 0
    is_medgan: bool = False

    def model(self, name: str) -> Optional[ModelInfo]:
        """Return the model called `name`, or None."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, info: Mapping[str, Any]) -> ServerInfo:
        """Read the answer of `/info/`; raises `KeyError`/`TypeError`/`ValueError` when it is something else."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConnectionReport:
    """The outcome of a test of the connection; `code` names the failure (`ok` when there is none).

    `code` is one of `ok`, `bad_address`, `connection_refused`, `host_not_found`, `timed_out`, `tls_failed`,
    `not_http`, `not_a_medgan_server`, `token_required`, `server_too_old`, `server_failure`, `disconnected`. `notes` tells what was
    changed in the address, for example that 0.0.0.0 was replaced. A stock MONAI Label server is `ok` with a note.
    """

    ok: bool
    code: str
    message: str
    hint: str = ""
    info: Optional[ServerInfo] = None
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class JobStatus:
    """A running inference at the server; `state` is queued, running, done, cancelled or failed; `progress` in 0…1."""

    id: str
    model: str
    state: str
    progress: float
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A study that the server offers for labelling; `checksum` looks like `SHA256:…` or is empty."""

    id: str
    name: str
    checksum: str = ""


@dataclass(frozen=True)
class ResultPart:
    """One file of a result: `kind` is `labelmap` or `volume`; `labels` name -> value; `units` of a volume."""

    name: str
    kind: str
    path: Path
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, Color] = field(default_factory=dict)
    units: str = ""


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
    """The server's word that a label is stored: voxels for each value, and whether it replaced an earlier one."""

    image: str
    label: str
    voxels: Mapping[int, int] = field(default_factory=dict)
    replaced: bool = False


@dataclass(frozen=True)
class GateCheck:
    """One comparison of a candidate with the version that serves."""

    name: str
    metric: str
    before: float
    after: float
    cases: int
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate was promoted, why, and which version serves now."""

    promoted: bool
    version: str
    serving: str
    reason: str
    checks: Tuple[GateCheck, ...] = ()


@dataclass(frozen=True)
class TrainingStatus:
    """The last training run of the server.

    Attributes:
        state: `none` (never trained), `starting`, `training`, `validating`, `promoted`, `refused`, `cancelled`, `failed`;
            on a stock server `training`, `done`, `failed` or `cancelled`.
        loss, metric: (epoch, value) pairs; epoch 0 of `metric` is the serving version before training.
        eta_seconds: Time left in seconds, or None when unknown.
        error: Why it failed, or empty.
    """

    state: str
    model: str = ""
    run: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    eta_seconds: Optional[float] = None
    loss: Tuple[Tuple[int, float], ...] = ()
    metric: Tuple[Tuple[int, float], ...] = ()
    metric_name: str = ""
    cases: Mapping[str, int] = field(default_factory=dict)
    verdict: Optional[Verdict] = None
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether the run goes on."""
        raise NotImplementedError

    @property
    def fraction(self) -> float:
        """How much is done, 0…1."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, task: Mapping[str, Any]) -> TrainingStatus:
        """Read the answer of `/train/`, with or without its `medgan` part."""
        raise NotImplementedError


@dataclass(frozen=True)
class VersionInfo:
    """One version of a model; `state` is published, refused or candidate; `current` tells whether it serves."""

    version: str
    origin: str
    state: str
    created: str
    current: bool = False
    parent: str = ""
    checksum: str = ""
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VersionList:
    """All versions of a model, oldest first, and the one that serves."""

    model: str
    current: str
    versions: Tuple[VersionInfo, ...] = ()


Json = Dict[str, Any]
Names = List[str]

"""The server's settings, and the folders that it writes to."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN_VARIABLE = "MEDGAN_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHIPPED_MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ServerConfig:
    """What an administrator decides. Travels as MONAI Label's app configuration, except the token.

    Attributes:
        studies: the folder of images; labels are kept in `studies/labels/<tag>`.
        data: versions, splits, backups, runs and logs; readable by the server's user alone.
        host, port: address to listen on. token: what clients must present; empty means none.
        validation: trusted `images/` and `labels/` for the gate. replay: pairs mixed into every training.
        threads: threads of a training run. concurrency: inferences computed at once on each device; others queue.
        devices: where models compute, e.g. `cuda:0`; `auto` takes all GPUs. train_device: where training does.
        train_nice: how far a training run stands back behind others for the processor, 0 to 19.
        max_queue: inferences that may wait. max_upload_mb, max_voxels: what is too large.
        recent_mb: memory for decoded studies of recent requests; 0 keeps none. preload: load models at the start.
        cors: web origins that may call. patient_pattern: the part of a study's id that names its patient.
        dice_tolerance, label_tolerance, reference_tolerance: what the gate lets a candidate lose.
        synthetic_ratio: synthetic studies that a training may learn from, for each acquired one; 0 uses none.
        models: folder of shipped versions.
        background_scoring: whether studies are looked at while nothing else is asked for.
        auto_train: so many new labels of a model start a training of it; 0 never does.
        reservation_minutes: how long a study handed to one client is not handed to another.
        dicomweb: address of an archive that results go to. dicomweb_query: KEYWORD=VALUE, series to fetch at start.
        oidc_issuer, oidc_audience: the identity provider, and this server's name there; empty for no such log-in.
        oidc_jwks: file or address of the provider's keys; empty asks the provider where they are.
        admin_role: the provider's role for administrators.
        rate_limit: requests that a client may make each second; 0 sets no limit.
        log_format: `text`, or `json` for one JSON document a line.
    """

    studies: Path
    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = dataclasses.field(default="", repr=False)
    validation: Path | None = None
    replay: Path | None = None
    threads: int = 1
    concurrency: int = 1
    devices: tuple[str, ...] = ("auto",)
    train_device: str = "auto"
    train_nice: int = 10
    max_queue: int = 64
    max_upload_mb: int = 1024
    recent_mb: int = 512
    preload: bool = False
    max_voxels: int = 2**28
    cors: tuple[str, ...] = ()
    patient_pattern: str = ""
    dice_tolerance: float = 0.0
    label_tolerance: float = 0.02
    reference_tolerance: float = 0.10
    synthetic_ratio: float = 1.0
    background_scoring: bool = True
    auto_train: int = 0
    reservation_minutes: float = 10.0
    models: Path = SHIPPED_MODELS
    dicomweb: str = ""
    dicomweb_query: tuple[str, ...] = ()
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_jwks: str = ""
    admin_role: str = "medgan-admin"
    rate_limit: float = 50.0
    log_format: str = "text"

    @property
    def loopback(self) -> bool:
        """Whether only this computer can connect."""
        return self.host in LOOPBACK

    @property
    def runs(self) -> Path:
        """One folder for every training run."""
        return self.data / "runs"

    @property
    def temporary(self) -> Path:
        """Uploads and results on their way; emptied at start."""
        return self.data / "tmp"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data / "logs" / "server.log"

    def to_conf(self) -> dict[str, str]:
        """MONAI Label's `--conf` pairs. The token is left out: it goes through the environment."""
        conf = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in {"studies", "token"}}
        return {k: json.dumps(str(v) if isinstance(v, Path) else v) for k, v in conf.items()}

    @classmethod
    def from_conf(
        cls, studies: Path | str, conf: Mapping[str, Any], env: Mapping[str, str] = os.environ
    ) -> ServerConfig:
        """Reads what `to_conf` wrote; keys that are missing keep their default, keys of others are ignored."""
        known = {f.name for f in dataclasses.fields(cls)} - {"studies", "token"}
        values = {k: _decode(v) for k, v in conf.items() if k in known}
        for key in ("data", "validation", "replay", "models"):
            if values.get(key):
                values[key] = Path(values[key])
        for key in ("cors", "dicomweb_query"):
            values[key] = tuple(values.get(key) or ())
        values["devices"] = tuple(values.get("devices") or cls.devices)
        values.setdefault("data", default_data(studies))
        return cls(studies=Path(studies), token=env.get(TOKEN_VARIABLE, ""), **values)

    def prepare(self) -> None:
        """Makes the data folder, closed to other users."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        for folder in (self.runs, self.temporary, self.log.parent):
            folder.mkdir(exist_ok=True)


def default_data(studies: Path | str) -> Path:
    """`<studies>/.medgan`."""
    return Path(studies) / ".medgan"


def _decode(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value

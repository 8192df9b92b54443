"""What the test server knows: studies, labels, versions and a training run that moves one step with every question."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from .anomaly import ANOMALY, anomaly_json, blobs
from .images import BRIGHT, phantom, write_nrrd
from .reconstruction import reconstructions_json
from .synthesis import SYNTHESIS, synthesis_json

MODEL = "hippocampus_segmentation"
EPOCHS = 8


class Refusal(Exception):
    """An answer of 400 and above, by the error contract."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint


def _option(kind: str, title: str, description: str, **more: Any) -> Dict[str, Any]:
    return {"type": kind, "title": title, "description": description, **more}


def model_options() -> Dict[str, Any]:
    """Returns a JSON Schema with every kind of option that docs/api.md names."""
    number3 = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
    return {
        "type": "object",
        "properties": {
            "points": _option(
                "array",
                "Points",
                "A point in or near each hippocampus.",
                **{"x-widget": "points"},
                items=number3,
                maxItems=8,
            ),
            "roi": _option(
                "object",
                "Region of interest",
                "Only this box is segmented.",
                **{"x-widget": "roi"},
                properties={"center": number3, "size": number3},
                required=["center", "size"],
            ),
            "test_time_augmentation": _option(
                "boolean", "Average mirrored predictions", "Slower, a little more exact.", default=True
            ),
            "smoothing": _option(
                "number", "Smoothing (mm)", "Width of the smoothing.", minimum=0.0, maximum=3.0, default=0.5
            ),
            "tiles": _option("integer", "Tiles at a time", "More need more memory.", minimum=1, maximum=8, default=2),
            "precision": _option(
                "string", "Precision", "Half is faster on a GPU.", enum=["full", "half"], default="full"
            ),
        },
    }


@dataclass
class Version:
    """One version of the model."""

    name: str
    origin: str
    state: str
    dice: float
    parent: Optional[str] = None
    reason: str = ""

    def to_json(self) -> Dict[str, Any]:
        """Returns the entry of `GET /models/{name}/versions`."""
        day = 20 + int(self.name[1:])
        return {
            "version": self.name,
            "origin": self.origin,
            "state": self.state,
            "created": f"2026-11-{day}T10:15:00Z",
            "parent": self.parent,
            "checksum": "sha256:" + hashlib.sha256(self.name.encode()).hexdigest(),
            "metrics": {"dice_mean": {"value": self.dice, "higher_is_better": True}},
            "reason": self.reason,
        }


@dataclass
class Run:
    """A training run; `dice` is what its candidate will reach."""

    name: str
    dice: float
    epoch: int = 0
    state: str = "starting"
    verdict: Optional[Dict[str, Any]] = None

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.state in ("starting", "training", "validating")


@dataclass
class World:
    """The state of the test server.

    Attributes:
        infer_seconds: How long a run of the model takes; it can be cancelled.
        candidate_dice: What the next training run reaches; below the serving version's it is refused.
        trouble: Path prefix -> refusal that is answered instead.
        token: Access token that requests must carry, or empty.
        requests: Method and path of everything that was asked.
        train_requests: Bodies of the calls that started training.
        infer_params: Params of the runs.
        received: Sizes of the volumes that were sent along, in bytes.
        synthesis: What the server says of its synthesis model; empty when it has none.
        synthetic: Id -> params of the studies that were made by a model.
        shapes: Label maps that came with the runs of the synthesis model.
        reconstructions: Name -> what the server says of its reconstruction models.
        inputs: For each run of one: input's name -> id of the study that it was, or `file`.
        anomaly: What the server says of its anomaly model; empty when it has none.
        heat: Makes its heat map of a volume's voxels.
        verdicts: Study's id -> `normal` or `abnormal`.
    """

    infer_seconds: float = 0.0
    candidate_dice: float = 0.87
    trouble: Dict[str, Refusal] = field(default_factory=dict)
    token: str = ""
    studies: Dict[str, bytes] = field(default_factory=dict)
    labels: Dict[str, bytes] = field(default_factory=dict)
    versions: List[Version] = field(default_factory=lambda: [Version("v0001", "shipped", "published", 0.82)])
    current: str = "v0001"
    run: Optional[Run] = None
    requests: List[str] = field(default_factory=list)
    infer_params: List[Mapping[str, Any]] = field(default_factory=list)
    train_requests: List[Mapping[str, Any]] = field(default_factory=list)
    received: List[int] = field(default_factory=list)
    cancelled: Dict[str, threading.Event] = field(default_factory=dict)
    synthesis: Dict[str, Any] = field(default_factory=synthesis_json)
    synthetic: Dict[str, Mapping[str, Any]] = field(default_factory=dict)
    shapes: List[bytes] = field(default_factory=list)
    reconstructions: Dict[str, Dict[str, Any]] = field(default_factory=reconstructions_json)
    inputs: List[Dict[str, str]] = field(default_factory=list)
    anomaly: Dict[str, Any] = field(default_factory=anomaly_json)
    heat: Callable[[np.ndarray], np.ndarray] = blobs
    verdicts: Dict[str, str] = field(default_factory=dict)

    def add_phantoms(self, count: int) -> None:
        """Adds synthetic studies called case_1, case_2 …"""
        for number in range(1, count + 1):
            self.studies[f"case_{number}"] = write_nrrd(*phantom(number))

    def segment(self, voxels: np.ndarray) -> np.ndarray:
        """Returns the label map: bright voxels, the front half 1, the rest 2."""
        bright = voxels > BRIGHT
        half = np.arange(voxels.shape[1])[None, :, None] >= voxels.shape[1] // 2
        return (bright * np.where(half, 1, 2)).astype(np.uint8)

    def next_study(self) -> str:
        """Returns a study without a label.

        Raises:
            Refusal: all are labelled.
        """
        for name in self.studies:
            if name not in self.labels and name not in self.synthetic:
                return name
        raise Refusal(404, "nothing_to_label", "Every study has a label.", "Add studies to the server's folder.")

    def find(self, name: str) -> Version:
        """Returns a version by name."""
        found = next((v for v in self.versions if v.name == name), None)
        if found is None:
            raise Refusal(404, "unknown_version", f"There is no version '{name}'.")
        return found

    def start_training(self) -> Run:
        """Starts a run."""
        if self.run and self.run.running:
            raise Refusal(409, "busy", "A training run is going on.", "Wait until it is done, or stop it.")
        if len(self.labels) + len(self.verdicts) < 2:
            raise Refusal(
                422,
                "too_few_labels",
                f"Training needs 2 labelled studies, there are {len(self.labels)}.",
                "Label more studies.",
            )
        self.run = Run(f"20261123-1015{len(self.versions):02d}-a1b2", self.candidate_dice)
        return self.run

    def advance(self) -> None:
        """Moves the training run one epoch on; at the end the gate speaks."""
        run = self.run
        if run is None or not run.running:
            return
        run.epoch += 1
        run.state = "training"
        if run.epoch > EPOCHS:
            run.epoch = EPOCHS
            self._judge(run)

    def _judge(self, run: Run) -> None:
        before = self.find(self.current).dice
        better = run.dice >= before
        name = f"v{len(self.versions) + 1:04d}"
        reason = f"Dice on 2 validation patients {before:.2f} -> {run.dice:.2f}" + (
            "." if better else "; it would be worse than what serves now."
        )
        state = "published" if better else "refused"
        self.versions.append(Version(name, "fine-tuned", state, run.dice, self.current, reason))
        self.current = name if better else self.current
        check = {
            "name": "validation",
            "metric": "dice_mean",
            "before": before,
            "after": run.dice,
            "cases": 2,
            "passed": better,
        }
        run.verdict = {
            "promoted": better,
            "version": name,
            "serving": self.current,
            "reason": reason,
            "checks": [check],
        }
        run.state = "promoted" if better else "refused"

    def training_json(self) -> Dict[str, Any]:
        """Returns the answer of `GET /train/`."""
        run = self.run
        if run is None:
            raise Refusal(404, "no_training", "Nothing was trained yet.")
        start = self.versions[0].dice
        loss = [[e, round(0.62 * 0.8**e + 0.03 * (e % 2), 4)] for e in range(1, run.epoch + 1)]
        metric = [[0, start]] + [
            [e, round(start + (run.dice - start) * e / EPOCHS, 4)] for e in range(1, run.epoch + 1)
        ]
        details = {
            "model": MODEL,
            "run": run.name,
            "state": run.state,
            "epoch": run.epoch,
            "epochs": EPOCHS,
            "step": run.epoch * 10,
            "steps": EPOCHS * 10,
            "eta_seconds": float((EPOCHS - run.epoch) * 6),
            "seconds": run.epoch * 6.0,
            "loss": loss,
            "metric": metric,
            "metric_name": "dice_mean",
            "cases": {"train": max(1, len(self.labels) - 2), "validation": 2},
            "verdict": run.verdict,
            "error": None,
        }
        return {
            "id": run.name,
            "status": self._monai_status(run),
            "start_ts": "2026-11-23 10:15:00",
            "request": {"model": MODEL},
            "medgan": details,
        }

    @staticmethod
    def _monai_status(run: Run) -> str:
        names = {"promoted": "DONE", "refused": "DONE", "cancelled": "STOPPED", "starting": "SUBMITTED"}
        return names.get(run.state, "RUNNING")

    def info_json(self) -> Dict[str, Any]:
        """Returns the answer of `GET /info/`."""
        limits = {"max_upload_mb": 1024, "max_voxels": 268435456}
        return {
            "name": "MedGAN",
            "description": "MedGAN test server",
            "version": "0.8.5",
            "labels": {"anterior": 1, "posterior": 2},
            "models": {
                MODEL: self._model_json(),
                **({SYNTHESIS: self.synthesis} if self.synthesis else {}),
                **self.reconstructions,
                **({ANOMALY: self.anomaly} if self.anomaly else {}),
            },
            "trainers": {MODEL: {"description": "Fine-tunes on submitted labels.", "config": {}}},
            "strategies": {
                "uncertainty": {"description": "Where the model is least sure"},
                "random": {"description": "Any study"},
            },
            "scoring": {},
            "train_stats": {},
            "datastore": self.datastore_json(),
            "medgan": {"version": "0.1.0", "limits": limits, "token_required": bool(self.token)},
        }

    def verdict_counts(self) -> Dict[str, int]:
        """Returns how many studies are marked."""
        said = list(self.verdicts.values())
        return {kind: said.count(kind) for kind in ("normal", "abnormal")}

    def datastore_json(self) -> Dict[str, Any]:
        """Returns the answer of `GET /datastore/`; synthetic studies are counted apart."""
        acquired, labelled = (len(set(names) - set(self.synthetic)) for names in (self.studies, self.labels))
        made = {"total": len(self.synthetic), "completed": len(set(self.synthetic) & set(self.labels))}
        return {"total": acquired, "completed": labelled, "label_tags": {}, "train": [], "synthetic": made}

    def _model_json(self) -> Dict[str, Any]:
        serving = self.find(self.current).to_json()
        medgan = {
            "task": "segmentation",
            "output": "labelmap",
            "title": "Hippocampus segmentation",
            "inputs": [{"name": "image", "modality": "MR T1"}],
            "options": model_options(),
            "version": self.current,
            "checksum": serving["checksum"],
            "metrics": serving["metrics"],
            "data": "MSD Task04 Hippocampus",
            "licence": "CC BY-SA 4.0",
            "body_part": "hippocampus",
            "modality": "MR T1",
            "colors": {"anterior": [0.9, 0.7, 0.2], "posterior": [0.3, 0.6, 0.9]},
            "trainable": True,
        }
        labels = {"anterior": 1, "posterior": 2}
        description = "Both parts of the hippocampus."
        stock = {"type": "segmentation", "labels": labels, "dimension": 3, "description": description, "config": {}}
        return {**stock, "medgan": medgan}

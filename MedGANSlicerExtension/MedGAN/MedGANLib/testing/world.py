"""What the test server knows: studies, labels, versions and a training run that moves one step with every question."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from .anomaly import ANOMALY, anomaly_json, blobs
from .clicking import clicks_schema, corrected
from .images import BRIGHT, phantom, write_nrrd
from .labels import LabelBook
from .reconstruction import reconstructions_json
from .refusal import Refusal
from .running import EPOCHS, MODEL, STARTED, Run, Version
from .synthesis import SYNTHESIS, synthesis_json

GOOD = {"expected_dice": 0.87, "low": 0.80, "high": 0.91, "light": "green", "text": "This looks like good results did."}


def light_of(dice: float) -> str:
    """Returns the light of an expected Dice."""
    return "red" if dice < 0.7 else "amber" if dice < 0.8 else "green"


def _option(kind: str, title: str, description: str, **more: Any) -> Dict[str, Any]:
    return {"type": kind, "title": title, "description": description, **more}


def model_options(clicks: bool = True) -> Dict[str, Any]:
    """Returns a JSON Schema with every kind of option that docs/api.md names; corrections only with `clicks`."""
    number3 = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
    return {
        "type": "object",
        "properties": {
            **({"clicks": clicks_schema()} if clicks else {}),
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
class World:
    """The state of the test server.

    Attributes:
        infer_seconds: How long a run of the model, or an export, takes; it can be cancelled.
        pace: Seconds between two events of a training.
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
        older: Whether it is a server from before corrections, review lists, queues and histories.
        correct: Repairs a label map by clicks, given its matrix and them.
        quality: What its judge says of every result; None when it has none.
        expected: Study's id -> Dice that its judge expects there.
        queue: Runs that wait, the next one first.
        runs: All runs that were started, the newest last.
        auto_train: After how many submitted labels it says that a run is queued.
        book: The history of the labels.
        archive: Whether it has a DICOM archive; None for a server that does not tell.
        text_in_voxels: Whether its studies are of a kind that often shows the patient's name.
        exports: Query, params and name of the file of each export as DICOM.
    """

    pace: float = 0.2
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
    older: bool = False
    correct: Callable[..., np.ndarray] = corrected
    quality: Optional[Dict[str, Any]] = field(default_factory=lambda: dict(GOOD))
    expected: Dict[str, float] = field(default_factory=dict)
    queue: List[Run] = field(default_factory=list)
    runs: List[Run] = field(default_factory=list)
    auto_train: int = 0
    labels_at_start: int = 0
    label_params: List[Mapping[str, Any]] = field(default_factory=list)
    book: LabelBook = field(default_factory=LabelBook)
    archive: Optional[bool] = None
    text_in_voxels: bool = False
    exports: List[Mapping[str, Any]] = field(default_factory=list)

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

    def start_training(self, model: str = MODEL, author: str = "", reason: str = "asked") -> Run:
        """Starts a run, or lets it wait while another one goes on."""
        going_on = self.run is not None and self.run.running
        if going_on and (self.older or any(waiting.model == model for waiting in self.queue)):
            raise Refusal(409, "busy", "A training run is going on.", "Wait until it is done, or stop it.")
        if len(self.labels) + len(self.verdicts) < 2:
            raise Refusal(
                422,
                "too_few_labels",
                f"Training needs 2 labelled studies, there are {len(self.labels)}.",
                "Label more studies.",
            )
        number = len(self.runs) + len(self.queue)
        run = Run(f"20261123-1015{number:02d}-a1b2", self.candidate_dice, model=model, author=author, reason=reason)
        run.started = STARTED + 900.0 * number
        if going_on:
            run.state = "queued"
            self.queue.append(run)
        else:
            self._begin(run)
        return run

    def _begin(self, run: Run) -> None:
        run.state = "starting"
        self.run, self.labels_at_start = run, len(self.labels)
        self.runs.append(run)

    def cancel_run(self, name: str) -> None:
        """Cancels a run, active or waiting."""
        waiting = next((run for run in self.queue if run.name == name), None)
        if waiting is not None:
            self.queue.remove(waiting)
            waiting.state = "cancelled"
            self.runs.append(waiting)
        elif self.run is not None and self.run.name == name and self.run.running:
            self.run.state = "cancelled"
        else:
            raise Refusal(404, "unknown_run", f"There is no run '{name}' that could be cancelled.")

    def advance(self) -> None:
        """Moves the training run one epoch on; at the end the gate speaks."""
        run = self.run
        if run is None or not run.running:
            if self.queue:
                self._begin(self.queue.pop(0))
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

    def training_json(self, asked: Optional[Run] = None) -> Dict[str, Any]:
        """Returns the answer of `GET /train/`, or of `POST /train/{model}` for the run that was asked for."""
        run = asked or self.run
        if run is None:
            raise Refusal(404, "no_training", "Nothing was trained yet.")
        cases = {"train": max(1, len(self.labels) - 2), "validation": 2}
        waiting = [] if self.older else [self._waiting(n, other) for n, other in enumerate(self.queue, start=1)]
        return {
            "id": run.name,
            "status": self._monai_status(run),
            "start_ts": "2026-11-23 10:15:00",
            "request": {"model": run.model},
            "medgan": {**run.progress(self.versions[0].dice), "cases": cases, "position": self._position(run)},
            "queue": waiting,
        }

    def _position(self, run: Run) -> int:
        return self.queue.index(run) + 1 if run in self.queue else 0

    @staticmethod
    def _waiting(position: int, run: Run) -> Dict[str, Any]:
        asked = "2026-11-23T10:20:00Z"
        return {"run": run.name, "model": run.model, "position": position, "requested": asked, "author": run.author}

    def runs_json(self, limit: int) -> List[Dict[str, Any]]:
        """Returns the answer of `GET /train/runs`."""
        waiting = [
            {**run.progress(0.0), "position": place} for place, run in reversed(list(enumerate(self.queue, start=1)))
        ]
        return [*waiting, *[run.progress(self.versions[0].dice) for run in reversed(self.runs)]][:limit]

    def serving_json(self) -> Dict[str, Any]:
        """Returns the answer of `GET /serving`."""
        serving, run = self.find(self.current), self.run
        training = {"model": run.model, "run": run.name, "state": run.state} if run and run.running else None
        return {
            "models": {MODEL: {"version": self.current, "since": serving.created, "reason": serving.reason}},
            "training": training,
            "submitted_since": {MODEL: max(0, len(self.labels) - self.labels_at_start)},
            "auto_train": self.auto_train,
        }

    def review_json(self, model: str) -> Dict[str, Any]:
        """Returns the answer of `GET /review/{model}`."""
        open_ones = [name for name in self.studies if name not in self.labels and name not in self.synthetic]
        ordered = sorted(open_ones, key=lambda name: self.expected.get(name, 2.0))
        scored = sum(name in self.expected for name in open_ones)
        studies = [self._review_of(name) for name in ordered]
        counts = {"scored": scored, "waiting": len(open_ones) - scored}
        return {"model": model, "version": self.current, **counts, "studies": studies}

    def _review_of(self, name: str) -> Dict[str, Any]:
        dice = self.expected.get(name)
        spread = {"low": None, "high": None} if dice is None else {"low": dice - 0.06, "high": dice + 0.04}
        light = None if dice is None else light_of(dice)
        known = {"version": self.current if dice is not None else "", "stale": False, "reserved": False}
        return {"id": name, "expected_dice": dice, **spread, "light": light, **known}

    def offer_json(self, name: str, strategy: str) -> Dict[str, Any]:
        """Returns `medgan` of `POST /activelearning/{strategy}`."""
        dice = self.expected.get(name)
        reason = "Nothing is known of it yet." if dice is None else f"The model expects a Dice of {dice:.2f} on it."
        light = None if dice is None else light_of(dice)
        return {"strategy": strategy, "reason": reason, "expected_dice": dice, "light": light, "version": self.current}

    @staticmethod
    def _monai_status(run: Run) -> str:
        names = {"promoted": "DONE", "refused": "DONE", "cancelled": "STOPPED", "starting": "SUBMITTED"}
        names["queued"] = "QUEUED"
        return names.get(run.state, "RUNNING")

    def info_json(self) -> Dict[str, Any]:
        """Returns the answer of `GET /info/`."""
        limits = {"max_upload_mb": 1024, "max_voxels": 268435456}
        more: Dict[str, Any] = {} if self.older else {"default_strategy": "hybrid"}
        more.update({} if self.archive is None else {"archive": self.archive})
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
            "strategies": self._strategies(),
            "scoring": {},
            "train_stats": {},
            "datastore": self.datastore_json(),
            "medgan": {"version": "0.1.0", "limits": limits, "token_required": bool(self.token), **more},
        }

    def _strategies(self) -> Dict[str, Any]:
        if self.older:
            return {"uncertainty": {"description": "Where the model is least sure"}, "random": {}}
        described = {"random": "Any study", "hybrid": "Where the model is worst, and unlike what was labelled"}
        return {name: {"description": text} for name, text in described.items()}

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
            "options": model_options(not self.older),
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

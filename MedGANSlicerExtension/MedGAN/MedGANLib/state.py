"""What the interface shows: plain records, without any behaviour of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Tuple

from .corrections import Correction
from .detections import Detection
from .gallery import Gallery
from .histories import LabelHistory
from .jobs import Job
from .reconstructions import Reconstruction
from .records import ConnectionReport, ModelInfo, Sample, ServerInfo, TrainingStatus, VersionList
from .reviews import Quality, ReviewList
from .servings import NewVersion, Serving
from .verdicts import MarkedStudies


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return `1 study` or `2 studies`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


@dataclass(frozen=True)
class Message:
    """A line for the status area; `kind` is `info`, `success`, `warning` or `error`."""

    kind: str
    text: str
    hint: str = ""
    details: Tuple[str, ...] = ()


VOLUME, SHAPE, RAW, RESULT = "volume", "shape", "raw file", "result"
"""What may leave this computer; each is agreed to apart."""


@dataclass(frozen=True)
class ConsentRequest:
    """What is about to leave this computer, for the consent dialog.

    Attributes:
        server: The address that the answer is remembered for.
        volume_name: Name of the volume or file here; it is not sent.
        megabytes: Size of what is sent.
        sent: What is sent and what becomes of it, in sentences ready to be shown.
        not_sent: What is not sent, likewise.
        stored: Whether the server keeps it as a study; asked apart from a mere run.
        kind: `VOLUME`, `SHAPE` (of segments, without an image), `RAW` (a scanner's file as it is) or `RESULT` (an image
            that a model made, to be made DICOM).
    """

    server: str
    volume_name: str
    megabytes: float
    sent: str
    not_sent: str
    stored: bool = False
    kind: str = VOLUME


Consent = Callable[[ConsentRequest], bool]
"""Asks the user; True allows uploads to that server for the rest of the session."""


@dataclass(frozen=True)
class Study:
    """The volume at work: its node, the server's id (empty until it is known there), and the segmentation beside it."""

    volume_id: str
    name: str
    image_id: str = ""
    segmentation_id: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """What a run left in the scene: IDs of segmentation, its segments and new volumes; its warnings and times (s).

    `quality` is what is expected of it, None when nobody can tell; `kept_voxels` how many voxels, drawn by hand, were
    kept against the model's answer.
    """

    model: str
    version: str
    segmentation_id: str = ""
    segment_ids: Tuple[str, ...] = ()
    volume_ids: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()
    latencies: Mapping[str, float] = field(default_factory=dict)
    quality: Optional[Quality] = None
    kept_voxels: int = 0


@dataclass
class State:
    """All that a widget draws. Do not change it from outside; connect to `Workflow.changed`.

    Attributes:
        connected: Whether the last test of the connection succeeded.
        address: The server's address.
        report: The outcome of that test.
        server: What the server is.
        models: What it offers.
        job: The job that the user waits for (title, phase, progress, cancel); None when idle.
        study: The active study.
        offered: The study that the server chose last, and why.
        corrections: The clicks and scribbles that correct the active study's result, in their order.
        history: Who submitted the study's label, as far as asked for.
        reviews: Model's name -> the studies that wait for a label, the worst first, as far as asked for.
        training: The server's last training run, as far as asked for.
        runs: The server's last training runs, the newest first; None when not asked for, or the server has no list.
        serving: Which versions serve and what leads to the next training; None on servers that do not tell.
        news: Versions that serve since the clinician last looked; see `Workflow.dismiss_news`.
        versions: Model name -> its versions, as far as asked for.
        can_undo: Whether `Workflow.undo_last` has something to undo.
        message: The latest news.
        last_result: What the last run left in the scene.
        gallery: The samples that a synthesis model made last.
        reconstruction: The last reconstruction that is in the scene.
        detection: The last heat map that is in the scene, at its present threshold.
        marked: Anomaly model's name -> the studies that are marked for it, as far as asked for.
    """

    connected: bool = False
    address: str = ""
    report: Optional[ConnectionReport] = None
    server: Optional[ServerInfo] = None
    models: Tuple[ModelInfo, ...] = ()
    job: Optional[Job] = None
    study: Optional[Study] = None
    offered: Optional[Sample] = None
    corrections: Tuple[Correction, ...] = ()
    history: Optional[LabelHistory] = None
    reviews: Mapping[str, ReviewList] = field(default_factory=dict)
    runs: Optional[Tuple[TrainingStatus, ...]] = None
    serving: Optional[Serving] = None
    news: Tuple[NewVersion, ...] = ()
    training: TrainingStatus = field(default_factory=lambda: TrainingStatus(state="none"))
    versions: Mapping[str, VersionList] = field(default_factory=dict)
    can_undo: bool = False
    message: Message = Message("info", "Not connected.")
    last_result: Optional[RunOutcome] = None
    gallery: Optional[Gallery] = None
    reconstruction: Optional[Reconstruction] = None
    detection: Optional[Detection] = None
    marked: Mapping[str, MarkedStudies] = field(default_factory=dict)

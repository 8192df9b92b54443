"""What a clinician does, without an interface: used by the module's widget and by scripts alike. Main thread only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, List, Mapping, Optional, Tuple

from .client import MedGANClient
from .jobs import Job, JobQueue
from .records import ConnectionReport, ModelInfo, ServerInfo, TrainingStatus, VersionList
from .scene import Scene
from .segments import KEEP, EditedPolicy
from .signals import Signal


@dataclass(frozen=True)
class Message:
    """A line for the status area; `kind` is `info`, `success`, `warning` or `error`."""

    kind: str
    text: str
    hint: str = ""
    details: Tuple[str, ...] = ()


@dataclass(frozen=True)
class ConsentRequest:
    """What is about to leave this computer, for the consent dialog.

    `sent` and `not_sent` are sentences ready to be shown; `server` is the address that the answer is remembered for.
    """

    server: str
    volume_name: str
    megabytes: float
    sent: str
    not_sent: str


Consent = Callable[[ConsentRequest], bool]
"""Asks the user; True allows uploads to that server for the rest of the session."""


@dataclass(frozen=True)
class Study:
    """The volume at work: its node, the server's id (empty until it is known there), and the segmentation beside it."""

    volume_id: str
    name: str
    image_id: str = ""
    segmentation_id: str = ""


@dataclass
class State:
    """All that a widget draws. Do not change it from outside; connect to `Workflow.changed`."""

    connected: bool = False
    address: str = ""
    report: Optional[ConnectionReport] = None
    server: Optional[ServerInfo] = None
    models: Tuple[ModelInfo, ...] = ()
    job: Optional[Job] = None
    """The job that the user waits for (title, phase, progress, cancel); None when idle."""
    study: Optional[Study] = None
    training: TrainingStatus = field(default_factory=lambda: TrainingStatus(state="none"))
    versions: Mapping[str, VersionList] = field(default_factory=dict)
    can_undo: bool = False
    message: Message = Message("info", "Not connected.")
    last_result: Optional[RunOutcome] = None


@dataclass(frozen=True)
class RunOutcome:
    """What a run left in the scene: IDs of segmentation, new segments and new volumes; its warnings and times (s)."""

    model: str
    version: str
    segmentation_id: str = ""
    segment_ids: Tuple[str, ...] = ()
    volume_ids: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()
    latencies: Mapping[str, float] = field(default_factory=dict)


class Workflow:
    """Connect, take a study, run a model, correct, submit, train, roll back.

    Every method that talks to the server returns a `Job` at once and puts its outcome into `state`; failures become
    `state.message` (and `job.error`), never an exception out of a timer. What is wrong on this side (no volume, a
    transform, consent declined, a second job while one runs) is reported the same way: the job comes back failed.

    Attributes:
        state: See `State`.
        changed: Signal, emitted with the state after every change.
    """

    def __init__(
        self,
        client: Optional[MedGANClient] = None,
        jobs: Optional[JobQueue] = None,
        *,
        scene: Optional[Scene] = None,
        consent: Optional[Consent] = None,
        edited: EditedPolicy = KEEP,
        before_change: Optional[Callable[[Any], None]] = None,
        work_dir: Optional[str] = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            client: The server; `connect` can make one.
            jobs: Queue; a new one by default. Call `workflow.pump()` from a timer (50 ms is fine).
            scene: The scene; the application's by default.
            consent: Asked before the first upload to a server; without it nothing is ever uploaded.
            edited: What to do with result segments that the clinician edited when the model runs again.
            before_change: Called once before each change of a segmentation, e.g. Segment Editor's saveStateForUndo.
            work_dir: Private folder for files in transit; by default a temporary one, removed by `close`.
        """
        raise NotImplementedError

    state: State
    changed: Signal

    def pump(self) -> None:
        """Deliver what the workers have finished; call it from a timer."""
        raise NotImplementedError

    def wait(self, job: Job, timeout: float = 600.0) -> Any:
        """Pump until `job` is finished; return its result or raise its error. For scripts, not for widgets."""
        raise NotImplementedError

    def close(self) -> None:
        """Cancel everything, stop the workers and remove the files in transit."""
        raise NotImplementedError

    def connect(self, url: str = "", token: Optional[str] = None, ca_file: Optional[str] = None) -> Job:
        """Test the connection and read what the server offers. Result: `ConnectionReport` (also in `state.report`).

        An empty `url` tries the present client again. A server that cannot be used does not fail the job: the report
        says what is wrong, and `state.message` repeats it.
        """
        raise NotImplementedError

    def disconnect(self) -> None:
        """Forget the server; the scene stays."""
        raise NotImplementedError

    def next_sample(self, strategy: str = "") -> Job:
        """Fetch the study that the server wants labelled and load it beside what is open. Result: the volume node."""
        raise NotImplementedError

    def use_volume(self, volume: Any) -> Job:
        """Make a volume of the scene the active study. Nothing is sent. Result: the `Study`."""
        raise NotImplementedError

    def upload_study(self, image_id: str = "") -> Job:
        """Add the active volume to the server's studies, after consent, so that it can be submitted and trained on.

        Args:
            image_id: Name at the server; by default a random one (never the volume's name).

        Result: the id.
        """
        raise NotImplementedError

    def run_model(
        self,
        model: str,
        volume: Any = None,
        options: Optional[Mapping[str, Any]] = None,
        *,
        points: Any = None,
        roi: Any = None,
        segmentation: Any = None,
    ) -> Job:
        """Run a model on the active study, or on `volume`; segments and images appear in place. Result: `RunOutcome`.

        A study that came from the server is not sent again; any other volume is sent after consent.

        Args:
            model: The model's name.
            volume: A volume node; by default the active study's.
            options: Options by the model's schema.
            points: A markups fiducial node, for the option marked `points`.
            roi: A markups ROI node, for the option marked `roi`.
            segmentation: Where segments go; by default the study's own segmentation, made when needed.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel the job in `state.job`, here and at the server."""
        raise NotImplementedError

    def undo_last(self) -> bool:
        """Undo the last run in one step; return False when there is none. Earlier runs can be undone in turn."""
        raise NotImplementedError

    def submit(self, model: str, segmentation: Any = None, volume: Any = None) -> Job:
        """Send the corrected segments as the study's final label. Result: `SubmitReceipt`.

        A volume that the server does not know is added to its studies first, after consent.
        """
        raise NotImplementedError

    def start_training(self, model: str, settings: Optional[Mapping[str, Any]] = None) -> Job:
        """Start training on the submitted studies; then `poll_training`. Result: `TrainingStatus`."""
        raise NotImplementedError

    def poll_training(self) -> Optional[Job]:
        """Ask how training goes; call it from a timer. None while the earlier question is unanswered."""
        raise NotImplementedError

    def stop_training(self) -> Job:
        """Stop the training run; the serving version stays. Result: `TrainingStatus`."""
        raise NotImplementedError

    def versions(self, model: str) -> Job:
        """Read the versions of a model into `state.versions`. Result: `VersionList`."""
        raise NotImplementedError

    def roll_back(self, model: str, version: str, force: bool = False) -> Job:
        """Let another version serve. Result: `VersionList`."""
        raise NotImplementedError

    def model(self, name: str) -> Optional[ModelInfo]:
        """Return a model of the connected server."""
        raise NotImplementedError


def points_option(markups: Any) -> List[List[float]]:
    """Return the defined points of a markups node in world RAS millimetres."""
    raise NotImplementedError


def roi_option(roi: Any) -> Mapping[str, List[float]]:
    """Return `{"center", "size"}` in RAS millimetres: the box that holds a (possibly rotated) markups ROI."""
    raise NotImplementedError

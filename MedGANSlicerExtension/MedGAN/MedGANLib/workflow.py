"""What a clinician does, without an interface: used by the module's widget and by scripts alike. Main thread only.

A workflow is built up in layers, one file each: `session` (jobs, state, messages), `connecting` (the server and its
versions), `studying` (volumes), `inferring` (running models), `learning` (submitting and training), `synthesising`
(making synthetic studies), `reconstructing` (better images), `detecting` (anomalies), `judging` (normal or not),
`reviewing` (which study first, the history of labels), `watching` (new versions), `exporting` (DICOM).
Between `inferring` and `learning` stands `correcting` (clicks).
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from .client import MedGANClient
from .exporting import Exporting
from .jobs import JobQueue
from .label_import import KEEP, EditedPolicy
from .markups import points_option, roi_option
from .scene import Scene
from .state import Consent, ConsentRequest, Message, RunOutcome, State, Study

__all__ = [
    "Consent",
    "ConsentRequest",
    "Message",
    "RunOutcome",
    "State",
    "Study",
    "Workflow",
    "points_option",
    "roi_option",
]


class Workflow(Exporting):
    """Connect, take a study, run a model, correct, submit, train, roll back, synthesise, reconstruct, detect, judge.

    Every method that talks to the server returns a `Job` at once and puts its outcome into `state`; failures become
    `state.message` (and `job.error`), never an exception out of a timer. What is wrong on this side (no volume, a
    transform, consent declined, a second job while one runs) is reported the same way: the job comes back failed.

    Attributes:
        state: See `State`.
        changed: Signal, emitted with the state after every change.
        edited: What happens to result segments that the clinician edited when the model runs again.
        consents: What the user has agreed to, by server.
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
        super().__init__(client, jobs, scene, consent, work_dir, edited=edited, before_change=before_change)

"""Scores are made in the background: when the server starts, after a promotion, and when studies come."""

from __future__ import annotations

import logging
import threading

from monailabel_app.activelearning.scoring import StudyScoring
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.jobs import Jobs
from trainers.monitor import Cancelled
from trainers.spec import ModelNotAvailable

logger = logging.getLogger(__name__)
EVERY = 5.0  # seconds between looks for something to score
RETRY = 60.0  # seconds after a failure


class BackgroundScoring:
    """A thread that scores one study after another, each as a job behind those of clinicians.

    Args:
        scoring: what scores. datastore: the studies. jobs: the queue before the processor.
        every: seconds between looks.
    """

    def __init__(self, scoring: StudyScoring, datastore: StudyDatastore, jobs: Jobs, every: float = EVERY) -> None:
        self._scoring, self._datastore, self._jobs, self._every = scoring, datastore, jobs, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Ends after the study that is being looked at, or leaves that to the process's end."""
        self._end.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        wait = self._every
        while not self._end.wait(wait):
            wait = self._every if self._round() else RETRY

    def _round(self) -> bool:
        """Scores what is due. Returns whether that went well; a failure is logged and must not end the thread."""
        try:
            for study in self._scoring.due(self._datastore):
                if self._end.is_set():
                    break
                self._one(study)
            return True
        except (ModelNotAvailable, MedGANError, Cancelled, OSError) as error:
            logger.warning("Scoring waits: %s", error)
        except Exception:
            logger.exception("Scoring failed")
        return False

    def _one(self, study: str) -> None:
        """One study, when no clinician waits."""
        while self._jobs.busy() and not self._end.wait(0.2):
            pass
        if not self._end.is_set():
            with self._jobs.run(self._scoring.task.model) as job:
                self._scoring.score(study, self._datastore, job)

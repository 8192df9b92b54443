"""Scoring: looks at every study with the version that serves, so that the next one can be chosen without waiting."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from monailabel.interfaces.tasks.scoring import ScoringMethod

from monailabel_app.activelearning.scores import info_of, scores_of, unreadable
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.index import Stamp
from monailabel_app.infers.segmentation import SegmentationInfer, check_scale
from monailabel_app.jobs import Job
from trainers.data.volumes import Volume, VolumeError, read_volume
from trainers.monitor import Monitor
from trainers.tasks.segmentation import Segmentation
from trainers.tasks.segmentation.quality import label_names

logger = logging.getLogger(__name__)


class StudyScoring(ScoringMethod):
    """Scores the acquired studies that have no score of the version that serves; those without a label come first.

    Args:
        task: the model to score with.
    """

    def __init__(self, task: SegmentationInfer) -> None:
        super().__init__(f"What {task.model} says of each study: entropy, realism, expected Dice, features.")
        self.task = task

    def __call__(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        """Scores all that are due, one by one; for MONAI Label's clients, in a process of its own."""
        count = 0
        for study in self.due(datastore):
            self.score(study, datastore)
            count += 1
        return {"scored": count}

    def due(self, datastore: StudyDatastore) -> Iterator[str]:
        """The studies that are to be scored, looked up anew after each: one may have come or gone meanwhile."""
        done: set[str] = set()
        while study := self._next(datastore, done):
            done.add(study)
            yield study

    def score(self, study: str, datastore: StudyDatastore, monitor: Monitor = Monitor()) -> None:
        """Looks at one study and stores what is seen.

        A study that the model cannot look at, e.g. without a clinician's point, is remembered as such.
        """
        version = self.task.registry.current(self.task.model)
        model = self.task.cache.get(version, monitor.device if isinstance(monitor, Job) else "")
        try:
            stamp = datastore.image_stamp(study)
            datastore.update_image_info(study, self._entry(model, version.name, study, stamp, datastore, monitor))
        except MedGANError:
            logger.info("A study went while it was scored.")

    def _entry(
        self, model: Any, version: str, study: str, stamp: Stamp, datastore: StudyDatastore, monitor: Monitor
    ) -> dict[str, Any]:
        """What is to be stored with a study."""
        try:
            image = read_volume(datastore.image_path(study), self.task.limits)
        except VolumeError as error:
            logger.info("not scored: %s", error.code)
            return unreadable(self.task.model, version, stamp)
        found = self._look(model, image, monitor)
        return info_of(found, label_names(self.task.spec), self.task.model, version)

    def _next(self, datastore: StudyDatastore, done: set[str]) -> str | None:
        version = self.task.registry.current(self.task.model).name
        acquired, labelled = datastore.acquired(), datastore.submissions()
        due = [name for name, info in acquired.items() if scores_of(info, self.task.model, version) is None]
        return min((name for name in due if name not in done), key=lambda name: (name in labelled, name), default=None)

    def _look(self, model: Any, image: Volume, monitor: Monitor) -> Segmentation | None:
        try:
            check_scale(image, self.task.spec)
            found: Segmentation = model(image, test_time_augmentation=False, monitor=monitor)
            return found
        except (VolumeError, MedGANError) as error:
            logger.info("not scored: %s", error.code)
            return None

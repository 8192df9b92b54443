"""How unsure a segmentation model is of each study: mean predictive entropy inside what it segmented."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.scoring import ScoringMethod

from monailabel_app.activelearning.strategies import SCORES
from monailabel_app.datastore import StudyDatastore
from monailabel_app.infers.segmentation import SegmentationInfer, check_scale
from trainers.data.volumes import VolumeError, read_volume
from trainers.tasks.segmentation import Segmentation

logger = logging.getLogger(__name__)

HIGHEST = math.log(256)  # nats; no map of uint8 labels can be less certain


class UncertaintyScoring(ScoringMethod):
    """Scores the acquired studies that have no final label and no score of the version that serves.

    Args:
        task: the model to score with.
    """

    def __init__(self, task: SegmentationInfer) -> None:
        super().__init__(f"Mean entropy inside the segmentation by {task.model}, nats.")
        self._task = task

    def __call__(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        """Runs in a process of its own. Stores `{"uncertainty", "model", "version"}` with each study, one by one."""
        version = self._task.registry.current(self._task.model)
        model = self._task.cache.get(version)
        mark = {"model": self._task.model, "version": version.name}
        scores, made = {}, set(datastore.synthetic_images())
        for study in (name for name in datastore.get_unlabeled_images() if name not in made):
            known = datastore.get_image_info(study).get(SCORES) or {}
            if {k: known.get(k) for k in mark} == mark:
                continue
            scores[study] = self._score(model, study, datastore)
            datastore.update_image_info(study, {SCORES: {**mark, "uncertainty": scores[study]}})
        return {"scored": len(scores)}

    def _score(self, model: Any, study: str, datastore: StudyDatastore) -> float | None:
        """None where the model cannot work without a clinician's point, or not at all."""
        try:
            image = read_volume(datastore.image_path(study), self._task.limits)
            check_scale(image, self._task.spec)
            return mean_entropy(model(image, test_time_augmentation=False))
        except VolumeError as error:
            logger.info("not scored: %s", error.code)
            return None


def mean_entropy(result: Segmentation) -> float:
    """Mean entropy of the voxels that got a label, nats; HIGHEST if none did.

    A model that finds nothing in a study is not sure of it: that study is worth a look.
    """
    inside = result.label.array > 0
    if not inside.any():
        return HIGHEST
    return float(np.mean(result.uncertainty.array[inside]))

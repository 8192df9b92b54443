"""Training that begins by itself after some new labels of a model.

How many are new is counted from when labels were submitted and when the model's last run began, both of which are on
disk: no count can be lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monailabel.interfaces.tasks.train import TrainTask

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import FINAL, SUBMITTED, StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.queue import TrainingQueue
from monailabel_app.finetune.segmentation import SegmentationTraining
from monailabel_app.options import validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AutoTraining:
    """Counts new labels, and asks for training when there are enough.

    Attributes:
        config: the server's settings. queue: of training runs. trainers: by model. datastore: studies and labels.
    """

    config: ServerConfig
    queue: TrainingQueue
    trainers: Mapping[str, TrainTask]
    datastore: StudyDatastore

    def counts(self) -> dict[str, int]:
        """For each model that learns from labels: acquired studies labelled since its last run began."""
        learners = learning(self.trainers)
        owners = {study: self._owner(info) for study, info in self._labels().items() if self._is_new(info)}
        counted = Counter(owners.values())
        return {model: counted[model] for model in learners}

    def after_submission(self, study: str, tag: str) -> dict[str, Any] | None:
        """Asks for a run if the label just submitted completes the number. Returns its progress, or None."""
        label = self._labels().get(study) if self.config.auto_train and tag == FINAL else None
        model = self._owner(label) if label else ""
        new = self.counts().get(model, 0)
        if not label or new < self.config.auto_train or not self._suffice(model):
            return None
        options, _ = validate({}, self.trainers[model].schema())
        try:
            run = self.queue.add(model, options, reason=f"{new} new {'label' if new == 1 else 'labels'}")
        except MedGANError:  # one waits already, and will learn from this label too
            return None
        except OSError as error:  # the label is stored, whatever becomes of the run
            logger.error("No training run could be asked for: %s", error)
            return None
        return self.queue.progress(run)

    def _labels(self) -> dict[str, dict[str, Any]]:
        return self.datastore.submissions()

    def _is_new(self, label: Mapping[str, Any]) -> bool:
        return float(label.get(SUBMITTED, 0.0)) > self.queue.last_begin(self._owner(label))

    def _owner(self, label: Mapping[str, Any]) -> str:
        """The model that a label belongs to; one that names none belongs to the only model that learns from labels."""
        learners = learning(self.trainers)
        return str(label.get("model") or (learners[0] if len(learners) == 1 else ""))

    def _suffice(self, model: str) -> bool:
        """Whether there are as many labelled studies as a run needs; it looks at them more closely itself."""
        return any(self._owner(label) == model for label in self._labels().values())


def learning(trainers: Mapping[str, TrainTask]) -> list[str]:
    """The models that learn from labels."""
    return [name for name, task in trainers.items() if isinstance(task, SegmentationTraining)]

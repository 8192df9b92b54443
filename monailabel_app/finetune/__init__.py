"""Fine-tuning: corrected studies become a candidate version. One file a task."""

from __future__ import annotations

from monailabel.interfaces.tasks.train import TrainTask

from monailabel_app.finetune.anomaly import AnomalyTraining
from monailabel_app.finetune.segmentation import SegmentationTraining

TASKS: dict[str, type[TrainTask]] = {"segmentation": SegmentationTraining, "anomaly": AnomalyTraining}

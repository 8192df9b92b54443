"""Segmentation: run a model, measure it, train it, fine-tune it."""

from trainers.data.cases import Case
from trainers.tasks.segmentation.evaluate import Report, evaluate, reference_cases
from trainers.tasks.segmentation.finetune import FinetuneConfig, finetune
from trainers.tasks.segmentation.infer import Segmentation, Segmenter
from trainers.tasks.segmentation.regions import Roi
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask

__all__ = [
    "Case", "FinetuneConfig", "Report", "Roi", "Segmentation", "SegmentationConfig", "SegmentationTask", "Segmenter",
    "evaluate", "finetune", "reference_cases",
]  # fmt: skip

"""Active learning: which study next, and the scores to choose by."""

from __future__ import annotations

from collections.abc import Mapping

from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from monailabel_app.activelearning.scoring import StudyScoring
from monailabel_app.activelearning.strategies import Reserving
from monailabel_app.config import ServerConfig
from monailabel_app.infers.segmentation import SegmentationInfer
from trainers.tasks.segmentation.choosing import DEFAULT, STRATEGIES
from trainers.tasks.segmentation.quality import label_names

__all__ = ["DEFAULT", "all_scoring_methods", "all_strategies", "scored_model"]
DRAWN = ("random", "foreground")  # by chance alone: who asks again gets another study
EARLIER = {"uncertainty": "entropy"}  # names that clients may still know


def scored_model(infers: Mapping[str, InferTask]) -> SegmentationInfer | None:
    """The model that scores studies: the first one for segmentation."""
    return next((task for task in infers.values() if isinstance(task, SegmentationInfer)), None)


def all_strategies(config: ServerConfig, infers: Mapping[str, InferTask]) -> dict[str, Strategy]:
    """The strategies by name; without a segmentation model, those that need no scores."""
    task, minutes = scored_model(infers), config.reservation_minutes
    model, labels = (task.model, label_names(task.spec)) if task else ("", [])
    made: dict[str, Strategy] = {
        name: Reserving(choose, about, minutes, model, labels, fresh=name in DRAWN)
        for name, (about, choose) in STRATEGIES.items()
    }
    return {**made, **{old: made[new] for old, new in EARLIER.items()}}


def all_scoring_methods(infers: Mapping[str, InferTask]) -> dict[str, ScoringMethod]:
    """The scoring methods by name; there is none without a segmentation model."""
    found = scored_model(infers)
    return {"uncertainty": StudyScoring(found)} if found else {}

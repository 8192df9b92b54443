"""Active learning: which study next, and the scores to choose by."""

from __future__ import annotations

from collections.abc import Mapping

from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from monailabel_app.activelearning.strategies import First, MostUncertain, Random
from monailabel_app.activelearning.uncertainty import UncertaintyScoring
from monailabel_app.config import ServerConfig
from monailabel_app.infers.segmentation import SegmentationInfer


def all_strategies(config: ServerConfig) -> dict[str, Strategy]:
    """The strategies by name."""
    minutes = config.reservation_minutes
    return {"random": Random(minutes), "first": First(minutes), "uncertainty": MostUncertain(minutes)}


def all_scoring_methods(infers: Mapping[str, InferTask]) -> dict[str, ScoringMethod]:
    """The scoring methods by name; uncertainty needs a segmentation model and takes the first."""
    found = next((task for task in infers.values() if isinstance(task, SegmentationInfer)), None)
    return {"uncertainty": UncertaintyScoring(found)} if found else {}

"""Inference: one file a task; each turns a request into a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel_app.infers.anomaly import AnomalyInfer
from monailabel_app.infers.base import ModelInfer
from monailabel_app.infers.reconstruction import ReconstructionInfer
from monailabel_app.infers.segmentation import SegmentationInfer
from monailabel_app.infers.synthesis import SynthesisInfer
from trainers.spec import ModelNotAvailable, ModelSpec

TASKS: dict[str, type[ModelInfer]] = {
    kind.task: kind for kind in (SegmentationInfer, SynthesisInfer, ReconstructionInfer, AnomalyInfer)
}


def load(folder: Path, device: str = "cpu") -> Any:
    """The model in a version's folder, ready to run on a device. Raises ModelNotAvailable."""
    task = ModelSpec.load(folder).task
    if task not in TASKS:
        raise ModelNotAvailable(f"The task {task!r} of {folder.parent.name} is not known to this server.")
    return TASKS[task].load(folder, device)

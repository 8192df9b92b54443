"""Inference: one file a task; each turns a request into a result."""

from __future__ import annotations

from monailabel_app.infers.base import ModelInfer
from monailabel_app.infers.segmentation import SegmentationInfer

TASKS: dict[str, type[ModelInfer]] = {"segmentation": SegmentationInfer}

"""Segmentation: an image, perhaps with points or a box, becomes a label map and the uncertainty of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel_app.infers.base import ModelInfer, Outcome
from monailabel_app.infers.result import Part
from monailabel_app.options import Schema, points, roi, switch
from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.tasks.segmentation import Roi, Segmenter

UNCERTAINTY_UNITS = "nats"


class SegmentationInfer(ModelInfer):
    """Segments an image on its own grid."""

    task = "segmentation"
    output = "labelmap"
    trainable = True

    def schema(self) -> Schema:
        """Points, a box, and test-time augmentation."""
        part = self.spec.body_part or "structure"
        return {
            "type": "object",
            "properties": {
                "points": points(f"A point in or near each {part} to segment; needed when the image shows much more."),
                "roi": roi(f"A box around the {part}, in place of points."),
                "test_time_augmentation": switch(
                    "Average mirrored predictions", "Steadier borders, at several times the computing time.", True
                ),
            },
        }

    def run(self, loaded: Segmenter, image: Volume, options: Mapping[str, Any], monitor: Monitor) -> Outcome:
        """Segments `image`."""
        box = options.get("roi")
        result = loaded(
            image,
            points=options.get("points", ()),
            roi=Roi(tuple(box["center"]), tuple(box["size"])) if box else None,
            test_time_augmentation=options["test_time_augmentation"],
            monitor=monitor,
        )
        details = {"labels": self.spec.labels, "colors": self.spec.colors}
        parts = [
            Part("label", "labelmap", result.label, details),
            Part("uncertainty", "volume", result.uncertainty, {"units": UNCERTAINTY_UNITS}),
        ]
        return Outcome(parts, list(result.warnings), dict(result.seconds))

"""Segmentation: an image, perhaps with points, a box or corrections, becomes a label map and the uncertainty of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferType

from monailabel_app.infers.base import ImageInfer, Outcome
from monailabel_app.infers.result import Part
from monailabel_app.options import Schema, clicks, points, roi, switch
from trainers.data.volumes import Grid, Volume, VolumeError
from trainers.monitor import Monitor
from trainers.preprocess import Preprocess
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import Roi, Segmenter
from trainers.tasks.segmentation.clicks import Click
from trainers.tasks.segmentation.quality import label_names

UNCERTAINTY_UNITS = "nats"
FINEST = 0.02  # mm; smoothing a finer image down to the model's spacing takes minutes
LEAST_SHARE = 1 / 8  # of the model's window that an image must fill


class SegmentationInfer(ImageInfer):
    """Segments an image on its own grid."""

    task = "segmentation"
    output = "labelmap"
    trainable = True
    kind = InferType.SEGMENTATION
    load = Segmenter

    def schema(self) -> Schema:
        """Corrections, points, a box, and test-time augmentation."""
        part = self.spec.body_part or "structure"
        corrections = {"clicks": clicks(label_names(self.spec))} if self.spec.clicks else {}
        return {
            "type": "object",
            "properties": {
                **corrections,
                "points": points(f"A point in or near each {part} to segment; needed when the image shows much more."),
                "roi": roi(f"A box around the {part}, in place of points."),
                "test_time_augmentation": switch(
                    "Average several views",
                    "Better borders: mirrored and resized views, at several times the time.",
                    True,
                ),
            },
        }

    def run(
        self, loaded: Segmenter, images: Mapping[str, Volume], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        """Segments the image."""
        image = images["image"]
        check_scale(image, self.spec)
        box, given = options.get("roi"), options.get("clicks", ())
        result = loaded(
            image,
            points=options.get("points", ()),
            roi=Roi(tuple(box["center"]), tuple(box["size"])) if box else None,
            test_time_augmentation=options["test_time_augmentation"],
            monitor=monitor,
            clicks=[self._click(one) for one in given],
        )
        details = {"labels": self.spec.labels, "colors": self.spec.colors}
        parts = [
            Part("label", "labelmap", result.label, details),
            Part("uncertainty", "volume", lambda: result.uncertainty, {"units": UNCERTAINTY_UNITS}),
        ]
        about = {"quality": result.quality.as_dict() if result.quality else None, "medgan": {"clicks": len(given)}}
        return Outcome(parts, list(result.warnings), dict(result.seconds), about)

    def _click(self, told: Mapping[str, Any]) -> Click:
        """A correction as the client tells it: a label by name."""
        return Click(self.spec.labels.get(told["label"], 0), tuple((x, y, z) for x, y, z in told["points"]))


def check_scale(grid: Grid, spec: ModelSpec) -> None:
    """Raises VolumeError `cannot_process` for an image that is far smaller than what the model looks at.

    Mostly its header gives the size of a voxel in metres or micrometres.
    """
    settings = Preprocess(**spec.preprocess)
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    covered, window = spacing * grid.shape, np.multiply(settings.window, settings.spacing)
    share = np.minimum(np.sort(covered), np.sort(window)).prod() / window.prod()
    if spacing.min() < FINEST or share < LEAST_SHARE:
        seen, needed = (" x ".join(f"{n:.3g}" for n in size) for size in (covered, window))
        message = f"The image covers {seen} mm; the model looks at {needed} mm."
        raise VolumeError("cannot_process", message, "Check the voxel size in its header: it must be in millimetres.")

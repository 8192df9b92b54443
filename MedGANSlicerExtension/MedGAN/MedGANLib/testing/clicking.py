"""Corrections by clicks, as the test server takes them: a ball about each place gets the label."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from .refusal import Refusal

VALUES = {"background": 0, "anterior": 1, "posterior": 2}
RADIUS = 3.0
"""Of the ball, in voxels."""


def clicks_schema() -> Dict[str, Any]:
    """Returns the option that takes corrections."""
    place = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
    label = {"type": "string", "enum": list(VALUES)}
    points = {"type": "array", "items": place, "minItems": 1, "maxItems": 1000}
    item = {"type": "object", "required": ["label", "points"], "properties": {"label": label, "points": points}}
    said = {"title": "Corrections", "description": "What is at which place."}
    return {"type": "array", "x-widget": "clicks", "maxItems": 256, **said, "items": item}


def corrected(labels: np.ndarray, affine: np.ndarray, clicks: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns a label map (k, j, i) with corrections, in their order.

    Raises:
        Refusal: one lies outside the image.
    """
    result = labels.copy()
    for number, click in enumerate(clicks, start=1):
        for place in _along(click["points"]):
            _ball(result, np.linalg.inv(affine), place, str(click["label"]), number)
    return result


def _along(points: Sequence[Sequence[float]]) -> List[np.ndarray]:
    """Returns places a millimetre apart along a scribble."""
    ends = [np.array(point, float) for point in points]
    places = ends[:1]
    for index, end in enumerate(ends[1:]):
        start = ends[index]
        count = max(1, int(np.linalg.norm(end - start)))
        places += [start + (end - start) * step / count for step in range(1, count + 1)]
    return places


def _ball(labels: np.ndarray, inverse: np.ndarray, place: np.ndarray, label: str, number: int) -> None:
    middle = (inverse @ [*place, 1.0])[:3][::-1]
    if not all(-0.5 <= middle[axis] <= labels.shape[axis] - 0.5 for axis in range(3)):
        where = ", ".join(f"{value:.1f}" for value in place)
        raise Refusal(422, "outside_image", f"Correction {number} ({label}) at {where} mm lies outside the image.")
    grid = np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij")
    distance = sum((grid[axis] - middle[axis]) ** 2 for axis in range(3))
    labels[distance <= RADIUS**2] = VALUES[label]

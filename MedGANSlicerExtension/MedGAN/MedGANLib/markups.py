"""Points and regions of interest from the scene as options of a model, in RAS millimetres."""

from __future__ import annotations

from itertools import product
from typing import Any, Dict, List, Optional

import numpy as np

from .errors import SceneProblem


def points_option(markups: Any, to_server: Optional[np.ndarray] = None) -> List[List[float]]:
    """Return the defined points of a markups node.

    Args:
        markups: A markups fiducial node; its own transform is applied.
        to_server: 4x4 matrix from the world to the image as the server has it; by default they are the same.
    """
    indices = range(markups.GetNumberOfControlPoints())
    defined = [index for index in indices if markups.GetNthControlPointPositionStatus(index) == markups.PositionDefined]
    return [_mapped(_position(markups, index), to_server) for index in defined]


def roi_option(roi: Any, to_server: Optional[np.ndarray] = None) -> Dict[str, List[float]]:
    """Return `{"center", "size"}` of the upright box around a (possibly rotated) markups ROI.

    Args:
        roi: A markups ROI node; its own transform is applied.
        to_server: 4x4 matrix from the world to the image as the server has it; by default they are the same.

    Raises:
        SceneProblem: The ROI has not been placed.
    """
    bounds = [0.0] * 6
    roi.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    if not (low < high).all():
        raise SceneProblem("The region of interest has not been placed.", "Draw it in a slice view.")
    corners = np.array([_mapped(corner, to_server) for corner in product(*np.stack([low, high], axis=1))])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {"center": ((low + high) / 2).tolist(), "size": (high - low).tolist()}


def _position(markups: Any, index: int) -> List[float]:
    place = [0.0, 0.0, 0.0]
    markups.GetNthControlPointPositionWorld(index, place)
    return place


def _mapped(place: Any, matrix: Optional[np.ndarray]) -> List[float]:
    if matrix is None:
        return [float(value) for value in place]
    return [float(value) for value in (matrix @ [*place, 1.0])[:3]]

"""From segments to the shape that a synthesis model fills: a label map of the segments alone. Main thread only.

The label map is cut to the segments, so that no more of the patient is sent than what is to be filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import slicer

from .errors import SceneProblem
from .exports import label_map, write_labels
from .segments import (
    MODEL_TAG,
    VALUE_TAG,
    LabelTable,
    binary_image,
    get_tag,
    image_affine,
    oriented_array,
    segment_ids,
    segment_of,
)
from .volumes import affine, image_from_array, is_sheared, to_matrix

MARGIN = 1
"""Voxels of background around the shape."""


@dataclass(frozen=True)
class Shape:
    """A shape ready to be sent: its grid (a volume node outside of any scene), its voxels (k, j, i) and warnings."""

    grid: Any
    labels: np.ndarray
    warnings: Tuple[str, ...] = ()

    def write(self, path: Union[str, Path]) -> None:
        """Write the label map."""
        write_labels(self.labels, affine(self.grid), path)


def matching_segments(segmentation: Any, table: LabelTable) -> Dict[str, str]:
    """Return label name -> ID of the segment that has its name, or else that the model itself once gave it."""
    found: Dict[str, str] = {}
    ids = segment_ids(segmentation) if segmentation else []
    for name, value in table.values.items():
        named = [i for i in ids if table.value_named(segment_of(segmentation, i).GetName()) == value]
        tagged = [i for i in ids if _has_tag(segment_of(segmentation, i), table.model, value)]
        for segment_id in (named or tagged)[:1]:
            found[name] = segment_id
    return found


def make_shape(segmentation: Any, table: LabelTable, segments: Optional[Mapping[str, str]] = None) -> Shape:
    """Return the shape of some segments, with the model's label values.

    Args:
        segmentation: The segmentation node; its own transform is applied.
        table: Names and values of the model's labels.
        segments: Label name -> segment ID; by default the segments that are named after the labels.

    Raises:
        SceneProblem: No segment is chosen, one is not there or empty, or a transform shears the segmentation.
    """
    wanted = matching_segments(segmentation, table) if segments is None else segments
    chosen = [(segment_id, table.values[name]) for name, segment_id in wanted.items() if segment_id]
    if not chosen:
        names = ", ".join(f"'{name}'" for name in table.values)
        raise SceneProblem("No segment is chosen as the shape.", f"Choose a segment for {names}.")
    gone = [segment_id for segment_id, _ in chosen if segment_of(segmentation, segment_id) is None]
    if gone:
        raise SceneProblem("A segment of the shape is not there any more.", "Choose the segments again.")
    grid = _grid([_filled(segmentation, segment_id) for segment_id, _ in chosen])
    result = label_map(segmentation, grid, table, chosen)
    return Shape(grid, result.array, tuple(w for w in result.warnings if "overlap" in w))


def _has_tag(segment: Any, model: str, value: int) -> bool:
    return get_tag(segment, MODEL_TAG) == model and get_tag(segment, VALUE_TAG) == str(value)


def _filled(segmentation: Any, segment_id: str) -> Any:
    image = binary_image(segmentation, segment_id, world=True)
    if not oriented_array(image).any():
        name = segment_of(segmentation, segment_id).GetName()
        raise SceneProblem(f"The segment '{name}' is empty.", "Draw it first, or choose another segment.")
    return image


def _grid(images: Sequence[Any]) -> Any:
    """Return a volume node, outside of any scene, on the first image's grid and just large enough for all of them."""
    matrix = image_affine(images[0])
    if is_sheared(matrix):
        raise SceneProblem("The segmentation is under a shearing transform.", "Take it out of the transform.")
    to_grid = np.linalg.inv(matrix)
    places = np.concatenate([_corners(image) @ to_grid.T for image in images])[:, :3]
    first = np.floor(places.min(axis=0) + 0.5 + 1e-4).astype(int) - MARGIN
    last = np.ceil(places.max(axis=0) - 0.5 - 1e-4).astype(int) + MARGIN
    shift = np.eye(4)
    shift[:3, 3] = first
    grid = slicer.vtkMRMLLabelMapVolumeNode()
    grid.SetIJKToRASMatrix(to_matrix(matrix @ shift))
    grid.SetAndObserveImageData(image_from_array(np.zeros((last - first + 1)[::-1], np.uint8)))
    return grid


def _corners(image: Any) -> np.ndarray:
    """Return the corners (8, 4) of the box about what is inside an image, in the world, out to the voxels' faces."""
    inside = np.argwhere(oriented_array(image) > 0)[:, ::-1] + np.array(image.GetExtent()[::2])
    ends: List[np.ndarray] = [inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5]
    corners = np.array([[*corner, 1.0] for corner in product(*np.stack(ends, axis=1))])
    return corners @ image_affine(image).T

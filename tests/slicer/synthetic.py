"""A gallery written by hand, on any grid, for tests of synthetic studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from MedGANLib.gallery import Gallery, Sample
from MedGANLib.records import ModelInfo
from MedGANLib.volumes import image_from_array, to_matrix, write_node

from .scenes import labels, write_labels

LABELS = {"anterior": 3, "posterior": 7}
MODEL = ModelInfo("made_up", "Made up", "synthesis", "both", labels=LABELS, version="v0002", is_medgan=True)


def write_image(path: Path, array: np.ndarray, matrix: np.ndarray) -> Path:
    """Writes an image file."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetIJKToRASMatrix(to_matrix(matrix))
    node.SetAndObserveImageData(image_from_array(array))
    write_node(node, path)
    return path


def make_sample(folder: Path, matrix: np.ndarray, array: np.ndarray | None = None, seed: int = 5) -> Sample:
    """Returns a sample; the image is noise unless it is given, and the label has the values 3 and 7."""
    noise = np.random.default_rng(seed).normal(size=labels().shape).astype(np.float32)
    image = write_image(folder / f"image_{seed}.nrrd", noise if array is None else array, matrix)
    label = write_labels(folder / f"label_{seed}.nrrd", labels(), matrix) if array is None else None
    return Sample(1, seed, image, label, "pneumonia", LABELS if label else {})


def make_gallery(sample: Sample) -> Gallery:
    """Returns a gallery with one sample."""
    return Gallery(MODEL, "v0002", "http://127.0.0.1:1", (sample,))

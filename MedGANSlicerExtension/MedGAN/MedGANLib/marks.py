"""The mark of what a model made: on nodes, in what is sent, and in files. A synthetic image never passes for another.

The mark is in a node's attributes, which are saved with the scene and copied with the node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

from .gallery import Gallery, Sample
from .headers import ALTERED, marks
from .volumes import MODEL, SYNTHETIC, VERSION, is_synthetic

SEED = "MedGAN.Seed"
CLASS = "MedGAN.Class"
"""Node attributes of a sample beside those in `volumes`: what it was made with."""
RECONSTRUCTED = "MedGAN.Reconstructed"
STRENGTH = "MedGAN.Strength"
"""Node attributes of a reconstruction: that it is one, and how strongly a GAN altered it."""
HEAT = "MedGAN.HeatMap"
"""Node attribute of a map of how unlike healthy ones an image is: made by a model, but no picture of a patient."""
PREFIX = "SYNTHETIC – "
"""Begins the name of every sample's node, and so what Slicer writes into the corner of a slice view."""
ALTERED_PREFIX = "ALTERED – "
"""The same for an image that a GAN altered, or that a network made of others."""


def mark_sample(node: Any, gallery: Gallery, sample: Sample) -> None:
    """Note on a node that it is a sample of a model, and of which one."""
    node.SetAttribute(SYNTHETIC, "true")
    node.SetAttribute(MODEL, gallery.model.name)
    node.SetAttribute(VERSION, gallery.version)
    node.SetAttribute(SEED, str(sample.seed))
    node.SetAttribute(CLASS, sample.class_name or None)


def mark_reconstruction(node: Any, model: str, version: str, altered: bool = False, strength: float = 0.0) -> None:
    """Note on a node that a model made it of what was measured; an altered one counts as synthetic everywhere."""
    node.SetAttribute(RECONSTRUCTED, "true")
    node.SetAttribute(MODEL, model)
    node.SetAttribute(VERSION, version)
    if altered:
        node.SetAttribute(SYNTHETIC, "true")
        node.SetAttribute(ALTERED, "true")
        node.SetAttribute(STRENGTH, f"{strength:g}")


def mark_heat(node: Any, model: str, version: str) -> None:
    """Note on a node that it is a model's heat map; where it is taken for an image it counts as synthetic."""
    node.SetAttribute(HEAT, "true")
    node.SetAttribute(SYNTHETIC, "true")
    node.SetAttribute(MODEL, model)
    node.SetAttribute(VERSION, version)


def view_mark(volume: Any) -> str:
    """Return the word for views that show a volume; empty for one that was acquired."""
    words = ((HEAT, "HEAT MAP"), (ALTERED, "ALTERED"), (RECONSTRUCTED, "RECONSTRUCTED"), (SYNTHETIC, "SYNTHETIC"))
    for attribute, word in words:
        if volume.GetAttribute(attribute) == "true":
            return word
    return ""


def take_marks(volume: Any, path: Path) -> None:
    """Note on a volume what the header of its file says of its being synthetic."""
    for name, text in marks(path).items():
        volume.SetAttribute(name, text)


def take_file_marks(volume: Any) -> None:
    """Do so for a volume that was opened from a file of this computer, where Slicer does not look at the mark."""
    storage = volume.GetStorageNode()
    path = Path((storage.GetFileName() if storage else "") or "")
    if not is_synthetic(volume) and path.is_file():
        take_marks(volume, path)


def save_with_marks(volume: Any) -> None:
    """See to it that Slicer saves the volume as NRRD, with its mark in the header."""
    storage = volume.GetScene().AddNewNodeByClass("vtkMRMLNRRDStorageNode", f"{volume.GetName()} storage")
    volume.SetAndObserveStorageNodeID(storage.GetID())


def node_name(gallery: Gallery, sample: Sample) -> str:
    """Return the name of a sample's node: `SYNTHETIC – Chest radiographs, pneumonia, seed 7`."""
    return PREFIX + ", ".join(part for part in (gallery.model.title, sample.class_name, f"seed {sample.seed}") if part)


def sample_params(gallery: Gallery, sample: Sample) -> Dict[str, Any]:
    """Return the form field `params` with which a sample is uploaded."""
    return _params(gallery.model.name, gallery.version, sample.seed, sample.class_name or None)


def upload_params(volume: Any) -> Dict[str, Any]:
    """Return the form field `params` with which a volume is uploaded: its mark when a model made it, else nothing."""
    if not is_synthetic(volume):
        return {}
    seed = volume.GetAttribute(SEED)
    return _params(
        volume.GetAttribute(MODEL) or "",
        volume.GetAttribute(VERSION) or "",
        int(seed) if seed else None,
        volume.GetAttribute(CLASS) or None,
    )


def _params(model: str, version: str, seed: Optional[int], class_name: Optional[str]) -> Dict[str, Any]:
    return {"synthetic": {"model": model, "version": version, "seed": seed, "class": class_name}}

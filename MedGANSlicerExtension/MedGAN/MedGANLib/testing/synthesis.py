"""The test server's synthesis model: phantoms with their label, or a shape filled with a phantom's grey values."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from .images import BRIGHT, phantom, write_nrrd

SYNTHESIS = "hippocampus_synthesis"
VERSION = "v0001"
CLASSES = ("healthy", "atrophy")
LABELS = {"anterior": 1, "posterior": 2}
COLORS = {"anterior": [0.9, 0.7, 0.2], "posterior": [0.3, 0.6, 0.9]}
MARK = {"MedGAN.Synthetic": "true", "MedGAN.Model": SYNTHESIS}
Volume = Tuple[np.ndarray, np.ndarray]
"""Voxels (k, j, i) and their 4x4 matrix to RAS millimetres."""


def synthesis_options() -> Dict[str, Any]:
    """Returns the JSON Schema of the model's options."""
    most = 2**31 - 1
    return {
        "type": "object",
        "properties": {
            "number": {"type": "integer", "title": "Images", "minimum": 1, "maximum": 16, "default": 4},
            "seed": {"type": "integer", "title": "Seed", "minimum": 0, "maximum": most, "default": 0},
            "class": {"type": "string", "title": "Class", "enum": list(CLASSES)},
            "mask": {
                "type": "boolean",
                "title": "Mask from a segmentation",
                "description": "A segmentation whose shapes the images fill; left open, shapes are made up too.",
                "x-widget": "labelmap",
            },
        },
    }


def synthesis_json() -> Dict[str, Any]:
    """Returns the model's entry in the answer of `GET /info/`."""
    medgan = {
        "task": "synthesis",
        "output": "both",
        "title": "Hippocampus synthesis",
        "inputs": [],
        "options": synthesis_options(),
        "version": VERSION,
        "checksum": "sha256:" + "0" * 64,
        "metrics": {"kid": {"value": 0.0123, "higher_is_better": False}},
        "data": "MSD Task04 Hippocampus",
        "licence": "CC BY-SA 4.0",
        "body_part": "hippocampus",
        "modality": "MR T1",
        "colors": COLORS,
        "trainable": False,
    }
    description = "Synthetic hippocampi with both parts labelled."
    return {
        "type": "others",
        "labels": LABELS,
        "dimension": 3,
        "description": description,
        "config": {},
        "medgan": medgan,
    }


def make_bundle(params: Mapping[str, Any], mask: Optional[Volume] = None) -> bytes:
    """Returns the .zip with the samples that `params` ask for, by docs/api.md."""
    seed, count, name = int(params.get("seed", 0)), int(params.get("number", 4)), params.get("class") or CLASSES[0]
    parts: List[Dict[str, Any]] = []
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(1, count + 1):
            said = {"sample": number, "seed": seed + number - 1, "class": name, "synthetic": True}
            image, label, affine = make_sample(seed + number - 1, name, mask)
            for kind, voxels, more in (
                ("image", image, {"kind": "volume", "units": "a.u."}),
                ("label", label, {"kind": "labelmap", "labels": LABELS, "colors": COLORS}),
            ):
                file = f"{kind}_{number:03d}.nrrd"
                archive.writestr(file, write_nrrd(voxels, affine, MARK))
                parts.append({"name": file[:-5], "file": file, **more, **said})
        manifest = {"parts": parts, "model": SYNTHESIS, "version": VERSION, "warnings": [], "synthetic": True}
        archive.writestr("manifest.json", json.dumps(manifest))
    return stream.getvalue()


def make_sample(
    seed: int, name: Any = None, mask: Optional[Volume] = None
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns image (int16) and label (uint8), both (k, j, i), and their matrix to RAS millimetres."""
    if mask is not None:
        labels, affine = mask
        noise = np.random.default_rng(seed).normal(0, 18, labels.shape)
        return (300 + 500 * (labels > 0) + noise).astype(np.int16), labels.astype(np.uint8), affine
    image, affine = phantom(seed)
    bright = image > BRIGHT
    if name == CLASSES[1]:
        bright[:, :, ::2] = False
    half = np.arange(image.shape[1])[None, :, None] >= image.shape[1] // 2
    return image, (bright * np.where(half, 1, 2)).astype(np.uint8), affine

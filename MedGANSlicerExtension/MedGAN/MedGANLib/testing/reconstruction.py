"""The test server's reconstruction models: finer, a mean of CT and PET and, if a test wants it, one of k-space."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from .images import write_nrrd

FINER, FUSION, MEASURED = "mr_super_resolution", "ct_pet_fusion", "mr_undersampled"
VERSION = "v0001"
UNITS = {"CT": "HU", "PET": "SUV"}
Volume = Tuple[np.ndarray, np.ndarray]
"""Voxels (k, j, i) and their 4x4 matrix to RAS millimetres."""


def reconstructions_json() -> Dict[str, Dict[str, Any]]:
    """Returns the models' entries in the answer of `GET /info/`."""
    slider = {"type": "number", "x-widget": "slider", "minimum": 0.0, "maximum": 1.0, "default": 0.0}
    finer = {
        "scale": {"type": "string", "title": "Times finer", "enum": ["2x"], "default": "2x"},
        "strength": {**slider, "title": "GAN strength", "description": "0 is the safe image; a GAN adds texture."},
    }
    kinds = {"type": "string", "enum": ["CT", "MR", "PET"]}
    fusion = {
        "modality": {**kinds, "title": "Modality", "default": "CT"},
        "second_modality": {**kinds, "title": "Second modality", "default": "PET"},
    }
    both = [{"name": "image", "modality": "CT"}, {"name": "second", "modality": "PET"}]
    about = "Makes an MR twice as fine along every axis. Averaged over the original voxels, the result is the original."
    return {
        FINER: _entry("MR super-resolution", about, [{"name": "image", "modality": "MR"}], finer),
        FUSION: _entry("CT and PET fusion", "Shows bone and uptake in one image.", both, fusion),
    }


def measured_json() -> Dict[str, Any]:
    """Returns the entry of the model that takes k-space too; put it into `World.reconstructions` under `MEASURED`."""
    inputs = [{"name": "image", "modality": "MR", "kspace": True}]
    return _entry("MR from fewer lines", "Reconstructs an MR of which few lines were measured.", inputs, {})


def image_of(data: bytes) -> Volume:
    """Returns the image of k-space in a .npy file, (x, y); raises ValueError for anything else."""
    samples = np.load(io.BytesIO(data), allow_pickle=False)
    image = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(samples), norm="ortho")))
    return image.T[None].astype(np.float32), np.eye(4)


def _entry(title: str, about: str, inputs: List[Dict[str, Any]], options: Dict[str, Any]) -> Dict[str, Any]:
    medgan = {
        "task": "reconstruction",
        "output": "volume",
        "title": title,
        "inputs": inputs,
        "options": {"type": "object", "properties": options},
        "version": VERSION,
        "checksum": "sha256:" + "0" * 64,
        "metrics": {"psnr": {"value": 38.2, "higher_is_better": True}},
        "data": "MSD Task04 Hippocampus",
        "licence": "CC BY-SA 4.0",
        "body_part": "hippocampus",
        "modality": inputs[0]["modality"],
        "trainable": False,
    }
    return {"type": "others", "labels": {}, "dimension": 3, "description": about, "config": {}, "medgan": medgan}


def make_reconstruction(model: str, params: Mapping[str, Any], volumes: Mapping[str, Volume]) -> bytes:
    """Returns the .zip with what a model makes of volumes, by docs/api.md."""
    if model == MEASURED:
        return _measured(volumes["image"])
    return _finer(params, volumes["image"]) if model == FINER else _fused(params, volumes)


def finer(coarse: Volume) -> Volume:
    """Returns a volume twice as fine, smooth, whose mean over each coarse voxel is that voxel."""
    voxels, affine = coarse
    fine = voxels.astype(np.float64)
    for axis in range(3):
        fine = np.repeat(fine, 2, axis)
        rows = np.moveaxis(np.pad(fine, [(int(a == axis),) * 2 for a in range(3)], mode="edge"), axis, 0)
        fine = np.moveaxis((rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4, 0, axis)
    wrong = voxels - _averaged(fine)
    step = np.diag([0.5, 0.5, 0.5, 1.0])
    step[:3, 3] = -0.25
    return (fine + _spread(wrong)).astype(np.float32), affine @ step


def _finer(params: Mapping[str, Any], coarse: Volume) -> bytes:
    strength = float(params.get("strength", 0.0))
    image, affine = finer(coarse)
    texture = np.random.default_rng(0).normal(0, 25, image.shape) * (image > 150)
    added = (strength * (texture - _spread(_averaged(texture)))).astype(np.float32)
    edges = np.sqrt(sum(np.square(slope) for slope in np.gradient(coarse[0].astype(float)))) * 0.1
    doubt = np.maximum(finer((edges, affine))[0], 0) + 2 + np.abs(added)
    altered = {"altered": True, "strength": strength} if strength else {}
    between = " Within that, a GAN added what was not measured." if strength else ""
    about = {
        "warnings": ["This image was altered by a GAN; fine detail may be invented."] if strength else [],
        "contradiction": 3e-7,
        "gan_altered": strength > 0,
        "consistency": f"Averaged back, it equals what was measured to 3e-7.{between}",
    }
    units = {"units": "as the input"}
    parts = {"image": (image + added, {**units, **altered}), "uncertainty": (doubt.astype(np.float32), units)}
    return _bundle(FINER, parts, affine, about)


def _fused(params: Mapping[str, Any], volumes: Mapping[str, Volume]) -> bytes:
    (first, affine), (second, _) = volumes["image"], volumes["second"]
    one, two = (v.astype(np.float32) for v in (first, second))
    image = (one / max(one.max(), 1) + two / max(two.max(), 1)) / 2
    parts = {"image": (image, {"units": "arbitrary", "altered": True, "strength": 0.0})}
    parts["uncertainty"] = (np.full_like(image, 0.02), {"units": "arbitrary"})
    for key, array in (("modality", one), ("second_modality", two)):
        kind = str(params.get(key) or {"modality": "CT"}.get(key, "PET"))
        parts[kind.lower()] = (array, {"units": UNITS.get(kind, "as the input")})
    told = {"contradiction": None, "gan_altered": True, "consistency": "This model adds what was not measured."}
    return _bundle(FUSION, parts, affine, {"warnings": [], **told})


def _measured(image: Volume) -> bytes:
    units = {"units": "as the input"}
    parts = {"image": (image[0], units), "uncertainty": (np.full_like(image[0], 0.1), units)}
    told = {"contradiction": 1e-7, "gan_altered": False, "consistency": "The lines that were measured are kept."}
    return _bundle(MEASURED, parts, image[1], {"warnings": ["Where the slices lie is not known."], **told})


def _bundle(model: str, parts: Mapping[str, Tuple[np.ndarray, Any]], affine: np.ndarray, about: Any) -> bytes:
    stream, rows = io.BytesIO(), []
    with zipfile.ZipFile(stream, "w") as archive:
        for name, (array, details) in parts.items():
            archive.writestr(f"{name}.nrrd", write_nrrd(array, affine))
            rows.append({"name": name, "kind": "volume", "file": f"{name}.nrrd", **details})
        archive.writestr("manifest.json", json.dumps({"parts": rows, "model": model, "version": VERSION, **about}))
    return stream.getvalue()


def _averaged(fine: np.ndarray) -> np.ndarray:
    k, j, i = (n // 2 for n in fine.shape)
    mean: np.ndarray = fine.reshape(k, 2, j, 2, i, 2).mean((1, 3, 5))
    return mean


def _spread(coarse: np.ndarray) -> np.ndarray:
    return coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)

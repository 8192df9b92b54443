"""What a model gives back, as one file or as a bundle of several."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from monailabel_app.errors import MedGANError, choices
from monailabel_app.synthetic import Mark
from trainers.data.volumes import Volume, encode_volume
from trainers.marks import altered_header

BUNDLE = ".zip"
ZIPPED = ".nii.gz"
EXTENSIONS = (ZIPPED, ".nrrd", BUNDLE)


@dataclass(frozen=True)
class Part:
    """One volume of a result.

    Attributes:
        name: `label`, `uncertainty`, … kind: `labelmap` or `volume`.
        made: the volume, or what makes it when it is to be written.
        details: what the manifest says of it: `labels` and `colors`, or `units`; of a synthetic one also `synthetic`,
            `sample`, `seed` and `class`; of one that a GAN has altered `altered` and `strength`.
    """

    name: str
    kind: str
    made: Volume | Callable[[], Volume]
    details: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def volume(self) -> Volume:
        """What is to be written."""
        return self.made if isinstance(self.made, Volume) else self.made()


def check_extension(extension: str) -> str:
    """Raises MedGANError `bad_option` for a kind of file that is not offered."""
    if extension not in EXTENSIONS:
        hint = f"Choose one of {choices(EXTENSIONS)}."
        raise MedGANError("bad_option", f"result_extension {str(extension)[:20]!r} is not offered.", hint)
    return extension


def write_result(parts: list[Part], about: dict[str, Any], extension: str, folder: Path, near: bool = False) -> Path:
    """Writes a result.

    Args:
        parts: the volumes; the first is the one that a single file holds.
        about: the answer's params; goes into the bundle's manifest, and model and version into every NRRD header. The
            header of what is synthetic or altered by a GAN has its mark.
        extension: `.nii.gz`, `.nrrd` or `.zip`.
        folder: where to.
        near: whether the client is on this computer: images are not compressed then. Label maps always are, and shrink
            a hundredfold in no time.

    Returns:
        The file, which the caller removes.
    """
    path = folder / f"{uuid.uuid4().hex}{extension}"
    try:
        if extension == BUNDLE:
            _write_bundle(parts, about, path)
        else:
            compress = _is_integer(parts[0].volume) or (extension == ZIPPED and not near)
            encode_volume(path, parts[0].volume, _header(about, parts[0]), compress)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _write_bundle(parts: list[Part], about: dict[str, Any], path: Path) -> None:
    rows = [{"name": p.name, "kind": p.kind, "file": f"{p.name}.nrrd", **p.details} for p in parts]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("manifest.json", json.dumps({"parts": rows, **about}, indent=2))
        for part in parts:
            _add(bundle, part, about, path)


def _add(bundle: zipfile.ZipFile, part: Part, about: dict[str, Any], beside: Path) -> None:
    file = beside.with_name(f"{uuid.uuid4().hex}.nrrd")
    try:
        encode_volume(file, part.volume, _header(about, part), _is_integer(part.volume))
        method = zipfile.ZIP_DEFLATED if _is_mostly_empty(part.volume) else zipfile.ZIP_STORED
        bundle.write(file, f"{part.name}.nrrd", method, compresslevel=1)
    finally:
        file.unlink(missing_ok=True)


def _is_integer(volume: Volume) -> bool:
    return volume.array.dtype.kind in "iu"


def _is_mostly_empty(volume: Volume) -> bool:
    """Zeros deflate in no time; noise takes seconds and does not get smaller."""
    return bool(np.count_nonzero(volume.array) < volume.array.size / 2)


def _header(about: dict[str, Any], part: Part) -> dict[str, str]:
    model, version = str(about["model"]), str(about["version"])
    if part.details.get("synthetic"):
        return Mark(model, version, part.details["seed"], part.details["class"]).header()
    if part.details.get("altered"):
        return altered_header(model, version, part.details["strength"])
    return {"MedGAN.Model": model, "MedGAN.Version": version}

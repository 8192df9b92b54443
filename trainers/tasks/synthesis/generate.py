"""A synthetic data set on the disk: images, labels, and a manifest that says that they are synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainers import __version__
from trainers.data.volumes import write_volume
from trainers.files import atomic_path, atomic_write_json
from trainers.monitor import Monitor
from trainers.spec import ModelSpec, weights_checksum
from trainers.tasks.synthesis.images import to_intensity
from trainers.tasks.synthesis.infer import Synthesizer

MANIFEST = "manifest.json"
NOTE = "Synthetic images made by a generative model. They show no patient. Not for diagnosis."


class NotEmpty(ValueError):
    """A folder that holds something already; generated images would be mixed with it."""


def generate(
    model_dir: Path | str,
    number: int,
    out: Path,
    seed: int = 0,
    target: str | None = None,
    modality: str | None = None,
    monitor: Monitor = Monitor(),
    device: str = "cpu",
) -> dict[str, Any]:
    """Writes `out/images`, `out/labels` if the model makes label maps, and `out/manifest.json`.

    Volumes are `.nii.gz`, pictures are `.png`; the header of each says that it is synthetic. The same seed gives the
    same voxels; image k of a run with seed s is the image that seed s + k gives alone.

    Args:
        model_dir: the model.
        number: of images.
        out: a folder that is empty or not there.
        seed: of the first image.
        target: class name; None draws it.
        modality: the same.
        monitor: hears `progress`; may cancel, which leaves images but no manifest.
        device: as for `trainers.devices.pick_device`.

    Returns:
        The manifest.

    Raises:
        NotEmpty: `out` holds something. ModelNotAvailable: no usable weights. ValueError: an unknown class.
    """
    if out.is_dir() and any(out.iterdir()):
        raise NotEmpty(f"{out} is not empty. Give a new folder.")
    synthesizer = Synthesizer(model_dir, device)
    spec = synthesizer.spec
    rows = []
    for index in range(number):
        monitor.check()
        rows.append(_write(synthesizer, out, seed + index, target, modality))
        monitor.report(progress=(index + 1) / number)
    manifest = {**_about(spec, Path(model_dir)), "seed": seed, "number": number, "images": rows}
    atomic_write_json(out / MANIFEST, manifest)
    return manifest


def _about(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    return {
        "synthetic": True,
        "note": NOTE,
        "model": spec.name,
        "version": spec.version,
        "checksum": weights_checksum(folder),
        "licence": spec.licence,
        "trained_on": spec.data,
        "labels": spec.labels,
        "program": f"MedGAN {__version__}",
    }


def _write(synthesizer: Synthesizer, out: Path, seed: int, target: str | None, modality: str | None) -> dict[str, Any]:
    """One image with its label map; returns its row of the manifest."""
    name = f"synthetic_{seed:06d}"
    row: dict[str, Any] = {"id": name, "seed": seed, "synthetic": True}
    mark = f"SYNTHETIC {synthesizer.spec.name} seed {seed}"
    if synthesizer.spec.dimensions == 2:
        made = synthesizer.make(seed, target, modality=modality)
        row["image"] = f"images/{name}.png"
        _write_picture(out / row["image"], to_intensity(made.image, synthesizer.settings), mark)
        if made.label is not None:
            row["label"] = f"labels/{name}.png"
            _write_picture(out / row["label"], synthesizer.values[made.label][None], mark)
        classes = synthesizer.spec.classes
        return row | ({"class": classes[made.targets[0]]} if classes and made.targets else {})
    (sample,) = synthesizer(1, seed, target, modality=modality)
    row["image"] = f"images/{name}.nii.gz"
    write_volume(out / row["image"], sample.image, {"ITK_FileNotes": mark})
    if sample.label is not None:
        row["label"] = f"labels/{name}.nii.gz"
        write_volume(out / row["label"], sample.label, {"ITK_FileNotes": mark})
    told = {"class": sample.target, "modality": sample.modality}
    return row | {key: value for key, value in told.items() if value is not None}


def _write_picture(path: Path, image: np.ndarray[Any, Any], mark: str) -> None:
    """(channel, x, y) to a grey or RGB picture that says what it is."""
    note = PngInfo()
    note.add_text("Description", mark)
    rows = image.transpose(2, 1, 0).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(rows[..., 0] if rows.shape[-1] == 1 else rows).save(temporary, format="PNG", pnginfo=note)

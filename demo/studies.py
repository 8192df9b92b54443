"""The demo's patients: real ones where MEDGAN_DATA names them, else variations of a real template."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demo.mni import HIPPOCAMPUS, crop, draw_variation, head, vary_image, vary_label
from trainers.data.cases import Case, find_cases
from trainers.data.volumes import Volume, write_volume
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import reference_cases

HEAD = "whole_head"
DATA_VARIABLE = "MEDGAN_DATA"


class TooFewPatients(ValueError):
    """MEDGAN_DATA has not enough patients that the model was not trained on."""


@dataclass(frozen=True)
class DemoStudies:
    """What the demo works on.

    Attributes:
        folder: the server's studies. corrected: labelled studies, as an expert would correct them.
        held_out: labelled cases that the server never has as studies, to measure on before and after.
        head: points (RAS mm) of the hippocampi in the study `whole_head`. origin: a sentence for the report.
    """

    folder: Path
    corrected: list[Case]
    held_out: list[Case]
    origin: str
    head: dict[str, tuple[float, float, float]] = field(default_factory=lambda: dict(HIPPOCAMPUS))


def make_studies(out: Path, model_dir: Path, corrected: int, held_out: int) -> DemoStudies:
    """Makes the demo's studies in `out`.

    Args:
        out: a folder for studies and labels.
        model_dir: the shipped model; tells which real patients it was not trained on.
        corrected: how many studies are corrected and submitted.
        held_out: how many cases are kept to measure on.

    Raises:
        TooFewPatients: MEDGAN_DATA has some patients, but not enough.
    """
    patients = real_patients(model_dir)
    _check_enough(patients, corrected, held_out)
    (out / "studies").mkdir(parents=True, exist_ok=True)
    write_volume(out / "studies" / f"{HEAD}.nii.gz", head(), compress=True)
    if patients:
        return _real(out, patients, corrected, held_out)
    return _varied(out, reference_cases(model_dir), corrected, held_out)


def real_patients(model_dir: Path) -> list[Case]:
    """Hippocampus patients in MEDGAN_DATA that the model was not trained on; none if there are none."""
    root = os.environ.get(DATA_VARIABLE)
    if not root or not (Path(root) / "hippocampus").is_dir():
        return []
    unseen = set(ModelSpec.load(model_dir).training.get("split", {}).get("test", []))
    return [case for case in find_cases(Path(root) / "hippocampus") if case.id in unseen]


def _check_enough(patients: list[Case], corrected: int, held_out: int) -> None:
    if 0 < len(patients) < corrected + held_out:
        raise TooFewPatients(
            f"The demo needs {corrected + held_out} patients that the model was not trained on ({corrected} to "
            f"correct, {held_out} held out); {DATA_VARIABLE} has {len(patients)}. Ask for fewer, or unset "
            f"{DATA_VARIABLE} to use variations of a template."
        )


def _real(out: Path, patients: list[Case], corrected: int, held_out: int) -> DemoStudies:
    for case in patients[:corrected]:
        (out / "studies" / case.image.name).write_bytes(case.image.read_bytes())
    return DemoStudies(
        out / "studies",
        patients[:corrected],
        patients[corrected : corrected + held_out],
        "Real T1 MR of patients that the model was not trained on, with their experts' labels as the corrections.",
    )


def _varied(out: Path, reference: list[Case], corrected: int, held_out: int) -> DemoStudies:
    """Left and right hippocampus of the MNI152 template in other heads and scanners, made from fixed seeds."""
    from trainers.data.volumes import read_label

    cases = []
    for number in range(corrected + held_out):
        side = reference[number % len(reference)]
        label = read_label(side.label)
        image = _around(label)
        folder = out / "studies" if number < corrected else out / "held_out"
        case = Case(f"mni_{number:02}", folder / f"mni_{number:02}.nii.gz", out / "truth" / f"mni_{number:02}.nii.gz")
        random = np.random.default_rng(number)
        change = draw_variation(random, image.shape)
        write_volume(case.image, vary_image(image, change, random), compress=True)
        write_volume(case.label, vary_label(label, change))
        cases.append(case)
    return DemoStudies(
        out / "studies",
        cases[:corrected],
        cases[corrected:],
        "The MNI152 T1 template (an average of 152 real heads) in other shapes and scanners. The corrections are the "
        "model's reference labels of the template, moved with each variation: consistent, but not an expert's.",
    )


def _around(label: Volume) -> Volume:
    """The template on a reference label's grid."""
    middle = (label.affine @ [*(np.array(label.shape) / 2), 1.0])[:3]
    image = crop(head(), tuple(middle), label.shape)  # type: ignore[arg-type]
    return Volume(image.array, label.affine)

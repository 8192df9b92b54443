"""What a label shows, in SNOMED CT as DICOM uses it (PS3.16). What is not in the table is tissue."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

Entry = tuple[str, str]

BODY: dict[str, Entry] = {
    "hippocampus": ("5366008", "Hippocampus"),
    "brain": ("12738006", "Brain"),
    "white matter": ("389080008", "White Matter"),
    "lung": ("39607008", "Lung"),
    "heart": ("80891009", "Heart"),
    "left atrium": ("82471001", "Left atrium"),
    "aorta": ("15825003", "Aorta"),
    "chest": ("51185008", "Thorax"),
    "liver": ("10200004", "Liver"),
    "spleen": ("78961009", "Spleen"),
    "pancreas": ("15776009", "Pancreas"),
    "kidney": ("64033007", "Kidney"),
    "stomach": ("69695003", "Stomach"),
    "colon": ("71854001", "Colon"),
    "bladder": ("89837001", "Bladder"),
    "prostate": ("41216001", "Prostate"),
    "bone": ("272673000", "Bone"),
    "optic disc": ("81016008", "Optic nerve head"),
}
ABNORMAL: dict[str, Entry] = {
    "anomaly": ("49755003", "Morphologically Abnormal Structure"),
    "lesion": ("52988006", "Lesion"),
    "nodule": ("27925004", "Nodule"),
    "tumour": ("108369006", "Neoplasm"),
    "tumor": ("108369006", "Neoplasm"),
    "edema": ("79654002", "Edema"),
    "oedema": ("79654002", "Edema"),
    "necrosis": ("6574001", "Necrosis"),
}
MODIFIERS: dict[str, Entry] = {
    "anterior": ("255549009", "Anterior"),
    "posterior": ("255551008", "Posterior"),
    "left": ("7771000", "Left"),
    "right": ("24028007", "Right"),
}
TISSUE = Code("85756007", "SCT", "Tissue")
ANATOMICAL = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")


@dataclass(frozen=True)
class Anatomy:
    """Codes of a segment: its category, its type, perhaps the part of that, and where it lies."""

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None


def anatomy(label: str, body_part: str) -> Anatomy:
    """The codes for a label's name in a model of a body part.

    Args:
        label: e.g. `hippocampus`, `left lung`, `anterior`, `anomaly`.
        body_part: as in the model's spec; may be empty.
    """
    name, part = _plain(label), _look_up(BODY, _plain(body_part))
    first, _, rest = name.partition(" ")
    modifier = _look_up(MODIFIERS, first)
    if abnormal := _look_up(ABNORMAL, name):
        return Anatomy(ABNORMAL_STRUCTURE, abnormal, region=part)
    if body := _look_up(BODY, name):
        return Anatomy(ANATOMICAL, body)
    body = _look_up(BODY, rest) if rest else part
    if modifier and body:
        return Anatomy(ANATOMICAL, body, modifier)
    return Anatomy(ANATOMICAL, TISSUE, region=part)


def coded(code: Code) -> Dataset:
    """A code as an item of a DICOM sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _look_up(table: dict[str, Entry], name: str) -> Code | None:
    """The code of a name, or of its singular."""
    entry = table.get(name) or table.get(name.removesuffix("s"))
    return Code(entry[0], "SCT", entry[1]) if entry else None

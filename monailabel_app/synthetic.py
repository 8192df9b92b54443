"""The mark of a synthetic image, in a file's header and in what is known of a study: it cannot pass for acquired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monailabel_app.errors import MedGANError
from monailabel_app.names import check_new
from monailabel_app.options import check
from trainers.data.volumes import NOTES, NOTES_LENGTH, VolumeError, read_metadata
from trainers.marks import ALTERED

KEY = "synthetic"  # in a study's info, and in the params of an upload
FIELD = "MedGAN.Synthetic"
NO = ("", "false", "no", "0")
LARGEST_SEED = 2**31 - 1
LONGEST = 128
_NOTE = re.compile(r"MedGAN synthetic(?:: (\S+) (\S+) seed (\d+)(?: (.+))?)?")
_ALTERED_NOTE = re.compile(r"MedGAN altered(?:: (\S+) (\S+) strength)?")  # a long name may be cut off
DETAILS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
        "class": {"type": "string"},
    },
}


@dataclass(frozen=True)
class Mark:
    """Where a synthetic image comes from.

    Attributes:
        model, version: what made it; empty if it is not known. seed: it is made again with. target: its class.
    """

    model: str = ""
    version: str = ""
    seed: int | None = None
    target: str | None = None

    def info(self) -> dict[str, Any]:
        """The mark as it stands in a study's info."""
        return {"model": self.model, "version": self.version, "seed": self.seed, "class": self.target}

    def header(self) -> dict[str, str]:
        """Text fields for the header of an image file; NIfTI keeps the note alone."""
        told = {"Model": self.model, "Version": self.version, "Seed": _text(self.seed), "Class": _text(self.target)}
        return {FIELD: "true", **{f"MedGAN.{key}": text for key, text in told.items() if text}, NOTES: self.note()}

    def note(self) -> str:
        """`MedGAN synthetic: lung_nodule v0001 seed 5 malignant`."""
        if not self.model or self.seed is None:
            return "MedGAN synthetic"
        return f"MedGAN synthetic: {self.model} {self.version or '-'} seed {self.seed} {_text(self.target)}".strip()


def mark_of(path: Path) -> Mark | None:
    """The mark in an image file's header; None if it has none, or is no image.

    An image that a GAN has altered counts as synthetic: what it shows may be invented.
    """
    try:
        fields = {key: _clean(text) for key, text in read_metadata(path).items()}
    except VolumeError:
        return None
    if fields.get(FIELD, "").strip().lower() not in NO:
        seed = fields.get("MedGAN.Seed", "")
        model, version = fields.get("MedGAN.Model", ""), fields.get("MedGAN.Version", "")
        return Mark(model, version, _seed(seed), fields.get("MedGAN.Class") or None)
    if fields.get(ALTERED, "").strip().lower() not in NO:
        return Mark(fields.get("MedGAN.Model", ""), fields.get("MedGAN.Version", ""))
    return _from_note(fields.get(NOTES, ""))


def mark_info(path: Path) -> dict[str, Any]:
    """What an image file's header adds to what is known of its study."""
    mark = mark_of(path)
    return {} if mark is None else {KEY: mark.info()}


def mark_told(params: Mapping[str, Any]) -> Mark | None:
    """The mark that a client sends with an image, perhaps without all details; None if it says nothing or `false`.

    Raises:
        MedGANError: `bad_option` or `bad_name` for one that cannot be one.
    """
    value = params.get(KEY)
    if value is None or value is False:
        return None
    if not isinstance(value, dict):
        hint = "Send {'model', 'version', 'seed', 'class'} as they are in the result."
        raise MedGANError("bad_option", f"{KEY!r} must be an object, not {str(value)[:60]!r}.", hint)
    told = {key: value[key] for key in DETAILS["properties"] if value.get(key) not in (None, "")}
    check(told, DETAILS, KEY)
    model, version = (check_new(key, told[key]) if key in told else "" for key in ("model", "version"))
    return Mark(model, version, told.get("seed"), _clean(told.get("class", "")) or None)


def _from_note(note: str) -> Mark | None:
    """The mark in the note that NIfTI keeps; one that was cut off may have lost the end of its class."""
    if altered := _ALTERED_NOTE.match(note):
        return Mark(altered[1] or "", altered[2] or "")
    found = _NOTE.match(note)
    if not found:
        return None
    model, version, seed, target = found.groups()
    whole = len(note) < NOTES_LENGTH
    return Mark(model or "", version or "", _seed(seed or ""), target if whole else None)


def _seed(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _clean(text: str) -> str:
    """Text that a header, a log and JSON can carry."""
    return "".join(c for c in text.encode("ascii", "replace").decode()[:LONGEST] if c.isprintable()).strip()

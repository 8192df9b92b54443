"""The mark, in a file's header, of an acquired image to which a GAN added something: it is no evidence of a patient."""

from __future__ import annotations

from trainers.data.volumes import NOTES

ALTERED = "MedGAN.Altered"


def altered_header(model: str, version: str, strength: float) -> dict[str, str]:
    """Text fields for the header of an image that a GAN has altered; NIfTI keeps the note alone."""
    note = f"MedGAN altered: {model} {version} strength {strength:g}"
    return {ALTERED: "true", "MedGAN.Model": model, "MedGAN.Version": version, NOTES: note}

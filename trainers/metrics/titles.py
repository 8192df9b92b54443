"""What the figures of a model are called, for people: one table, and nothing for a name that is not in it."""

from __future__ import annotations

import re
from typing import Any

from trainers.spec import ModelSpec

TITLES = {
    "auroc": "AUROC",
    "auprc": "Area under precision and recall",
    "sensitivity_at_95_specificity": "Sensitivity at 95 % specificity",
    "lesion_auroc": "AUROC, voxels of simulated lesions",
    "lesion_best_dice": "Dice of simulated lesions, at the best threshold",
    "lesion_calibrated_dice": "Dice of simulated lesions, at the calibrated threshold",
    "dice_gained_by_3_clicks": "Dice gained by 3 clicks",
    "expected_dice_correlation": "Correlation of expected and true Dice",
    "kid": "KID",
    "fid": "FID",
    "mmd": "MMD",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "ms_ssim": "MS-SSIM between samples",
    "membership_auroc_features": "Membership attack by features, AUROC",
    "membership_auroc_grey_values": "Membership attack by grey values, AUROC",
    "memorisation_ratio_features": "Memorisation ratio by features",
    "memorisation_ratio_grey_values": "Memorisation ratio by grey values",
}
RECONSTRUCTION = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "mae": "Mean absolute error",
    "texture": "Texture",
    "contradiction": "Contradiction of the measurement",
    "doubt_correlation": "Correlation of uncertainty and error",
}
FUSION = {
    "EN": "Entropy",
    "SD": "Standard deviation",
    "MI": "Mutual information",
    "VIF": "VIF",
    "Qabf": "Qabf",
    "SSIM": "SSIM",
}
WEIGHTS = {"l1": "safe image", "safe": "safe image", "gan": "GAN strength 1"}
TIMES = {
    ("super_resolution", "2"): "twice as fine",
    ("super_resolution", "4"): "four times as fine",
    ("undersampling", "2"): "twice as fast",
    ("undersampling", "4"): "four times as fast",
    ("undersampling", "8"): "eight times as fast",
}
"""By the measurement that a model undoes, and how much of it."""
UNITS = {"psnr": "dB", "hd95_mm": "mm"}
OVERLAP = {"dice": "Dice", "hd95_mm": "HD95"}
_RECONSTRUCTION = re.compile(rf"({'|'.join(RECONSTRUCTION)})_(l1|gan)(?:_(\d+)x)?")
_FUSION = re.compile(rf"({'|'.join(FUSION)})_(safe|gan)_(\w+)")
_OVERLAP = re.compile(rf"({'|'.join(OVERLAP)})_(\w+)")


def titled(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    """A model's metrics, each with `title` and, if it has one, `unit`; those that the table does not know without."""
    return {name: {**entry, **title_of(name, spec)} for name, entry in spec.metrics.items()}


def title_of(name: str, spec: ModelSpec) -> dict[str, str]:
    """`{"title": "PSNR, twice as fine, safe image", "unit": "dB"}`; empty for a name that is not known."""
    if name in TITLES:
        return _told(TITLES[name], name)
    if found := _RECONSTRUCTION.fullmatch(name):
        return _reconstruction(found[1], found[2], found[3], spec)
    if found := _FUSION.fullmatch(name):
        return _told(f"{FUSION[found[1]]}, {found[3].replace('_', ' ')}, {WEIGHTS[found[2]]}", found[1])
    found = _OVERLAP.fullmatch(name)
    if found and found[2] in ("mean", *spec.labels):
        return _told(OVERLAP[found[1]] + ("" if found[2] == "mean" else f", {found[2]}"), found[1])
    return {}


def _reconstruction(figure: str, weights: str, times: str | None, spec: ModelSpec) -> dict[str, str]:
    how = TIMES.get((str(spec.preprocess.get("measurement")), times)) if times else ""
    if how is None:
        return {}
    return _told(", ".join(word for word in (RECONSTRUCTION[figure], how, WEIGHTS[weights]) if word), figure)


def _told(title: str, figure: str) -> dict[str, str]:
    return {"title": title, **({"unit": UNITS[figure]} if figure in UNITS else {})}

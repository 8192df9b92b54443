"""What a model says of each study, kept with the study: its index entry has it under `medgan_scores`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from monailabel_app.datastore import StudyDatastore
from monailabel_app.index import Stamp
from trainers.tasks.segmentation import Segmentation
from trainers.tasks.segmentation.choosing import Pool, Seen
from trainers.tasks.segmentation.quality import entropies

SCORES = "medgan_scores"
UNREADABLE = "unreadable"  # in the scores: the stamp of a file whose voxels cannot be read
HIGHEST = math.log(256)  # nats; no map of uint8 labels can be less certain
QUALITY = ("expected_dice", "low", "high", "light")
DIGITS = 4


def mark(model: str, version: str) -> dict[str, str]:
    """Who said it."""
    return {"model": model, "version": version}


def info_of(found: Segmentation | None, labels: list[str], model: str, version: str) -> dict[str, Any]:
    """The entry for what a model found in a study; for None, a study that it could not look at, hardly anything.

    `uncertainty` is the mean entropy of what got a label, nats, or HIGHEST if nothing did: a study in which a model
    finds nothing is worth a look.
    """
    who = {**mark(model, version), "uncertainty": None}
    if found is None:
        return {SCORES: who}
    seen = [find for find in found.finds if find.foreground.any()]
    if not seen:
        return {SCORES: {**who, "uncertainty": HIGHEST, "found": False}}
    if found.quality is not None:
        signs = asdict(found.quality.signs)
        told = {key: value for key, value in found.quality.as_dict().items() if key in QUALITY}
    else:
        means = [entropies(find, labels) for find in seen]
        by_label = {n: _mean([m[1][n] for m in means if n in m[1]]) for n in labels if any(n in m[1] for m in means)}
        signs, told = {"entropy": _mean([m[0] for m in means]), "by_label": by_label}, {}
    entropy = signs.pop("entropy")
    signs.pop("guess", None)
    return {SCORES: {**who, "uncertainty": round(entropy, DIGITS), "found": True, **signs, **told}}


def unreadable(model: str, version: str, stamp: Stamp) -> dict[str, Any]:
    """The entry for a study whose file, the one with this stamp, cannot be read."""
    return {SCORES: {**mark(model, version), "uncertainty": None, UNREADABLE: list(stamp)}}


def is_unreadable(info: Mapping[str, Any], stamp: Stamp) -> bool:
    """Whether that was found of the file which is there now."""
    return (scores_of(info) or {}).get(UNREADABLE) == list(stamp)


def scores_of(info: Mapping[str, Any], model: str = "", version: str = "") -> dict[str, Any] | None:
    """The entry in what is known of a study; None if there is none, or it is not of that model and version."""
    known = info.get(SCORES)
    if not isinstance(known, Mapping) or (model and known.get("model") != model):
        return None
    return None if version and known.get("version") != version else dict(known)


def seen_in(info: Mapping[str, Any], model: str = "") -> Seen | None:
    """An entry as strategies take it; None for a study that the model did not, or could not, look at."""
    known = scores_of(info, model)
    if known is None or known.get("uncertainty") is None:
        return None
    return Seen(
        entropy=float(known["uncertainty"]),
        by_label=known.get("by_label") or {},
        realism=known.get("realism"),
        expected_dice=known.get("expected_dice"),
        features=known.get("features") or (),
        found=bool(known.get("found", True)),
    )


def pool_of(datastore: StudyDatastore, waiting: list[str], model: str, labels: list[str]) -> Pool:
    """What a strategy chooses from: the waiting studies, and beside them all other acquired ones."""
    made = set(datastore.synthetic_images())
    known = {name: seen_in(datastore.get_image_info(name), model) for name in datastore.list_images()}
    others = {name: seen for name, seen in known.items() if name not in waiting and name not in made}
    return Pool({name: known[name] for name in waiting}, others, labels)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

"""Which study to label next, and which predictions to review first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from monailabel_app.activelearning.scores import QUALITY, scores_of
from monailabel_app.activelearning.strategies import reserved
from monailabel_app.errors import MedGANError
from monailabel_app.routes.params import check_json
from monailabel_app.services import Served, Services, pick

router = APIRouter(tags=["studies"])


@router.post("/activelearning/{strategy}")
def next_sample(s: Served, strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
    """The next study, with the reason why; it is kept from other clients for some minutes."""
    check_json(params, "body")
    choose = pick(s.app.strategies, strategy, "unknown_strategy", "strategy")
    with s.datastore.transaction():
        chosen = choose({**(params or {}), "strategy": strategy}, s.datastore)
        if not chosen:
            hint = "All are labelled, or the rest are with others now; ask again in some minutes."
            raise MedGANError("nothing_to_label", "There is no study to label.", hint)
    name = chosen["id"]
    checksum = s.datastore.checksum(name)
    info = s.datastore.get_image_info(name)
    known = scores_of(info) or {}
    medgan = {
        "strategy": strategy,
        "reason": chosen["reason"],
        "version": known.get("version", ""),
        **{key: known.get(key) for key in QUALITY},
    }
    return {**info, "id": name, "name": s.datastore.image_path(name).name, "checksum": checksum, "medgan": medgan}


@router.get("/review/{model}")
def review(s: Served, model: str, client_id: str = "") -> dict[str, Any]:
    """Acquired studies without a final label, the worst expected Dice first; those without a score come last."""
    s.model(model)
    version, infos = s.registry.current(model).name, s.datastore.acquired()
    labelled = set(s.datastore.get_labeled_images())
    waiting = {name: info for name, info in infos.items() if name not in labelled}
    studies = [_reviewed(s, name, info, model, version, client_id) for name, info in waiting.items()]
    studies.sort(key=lambda study: (study["expected_dice"] is None, study["expected_dice"] or 0.0, study["id"]))
    scored = sum(study["version"] == version for study in studies)
    counts = {"scored": scored, "waiting": len(studies) - scored}
    return {"model": model, "version": version, **counts, "studies": studies}


def _reviewed(s: Services, name: str, info: dict[str, Any], model: str, version: str, client: str) -> dict[str, Any]:
    known = scores_of(info, model) or {}
    said = str(known.get("version", ""))
    held = reserved(info, client, 60 * s.config.reservation_minutes)
    figures = {key: known.get(key) for key in QUALITY}
    return {"id": name, **figures, "version": said, "stale": bool(said) and said != version, "reserved": held}

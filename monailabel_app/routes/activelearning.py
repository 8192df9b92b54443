"""Which study to label next."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from monailabel_app.errors import MedGANError
from monailabel_app.routes.params import check_json
from monailabel_app.services import Served, pick

router = APIRouter(prefix="/activelearning", tags=["studies"])


@router.post("/{strategy}")
def next_sample(s: Served, strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
    """The next study; it is kept from other clients for some minutes."""
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
    return {**info, "id": name, "name": s.datastore.image_path(name).name, "checksum": checksum}

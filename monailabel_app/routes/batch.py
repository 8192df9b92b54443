"""Labels for many studies at once, made by a model in a process of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body

from monailabel_app.errors import MedGANError
from monailabel_app.names import check_new
from monailabel_app.routes import tasks
from monailabel_app.services import Served
from monailabel_app.users import Caller

router = APIRouter(prefix="/batch/infer", tags=["inference"])
METHOD = "batch_infer"


@router.post("/{model}")
def start(
    s: Served,
    user: Caller,
    model: str,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    params: Annotated[dict[str, Any] | None, Body()] = None,
) -> dict[str, Any]:
    """Starts; the labels are stored under `label_tag`, by default `original`."""
    task = s.model(model)
    if "image" not in task.reads:
        hint = f"Use POST /infer/{model}, then PUT /datastore/image for the images to keep."
        raise MedGANError("bad_request", f"{model} makes images of its own; a batch labels those of the studies.", hint)
    if len(task.reads) > 1:
        hint = f"Use POST /infer/{model} for each pair of them."
        raise MedGANError("bad_request", f"{model} needs {len(task.reads)} images; a batch gives it one.", hint)
    if task.output == "volume":
        hint = f"Use POST /infer/{model} for each of them."
        raise MedGANError("bad_request", f"{model} makes images; a batch stores labels.", hint)
    options, _ = task.options(params or {})
    tag = check_new("label tag", str((params or {}).get("label_tag") or "original"))
    if tag == "final":
        raise MedGANError(
            "bad_option", "Labels made by a model cannot be stored as final.", "Choose another label_tag."
        )
    workers = {"max_workers": 1, "multi_gpu": False, "device": "cpu"}
    return tasks.start(s, user, METHOD, {"model": model, "images": images, "label_tag": tag, **workers, **options})


@router.get("")
def status(s: Served, check_if_running: bool = False) -> dict[str, Any]:
    """The last batch."""
    return tasks.status(s, METHOD, check_if_running, "unknown_job")


@router.delete("")
def stop(s: Served, user: Caller) -> dict[str, Any]:
    """Stops the batch that runs; labels already stored stay."""
    return tasks.stop(s, user, METHOD, "unknown_job")

"""What a reconstruction model gave, into the scene and out of it again. Main thread only."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from .errors import CannotProcess, MedGANError
from .marks import ALTERED_PREFIX, mark_reconstruction, save_with_marks
from .reconstructions import AS_INPUT, Reconstruction, consistency_of
from .records import InferResult, ModelInfo, ResultPart
from .scene import Scene
from .volumes import SYNTHETIC, is_synthetic, load_volume, voxels

IMAGE, UNCERTAINTY = "image", "uncertainty"
WARM = "vtkMRMLColorTableNodeWarm1"
"""Slicer's own colours from yellow (little) to red (much)."""
LOOKED_AT = 500_000
"""Voxels that are looked at, at most, to find the usual size of the uncertainty."""


def place_reconstruction(
    result: InferResult, model: ModelInfo, inputs: Mapping[str, Any], scene: Scene
) -> Reconstruction:
    """Put all parts of a result into the scene, or none of them.

    Args:
        result: What the server gave.
        model: The model.
        inputs: Input's name -> volume node that was sent; empty when it was made of k-space.
        scene: Where to.

    Raises:
        MedGANError: There is no image, or a part cannot be read; the scene is as before.
    """
    parts = {part.name: part for part in result.parts if part.kind == "volume"}
    if IMAGE not in parts:
        raise CannotProcess("The model gave no image.", "Try other options; if it stays, tell the administrator.")
    nodes: Dict[str, Any] = {}
    try:
        for name, part in parts.items():
            nodes[name] = _place(part, result, model, inputs, scene)
    except MedGANError:
        remove_nodes(list(nodes.values()), scene)
        raise
    if inputs:
        _match_brightness(nodes[IMAGE], parts[IMAGE], next(iter(inputs.values())))
    return _record(result, model, inputs, parts, nodes)


def remove_reconstruction(reconstruction: Reconstruction, scene: Scene) -> None:
    """Take all that came with a reconstruction out of the scene; what it was made of stays."""
    remove_nodes([scene.node(node_id) for node_id in reconstruction.made], scene)


def _place(part: ResultPart, result: InferResult, model: ModelInfo, inputs: Mapping[str, Any], scene: Scene) -> Any:
    altered = _is_altered(part, inputs)
    node = load_volume(part.path, _name(part, altered, result, model, inputs), scene)
    if altered or part.name in (IMAGE, UNCERTAINTY):
        mark_reconstruction(node, model.name, result.version, altered, part.strength)
        save_with_marks(node)
    if part.name == UNCERTAINTY:
        node.SetAttribute(SYNTHETIC, "true")  # it is no image of a patient
        _color(node)
    return node


def _name(part: ResultPart, altered: bool, result: InferResult, model: ModelInfo, inputs: Mapping[str, Any]) -> str:
    """Return `ALTERED – T1 – MR super-resolution v0001`, with the part's name behind when it is not the image.

    What was made of k-space is named after the model alone: the file's name may be a patient's.
    """
    first = next((volume.GetName() for volume in inputs.values()), "K-space")
    by = " ".join(word for word in (model.title, result.version) if word)
    what = {IMAGE: "", UNCERTAINTY: ", uncertainty"}.get(part.name, f", {part.name.upper()}")
    return f"{ALTERED_PREFIX if altered else ''}{first} – {by}{what}"


def _is_altered(part: ResultPart, inputs: Mapping[str, Any]) -> bool:
    """Whether a part shows what was not measured: what is made of a synthetic image does so too."""
    inherited = part.name != UNCERTAINTY and any(is_synthetic(volume) for volume in inputs.values())
    return part.altered or inherited


def _color(node: Any) -> None:
    """Show an uncertainty in warm colours; where there is little of it nothing is drawn over the image below."""
    display, (usual, _) = node.GetDisplayNode(), sizes(node)
    display.SetAndObserveColorNodeID(WARM)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, usual or 1.0)
    display.SetInterpolate(False)


def sizes(node: Any) -> Tuple[float, float]:
    """Return what 99 of 100 voxels of an uncertainty are below, and the largest one."""
    array = voxels(node)
    step = max(1, round((array.size / LOOKED_AT) ** (1 / 3)))
    return float(np.percentile(array[::step, ::step, ::step], 99)), float(array.max())


def _match_brightness(image: Any, part: ResultPart, first: Any) -> None:
    """Show the image as bright as what it was made of, if both have the same units, so that they can be compared."""
    source, display = first.GetDisplayNode(), image.GetDisplayNode()
    if source and display and part.units == AS_INPUT:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(source.GetWindow(), source.GetLevel())


def _record(
    result: InferResult,
    model: ModelInfo,
    inputs: Mapping[str, Any],
    parts: Mapping[str, ResultPart],
    nodes: Mapping[str, Any],
) -> Reconstruction:
    doubt = nodes.get(UNCERTAINTY)
    usual, largest = sizes(doubt) if doubt else (0.0, 0.0)
    return Reconstruction(
        model=model,
        version=result.version,
        inputs={name: volume.GetID() for name, volume in inputs.items()},
        image=nodes[IMAGE].GetID(),
        uncertainty=doubt.GetID() if doubt else "",
        beside={name: node.GetID() for name, node in nodes.items() if name not in (IMAGE, UNCERTAINTY)},
        altered=_is_altered(parts[IMAGE], inputs),
        consistency=consistency_of(result.params),
        units=parts[IMAGE].units or AS_INPUT,
        largest=largest,
        usual=usual,
        warnings=result.warnings,
    )


def remove_nodes(nodes: List[Any], scene: Scene) -> None:
    """Take nodes out of the scene, with their displays and storage; those that are gone already are ignored."""
    for node in nodes:
        if not scene.has(node):
            continue
        helpers = (node.GetDisplayNode(), node.GetStorageNode())
        scene.remove(node)
        for helper in helpers:
            scene.remove(helper)

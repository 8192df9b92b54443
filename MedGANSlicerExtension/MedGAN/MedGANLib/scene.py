"""The MRML scene and the logics, inside the Slicer application or on slicer-core alone."""

from __future__ import annotations

from typing import Any


class Scene:
    """A thin hold on a `vtkMRMLScene`; everything that differs between application and bare library is here."""

    def __init__(self, mrml: Any = None) -> None:
        """Use `mrml`, or the application's `slicer.mrmlScene`; raises `SceneProblem` when there is neither."""
        raise NotImplementedError

    def add(self, class_name: str, name: str) -> Any:
        """Add a node of a class with display nodes where it has them; return it."""
        raise NotImplementedError

    def remove(self, node: Any) -> None:
        """Remove a node; None and foreign nodes are ignored."""
        raise NotImplementedError

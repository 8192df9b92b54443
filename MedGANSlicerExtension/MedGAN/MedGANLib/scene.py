"""The MRML scene, inside the Slicer application or on slicer-core alone."""

from __future__ import annotations

from typing import Any, Callable

import slicer

from .errors import SceneProblem


class Scene:
    """A thin hold on a `vtkMRMLScene`; what differs between application and bare library is here."""

    def __init__(self, mrml: Any = None) -> None:
        """Use `mrml`, or the application's `slicer.mrmlScene`; raises `SceneProblem` when there is neither."""
        self.mrml: Any = mrml if mrml is not None else getattr(slicer, "mrmlScene", None)
        if self.mrml is None:
            raise SceneProblem("There is no scene.", "Outside the Slicer application, give a vtkMRMLScene.")

    def add(self, class_name: str, name: str) -> Any:
        """Add a node of a class under a name that no other node has, with its display nodes; return it."""
        node = self.mrml.AddNewNodeByClass(class_name, self.mrml.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
        return node

    def has(self, node: Any) -> bool:
        """Whether a node is in the scene."""
        return node is not None and node.GetScene() is self.mrml

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the scene has been closed; return a function that ends that."""
        tag = self.mrml.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda caller, event: callback())
        return lambda: self.mrml.RemoveObserver(tag)

    def node(self, node_id: str) -> Any:
        """Return the node with an ID, or None when it is not there any more."""
        return self.mrml.GetNodeByID(node_id) if node_id else None

    def remove(self, node: Any) -> None:
        """Remove a node; None and foreign nodes are ignored."""
        if self.has(node):
            self.mrml.RemoveNode(node)

    def nodes(self, class_name: str) -> list[Any]:
        """Return the nodes of a class and its descendants, in the scene's order."""
        count = self.mrml.GetNumberOfNodesByClass(class_name)
        return [self.mrml.GetNthNodeByClass(index, class_name) for index in range(count)]

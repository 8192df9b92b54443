"""The row of the option that takes a shape: a segmentation, and the segment that stands for each label."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

import qt
import slicer

from ..segments import LabelTable, segment_ids, segment_of
from ..shapes import matching_segments

NONE = "not in the shape"
INDENT = 12
"""Pixels by which the labels' rows stand in."""


class ShapeField:
    """A combo box for a segmentation and, once one is chosen, a combo box of its segments for each label."""

    place = "labelmap"

    def __init__(self, name: str, schema: Mapping[str, Any], saved: Any) -> None:
        self.caption = ""  # it is long, so it stands above and not beside
        self._table = LabelTable({})
        self._listed: Tuple[Tuple[str, str], ...] = ()
        self.boxes: Dict[str, Any] = {}
        self.widget = qt.QWidget()
        self.widget.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Preferred)
        self._layout = qt.QVBoxLayout(self.widget)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self._layout.addWidget(qt.QLabel(str(schema.get("title", name))))
        self.selector = self._make_selector()
        self._layout.addWidget(self.selector)
        self._rows: Any = None
        self.selector.connect("currentNodeChanged(vtkMRMLNode*)", self._chosen)

    @staticmethod
    def _make_selector() -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLSegmentationNode"]
        selector.noneEnabled = True
        selector.addEnabled = selector.removeEnabled = False
        selector.noneDisplay = "none: the model makes up the shape"
        selector.setMRMLScene(slicer.mrmlScene)
        return selector

    def set_table(self, table: LabelTable) -> None:
        """Tells which labels the model has."""
        self._table = table
        self.refresh()

    def value(self) -> Any:
        """Returns the segmentation node, or None."""
        return self.selector.currentNode()

    def segments(self) -> Dict[str, str]:
        """Returns label name -> ID of the segment that is its shape; labels without one are absent."""
        chosen = {name: box.itemData(box.currentIndex) for name, box in self.boxes.items()}
        return {name: str(segment_id) for name, segment_id in chosen.items() if segment_id}

    def clear(self) -> None:
        """Lets go of the node; it stays in the scene."""
        self.selector.setCurrentNode(None)

    def refresh(self) -> None:
        """Lists the segments that there are now; what was chosen stays chosen."""
        node = self.value()
        ids: List[str] = segment_ids(node) if node else []
        listed = tuple((segment_id, segment_of(node, segment_id).GetName()) for segment_id in ids)
        if listed != self._listed or (node is not None and set(self.boxes) != set(self._table.values)):
            self._listed = listed
            self._fill(node, {**matching_segments(node, self._table), **self.segments()})

    def _chosen(self, node: Any) -> None:
        self._listed = ()
        self.boxes = {}
        self._fill(None, {})
        self.refresh()

    def _fill(self, node: Optional[Any], chosen: Mapping[str, str]) -> None:
        if self._rows is not None:
            self._layout.removeWidget(self._rows)
            self._rows.hide()
            self._rows.deleteLater()
        self._rows, self.boxes = None, {}
        if node is None:
            return
        self._rows = qt.QWidget()
        layout = qt.QFormLayout(self._rows)
        layout.setContentsMargins(INDENT, 0, 0, 0)
        layout.setSpacing(4)
        layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        for name in self._table.values:
            self.boxes[name] = self._make_box(chosen.get(name, ""))
            layout.addRow(qt.QLabel(name.replace("_", " ")), self.boxes[name])
        self._layout.addWidget(self._rows)

    def _make_box(self, chosen: str) -> Any:
        box = qt.QComboBox()
        box.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        box.toolTip = "The segment that the model fills"
        box.addItem(NONE, "")
        for segment_id, name in self._listed:
            box.addItem(name, segment_id)
        box.currentIndex = max(0, box.findData(chosen)) if chosen else 0
        return box

"""The form of a model's options, drawn from the server's JSON Schema: a new model needs no new client."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

import qt

from . import fields


class OptionsForm:
    """One row for each option."""

    def __init__(self, frame: Any) -> None:
        self._frame_layout = qt.QVBoxLayout(frame)
        self._frame_layout.setContentsMargins(0, 0, 0, 0)
        self._rows, self._layout = self._make_rows()
        self._fields: Dict[str, Any] = {}

    def _make_rows(self) -> Tuple[Any, Any]:
        rows = qt.QWidget()
        layout = qt.QFormLayout(rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        self._frame_layout.addWidget(rows)
        return rows, layout

    @property
    def fields(self) -> Mapping[str, Any]:
        """The rows by the option's name."""
        return self._fields

    def draw(self, schema: Mapping[str, Mapping[str, Any]], saved: Mapping[str, Any]) -> None:
        """Draws the options anew.

        Args:
            schema: The properties of the model's JSON Schema.
            saved: Values of an earlier run, to start from.
        """
        self._frame_layout.removeWidget(self._rows)
        self._rows.hide()
        self._rows.deleteLater()
        self._rows, self._layout = self._make_rows()
        self._fields = {}
        for name, entry in schema.items():
            field = fields.make_field(name, entry, saved.get(name))
            if field is not None:
                self._fields[name] = field
                self._add(field, entry)

    def _add(self, field: Any, entry: Mapping[str, Any]) -> None:
        field.widget.toolTip = str(entry.get("description", ""))
        if field.caption:
            caption = qt.QLabel(field.caption)
            caption.toolTip = field.widget.toolTip
            caption.setBuddy(field.widget)
            self._layout.addRow(caption, field.widget)
        else:
            self._layout.addRow(field.widget)

    def values(self) -> Dict[str, Any]:
        """Returns the options that the user set or left at a default; places (points, region) are not among them."""
        values = {name: field.value() for name, field in self._fields.items() if not field.place}
        return {name: value for name, value in values.items() if value is not None}

    def node(self, place: str) -> Any:
        """Returns the node of the first option marked `points` or `roi`, or None."""
        nodes: List[Any] = [f.value() for f in self._fields.values() if f.place == place]
        return next((n for n in nodes if n is not None), None)

    def shape(self) -> Optional[Any]:
        """Returns the row of the option marked `labelmap`, or None."""
        return next((f for f in self._fields.values() if f.place == "labelmap"), None)

    def forget_places(self) -> None:
        """Lets go of points and regions, which belong to one study only."""
        for field in self._fields.values():
            if field.place:
                field.clear()

    def field(self, name: str) -> Optional[Any]:
        """Returns the row of an option, or None."""
        return self._fields.get(name)

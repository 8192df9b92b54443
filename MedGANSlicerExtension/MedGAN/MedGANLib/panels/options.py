"""The form of a model's options, drawn from the server's JSON Schema: a new model needs no new client."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import qt

from . import fields


class OptionsForm:
    """One row for each option."""

    def __init__(self, frame: Any) -> None:
        self._layout = qt.QFormLayout(frame)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(6)
        self._layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        self._fields: Dict[str, Any] = {}

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
        while self._layout.rowCount() > 0:
            self._layout.removeRow(0)
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

    def forget_places(self) -> None:
        """Lets go of points and regions, which belong to one study only."""
        for field in self._fields.values():
            if field.place:
                field.clear()

    def field(self, name: str) -> Optional[Any]:
        """Returns the row of an option, or None."""
        return self._fields.get(name)

"""Who submitted, restored or removed a study's label, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple


@dataclass(frozen=True)
class LabelEntry:
    """One change of a label; `action` is `submitted`, `restored` or `removed`; `origin` is what was restored.

    `version` is the model's whose answer was corrected; empty when nobody told.
    """

    number: int
    author: str = ""
    time: str = ""
    action: str = ""
    model: str = ""
    version: str = ""
    origin: Optional[int] = None
    current: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> LabelEntry:
        """Read one of `entries`."""
        origin = entry.get("from")
        texts = {key: str(entry.get(key) or "") for key in ("author", "time", "action", "model", "version")}
        return cls(
            number=int(entry["number"]),
            origin=None if origin is None else int(origin),
            current=bool(entry.get("current")),
            **texts,
        )


@dataclass(frozen=True)
class LabelHistory:
    """All changes of the label of a study, the oldest first, and the number of the one that counts; None for none."""

    label: str
    entries: Tuple[LabelEntry, ...] = ()
    current: Optional[int] = None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> LabelHistory:
        """Read the answer of `/datastore/label/history`, `/undo` or `/restore`."""
        entries = tuple(LabelEntry.from_json(entry) for entry in answer.get("entries") or ())
        marked = next((entry.number for entry in entries if entry.current), None)
        current = answer.get("current", marked)
        return cls(str(answer.get("label") or ""), entries, None if current is None else int(current))

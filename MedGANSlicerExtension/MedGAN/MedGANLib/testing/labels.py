"""The history of labels, as the test server keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from .refusal import Refusal


@dataclass
class Change:
    """One entry: what the label was afterwards; `undone` tells that it was taken back."""

    action: str
    author: str
    content: Optional[bytes]
    shown: Optional[int]
    origin: Optional[int] = None
    version: str = ""
    undo: bool = False
    undone: bool = False


@dataclass
class LabelBook:
    """Study's id -> the changes of its label, the oldest first."""

    changes: Dict[str, List[Change]] = field(default_factory=dict)

    def add(self, name: str, content: bytes, author: str, version: str = "") -> int:
        """Notes a submitted label; returns its number."""
        number = len(self.changes.setdefault(name, [])) + 1
        self.changes[name].append(Change("submitted", author, content, number, version=version))
        return number

    def restore(self, name: str, number: int, author: str) -> bytes:
        """Makes an earlier label the label again; returns it."""
        earlier = self._entry(name, number)
        if earlier.content is None:
            raise Refusal(409, "conflict", f"Entry {number} has no label.")
        shown = len(self.changes[name]) + 1
        self.changes[name].append(Change("restored", author, earlier.content, shown, number, earlier.version))
        return earlier.content

    def undo(self, name: str, author: str) -> Optional[bytes]:
        """Takes the last change that was not taken back yet back; returns the label before it."""
        entries = self.changes.get(name, [])
        standing = [entry for entry in entries if not entry.undo and not entry.undone]
        if not standing:
            raise Refusal(409, "conflict", "There is nothing to undo.", "The label has no earlier state.")
        standing[-1].undone = True
        before = standing[-2] if len(standing) > 1 else None
        shown = entries.index(before) + 1 if before else None
        action, content = ("restored", before.content) if before else ("removed", None)
        entries.append(Change(action, author, content, shown, shown, before.version if before else "", undo=True))
        return content

    def to_json(self, name: str) -> Dict[str, Any]:
        """Returns the answer of `GET /datastore/label/history`."""
        entries = self.changes.get(name, [])
        current = len(entries) if entries and entries[-1].content is not None else None
        listed = [self._entry_json(number, entry, current) for number, entry in enumerate(entries, start=1)]
        return {"label": name, "tag": "final", "current": current, "entries": listed}

    @staticmethod
    def _entry_json(number: int, entry: Change, current: Optional[int]) -> Dict[str, Any]:
        return {
            "number": number,
            "author": entry.author,
            "time": f"2026-11-26T08:{number:02d}:00Z",
            "action": entry.action,
            "model": "",
            "version": entry.version,
            "voxels": {},
            "from": entry.origin,
            "current": number == current,
        }

    def _entry(self, name: str, number: int) -> Change:
        entries = self.changes.get(name, [])
        if not 1 <= number <= len(entries):
            raise Refusal(404, "unknown_label", f"The label of '{name}' has no entry {number}.")
        return entries[number - 1]

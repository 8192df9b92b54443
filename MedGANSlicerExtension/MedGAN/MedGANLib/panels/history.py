"""Who submitted the study's label and when; take a submission back, or let an earlier label count again."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Optional, Tuple

from ..histories import LabelEntry, LabelHistory
from ..workflow import State
from .look import allow, put_text
from .shared import Shared
from .tables import choose_row, fill_table, prepare_table

COLUMNS = ("#", "Time", "Author", "What")
WHAT, ROWS = 3, 5
UNDO_TIP = "Takes the last change of the study's label back, at the server; the segments here stay"
RESTORE_TIP = "Lets the chosen label count again; nothing is lost"


class HistoryPanel:
    """*Undo submit*, and a small table behind the button *History*."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._listed: Optional[LabelHistory] = None
        self._asked: Tuple[str, str] = ("", "")
        prepare_table(ui.historyTable, COLUMNS, WHAT)
        ui.historyFrame.setVisible(False)
        ui.historyButton.connect("toggled(bool)", self._toggled)
        ui.undoSubmitButton.connect("clicked()", self._undo)
        ui.restoreButton.connect("clicked()", self._restore)
        ui.historyTable.connect("itemSelectionChanged()", lambda: self._allow(shared.state))

    def show(self, state: State) -> None:
        """Draws the history of the study's label; nothing at servers that keep none."""
        image = state.study.image_id if state.study else ""
        offered = state.serving is not None and bool(image)
        self._ui.undoSubmitButton.setVisible(offered)
        self._ui.historyButton.setVisible(offered)
        self._ui.historyFrame.setVisible(offered and bool(self._ui.historyButton.checked))
        if offered:
            self._read_once(state, image)
        self._fill(state.history if state.history and state.history.label == image else None)
        self._allow(state)

    def chosen(self) -> Optional[LabelEntry]:
        """Returns the selected entry, or None."""
        row, entries = self._ui.historyTable.currentRow(), self._entries()
        return entries[row] if 0 <= row < len(entries) else None

    def _key(self) -> Optional[Tuple[str, int]]:
        entry = self.chosen()
        return (self._listed.label, entry.number) if self._listed and entry else None

    def _entries(self) -> Tuple[LabelEntry, ...]:
        """The newest first."""
        return self._listed.entries[::-1] if self._listed else ()

    def _toggled(self, checked: bool) -> None:
        self._asked = ("", "")
        self.show(self._shared.state)

    def _read_once(self, state: State, image: str) -> None:
        wanted = (state.address, image)
        if self._ui.historyButton.checked and wanted != self._asked:
            self._asked = wanted
            self._shared.workflow.read_history(image)

    def _fill(self, listed: Optional[LabelHistory]) -> None:
        if listed == self._listed:
            return
        chosen, self._listed = self._key(), listed
        rows = [row_texts(entry, listed) for entry in self._entries()]
        tips = [" ".join(word for word in (entry.model, entry.version) if word) for entry in self._entries()]
        fill_table(self._ui.historyTable, rows, tips, ROWS)
        choose_row(self._ui.historyTable, [(listed.label, e.number) for e in self._entries()] if listed else [], chosen)
        self._ui.historyTable.setVisible(bool(rows))
        put_text(self._ui.historyLabel, history_text(listed))

    def _allow(self, state: State) -> None:
        busy = "" if state.job is None else "Busy."
        nothing = "Nothing was submitted." if self._listed is not None and not self._listed.entries else ""
        nothing = nothing if self._shared.volume is not None else "Choose a volume first."
        allow(self._ui.undoSubmitButton, not (busy or nothing), UNDO_TIP, nothing or busy)
        missing = ("" if self._shared.volume is not None else nothing) or self._not_restorable() or busy
        allow(self._ui.restoreButton, not missing, RESTORE_TIP, missing)

    def _not_restorable(self) -> str:
        entry = self.chosen()
        if entry is None:
            return "Choose a label in the table."
        if entry.action == "removed":
            return "There was no label then."
        counting = next((e for e in self._entries() if self._listed and e.number == self._listed.current), None)
        restored = counting is not None and counting.action == "restored" and counting.origin == entry.number
        return "It counts already." if entry is counting or restored else ""

    def _undo(self) -> None:
        self._shared.workflow.undo_submit(self._shared.volume)

    def _restore(self) -> None:
        entry = self.chosen()
        if entry is not None:
            self._shared.workflow.restore_label(entry.number, self._shared.volume)


def row_texts(entry: LabelEntry, history: Optional[LabelHistory]) -> Tuple[str, ...]:
    """Returns the cells of an entry's row."""
    counts = " (counts)" if history and entry.number == history.current else ""
    of = f" {entry.origin}" if entry.action == "restored" and entry.origin else ""
    what = f"corrected from {entry.version}" if entry.action == "submitted" and entry.version else f"{entry.action}{of}"
    return (str(entry.number), local_time(entry.time), entry.author or "not told", f"{what}{counts}")


def history_text(history: Optional[LabelHistory]) -> str:
    """Returns what the table cannot say."""
    if history is None:
        return "The history has not come yet."
    if not history.entries:
        return "Nothing was submitted for this study."
    return "" if history.current else "The study has no final label now."


def local_time(utc: str) -> str:
    """Returns a time (UTC, ISO) for people, in the time of this computer; as it is when it cannot be read."""
    try:
        moment = datetime.strptime(utc[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return utc
    return moment.astimezone().strftime("%d %b %H:%M")

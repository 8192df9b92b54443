"""The versions of a model: see what each is worth, and let another one serve."""

from __future__ import annotations

from typing import Optional, Tuple

import qt

from ..records import VersionInfo, VersionList
from ..workflow import State
from .consent import ask_force
from .look import allow, dots, main_metric, put_text, safe
from .shared import Shared
from .tables import choose_row

COLUMNS = ("Version", "Origin", "State", "Score", "Made")
SERVE_TIP = "Everyone who uses the server gets this version from the next run on; can be taken back the same way"


class VersionsPanel:
    """A table of versions; the one that serves is bold."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._listed: Optional[VersionList] = None
        self._asked = ("", "")
        self._make_table()
        self._ui.refreshButton.connect("clicked()", self._refresh)
        self._ui.serveButton.connect("clicked()", self._serve)
        self._ui.versionsTable.connect("itemSelectionChanged()", self._selected)
        self._ui.versionsSection.connect("contentsCollapsed(bool)", self._opened)

    def _make_table(self) -> None:
        table = self._ui.versionsTable
        table.columnCount = len(COLUMNS)
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(24)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setStretchLastSection(True)
        table.setWordWrap(False)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setFixedHeight(132)

    def show(self, state: State) -> None:
        """Draws the table and what can be done."""
        self._fill(self._current_list(state))
        self._read_once(state)
        missing = self._missing(state)
        allow(self._ui.serveButton, not missing, SERVE_TIP, missing)
        idle = state.connected and state.job is None
        allow(
            self._ui.refreshButton,
            idle,
            "Reads the versions again",
            "Busy." if state.connected else "Connect to a server first.",
        )

    def _current_list(self, state: State) -> Optional[VersionList]:
        model = self._shared.learner
        return state.versions.get(model.name) if model else None

    def _missing(self, state: State) -> str:
        version = self.chosen()
        if not state.connected:
            return "Connect to a server first."
        if version is None:
            return "Choose a version in the table."
        if version.current:
            return "It serves already."
        return "" if state.job is None else "Busy."

    def chosen(self) -> Optional[VersionInfo]:
        """Returns the selected version, or None."""
        row = self._ui.versionsTable.currentRow()
        versions = self._listed.versions if self._listed else ()
        return versions[row] if 0 <= row < len(versions) else None

    def _fill(self, listed: Optional[VersionList]) -> None:
        if listed == self._listed:
            return
        chosen, self._listed = self._key(), listed
        table = self._ui.versionsTable
        table.clearContents()
        table.rowCount = len(listed.versions) if listed else 0
        for row, version in enumerate(listed.versions if listed else ()):
            for column, text in enumerate(row_texts(version)):
                table.setItem(row, column, self._cell(text, version))
        choose_row(table, [(listed.model, v.version) for v in listed.versions] if listed else [], chosen)
        self._selected()

    def _key(self) -> Optional[Tuple[str, str]]:
        version = self.chosen()
        return (self._listed.model, version.version) if self._listed and version else None

    @staticmethod
    def _cell(text: str, version: VersionInfo) -> qt.QTableWidgetItem:
        cell = qt.QTableWidgetItem(text)
        font = cell.font()
        font.setBold(version.current)
        cell.setFont(font)
        cell.setToolTip(version.reason or version.checksum)
        return cell

    def _selected(self) -> None:
        version = self.chosen()
        put_text(self._ui.versionLabel, version_text(version) if version else "")
        missing = self._missing(self._shared.state)
        allow(self._ui.serveButton, not missing, SERVE_TIP, missing)

    def _opened(self, collapsed: bool) -> None:
        self._asked = ("", "")
        self._read_once(self._shared.state)

    def _read_once(self, state: State) -> None:
        """Reads the versions of another model or server, unless nobody looks."""
        model = self._shared.learner
        wanted = (state.address, model.name) if model and state.connected else ("", "")
        if self._ui.versionsSection.collapsed or self._listed is not None or wanted in (self._asked, ("", "")):
            return
        self._asked = wanted
        self._refresh()

    def _refresh(self) -> None:
        model = self._shared.learner
        if model is not None and self._shared.state.connected:
            self._shared.workflow.versions(model.name)

    def _serve(self) -> None:
        version, model = self.chosen(), self._shared.learner
        if version is None or model is None:
            return
        refused = version.state == "refused"
        if not refused or ask_force(version.version, version.reason):
            self._shared.workflow.roll_back(model.name, version.version, force=refused)


def row_texts(version: VersionInfo) -> Tuple[str, ...]:
    """Returns the cells of a version's row."""
    state = "serving" if version.current else version.state
    return (version.version, version.origin, state, main_metric(version.metrics), version.created[:10])


def version_text(version: VersionInfo) -> str:
    """Returns what is known of a version, as rich text."""
    parent = f"trained from {safe(version.parent)}" if version.parent else ""
    return dots([f"<b>{safe(version.version)}</b>", parent, safe(version.reason)])

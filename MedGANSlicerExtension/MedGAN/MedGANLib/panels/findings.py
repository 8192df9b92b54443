"""The findings in a heat map as a table; a click on one takes the slice views to its hottest voxel."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import qt

from ..calibrations import Calibration, brief, rate_text
from ..detections import Detection
from ..findings import Finding, Findings
from ..state import counted
from ..workflow import State
from .look import put_text
from .shared import Shared
from .slice_views import Pointer

NUMBER, SIZE, PEAK, RATE = range(4)
ROW, HEADER, SHOWN_ROWS = 22, 26, 6


class FindingsPanel:
    """The findings, the hottest first, or the largest."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._pointer = Pointer()
        self._listed: Optional[Tuple[str, Findings]] = None
        self._by_size = False
        self._make_table()
        self._ui.findingsTable.connect("cellClicked(int,int)", self._point)
        self._ui.findingsTable.connect("cellActivated(int,int)", self._point)  # the Enter key
        self._ui.findingsTable.horizontalHeader().connect("sectionClicked(int)", self._sort)

    def _make_table(self) -> None:
        table = self._ui.findingsTable
        table.columnCount = 4
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.horizontalHeader().setSectionResizeMode(NUMBER, qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSortIndicatorShown(True)
        table.setWordWrap(False)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)

    def show(self, state: State) -> None:
        """Draws the findings of the last heat map."""
        made = state.detection
        listed = (made.heat, made.findings) if made else None
        if listed == self._listed:
            return
        another = self._listed is None or listed is None or listed[0] != self._listed[0]
        self._listed = listed
        if another:
            self._pointer.give_back()
        if made is not None:
            self._fill(made)

    def forget_scene(self) -> None:
        """Called before the scene is closed."""
        self._listed = None
        self._pointer.give_back()

    def cleanup(self) -> None:
        """Called when the module is unloaded."""
        self._pointer.give_back()

    def rows(self) -> Tuple[Finding, ...]:
        """Returns the findings in the order of the table."""
        findings = self._listed[1] if self._listed else Findings(0.0)
        return findings.largest if self._by_size else findings.hottest

    def _fill(self, made: Detection) -> None:
        table, findings = self._ui.findingsTable, made.findings
        table.setHorizontalHeaderLabels(["#", f"Size ({findings.units})", "Peak heat", "In healthy"])
        table.horizontalHeader().setSortIndicator(SIZE if self._by_size else PEAK, qt.Qt.DescendingOrder)
        rows = self.rows()
        table.clearContents()
        table.rowCount = len(rows)
        for row, finding in enumerate(rows):
            for column, text in enumerate(row_texts(finding, made.calibration)):
                table.setItem(row, column, _cell(text))
        table.setVisible(bool(rows))
        table.setFixedHeight(ROW * min(len(rows), SHOWN_ROWS) + HEADER)
        put_text(self._ui.findingsLabel, findings_text(findings, len(rows), self._by_size))

    def _sort(self, column: int) -> None:
        made = self._shared.state.detection
        if made is not None:
            self._by_size = column == SIZE
            self._fill(made)

    def _point(self, row: int, column: int) -> None:
        rows = self.rows()
        if 0 <= row < len(rows):
            self._pointer.point_at(rows[row].place)


def row_texts(finding: Finding, known: Calibration) -> Tuple[str, ...]:
    """Returns the cells of a finding's row."""
    return (str(finding.number), size_text(finding.size), brief(finding.peak), rate_text(known, finding.peak))


def size_text(size: float) -> str:
    """Returns a size for people: `0.35`, `12.4`, and `< 0.01` for what is smaller."""
    return "< 0.01" if size < 0.01 else f"{size:.2f}" if size < 10 else f"{size:.1f}" if size < 100 else f"{size:.0f}"


def findings_text(findings: Findings, rows: int, by_size: bool) -> str:
    """Returns what the table cannot say: that there is none, or how many are not listed."""
    if findings.crowded:
        return "So much of the image is this hot that its spots are not listed. Choose a higher threshold."
    if not findings.count:
        return "No finding: nothing is this hot."
    left = findings.count - rows
    kind = "smaller" if by_size else "cooler"
    return f"{counted(left, f'{kind} finding')} more {'is' if left == 1 else 'are'} not listed." if left else ""


def _cell(text: str) -> Any:
    cell = qt.QTableWidgetItem(text)
    cell.setTextAlignment(qt.Qt.AlignCenter)
    cell.setToolTip("A click, or Enter, shows the hottest voxel in the slice views")
    return cell

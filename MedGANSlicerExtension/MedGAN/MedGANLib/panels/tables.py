"""Tables that the panels fill with text: rows to choose from, never to write into."""

from __future__ import annotations

from typing import Any, Sequence

import qt

ROW, HEADER = 22, 26


def prepare_table(table: Any, columns: Sequence[str], *wide: int) -> None:
    """Gives a table its columns; those in `wide` share the space that is left."""
    table.columnCount = len(columns)
    table.setHorizontalHeaderLabels(list(columns))
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(ROW)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    for column in wide:
        table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Stretch)
    table.horizontalScrollBarPolicy = qt.Qt.ScrollBarAlwaysOff
    table.setWordWrap(False)
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)


def fill_table(table: Any, rows: Sequence[Sequence[str]], tips: Sequence[str], most: int) -> None:
    """Shows rows of texts, as high as they are but for `most` rows at most; each row has a tip."""
    table.clearContents()
    table.rowCount = len(rows)
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            cell = qt.QTableWidgetItem(text)
            cell.setToolTip(tips[row])
            table.setItem(row, column, cell)
    table.setFixedHeight(ROW * max(1, min(len(rows), most)) + HEADER)


def choose_row(table: Any, keys: Sequence[Any], key: Any) -> None:
    """Chooses the row of what was chosen before the table was filled anew, wherever it is now.

    Without that, the place in the table would stay chosen, and a button would act on what has come there meanwhile.

    Args:
        table: The table.
        keys: What stands in its rows.
        key: What was chosen; None when nothing was. No row is chosen when it is not there any more.
    """
    if key is not None and key in keys:
        table.selectRow(keys.index(key))
    else:
        table.setCurrentCell(-1, -1)
        table.clearSelection()

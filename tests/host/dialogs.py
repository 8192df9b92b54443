"""Modal dialogs without a user: a test says beforehand what is pressed or chosen; any other dialog is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets


class UnexpectedDialog(AssertionError):
    """A modal dialog came up that the test had not foreseen; in the application it would wait for the user."""


@dataclass
class Desk:
    """The user at the desk: `answers` are the texts of the buttons to press, `shown` what was seen.

    `paths` are the files and folders to choose; an empty one is a dialog that is cancelled.
    """

    answers: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    on_show: Callable[[Any], None] | None = None
    """Called with each dialog while it is open, e.g. to take a picture or to tick its check box."""

    def press(self, box: QtWidgets.QMessageBox) -> QtWidgets.QAbstractButton:
        """Returns the button that the user presses in `box`."""
        self.shown.append("\n".join(t for t in (box.text(), box.informativeText()) if t))
        if not self.answers:
            raise UnexpectedDialog(f"A dialog nobody expected: {box.text()}")
        wanted = self.answers.pop(0)
        texts = {b.text().replace("&", ""): b for b in box.buttons()}
        if wanted not in texts:
            raise UnexpectedDialog(f"The dialog has no button '{wanted}', only {sorted(texts)}")
        return texts[wanted]

    def choose(self, caption: str) -> str:
        """Returns the file or folder that the user chooses."""
        self.shown.append(caption)
        if not self.paths:
            raise UnexpectedDialog(f"A dialog nobody expected: {caption}")
        return self.paths.pop(0)


desk = Desk()


class QFileDialog(QtWidgets.QFileDialog):
    """Qt's file dialog, answered from `desk`; PythonQt returns the path alone, without the filter that was chosen."""

    @staticmethod
    def getOpenFileName(parent: Any = None, caption: str = "", folder: str = "", kinds: str = "") -> str:
        """Returns the chosen file; empty when the dialog is cancelled."""
        return desk.choose(caption)

    @staticmethod
    def getExistingDirectory(parent: Any = None, caption: str = "", folder: str = "") -> str:
        """Returns the chosen folder; empty when the dialog is cancelled."""
        return desk.choose(caption)


class QMessageBox(QtWidgets.QMessageBox):
    """Qt's message box whose `exec_` (PythonQt's name) is answered from `desk`."""

    def exec_(self) -> int:
        """Shows the box, presses the button that was announced, and returns the button's code."""
        self.show()
        QtWidgets.QApplication.processEvents()
        if desk.on_show:
            desk.on_show(self)
        button = desk.press(self)
        button.click()
        return int(self.standardButton(button))

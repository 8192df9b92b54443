"""A file of measured k-space in place of a volume: a button that chooses it, its name, and the way to take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

import qt
import slicer

from ..kspace import SUFFIXES, KSpaceFile

CHOOSE_TIP = "Takes measured k-space in place of the volume: fastMRI or ISMRMRD (.h5), or an array (.npy)"
BACK_TIP = "Takes the file back: the volume counts again. The file itself stays where it is"


LONGEST = 24
"""Letters of a name that fit into the panel."""


class KSpaceField:
    """What stands under a volume selector.

    Attributes:
        file: The chosen file, or None.
    """

    def __init__(self, layout: Any, changed: Callable[[], None], file: Optional[KSpaceFile] = None) -> None:
        """Draws into a form layout; `changed` is called when a file is chosen or taken back."""
        self.file = file
        self._changed = changed
        row = qt.QHBoxLayout()
        row.setSpacing(6)
        self.button = qt.QPushButton("K-space file…")
        self.button.toolTip = CHOOSE_TIP
        self._name = qt.QLabel("")
        self._name.textFormat = qt.Qt.PlainText
        self.back = qt.QToolButton()
        self.back.text = "✕"
        self.back.toolTip = BACK_TIP
        row.addWidget(self.button)
        row.addWidget(self._name, 1)
        row.addWidget(self.back)
        layout.addRow("", row)
        self.button.connect("clicked()", self._choose)
        self.back.connect("clicked()", self.forget)
        self._draw()

    def forget(self) -> None:
        """Takes the file back."""
        if self.file is not None:
            self._put(None)

    def _choose(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        chosen = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), "Choose measured k-space", "", f"K-space ({kinds})"
        )
        if chosen:
            self._put(KSpaceFile(Path(chosen)))

    def _put(self, file: Optional[KSpaceFile]) -> None:
        self.file = file
        self._draw()
        self._changed()

    def _draw(self) -> None:
        self._name.text = shortened(self.file.name) if self.file else ""
        self._name.toolTip = "It is sent as it is, after you agree; its name is not sent" if self.file else ""
        self.back.setVisible(self.file is not None)


def shortened(name: str) -> str:
    """Returns a name that fits, with its beginning and its end."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[1 - half :]}"

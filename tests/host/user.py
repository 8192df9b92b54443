"""A clinician at the panel: presses real buttons, waits for what becomes visible, takes pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import Host, LoadedModule


class User:
    """Drives a loaded module through its widgets.

    Attributes:
        ui: The widgets by name, as the module sees them.
        longest_gap: The longest time (s) in which Qt could not work while waiting.
    """

    def __init__(self, host: Host, module: LoadedModule, pictures: Path) -> None:
        self.host = host
        self.module = module
        self.ui = module.widget.ui
        self.longest_gap = 0.0
        self._pictures = pictures

    @property
    def state(self) -> Any:
        """The workflow's state."""
        return self.module.widget.logic.workflow.state

    @property
    def says(self) -> str:
        """What the status line says, message and hint."""
        hint = self.ui.hintLabel.text if self.ui.hintLabel.isVisibleTo(self.module.panel) else ""
        return f"{self.ui.messageLabel.text} {hint}".strip()

    def panel(self, name: str) -> Any:
        """Returns the panel of a class, by name."""
        return next(p for p in self.module.widget.panels if type(p).__name__ == name)

    def press(self, name: str) -> None:
        """Presses a button.

        Raises:
            AssertionError: it cannot be pressed.
        """
        button = getattr(self.ui, name)
        assert button.enabled, f"{name} is disabled: {button.toolTip} The panel says: {self.says}"
        button.click()

    def until(self, condition: Callable[[], Any], what: str = "", seconds: float = 15.0) -> None:
        """Lets the interface work until a condition holds.

        Raises:
            AssertionError: it does not hold in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what or 'it'} did not happen; the panel says: {self.says}"
            before = time.monotonic()
            self.host.process(5)
            self.longest_gap = max(self.longest_gap, time.monotonic() - before - 0.005)

    def idle(self, seconds: float = 15.0) -> None:
        """Waits until nothing is running."""
        self.until(lambda: self.state.job is None, "the end of the work", seconds)

    def connect(self, url: str, token: str = "") -> None:
        """Types an address and presses Connect; returns when there is an answer."""
        self.ui.addressBox.setEditText(url)
        self.ui.tokenEdit.text = token
        self.press("connectButton")
        self.idle()

    def take_next(self) -> None:
        """Takes the server's next study."""
        self.press("nextButton")
        self.idle()

    def run(self) -> None:
        """Runs the model and waits for the result."""
        self.press("runButton")
        self.idle()

    def submit(self) -> None:
        """Submits the segments."""
        self.press("submitButton")
        self.idle()

    def choose(self, node: Any) -> None:
        """Chooses a volume of the scene."""
        self.ui.volumeSelector.setCurrentNode(node)
        self.until(lambda: self.state.study and self.state.study.volume_id == node.GetID(), "the choice")

    def open_only(self, *sections: str) -> None:
        """Opens some sections and closes the others, for a picture."""
        for name in (
            "serverSection",
            "studySection",
            "runSection",
            "correctSection",
            "reconstructSection",
            "detectSection",
            "synthesiseSection",
            "trainSection",
            "versionsSection",
        ):
            getattr(self.ui, name).collapsed = name not in sections

    def picture(self, name: str) -> Path:
        """Draws the panel into `slicer-<name>.png`."""
        path = self._pictures / f"slicer-{name}.png"
        self.module.grab(path)
        self.panel("TrainingPanel").plot.draw(self.state.training)
        self.panel("GalleryPanel").draw()
        return self.module.grab(path)

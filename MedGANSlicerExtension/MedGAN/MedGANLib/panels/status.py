"""The line at the top: what happened, what to do about it, and the work that is going on with its cancel button."""

from __future__ import annotations

from ..jobs import Job
from ..workflow import Message, State
from .look import frame_style, put_text, safe
from .shared import Shared

MARKS = {"success": "✓ ", "warning": "⚠ ", "error": "✗ "}
"""Kind of a message -> what says so to those who do not see the colour."""


class StatusPanel:
    """Always visible. The cancel button is there, and alive, as long as there is something to cancel."""

    def __init__(self, shared: Shared) -> None:
        self._ui = shared.ui
        self._workflow = shared.workflow
        self._kind = ""
        self._ui.cancelButton.connect("clicked()", self._workflow.cancel)

    def show(self, state: State) -> None:
        """Draws the message or the work."""
        if state.job is None:
            self._show_message(state.message)
        else:
            self._show_job(state.job)
        self._ui.jobFrame.setVisible(state.job is not None)

    def _show_message(self, message: Message) -> None:
        self._color(message.kind)
        put_text(self._ui.messageLabel, f"<b>{MARKS.get(message.kind, '')}{safe(message.text)}</b>")
        put_text(self._ui.hintLabel, "<br>".join(safe(line) for line in (message.hint, *message.details) if line))

    def _show_job(self, job: Job) -> None:
        self._color("info")
        put_text(self._ui.messageLabel, f"<b>{safe(job.title or 'Working')}</b>")
        put_text(self._ui.hintLabel, safe(job.phase) if job.phase != job.title else "")
        known = job.progress >= 0
        self._ui.jobBar.maximum = 1000 if known else 0
        self._ui.jobBar.value = int(1000 * job.progress) if known else 0
        self._ui.jobBar.format = "%p%" if known else ""

    def _color(self, kind: str) -> None:
        if kind != self._kind:
            self._kind = kind
            self._ui.statusFrame.styleSheet = frame_style("statusFrame", kind)

"""The last training runs, whoever asked for them; any that is not over can be cancelled."""

from __future__ import annotations

from datetime import datetime
from typing import Optional, Tuple

from ..records import TrainingStatus
from ..workflow import State
from .look import allow, dots, put_text, safe
from .shared import Shared
from .tables import choose_row, fill_table, prepare_table

COLUMNS = ("Time", "Model", "By", "State", "Verdict")
MODEL, VERDICT = 1, 4
ROWS = 5
CANCEL_TIP = "Cancels the chosen run, also one that waits; the version that serves stays"


class RunsPanel:
    """A small table in the section *Training*; nothing at servers that keep no list."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._listed: Tuple[TrainingStatus, ...] = ()
        self._asked = ""
        prepare_table(ui.runsTable, COLUMNS, MODEL, VERDICT)
        ui.cancelRunButton.connect("clicked()", self._cancel)
        ui.runsTable.connect("itemSelectionChanged()", lambda: self._allow())
        ui.trainSection.connect("contentsCollapsed(bool)", self._opened)

    def show(self, state: State) -> None:
        """Draws the runs."""
        self._read_once(state)
        runs = state.runs or ()
        if runs != self._listed:
            chosen, self._listed = self.chosen(), runs
            fill_table(self._ui.runsTable, [self._texts(run) for run in runs], [tip_of(run) for run in runs], ROWS)
            choose_row(self._ui.runsTable, [run.run for run in runs], chosen.run if chosen else None)
        self._ui.runsFrame.setVisible(bool(runs))
        self._allow()

    def chosen(self) -> Optional[TrainingStatus]:
        """Returns the selected run, or None."""
        row = self._ui.runsTable.currentRow()
        return self._listed[row] if 0 <= row < len(self._listed) else None

    def _opened(self, collapsed: bool) -> None:
        self._asked = ""
        self._read_once(self._shared.state)

    def _read_once(self, state: State) -> None:
        """Reads the runs of another server, unless nobody looks."""
        looked_at = state.connected and state.serving is not None and not self._ui.trainSection.collapsed
        if looked_at and state.address != self._asked:
            self._asked = state.address
            self._shared.workflow.read_runs()

    def _texts(self, run: TrainingStatus) -> Tuple[str, ...]:
        model = self._shared.workflow.model(run.model)
        title = model.title if model else run.model
        return (time_of(run), title, run.author or "–", state_of(run), verdict_of(run))

    def _allow(self) -> None:
        run = self.chosen()
        put_text(self._ui.runLabel, safe(tip_of(run)) if run else "")
        missing = "Choose a run in the table." if run is None else "" if _is_open(run) else "It is over."
        allow(self._ui.cancelRunButton, not missing, CANCEL_TIP, missing)

    def _cancel(self) -> None:
        run = self.chosen()
        if run is not None:
            self._shared.workflow.cancel_run(run.run)


def _is_open(run: TrainingStatus) -> bool:
    return run.running or run.state in ("queued", "interrupted")


def time_of(run: TrainingStatus) -> str:
    """Returns when a run began, in the time of this computer; empty for one that has not begun."""
    if not run.started or run.state == "queued":
        return ""
    return datetime.fromtimestamp(run.started).strftime("%d %b %H:%M")


def state_of(run: TrainingStatus) -> str:
    """Returns a run's state for the table; one that waits has its place in the queue."""
    return f"waits ({run.position})" if run.state == "queued" and run.position else run.state


def verdict_of(run: TrainingStatus) -> str:
    """Returns what came of a run, in a few words."""
    return run.verdict.reason if run.verdict else run.error


def tip_of(run: TrainingStatus) -> str:
    """Returns what the row has no room for."""
    why = f"Started because of: {run.cause}" if run.cause else ""
    return dots([run.run, why, verdict_of(run)])

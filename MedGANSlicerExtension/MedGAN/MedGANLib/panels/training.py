"""Start training, watch it, read the verdict."""

from __future__ import annotations

from typing import Optional

from ..records import GateCheck, TrainingStatus, Verdict
from ..servings import Serving
from ..state import counted
from ..training import QueuedRun
from ..verdicts import MarkedStudies
from ..workflow import State
from .look import allow, dots, duration, frame_style, metric_name, put_text, safe
from .plot import TrainingPlot
from .shared import Shared

START_TIP = "Starts on the server; you can go on working"
QUEUE_TIP = "Another run goes on: this one waits at the server and starts by itself"
WORDS = {
    "queued": "Waiting for its turn",
    "interrupted": "Interrupted: it goes on when the server is back",
    "starting": "Getting ready",
    "training": "Training",
    "validating": "Checking the new version",
    "promoted": "Done: the new version serves",
    "refused": "Done: the new version was refused, the old one serves on",
    "cancelled": "Stopped; the version that served before serves on",
    "failed": "Training failed; the version that served before serves on",
    "done": "Done",
}


class TrainingPanel:
    """Progress, time left, the curves of loss and metric, and the gate's verdict."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self.plot = TrainingPlot(self._ui.plotLabel)
        self._ui.startButton.connect("clicked()", self._start)
        self._ui.stopButton.connect("clicked()", shared.workflow.stop_training)

    def _start(self) -> None:
        model = self._shared.learner
        if model is not None:
            self._shared.workflow.start_training(model.name, {"max_epochs": int(self._ui.epochsSpin.value)})

    def show(self, state: State) -> None:
        """Draws the training run."""
        status = state.training
        missing = self._missing(state)
        allow(self._ui.startButton, not missing, QUEUE_TIP if status.running else START_TIP, missing)
        self._ui.startButton.text = "Queue &training" if status.running and state.serving else "S&tart training"
        self._ui.stopButton.enabled = status.running
        self._ui.stopButton.setVisible(status.running)
        put_text(self._ui.trainLabel, self._intro(state))
        self._show_progress(status)
        self.plot.draw(status)
        self._show_verdict(status.verdict)

    def _missing(self, state: State) -> str:
        model = self._shared.learner
        if not state.connected:
            return "Connect to a server first."
        if model is None or not model.trainable:
            return "This model cannot be trained."
        if state.training.running and state.serving is None:
            return "A training run is going on."
        if any(waiting.model == model.name for waiting in state.training.queue):
            return "It waits in the queue already."
        return "" if state.job is None else "Busy."

    def _intro(self, state: State) -> str:
        model = self._shared.learner
        if not state.connected or model is None:
            return ""
        title, server = safe(model.title), state.server
        if not model.trainable or server is None:
            return f"{title} cannot be trained here."
        if model.detects:
            marked = state.marked.get(model.name, MarkedStudies())
            return f"{title} learns from the marked studies: {marked.normal} normal, {marked.abnormal} abnormal so far."
        labelled = f"{server.labelled} of {counted(server.studies, 'study', 'studies')}"
        made = f", and {counted(server.synthetic, 'synthetic study', 'synthetic studies')}" if server.synthetic else ""
        until = until_text(state.serving, model.name)
        return f"{title} learns from all submitted labels: {labelled} so far{made}.{until}"

    def _show_progress(self, status: TrainingStatus) -> None:
        bar = self._ui.trainBar
        bar.setVisible(status.running)
        bar.maximum = 0 if status.state == "starting" else 1000
        bar.value = int(1000 * status.fraction)
        bar.format = "%p%"
        put_text(self._ui.progressLabel, "<br>".join(t for t in (progress_text(status), self._queue_text(status)) if t))

    def _queue_text(self, status: TrainingStatus) -> str:
        """Returns which runs wait, in their order."""
        models = {waiting.model: self._shared.workflow.model(waiting.model) for waiting in status.queue}
        titles = {name: model.title if model else name for name, model in models.items()}
        return "<br>".join(waiting_text(waiting, titles[waiting.model]) for waiting in status.queue)

    def _show_verdict(self, verdict: Optional[Verdict]) -> None:
        label = self._ui.verdictLabel
        put_text(label, verdict_text(verdict) if verdict else "")
        if verdict is not None:
            style = frame_style("verdictLabel", "success" if verdict.promoted else "warning").replace(
                "border-radius", "padding: 6px; border-radius"
            )
            if label.styleSheet != style:
                label.styleSheet = style


def until_text(serving: Optional[Serving], model: str) -> str:
    """Returns how far it is to the training that a server starts by itself, as a sentence after another one."""
    if serving is None:
        return ""
    count = serving.submitted_since.get(model, 0)
    if serving.auto_train:
        return (
            f"<br>{min(count, serving.auto_train)} of {counted(serving.auto_train, 'label')} until the next training."
        )
    return f"<br>{counted(count, 'label')} since its last training." if count else ""


def waiting_text(waiting: QueuedRun, title: str) -> str:
    """Returns a line on a run that waits."""
    by = f" (asked by {safe(waiting.author)})" if waiting.author else ""
    return f"Waiting, place {waiting.position}: {safe(title)}{by}"


def progress_text(status: TrainingStatus) -> str:
    """Returns where a run is, in words; empty when nothing was ever trained."""
    if status.state == "none":
        return ""
    word = WORDS.get(status.state, status.state)
    if not status.running:
        return dots([f"{safe(word)}.", safe(status.error)])
    word = f"{word}, asked by {status.author}" if status.author else word
    epoch = f"epoch {status.epoch} of {status.epochs}" if status.epochs else ""
    left = f"about {duration(status.eta_seconds)} left" if status.eta_seconds is not None else ""
    return "<br>".join(line for line in (dots([safe(word), epoch, left]), _cases(status)) if line)


def _cases(status: TrainingStatus) -> str:
    """What is learned from and measured on; the server says it best."""
    if status.promise or not status.cases:
        return safe(status.promise)
    train, checked = status.cases.get("train", 0), status.cases.get("validation", 0)
    others = f"is checked on {counted(checked, 'other')}" if checked else "with none set aside to check it on"
    made = status.cases.get("synthetic", 0)
    also = f" and {counted(made, 'synthetic one')}" if made else ""
    return f"Learns from {counted(train, 'study', 'studies')}{also}, {others}."


def verdict_text(verdict: Verdict) -> str:
    """Returns the gate's verdict, as rich text: its checks, or the reason when it made none."""
    title = f"<b>{safe(verdict.version)} {'serves now' if verdict.promoted else 'was refused'}</b>"
    why = [_check_text(check) for check in verdict.checks] or [safe(verdict.reason)]
    serving = "" if verdict.promoted else f"{safe(verdict.serving)} serves on; the refused version is kept."
    return "<br>".join(line for line in (title, *why, serving) if line)


def _check_text(check: GateCheck) -> str:
    cases = counted(check.cases, f"{safe(check.name)} case")
    mark = "✓" if check.passed else "✗"
    return f"{mark} {safe(metric_name(check.metric))} {check.before:.3f} → {check.after:.3f} on {cases}"

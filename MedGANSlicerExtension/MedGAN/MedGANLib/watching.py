"""Watching the server from time to time: versions that serve now, and training that others started."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from .cancel import CancelToken
from .client import MedGANClient
from .errors import ServerTooOld
from .jobs import Job
from .records import ConnectionReport, SubmitReceipt, TrainingStatus
from .reviewing import Reviewing
from .servings import Serving, latest

Runs = Optional[Tuple[TrainingStatus, ...]]


class Watching(Reviewing):
    """Notices new versions, whoever trained them, and keeps the list of training runs."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._seen: Dict[str, Dict[str, str]] = {}  # address -> model's name -> version that the clinician knows of
        self._tells = True
        self._watch: Optional[Job] = None
        super().__init__(*args, **more)

    def poll_serving(self) -> Optional[Job]:
        """Ask what serves; call it from a timer. Silent about failures; None at servers that do not tell."""
        if self._client is None or not self._tells or (self._watch and not self._watch.finished):
            return None

        def question(client: MedGANClient, token: CancelToken) -> Optional[Serving]:
            try:
                return client.serving(token)
            except ServerTooOld:
                return None

        self._watch = self._ask("Looking for new versions", question, self._looked, quiet=True)
        return self._watch

    def dismiss_news(self) -> None:
        """Take the notices of new versions away."""
        self._update(news=())

    def read_runs(self) -> Job:
        """Read the last training runs into `state.runs`. Result: the runs, or None at servers without a list."""

        def question(client: MedGANClient, token: CancelToken) -> Runs:
            try:
                return client.train_runs(cancel=token)
            except ServerTooOld:
                return None

        def finish(runs: Runs) -> Runs:
            self._update(runs=runs)
            return runs

        return self._ask("Reading the training runs", question, finish, quiet=True)

    def cancel_run(self, run: str) -> Job:
        """Cancel a training run, also one that waits. Result: `TrainingStatus` of the active or last one."""

        def question(client: MedGANClient, token: CancelToken) -> TrainingStatus:
            client.train_cancel(run, token)
            return client.train_status(token)

        def finish(status: TrainingStatus) -> TrainingStatus:
            self._say("info", "The training run was cancelled; the serving version stays.")
            return self._trained(status)

        return self._ask("Cancelling the training run", question, finish)

    def _looked(self, serving: Optional[Serving]) -> Optional[Serving]:
        self._tells = serving is not None
        if serving is None:
            return None
        seen = self._seen.setdefault(self.state.address, {m.name: m.version for m in self.state.models if m.version})
        news = serving.news(seen)
        seen.update(serving.seen())
        self._update(serving=serving, news=latest(news, self.state.news))
        if news:
            self._refresh()
        for item in news:
            if item.model in self.state.versions:
                self.versions(item.model)
        if serving.training and not self.state.training.open:
            self.follow_training()
        return serving

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        report = super()._connected(outcome)
        self._tells, self._watch = True, None
        if report.ok:
            self.poll_serving()
        return report

    def _list(self, versions: Any) -> Any:
        """The clinician sees the list, so what serves by it is no news."""
        listed = super()._list(versions)
        if versions.current and self.state.address in self._seen:
            self._seen[self.state.address][versions.model] = versions.current
        return listed

    def _training_asked(self) -> None:
        super()._training_asked()
        self.read_runs()
        self.poll_serving()

    def _submitted_to(self, receipt: SubmitReceipt) -> None:
        super()._submitted_to(receipt)
        self.poll_serving()
        if receipt.training:
            self.follow_training()

    def _trained(self, status: TrainingStatus) -> TrainingStatus:
        before = _ended_or_begun(self.state.training)
        kept = super()._trained(status)
        if _ended_or_begun(status) != before and (self.state.runs is not None or status.state != "none"):
            self.read_runs()
            self.poll_serving()
        return kept


def _ended_or_begun(status: TrainingStatus) -> Tuple[str, bool, Tuple[str, ...]]:
    """Return what the list of runs changes with."""
    return status.run, status.running, tuple(waiting.run for waiting in status.queue)

"""The server's part in a workflow: the connection, what the server offers, and the versions of its models."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from .cancel import CancelToken
from .client import TIMEOUT, MedGANClient
from .errors import Cancelled, MedGANError, NotFound, SceneProblem
from .jobs import Job, JobQueue, Work, ignore
from .records import ConnectionReport, ModelInfo, TrainingStatus, VersionList
from .session import Session

Question = Callable[[MedGANClient, CancelToken], Any]
"""Asks a server something, on a worker."""


class Connecting(Session):
    """Connects to one server at a time and keeps what it says in `state`."""

    def __init__(
        self, client: Optional[MedGANClient] = None, jobs: Optional[JobQueue] = None, work_dir: Optional[str] = None
    ) -> None:
        super().__init__(jobs, work_dir)
        self._client = client
        self._questions: List[Job] = []  # what was asked beside the user's work, and may be under way

    def connect(
        self, url: str = "", token: Optional[str] = None, ca_file: Optional[str] = None, timeout: float = TIMEOUT
    ) -> Job:
        """Test the connection and read what the server offers. Result: `ConnectionReport` (also in `state.report`).

        An empty `url` tries the present client again. What is under way for the server before is cancelled, so that
        one that has fallen silent can be left at once. A server that cannot be used does not fail the job: the report
        says what is wrong, and `state.message` repeats it. See `MedGANClient` for the arguments.
        """

        def prepare() -> Work:
            try:
                client = self._new_client(url, token, ca_file, timeout) if url else self._server()
            except MedGANError as error:
                report = ConnectionReport(False, error.code, error.message, error.hint)
                return lambda job: (None, report)
            return lambda job: (client, client.check_connection(job.token))

        self._leave()
        return self._start("Connecting", prepare, self._connected)

    def _leave(self) -> None:
        """Cancel all that the server was asked for."""
        self._give_up()
        for question in self._questions:
            question.cancel()

    def disconnect(self) -> None:
        """Forget the server, and cancel what it was asked for; the scene stays."""
        self._leave()
        self._client = None
        self._update(connected=False, address="", report=None, server=None, models=(), **_nothing_known())
        self._say("info", "Not connected.")

    def model(self, name: str) -> Optional[ModelInfo]:
        """Return a model of the connected server."""
        return next((model for model in self.state.models if model.name == name), None)

    def versions(self, model: str) -> Job:
        """Read the versions of a model into `state.versions`. Result: `VersionList`."""
        return self._ask("Reading the versions", lambda client, token: client.versions(model, token), self._list)

    def roll_back(self, model: str, version: str, force: bool = False) -> Job:
        """Let another version serve. Result: `VersionList`."""

        def finish(versions: VersionList) -> VersionList:
            self._list(versions)
            self._refresh()
            self._say("success", f"{versions.current} serves from the next run on.")
            return versions

        def prepare() -> Work:
            client = self._server()
            return lambda job: client.set_current_version(model, version, force=force, cancel=job.token)

        return self._start(f"Switching to {version}", prepare, finish)

    def _new_client(self, url: str, token: Optional[str], ca_file: Optional[str], timeout: float) -> MedGANClient:
        return MedGANClient(url, token, timeout, ca_file=ca_file or None, cache_dir=self.folder / "studies")

    def _server(self) -> MedGANClient:
        return _present(self._client)

    def _ask(self, title: str, question: Question, finish: Callable[[Any], Any], quiet: bool = False) -> Job:
        """Ask the server beside what the user waits for; what comes after a change of server is not listened to."""
        return self._listen(
            title, lambda client, job: question(client, job.token), finish, ignore if quiet else self._tell
        )

    def _listen(
        self,
        title: str,
        question: Callable[[MedGANClient, Job], Any],
        finish: Callable[[Any], Any],
        failed: Callable[[MedGANError], None],
        live: bool = False,
    ) -> Job:
        """As `_ask`; when `live`, the question may last, and what it tells by `Job.tell` goes to `finish` too.

        Args:
            title: What it does.
            question: Called on a worker.
            finish: Called on the main thread.
            failed: Called on the main thread, unless it was cancelled.
            live: Whether it gets a thread of its own, as it may last.
        """
        client = self._client

        def answered(answer: Any) -> Any:
            return finish(answer) if client is self._client else answer

        def heard(error: MedGANError) -> None:
            if client is self._client and not isinstance(error, Cancelled):
                failed(error)

        asked = self._jobs.submit(
            lambda job: question(_present(client), job),
            on_error=heard,
            title=title,
            finish=answered,
            at_once=live,
            on_news=answered,
        )
        self._questions = [other for other in self._questions if not other.finished] + [asked]
        return asked

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        client, report = outcome
        another = client is None or client.address != self.state.address
        self._client = client
        server = report.info if report.ok else None
        self._update(
            connected=report.ok,
            address=client.address if client else "",
            report=report,
            server=server,
            models=server.models if server else (),
            **(_nothing_known() if another else {}),
        )
        self._say("success" if report.ok else "error", report.message, report.hint, report.notes)
        return report

    def _refresh(self) -> None:
        """Read the server's description again, beside everything else."""

        def finish(info: Any) -> None:
            self._update(server=info, models=info.models)

        self._ask("Reading the models", lambda client, token: client.info(token), finish, quiet=True)

    def _strategy(self) -> str:
        return (self.state.server.default_strategy if self.state.server else "") or "random"

    def _model(self, name: str) -> ModelInfo:
        self._server()
        model = self.model(name)
        if model is None:
            raise NotFound(f"The server has no model '{name}'.", "Connect again to refresh the list.")
        return model

    def _list(self, versions: VersionList) -> VersionList:
        self._update(versions={**self.state.versions, versions.model: versions})
        return versions


def _present(client: Optional[MedGANClient]) -> MedGANClient:
    if client is None:
        raise SceneProblem("There is no connection to a server.", "Enter its address and connect.")
    return client


def _nothing_known() -> Dict[str, Any]:
    """Return the part of the state that belongs to one server, empty."""
    lists: Dict[str, Any] = {"versions": {}, "marked": {}, "reviews": {}, "runs": None, "news": ()}
    return {**lists, "history": None, "offered": None, "serving": None, "training": TrainingStatus(state="none")}

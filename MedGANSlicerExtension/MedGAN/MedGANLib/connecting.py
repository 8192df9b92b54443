"""The server's part in a workflow: the connection, what the server offers, and the versions of its models."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from .client import MedGANClient
from .errors import MedGANError, NotFound, SceneProblem
from .jobs import Job, JobQueue, Work
from .records import ConnectionReport, ModelInfo, VersionList
from .session import Session


class Connecting(Session):
    """Connects to one server at a time and keeps what it says in `state`."""

    def __init__(
        self, client: Optional[MedGANClient] = None, jobs: Optional[JobQueue] = None, work_dir: Optional[str] = None
    ) -> None:
        super().__init__(jobs, work_dir)
        self._client = client

    def connect(self, url: str = "", token: Optional[str] = None, ca_file: Optional[str] = None) -> Job:
        """Test the connection and read what the server offers. Result: `ConnectionReport` (also in `state.report`).

        An empty `url` tries the present client again. A server that cannot be used does not fail the job: the report
        says what is wrong, and `state.message` repeats it.
        """

        def prepare() -> Work:
            try:
                client = self._new_client(url, token, ca_file) if url else self._server()
            except MedGANError as error:
                report = ConnectionReport(False, error.code, error.message, error.hint)
                return lambda job: (None, report)
            return lambda job: (client, client.check_connection(job.token))

        return self._start("Connecting", prepare, self._connected)

    def disconnect(self) -> None:
        """Forget the server; the scene stays."""
        self._client = None
        self._update(connected=False, address="", report=None, server=None, models=(), versions={})
        self._say("info", "Not connected.")

    def model(self, name: str) -> Optional[ModelInfo]:
        """Return a model of the connected server."""
        return next((model for model in self.state.models if model.name == name), None)

    def versions(self, model: str) -> Job:
        """Read the versions of a model into `state.versions`. Result: `VersionList`."""
        return self._beside("Reading the versions", lambda job: self._server().versions(model, job.token), self._list)

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

    def _new_client(self, url: str, token: Optional[str], ca_file: Optional[str]) -> MedGANClient:
        return MedGANClient(url, token, ca_file=ca_file or None, cache_dir=self.folder / "studies")

    def _server(self) -> MedGANClient:
        if self._client is None:
            raise SceneProblem("There is no connection to a server.", "Enter its address and connect.")
        return self._client

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        client, report = outcome
        self._client = client
        server = report.info if report.ok else None
        self._update(
            connected=report.ok,
            address=client.address if client else "",
            report=report,
            server=server,
            models=server.models if server else (),
        )
        self._say("success" if report.ok else "error", report.message, report.hint, report.notes)
        return report

    def _refresh(self) -> None:
        """Read the server's description again, beside everything else."""
        client = self._server()

        def finish(info: Any) -> None:
            self._update(server=info, models=info.models)

        self._beside("Reading the models", lambda job: client.info(job.token), finish, quiet=True)

    def _strategy(self) -> str:
        return self.state.server.strategies[0] if self.state.server and self.state.server.strategies else "random"

    def _model(self, name: str) -> ModelInfo:
        self._server()
        model = self.model(name)
        if model is None:
            raise NotFound(f"The server has no model '{name}'.", "Connect again to refresh the list.")
        return model

    def _list(self, versions: VersionList) -> VersionList:
        self._update(versions={**self.state.versions, versions.model: versions})
        return versions

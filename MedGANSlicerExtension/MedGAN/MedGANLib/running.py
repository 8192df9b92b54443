"""A run of a model while its answer is awaited: progress from the server, and cancelling it there too."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Optional, Type

from .cancel import CancelToken
from .errors import MedGANError
from .transport import Progress, Request

if TYPE_CHECKING:
    from .client import MedGANClient

POLL_SECONDS = 0.5
SENT, ANSWERED = 0.15, 0.9
"""Share of the whole at which sending ends, and at which receiving begins."""


class RunningJob:
    """Reports the phases of one call of `/infer/…`, and asks the server to stop when the call is cancelled."""

    def __init__(
        self, client: MedGANClient, job_id: str, request: Request, progress: Optional[Progress] = None
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._report: Progress = progress or (lambda fraction, phrase: None)
        self._watching = threading.Event()
        self._over = CancelToken()
        self._forget: Callable[[], None] = lambda: None
        self._token = request.cancel or CancelToken()
        request.on_sent = self._sending

    def __enter__(self) -> RunningJob:
        self._forget = self._token.on_cancel(self._cancel_at_server)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._forget()
        self._over.cancel()

    def answered(self) -> None:
        """Tell that the model has finished: nothing is left to watch or to cancel at the server."""
        self._forget()
        self._over.cancel()

    def receiving(self, fraction: float) -> None:
        """Report how much of the result has arrived."""
        share = ANSWERED + (1 - ANSWERED) * fraction if fraction >= 0 else ANSWERED
        self._report(share, "Receiving the result")

    def _sending(self, fraction: float) -> None:
        self._report(SENT * fraction, "Sending the request" if fraction < 1 else "Running the model")
        if fraction >= 1 and not self._watching.is_set():
            self._watching.set()
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Report the server's own progress until the answer is there; a stock server has none to tell."""
        while not self._over.wait(POLL_SECONDS):
            try:
                status = self._client.job(self._job_id, self._over)
            except MedGANError:
                return
            if not self._over.cancelled:
                phrase = "Waiting in the server's queue" if status.state == "queued" else "Running the model"
                self._report(SENT + (ANSWERED - SENT) * status.progress, phrase)

    def _cancel_at_server(self) -> None:
        threading.Thread(target=self._ask_to_cancel, daemon=True).start()

    def _ask_to_cancel(self) -> None:
        try:
            self._client.cancel_job(self._job_id)
        except MedGANError:
            return  # the run is over, or the server has no such route

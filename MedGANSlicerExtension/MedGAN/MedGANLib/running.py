"""A job at the server while its answer is awaited: progress from the server, and cancelling it there too."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Callable, Optional, Type

from .calls import ServerCalls
from .cancel import CancelToken
from .errors import MedGANError
from .transport import Progress, Request

POLL_SECONDS = 0.5
SENT, ANSWERED = 0.15, 0.9
"""Share of the whole at which sending ends, and at which receiving begins."""
PASSING = ("unknown_job", "timed_out", "busy")
RUNNING = "Running the model"


class RunningJob:
    """Reports the phases of one call that is a job at the server, and asks for its end when the call is cancelled."""

    def __init__(
        self,
        client: ServerCalls,
        job_id: str,
        request: Request,
        progress: Optional[Progress] = None,
        phrase: str = RUNNING,
    ) -> None:
        """Follow the job of a request that is about to be sent; `phrase` says what the server does."""
        self._client = client
        self._job_id = job_id
        self._phrase = phrase
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
        """Tell that the server has finished: nothing is left to watch or to cancel at the server."""
        self._forget()
        self._over.cancel()

    def receiving(self, fraction: float) -> None:
        """Report how much of the result has arrived."""
        share = ANSWERED + (1 - ANSWERED) * fraction if fraction >= 0 else ANSWERED
        self._report(share, "Receiving the result")

    def _sending(self, fraction: float) -> None:
        self._report(SENT * fraction, "Sending the request" if fraction < 1 else self._phrase)
        if fraction >= 1 and not self._watching.is_set():
            self._watching.set()
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Report the server's own progress until the answer is there; a stock server has none to tell.

        A server that is still storing what was sent does not know the job yet, and one that is busy may be silent.
        """
        while not self._over.wait(POLL_SECONDS):
            try:
                status = self._client.job(self._job_id, self._over)
            except MedGANError as error:
                if error.code in PASSING:
                    continue
                return
            if not self._over.cancelled:
                phrase = "Waiting in the server's queue" if status.state == "queued" else self._phrase
                self._report(SENT + (ANSWERED - SENT) * status.progress, phrase)

    def _cancel_at_server(self) -> None:
        threading.Thread(target=self._ask_to_cancel, daemon=True).start()

    def _ask_to_cancel(self) -> None:
        try:
            self._client.cancel_job(self._job_id)
        except MedGANError:
            return  # the job is over, or the server has no such route

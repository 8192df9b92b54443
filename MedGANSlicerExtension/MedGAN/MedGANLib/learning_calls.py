"""The calls of the client that are about learning: verdicts, training, versions, and the history of labels."""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping, Optional, Tuple
from urllib.parse import quote

from .calls import ServerCalls, too_old_or
from .cancel import CancelToken
from .errors import Disconnected, MedGANError, NotAMedGANServer, NotFound
from .events import MEDIA_TYPE, event_data
from .histories import LabelHistory
from .jobs import ignore
from .multipart import JsonBody
from .records import TrainingStatus, VersionList
from .reviews import ReviewList
from .servings import Serving
from .transport import Reply
from .verdicts import MarkedStudies

FINAL = "final"
"""Tag of the labels that models learn from."""
NO_TRAINING = "no_training"
NO_HISTORY = "This server keeps no history of labels."


SILENCE = 45.0
"""Seconds without an event, or a sign of life, after which a stream is taken for dead; a server gives one every 15."""


def _of_kind(reply: Reply, kind: str) -> Reply:
    if not reply.content_type.startswith(kind):
        raise NotAMedGANServer("Something answered, but not with events.", "Check the address and the port.")
    return reply


def _quoted(name: str) -> str:
    return quote(name, safe="")


class LearningCalls(ServerCalls):
    """What clinicians teach a server, and what becomes of it."""

    def mark(self, model: str, image_id: str, verdict: str, cancel: Optional[CancelToken] = None) -> Mapping[str, Any]:
        """Call a study `normal` or `abnormal` for an anomaly model, or take that back with an empty `verdict`.

        Returns:
            `image`, `verdict`, and how many studies are marked now: `normal`, `abnormal`.
        """
        request = self._request("POST", f"/verdict/{_quoted(model)}", body=JsonBody({"verdict": verdict}))
        request.query, request.cancel = {"image": image_id}, cancel
        answer: Mapping[str, Any] = self._answer(request)
        return answer

    def marked(self, model: str, cancel: Optional[CancelToken] = None) -> MarkedStudies:
        """Return which studies are marked for an anomaly model."""
        return MarkedStudies.from_json(self._json("GET", f"/verdict/{_quoted(model)}", cancel=cancel))

    def train_start(
        self, model: str, settings: Optional[Mapping[str, Any]] = None, cancel: Optional[CancelToken] = None
    ) -> TrainingStatus:
        """Start training, or let it wait in the server's queue (`state` is `queued`) while another run goes on.

        Raises:
            Busy: The model waits already; or a run goes on at an older server, which has no queue.
            CannotProcess: There are too few labels.
        """
        answer = self._json("POST", f"/train/{_quoted(model)}", dict(settings or {}), cancel=cancel)
        return TrainingStatus.from_json({"model": model, **answer})

    def train_status(self, cancel: Optional[CancelToken] = None) -> TrainingStatus:
        """Return the last or current run; `state` is `none` when nothing was ever trained."""
        try:
            return TrainingStatus.from_json(self._json("GET", "/train/", cancel=cancel))
        except NotFound:
            return TrainingStatus(state="none")

    def train_follow(
        self, tell: Callable[[TrainingStatus], None] = ignore, cancel: Optional[CancelToken] = None
    ) -> TrainingStatus:
        """Hear of the training as it goes on; blocks until no run goes on or waits, or the server ends the stream.

        Args:
            tell: Called with every status that the server sends.
            cancel: Ends the call.

        Returns:
            The last status; `state` is `none` when nothing was ever trained.

        Raises:
            ServerTooOld: The server has no stream; ask for `train_status` from time to time.
            Busy: Too many follow. Disconnected: The stream broke off, or had no event.
        """
        status: Optional[TrainingStatus] = None
        request = self._request("GET", "/train/events", cancel=cancel)
        request.timeout, request.deadline = max(request.timeout, SILENCE), None
        try:
            with self._transport.exchange(request) as reply:
                for data in event_data(_of_kind(reply, MEDIA_TYPE).blocks()):
                    status = TrainingStatus.from_json(json.loads(data))
                    tell(status)
        except MedGANError as error:
            if error.code == NO_TRAINING:
                return TrainingStatus(state="none")
            raise too_old_or(error, "This server does not stream its training's progress.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise NotAMedGANServer("The server's events cannot be read.", "Check its version.") from error
        if status is None:
            raise Disconnected("The server ended the stream before it told anything.", "Try again.")
        return status

    def train_stop(self, cancel: Optional[CancelToken] = None) -> None:
        """Stop the training run; nothing of it is promoted."""
        self._json("DELETE", "/train/", cancel=cancel)

    def train_cancel(self, run: str, cancel: Optional[CancelToken] = None) -> None:
        """Cancel one run, active or waiting."""
        self._json("DELETE", f"/train/runs/{_quoted(run)}", cancel=cancel)

    def train_runs(self, limit: int = 20, cancel: Optional[CancelToken] = None) -> Tuple[TrainingStatus, ...]:
        """Return the last runs, the newest first; raises `ServerTooOld` where no list is kept."""
        request = self._request("GET", "/train/runs", cancel=cancel)
        request.query = {"limit": str(limit)}
        answer = self._newer(request, "This server keeps no list of its training runs.")
        return tuple(
            TrainingStatus.from_json({"medgan": entry}) for entry in answer.get("runs") or answer.get("list") or ()
        )

    def serving(self, cancel: Optional[CancelToken] = None) -> Serving:
        """Return which versions serve; cheap enough to be asked often. Raises `ServerTooOld` on older servers."""
        request = self._request("GET", "/serving", cancel=cancel)
        return Serving.from_json(self._newer(request, "This server does not tell which versions serve."))

    def review(self, model: str, cancel: Optional[CancelToken] = None) -> ReviewList:
        """Return the studies that wait for a label, the worst first; raises `ServerTooOld` on older servers."""
        request = self._request("GET", f"/review/{_quoted(model)}", cancel=cancel)
        return ReviewList.from_json({"model": model, **self._newer(request, "This server keeps no review list.")})

    def label_history(self, label: str, cancel: Optional[CancelToken] = None) -> LabelHistory:
        """Return the changes of a study's final label; none of one that has no label."""
        request = self._request("GET", "/datastore/label/history", cancel=cancel)
        request.query = {"label": label, "tag": FINAL}
        try:
            answer = self._newer(request, NO_HISTORY)
        except NotFound:
            answer = {}
        return LabelHistory.from_json({**answer, "label": label})

    def undo_label(self, label: str, author: str = "", cancel: Optional[CancelToken] = None) -> LabelHistory:
        """Take the last change of a study's final label back; raises `Conflict` when there is none."""
        return self._change_label("undo", {"label": label, "tag": FINAL}, author, cancel)

    def restore_label(
        self, label: str, number: int, author: str = "", cancel: Optional[CancelToken] = None
    ) -> LabelHistory:
        """Make an earlier label of a study its final label again."""
        return self._change_label("restore", {"label": label, "tag": FINAL, "number": str(number)}, author, cancel)

    def _change_label(
        self, action: str, query: Mapping[str, str], author: str, cancel: Optional[CancelToken]
    ) -> LabelHistory:
        request = self._request("POST", f"/datastore/label/{action}", body=JsonBody({"author": author}), cancel=cancel)
        request.query = query
        answer = self._newer(request, NO_HISTORY)
        history = LabelHistory.from_json({**answer, "label": query["label"]})
        return history if "entries" in answer else self.label_history(query["label"], cancel)

    def versions(self, model: str, cancel: Optional[CancelToken] = None) -> VersionList:
        """Return all versions of a model; raises `ServerTooOld` on a stock MONAI Label server."""
        request = self._request("GET", f"/models/{_quoted(model)}/versions", cancel=cancel)
        return VersionList.from_json(self._newer(request, "This server keeps no versions of its models."))

    def set_current_version(
        self, model: str, version: str, *, force: bool = False, cancel: Optional[CancelToken] = None
    ) -> VersionList:
        """Serve `version` from the next request on; a refused version raises `Conflict` unless `force`."""
        document = {"version": version, **({"force": True} if force else {})}
        self._json("PUT", f"/models/{_quoted(model)}/current", document, cancel=cancel)
        return self.versions(model, cancel)

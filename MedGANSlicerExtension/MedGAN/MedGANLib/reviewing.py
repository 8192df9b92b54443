"""Looking back: which studies deserve a look first, and the history of a study's label."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .client import MedGANClient
from .errors import SceneProblem
from .histories import LabelHistory
from .jobs import Job, Work
from .judging import Judging
from .records import SubmitReceipt
from .reviews import ReviewList
from .volumes import known_id

Change = Callable[[MedGANClient, str, Job], LabelHistory]
"""Changes the label of a study, given its id, on a worker."""


class Reviewing(Judging):
    """Reads review lists and histories; takes back what was submitted."""

    def read_review(self, model: str) -> Job:
        """Read which studies wait for a label into `state.reviews`, the worst first. Result: `ReviewList`."""

        def finish(review: ReviewList) -> ReviewList:
            self._update(reviews={**self.state.reviews, model: review})
            return review

        return self._ask("Reading the review list", lambda client, token: client.review(model, token), finish)

    def read_history(self, image_id: str, quiet: bool = False) -> Job:
        """Read the history of a study's label into `state.history`; `quiet` about failures. Result: `LabelHistory`."""
        return self._ask(
            "Reading the history",
            lambda client, token: client.label_history(image_id, token),
            self._keep_history,
            quiet,
        )

    def undo_submit(self, volume: Any = None) -> Job:
        """Take back the last change of a study's label at the server. Result: `LabelHistory`."""

        def undo(client: MedGANClient, image_id: str, job: Job) -> LabelHistory:
            return client.undo_label(image_id, self.author, job.token)

        return self._change_label("Undoing the submission", volume, undo, _undone)

    def restore_label(self, number: int, volume: Any = None) -> Job:
        """Make an earlier label of a study its label again. Result: `LabelHistory`."""

        def restore(client: MedGANClient, image_id: str, job: Job) -> LabelHistory:
            return client.restore_label(image_id, number, self.author, job.token)

        return self._change_label("Restoring the label", volume, restore, lambda h: f"Label {number} counts again.")

    def _change_label(self, title: str, volume: Any, change: Change, words: Callable[[LabelHistory], str]) -> Job:
        def prepare() -> Work:
            client = self._server()
            image_id = known_id(volume or self._volume(), client.address)
            if not image_id:
                raise SceneProblem("The server does not know this volume.", "It has no label there.")
            return lambda job: change(client, image_id, job)

        def finish(history: LabelHistory) -> LabelHistory:
            self._keep_history(history)
            self._refresh()
            self._say("success", words(history), "The segments here stay as they are.")
            return history

        return self._start(title, prepare, finish)

    def _keep_history(self, history: LabelHistory) -> LabelHistory:
        self._update(history=history)
        return history

    def _submitted_to(self, receipt: SubmitReceipt) -> None:
        """Follow the history of a label that was submitted, at servers that keep one."""
        super()._submitted_to(receipt)
        if receipt.history:
            self.read_history(receipt.image, quiet=True)


def _undone(history: LabelHistory) -> str:
    current: Optional[int] = history.current
    if current is None:
        return "The submission was undone: the study has no final label now."
    return f"The last change was undone: label {current} counts."

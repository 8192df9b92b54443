"""Learning from corrections: submitting labels, and training on them."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from .cancel import CancelToken
from .client import MedGANClient
from .correcting import Correcting
from .errors import (
    Busy,
    Conflict,
    Disconnected,
    MedGANError,
    NotAMedGANServer,
    SceneProblem,
    ServerTooOld,
    TimedOut,
)
from .exports import LabelExport, export_labels
from .jobs import Job, Tidy, Work
from .marks import upload_params
from .records import ConnectionReport, ModelInfo, SubmitReceipt, TrainingStatus
from .runs import label_table
from .segments import handwork, model_version
from .volumes import (
    SentVolume,
    check_sendable,
    forget_if_changed,
    is_synthetic,
    known_id,
    server_affine,
    server_flipped,
)

TRAINING_POLL_SECONDS = 1.0
SYNTHETIC_NOTE = "The volume was made by a model; the server keeps it marked as synthetic."
SUBMITTED = "MedGAN.Submitted"
"""Attribute of a segmentation: a digest of what was drawn by hand in it when it was submitted last."""
OVER = {
    "promoted": ("success", "Training is over: the new version serves."),
    "refused": ("warning", "Training is over: the new version was not better and was refused."),
    "cancelled": ("info", "Training was stopped; the serving version stays."),
    "failed": ("error", "Training failed; the serving version stays."),
    "done": ("success", "Training is over."),
}
"""Kind and text of the message about a training run that has ended."""


class Learning(Correcting):
    """Submits corrected labels and follows the training run.

    Attributes:
        author: Who corrects, as it shall stand in the history of labels; empty when that is not told.
    """

    author = ""

    _follow: Optional[Job] = None
    _streams = True  # whether the server tells of each change; else it is asked
    _away = False  # whether it was told that the server does not answer

    def submit(self, model: str, segmentation: Any = None, volume: Any = None) -> Job:
        """Send the corrected segments as the study's final label. Result: `SubmitReceipt`.

        A volume that the server does not know is added to its studies first, after consent.
        """
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            description, target = self._model(model), volume or self._volume()
            check_sendable(target)
            forget_if_changed(target)
            segments = segmentation or self._segmentation(target)
            export = self._export(description, segments, target)
            version = model_version(segments, description.name)
            context.update(sent=SentVolume.of(target), export=export, segments=segments, hand=handwork(segments))
            try:
                return Tidy([export.path], self._submission(description, version, target, export.path))
            except MedGANError:
                export.path.unlink()
                raise

        def finish(receipt: SubmitReceipt) -> SubmitReceipt:
            self._now_known(context["sent"], receipt.image)
            context["segments"].SetAttribute(SUBMITTED, context["hand"])
            self._refresh()
            kind, text, hint, details = _submitted(receipt, context["export"], self._model(model))
            mark = (SYNTHETIC_NOTE,) if is_synthetic(context["sent"].volume) else ()
            self._say(kind, text, hint, (*mark, *details))
            self._submitted_to(receipt)
            return receipt

        return self._start("Submitting the label", prepare, finish)

    def start_training(self, model: str, settings: Optional[Mapping[str, Any]] = None) -> Job:
        """Start training on the submitted studies, or let it wait; then `follow_training`. Result: `TrainingStatus`."""

        def prepare() -> Work:
            client = self._server()
            asked = {**(settings or {}), **({"author": self.author} if self.author else {})}
            return lambda job: client.train_start(model, asked, job.token)

        def finish(status: TrainingStatus) -> TrainingStatus:
            self._forget_followed()
            if status.state == "queued":
                place = f" at place {status.position}" if status.position else ""
                self._say("info", f"The training waits{place}.", "It starts by itself when its turn comes.")
                self.follow_training()
            else:
                self._update(training=replace(status, queue=self.state.training.queue))
                self._say("info", "Training has started.")
            self._training_asked()
            return status

        return self._start("Starting the training", prepare, finish)

    def follow_training(self) -> Optional[Job]:
        """Keep `state.training` true from now on; call it from a timer too. None while it is followed already.

        The server tells of each change until no run goes on or waits; then the job is done. One that cannot is asked
        once for each call. Result: the last `TrainingStatus`.
        """
        if self._client is None or (self._follow and not self._follow.finished):
            return None
        streams = self._streams

        def question(client: MedGANClient, job: Job) -> Tuple[TrainingStatus, bool]:
            return _streamed(client, job) if streams else (client.train_status(job.token), False)

        def finish(heard: Tuple[TrainingStatus, bool]) -> TrainingStatus:
            status, self._away = heard[0], False
            if asked is not self._follow or self._is_older(status):
                return status
            self._streams = heard[1]
            return self._trained(status)

        def failed(error: MedGANError) -> None:
            if self.state.training.running and not self._away:
                self._away = True  # once is enough
                self._tell(error)

        self._follow = asked = self._listen("Following the training", question, finish, failed, live=streams)
        return asked

    def _is_older(self, status: TrainingStatus) -> bool:
        """Whether a status was on its way when it was told that the same run had ended."""
        known = self.state.training
        return bool(known.run) and known.run == status.run and known.state in OVER and status.state not in OVER

    def stop_training(self) -> Job:
        """Stop the training run; the serving version stays. Result: `TrainingStatus`."""

        def question(client: MedGANClient, token: CancelToken) -> TrainingStatus:
            client.train_stop(token)
            return client.train_status(token)

        return self._ask("Stopping the training", question, self._trained)

    def wait_for_training(self, timeout: float = 3600.0) -> TrainingStatus:
        """Follow until the training run is over; return its last status. For scripts, not for widgets.

        Raises:
            TimedOut: It still runs after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            job = self.follow_training() or self._follow
            try:
                if job:
                    self.wait(job, left)
            except TimedOut:
                if not job or job.finished:  # the server did not answer
                    raise
            if not self.state.training.open:
                return self.state.training
            time.sleep(TRAINING_POLL_SECONDS)
        raise TimedOut(f"Training still runs after {timeout:g} seconds.", "Wait longer, or stop it.")

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        """Ask about training too: a run that was started earlier, or by somebody else, may be going on."""
        report = super()._connected(outcome)
        self._forget_followed()  # its answer is another server's
        self._streams, self._away = True, False
        if report.ok:
            self.follow_training()
        return report

    def _unsubmitted(self, volume: Any) -> Tuple[str, ...]:
        """Say that corrections of a study that is left were not submitted; nothing is lost, but easily forgotten."""
        segments = self._segmentation(volume)
        hand = handwork(segments) if segments else ""
        if not hand or segments.GetAttribute(SUBMITTED) == hand:
            return ()
        return (f"Your corrections of '{volume.GetName()}' were not submitted. Choose that volume to go on with it.",)

    def _export(self, model: ModelInfo, segmentation: Any, volume: Any) -> LabelExport:
        if segmentation is None:
            raise SceneProblem("There is no segmentation to submit.", "Run a model, or choose a segmentation.")
        address = self._server().address
        path = self.folder / f"{secrets.token_hex(8)}.nrrd"
        grid, flipped = server_affine(volume, address), server_flipped(volume, address)
        return export_labels(segmentation, volume, label_table(model), path, grid, flipped)

    def _submission(self, model: ModelInfo, version: str, volume: Any, label: Path) -> Work:
        client = self._server()
        known = known_id(volume, client.address)
        file = None if known else self._outgoing(volume, stored=True)
        image_id, mark, author = known or self._upload_id(volume), upload_params(volume), self.author

        def work(job: Job) -> SubmitReceipt:
            if file:
                upload_once(client, file, image_id, job, mark)
            return client.submit_label(
                image_id,
                label,
                model=model.name,
                version=version,
                label_info=[{"name": name, "idx": value} for name, value in model.labels.items()],
                author=author,
                progress=job.report,
                cancel=job.token,
            )

        return Tidy([file], work)

    def _forget_followed(self) -> None:
        if self._follow:
            self._follow.cancel()
        self._follow = None

    def _training_asked(self) -> None:
        """Called after a training was started or queued; later layers follow what comes of it."""

    def _submitted_to(self, receipt: SubmitReceipt) -> None:
        """Called after a label was submitted; later layers follow what comes of it."""

    def _trained(self, status: TrainingStatus) -> TrainingStatus:
        was_running, run = self.state.training.running, self.state.training.run
        self._update(training=status)
        if was_running and (not status.running or status.run != run):
            kind, text = OVER.get(status.state, ("info", "Training is over."))
            reason = status.verdict.reason if status.verdict else status.error
            self._say(kind, text, reason)
            self._refresh()
            if status.model in self.state.versions:
                self.versions(status.model)
        return status


def _streamed(client: MedGANClient, job: Job) -> Tuple[TrainingStatus, bool]:
    """Tell each status as it comes, and return the last one; of a server, or a way there, without streams: one status.

    Returns:
        The status, and whether it was streamed.
    """
    heard = []

    def tell(status: TrainingStatus) -> None:
        heard.append(status)
        job.tell((status, True))

    try:
        return client.train_follow(tell, job.token), True
    except (ServerTooOld, Busy, TimedOut, Disconnected, NotAMedGANServer) as error:
        if heard or error.code == "too_many_requests":
            raise
        return client.train_status(job.token), False


def upload_once(client: MedGANClient, file: Path, image_id: str, job: Job, mark: Mapping[str, Any]) -> None:
    """Upload a volume under a random id; that it is taken means that an earlier try had come through."""
    try:
        client.upload_image(file, image_id, job.report, job.token, mark)
    except Conflict:
        job.report(-1.0, "It was sent before")


def _submitted(receipt: SubmitReceipt, export: LabelExport, model: ModelInfo) -> Tuple[str, str, str, Tuple[str, ...]]:
    table = label_table(model)
    parts = ", ".join(f"{table.name_of(value)} {count:,}" for value, count in export.voxels.items())
    text = f"Submitted (voxels: {parts})" + (", in place of the earlier label." if receipt.replaced else ".")
    hint = "Go on with the next study, or start training."
    return "warning" if export.warnings else "success", text, hint, (*export.warnings, *export.notes)

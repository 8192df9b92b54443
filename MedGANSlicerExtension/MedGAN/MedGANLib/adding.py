"""Adding samples to a server's training studies, one after the other, on a worker."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Set, Tuple

from .client import MedGANClient
from .errors import (
    Busy,
    Cancelled,
    Conflict,
    ConnectionRefused,
    HostNotFound,
    MedGANError,
    TimedOut,
    TLSFailed,
    TokenRequired,
)
from .gallery import ADDED, FAILED, THERE, UNTRIED, Addition, Gallery, Sample, study_id
from .jobs import Job
from .marks import sample_params
from .records import ModelInfo
from .state import counted

HOPELESS = (Cancelled, ConnectionRefused, HostNotFound, TimedOut, TLSFailed, TokenRequired)
"""Failures that the next sample would meet too."""
THERE_TEXT = "this sample is there already"


class AddWork:
    """Uploads the accepted samples of a gallery: image, then label.

    Args of the constructor:
        client: The server.
        gallery: The samples.
        learner: The model that will learn from them; the server checks the labels against it.
        begun: Ids whose image may be there without its label, from an earlier try; kept up to date.
    """

    def __init__(self, client: MedGANClient, gallery: Gallery, learner: Optional[ModelInfo], begun: Set[str]) -> None:
        self._client = client
        self._gallery = gallery
        self._learner = learner
        self._begun = begun

    def __call__(self, job: Job) -> Mapping[int, Addition]:
        """Return what became of each sample; stops at a failure that all would meet, and when it is cancelled."""
        additions: Dict[int, Addition] = {}
        waiting = self._gallery.waiting
        for place, sample in enumerate(waiting):
            job.report(place / len(waiting), f"Sending sample {sample.number}")
            try:
                additions[sample.number] = self._add(sample, job)
            except HOPELESS as error:
                kind = UNTRIED if isinstance(error, Cancelled) else FAILED
                additions[sample.number] = Addition(kind, error.text())
                rest = [s.number for s in waiting[place + 1 :]]
                return {**additions, **{number: Addition(UNTRIED) for number in rest}}
            except MedGANError as error:
                additions[sample.number] = Addition(FAILED, error.text())
        return additions

    def _add(self, sample: Sample, job: Job) -> Addition:
        name = study_id(self._gallery, sample)
        retried = name in self._begun
        self._begun.add(name)
        try:
            params = sample_params(self._gallery, sample)
            self._client.upload_image(sample.image, name, cancel=job.token, params=params)
        except Conflict as error:
            if retried:
                return self._add_label(sample, name, job)
            self._begun.discard(name)
            if isinstance(error, Busy):
                raise
            return Addition(THERE, THERE_TEXT)
        return self._add_label(sample, name, job)

    def _add_label(self, sample: Sample, name: str, job: Job) -> Addition:
        if sample.label is None:
            return Addition(FAILED, "It has no label.")
        self._client.submit_label(
            name,
            sample.label,
            model=self._learner.name if self._learner else "",
            label_info=[{"name": label, "idx": value} for label, value in sample.labels.items()],
            cancel=job.token,
        )
        self._begun.discard(name)
        return Addition(ADDED)


def told(
    gallery: Gallery, additions: Mapping[int, Addition], cancelled: bool = False
) -> Tuple[str, str, str, List[str]]:
    """Return kind, text, hint and details of the message about an addition."""
    added = sum(addition.kind == ADDED for addition in additions.values())
    verb = "was" if added == 1 else "were"
    text = f"{counted(added, 'synthetic study', 'synthetic studies')} {verb} added to the training studies."
    details = [_detail(number, gallery, addition) for number, addition in additions.items() if addition.kind != ADDED]
    if cancelled:
        return "info", f"Cancelled. {text}", "Press the button again to go on.", details
    if any(addition.kind in (FAILED, UNTRIED) for addition in additions.values()):
        return ("warning" if added else "error"), text, "Those that failed can be tried again.", details
    return ("warning" if details else "success"), text, "Training will use them; validation never does.", details


def _detail(number: int, gallery: Gallery, addition: Addition) -> str:
    seed = next(sample.seed for sample in gallery.samples if sample.number == number)
    words = {FAILED: f"failed: {addition.reason}", UNTRIED: "was not added.", THERE: f"{addition.reason}."}
    return f"Sample {number} (seed {seed}): {words[addition.kind]}"

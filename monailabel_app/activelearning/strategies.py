"""Strategies: each chooses among the acquired studies without a final label that are not in another client's hands."""

from __future__ import annotations

import logging
import random
import time
from abc import abstractmethod
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from monailabel_app.datastore import StudyDatastore
from trainers.data.volumes import VolumeError, check_file

logger = logging.getLogger(__name__)

RESERVED = "strategy"  # MONAI Label's key for who was given a study, and when
SCORES = "medgan_scores"


class Reserving(Strategy):
    """A strategy that keeps a study from other clients for a while. Call it inside a datastore transaction.

    Args:
        description: for the client. minutes: how long.
    """

    def __init__(self, description: str, minutes: float) -> None:
        super().__init__(description)
        self._seconds = 60 * minutes

    @abstractmethod
    def choose(self, studies: list[str], request: dict[str, Any], datastore: StudyDatastore) -> str:
        """Picks one of `studies`, which are sorted and not empty."""

    def __call__(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, str]:
        """Chooses and reserves. Returns `{"id": …}`, or nothing if there is none to label."""
        client = str(request.get("client_id") or "")
        made = set(datastore.synthetic_images())
        waiting = [name for name in datastore.get_unlabeled_images() if name not in made]
        studies = [name for name in waiting if self._is_free(name, client, datastore)]
        while studies:
            name = self.choose(studies, request, datastore)
            if _is_readable(name, datastore):
                mark = {str(request.get("strategy") or "random"): {"ts": time.time(), "client_id": client}}
                datastore.update_image_info(name, {RESERVED: mark})
                return {"id": name}
            studies.remove(name)
        return {}

    def _is_free(self, study: str, client: str, datastore: StudyDatastore) -> bool:
        return all(
            mark.get("client_id") == client or time.time() - mark.get("ts", 0) > self._seconds
            for mark in _marks(study, datastore)
        )


class First(Reserving):
    """The first by name."""

    def __init__(self, minutes: float) -> None:
        super().__init__("The first study without a label, by name.", minutes)

    def choose(self, studies: list[str], request: dict[str, Any], datastore: StudyDatastore) -> str:
        """The first."""
        return studies[0]


class Random(Reserving):
    """Any, but not the one that this client was just given if there is another."""

    def __init__(self, minutes: float, seed: int = 0) -> None:
        super().__init__("Any study without a label.", minutes)
        self._random = random.Random(seed)

    def choose(self, studies: list[str], request: dict[str, Any], datastore: StudyDatastore) -> str:
        """Draws; `seed` in the request makes the draw repeatable."""
        draw = random.Random(request["seed"]) if isinstance(request.get("seed"), int) else self._random
        fresh = [name for name in studies if not list(_marks(name, datastore))]
        return draw.choice(fresh or studies)


class MostUncertain(Reserving):
    """The one that the model is least sure of; studies that were not scored come after those that were."""

    def __init__(self, minutes: float) -> None:
        super().__init__("The study whose segmentation the model is least sure of.", minutes)

    def choose(self, studies: list[str], request: dict[str, Any], datastore: StudyDatastore) -> str:
        """The highest score."""
        return max(studies, key=lambda name: score_of(datastore.get_image_info(name)))


def _is_readable(study: str, datastore: StudyDatastore) -> bool:
    """Whether the file's header is that of an image; a clinician who was handed another could not go on."""
    try:
        check_file(datastore.image_path(study))
    except VolumeError as error:
        logger.warning("The study %s is passed over: %s", study, error.code)
        return False
    return True


def score_of(info: dict[str, Any]) -> float:
    """The uncertainty in a study's info, nats; -1 if it was not scored."""
    value = (info.get(SCORES) or {}).get("uncertainty")
    return float(value) if isinstance(value, int | float) else -1.0


def _marks(study: str, datastore: StudyDatastore) -> list[dict[str, Any]]:
    marks = datastore.get_image_info(study).get(RESERVED) or {}
    return [mark for mark in marks.values() if isinstance(mark, dict)]

"""Strategies: each chooses among the acquired studies without a final label that are not in another client's hands."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.strategy import Strategy

from monailabel_app.activelearning.scores import is_unreadable, pool_of
from monailabel_app.datastore import StudyDatastore
from trainers.data.volumes import VolumeError, check_file
from trainers.tasks.segmentation.choosing import Choose

logger = logging.getLogger(__name__)

RESERVED = "strategy"  # MONAI Label's key for who was given a study, and when


class Reserving(Strategy):
    """A strategy that keeps a study from other clients for a while. Call it inside a datastore transaction.

    Args:
        choose: picks one of a pool. description: for the client. minutes: how long a study is kept.
        model: whose scores are looked at. labels: names of its labels.
        fresh: whether studies that were given before come last, so that who asks again gets another one.
        seed: of chance.
    """

    def __init__(
        self,
        choose: Choose,
        description: str,
        minutes: float,
        model: str = "",
        labels: list[str] | None = None,
        fresh: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(description)
        self._choose, self._seconds, self._model, self._labels = choose, 60 * minutes, model, labels or []
        self._fresh, self._random = fresh, np.random.default_rng(seed)

    def __call__(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, str]:
        """Chooses and reserves.

        Args:
            request: `strategy`, `client_id`; `seed` makes the draw repeatable.
            datastore: the studies.

        Returns:
            `{"id", "reason"}`, or nothing if there is none to label.
        """
        client = str(request.get("client_id") or "")
        made = set(datastore.synthetic_images())
        waiting = [name for name in datastore.get_unlabeled_images() if name not in made]
        studies = [n for n in waiting if not reserved(datastore.get_image_info(n), client, self._seconds)]
        seed = request.get("seed")
        draw = np.random.default_rng(abs(seed)) if isinstance(seed, int) else self._random
        while studies:
            fresh = [name for name in studies if self._fresh and not _marks(datastore.get_image_info(name))]
            pick = self._choose(pool_of(datastore, fresh or studies, self._model, self._labels), draw)
            if _is_readable(pick.study, datastore):
                strategy = str(request.get("strategy") or "random")
                datastore.update_image_info(
                    pick.study, {RESERVED: {strategy: {"ts": time.time(), "client_id": client}}}
                )
                return {"id": pick.study, "reason": pick.reason}
            studies.remove(pick.study)
        return {}


def _is_readable(study: str, datastore: StudyDatastore) -> bool:
    """Whether the file is that of an image, by its header and by what scoring found of its voxels.

    A clinician who was handed another could not go on.
    """
    if is_unreadable(datastore.get_image_info(study), datastore.image_stamp(study)):
        return False
    try:
        check_file(datastore.image_path(study))
    except VolumeError as error:
        logger.warning("The study %s is passed over: %s", study, error.code)
        return False
    return True


def reserved(info: Mapping[str, Any], client: str, seconds: float) -> bool:
    """Whether a study, by what is known of it, was handed to another client in the last seconds."""
    return any(m.get("client_id") != client and time.time() - m.get("ts", 0) <= seconds for m in _marks(info))


def _marks(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    marks = info.get(RESERVED) or {}
    return [mark for mark in marks.values() if isinstance(mark, dict)]

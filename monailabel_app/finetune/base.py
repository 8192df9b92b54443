"""What all fine-tuning has in common: a run in a process of its own, a candidate, and the gate's verdict on it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

from monailabel.interfaces.tasks.train import TrainTask

from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError
from monailabel_app.finetune.gate import Verdict
from monailabel_app.finetune.runs import Run, verdict_shown
from monailabel_app.options import Schema, validate
from monailabel_app.registry import Registry, Version
from monailabel_app.watch import die_with, stand_back
from trainers.data.cases import CasesError
from trainers.data.volumes import VolumeError
from trainers.monitor import Cancelled
from trainers.spec import ModelNotAvailable

logger = logging.getLogger(__name__)
TOLD = (MedGANError, VolumeError, ModelNotAvailable, CasesError, FileNotFoundError)


class FineTuning(TrainTask):
    """Makes a candidate of the version that serves and lets the gate decide on it.

    Args:
        model: what is trained. config: the server's settings. registry: versions.
    """

    about = ""

    def __init__(self, model: str, config: ServerConfig, registry: Registry) -> None:
        super().__init__(self.about.format(model=model))
        self.model, self.server, self.registry = model, config, registry

    @abstractmethod
    def schema(self) -> Schema:
        """What a request may set."""

    def check(self, datastore: StudyDatastore) -> None:
        """Raises MedGANError `too_few_labels` if there is nothing to learn from; a run looks at everything itself."""
        self.labelled(datastore)

    @abstractmethod
    def labelled(self, datastore: StudyDatastore) -> Any:
        """Finds what there is to learn from. Raises MedGANError `too_few_labels`."""

    @abstractmethod
    def train(self, options: dict[str, Any], datastore: StudyDatastore, run: Run) -> tuple[Version, Verdict]:
        """Makes a candidate and judges it, by `judge`."""

    def config(self) -> dict[str, Any]:
        """Defaults of a run, for MONAI Label's clients."""
        values, _ = validate({}, self.schema())
        return values

    def __call__(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        """Runs in a process of its own: trains, judges, promotes or refuses.

        Args:
            request: `run`, `server` (the process to die with) and what `schema` says.
            datastore: the studies.
        """
        die_with(int(request["server"]))
        stand_back(int(request["server"]), self.server.train_nice)
        run = Run(self.server.runs / request["run"], self.model)
        try:
            options, _ = validate(request, self.schema())
            version, verdict = self.train(options, datastore, run)
        except Cancelled:
            run.end("cancelled")
            return {"state": "cancelled"}
        except TOLD as error:
            run.end("failed", error=str(error))
            raise
        except Exception:
            run.end("failed", error="The training failed; the reason is in the server's log.")
            raise
        return {"state": version.record.state, "version": version.name, "reason": verdict.reason}

    def judge(self, candidate: Version, verdict: Verdict, run: Run) -> tuple[Version, Verdict]:
        """Promotes or refuses a candidate, and ends the run."""
        judged = self.registry.judge(candidate, verdict.promoted, verdict.reason, verdict.as_dicts(), run.check)
        shown = verdict_shown(judged, self.registry.current(self.model).name)
        run.end("promoted" if shown["promoted"] else "refused", verdict=shown)
        logger.info("%s %s: %s", self.model, judged.name, judged.record.reason)
        return judged, verdict

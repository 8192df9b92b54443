"""What every route needs, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from monailabel_app.activelearning.background import BackgroundScoring
from monailabel_app.activelearning.scoring import StudyScoring
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.errors import MedGANError, choices
from monailabel_app.finetune.auto import AutoTraining
from monailabel_app.finetune.queue import TrainingQueue
from monailabel_app.following import Followers
from monailabel_app.infers.base import ModelInfer
from monailabel_app.jobs import Jobs
from monailabel_app.main import MedGANApp
from monailabel_app.processes import Training
from monailabel_app.registry import Registry
from monailabel_app.sessions import Sessions
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable


@dataclass(frozen=True)
class Services:
    """The parts of a running server."""

    app: MedGANApp
    jobs: Jobs
    sessions: Sessions
    training: TrainingQueue
    scoring: BackgroundScoring | None = None
    followers: Followers = field(default_factory=Followers)

    @classmethod
    def of(cls, app: MedGANApp) -> Services:
        """The services around an app."""
        config = app.config
        training = TrainingQueue(config.runs, Training(app.trainers, config.train_device), app.registry)
        jobs = Jobs(config.concurrency, config.max_queue, app.cache.devices)
        method, scoring = next(iter(app.scoring_methods.values()), None), None
        if config.background_scoring and isinstance(method, StudyScoring):
            scoring = BackgroundScoring(method, app.studies_store, jobs)
        return cls(app, jobs, Sessions(config.data / "sessions"), training, scoring)

    @property
    def config(self) -> ServerConfig:
        """The server's settings."""
        return self.app.config

    @property
    def registry(self) -> Registry:
        """Versions of the models."""
        return self.app.registry

    @property
    def datastore(self) -> StudyDatastore:
        """Studies and labels."""
        return self.app.studies_store

    @property
    def auto_training(self) -> AutoTraining:
        """What begins training after some labels."""
        return AutoTraining(self.config, self.training, self.app.trainers, self.datastore)

    def model(self, name: str) -> ModelInfer:
        """Raises MedGANError `unknown_model`."""
        return pick(self.app.infers, name, "unknown_model", "model")

    def can_serve(self, name: str) -> bool:
        """Whether the version of a model that serves has its weights; whether they are intact is seen when loaded."""
        try:
            return (self.registry.current(name).path / WEIGHTS_FILE).is_file()
        except (ModelNotAvailable, MedGANError):
            return False


def pick(table: dict[str, Any], name: str, code: str, kind: str) -> Any:
    """`table[name]`. Raises MedGANError `code` that lists what there is."""
    if name not in table:
        raise MedGANError(code, f"There is no {kind} {name[:80]!r}.", f"{kind.capitalize()}s: {choices(table)}.")
    return table[name]


def services(request: Request) -> Services:
    """The dependency that routes declare."""
    found: Services = request.app.state.services
    return found


Served = Annotated[Services, Depends(services)]

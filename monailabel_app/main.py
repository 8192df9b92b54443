"""The MONAI Label app: wires models, studies, training and active learning together."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from monailabel_app import __version__, activelearning, finetune, infers
from monailabel_app.config import ServerConfig
from monailabel_app.datastore import StudyDatastore
from monailabel_app.devices import compute_devices
from monailabel_app.errors import MedGANError
from monailabel_app.infers.base import ModelInfer
from monailabel_app.infers.segmentation import SegmentationInfer
from monailabel_app.processes import SERVER
from monailabel_app.recent import RecentVolumes
from monailabel_app.registry import Registry
from monailabel_app.serving import ModelCache
from monailabel_app.watch import die_with
from trainers.data.volumes import Limits, VolumeError
from trainers.spec import ModelNotAvailable

logger = logging.getLogger(__name__)


class MedGANApp(MONAILabelApp):
    """MedGAN inside MONAI Label.

    Args:
        app_dir: MONAI Label's app folder, for its own files. studies: the folder of images.
        conf: `ServerConfig.to_conf`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.config = ServerConfig.from_conf(studies, conf)
        self.config.prepare()
        self.registry = Registry(self.config.models, self.config.data / "models")
        self.cache = ModelCache(infers.load, devices=compute_devices(self.config.devices))
        self.recent = RecentVolumes(self.config.recent_mb, self.config.studies)
        description = "GANs and other networks for clinicians: segment, correct, improve."
        super().__init__(app_dir, studies, conf, name="MedGAN", description=description, version=__version__)

    @property
    def infers(self) -> dict[str, ModelInfer]:
        """Models by name."""
        return self._infers

    @property
    def trainers(self) -> dict[str, TrainTask]:
        """Fine-tuning by model name."""
        return self._trainers

    @property
    def strategies(self) -> dict[str, Strategy]:
        """Ways to choose the next study."""
        return self._strategies

    @property
    def scoring_methods(self) -> dict[str, ScoringMethod]:
        """Ways to score studies."""
        return self._scoring_methods

    @property
    def studies_store(self) -> StudyDatastore:
        """Studies and labels."""
        return self._datastore

    def preload(self) -> None:
        """Loads as many models as stay in memory, segmentation first, so that the first request need not wait."""
        for task in sorted(self.infers.values(), key=lambda one: one.task != SegmentationInfer.task)[: self.cache.size]:
            for device in self.cache.devices:
                with contextlib.suppress(ModelNotAvailable, MedGANError):
                    self.cache.get(self.registry.current(task.model), device)

    def init_datastore(self) -> StudyDatastore:
        """The folder of studies."""
        return StudyDatastore(Path(self.studies), self.config.data / "backups")

    def init_infers(self) -> dict[str, InferTask]:
        """One task for every model whose description can be read."""
        found = {name: self._infer(name) for name in self.registry.models()}
        return {name: task for name, task in found.items() if task}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Fine-tuning for every model whose task has it."""
        kinds = {name: finetune.TASKS.get(task.task) for name, task in self._infers.items()}
        return {name: kind(name, self.config, self.registry) for name, kind in kinds.items() if kind}

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the next study."""
        return activelearning.all_strategies(self.config, self._infers)

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Ways to score studies."""
        return activelearning.all_scoring_methods(self._infers)

    def on_init_complete(self) -> None:
        """MONAI Label starts scoring and a clean-up thread here; this app needs neither."""

    def batch_infer(self, request: dict[str, Any], datastore: StudyDatastore | None = None) -> dict[str, Any]:
        """Labels many studies, in a process of its own. One that the model refuses is left out, and the log says why.

        Args:
            request: as `infer`, with `images` in place of `image`, and `server`, the process to die with.
            datastore: default the app's own.
        """
        die_with(int(request[SERVER]))
        found: dict[str, Any] = self._batch_infer(request, datastore or self.studies_store, self._one_of_many)
        return found

    def scoring(self, request: dict[str, Any], datastore: StudyDatastore | None = None) -> dict[str, Any]:
        """Scores studies, in a process of its own, which ends with `server`; for MONAI Label's clients."""
        die_with(int(request[SERVER]))
        found: dict[str, Any] = super().scoring(request, datastore)
        return found

    def infer(self, request: dict[str, Any], datastore: StudyDatastore | None = None) -> dict[str, Any]:
        """Runs a model on a study of the datastore.

        Args:
            request: `model`, `image` (a study's id), the model's options, and `save_label`, `label_tag`.
            datastore: default the app's own.

        Returns:
            `{"label", "tag", "file", "params"}` as MONAI Label does.
        """
        store = datastore or self.studies_store
        tag = str(request.get("label_tag") or DefaultLabelTag.ORIGINAL.value)
        params = {k: v for k, v in request.items() if k not in {"image", "result_extension"}}
        file, about = self.infers[request["model"]]({**params, "image": store.image_path(request["image"])})
        label = file
        if request.get("save_label"):
            label = store.save_label(
                request["image"], file, tag, {"model": about["model"], "version": about["version"]}
            )
        return {"label": label, "tag": tag, "file": file, "params": about}

    def _one_of_many(self, request: dict[str, Any], datastore: StudyDatastore) -> dict[str, Any]:
        try:
            return self.infer(request, datastore)
        except (MedGANError, VolumeError) as error:
            logger.warning("Study %s is left out: %s", request["image"], error)
            return {}

    def _infer(self, name: str) -> ModelInfer | None:
        limits = Limits(max_voxels=self.config.max_voxels)
        try:
            spec = infers.base.any_spec(self.registry, name)
            kind = infers.TASKS[spec.task]
        except (ModelNotAvailable, KeyError) as error:
            logger.error("Model %s is left out: %s", name, error)
            return None
        return kind(name, self.registry, self.cache, self.config.temporary, limits, self.recent)

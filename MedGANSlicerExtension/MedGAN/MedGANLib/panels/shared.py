"""What the panels share: the user interface's widgets, the workflow, and the choices kept in the parameter node."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import slicer

from ..records import ModelInfo
from ..workflow import State, Workflow


class Offer:
    """The models that one section offers; which of them is chosen is kept in the parameter node."""

    def __init__(self, shared: Shared, parameter: str, fits: Callable[[ModelInfo], bool]) -> None:
        self._shared = shared
        self._parameter = parameter
        self._fits = fits

    @property
    def models(self) -> Tuple[ModelInfo, ...]:
        """Those of the connected server."""
        return tuple(m for m in self._shared.state.models if self._fits(m))

    @property
    def model(self) -> Optional[ModelInfo]:
        """The chosen model; the first one when none was chosen yet."""
        models, parameters = self.models, self._shared.parameters
        name = getattr(parameters, self._parameter) if parameters else ""
        return next((m for m in models if m.name == name), models[0] if models else None)

    def choose(self, name: str) -> None:
        """Keeps the choice of a model."""
        parameters = self._shared.parameters
        if parameters and getattr(parameters, self._parameter) != name:
            setattr(parameters, self._parameter, name)


class Shared:
    """The panels' common ground.

    Attributes:
        ui: The widgets of MedGAN.ui by name.
        workflow: What the clinician does.
        parameters: The module's parameter node wrapper; None while the scene is closed.
        studying, synthesis, reconstruction: The models that run on a study, that make images out of nothing, and that
            make better images of those there are.
        detection: The models that look for anomalies.
        learning: The models that give labels to correct, or learn from the clinician.
        run_settings: Tells how a model is run: arguments of `Workflow.run_model`, as they are set in the section Model.
    """

    def __init__(self, ui: Any, workflow: Workflow) -> None:
        self.ui = ui
        self.workflow = workflow
        self.parameters: Any = None
        self.studying = Offer(self, "model", _runs_on_study)
        self.synthesis = Offer(self, "synthesisModel", lambda m: m.synthesises)
        self.reconstruction = Offer(self, "reconstructionModel", lambda m: m.reconstructs)
        self.detection = Offer(self, "detectionModel", lambda m: m.detects)
        self.learning = Offer(self, "learningModel", lambda m: m.detects or _runs_on_study(m))
        self.run_settings: Callable[[ModelInfo], Dict[str, Any]] = lambda model: {}
        self._active_volume = ""
        self._known: Tuple[str, str] = ("", "")
        self._following = False

    @property
    def state(self) -> State:
        """The workflow's state."""
        return self.workflow.state

    @property
    def idle(self) -> bool:
        """Whether nothing is running that the user waits for."""
        return self.state.job is None

    @property
    def volume(self) -> Any:
        """The chosen volume node, or None."""
        return self.parameters.volume if self.parameters else None

    @property
    def segmentation(self) -> Any:
        """The chosen segmentation node, or None."""
        return self.parameters.segmentation if self.parameters else None

    @property
    def model(self) -> Optional[ModelInfo]:
        """The chosen model of those that run on a study."""
        return self.studying.model

    @property
    def learner(self) -> Optional[ModelInfo]:
        """The model that corrections, training and versions are about: the last that was run or chosen."""
        name, learning = (self.parameters.learningModel if self.parameters else ""), self.learning
        return next((m for m in learning.models if m.name == name), None) or self.model or learning.model

    def learn_with(self, model: Optional[ModelInfo]) -> None:
        """Lets corrections, training and versions be about the model that the clinician works with."""
        if model is not None:
            self.learning.choose(model.name)

    def options_of(self, model: str) -> Mapping[str, Any]:
        """The options with which a model ran last."""
        saved = saved_options(self.parameters.options if self.parameters else "").get(model)
        return saved if isinstance(saved, dict) else {}

    def keep_options(self, model: str, values: Mapping[str, Any]) -> None:
        """Keeps the options with which a model runs."""
        if self.parameters:
            kept = {**saved_options(self.parameters.options), model: dict(values)}
            self.parameters.options = json.dumps(kept)

    def volume_chosen(self) -> None:
        """Tells the workflow when another volume was chosen."""
        volume = self.volume
        chosen = volume.GetID() if volume else ""
        if chosen != self._active_volume and not self._following:
            self._active_volume = chosen
            if volume is not None:
                self.workflow.use_volume(volume)

    def follow_study(self, state: State) -> None:
        """Shows the study that the workflow works on: its volume and segmentation become the chosen ones."""
        study = state.study
        volume = slicer.mrmlScene.GetNodeByID(study.volume_id) if study else None
        if study is None or volume is None or self.parameters is None or self._following:
            return
        known, self._known = self._known, (study.volume_id, study.segmentation_id)
        if known != self._known:
            self._following = True
            self._choose(volume, slicer.mrmlScene.GetNodeByID(study.segmentation_id or ""))
            self._following = False
        if known[:1] != self._known[:1]:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def _choose(self, volume: Any, segmentation: Any) -> None:
        self._active_volume = volume.GetID()
        with slicer.util.NodeModify(self.parameters):
            self.parameters.volume = volume
            self.parameters.segmentation = segmentation

    def forget_scene(self) -> None:
        """Called when the scene is closed."""
        self._active_volume = ""
        self._known = ("", "")


def _runs_on_study(model: ModelInfo) -> bool:
    return not (model.synthesises or model.reconstructs or model.detects)


def saved_options(text: str) -> Dict[str, Any]:
    """Returns the options that a scene keeps, by model; none when the scene was written by something else."""
    try:
        saved = json.loads(text or "{}")
    except ValueError:
        return {}
    return saved if isinstance(saved, dict) else {}

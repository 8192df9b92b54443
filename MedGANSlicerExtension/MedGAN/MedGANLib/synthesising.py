"""Making synthetic studies: generate, look through, put in the scene, add to the training studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .adding import AddWork, told
from .client import MedGANClient
from .consents import check_size
from .downloads import unpack_parts
from .errors import MedGANError, NotFound, SceneProblem
from .gallery import Addition, Gallery, Sample, learner_of, make_gallery
from .jobs import Job, Tidy, Work
from .label_import import Destination, place_labels
from .learning import Learning
from .marks import mark_sample, node_name, save_with_marks
from .records import ConnectionReport, InferResult, ModelInfo
from .runs import Run, label_table
from .scene import Scene
from .segments import LabelTable
from .shapes import Shape, make_shape
from .state import SHAPE, counted
from .volumes import SEGMENTATION, load_volume, read_node

SHAPE_WIDGET = "labelmap"


@dataclass(frozen=True)
class Placed:
    """A sample in the scene: its volume node, and its segmentation node or None."""

    volume: Any
    segmentation: Any = None


class Synthesising(Learning):
    """Keeps the samples that a synthesis model made last, as files, until others take their place."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._in_scene: Dict[int, Run] = {}
        self._begun_additions: set = set()
        self._scenes_closed = 0
        super().__init__(*args, **more)

    def generate(
        self,
        model: str,
        options: Optional[Mapping[str, Any]] = None,
        *,
        mask: Any = None,
        segments: Optional[Mapping[str, str]] = None,
    ) -> Job:
        """Let a synthesis model make samples; they replace the earlier ones. Result: `Gallery`.

        Nothing of the patient is sent, unless a shape is given; that is sent after consent.

        Args:
            model: The model's name.
            options: Options by the model's schema.
            mask: A segmentation node whose segments the samples shall fill.
            segments: Label name -> ID of the segment of `mask` that is its shape; by default those of the same name.
        """
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            description = self._synthesis_model(model)
            shape = self._shape(description, mask, segments) if mask is not None else None
            context.update(model=description, shape=shape, closed=self._scenes_closed, server=self._server().address)
            return self._generation(description, dict(options or {}), shape)

        def finish(result: InferResult) -> Gallery:
            try:
                job.token.raise_if_cancelled()
                return self._hang(result, **context)
            except MedGANError:
                _remove_files(part.path for part in result.parts)
                raise

        job = self._start("Generating samples", prepare, finish)
        return job

    def look_at(self, index: int) -> None:
        """Look at a sample of the gallery, counted from 0; beyond the ends stays at the end."""
        if self.state.gallery:
            self._update(gallery=self.state.gallery.at(index))

    def judge(self, accepted: bool, number: int = 0) -> None:
        """Accept or reject a sample, by default the one that is looked at."""
        gallery = self.state.gallery
        if gallery:
            self._update(gallery=gallery.judged(number or gallery.current.number, accepted))

    def forget_samples(self) -> None:
        """Throw the samples away; those that were put in the scene stay there."""
        gallery = self.state.gallery
        self._in_scene.clear()
        self._update(gallery=None)
        if gallery:
            _remove_files(path for s in gallery.samples for path in (s.image, s.label) if path)

    def is_placed(self, number: int) -> bool:
        """Whether a sample is in the scene."""
        run = self._in_scene.get(number)
        return run is not None and self._scene.has(run.volume)

    def place_sample(self, number: int = 0) -> Optional[Placed]:
        """Put a sample, by default the one that is looked at, into the scene, marked as synthetic.

        Returns its nodes, or None when that failed; `state.message` says why. One that is there already stays.
        """
        gallery = self.state.gallery
        if gallery is None:
            return None
        sample = _sample(gallery, number)
        if self.is_placed(sample.number):
            return _placed(self._in_scene[sample.number])
        try:
            run = place(gallery, sample, self._scene)
        except MedGANError as error:
            self._tell(error)
            return None
        self._in_scene[sample.number] = run
        self._say("success", f"'{run.volume.GetName()}' is in the scene.", "It is marked as synthetic.")
        return _placed(run)

    def take_out_sample(self, number: int = 0) -> bool:
        """Take a sample out of the scene in one step: volume and segments; return False when it is not there."""
        gallery = self.state.gallery
        if gallery is None or not self.is_placed(_sample(gallery, number).number):
            return False
        run = self._in_scene.pop(_sample(gallery, number).number)
        name = run.volume.GetName()
        lost = take_out(run, self._scene)
        details = [f"Your corrections of '{segment}' went with it." for segment in lost]
        self._say("warning" if lost else "info", f"'{name}' was taken out of the scene.", details=details)
        return True

    def why_not_add(self) -> str:
        """Return why no sample can be added to the training studies; empty when they can."""
        gallery = self.state.gallery
        if gallery is None:
            return "Generate samples first."
        if not self.state.connected or self.state.address != gallery.server:
            return "Connect to the server that made the samples."
        if not gallery.labels:
            return "These samples have no labels, so no model can be trained on them."
        if self._learner(gallery) is None:
            labels = ", ".join(f"{name} ({value})" for name, value in gallery.labels.items())
            return f"No trainable segmentation model of this server has exactly these labels: {labels}."
        return ""

    def add_accepted(self) -> Job:
        """Add the accepted samples, image and label, to the server's studies. Result: number -> `Addition`.

        A sample that fails or is there already does not keep the others from being added.
        """
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            client, gallery = self._server(), self._addable()
            learner = self._learner(gallery)
            context.update(gallery=gallery, work=AddWork(client, gallery, learner, self._begun_additions))
            return context["work"]

        def finish(additions: Mapping[int, Addition]) -> Mapping[int, Addition]:
            if self.state.gallery and self.state.gallery.samples == context["gallery"].samples:
                self._update(gallery=self.state.gallery.with_additions(additions))
            self._refresh()
            self._say(*told(context["gallery"], additions, job.token.cancelled))
            return additions

        job = self._start("Adding to the training studies", prepare, finish)
        return job

    def forget_scene(self) -> None:
        """Let go of the scene's nodes and of the samples, which may have a patient's shape."""
        self._scenes_closed += 1
        self.forget_samples()
        super().forget_scene()

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        """Samples of another server go: they can neither be made again nor added here."""
        client = outcome[0]
        if self.state.gallery and client and client.address != self.state.gallery.server:
            self.forget_samples()
        return super()._connected(outcome)

    def _synthesis_model(self, name: str) -> ModelInfo:
        model = self._model(name)
        if not model.synthesises:
            raise NotFound(f"'{model.title}' makes no synthetic images.", "Choose a synthesis model.")
        return model

    def _shape(self, model: ModelInfo, mask: Any, segments: Optional[Mapping[str, str]]) -> Shape:
        """Return the shape to fill, after the user's consent that it leaves this computer."""
        if not model.options_with_widget(SHAPE_WIDGET):
            raise SceneProblem(f"'{model.title}' takes no shape.", "Generate without one.")
        if not self._scene.has(mask):
            raise SceneProblem("The segmentation is not in the scene any more.", "Choose another one.")
        shape = make_shape(mask, label_table(model), segments)
        check_size(shape.grid, self.state.server)
        self.consents.ensure(self._server().address, [shape.grid], stored=False, kind=SHAPE, name=mask.GetName())
        return shape

    def _generation(self, model: ModelInfo, options: Dict[str, Any], shape: Optional[Shape]) -> Work:
        client, file = self._server(), None
        for name in model.options_with_widget(SHAPE_WIDGET):
            options.pop(name, None)
            if shape:
                options[name] = True
        if shape:
            file = self.folder / "shape.nrrd"
            shape.write(file)

        def work(job: Job) -> InferResult:
            result = client.infer(
                model.name,
                self.folder,
                label=file,
                options=options,
                result_extension=".zip",
                progress=job.report,
                cancel=job.token,
            )
            return unpack_parts(result, self.folder)

        return Tidy([file], work)

    def _hang(self, result: InferResult, model: ModelInfo, shape: Optional[Shape], closed: int, server: str) -> Gallery:
        if closed != self._scenes_closed:
            raise SceneProblem(
                "The scene was closed meanwhile; the samples were not kept.", "The same seed gives the same samples."
            )
        gallery = make_gallery(result, model, server, shape is not None)
        self.forget_samples()
        self._update(gallery=gallery)
        notes = (*result.warnings, *(shape.warnings if shape else ()))
        text = f"{model.title}: {counted(len(gallery.samples), 'sample')}."
        self._say("warning" if notes else "success", text, "Look through them, and accept the good ones.", notes)
        return gallery

    def _learner(self, gallery: Gallery) -> Optional[ModelInfo]:
        return learner_of(gallery.labels, self.state.models)

    def _addable(self) -> Gallery:
        """Return the gallery whose accepted samples may be sent now.

        Raises:
            SceneProblem: None may, or none is accepted.
            ConsentDeclined: Their label is a patient's shape, and the user did not agree.
        """
        reason, gallery = self.why_not_add(), self.state.gallery
        if reason or gallery is None:
            raise SceneProblem("The samples cannot be added to the training studies.", reason)
        if not gallery.waiting:
            raise SceneProblem("No sample is accepted that is not added yet.", "Accept the good ones first.")
        if gallery.from_shape:
            grid = read_node(gallery.waiting[0].image, "vtkMRMLScalarVolumeNode")
            name = "samples in the shape of your segments"
            self.consents.ensure(gallery.server, [grid], stored=True, kind=SHAPE, name=name)
        return gallery


def place(gallery: Gallery, sample: Sample, scene: Scene) -> Run:
    """Put a sample's image and label into the scene, or nothing.

    Raises:
        MedGANError: One of them cannot be shown; the scene is as before.
    """
    volume = load_volume(sample.image, node_name(gallery, sample), scene)
    mark_sample(volume, gallery, sample)
    save_with_marks(volume)
    run = Run(volume, volumes=[volume])
    if sample.label is None:
        return run
    table = LabelTable(sample.labels, sample.colors, gallery.model.name)
    try:
        placement = place_labels(sample.label, Destination(volume, table, gallery.version, scene))
    except MedGANError:
        take_out(run, scene)
        raise
    mark_sample(placement.segmentation, gallery, sample)
    volume.SetNodeReferenceID(SEGMENTATION, placement.segmentation.GetID())
    run.placements.append(placement)
    return run


def take_out(run: Run, scene: Scene) -> Tuple[str, ...]:
    """Take a sample and its helper nodes out of the scene; return the names of segments that were corrected."""
    nodes = [run.volume, *[placement.segmentation for placement in run.placements]]
    more: List[Any] = [(node, (node.GetDisplayNode(), node.GetStorageNode())) for node in nodes]
    lost = run.undo(scene)
    for node, helpers in more:
        for helper in helpers if not scene.has(node) else ():
            scene.remove(helper)
    return lost


def _placed(run: Run) -> Placed:
    return Placed(run.volume, run.placements[0].segmentation if run.placements else None)


def _sample(gallery: Gallery, number: int) -> Sample:
    return next((s for s in gallery.samples if s.number == number), gallery.current)


def _remove_files(paths: Any) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)

"""A scripted clinician: drives the Slicer module's own workflow on slicer-core, without the application."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.server import ROOT
from trainers.data.volumes import read_label

sys.path.insert(0, str(ROOT / "MedGANSlicerExtension" / "MedGAN"))

import slicer
import vtk
from MedGANLib.exports import label_map
from MedGANLib.records import SubmitReceipt, TrainingStatus
from MedGANLib.runs import label_table
from MedGANLib.scene import Scene
from MedGANLib.segments import segment_ids, segment_of
from MedGANLib.volumes import affine, image_from_array, load_volume, to_matrix
from MedGANLib.workflow import RunOutcome, Workflow

Labels = npt.NDArray[np.uint8]


class Clinician:
    """One person at a Slicer scene, connected to a server. A context manager."""

    def __init__(self, url: str, model: str) -> None:
        self.model = model
        self.scene = Scene(slicer.vtkMRMLScene())
        self._segmentations = slicer.vtkSlicerSegmentationsModuleLogic()  # knows how to make surfaces of label maps
        self._segmentations.SetMRMLScene(self.scene.mrml)
        self.workflow = Workflow(scene=self.scene, consent=lambda request: True)
        self.report = self.workflow.wait(self.workflow.connect(url))
        if not self.report.ok:
            raise RuntimeError(f"{self.report.message} {self.report.hint}")

    def __enter__(self) -> Clinician:
        return self

    def __exit__(self, *error: object) -> None:
        self.workflow.close()

    def take(self) -> Any:
        """The study that the server wants labelled next; returns its volume node."""
        return self.workflow.wait(self.workflow.next_sample())

    def open(self, path: Path) -> Any:
        """A volume of one's own, from a file; it becomes the active study, nothing is sent."""
        volume = load_volume(path, path.name, self.scene)
        self.workflow.wait(self.workflow.use_volume(volume))
        return volume

    def segment(self, options: Mapping[str, Any] | None = None) -> RunOutcome:
        """Runs the model on the active study; segments appear in the scene."""
        outcome: RunOutcome = self.workflow.wait(self.workflow.run_model(self.model, options=options or {}))
        return outcome

    def labels(self, outcome: RunOutcome, volume: Any) -> Labels:
        """The segments of a run as label values on the volume's grid, (x, y, z)."""
        segmentation = self.scene.node(outcome.segmentation_id)
        model = self.workflow.model(self.model)
        assert model is not None
        array: Labels = label_map(segmentation, volume, label_table(model)).array
        return np.ascontiguousarray(array.transpose(2, 1, 0))

    def correct(self, outcome: RunOutcome, volume: Any, truth: Path) -> None:
        """Paints each segment as the expert has it, as the Segment Editor would, in place."""
        segmentation = self.scene.node(outcome.segmentation_id)
        wanted = read_label(truth).array.transpose(2, 1, 0)
        model = self.workflow.model(self.model)
        assert model is not None
        for segment_id in segment_ids(segmentation):
            value = model.labels[segment_of(segmentation, segment_id).GetName()]
            _paint(segmentation, segment_id, wanted == value, volume)

    def submit(self) -> SubmitReceipt:
        """Sends the segments as the study's final label."""
        receipt: SubmitReceipt = self.workflow.wait(self.workflow.submit(self.model))
        return receipt

    def train(self, settings: Mapping[str, Any]) -> TrainingStatus:
        """Starts training and waits until the gate has spoken."""
        self.workflow.wait(self.workflow.start_training(self.model, settings))
        return self.workflow.wait_for_training()

    def synthesise(self, model: str, number: int, seed: int = 0) -> Any:
        """Lets a synthesis model make samples with their labels; returns the gallery of them."""
        return self.workflow.wait(self.workflow.generate(model, {"number": number, "seed": seed}))

    def add_first(self, number: int) -> int:
        """Accepts the gallery's first samples, adds them to the training studies; returns how many were added."""
        gallery = self.workflow.state.gallery
        assert gallery is not None
        for sample in gallery.samples[:number]:
            self.workflow.judge(True, sample.number)
        additions = self.workflow.wait(self.workflow.add_accepted())
        return sum(addition.kind == "added" for addition in additions.values())

    def surfaces(self, outcome: RunOutcome) -> list[tuple[Any, Sequence[float]]]:
        """Closed surfaces of a run's segments (vtkPolyData, RAS mm) with their colours."""
        segmentation = self.scene.node(outcome.segmentation_id)
        segmentation.CreateClosedSurfaceRepresentation()
        found = []
        for segment_id in outcome.segment_ids:
            surface = vtk.vtkPolyData()
            segmentation.GetClosedSurfaceRepresentation(segment_id, surface)
            found.append((surface, segment_of(segmentation, segment_id).GetColor()))
        return found


def _paint(segmentation: Any, segment_id: str, mask: npt.NDArray[np.bool_], volume: Any) -> None:
    """Replaces a segment's voxels (k, j, i on the volume's grid), as an effect of the Segment Editor does."""
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(image_from_array(mask.astype(np.uint8)))
    image.SetImageToWorldMatrix(to_matrix(affine(volume)))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE)

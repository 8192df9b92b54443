"""Parts of the module's self-test: its steps, and what must be in the scene and in the views after them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import slicer
import slicer.util

from ..kspace import KSpaceFile
from ..panels import SynthesisePanel
from .reconstruction import MEASURED
from .synthesis import make_sample


class Steps:
    """What the user of the self-test does: presses buttons, and waits for what becomes visible."""

    assertEqual: Any
    assertLess: Any
    delayDisplay: Any

    def connect(self, widget: Any, url: str) -> None:
        """Types an address and connects."""
        self.delayDisplay("Connect")
        widget.ui.addressBox.setEditText(url)
        widget.ui.connectButton.click()
        self.wait(lambda: widget.ui.nextButton.enabled, "the connection")

    def take_study(self, widget: Any, server: Any) -> None:
        """Connects to a server and takes its one study."""
        server.world.add_phantoms(1)
        self.connect(widget, server.url)
        widget.ui.nextButton.click()
        state = widget.logic.workflow.state
        self.wait(lambda: state.job is None and state.study, "the study")

    def generate(self, widget: Any, count: int) -> None:
        """Generates synthetic studies."""
        self.delayDisplay("Generate")
        widget.panel(SynthesisePanel).form.field("number").widget.value = count
        widget.ui.generateButton.click()
        state = widget.logic.workflow.state
        self.wait(lambda: state.job is None and state.gallery is not None, "the samples")
        self.assertEqual(len(state.gallery.samples), count)

    def label_next(self, widget: Any, name: str) -> None:
        """Takes the next study, runs the model, undoes it, runs it again, and submits."""
        self.delayDisplay(f"Label {name}")
        widget.ui.nextButton.click()
        state = widget.logic.workflow.state
        self.wait(lambda: state.job is None and state.study and state.study.image_id == name, "the study")
        widget.ui.runButton.click()
        self.wait(lambda: _segments(widget) == ["anterior", "posterior"], "the result")
        widget.ui.undoButton.click()
        self.wait(lambda: _segments(widget) == [], "the undo")
        widget.ui.runButton.click()
        self.wait(lambda: state.job is None and _segments(widget) == ["anterior", "posterior"], "the result")
        widget.ui.submitButton.click()
        self.wait(lambda: state.job is None and state.message.kind == "success", "the submission")

    def train(self, widget: Any) -> None:
        """Trains until the verdict."""
        self.delayDisplay("Train")
        widget.ui.startButton.click()
        self.wait(lambda: widget.logic.workflow.state.training.verdict is not None, "the verdict", 60)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
        """Lets the application work until a condition holds; fails when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            said = slicer.util.getModuleWidget("MedGAN").ui.messageLabel.text
            self.assertLess(time.monotonic(), end, f"{what} did not come; {said}")
            slicer.app.processEvents()
            time.sleep(0.01)


def _segments(widget: Any) -> List[str]:
    node = widget.shared.segmentation
    segmentation = node.GetSegmentation() if node else slicer.vtkSegmentation()
    return [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]


def check_sample(test: Any, widget: Any) -> None:
    """Checks that the first sample is in the scene, marked, and that a press on the button takes it out again."""
    image, labels, _ = make_sample(1, widget.logic.workflow.state.gallery.current.class_name)
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    for node in (volume, segmentation):
        test.assertTrue(node.GetName().startswith("SYNTHETIC"))
        test.assertEqual(node.GetAttribute("MedGAN.Synthetic"), "true")
        test.assertEqual(node.GetAttribute("MedGAN.Seed"), "1")
    test.assertTrue(np.array_equal(slicer.util.arrayFromVolume(volume), image))
    for index, value in enumerate((1, 2)):
        segment_id = segmentation.GetSegmentation().GetNthSegmentID(index)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        test.assertTrue(np.array_equal(found > 0, labels == value), f"label {value} is not where it belongs")
    widget.ui.placeButton.click()
    test.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode"))


def check_reconstruction(test: Any, widget: Any, volume: Any) -> None:
    """Checks that a finer image that a GAN altered agrees with `volume`, is marked, and can be looked at and undone."""
    made = widget.logic.workflow.state.reconstruction
    image = slicer.mrmlScene.GetNodeByID(made.image)
    test.assertEqual(image.GetAttribute("MedGAN.Altered"), "true")
    fine, coarse = slicer.util.arrayFromVolume(image), slicer.util.arrayFromVolume(volume)
    back = fine.reshape(*[n for size in coarse.shape for n in (size, 2)]).mean((1, 3, 5))
    test.assertTrue(np.allclose(back, coarse, atol=0.01), "averaged back it is not what was sent")
    widget.ui.uncertaintyBox.click()
    for mode in (1, 2, 0):
        widget.ui.viewBox.currentIndex = mode
        slicer.app.processEvents()
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    test.assertEqual(shown.GetBackgroundVolumeID(), made.image)
    test.assertEqual(shown.GetForegroundVolumeID(), made.uncertainty)
    widget.ui.undoReconstructionButton.click()
    test.assertIsNone(widget.logic.workflow.state.reconstruction)
    test.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 1)


def check_detection(test: Any, widget: Any) -> None:
    """Checks that heat map and segment follow the threshold over the study, and that an undo takes both out."""
    made = widget.logic.workflow.state.detection
    volume = slicer.mrmlScene.GetNodeByID(made.volume)
    heat = slicer.mrmlScene.GetNodeByID(made.heat)
    segmentation = slicer.mrmlScene.GetNodeByID(made.segmentation)
    test.assertEqual(heat.GetAttribute("MedGAN.HeatMap"), "true")
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    test.assertEqual((shown.GetBackgroundVolumeID(), shown.GetForegroundVolumeID()), (made.volume, made.heat))
    for threshold in (3.0, 7.0):
        widget.ui.heatThresholdSlider.value = threshold
        slicer.app.processEvents()
        segment_id = segmentation.GetSegmentation().GetNthSegmentID(0)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        hot = slicer.util.arrayFromVolume(heat) >= threshold
        test.assertTrue(np.array_equal(found > 0, hot), f"the segment is not where the heat is {threshold} or more")
    test.assertEqual(widget.ui.findingsTable.rowCount, len(made.findings.hottest))
    widget.ui.undoDetectionButton.click()
    test.assertIsNone(widget.logic.workflow.state.detection)
    test.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 1)
    test.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)


def check_kspace(test: Any, workflow: Any) -> None:
    """Checks that the image of a file of k-space is in the scene, named after the model, until an undo."""
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Patient.npy"
        np.save(path, np.ones((24, 16), np.complex64))
        made = workflow.wait(workflow.reconstruct(MEASURED, {"image": KSpaceFile(path)}))
    image = slicer.mrmlScene.GetNodeByID(made.image)
    test.assertTrue(image.GetName().startswith("K-space") and "Patient" not in image.GetName())
    test.assertEqual(slicer.util.arrayFromVolume(image).shape, (1, 16, 24))
    workflow.undo_reconstruction()
    test.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), before)


def check_dicom(test: Any, workflow: Any, volume: Any) -> None:
    """Checks that a volume's label is in a new folder once it was submitted."""
    model = workflow.state.models[0].name
    workflow.wait(workflow.run_model(model, volume))
    workflow.wait(workflow.submit(model, volume=volume))
    with tempfile.TemporaryDirectory() as folder:
        made = workflow.wait(workflow.save_label_dicom(folder, volume))
        test.assertEqual([path.name for path in Path(made.folder).iterdir()], ["00001.dcm"])

"""Parts of the module's self-test: what must be in the scene and in the views after a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from .synthesis import make_sample


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

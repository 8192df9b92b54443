"""MedGAN's module for 3D Slicer: generative models on your own server, corrected by you, learning from you.

This file holds only what Slicer looks for: module, widget, logic and self-test. The work is done in `MedGANLib`.
"""

from pathlib import Path

import ctk  # noqa: F401 - registers the widgets of MedGAN.ui
import numpy as np
import qt
import slicer
import vtk
from MedGANLib.panels import (
    SECTIONS,
    ClicksPanel,
    ComparePanel,
    CorrectPanel,
    DetectPanel,
    FindingsPanel,
    GalleryPanel,
    HeatPanel,
    ReconstructPanel,
    Shared,
    SliceMarks,
    SynthesisePanel,
    TrainingPanel,
    make_panels,
    preferences,
)
from MedGANLib.panels.consent import ask_consent, ask_edited
from MedGANLib.testing.images import phantom
from MedGANLib.testing.reconstruction import MEASURED, measured_json
from MedGANLib.testing.selftest import (
    Steps,
    check_detection,
    check_dicom,
    check_kspace,
    check_reconstruction,
    check_sample,
)
from MedGANLib.testing.server import TestServer
from MedGANLib.workflow import Workflow
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

PUMP_MILLISECONDS = 50
POLL_MILLISECONDS = 1000
WATCH_MILLISECONDS = 20_000
SAMPLE_NAME = "MedGANPhantom"


class MedGAN(ScriptedLoadableModule):
    """What Slicer shows of the module in its lists."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MedGAN"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Volumes", "Segmentations", "SegmentEditor", "Markups"]
        parent.contributors = ["The MedGAN contributors"]
        parent.helpText = _(
            "Runs generative models on a MedGAN server: segment, reconstruct, synthesise, find anomalies. "
            "Correct the result, submit it, and let the model learn from it. For research, not for diagnosis. "
            '<a href="https://github.com/medgan/MedGAN/blob/main/docs/clinicians.md">Manual</a>.'
        )
        parent.acknowledgementText = _("Built on MONAI, MONAI Label and 3D Slicer.")
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """Adds the synthetic volume to the module Sample Data; it is computed, nothing is downloaded."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MedGAN",
        sampleName=SAMPLE_NAME,
        uris="",
        fileNames=f"{SAMPLE_NAME}.nrrd",
        nodeNames=SAMPLE_NAME,
        customDownloader=lambda source: [add_phantom()],
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "MedGAN.png"),
    )


def add_phantom(name=SAMPLE_NAME):
    """Adds the synthetic volume to the scene; returns its node."""
    voxels, affine = phantom()
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=affine, name=name)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume


@parameterNodeWrapper
class MedGANParameterNode:
    """What is saved with the scene.

    volume: The volume that models run on.
    segmentation: The segmentation to correct and submit.
    model: Name of the chosen model.
    synthesisModel: Name of the chosen synthesis model.
    reconstructionModel: Name of the chosen reconstruction model.
    detectionModel: Name of the chosen anomaly model.
    learningModel: Name of the model that corrections, training and versions are about.
    options: JSON object: model name -> options of its last run.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    model: str = ""
    synthesisModel: str = ""
    reconstructionModel: str = ""
    detectionModel: str = ""
    learningModel: str = ""
    options: str = ""


class MedGANLogic(ScriptedLoadableModuleLogic):
    """For other modules and scripts: the workflow without an interface.

    Example::

        logic = MedGANLogic(consent=lambda request: True)
        logic.workflow.wait(logic.workflow.connect("http://127.0.0.1:8000"))
        logic.workflow.wait(logic.workflow.run_model("hippocampus_segmentation", volumeNode))
    """

    def __init__(self, consent=None, edited="keep", before_change=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.workflow = Workflow(consent=consent, edited=edited, before_change=before_change)

    def getParameterNode(self):
        """Returns the parameter node of the scene, typed."""
        return MedGANParameterNode(super().getParameterNode())


class MedGANWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: loads MedGAN.ui, hands its widgets to the panels, and keeps the workflow going with a timer."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.shared = None
        self.panels = []
        self._guiTag = None

    def setup(self):
        """Called once, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        root = slicer.util.loadUI(self.resourcePath("UI/MedGAN.ui"))
        self.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.ui.volumeSelector.setMRMLScene(slicer.mrmlScene)
        self.ui.segmentationSelector.setMRMLScene(slicer.mrmlScene)
        self.logic = MedGANLogic(ask_consent, ask_edited, self._saveForUndo)
        self.shared = Shared(self.ui, self.logic.workflow)
        self.panels = make_panels(self.shared)
        self.logic.workflow.changed.connect(self._show)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        for name in SECTIONS:
            getattr(self.ui, name).connect("contentsCollapsed(bool)", self._redraw)
        if self._isEntered():  # reloaded while it is open
            self.panel(CorrectPanel).enter()
        self.initializeParameterNode()
        self._startTimers()

    def _startTimers(self):
        self._pumpTimer = self._timer(PUMP_MILLISECONDS, self.logic.workflow.pump)
        self._pollTimer = self._timer(POLL_MILLISECONDS, self._poll)
        self._watchTimer = self._timer(WATCH_MILLISECONDS, self._lookForNews)

    @staticmethod
    def _timer(milliseconds, function):
        timer = qt.QTimer()
        timer.interval = milliseconds
        timer.connect("timeout()", function)
        timer.start()
        return timer

    def cleanup(self):
        """Called when the application closes or the module is reloaded."""
        self._pumpTimer.stop()
        self._pollTimer.stop()
        self._watchTimer.stop()
        self.panel(CorrectPanel).leave()
        for kind in (ClicksPanel, ComparePanel, HeatPanel, FindingsPanel):
            self.panel(kind).cleanup()
        self.panel(SliceMarks).cleanup()
        self.logic.workflow.changed.disconnect(self._show)
        self.logic.workflow.close()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Called each time the module is opened."""
        self.panel(CorrectPanel).enter()
        self.initializeParameterNode()

    def exit(self):
        """Called each time another module is opened."""
        self.panel(CorrectPanel).leave()
        self.panel(ClicksPanel).leave()

    def _isEntered(self):
        return getattr(
            self.parent, "isEntered", False
        )  # a widget of its own, outside the module panel, has no such thing

    def panel(self, kind):
        """Returns the panel of a class."""
        return next(p for p in self.panels if isinstance(p, kind))

    def onSceneStartClose(self, caller, event):
        """The scene is about to be closed: let go of its nodes."""
        self.setParameterNode(None)
        for kind in (CorrectPanel, ClicksPanel, SynthesisePanel, ReconstructPanel, ComparePanel):
            self.panel(kind).forget_scene()
        for kind in (DetectPanel, HeatPanel, FindingsPanel):
            self.panel(kind).forget_scene()
        self.shared.forget_scene()

    def onSceneEndClose(self, caller, event):
        """A new scene is open."""
        if self._isEntered():
            self.panel(CorrectPanel).enter()
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Takes the scene's parameter node; the volume on screen becomes the chosen one when there is none yet."""
        self.setParameterNode(self.logic.getParameterNode())
        selection = slicer.app.applicationLogic().GetSelectionNode()
        active = slicer.mrmlScene.GetNodeByID(selection.GetActiveVolumeID() or "") if selection else None
        plain = active is not None and active.GetClassName() == "vtkMRMLScalarVolumeNode"  # no label map, no colours
        if plain and self.shared.parameters.volume is None:
            self.shared.parameters.volume = active

    def setParameterNode(self, parameters):
        """Connects the selectors to a parameter node, or to none."""
        previous = self.shared.parameters
        if previous is not None:
            previous.disconnectGui(self._guiTag)
            self.removeObserver(previous.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self.shared.parameters = parameters
        if parameters is not None:
            selectors = {"volume": self.ui.volumeSelector, "segmentation": self.ui.segmentationSelector}
            self._guiTag = parameters.connectParametersToGui(selectors)  # connectGui does not return its tag
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self._onParametersChanged()

    def _onParametersChanged(self, caller=None, event=None):
        self.shared.volume_chosen()
        self._redraw()

    def _redraw(self):
        self._show(self.logic.workflow.state)

    def _show(self, state):
        for panel in self.panels:
            panel.show(state)

    def _poll(self):
        state = self.logic.workflow.state
        if state.connected and state.training.open:
            self.logic.workflow.follow_training()
        self.logic.workflow.look_at_study()
        self.panel(TrainingPanel).plot.draw(state.training)
        self.panel(SynthesisePanel).refresh()
        self.panel(GalleryPanel).draw()

    def _lookForNews(self):
        if self.logic.workflow.state.connected:
            self.logic.workflow.poll_serving()

    def _saveForUndo(self, segmentation):
        self.panel(CorrectPanel).save_for_undo(segmentation)


class MedGANTest(Steps, ScriptedLoadableModuleTest):
    """The self-test: the whole loop on synthetic studies, through the buttons, against a server in this process."""

    def setUp(self):
        """Starts from an empty scene; the user's list of servers is put back afterwards."""
        slicer.mrmlScene.Clear(0)
        self.addCleanup(preferences.restore_addresses, preferences.addresses())

    def runTest(self):
        """For Slicer's Reload & Test."""
        try:
            for name in [n for n in dir(self) if n.startswith("test_")]:
                self.setUp()
                getattr(self, name)()
        finally:
            self.doCleanups()

    def test_label_values_and_geometry(self):
        """A run's segments lie where the phantom is bright, with the model's exact label values."""
        volume = add_phantom()
        with TestServer() as server:
            workflow = MedGANLogic(consent=lambda request: True).workflow
            workflow.wait(workflow.connect(server.url))
            outcome = workflow.wait(workflow.run_model(workflow.state.models[0].name, volume))
            expected = server.world.segment(slicer.util.arrayFromVolume(volume))
            segmentation = slicer.mrmlScene.GetNodeByID(outcome.segmentation_id)
            for value in (1, 2):
                segment_id = outcome.segment_ids[value - 1]
                found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
                self.assertTrue(np.array_equal(found > 0, expected == value), f"label {value} is not where it belongs")
            workflow.close()

    def test_the_whole_loop(self):
        """Connect, next study, run, undo, run, submit two studies, train, and be served the better version."""
        widget = slicer.util.getModuleWidget("MedGAN")
        widget.enter()
        with TestServer() as server:
            server.world.add_phantoms(2)
            self.connect(widget, server.url)
            for number in (1, 2):
                self.label_next(widget, f"case_{number}")
            self.assertEqual(sorted(server.world.labels), ["case_1", "case_2"])
            self.train(widget)
            self.assertEqual(server.world.current, "v0002")
            widget.logic.workflow.disconnect()

    def test_synthetic_studies(self):
        """Generate, page, put in the scene and take out, accept, and add; everything is marked as synthetic."""
        widget = slicer.util.getModuleWidget("MedGAN")
        widget.enter()
        with TestServer() as server:
            self.connect(widget, server.url)
            self.generate(widget, 2)
            widget.ui.nextSampleButton.click()
            self.delayDisplay("Put in the scene")
            widget.ui.placeButton.click()
            check_sample(self, widget)
            widget.ui.acceptBox.click()
            widget.ui.addButton.click()
            state = widget.logic.workflow.state
            self.wait(lambda: state.job is None and server.world.synthetic, "the training study")
            (added,) = server.world.labels
            self.assertTrue(added.startswith("synthetic_hippocampus_synthesis_1_"))
            self.assertEqual(server.world.synthetic[added]["seed"], 1)
            widget.logic.workflow.disconnect()

    def test_reconstruction(self):
        """Reconstruct, look beside, under colours and blended, and undo; what a GAN altered is marked."""
        widget = slicer.util.getModuleWidget("MedGAN")
        widget.enter()
        state = widget.logic.workflow.state
        with TestServer() as server:
            self.take_study(widget, server)
            widget.panel(ReconstructPanel).form.field("strength").widget.value = 0.5
            self.delayDisplay("Reconstruct")
            widget.ui.reconstructButton.click()
            self.wait(lambda: state.job is None and state.reconstruction is not None, "the reconstruction")
            check_reconstruction(self, widget, widget.shared.volume)
            widget.logic.workflow.disconnect()

    def test_kspace_and_dicom(self):
        """Measured k-space becomes an image beside no volume; a submitted label is saved as DICOM."""
        volume = add_phantom()
        with TestServer() as server:
            server.world.reconstructions[MEASURED], server.world.archive = measured_json(), True
            workflow = MedGANLogic(consent=lambda request: True).workflow
            workflow.wait(workflow.connect(server.url))
            check_kspace(self, workflow)
            check_dicom(self, workflow, volume)
            workflow.close()

    def test_detection(self):
        """Detect, move the threshold, look at the finding, mark the study, and undo."""
        widget = slicer.util.getModuleWidget("MedGAN")
        widget.enter()
        state = widget.logic.workflow.state
        with TestServer() as server:
            self.take_study(widget, server)
            self.delayDisplay("Detect")
            widget.ui.detectButton.click()
            self.wait(lambda: state.job is None and state.detection is not None, "the heat map")
            check_detection(self, widget)
            widget.ui.markAbnormalButton.click()
            self.wait(lambda: state.job is None and server.world.verdicts == {"case_1": "abnormal"}, "the mark")
            widget.logic.workflow.disconnect()

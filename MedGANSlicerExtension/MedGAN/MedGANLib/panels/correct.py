"""Correct the result in Segment Editor, inside this panel, and submit it."""

from __future__ import annotations

from typing import Any

import slicer

from ..records import ModelInfo
from ..workflow import State
from .consent import when_sent
from .look import allow, dots, put_text, safe, swatch
from .shared import Shared

SUBMIT_TIP = "Sends the segments as the final label of the study, with the exact label values of the model"
GREY = (0.6, 0.6, 0.6)


class CorrectPanel:
    """Slicer's own Segment Editor on the result, and the submit button."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self.editor: Any = None
        self._listening = False
        self._ui.submitButton.connect("clicked()", self._submit)

    def show(self, state: State) -> None:
        """Draws the editor and what can be submitted."""
        self._open(self._shared.segmentation, self._shared.volume)
        missing = self._missing(state)
        allow(self._ui.submitButton, not missing, SUBMIT_TIP, missing)
        put_text(self._ui.submitLabel, self._text(state))

    def _missing(self, state: State) -> str:
        model = self._shared.learner
        if not state.connected:
            return "Connect to a server first."
        if model is None or not model.labels:
            return "Choose a model that gives labels."
        if self._shared.segmentation is None or self._shared.volume is None:
            return "Run a model or choose a segmentation first."
        return "" if state.job is None else "Busy."

    def _text(self, state: State) -> str:
        model = self._shared.learner
        lines = [labels_text(model)] if model and model.labels else []
        if state.study is not None and not state.study.image_id and self._shared.segmentation is not None:
            when = when_sent(self._shared.workflow.consents, state.address, stored=True)
            lines.append(f"Submitting adds this volume to the server's studies, {when}.")
        return "<br>".join(lines)

    def _open(self, segmentation: Any, volume: Any) -> None:
        if segmentation is None and self.editor is None:
            return
        self.editor = self.editor or self._make_editor()
        if self.editor.segmentationNode() is not segmentation:
            self.editor.setSegmentationNode(segmentation)
        if segmentation is not None and volume is not None and self.editor.sourceVolumeNode() is not volume:
            self.editor.setSourceVolumeNode(volume)
        self._ui.editorFrame.setVisible(segmentation is not None)

    def _make_editor(self) -> Any:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLSegmentEditorNode(self._editor_node())
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        self._ui.editorFrame.layout().addWidget(editor)
        if self._listening:
            _listen(editor)
        return editor

    @staticmethod
    def _editor_node() -> Any:
        node = slicer.mrmlScene.GetSingletonNode("MedGAN", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag("MedGAN")
            node = slicer.mrmlScene.AddNode(node)
        return node

    def save_for_undo(self, segmentation: Any) -> None:
        """Lets Segment Editor keep the state before a run changes it, so that its own undo works too."""
        if self.editor is not None and self.editor.segmentationNode() is segmentation:
            self.editor.saveStateForUndo()

    def enter(self) -> None:
        """The module is shown, perhaps with a new scene: the editor takes a node of it, and its effects listen."""
        if self.editor is not None:
            self.editor.setMRMLSegmentEditorNode(self._editor_node())
            if not self._listening:
                _listen(self.editor)
        self._listening = True

    def leave(self) -> None:
        """The module is hidden: effects stop listening, so that they do not take clicks and keys from other modules."""
        self._listening = False
        if self.editor is not None:
            self.editor.setActiveEffectByName("")
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()

    def forget_scene(self) -> None:
        """The scene is closed: its editor node is gone."""
        if self.editor is not None:
            self.editor.setSegmentationNode(None)

    def _submit(self) -> None:
        model = self._shared.learner
        if model is not None:
            self._shared.workflow.submit(model.name, self._shared.segmentation, self._shared.volume)


def _listen(editor: Any) -> None:
    """Lets the editor's effects hear clicks in the views, and its shortcuts (Ctrl+Z, effects by number) keys."""
    editor.setupViewObservations()
    editor.installKeyboardShortcuts()


def labels_text(model: ModelInfo) -> str:
    """Returns the labels of a model with colour and value, as rich text."""
    return "Labels: " + dots([f"{swatch(model.colors.get(n, GREY))} {safe(n)} ({v})" for n, v in model.labels.items()])

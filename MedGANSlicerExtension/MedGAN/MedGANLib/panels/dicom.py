"""Results as DICOM: into a folder, or into the hospital's archive; for the submitted label and for a reconstruction."""

from __future__ import annotations

from typing import Any, Callable, Optional

import qt
import slicer

from ..exporting import TEXT_IN_VOXELS
from ..jobs import Job
from ..workflow import State
from .consent import ask_archive, ask_no_text
from .look import allow
from .shared import Shared

SAVE_LABEL_TIP = "Saves the label that was submitted last as DICOM-SEG, without the patient's name, into a folder"
SEND_LABEL_TIP = "Stores the label that was submitted last in the hospital's archive, as a new series of the patient"
SAVE_IMAGE_TIP = "Saves the image as a DICOM series, without the patient's name, into a folder"
SEND_IMAGE_TIP = "Stores the image in the hospital's archive, as a new series of the patient"
NO_ARCHIVE = "This server has no archive; its administrator can name one."
Save = Callable[[str, bool], Job]
"""Saves into a folder; the second argument is whether somebody saw that there is no text in the voxels."""


class DicomPanel:
    """Two buttons below *Submit*, and two below a reconstruction; not at servers that give no DICOM."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._saving: Optional[Job] = None
        self._again: Callable[[], Any] = lambda: None
        ui.saveLabelDicomButton.connect("clicked()", lambda: self._save(self._label_saver()))
        ui.sendLabelDicomButton.connect("clicked()", self._send_label)
        ui.saveImageDicomButton.connect("clicked()", lambda: self._save(self._save_image))
        ui.sendImageDicomButton.connect("clicked()", self._send_image)

    def show(self, state: State) -> None:
        """Draws what can be exported, and asks the question that a refused download leads to."""
        archive = state.server.archive if state.server and state.connected else None
        known = state.study is not None and bool(state.study.image_id)
        self._ui.labelDicomFrame.setVisible(archive is not None and known)
        self._ui.imageDicomFrame.setVisible(archive is not None and self._image(state) is not None)
        busy = "" if state.job is None else "Busy."
        nothing = self._nothing_submitted(state) if self._shared.volume is not None else "Choose a volume first."
        self._allow(self._ui.saveLabelDicomButton, SAVE_LABEL_TIP, nothing or busy)
        self._allow(self._ui.sendLabelDicomButton, SEND_LABEL_TIP, nothing or ("" if archive else NO_ARCHIVE) or busy)
        source = self._no_source(state)
        self._allow(self._ui.saveImageDicomButton, SAVE_IMAGE_TIP, source or busy)
        self._allow(self._ui.sendImageDicomButton, SEND_IMAGE_TIP, source or ("" if archive else NO_ARCHIVE) or busy)
        self._ask_about_text()

    @staticmethod
    def _allow(button: Any, tip: str, missing: str) -> None:
        allow(button, not missing, tip, missing)

    @staticmethod
    def _nothing_submitted(state: State) -> str:
        history, study = state.history, state.study
        asked = history is not None and study is not None and history.label == study.image_id
        return "Nothing was submitted." if asked and history and not history.current else ""

    @staticmethod
    def _image(state: State) -> Any:
        """Returns the node of the last reconstruction, or None."""
        return slicer.mrmlScene.GetNodeByID(state.reconstruction.image) if state.reconstruction else None

    @staticmethod
    def _no_source(state: State) -> str:
        made = state.reconstruction
        return "" if made is None or made.inputs else "It was made of k-space, so it belongs to no DICOM study."

    def _save(self, save: Save) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Choose a folder for the DICOM files")
        if folder:
            self._saving = save(folder, False)
            self._again = lambda: save(folder, True)

    def _ask_about_text(self) -> None:
        """Asks whether the voxels name the patient, which the server cannot see, and saves again if they do not."""
        job = self._saving
        if job is None or not job.finished:
            return
        self._saving = None
        if job.error is not None and job.error.code == TEXT_IN_VOXELS and ask_no_text(job.error.message):
            self._again()

    def _label_saver(self) -> Save:
        """Returns what saves the label of the study that is chosen now: what somebody says of its voxels is of it."""
        volume, workflow = self._shared.volume, self._shared.workflow
        return lambda folder, no_text: workflow.save_label_dicom(folder, volume, no_text=no_text)

    def _save_image(self, folder: str, no_text: bool) -> Job:
        return self._shared.workflow.save_image_dicom(folder, no_text=no_text)

    def _send_label(self) -> None:
        study = self._shared.state.study
        if study is not None and ask_archive("label of", study.image_id):
            self._shared.workflow.send_label_dicom(self._shared.volume)

    def _send_image(self) -> None:
        image = self._image(self._shared.state)
        if image is not None and ask_archive("image", image.GetName()):
            self._shared.workflow.send_image_dicom()

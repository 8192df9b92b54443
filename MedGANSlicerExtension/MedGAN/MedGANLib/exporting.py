"""Giving results back as DICOM: into a folder without the patient's name, or into the server's archive."""

from __future__ import annotations

import secrets
from typing import Any, Callable, Optional

from .client import MedGANClient
from .dicom_calls import Exported, Result
from .errors import MedGANError, SceneProblem
from .jobs import Job, Tidy, Work
from .reconstructions import Reconstruction
from .state import RESULT, counted
from .volumes import known_id, save_volume
from .watching import Watching

TEXT_IN_VOXELS = "may_identify"
"""The server's code for images that often have the patient's name written into them."""
CLEARER = {
    "no_archive": (
        "This server has no DICOM archive to send it to.",
        "Save it into a folder, or ask the administrator to name the archive (serve --dicomweb).",
    ),
    "unknown_label": ("Nothing was submitted for this study.", "Submit the segments first."),
}
"""What some refusals mean here, by their code: message and hint."""
Call = Callable[[MedGANClient, Result, Job], Exported]


class Exporting(Watching):
    """Exports the study's final label, and reconstructions of it."""

    def save_label_dicom(self, folder: str, volume: Any = None, *, no_text: bool = False) -> Job:
        """Save the final label of a study, as the server has it, as de-identified DICOM-SEG. Result: `Exported`.

        Args:
            folder: Where a new folder is made for it.
            volume: The study's volume; by default the active one.
            no_text: Whether somebody looked and saw no text in the voxels.
        """
        return self._give_back(
            "Saving the label as DICOM", lambda: self._label_result(volume, no_text), self._saving(folder)
        )

    def send_label_dicom(self, volume: Any = None) -> Job:
        """Store the final label of a study in the server's archive, under the patient's name. Result: `Exported`."""
        return self._give_back("Sending the label to the archive", lambda: self._label_result(volume), _send)

    def save_image_dicom(self, folder: str, *, no_text: bool = False) -> Job:
        """Save the last reconstruction as a de-identified DICOM series; sent after consent. Result: `Exported`."""
        return self._give_back("Saving the image as DICOM", lambda: self._image_result(no_text), self._saving(folder))

    def send_image_dicom(self) -> Job:
        """Store the last reconstruction in the server's archive; sent after consent. Result: `Exported`."""
        return self._give_back("Sending the image to the archive", self._image_result, _send)

    def _give_back(self, title: str, choose: Callable[[], Result], call: Call) -> Job:
        def prepare() -> Work:
            client, result = self._server(), choose()

            def work(job: Job) -> Exported:
                try:
                    return call(client, result, job)
                except MedGANError as error:
                    raise clearer(error) from error

            return Tidy([result.image], work)

        def finish(made: Exported) -> Exported:
            files = counted(made.instances, "file")
            if made.folder:
                self._say("success", f"Saved {files} without the patient's name.", made.folder)
            else:
                self._say("success", f"The archive has it: {made.description} ({files}).")
            return made

        return self._start(title, prepare, finish)

    def _saving(self, folder: str) -> Call:
        return lambda client, result, job: client.save_dicom(result, folder, self.folder, job.report, job.token)

    def _label_result(self, volume: Any, no_text: bool = False) -> Result:
        study = known_id(volume or self._volume(), self._server().address)
        if not study:
            raise SceneProblem("The server does not know this volume.", "Only its own studies can become DICOM.")
        return Result(study, no_text=no_text)

    def _image_result(self, no_text: bool = False) -> Result:
        made = self.state.reconstruction
        image = self._scene.node(made.image) if made else None
        if made is None or image is None:
            raise SceneProblem("There is no reconstruction.", "Run a model first.")
        study = self._study_of(made)
        self.consents.ensure(self._server().address, [image], stored=False, kind=RESULT)
        file = self.folder / f"{secrets.token_hex(8)}.nrrd"
        save_volume(image, file)
        return Result(study, file, made.model.name, made.version, no_text)

    def _study_of(self, made: Reconstruction) -> str:
        """Return the server's study that a reconstruction was made of, as it lies there."""
        source: Optional[Any] = self._scene.node(next(iter(made.inputs.values()), ""))
        study = self._id_as_it_is(source) if source is not None else ""
        if not study:
            raise SceneProblem(
                "This image was not made of one of the server's studies, as it lies there.",
                "Take the study from the server, and run the model on it.",
            )
        return study


def _send(client: MedGANClient, result: Result, job: Job) -> Exported:
    return client.send_dicom(result, job.report, job.token)


def clearer(error: MedGANError) -> MedGANError:
    """Return an error whose words are for the clinician, where the server's are for its administrator."""
    if error.code not in CLEARER:
        return error
    message, hint = CLEARER[error.code]
    return type(error)(message, hint, code=error.code, id=error.id, status=error.status)

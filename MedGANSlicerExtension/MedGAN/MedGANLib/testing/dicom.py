"""The test server's DICOM: what a folder or an archive gets of a label or an image, without any real DICOM in it."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from typing import Any, Dict

from .forms import read_multipart
from .refusal import Refusal
from .world import World

DICOM_ROUTES = (("POST", r"/dicom/export", "export_dicom"),)
INSTANCES = 3


class DicomRoutes:
    """Answers `POST /dicom/export` for the server's handler."""

    world: World
    query: Dict[str, str]
    headers: Any

    def export_dicom(self, body: bytes) -> None:
        """POST /dicom/export?image=ID."""
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        study, image = self.query.get("image", ""), "file" in fields
        params = json.loads(fields["params"][1] or b"{}") if "params" in fields else {}
        self._begin(str(params.pop("job_id", "")))
        self.world.exports.append({**self.query, **params, "file": fields["file"][0] if image else ""})
        self._check_export(study, image)
        if self.query.get("download") == "true":
            return self._send(dicom_zip("MR" if image else "SEG", INSTANCES if image else 1), "application/zip")
        if not self.world.archive:
            raise Refusal(404, "no_archive", "No archive is known to store it in.", "Start with --dicomweb URL.")
        about = "AI-generated, corrected by a clinician: hippocampus_segmentation v0001"
        self._json({"description": about, "instances": INSTANCES if image else 1, "deidentified": False})

    def _begin(self, job_id: str) -> None:
        """Lets the export be asked about and cancelled; it takes as long as a run does."""
        cancelled = self.world.cancelled.setdefault(job_id, threading.Event())
        if cancelled.wait(self.world.infer_seconds):
            raise Refusal(409, "cancelled", "The job was cancelled.")

    def _check_export(self, study: str, image: bool) -> None:
        if study not in self.world.studies:
            raise Refusal(404, "unknown_image", f"There is no study '{study}'.")
        if not image and study not in self.world.labels:
            raise Refusal(404, "unknown_label", f"Study '{study}' has no label 'final'.")
        if self.world.text_in_voxels and self.query.get("burned_in") != "true":
            raise Refusal(422, "may_identify", "Images of this kind often have text in their voxels.", "Look first.")

    def _send(self, body: bytes, kind: str) -> None:
        raise NotImplementedError

    def _json(self, content: Any) -> None:
        raise NotImplementedError


def dicom_zip(folder: str, count: int) -> bytes:
    """Returns a zip as the server sends it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(1, count + 1):
            archive.writestr(f"{folder}/{number:05d}.dcm", f"DICM {number}")
    return stream.getvalue()

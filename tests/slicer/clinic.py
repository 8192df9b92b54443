"""A fake server with one model and one study, for tests of the workflow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from MedGANLib import errors
from MedGANLib.state import ConsentRequest
from MedGANLib.volumes import image_from_array, to_matrix, write_node
from MedGANLib.workflow import Workflow

from .fake_server import BOUNDARY, INFO, Exchange, FakeServer, form_parts, multipart
from .scenes import SHAPE, labels, write_labels

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


class Clinic:
    """Serves a study on a grid, a model that always gives the same labels, and training that ends as it is told to.

    Attributes:
        result: The label map that the model gives; change it to change the next answer.
        answer: Params of the model's answer.
        training: `medgan` of the next answers of /train/, in order; the last one stays.
    """

    def __init__(self, server: FakeServer, folder: Path, matrix: np.ndarray) -> None:
        self.server = server
        self.folder = folder
        self.matrix = matrix
        self.result = labels()
        self.answer: dict[str, Any] = {"label_names": {"anterior": 3, "posterior": 7}, "version": "v0001"}
        self.training: list[dict[str, Any]] = [{"state": "none"}]
        self.study = self._write_study()
        digest = hashlib.sha256(self.study).hexdigest()
        server.reply("GET", "/info/", INFO)
        server.reply(
            "POST", "/activelearning/first", {"id": "case_1", "name": "case_1.nii.gz", "checksum": f"SHA256:{digest}"}
        )
        server.reply("GET", "/datastore/image", self.study, kind="application/octet-stream")
        server.on("POST", "/infer/hippocampus", self._infer)
        server.on("PUT", "/datastore/label", self._store_label)
        server.on("PUT", "/datastore/image", self._store_image)
        server.reply("POST", "/train/hippocampus", {"id": "t", "status": "SUBMITTED", "medgan": {"state": "starting"}})
        server.on("GET", "/train/", self._train)
        server.reply("DELETE", "/train/", {})

    def label(self) -> bytes:
        """Returns the label file that was submitted last."""
        return form_parts(self.server.requests("PUT", "/datastore/label")[-1])["label"]

    def sent_volumes(self) -> list[bytes]:
        """Returns the volumes that were sent, to run on or to keep."""
        requests = [
            *self.server.requests("POST", "/infer/hippocampus"),
            *self.server.requests("PUT", "/datastore/image"),
        ]
        return [parts["file"] for parts in map(form_parts, requests) if "file" in parts]

    def _write_study(self) -> bytes:
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetIJKToRASMatrix(to_matrix(self.matrix))
        noise = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
        node.SetAndObserveImageData(image_from_array(noise))
        path = self.folder / "study.nii.gz"
        write_node(node, path, compress=True)
        return path.read_bytes()

    def _infer(self, exchange: Exchange) -> None:
        exchange.read_body()
        path = write_labels(self.folder / "served.nii.gz", self.result, self.matrix)
        exchange.answer(200, multipart(self.answer, path.read_bytes()), MULTIPART)

    def _store_label(self, exchange: Exchange) -> None:
        exchange.read_body()
        image = exchange.seen.query["image"]
        exchange.answer(200, {"image": image, "label": image, "medgan": {"voxels": {"3": 1}, "replaced": False}})

    def _store_image(self, exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(200, {"image": exchange.seen.query["image"]})

    def _train(self, exchange: Exchange) -> None:
        status = self.training.pop(0) if len(self.training) > 1 else self.training[0]
        exchange.answer(200, {"id": "t", "status": "RUNNING", "medgan": {"model": "hippocampus", **status}})


class Asked:
    """The user in front of the consent dialog."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.requests: list[ConsentRequest] = []

    def __call__(self, request: ConsentRequest) -> bool:
        self.requests.append(request)
        return self.answer


def submitted(clinic: Clinic) -> sitk.Image:
    path = clinic.folder / "submitted.nrrd"
    path.write_bytes(clinic.label())
    return sitk.ReadImage(str(path))


def fails(
    workflow: Workflow, job: Any, kind: type[errors.MedGANError], words: str | None = None, said: str = "error"
) -> None:
    """Expects a job to fail with a message in the state, and the workflow to be usable after."""
    with pytest.raises(kind, match=words):
        workflow.wait(job, 10)
    assert workflow.state.message.kind == said and workflow.state.job is None


def until(workflow: Workflow, condition: Callable[[], bool]) -> None:
    """Pumps until something has happened."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        workflow.pump()
        time.sleep(0.01)

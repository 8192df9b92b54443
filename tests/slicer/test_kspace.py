"""Measured k-space in place of a volume: what is asked and sent, and what is put into the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from MedGANLib import errors, state
from MedGANLib.consents import RAW_NOT_SENT, RUN_ON_RAW
from MedGANLib.kspace import KSpaceFile
from MedGANLib.marks import view_mark
from MedGANLib.scene import Scene
from MedGANLib.testing import server as testing
from MedGANLib.testing.reconstruction import FINER, MEASURED, measured_json
from MedGANLib.testing.server import TestServer
from MedGANLib.volumes import dimensions, scalar_volumes, voxels
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails
from .test_reconstructing import volume

PATIENT = "Smith^John 1950-02-03"


@pytest.fixture
def studio(served: TestServer, scene: Scene, user: Asked) -> Any:
    served.world.reconstructions[MEASURED] = measured_json()
    one = Workflow(scene=scene, consent=user)
    one.wait(one.connect(served.url), 10)
    yield one
    one.close()


@pytest.fixture
def file(tmp_path: Path) -> KSpaceFile:
    rng = np.random.default_rng(0)
    np.save(tmp_path / f"{PATIENT}.npy", (rng.normal(size=(24, 16)) + 1j).astype(np.complex64))
    return KSpaceFile(tmp_path / f"{PATIENT}.npy")


def test_its_image_lies_beside_no_volume_and_is_named_after_the_model(
    studio: Workflow, scene: Scene, file: KSpaceFile
) -> None:
    before = file.path.read_bytes()
    made = studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    image = scene.node(made.image)
    assert image.GetName() == "K-space – MR from fewer lines v0001" and view_mark(image) == "RECONSTRUCTED"
    assert dimensions(image) == (24, 16, 1) and voxels(image).max() > 0
    assert made.inputs == {} and made.uncertainty and "not known" in studio.state.message.details[0]
    names = [node.GetName() for node in scalar_volumes(scene)]
    assert not any("Smith" in name for name in names)
    assert file.path.read_bytes() == before, "the clinician's own file stays"
    assert studio.undo_reconstruction() and scalar_volumes(scene) == []


def test_neither_the_files_name_nor_a_file_of_ours_is_left(
    studio: Workflow, file: KSpaceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes] = []
    read = testing.read_multipart
    monkeypatch.setattr(testing, "read_multipart", lambda kind, body: bodies.append(body) or read(kind, body))
    studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    assert len(bodies) == 1 and file.path.read_bytes() in bodies[0], "sent as it is"
    assert b"Smith" not in bodies[0] and b'filename="file.npy"' in bodies[0]
    assert not list(studio.folder.iterdir())


def test_a_raw_file_wants_an_agreement_of_its_own(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked, file: KSpaceFile
) -> None:
    studio.wait(studio.reconstruct(FINER, {"image": volume(scene)}), 20)
    user.answer = False
    fails(
        studio, studio.reconstruct(MEASURED, {"image": file}), errors.ConsentDeclined, "Nothing was sent", said="info"
    )
    assert len(served.world.received) == 1, "the volume alone"
    asked = user.requests[-1]
    assert (asked.kind, asked.stored, asked.volume_name) == (state.RAW, False, f"{PATIENT}.npy")
    assert (asked.sent, asked.not_sent) == (RUN_ON_RAW, RAW_NOT_SENT)
    assert "as it is" in asked.sent and "name the patient" in asked.sent
    assert asked.megabytes == pytest.approx(file.path.stat().st_size / 2**20)
    user.answer = True
    for _ in range(2):
        studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    assert len(user.requests) == 3, "agreed for this server"


def test_agreeing_to_a_raw_file_is_none_to_a_volume(
    studio: Workflow, scene: Scene, user: Asked, file: KSpaceFile
) -> None:
    studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    studio.wait(studio.reconstruct(MEASURED, {"image": volume(scene)}), 20)
    assert [request.kind for request in user.requests] == [state.RAW, state.VOLUME]


def test_what_cannot_be_sent_is_told_before_anything_is_asked(
    studio: Workflow, served: TestServer, user: Asked, file: KSpaceFile, tmp_path: Path
) -> None:
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "scan.dat").write_bytes(b"raw")
    for path, words in (
        (tmp_path / "gone.h5", "not there any more"),
        (tmp_path / "empty.h5", "is empty"),
        (tmp_path / "scan.dat", "no k-space file"),
    ):
        fails(studio, studio.reconstruct(MEASURED, {"image": KSpaceFile(path)}), errors.StorageProblem, words)
    fails(studio, studio.reconstruct(FINER, {"image": file}), errors.SceneProblem, "takes no k-space")
    with (tmp_path / "large.h5").open("wb") as large:
        large.truncate(2 * 2**20)
    studio.state.server = type(studio.state.server)("s", "", "1", max_upload_mb=1, is_medgan=True)
    job = studio.reconstruct(MEASURED, {"image": KSpaceFile(tmp_path / "large.h5")})
    fails(studio, job, errors.TooLarge, "The file has 2 MB; the server takes 1")
    assert served.world.received == [] and user.requests == []


def test_a_file_that_the_server_cannot_read(studio: Workflow, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY nothing")
    job = studio.reconstruct(MEASURED, {"image": KSpaceFile(tmp_path / "damaged.npy")})
    fails(studio, job, errors.NotAnImage, "not a readable medical image")
    assert scalar_volumes(scene) == [] and (tmp_path / "damaged.npy").exists()


def test_its_image_does_not_appear_in_another_scene(studio: Workflow, scene: Scene, file: KSpaceFile) -> None:
    job = studio.reconstruct(MEASURED, {"image": file})
    scene.mrml.Clear(0)
    fails(studio, job, errors.SceneProblem, "closed meanwhile")
    assert scalar_volumes(scene) == [] and studio.state.reconstruction is None
    assert not list(studio.folder.iterdir())


def test_all_agreements_can_be_taken_back(studio: Workflow, served: TestServer, user: Asked, file: KSpaceFile) -> None:
    assert not studio.consents.given
    studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    assert studio.consents.given
    with TestServer() as other:
        studio.wait(studio.connect(other.url), 10)
        studio.consents.forget()
    assert not studio.consents.given
    studio.wait(studio.connect(served.url), 10)
    studio.wait(studio.reconstruct(MEASURED, {"image": file}), 20)
    assert len(user.requests) == 2, "asked again at the server that was left, too"

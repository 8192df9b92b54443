"""Results as DICOM: what is asked of the server, what lies in the folder afterwards, and what refusals are told as."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from MedGANLib import errors, state
from MedGANLib.consents import EXPORT
from MedGANLib.dicom_calls import unpack_dicom
from MedGANLib.scene import Scene
from MedGANLib.testing.dicom import dicom_zip
from MedGANLib.testing.reconstruction import FINER
from MedGANLib.testing.running import MODEL
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import Refusal
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails, until
from .scenes import add_transform, rigid
from .test_reconstructing import volume


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "dicom").mkdir()
    return tmp_path / "dicom"


@pytest.fixture
def submitted(studio: Workflow, served: TestServer) -> Workflow:
    """A workflow whose study has a final label."""
    served.world.archive = True
    studio.wait(studio.next_sample(), 10)
    studio.wait(studio.run_model(MODEL), 10)
    studio.wait(studio.submit(MODEL), 10)
    return studio


def test_the_label_is_saved_without_a_name(submitted: Workflow, served: TestServer, target: Path) -> None:
    made = submitted.wait(submitted.save_label_dicom(str(target)), 10)
    asked = served.world.exports[-1]
    assert asked == {"image": "case_1", "tag": "final", "download": "true", "file": ""}
    (folder,) = target.iterdir()
    assert str(folder) == made.folder and folder.name.startswith("MedGAN SEG ") and "case_1" not in folder.name
    assert [file.name for file in folder.iterdir()] == ["00001.dcm"]
    assert submitted.state.message.text == "Saved 1 file without the patient's name."
    assert not list(submitted.folder.glob("*.*")), "no file of ours is left"
    submitted.wait(submitted.save_label_dicom(str(target)), 10)
    assert len(list(target.iterdir())) == 2, "nothing is overwritten"


def test_the_label_is_sent_to_the_archive(submitted: Workflow, served: TestServer, target: Path) -> None:
    made = submitted.wait(submitted.send_label_dicom(), 10)
    assert served.world.exports[-1] == {"image": "case_1", "tag": "final", "file": ""}
    assert made.folder == "" and "The archive has it: AI-generated, corrected" in submitted.state.message.text


def test_an_image_is_sent_along_with_its_model_after_consent(
    studio: Workflow, scene: Scene, served: TestServer, user: Asked, target: Path
) -> None:
    served.world.archive = True
    study = studio.wait(studio.next_sample(), 10)
    studio.wait(studio.reconstruct(FINER, {"image": study}), 20)
    user.answer = False
    job = studio.save_image_dicom(str(target))
    fails(studio, job, errors.ConsentDeclined, "Nothing was sent", said="info")
    user.answer = True
    studio.wait(studio.save_image_dicom(str(target)), 10)
    (asked,) = served.world.exports
    assert (asked["image"], asked["model"], asked["version"]) == ("case_1", FINER, "v0001")
    assert asked["file"] == "file.nrrd" and "tag" not in asked
    assert user.requests[-1].kind == state.RESULT and user.requests[-1].sent == EXPORT
    (folder,) = target.iterdir()
    assert [file.name for file in sorted(folder.iterdir())] == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert not list(studio.folder.glob("*.*"))
    studio.wait(studio.send_image_dicom(), 10)
    assert "download" not in served.world.exports[-1] and len(user.requests) == 2, "agreed for this server"


def test_only_what_was_made_of_the_servers_study_where_it_lies(
    studio: Workflow, scene: Scene, served: TestServer, target: Path
) -> None:
    fails(studio, studio.save_image_dicom(str(target)), errors.SceneProblem, "no reconstruction")
    studio.wait(studio.reconstruct(FINER, {"image": volume(scene)}), 20)
    fails(studio, studio.save_image_dicom(str(target)), errors.SceneProblem, "not made of one of the server's")
    study = studio.wait(studio.next_sample(), 10)
    studio.wait(studio.reconstruct(FINER, {"image": study}), 20)
    add_transform(scene, study, rigid())
    fails(studio, studio.send_image_dicom(), errors.SceneProblem, "as it lies there")
    mine = volume(scene, "mine")
    fails(studio, studio.save_label_dicom(str(target), mine), errors.SceneProblem, "does not know this volume")
    assert served.world.exports == []


def test_refusals_are_told_to_a_clinician(submitted: Workflow, served: TestServer, target: Path) -> None:
    served.world.archive = False
    job = submitted.send_label_dicom()
    fails(submitted, job, errors.NotFound, "no DICOM archive")
    assert "into a folder" in submitted.state.message.hint and job.error is not None and job.error.id
    served.world.labels.clear()
    fails(submitted, submitted.save_label_dicom(str(target)), errors.NotFound, "Nothing was submitted")
    served.world.trouble["/dicom"] = Refusal(422, "no_source", "Nothing is known of a DICOM series.", "Start again.")
    fails(
        submitted, submitted.save_label_dicom(str(target)), errors.CannotProcess, "Nothing is known of a DICOM series"
    )
    served.world.trouble["/dicom"] = Refusal(503, "archive_unavailable", "The archive does not answer.", "Later.")
    fails(submitted, submitted.send_label_dicom(), errors.ServerFailure, "does not answer")
    served.world.trouble.clear()
    served.world.older = True
    fails(submitted, submitted.send_label_dicom(), errors.ServerTooOld, "gives no DICOM back")
    assert list(target.iterdir()) == []


def test_text_in_the_voxels_is_said_not_to_be_there(submitted: Workflow, served: TestServer, target: Path) -> None:
    served.world.text_in_voxels = True
    job = submitted.save_label_dicom(str(target))
    fails(submitted, job, errors.CannotProcess, "text in their voxels")
    assert job.error is not None and job.error.code == "may_identify"
    submitted.wait(submitted.save_label_dicom(str(target), no_text=True), 10)
    assert served.world.exports[-1]["burned_in"] == "true" and len(list(target.iterdir())) == 1


def test_cancelled_while_it_arrives_leaves_nothing(
    submitted: Workflow, served: TestServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedGANLib import dicom_calls

    def stop(blocks: Any, path: Path) -> str:
        while submitted.state.job is None:  # the worker may be faster than the thread that started it
            time.sleep(0.001)
        submitted.cancel()
        return save(blocks, path)

    save = dicom_calls.save_blocks
    monkeypatch.setattr(dicom_calls, "save_blocks", stop)
    job = submitted.save_label_dicom(str(target))
    fails(submitted, job, errors.Cancelled, "Cancelled", said="info")
    assert list(target.iterdir()) == [] and not list(submitted.folder.glob("*.*"))


def test_cancelling_stops_the_server_too(submitted: Workflow, served: TestServer, target: Path) -> None:
    served.world.infer_seconds = 30.0
    already = set(served.world.cancelled)
    for start in (lambda: submitted.save_label_dicom(str(target)), submitted.send_label_dicom):
        job = start()
        until(submitted, lambda: bool(set(served.world.cancelled) - already))
        (name,) = set(served.world.cancelled) - already
        already.add(name)
        submitted.cancel()
        fails(submitted, job, errors.Cancelled, "Cancelled", said="info")
        assert served.world.cancelled[name].wait(5), "the server goes on with what nobody wants"
    assert "look there before you send it again" in submitted.state.message.hint
    assert list(target.iterdir()) == [] and served.world.exports == []


def test_the_export_tells_how_far_it_is(submitted: Workflow, served: TestServer, target: Path) -> None:
    served.world.infer_seconds = 1.2
    job = submitted.save_label_dicom(str(target))
    until(submitted, lambda: job.progress > 0.4)
    assert job.phase == "Making DICOM"
    submitted.wait(job, 10)


@pytest.mark.parametrize("member", ["../../evil.dcm", "SEG/../../00001.dcm", "SEG/run.exe", "SEG/MR/00001.dcm"])
def test_a_zip_with_something_else_is_refused(tmp_path: Path, target: Path, member: str) -> None:
    stream = io.BytesIO(dicom_zip("SEG", 1))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(member, "x")
    (tmp_path / "b.zip").write_bytes(stream.getvalue())
    with pytest.raises(errors.Disconnected, match="something else than DICOM"):
        unpack_dicom(tmp_path / "b.zip", target)
    assert list(target.iterdir()) == [] and not list(tmp_path.glob("*.dcm"))


@pytest.mark.parametrize("content", [b"", b"no zip", dicom_zip("SEG", 2)[:-40]])
def test_a_damaged_zip_leaves_nothing(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(errors.Disconnected, match="damaged"):
        unpack_dicom(tmp_path / "b.zip", target)
    assert list(target.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(dicom_zip("MR", 2))
    with pytest.raises(errors.StorageProblem, match="cannot be written to"):
        unpack_dicom(tmp_path / "b.zip", tmp_path / "gone")


def test_a_zip_with_damaged_content(tmp_path: Path, target: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SEG/00001.dcm", bytes(range(256)) * 64)
    content = bytearray(stream.getvalue())
    content[45:60] = b"\xff" * 15
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(errors.Disconnected, match="damaged"):
        unpack_dicom(tmp_path / "b.zip", target)
    assert list(target.iterdir()) == []

"""MONAI Label's own Python client, unchanged, against the live server."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException
from server_world import LABELS, MODEL, PICTURES, SHAPES, Server, crop, truth

from monailabel_app.synthetic import Mark, mark_of
from trainers.data.volumes import Volume, read_label, read_volume, same_grid, write_volume


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="user-1")


def test_info(client: MONAILabelClient) -> None:
    info = client.info()
    assert info["models"][MODEL]["labels"] == LABELS
    assert info["models"][MODEL]["type"] == "segmentation"
    assert MODEL in info["trainers"]
    assert not client.auth_enabled()


@pytest.mark.parametrize("strategy", ["first", "random", "uncertainty"])
def test_next_sample(client: MONAILabelClient, strategy: str, server: Server) -> None:
    sample = client.next_sample(strategy, {})
    assert (server.studies / sample["name"]).is_file()
    assert sample["checksum"].startswith("SHA256:")
    assert "path" not in sample


def test_infer_by_id_file_and_session(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    write_volume(tmp_path / "image.nii.gz", crop(1))
    session = client.create_session(str(tmp_path / "image.nii.gz"))["session_id"]
    assert client.get_session(session)["name"] == session
    image = read_volume(server.studies / "study_1.nii.gz")
    for how in (
        {"image_id": "study_1"},
        {"image_id": "", "file": str(tmp_path / "image.nii.gz")},
        {"image_id": "", "session_id": session},
    ):
        file, params = client.infer(MODEL, params={"device": "cuda"}, **how)
        assert same_grid(read_label(file, LABELS.values()), image)
        assert params["label_names"] == LABELS
    client.remove_session(session)


@pytest.mark.parametrize("image", ["none", ""])
def test_synthesis_needs_no_image(client: MONAILabelClient, image: str) -> None:
    file, params = client.infer(PICTURES, image, {"seed": 3, "class": "pneumonia"})
    assert mark_of(Path(file)) == Mark(PICTURES, "v0001", 3, "pneumonia")
    assert params["samples"] == [{"seed": 3, "class": "pneumonia"}]


def test_an_accepted_sample_becomes_a_study_with_a_label(
    client: MONAILabelClient, http: httpx.Client, tmp_path: Path
) -> None:
    image, _ = client.infer(SHAPES, "none", {"seed": 3})
    write_volume(tmp_path / "label.nii.gz", read_volume(image).like(np.ones((20, 24, 20), np.uint8)))
    assert client.upload_image(image, "made", {"synthetic": {"model": SHAPES}})["image"] == "made"
    client.save_label("made", str(tmp_path / "label.nii.gz"), tag="final")
    assert client.datastore()["objects"]["made"]["image"]["info"]["synthetic"]["seed"] == 3
    assert client.info()["datastore"]["synthetic"] == {"total": 1, "completed": 1}
    assert http.delete("/datastore/image", params={"id": "made"}).status_code == 200
    assert client.info()["datastore"]["synthetic"] == {"total": 0, "completed": 0}


def test_a_mask_goes_along_as_the_label(client: MONAILabelClient, tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.nii.gz", Volume(np.ones((9, 9, 9), np.uint8), np.eye(4)))
    filled, _ = client.infer(SHAPES, "none", {"seed": 3}, label_in=str(tmp_path / "mask.nii.gz"))
    free, _ = client.infer(SHAPES, "none", {"seed": 3})
    assert not np.array_equal(read_volume(filled).array, read_volume(free).array)


def test_save_and_download_label(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    label = server.label_file(0, tmp_path)
    answer = client.save_label("study_0", str(label), tag="final", params={"label_info": [{"name": "light", "idx": 1}]})
    assert answer["label"] == "study_0"
    again = read_label(client.download_label("study_0", "final"))
    assert (again.array == truth(crop(0)).array).all()
    assert "final" in client.datastore()["objects"]["study_0"]["labels"]


def test_upload(client: MONAILabelClient, tmp_path: Path) -> None:
    write_volume(tmp_path / "u.nii.gz", crop(3))
    assert client.upload_image(str(tmp_path / "u.nii.gz"), "uploaded")["image"] == "uploaded"
    with pytest.raises(MONAILabelClientException, match="already a study"):
        client.upload_image(str(tmp_path / "u.nii.gz"), "uploaded")


def test_errors_reach_the_user_with_their_reason(client: MONAILabelClient) -> None:
    with pytest.raises(MONAILabelClientException) as caught:
        client.infer(MODEL, "nobody", {})
    assert "There is no study 'nobody'" in caught.value.msg


def test_train_start_status_stop(client: MONAILabelClient, server: Server, tmp_path: Path) -> None:
    for study in range(4):
        client.save_label(f"study_{study}", str(server.label_file(study, tmp_path)), tag="final")
    task = client.train_start(MODEL, {"max_epochs": 500, "device": "cuda", "name": "train_01"})
    assert task["status"] in {"SUBMITTED", "RUNNING"}
    assert client.train_status(check_if_running=True)
    end = time.monotonic() + 60
    while client.train_status()["medgan"]["state"] != "training":
        assert time.monotonic() < end
        time.sleep(0.3)
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
    assert not client.train_status(check_if_running=True)

"""Bad input: each a 4xx with a reason within a second, the server and its data intact."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import psutil
import pytest
from server_world import MODEL, Server, crop, error

from monailabel_app.activelearning.scores import SCORES
from trainers.data.volumes import write_volume

INFER = f"/infer/{MODEL}"


def text_file() -> bytes:
    return b"this is not an image\n" * 10


def truncated() -> bytes:
    whole = gzip.compress(nib.Nifti1Image(crop(0).array, np.eye(4)).to_bytes())
    return whole[: len(whole) // 2]


def lying_header() -> bytes:
    """A header that claims 2048 x 2048 x 1024 voxels, and nothing else."""
    header = nib.Nifti1Header()
    header.set_data_shape((2048, 2048, 1024))
    header.set_data_dtype(np.int16)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return gzip.compress(header.binaryblock + b"\0" * 4)


def volume(array: np.ndarray, affine: np.ndarray = np.eye(4)) -> bytes:
    return gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), 1)


def not_a_number() -> bytes:
    array = crop(0).array.copy()
    array[3, 3, 3] = np.nan
    return volume(array)


FILES: dict[str, tuple[Callable[[], bytes], set[tuple[int, str]]]] = {
    "text": (text_file, {(415, "not_an_image")}),
    "empty": (lambda: b"", {(415, "not_an_image")}),
    "truncated": (truncated, {(415, "not_an_image")}),
    "lying header": (lying_header, {(413, "too_large"), (415, "not_an_image")}),
    "NaN": (not_a_number, {(422, "cannot_process")}),
    "infinite": (lambda: volume(np.full((8, 8, 8), np.inf, np.float32)), {(422, "cannot_process")}),
    "4D": (lambda: volume(np.zeros((8, 8, 8, 3), np.float32)), {(422, "cannot_process")}),
    "metres": (lambda: volume(crop(0).array, np.diag([1e-3, 1e-3, 1e-3, 1])), {(422, "cannot_process")}),
    "a few voxels": (lambda: volume(np.ones((3, 3, 3), np.float32)), {(422, "cannot_process")}),
    "one voxel": (lambda: volume(np.zeros((1, 1, 1), np.float32)), {(422, "cannot_process")}),
}


def state_of(server: Server) -> dict[str, str]:
    """Every file of the studies' folder, with its content, but for logs, locks and the scores made in spare time."""
    hidden = (".lock", ".writing-")
    files = [p for p in server.studies.rglob("*") if p.is_file() and "logs" not in p.parts]
    kept = [p for p in files if not p.name.startswith(hidden) and ".sqlite3" not in p.name]
    with server.client() as client:
        known = json.dumps(without_scores(client.get("/datastore/?output=all").json()))
    return {"known": known, **{str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}}


def without_scores(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: without_scores(item) for key, item in value.items() if key != SCORES}


@pytest.fixture
def intact(server: Server, http: httpx.Client) -> Iterator[None]:
    """The server takes little memory and time, changes no file, and works afterwards."""
    process = psutil.Process(server.process.pid)
    before, memory = state_of(server), process.memory_info().rss
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 10
    assert process.memory_info().rss - memory < 300 << 20
    assert state_of(server) == before
    assert http.get("/health").status_code == 200


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("kind", FILES)
def test_bad_files_to_infer(http: httpx.Client, kind: str) -> None:
    make, expected = FILES[kind]
    answer = http.post(INFER, files={"file": ("image.nii.gz", make())})
    assert error(answer) in expected
    assert answer.elapsed.total_seconds() < 5


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("kind", sorted(set(FILES) - {"metres", "a few voxels"}))
def test_bad_files_as_new_study(http: httpx.Client, kind: str) -> None:
    make, expected = FILES[kind]
    answer = http.put("/datastore/image", params={"image": "new"}, files={"file": ("x.nii.gz", make())})
    assert error(answer) in expected


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "lying header", "4D"])
def test_bad_files_as_session(http: httpx.Client, kind: str) -> None:
    make, expected = FILES[kind]
    answer = http.put("/session/", files={"files": ("x.nii.gz", make())})
    if kind != "truncated":  # its header is whole; the voxels are read at inference
        assert error(answer) in expected
    else:
        session = answer.json()["session_id"]
        assert error(http.post(INFER, params={"session_id": session})) in expected
        http.delete(f"/session/{session}")


NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 36 52 36\nencoding: raw\n"
MHA = "ObjectType = Image\nNDims = 3\nDimSize = 36 52 36\nElementType = MET_UCHAR\n"
DETACHED = [
    ("x.nrrd", NRRD + "data file: {}\n\n"),
    ("x.nrrd", NRRD + "datafile: {}\n\n"),
    ("x.nrrd", NRRD + "Data  File: {}\r\n\r\n"),
    ("x.nrrd", NRRD + "data file: {}\n"),
    ("x.nrrd", NRRD + "data file: LIST\n{}\n"),
    ("x.mha", MHA + "ElementDataFile = {}\n"),
    ("x.mha", MHA + "Comment = ElementDataFile = LOCAL\nElementDataFile = {}\n"),
    ("x.mha", MHA + "elementdatafile = LOCAL\nElementDataFile = {}\n"),
    ("x.mha", MHA + "ELEMENTDATAFILE = LOCAL\r\nElementDataFile = {}\r\n"),
    ("x.mha", MHA + "ElementDataFile = LIST\n{}\n"),
    ("x.nrrd", MHA + "ElementDataFile = {}\n\n"),
    ("x.nii", MHA + "ElementDataFile = {}\n"),
]


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize(("name", "header"), DETACHED)
def test_a_header_cannot_make_the_server_read_other_files(
    http: httpx.Client, tmp_path: Path, name: str, header: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(36 * 52 * 36))
    data = header.format(tmp_path / "secret").encode()
    assert error(http.post(INFER, files={"file": (name, data)})) == (415, "not_an_image")
    assert error(http.put("/session/", files={"files": (name, data)})) == (415, "not_an_image")
    study = {"image": "study_0", "tag": "final"}
    assert error(http.put("/datastore/label", params=study, files={"label": (name, data)})) == (415, "not_an_image")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
def test_every_format_is_taken(http: httpx.Client, tmp_path: Path, suffix: str) -> None:
    for compress in (False, True):
        write_volume(tmp_path / f"x{suffix}", crop(0), compress=compress)
        with (tmp_path / f"x{suffix}").open("rb") as stream:
            answer = http.post(INFER, files={"file": (f"x{suffix}", stream)}, params={"output": "json"})
        assert answer.status_code == 200


def test_a_fourth_axis_of_length_one_is_no_hindrance(http: httpx.Client) -> None:
    data = volume(crop(0).array[..., None], crop(0).affine)
    answer = http.post(INFER, files={"file": ("x.nii.gz", data)}, params={"output": "json"})
    assert answer.status_code == 200


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("name", ["image.exe", "image", "image.dcm", "image.nii.gz.py"])
def test_unknown_suffix(http: httpx.Client, name: str) -> None:
    assert error(http.post(INFER, files={"file": (name, b"x")})) == (415, "not_an_image")


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (text_file, (415, "not_an_image")),
        (lambda: volume(np.zeros((5, 5, 5), np.uint8)), (422, "wrong_geometry")),
        (lambda: volume(np.zeros((36, 52, 36), np.uint8)), (422, "wrong_geometry")),
        (lambda: on_study_grid(np.full((36, 52, 36), 7, np.uint8)), (422, "wrong_labels")),
        (lambda: on_study_grid(np.full((36, 52, 36), 0.5, np.float32)), (422, "wrong_labels")),
    ],
)
def test_bad_labels(http: httpx.Client, label: Callable[[], bytes], expected: tuple[int, str]) -> None:
    answer = http.put(
        "/datastore/label",
        params={"image": "study_0", "tag": "final"},
        data={"params": json.dumps({"model": MODEL})},
        files={"label": ("label.nii.gz", label())},
    )
    assert error(answer) == expected
    assert answer.elapsed.total_seconds() < 5


def on_study_grid(array: np.ndarray) -> bytes:
    return gzip.compress(nib.Nifti1Image(array, crop(0).affine).to_bytes(), 1)


BAD_PARAMS = {
    "not JSON": ("nonsense", "bad_params"),
    "a list": ("[1]", "bad_params"),
    "deep": ("[" * 100_000, "bad_params"),
    "not a number": ('{"note": NaN}', "bad_params"),
    "half a character": ('{"note": "\\ud800"}', "bad_params"),
    "40 deep": ('{"note": ' + "[" * 40 + "]" * 40 + "}", "bad_params"),
    "bad option": ('{"points": [[1, 2]]}', "bad_option"),
    "misspelt": ('{"point": [[1, 2, 3]]}', "bad_option"),
    "kind of file": ('{"result_extension": "/../x.exe"}', "bad_option"),
    "job with a path": ('{"job_id": "../x"}', "bad_name"),
}


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("kind", BAD_PARAMS)
def test_bad_params(http: httpx.Client, kind: str) -> None:
    text, code = BAD_PARAMS[kind]
    assert error(http.post(INFER, params={"image": "study_0"}, data={"params": text})) == (400, code)


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("info", ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": ' + "[" * 900 + "]" * 900 + "}"])
def test_info_that_could_not_be_told_again_is_refused(http: httpx.Client, info: str) -> None:
    answer = http.put("/datastore/image/info", params={"image": "study_0"}, data={"info": info})
    assert error(answer) == (400, "bad_params")
    assert http.get("/datastore/", params={"output": "all"}).status_code == 200
    body = {"content": info, "headers": {"content-type": "application/json"}}
    assert error(http.post("/activelearning/random", **body)) == (400, "bad_params")


def test_clients_cannot_set_what_the_server_keeps_of_a_study(http: httpx.Client) -> None:
    study, info = {"image": "study_1"}, {"strategy": "x", "medgan_scores": "y", "checksum": "z", "name": "../x", "a": 1}
    assert http.put("/datastore/image/info", params=study, data={"info": json.dumps(info)}).status_code == 200
    found = http.get("/datastore/image/info", params=study).json()
    assert found["a"] == 1
    assert found["name"] == "study_1.nii.gz"
    assert not {"x", "y", "z"} & {value for value in found.values() if isinstance(value, str)}
    assert http.post("/activelearning/uncertainty", json={}).status_code == 200


@pytest.mark.usefixtures("intact")
def test_image_in_params_is_not_a_way_to_other_files(http: httpx.Client, server: Server) -> None:
    for path in (str(server.studies / "study_0.nii.gz"), "/etc/passwd"):
        answer = http.post(INFER, data={"params": json.dumps({"image": path})})
        assert error(answer) == (400, "bad_request")


PATHS = ["../x", "/etc/passwd", "..%2fx", "a/../../b", "..", "a\\b"]


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("bad", PATHS)
def test_paths_in_ids_and_tags(http: httpx.Client, bad: str) -> None:
    label = {"label": ("l.nii.gz", on_study_grid(np.zeros((36, 52, 36), np.uint8)))}
    answers = [
        http.post(INFER, params={"image": bad}),
        http.get("/datastore/image", params={"image": bad}),
        http.get("/datastore/image/info", params={"image": bad}),
        http.get("/datastore/label", params={"label": "study_0", "tag": bad}),
        http.get("/datastore/label", params={"label": bad, "tag": "final"}),
        http.delete("/datastore/image", params={"id": bad}),
        http.put("/datastore/image", params={"image": bad}, files={"file": ("x.nii.gz", volume(crop(0).array))}),
        http.put("/datastore/label", params={"image": bad}, files=label),
        http.put("/datastore/label", params={"image": "study_0", "tag": bad}, files=label),
        http.post(INFER, params={"session_id": bad}),
    ]
    assert all(error(a)[0] in {400, 404} for a in answers)
    assert sum(error(a)[1] == "bad_name" for a in answers) >= 8


UNKNOWN = [
    ("POST", INFER + "?image=nobody", "unknown_image"),
    ("POST", "/infer/nothing?image=study_0", "unknown_model"),
    ("GET", "/datastore/image?image=nobody", "unknown_image"),
    ("GET", "/datastore/label?label=study_0&tag=nothing", "unknown_label"),
    ("POST", "/activelearning/nothing", "unknown_strategy"),
    ("POST", "/scoring/nothing", "unknown_method"),
    ("POST", "/train/nothing", "unknown_trainer"),
    ("GET", "/models/nothing/versions", "unknown_model"),
    ("GET", "/models/..%2f../versions", "not_found"),
    ("GET", "/jobs/nothing", "unknown_job"),
    ("GET", "/session/00000000-0000-0000-0000-000000000000", "unknown_session"),
    ("GET", "/batch/infer", "unknown_job"),
    ("DELETE", "/train/", "no_training"),
    ("GET", "/train/?check_if_running=true", "no_training"),
    ("POST", "/reload", "not_found"),
    ("PUT", f"/model/{MODEL}", "not_found"),
]


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize(("method", "path", "code"), UNKNOWN)
def test_unknown_things(http: httpx.Client, method: str, path: str, code: str) -> None:
    assert error(http.request(method, path)) == (404, code)


@pytest.mark.usefixtures("intact")
def test_requests_that_make_no_sense(http: httpx.Client) -> None:
    assert error(http.post(INFER)) == (400, "bad_request")
    assert error(http.post(INFER, params={"image": "study_0", "output": "dicom_seg"})) == (400, "bad_request")
    assert error(http.put("/datastore/label", params={"image": "study_0"})) == (400, "bad_request")
    assert error(http.post(f"/train/{MODEL}", content=b"{", headers={"content-type": "application/json"}))[0] == 400
    assert error(http.post(f"/train/{MODEL}", json={"max_epochs": "many"})) == (400, "bad_option")
    assert error(http.put(f"/models/{MODEL}/current", json={"version": "v0099"})) == (404, "unknown_version")
    assert error(http.put(f"/models/{MODEL}/current", json={})) == (400, "bad_request")


def test_a_taken_id_is_not_overwritten(http: httpx.Client) -> None:
    answer = http.put(
        "/datastore/image", params={"image": "study_0"}, files={"file": ("x.nii.gz", volume(crop(1).array))}
    )
    assert error(answer) == (409, "conflict")


def test_upload_list_download_remove(http: httpx.Client) -> None:
    body = volume(crop(1).array)
    assert http.put("/datastore/image", params={"image": "mine"}, files={"file": ("x.nii.gz", body)}).json() == {
        "image": "mine"
    }
    assert http.get("/datastore/image", params={"image": "mine"}).content == body
    digest = hashlib.sha256(body).hexdigest()
    assert http.head("/datastore/image", params={"image": "mine", "check_sum": f"SHA256:{digest}"}).status_code == 200
    assert http.head("/datastore/image", params={"image": "mine", "check_sum": "SHA256:00"}).status_code == 404
    assert http.delete("/datastore/image", params={"id": "mine"}).status_code == 200
    assert error(http.get("/datastore/image", params={"image": "mine"})) == (404, "unknown_image")


def test_log_has_no_paths_or_studies(http: httpx.Client, server: Server) -> None:
    http.post(INFER, params={"image": "study_0", "output": "json"})
    http.get("/datastore/label", params={"label": "study_0", "tag": "none"})
    text = http.get("/logs/", params={"lines": 1000}).text
    assert "unknown_label" in text
    assert "study_0" not in text
    assert str(Path(server.studies)) not in text


def test_data_folder_is_closed_to_others(server: Server) -> None:
    assert server.data.stat().st_mode & 0o077 == 0

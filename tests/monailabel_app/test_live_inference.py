"""Inference over HTTP: by id, by file, by session; grids, bundles, cancelling, and a server that stays awake."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from server_world import LABELS, MODEL, Server, crop, error

from trainers.data.volumes import Volume, read_volume, same_grid, write_volume

INFER = f"/infer/{MODEL}"
WHOLE_HEAD = (160, 190, 160)


def parts(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """Params and file of a multipart answer."""
    assert response.status_code == 200, response.text
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    found = {
        p.get_param("name", header="content-disposition"): p
        for p in message_from_bytes(head + response.content).get_payload()
    }
    params = json.loads(found["params"].get_payload(decode=True))
    return params, found["image"].get_payload(decode=True)


def saved(data: bytes, folder: Path, suffix: str = ".nii.gz") -> Volume:
    path = folder / f"result{suffix}"
    path.write_bytes(data)
    return read_volume(path)


def test_info_describes_the_model(http: httpx.Client) -> None:
    info = http.get("/info/").json()
    model = info["models"][MODEL]
    assert model["labels"] == LABELS
    medgan = model["medgan"]
    assert {"task", "output", "title", "inputs", "options", "version", "checksum", "metrics", "data", "licence"} <= set(
        medgan
    )
    assert medgan["checksum"].startswith("sha256:")
    assert set(medgan["options"]["properties"]) == {"points", "roi", "test_time_augmentation"}
    assert info["medgan"]["limits"]["max_upload_mb"] == 1024
    assert {"hybrid", "foreground", "entropy", "stratified", "realism", "diversity", "random", "first"} <= set(
        info["strategies"]
    )
    assert info["medgan"]["default_strategy"] == "hybrid"


def test_by_id(http: httpx.Client, server: Server, tmp_path: Path) -> None:
    about, data = parts(http.post(INFER, params={"image": "study_1"}, data={"params": "{}"}))
    label = saved(data, tmp_path)
    assert same_grid(label, read_volume(server.studies / "study_1.nii.gz"))
    assert label.array.dtype == np.uint8
    assert set(np.unique(label.array)) <= {0, 1, 2}
    assert (label.array > 0).mean() > 0.1
    assert about["label_names"] == LABELS
    assert about["version"].startswith("v0")
    assert {"read", "pre", "infer", "post", "write", "total"} == set(about["latencies"])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_by_file_is_the_same_as_by_id(http: httpx.Client, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"Müller, Anna{suffix}"
    write_volume(path, crop(1))
    _, by_id = parts(http.post(INFER, params={"image": "study_1"}))
    with path.open("rb") as stream:
        _, by_file = parts(http.post(INFER, files={"file": (path.name, stream)}))
    assert np.array_equal(saved(by_id, tmp_path).array, saved(by_file, tmp_path).array)


def test_by_session(http: httpx.Client, tmp_path: Path) -> None:
    write_volume(tmp_path / "x.nrrd", crop(1))
    with (tmp_path / "x.nrrd").open("rb") as stream:
        made = http.put("/session/", files={"files": ("x.nrrd", stream)}).json()
    session = made["session_id"]
    assert str(tmp_path) not in json.dumps(made)
    for _ in range(2):
        parts(http.post(INFER, params={"session_id": session}))
    assert http.get(f"/session/{session}", params={"image": True}).content == (tmp_path / "x.nrrd").read_bytes()
    assert http.delete(f"/session/{session}").status_code == 200
    assert error(http.post(INFER, params={"session_id": session})) == (404, "unknown_session")
    assert error(http.get("/session/..%2f.."))[1] in {"bad_name", "not_found"}


@pytest.mark.parametrize("seed", range(3))
def test_result_is_on_the_grid_of_oblique_and_flipped_images(http: httpx.Client, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    source = crop(2)
    turn, _ = np.linalg.qr(np.eye(3) + 0.2 * random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(random.choice([-1.0, 1.0], 3)) * 1.1
    affine[:3, 3] = random.uniform(-90, 90, 3)
    image = Volume(np.transpose(source.array, random.permutation(3)), affine)
    nib.Nifti1Image(image.array, image.affine).to_filename(tmp_path / "i.nii.gz")
    with (tmp_path / "i.nii.gz").open("rb") as stream:
        _, data = parts(http.post(INFER, files={"file": ("i.nii.gz", stream)}))
    assert same_grid(saved(data, tmp_path), read_volume(tmp_path / "i.nii.gz"))


def test_bundle(http: httpx.Client, server: Server, tmp_path: Path) -> None:
    params = json.dumps({"result_extension": ".zip"})
    response = http.post(INFER, params={"image": "study_1", "output": "image"}, data={"params": params})
    bundle = zipfile.ZipFile(io.BytesIO(response.content))
    manifest = json.loads(bundle.read("manifest.json"))
    assert [p["name"] for p in manifest["parts"]] == ["label", "uncertainty"]
    assert manifest["parts"][0]["labels"] == LABELS
    assert manifest["parts"][1]["units"] == "nats"
    assert manifest["checksum"].startswith("sha256:")
    image = read_volume(server.studies / "study_1.nii.gz")
    for part in manifest["parts"]:
        assert same_grid(saved(bundle.read(part["file"]), tmp_path, ".nrrd"), image)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / "result.nrrd"))
    reader.ReadImageInformation()
    assert reader.GetMetaData("MedGAN.Model") == MODEL


def test_json_alone(http: httpx.Client) -> None:
    about = http.post(INFER, params={"image": "study_1", "output": "json"}).json()
    assert about["model"] == MODEL


def test_parameters_of_stock_clients_change_nothing(http: httpx.Client, tmp_path: Path) -> None:
    stock = {
        "device": "cuda",
        "result_dtype": "float64",
        "client_id": "user-1",
        "result_extension": ".nrrd",
        "largest_cc": 1,
    }
    _, data = parts(http.post(INFER, params={"image": "study_1"}, data={"params": json.dumps(stock)}))
    assert saved(data, tmp_path, ".nrrd").array.dtype == np.uint8


def test_whole_head_needs_a_region_and_works_with_one(http: httpx.Client, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    array = random.normal(100, 5, WHOLE_HEAD).astype(np.float32)
    small = crop(0)
    array[60:96, 70:122, 60:96] = small.array
    write_volume(tmp_path / "head.nii.gz", Volume(array, np.eye(4)))
    body = (tmp_path / "head.nii.gz").read_bytes()
    assert error(http.post(INFER, files={"file": ("h.nii.gz", body)})) == (422, "needs_region")
    for options in ({"points": [[78, 96, 78]]}, {"roi": {"center": [78, 96, 78], "size": [36, 52, 36]}}):
        answer = http.post(INFER, files={"file": ("h.nii.gz", body)}, data={"params": json.dumps(options)})
        _, data = parts(answer)
        assert saved(data, tmp_path).shape == WHOLE_HEAD


def test_the_server_answers_while_it_computes(http: httpx.Client, server: Server) -> None:
    """16 inferences at once; /health and /info/ stay fast all the while."""

    def one(_: int) -> int:
        with server.client() as client:
            return client.post(INFER, params={"image": "study_0", "output": "json"}).status_code

    times = []
    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(one, n) for n in range(16)]
        while not all(future.done() for future in running):
            for path in ("/health", "/info/"):
                start = time.perf_counter()
                assert http.get(path).status_code == 200
                times.append(time.perf_counter() - start)
            time.sleep(0.05)
        assert [future.result() for future in running] == [200] * 16
    assert len(times) > 4
    assert float(np.median(times)) < 0.25, "stock MONAI Label takes as long as all inferences together"
    assert max(times) < 2


def large_head(folder: Path) -> bytes:
    """An image that takes long: a region over nearly all of it means very many windows."""
    random = np.random.default_rng(1)
    write_volume(folder / "large.nii", Volume(random.integers(0, 900, WHOLE_HEAD).astype(np.int16), np.eye(4)))
    return (folder / "large.nii").read_bytes()


MOST_OF_IT = {"center": [80, 95, 80], "size": [90, 120, 90]}


def wait_for_state(http: httpx.Client, job: str, state: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        response = http.get(f"/jobs/{job}")
        if response.status_code == 200 and response.json()["state"] == state:
            return
        time.sleep(0.02)
    raise AssertionError(f"{job} never became {state}")


def test_cancelling_a_running_and_a_waiting_job(http: httpx.Client, server: Server, tmp_path: Path) -> None:
    body = large_head(tmp_path)
    outcome: dict[str, tuple[int, str]] = {}

    def run(job: str) -> None:
        params = json.dumps({"job_id": job, "roi": MOST_OF_IT})
        with server.client() as client:
            answer = client.post(INFER, files={"file": ("l.nii", body)}, data={"params": params})
            outcome[job] = error(answer)

    threads = [threading.Thread(target=run, args=(job,)) for job in ("runs", "waits")]
    threads[0].start()
    wait_for_state(http, "runs", "running")
    threads[1].start()
    wait_for_state(http, "waits", "queued")
    start = time.perf_counter()
    for job in ("waits", "runs"):
        assert http.delete(f"/jobs/{job}").status_code == 200
    for thread in threads:
        thread.join(20)
    assert time.perf_counter() - start < 3
    assert outcome == {"runs": (409, "cancelled"), "waits": (409, "cancelled")}
    assert http.get("/jobs/runs").json()["state"] == "cancelled"


def test_a_client_that_hangs_up_frees_the_processor(http: httpx.Client, server: Server, tmp_path: Path) -> None:
    body = large_head(tmp_path)
    params = json.dumps({"job_id": "hangs-up", "roi": MOST_OF_IT})
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=server.url, timeout=1.0) as client:
        client.post(INFER, files={"file": ("l.nii", body)}, data={"params": params})
    wait_for_state(http, "hangs-up", "cancelled")


def test_nothing_stays_behind(http: httpx.Client, server: Server) -> None:
    end = time.monotonic() + 10
    while list((server.data / "tmp").iterdir()) and time.monotonic() < end:
        time.sleep(0.1)
    assert list((server.data / "tmp").iterdir()) == []


def test_a_download_broken_off_leaves_no_file(server: Server) -> None:
    params = json.dumps({"result_extension": ".zip"})
    with (
        server.client() as client,
        client.stream(
            "POST", INFER, params={"image": "study_1", "output": "image"}, data={"params": params}
        ) as response,
    ):
        next(response.iter_raw(1))
    test_nothing_stays_behind(None, server)  # type: ignore[arg-type]

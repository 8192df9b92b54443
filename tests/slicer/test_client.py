"""What the client asks for and how it reads good answers."""

from __future__ import annotations

import hashlib
import io
import json
import math
import stat
import zipfile
from pathlib import Path

import pytest
from MedGANLib.client import MedGANClient
from MedGANLib.errors import CannotProcess, Disconnected, NotFound, ServerTooOld
from MedGANLib.records import Sample

from .fake_server import BOUNDARY, STOCK_INFO, Exchange, FakeServer, form_parts, multipart

MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def test_info_reads_models_with_their_options(client: MedGANClient) -> None:
    info = client.info()
    model = info.model("hippocampus")
    assert model is not None
    assert (info.version, info.studies, info.labelled, info.max_upload_mb) == ("0.1.0", 3, 1, 64)
    assert model.labels == {"anterior": 3, "posterior": 7}
    assert model.colors == {"anterior": (0.9, 0.7, 0.2)}
    assert model.options_with_widget("points") == ("points",)
    assert model.trainable and model.is_medgan


def test_info_of_a_stock_server(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/info/", STOCK_INFO)
    info = client.info()
    model = info.models[0]
    assert not info.is_medgan
    assert model.labels == {"spleen": 1}, "the background is not a label"
    assert (model.title, model.output, model.trainable) == ("segmentation_spleen", "labelmap", True)
    report = client.check_connection()
    assert report.ok and any("without MedGAN" in note for note in report.notes)


def test_token_is_sent(server: FakeServer) -> None:
    MedGANClient(server.url, token=" secret ").info()
    assert server.seen[0].headers["authorization"] == "Bearer secret"


def test_infer_by_id_streams_the_result(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    label = bytes(range(256)) * 5000
    params = {
        "label_names": {"anterior": 3},
        "version": "v0002",
        "warnings": ["thick slices"],
        "latencies": {"infer": 0.5},
    }
    server.reply("POST", "/infer/hippocampus", multipart(params, label), kind=MULTIPART)
    phases: list[tuple[float, str]] = []
    result = client.infer(
        "hippocampus",
        tmp_path,
        image_id="case 1&x",
        options={"points": [[1, 2, 3]]},
        job_id="job-1",
        progress=lambda fraction, phrase: phases.append((fraction, phrase)),
    )
    request = server.requests("POST", "/infer/hippocampus")[0]
    assert request.query == {"image": "case 1&x"}
    assert json.loads(form_parts(request)["params"]) == {"points": [[1, 2, 3]], "job_id": "job-1", "client_id": "me"}
    assert result.parts[0].path.read_bytes() == label
    assert result.parts[0].path.name.endswith(".nii.gz")
    assert (result.version, result.warnings, result.latencies) == ("v0002", ("thick slices",), {"infer": 0.5})
    fractions = [fraction for fraction, _ in phases]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("size", [0, 1, 65_535, 262_144, 262_145, 700_001])
def test_result_files_arrive_byte_for_byte(server: FakeServer, client: MedGANClient, tmp_path: Path, size: int) -> None:
    label = (b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n") * (size // 16) + b"x"
    server.reply("POST", "/infer/m", multipart({}, label), kind=MULTIPART)
    assert client.infer("m", tmp_path, image_id="1").parts[0].path.read_bytes() == label


def test_infer_with_a_file_sends_it_whole_without_its_name(
    server: FakeServer, client: MedGANClient, tmp_path: Path
) -> None:
    volume = tmp_path / "Smith^John.nrrd"
    volume.write_bytes(b"NRRD" + bytes(600_000))
    server.reply("POST", "/infer/m", multipart({}, b"label"), kind=MULTIPART)
    client.infer("m", tmp_path, file=volume)
    request = server.requests("POST", "/infer/m")[0]
    assert form_parts(request)["file"] == volume.read_bytes()
    assert b"Smith" not in request.body and b'filename="file.nrrd"' in request.body


def test_bundle_is_unpacked_inside_the_folder_only(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        parts = [
            {
                "name": "label",
                "kind": "labelmap",
                "file": "../../evil.nrrd",
                "labels": {"a": 3},
                "colors": {"a": [1, 0, 0]},
            },
            {"name": "uncertainty", "kind": "volume", "file": "u.nrrd", "units": "nats"},
        ]
        bundle.writestr("manifest.json", json.dumps({"parts": parts, "version": "v0003"}))
        bundle.writestr("../../evil.nrrd", b"label")
        bundle.writestr("u.nrrd", b"uncertainty")
    server.reply("POST", "/infer/m", multipart({}, packed.getvalue(), "result.zip"), kind=MULTIPART)
    out = tmp_path / "a" / "b" / "out"
    result = client.infer("m", out, image_id="1", result_extension=".zip")
    assert [(part.name, part.kind, part.path.read_bytes()) for part in result.parts] == [
        ("label", "labelmap", b"label"),
        ("uncertainty", "volume", b"uncertainty"),
    ]
    assert {path.parent for path in tmp_path.rglob("*.nrrd")} == {out}
    assert not list(out.glob("*.zip"))


def test_damaged_bundle(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.reply("POST", "/infer/m", multipart({}, b"PK-not-really", "result.zip"), kind=MULTIPART)
    with pytest.raises(Disconnected, match="damaged"):
        client.infer("m", tmp_path, image_id="1")
    assert not list(tmp_path.glob("*.zip"))


def test_answer_without_an_image(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.reply("POST", "/infer/m", {"label_names": {}})
    with pytest.raises(CannotProcess, match="no image"):
        client.infer("m", tmp_path, image_id="1")


def test_job_and_its_progress(
    server: FakeServer, client: MedGANClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MedGANLib.running.POLL_SECONDS", 0.02)

    def slow(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.server.over.wait(0.4)
        exchange.answer(200, multipart({}, b"label"), MULTIPART)

    server.on("POST", "/infer/m", slow)
    server.reply("GET", "/jobs/j", {"id": "j", "model": "m", "state": "running", "progress": 0.4, "seconds": 1.0})
    seen: list[float] = []
    client.infer("m", tmp_path, image_id="1", job_id="j", progress=lambda fraction, phrase: seen.append(fraction))
    assert client.job("j").progress == pytest.approx(0.4)
    assert any(fraction == pytest.approx(0.15 + 0.75 * 0.4) for fraction in seen)


def test_a_job_that_the_server_does_not_know_yet_is_asked_for_again(
    server: FakeServer, client: MedGANClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MedGANLib.running.POLL_SECONDS", 0.02)
    running = {"id": "j", "model": "m", "state": "running", "progress": 0.4, "seconds": 1.0}
    unknown = {"error": {"code": "unknown_job", "message": "There is no such job.", "hint": "", "id": "1"}}

    def stores_and_runs(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.server.over.wait(0.2)
        exchange.server.reply("GET", "/jobs/j", running)
        exchange.server.over.wait(0.3)
        exchange.answer(200, multipart({}, b"label"), MULTIPART)

    server.on("POST", "/infer/m", stores_and_runs)
    server.on("GET", "/jobs/j", lambda exchange: exchange.answer(404, unknown))
    seen: list[float] = []
    client.infer("m", tmp_path, image_id="1", job_id="j", progress=lambda fraction, phrase: seen.append(fraction))
    assert any(fraction == pytest.approx(0.15 + 0.75 * 0.4) for fraction in seen)


def test_next_sample(server: FakeServer, client: MedGANClient) -> None:
    server.reply(
        "POST", "/activelearning/first", {"id": "case_1", "name": "/data/secret/case_1.nii.gz", "checksum": "SHA256:ab"}
    )
    sample = client.next_sample("first")
    assert sample == Sample("case_1", "case_1.nii.gz", "SHA256:ab")
    assert json.loads(server.seen[0].body) == {"client_id": "me"}


def test_nothing_to_label(server: FakeServer, client: MedGANClient) -> None:
    server.reply("POST", "/activelearning/random", {})
    with pytest.raises(NotFound) as caught:
        client.next_sample()
    assert caught.value.code == "nothing_to_label"


def checksum(content: bytes) -> str:
    return f"SHA256:{hashlib.sha256(content).hexdigest()}"


def test_studies_are_downloaded_once(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.reply("GET", "/datastore/image", b"voxels", kind="application/octet-stream")
    sample = Sample("case_1", "case_1.nii.gz", checksum(b"voxels"))
    path = client.download_image(sample)
    assert client.download_image(sample) == path and path.read_bytes() == b"voxels"
    assert len(server.requests("GET", "/datastore/image")) == 1
    assert "case_1" not in path.name and path.name.endswith(".nii.gz")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_damaged_cache_is_fetched_again(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/datastore/image", b"voxels", kind="application/octet-stream")
    sample = Sample("case_1", "case_1.nii.gz", checksum(b"voxels"))
    client.download_image(sample).write_bytes(b"broken")
    assert client.download_image(sample).read_bytes() == b"voxels"


def test_a_wrong_checksum_is_refused(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    server.reply("GET", "/datastore/image", b"other", kind="application/octet-stream")
    with pytest.raises(Disconnected, match="checksum"):
        client.download_image(Sample("case_1", "case_1.nii.gz", checksum(b"voxels")))
    assert not list((tmp_path / "studies").iterdir())


def test_submit_label(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    label = tmp_path / "l.nrrd"
    label.write_bytes(b"label")
    answer = {"image": "case_1", "label": "case_1", "medgan": {"voxels": {"3": 10, "7": 20}, "replaced": True}}
    server.reply("PUT", "/datastore/label", answer)
    receipt = client.submit_label("case_1", label, model="hippocampus")
    request = server.seen[0]
    assert request.query == {"image": "case_1", "tag": "final"}
    assert json.loads(form_parts(request)["params"])["model"] == "hippocampus"
    assert form_parts(request)["label"] == b"label"
    assert receipt.voxels == {3: 10, 7: 20} and receipt.replaced


def test_upload_image(server: FakeServer, client: MedGANClient, tmp_path: Path) -> None:
    volume = tmp_path / "v.nrrd"
    volume.write_bytes(b"voxels")
    server.reply("PUT", "/datastore/image", {"image": "study-1"})
    assert client.upload_image(volume, "study-1") == "study-1"
    assert form_parts(server.seen[0])["file"] == b"voxels"


TRAINING = {
    "id": "t",
    "status": "RUNNING",
    "medgan": {
        "model": "hippocampus",
        "state": "training",
        "epoch": 3,
        "epochs": 20,
        "step": 30,
        "steps": 200,
        "eta_seconds": 41.0,
        "loss": [[1, 0.61], [2, 0.55]],
        "metric": [[0, 0.78]],
        "metric_name": "dice_mean",
        "verdict": None,
        "error": None,
    },
}


def test_training_status(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/train/", TRAINING)
    status = client.train_status()
    assert status.running and status.fraction == pytest.approx(0.15) and status.eta_seconds == 41.0
    assert status.loss == ((1, 0.61), (2, 0.55)) and status.error == ""


def test_verdict_with_an_unmeasured_value(server: FakeServer, client: MedGANClient) -> None:
    check = {"name": "retention", "metric": "dice_mean", "before": None, "after": 0.8, "cases": 2, "passed": False}
    verdict = {"promoted": False, "version": "v0002", "serving": "v0001", "reason": "worse", "checks": [check]}
    server.reply("GET", "/train/", {"status": "DONE", "medgan": {"state": "refused", "verdict": verdict}})
    status = client.train_status()
    assert status.verdict is not None and not status.running and status.fraction == 1.0
    assert math.isnan(status.verdict.checks[0].before) and not status.verdict.promoted


@pytest.mark.parametrize(
    ("word", "state"), [("RUNNING", "training"), ("DONE", "done"), ("ERROR", "failed"), ("STOPPED", "cancelled")]
)
def test_training_status_of_a_stock_server(server: FakeServer, client: MedGANClient, word: str, state: str) -> None:
    server.reply("GET", "/train/", {"id": "t", "status": word, "model": "segmentation_spleen"})
    assert client.train_status().state == state


def test_never_trained(client: MedGANClient) -> None:
    assert client.train_status().state == "none"


def test_train_start_and_stop(server: FakeServer, client: MedGANClient) -> None:
    server.reply("POST", "/train/hippocampus", {"id": "t", "status": "SUBMITTED"})
    server.reply("DELETE", "/train/", {})
    assert client.train_start("hippocampus", {"max_epochs": 2}).state == "starting"
    client.train_stop()
    assert json.loads(server.seen[0].body) == {"max_epochs": 2}


VERSIONS = {
    "model": "hippocampus",
    "current": "v0002",
    "versions": [
        {
            "version": "v0001",
            "origin": "shipped",
            "state": "published",
            "created": "2026-11-23T10:15:00Z",
            "parent": None,
        },
        {
            "version": "v0002",
            "origin": "fine-tuned",
            "state": "published",
            "created": "2026-11-23T11:15:00Z",
            "parent": "v0001",
        },
    ],
}


def test_versions_and_roll_back(server: FakeServer, client: MedGANClient) -> None:
    server.reply("GET", "/models/hippocampus/versions", VERSIONS)
    server.reply("PUT", "/models/hippocampus/current", {})
    versions = client.set_current_version("hippocampus", "v0002", force=True)
    assert json.loads(server.seen[0].body) == {"version": "v0002", "force": True}
    assert [(v.version, v.current, v.parent) for v in versions.versions] == [
        ("v0001", False, ""),
        ("v0002", True, "v0001"),
    ]


def test_versions_of_a_stock_server(client: MedGANClient) -> None:
    with pytest.raises(ServerTooOld):
        client.versions("segmentation_spleen")

"""What goes wrong with an archive is told in plain words, in bounded time and memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from server_world import client_of, error, make_studies
from urllib3.util import Retry

from monailabel_app.config import ServerConfig
from monailabel_app.dicom import web
from monailabel_app.dicom.pull import follow, parse_query, pull
from monailabel_app.dicom.web import Archive, check_url
from monailabel_app.errors import MedGANError

ROW = {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
       "00080060": {"vr": "CS", "Value": ["MR"]}}  # fmt: skip
QUICK = Retry(total=2, backoff_factor=0, status_forcelist=(503,), allowed_methods=None, raise_on_status=False)
Answer = tuple[int, dict[str, str], bytes]


class FakeArchive:
    """Answers each request with what `answer(number)` says, numbers from 0."""

    def __init__(self, answer: Callable[[int], Answer]) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                status, headers, body = answer(len(asked) - 1)
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def fake() -> Iterator[Callable[[Callable[[int], Answer]], FakeArchive]]:
    made: list[FakeArchive] = []

    def start(answer: Callable[[int], Answer]) -> FakeArchive:
        made.append(FakeArchive(answer))
        return made[-1]

    yield start
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def rows(*found: dict[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(found).encode()


def failure(call: Callable[[], object]) -> MedGANError:
    with pytest.raises(MedGANError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (401, "archive_refused", "refuses this user (401)"),
        (403, "archive_refused", "MEDGAN_DICOMWEB_USER"),
        (404, "archive_refused", "no such thing"),
        (500, "archive_refused", "status 500"),
        (503, "archive_unavailable", "status 503"),
    ],
)
def test_statuses(fake: Any, status: int, code: str, text: str) -> None:
    archive = Archive(fake(lambda _: (status, {}, b"")).url, "u", "secret-password", retries=QUICK)
    found = failure(lambda: archive.find({"PatientID": "MRN-4711"}, 5))
    assert found.code == code and text in str(found)
    assert "MRN-4711" not in str(found) and "secret-password" not in str(found)


def test_archive_that_is_away() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    archive = Archive(f"http://127.0.0.1:{server.server_port}", retries=QUICK)
    found = failure(lambda: archive.find({"Modality": "MR"}, 5))
    assert found.code == "archive_unavailable" and "does not answer" in str(found)


def test_archive_that_is_silent(fake: Any) -> None:
    def slow(_number: int) -> Answer:
        time.sleep(5.0)
        return rows()

    archive = Archive(fake(slow).url, timeouts=(1.0, 0.1), retries=Retry(total=0))
    begun = time.monotonic()
    assert failure(lambda: archive.find({"Modality": "MR"}, 5)).code == "archive_unavailable"
    assert time.monotonic() - begun < 4


def test_busy_archive_is_asked_again(fake: Any) -> None:
    served = fake(lambda n: (503, {}, b"") if n < 2 else rows(ROW) if n == 2 else rows())
    found = Archive(served.url, retries=QUICK).find({"Modality": "MR"}, 5)
    assert [f.series for f in found] == ["1.2.3"]
    assert served.asked[0] == served.asked[1] == served.asked[2]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'["text"]', b"[1]", b'{"a": 1'])
def test_what_is_no_dicomweb(fake: Any, body: bytes) -> None:
    archive = Archive(fake(lambda _: (200, {"Content-Type": "text/html"}, body)).url, retries=QUICK)
    assert failure(lambda: archive.find({"Modality": "MR"}, 5)).code == "archive_refused"


def test_answer_that_is_too_large_is_not_read(fake: Any) -> None:
    served = fake(lambda _: (200, {"Content-Length": str(web.LARGEST + 1)}, b"x"))
    assert failure(lambda: Archive(served.url, retries=QUICK).find({"Modality": "MR"}, 5)).code == "too_large"


def test_archive_without_pages_does_not_go_on_for_ever(fake: Any) -> None:
    served = fake(lambda _: rows(ROW))
    assert len(Archive(served.url, retries=QUICK).find({"Modality": "MR"}, 5)) == 1
    assert len(served.asked) == 2


@pytest.mark.parametrize("url", ["", "ftp://host", "host:8042", "http://", "http://user:pw@host/dicom-web"])
def test_addresses_that_cannot_be(url: str) -> None:
    found = failure(lambda: check_url(url))
    assert found.code == "bad_option" and "pw" not in str(found).replace("DICOMWEB_PASSWORD", "")


def test_queries() -> None:
    assert parse_query(["Modality=MR", "PatientID=a=b"]) == {"Modality": "MR", "PatientID": "a=b"}
    assert failure(lambda: parse_query(["Modality"])).code == "bad_option"
    assert "no DICOM keyword" in str(failure(lambda: Archive("http://h").find({"Modalty": "MR"}, 5)))


def test_series_that_breaks_off_leaves_nothing(fake: Any, tmp_path: Path) -> None:
    config = ServerConfig(tmp_path, tmp_path / ".medgan")
    config.prepare()
    instance = {"00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}

    def answer(number: int) -> Answer:
        return [rows(ROW), rows(), rows(instance), rows(), (500, {}, b"")][min(number, 4)]

    archive = Archive(fake(answer).url, retries=QUICK)
    assert failure(lambda: pull(config, archive, {"Modality": "MR"})).code == "archive_refused"
    assert not list((config.data / "dicom").iterdir()) and not list(tmp_path.glob("*.nii.gz"))


def test_a_server_starts_without_its_archive(fake: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    served = fake(lambda _: (401, {}, b""))
    config = ServerConfig(tmp_path, tmp_path / ".medgan", dicomweb=served.url, dicomweb_query=("PatientID=MRN-4711",))
    config.prepare()
    follow(config)
    next(t for t in threading.enumerate() if t.name == "pull").join(30)
    assert "No studies came from the archive" in caplog.text and "MRN-4711" not in caplog.text


def test_settings_travel(tmp_path: Path) -> None:
    config = ServerConfig(tmp_path, tmp_path / "d", dicomweb="http://h/dicom-web", dicomweb_query=("Modality=MR",))
    assert ServerConfig.from_conf(tmp_path, config.to_conf(), {}) == config


def test_export_without_archive_or_source(tmp_path: Path) -> None:
    make_studies(tmp_path, 1)
    client = client_of(ServerConfig(tmp_path, tmp_path / ".medgan"))
    assert error(client.post("/dicom/export", params={"image": "study_0"})) == (422, "no_source")
    assert error(client.post("/dicom/export", params={"image": "nothing"})) == (404, "unknown_image")
    assert error(client.post("/dicom/export", params={"image": "../x"})) == (400, "bad_name")

"""A MedGAN server for tests, by docs/api.md: real sockets, no model. Standard library and numpy."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Iterator, Mapping, Optional, Tuple, Type
from urllib.parse import parse_qs, urlsplit

import numpy as np

from .anomaly import ANOMALY, make_detection
from .dicom import DICOM_ROUTES, DicomRoutes
from .forms import LABELS, read_multipart, result_file, write_multipart
from .images import read_nrrd
from .reconstruction import image_of, make_reconstruction
from .service import SERVICE_ROUTES, ServiceRoutes
from .synthesis import SYNTHESIS, make_bundle
from .world import MODEL, Refusal, World


class _Listener(ThreadingHTTPServer):
    """Listens; a client that hangs up, as one does who cancels, is nothing to report."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports what is a mistake of the test server itself."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class TestServer:
    """A server on a free port of this computer.

    Use it as a context manager::

        with TestServer() as server:
            client = MedGANClient(server.url)

    Attributes:
        world: What the server knows; change it to change its answers.
        url: Its address.
    """

    __test__ = False

    def __init__(self, world: Optional[World] = None) -> None:
        self.world = world or World()
        handler: Type[Handler] = type("BoundHandler", (Handler,), {"world": self.world})
        self._http = _Listener(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> TestServer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        for event in self.world.cancelled.values():
            event.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


class Handler(DicomRoutes, ServiceRoutes, BaseHTTPRequestHandler):
    """One request."""

    world: World
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keeps the console quiet."""

    def do_GET(self) -> None:
        """Answers a GET request."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answers a POST request."""
        self._answer("POST")

    def do_PUT(self) -> None:
        """Answers a PUT request."""
        self._answer("PUT")

    def do_DELETE(self) -> None:
        """Answers a DELETE request."""
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        body = self._read_body()
        self.world.requests.append(f"{method} {self.path}")
        try:
            self._check(parts.path)
            route, names = _find_route(method, parts.path, self.world.older)
            getattr(self, route)(*names, body)
        except Refusal as refusal:
            self._refuse(refusal)
        except BrokenPipeError:
            self.close_connection = True

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _check(self, path: str) -> None:
        for prefix, refusal in self.world.trouble.items():
            if path.startswith(prefix):
                raise refusal
        if self.world.token and path != "/health" and self.headers.get("Authorization") != f"Bearer {self.world.token}":
            raise Refusal(401, "token_required", "This server wants an access token.", "Ask its administrator for it.")

    # --- answers ---------------------------------------------------------------------------------------------------

    def _send(self, body: bytes, kind: str, status: int = 200, headers: Optional[Mapping[str, str]] = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_events(self, documents: Iterator[Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        for document in documents:
            self.wfile.write(f"data: {json.dumps(document)}\n\n: a sign of life\n\n".encode())
        self.close_connection = True

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _refuse(self, refusal: Refusal) -> None:
        error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint, "id": uuid.uuid4().hex[:6]}
        self._json({"error": error, "detail": f"{refusal.message} {refusal.hint}".strip()}, refusal.status)

    # --- server ----------------------------------------------------------------------------------------------------

    def info(self, body: bytes) -> None:
        """GET /info/."""
        self._json(self.world.info_json())

    def health(self, body: bytes) -> None:
        """GET /health."""
        self._json({"status": "ok", "version": "0.1.0"})

    # --- inference -------------------------------------------------------------------------------------------------

    def infer(self, model: str, body: bytes) -> None:
        """POST /infer/{model}."""
        if model == SYNTHESIS and self.world.synthesis:
            return self._synthesise(body)
        if model in self.world.reconstructions:
            return self._reconstruct(model, body)
        if model == ANOMALY and self.world.anomaly:
            return self._detect(body)
        if model != MODEL:
            raise Refusal(404, "unknown_model", f"There is no model '{model}'.", f"Models: {MODEL}.")
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        params = json.loads(fields["params"][1]) if "params" in fields else {}
        self.world.infer_params.append(params)
        voxels, affine = self._volume(fields)
        self._work(str(params.get("job_id", "")))
        clicks = () if self.world.older else params.get("clicks") or ()
        labels = self.world.correct(self.world.segment(voxels), affine, clicks)
        self._send_result(params, labels, affine, {"medgan": {"clicks": len(clicks)}} if clicks else {})

    def _synthesise(self, body: bytes) -> None:
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        params = json.loads(fields["params"][1])
        self.world.infer_params.append(params)
        if "label" in fields:
            self.world.shapes.append(fields["label"][1])
        self._work(str(params.get("job_id", "")))
        bundle = make_bundle(params, read_nrrd(fields["label"][1]) if "label" in fields else None)
        said = json.dumps({"model": SYNTHESIS, "version": "v0001", "synthetic": True}).encode()
        self._send(*write_multipart({"params": ("", said), "image": ("result.zip", bundle)}))

    def _reconstruct(self, model: str, body: bytes) -> None:
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        params = json.loads(fields["params"][1])
        self.world.infer_params.append(params)
        names = [entry["name"] for entry in self.world.reconstructions[model]["medgan"]["inputs"]]
        volumes = {"image": self._volume(fields)}
        volumes.update({name: self._volume(fields, name, str(params.get(name, ""))) for name in names[1:]})
        studies = {"image": self.query.get("image"), **{name: params.get(name) for name in names[1:]}}
        self.world.inputs.append({name: studies[name] or "file" for name in names})
        self._work(str(params.get("job_id", "")))
        said = json.dumps({"model": model, "version": "v0001"}).encode()
        bundle = make_reconstruction(model, params, volumes)
        self._send(*write_multipart({"params": ("", said), "image": ("result.zip", bundle)}))

    def _detect(self, body: bytes) -> None:
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        params = json.loads(fields["params"][1])
        self.world.infer_params.append(params)
        voxels, affine = self._volume(fields)
        self._work(str(params.get("job_id", "")))
        bundle = make_detection(self.world.heat(voxels), affine, params)
        said = json.dumps({"model": ANOMALY, "version": "v0001"}).encode()
        self._send(*write_multipart({"params": ("", said), "image": ("result.zip", bundle)}))

    def _volume(self, fields: Mapping[str, Tuple[str, bytes]], part: str = "file", study: str = "") -> Any:
        """Returns voxels and matrix of a volume that was sent, or of a study that was named."""
        if part in fields:
            data = fields[part][1]
            self.world.received.append(len(data))
        else:
            data = self._study(study or self.query.get("image", ""))
        kspace = part in fields and fields[part][0].endswith(".npy")
        try:
            return image_of(data) if kspace else read_nrrd(data)
        except (ValueError, KeyError) as error:
            raise Refusal(415, "not_an_image", "The file is not a readable medical image.", "Send NRRD.") from error

    def _study(self, name: str) -> bytes:
        if name not in self.world.studies:
            raise Refusal(404, "unknown_image", f"There is no study '{name}'.")
        return self.world.studies[name]

    def _work(self, job_id: str) -> None:
        stop = self.world.cancelled.setdefault(job_id, threading.Event())
        if stop.wait(self.world.infer_seconds):
            raise Refusal(409, "cancelled", "The job was cancelled.")

    def _send_result(
        self, params: Mapping[str, Any], labels: np.ndarray, affine: np.ndarray, more: Mapping[str, Any]
    ) -> None:
        times = {"read": 0.1, "pre": 0.1, "infer": 0.5, "post": 0.1, "write": 0.1, "total": 0.9}
        serving = self.world.find(self.world.current).to_json()
        said = {
            "model": MODEL,
            "version": serving["version"],
            "checksum": serving["checksum"],
            "warnings": [],
            "latencies": times,
            **({} if self.world.older else {"quality": self.world.quality}),
            **more,
        }
        name, data = result_file(str(params.get("result_extension", ".nii.gz")), labels, affine, said)
        parts = {"params": ("", json.dumps({"label_names": LABELS, **said}).encode()), "image": (name, data)}
        body, kind = write_multipart(parts)
        self._send(body, kind)

    def job(self, job_id: str, body: bytes) -> None:
        """GET /jobs/{id}."""
        if job_id not in self.world.cancelled:
            raise Refusal(404, "unknown_job", "There is no such job.")
        state = "cancelled" if self.world.cancelled[job_id].is_set() else "running"
        self._json({"id": job_id, "model": MODEL, "state": state, "progress": 0.5, "seconds": 1.0})

    def cancel_job(self, job_id: str, body: bytes) -> None:
        """DELETE /jobs/{id}."""
        self.world.cancelled.setdefault(job_id, threading.Event()).set()
        self._json({"id": job_id, "model": MODEL, "state": "cancelled", "progress": 0.5, "seconds": 1.0})

    # --- studies and labels ----------------------------------------------------------------------------------------

    def datastore(self, body: bytes) -> None:
        """GET /datastore/."""
        self._json(self.world.datastore_json())

    def next_sample(self, strategy: str, body: bytes) -> None:
        """POST /activelearning/{strategy}."""
        name = self.world.next_study()
        checksum = "SHA256:" + hashlib.sha256(self.world.studies[name]).hexdigest().upper()
        said = {} if self.world.older else {"medgan": self.world.offer_json(name, strategy)}
        self._json({"id": name, "name": f"{name}.nrrd", "checksum": checksum, "strategy": {strategy: {}}, **said})

    def get_image(self, body: bytes) -> None:
        """GET /datastore/image?image=ID."""
        name = self.query.get("image", "")
        disposition = {"Content-Disposition": f'attachment; filename="{name}.nrrd"'}
        self._send(self._study(name), "application/octet-stream", headers=disposition)

    def put_image(self, body: bytes) -> None:
        """PUT /datastore/image?image=ID."""
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        name = self.query.get("image") or uuid.uuid4().hex
        if name in self.world.studies:
            raise Refusal(409, "conflict", f"There is a study '{name}' already.")
        self.world.studies[name] = fields["file"][1]
        params = json.loads(fields["params"][1] or b"{}") if "params" in fields else {}
        if "synthetic" in params:
            self.world.synthetic[name] = params["synthetic"]
        self._json({"image": name})

    def put_label(self, body: bytes) -> None:
        """PUT /datastore/label?image=ID."""
        name = self.query.get("image", "")
        voxels, _ = read_nrrd(self._study(name))
        fields = read_multipart(self.headers.get("Content-Type", ""), body)
        labels, _ = read_nrrd(fields["label"][1])
        if labels.shape != voxels.shape:
            raise Refusal(422, "wrong_geometry", "The label is not on the study's grid.")
        replaced = name in self.world.labels
        self.world.labels[name] = fields["label"][1]
        counts = {str(v): int((labels == v).sum()) for v in np.unique(labels) if v}
        params = json.loads(fields["params"][1] or b"{}") if "params" in fields else {}
        self.world.label_params.append(params)
        told = (str(params.get(key, "")) for key in ("author", "version"))
        number = self.world.book.add(name, fields["label"][1], *told)
        more = {} if self.world.older else {"training": None, "history": number}
        self._json({"image": name, "label": name, "medgan": {"voxels": counts, "replaced": replaced, **more}})

    def verdicts(self, model: str, body: bytes) -> None:
        """GET /verdict/{model}."""
        self._check_learns(model)
        self._json({**self.world.verdict_counts(), "studies": self.world.verdicts})

    def put_verdict(self, model: str, body: bytes) -> None:
        """POST /verdict/{model}?image=ID."""
        self._check_learns(model)
        name, verdict = self.query.get("image", ""), str(json.loads(body or b"{}").get("verdict"))
        self._study(name)
        self.world.verdicts.pop(name, None)
        if verdict:
            self.world.verdicts[name] = verdict
        self._json({"image": name, "verdict": verdict, **self.world.verdict_counts()})

    def _check_learns(self, model: str) -> None:
        if model != ANOMALY or not self.world.anomaly:
            raise Refusal(404, "unknown_model", f"'{model}' does not learn from verdicts.")


ROUTES = (
    ("GET", r"/info/?", "info"),
    ("GET", r"/health", "health"),
    ("POST", r"/infer/([^/]+)", "infer"),
    ("GET", r"/jobs/([^/]+)", "job"),
    ("DELETE", r"/jobs/([^/]+)", "cancel_job"),
    ("GET", r"/datastore/?", "datastore"),
    ("POST", r"/activelearning/([^/]+)", "next_sample"),
    ("GET", r"/datastore/image", "get_image"),
    ("PUT", r"/datastore/image", "put_image"),
    ("PUT", r"/datastore/label", "put_label"),
    ("GET", r"/verdict/([^/]+)", "verdicts"),
    ("POST", r"/verdict/([^/]+)", "put_verdict"),
    ("POST", r"/train/([^/]+)", "train"),
    ("GET", r"/train/?", "train_status"),
    ("DELETE", r"/train/?", "train_stop"),
    ("GET", r"/models/([^/]+)/versions", "versions"),
    ("PUT", r"/models/([^/]+)/current", "set_current"),
)


def _find_route(method: str, path: str, older: bool) -> Tuple[str, Tuple[str, ...]]:
    for verb, pattern, name in ROUTES if older else (*DICOM_ROUTES, *SERVICE_ROUTES, *ROUTES):
        match = re.fullmatch(pattern, path)
        if match and verb == method:
            return name, match.groups()
    raise Refusal(404, "not_found", f"There is no {path}.")

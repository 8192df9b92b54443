"""The HTTP interface under requests made from its own description: no failure that is not told, nothing left behind."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from fuzzing import search
from hypothesis import reject
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from server_world import MODEL, PICTURES, SHAPES, client_of, crop, error, truth

from monailabel_app import processes
from monailabel_app.config import ServerConfig
from monailabel_app.errors import STATUS
from monailabel_app.server import create_app
from trainers.data.volumes import write_volume

URL = "http://127.0.0.1"
EXAMPLES = 5
DESCRIPTION = create_app(ServerConfig(Path("studies"), Path("data"))).openapi()
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()]
OPERATIONS.sort(key=lambda operation: operation.method == "delete")  # last, or little would be there for the others
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
TOLD = {503, 507}  # failures that the administrator can do something about

STUDIES = [f"study_{number}" for number in range(4)]
KNOWN: dict[str, list[Any]] = {
    **{name: [*STUDIES, "none"] for name in ("image", "label", "id")},
    **{name: [MODEL, PICTURES, SHAPES] for name in ("model", "name")},
    **{name: ["..", "job", "20260101-000000-x"] for name in ("job_id", "run", "session_id")},
    "tag": ["final", "original", "", ".."],
    "strategy": ["hybrid", "random", "stratified", "first"],
    "method": ["foreground", "quality", "scores"],
    "number": [0, 1, 2, -1, 2**63],
    "limit": [1, 1000],
    "expiry": [0, -1, 2**63],
    "lines": [0, -(2**40), 2**40],
    "client_id": ["one", ""],
}
"""By the name of a parameter, values that lead further than chance would."""

WORDS = [*STUDIES, MODEL, "final", "normal", "v0001", "..", ".nrrd", ".zip", "\x00"]
TEXT = st.text(max_size=8) | st.sampled_from(WORDS)
NUMBERS = st.integers() | st.integers(-4, 300) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = ["points", "roi", "clicks", "test_time_augmentation", "number", "seed", "class", "mask", "result_extension",
        "job_id", "client_id", "label_tag", "author", "model", "synthetic", "verdict", "version", "force", "owner",
        "scores", "verdicts", "ts", "strategy", "epochs", "max_epochs", "threads", "image", "second"]  # fmt: skip
POINTS = st.lists(st.lists(st.floats(-200, 200), min_size=3, max_size=3), max_size=3)
BOX = st.fixed_dictionaries({"center": POINTS.map(lambda p: p[0] if p else [0, 0, 0]), "size": VALUES})
SENSIBLE = st.fixed_dictionaries(
    {"test_time_augmentation": st.just(False)},
    optional={"points": POINTS, "roi": BOX, "seed": st.integers(0, 9), "number": st.just(1), "model": st.just(MODEL),
              "result_extension": st.sampled_from([".nrrd", ".zip", ".nii.gz"]), "author": TEXT,
              "synthetic": st.fixed_dictionaries({"model": TEXT, "version": TEXT, "seed": NUMBERS})},
)  # fmt: skip
ANY_OBJECT = st.dictionaries(st.sampled_from(KEYS) | TEXT, VALUES, max_size=4)
OBJECTS = SENSIBLE | ANY_OBJECT
NAMES = ["a.nii.gz", "b.nrrd", "c.mha", "d.nii", "e.h5", "../../f.nii.gz", "g.exe", ".nii", "\u00e9.nii.gz", "h.zip"]


@dataclass(frozen=True)
class Sent:
    """A request, and what it was made of."""

    case: Case
    request: requests.PreparedRequest


@dataclass(frozen=True)
class World:
    """A server in this process, and the folder with all that it may write to."""

    client: TestClient
    folder: Path
    files: list[bytes] = field(repr=False)

    def send(self, sent: Sent) -> Any:
        wire = sent.request
        return self.client.request(wire.method, wire.url, content=wire.body, headers=dict(wire.headers))

    def left_behind(self) -> list[str]:
        """Files where there should be none."""
        places = [self.folder / name for name in ("spool", "here", "data/tmp")]
        strange = [path for path in self.folder.iterdir() if path.name not in {"spool", "here", "data", "studies"}]
        return sorted(str(path) for path in [*strange, *(file for place in places for file in place.iterdir())])


@pytest.fixture(scope="module")
def world(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("spool", "here"):
        (folder / name).mkdir()
    files = _files(folder / "studies")
    shipped = _state(models)
    config = ServerConfig(folder / "studies", folder / "data", models=models, rate_limit=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "spool"))
        patch.setattr(processes, "start", _started)
        patch.chdir(folder / "here")
        yield World(client_of(config), folder, files)
    assert _state(models) == shipped, "nothing that is shipped may change"


def _started(method: str, request: dict[str, Any]) -> processes.Task:
    """A process of its own takes seconds to start; one that ended at once stands for it."""
    return {"id": uuid.uuid4().hex, "status": "DONE", "request": request, "details": []}


def _state(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def _files(studies: Path) -> list[bytes]:
    """Writes the studies; returns the contents of files to send: images, a label, and what is neither."""
    for number, study in enumerate(STUDIES):
        write_volume(studies / f"{study}.nii.gz", crop(number))
    image = crop(0)
    made = []
    for name, volume in {"i.nii.gz": image, "i.nrrd": image, "l.nii.gz": truth(image), "i.mha": image}.items():
        path = studies.parent / name
        write_volume(path, volume)
        made.append(path.read_bytes())
        path.unlink()
    return [*made, made[0][:200], made[1][:300], b"", b"NRRD0004\ndimension: 3\n\n", b"\x89HDF\r\n\x1a\n", b"text"]


@st.composite
def requests_of(draw: st.DrawFn, operation: APIOperation, world: World) -> Sent:
    """Requests as the description has them, and as it does not; often with names that are known to the server."""
    case: Case = draw(operation.as_strategy(draw(st.sampled_from(list(GenerationMode)))))
    for parameter in DESCRIPTION["paths"][operation.path][operation.method].get("parameters", []):
        name, place = parameter["name"], case.path_parameters if parameter["in"] == "path" else case.query
        if name in KNOWN and isinstance(place, dict) and draw(st.integers(0, 3)):
            place[name] = draw(st.sampled_from(KNOWN[name]))
    if draw(st.integers(0, 3)):
        _fill_body(draw, case)
    try:
        told = case.as_transport_kwargs(base_url=URL)
        told["files"] = [_file(draw, part, world.files) for part in told.get("files") or []]
        wire = requests.Request(**{key: told.get(key) for key in REQUEST if told.get(key)}).prepare()
    except (requests.RequestException, UnicodeError, ValueError):
        reject()
    return Sent(case, wire)


REQUEST = ("method", "url", "headers", "params", "files", "data", "json")


def _fill_body(draw: st.DrawFn, case: Case) -> None:
    if case.media_type == "application/json":
        case.body = draw(OBJECTS)
    elif isinstance(case.body, dict):
        for name in ("params", "info"):
            case.body[name] = json.dumps(draw(OBJECTS))


def _file(draw: st.DrawFn, part: Any, files: list[bytes]) -> Any:
    """Gives a file of a form a name, and mostly what files of that kind have in them."""
    name, (sent_name, *content) = part
    if sent_name is None:
        return part
    data = files[draw(st.integers(0, len(files) - 1))] if draw(st.integers(0, 3)) else content[0]
    return name, (draw(st.sampled_from(NAMES)), data)


def told_well(sent: Sent, answer: Any) -> None:
    """What every answer must be."""
    assert answer.status_code < 500 or answer.status_code in TOLD, answer.text
    if answer.status_code >= 400 and sent.request.method != "HEAD":
        assert error(answer)[1] in STATUS
    sent.case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_every_operation_answers_as_described(world: World, operation: APIOperation) -> None:
    search(requests_of(operation, world), lambda sent: told_well(sent, world.send(sent)), EXAMPLES)
    assert world.left_behind() == []

"""Sessions on the disk."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from monailabel_app import server
from monailabel_app.errors import MedGANError
from monailabel_app.sessions import META, Sessions
from trainers.files import atomic_write_json, read_json

WAYS = [str, str.upper, lambda name: name.replace("-", ""), lambda name: f"{{{name}}}", lambda name: f"urn:uuid:{name}"]
"""To write one id."""


@pytest.mark.parametrize("way", WAYS)
def test_an_id_is_known_however_it_is_written(tmp_path: Path, way: type[str]) -> None:
    sessions, image = Sessions(tmp_path / "sessions"), tmp_path / "image.nrrd"
    image.write_bytes(b"voxels")
    name = way(sessions.add(image)["name"])
    assert sessions.image(name).read_bytes() == b"voxels"
    sessions.remove(name)
    assert list((tmp_path / "sessions").iterdir()) == [], "a session that was ended is gone"


@pytest.mark.parametrize("name", ["", "..", "../x", "x" * 32, "0" * 31 + "/"])
def test_what_is_no_id_is_refused(tmp_path: Path, name: str) -> None:
    for ask in (Sessions(tmp_path).image, Sessions(tmp_path).remove, Sessions(tmp_path).describe):
        with pytest.raises(MedGANError) as caught:
            ask(name)
        assert caught.value.code == "bad_name"


def test_one_that_never_was_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(MedGANError) as caught:
        Sessions(tmp_path).image(str(uuid.uuid4()))
    assert caught.value.code == "unknown_session"


def test_images_of_sessions_that_expired_go_though_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TIDY_SECONDS", 0.01)
    sessions = Sessions(tmp_path / "sessions")
    names = []
    for number in range(2):
        image = tmp_path / f"{number}.nrrd"
        image.write_bytes(b"voxels")
        names.append(sessions.add(image)["name"])
    meta = tmp_path / "sessions" / names[0] / META
    atomic_write_json(meta, {**read_json(meta), "last_access_ts": 0})

    async def tidy() -> None:
        with anyio.move_on_after(0.3):
            await server._tidy(SimpleNamespace(sessions=sessions))  # type: ignore[arg-type]

    anyio.run(tidy)
    assert [path.name for path in (tmp_path / "sessions").iterdir()] == names[1:]

"""Sessions: an image that a client sends once and then uses in several requests."""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from monailabel_app.errors import MedGANError
from trainers.files import atomic_write_json, read_json

META = "session.json"


class Sessions:
    """Sessions in a folder, each with one image, forgotten when unused.

    Args:
        folder: where they lie. expiry: seconds after the last use, at most.
    """

    def __init__(self, folder: Path, expiry: int = 3600) -> None:
        self._folder = Path(folder)
        self._expiry = expiry
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, image: Path, expiry: int = 0) -> dict[str, Any]:
        """Moves `image` into a new session; old sessions go. Returns what `describe` does."""
        self.remove_expired()
        name = str(uuid.uuid4())
        folder = self._folder / name
        seconds = min(expiry, self._expiry) if expiry > 0 else self._expiry
        now = int(time.time())
        meta = {"name": name, "image": image.name, "create_ts": now, "last_access_ts": now, "expiry": seconds}
        folder.mkdir()
        try:
            image.replace(folder / image.name)
            atomic_write_json(folder / META, meta)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return meta

    def describe(self, name: str, touch: bool = False) -> dict[str, Any]:
        """What is known of a session; `touch` makes it live longer. Raises `bad_name`, `unknown_session`."""
        folder = self._find(name)
        meta: dict[str, Any] = read_json(folder / META)
        if touch:
            meta["last_access_ts"] = int(time.time())
            atomic_write_json(folder / META, meta)
        return meta

    def image(self, name: str) -> Path:
        """The session's image. Raises as `describe`."""
        return self._find(name) / str(self.describe(name, touch=True)["image"])

    def remove(self, name: str) -> dict[str, Any]:
        """Ends a session. Raises as `describe`."""
        folder, meta = self._find(name), self.describe(name)
        shutil.rmtree(folder, ignore_errors=True)
        return meta

    def remove_expired(self) -> None:
        """Ends sessions that were not used for their time, and what is left of broken ones."""
        for folder in self._folder.iterdir():
            if _expired(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _find(self, name: str) -> Path:
        """The session's folder; an id can be written in several ways, and only one of them is the folder's name."""
        try:
            folder = self._folder / str(uuid.UUID(name))
        except ValueError as error:
            raise MedGANError("bad_name", f"{name[:80]!r} is not a session.") from error
        if not (folder / META).exists() or _expired(folder):
            raise MedGANError(
                "unknown_session", f"There is no session {name}.", "It may have expired; send the image again."
            )
        return folder


def _expired(folder: Path) -> bool:
    try:
        meta = read_json(folder / META)
        return bool(meta["last_access_ts"] + meta["expiry"] < time.time())
    except (OSError, ValueError, KeyError, TypeError):
        with suppress(FileNotFoundError):  # another request may just have removed it
            return time.time() - folder.stat().st_mtime > 60
        return True

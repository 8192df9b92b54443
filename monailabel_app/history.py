"""The history of labels: every change of one is an entry with its own complete file, and no entry is ever changed.

    <backups>/labels/<tag>/<study>/0003.nii.gz      the label as it was after the third change
    <backups>/labels/<tag>/<study>/0003.json        who, when, what; written last: an entry is whole or not there
    <backups>/pending/<name>.json                   an entry whose label is just being put in its place

An entry that is pending when nobody changes labels was left by a crash: StudyDatastore finishes it at the next access.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from monailabel_app.errors import MedGANError
from trainers.data.volumes import VolumeError, read_label
from trainers.files import WRITING, atomic_path, atomic_write_json, read_json

SUBMITTED, RESTORED, REMOVED, FOUND = "submitted", "restored", "removed", "found"
_ENTRY = re.compile(r"\d{4,}\.json")


@dataclass(frozen=True)
class Entry:
    """One change of one label.

    Attributes:
        study, tag: whose label. number: counts from 1.
        action: `submitted`, `restored`, `removed`, or `found` for one that others put into the folder.
        author: who made the change; empty if nobody told. time: UTC, ISO 8601.
        ext: suffix of the entry's file; empty if there was no label after the change.
        checksum: SHA-256 of the file. voxels: how many have each value. info: what was known of the label.
        source: the entry that was restored. undoes: the entry that was taken back.
    """

    study: str
    tag: str
    number: int
    action: str = SUBMITTED
    author: str = ""
    time: str = ""
    ext: str = ""
    checksum: str = ""
    voxels: Mapping[str, int] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    source: int | None = None
    undoes: int | None = None

    def shown(self, current: bool) -> dict[str, Any]:
        """The entry for clients."""
        told = {name: getattr(self, name) for name in ("number", "author", "time", "action")}
        made_by = {name: str(self.info.get(name) or "") for name in ("model", "version")}
        more = {"voxels": dict(self.voxels), "from": self.source, "undoes": self.undoes, "current": current}
        return {**told, **made_by, **more}


class LabelHistory:
    """All entries, on disk. Whoever writes must hold the datastore's lock.

    Args:
        folder: where `labels` and `pending` are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._labels, self._pending = Path(folder) / "labels", Path(folder) / "pending"
        self._pending.mkdir(parents=True, exist_ok=True)

    def entries(self, study: str, tag: str) -> list[Entry]:
        """All entries of a label, oldest first."""
        folder = self._folder(study, tag)
        names = [p.name for p in folder.iterdir() if _ENTRY.fullmatch(p.name)] if folder.is_dir() else []
        return [_read(folder / name) for name in sorted(names, key=lambda n: int(n.split(".")[0]))]

    def file(self, entry: Entry) -> Path:
        """The label as it was after the change. Raises MedGANError `unknown_entry` if there was none."""
        if not entry.ext:
            raise MedGANError("unknown_entry", f"There was no label after change {entry.number}.")
        return self._folder(entry.study, entry.tag) / f"{entry.number:04d}{entry.ext}"

    def record(self, entry: Entry, file: Path | None) -> Entry:
        """Adds an entry for what is already so."""
        entry = self._stored(entry, file)
        atomic_write_json(self._place_of(entry), asdict(entry))
        return entry

    def begin(self, entry: Entry, file: Path | None) -> Path:
        """Announces a change; from now on it is finished even after a crash. Returns what `finish` wants."""
        pending = self._pending / f"{uuid.uuid4().hex}.json"
        atomic_write_json(pending, asdict(self._stored(entry, file)))
        return pending

    def unfinished(self) -> list[Path]:
        """Changes that were announced and not finished."""
        return [p for p in self._pending.iterdir() if not p.name.startswith(".")]

    def announced(self, pending: Path) -> Entry:
        """The entry of an announced change."""
        return Entry(**read_json(pending))

    def finish(self, pending: Path) -> None:
        """Makes an announced change an entry, once the label is in its place."""
        pending.replace(self._place_of(self.announced(pending)))

    def cancel(self, pending: Path) -> None:
        """Drops an announced change that could not be made."""
        entry = self.announced(pending)
        pending.unlink()
        if entry.ext:
            self.file(entry).unlink(missing_ok=True)

    def set_aside(self, study: str, left: Iterable[Path] = ()) -> None:
        """Parts a study's history from its id, which another patient's image may have next.

        Args:
            study: its id.
            left: files of its labels, in folders named by the tag, that go the same way.
        """
        for file in left:
            aside = self._labels.parent / "removed" / file.parent.name / f"{uuid.uuid4().hex[:12]}-{study[:200]}"
            aside.mkdir(parents=True)
            shutil.move(file, aside / file.name)
        for folder in self._labels.glob("*"):
            if (folder / study).is_dir():
                aside = self._labels.parent / "removed" / folder.name
                aside.mkdir(parents=True, exist_ok=True)
                (folder / study).rename(aside / f"{uuid.uuid4().hex[:12]}-{study[:200]}")

    def _stored(self, entry: Entry, file: Path | None) -> Entry:
        """Copies the label to the entry's own file."""
        entry = replace(entry, time=entry.time or now())
        if file is None:
            return replace(entry, ext="", checksum="", voxels={})
        place = self.file(entry)
        for left in place.parent.glob(f"{entry.number:04d}.*"):  # by a change that died before it was announced
            left.unlink()
        copy_file(file, place)
        voxels = entry.voxels or count_voxels(file)
        return replace(entry, checksum=sha256(file), voxels=voxels)

    def _place_of(self, entry: Entry) -> Path:
        folder = self._folder(entry.study, entry.tag)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{entry.number:04d}.json"

    def _folder(self, study: str, tag: str) -> Path:
        return self._labels / tag / study


def _read(path: Path) -> Entry:
    """An entry. Raises MedGANError `storage_not_available` for one that is damaged, which is not passed over."""
    with suppress(ValueError, TypeError):
        entry = Entry(**read_json(path))
        if isinstance(entry.info, dict) and isinstance(entry.voxels, dict):
            return entry
    hint = "Tell the administrator, who can take it from a backup."
    raise MedGANError("storage_not_available", f"Entry {path.stem} of the label's history is damaged.", hint)


def pick(entries: Sequence[Entry], number: int) -> Entry:
    """The entry of that number. Raises MedGANError `unknown_entry`."""
    for entry in entries:
        if entry.number == number:
            return entry
    raise MedGANError("unknown_entry", f"The label's history has no entry {number}.", f"It has {len(entries)}.")


def step_back(entries: Sequence[Entry]) -> tuple[Entry, Entry | None]:
    """The last change that was not taken back yet, and the one before it, or None if there was no label then.

    A label that was found in the folder was nobody's change here: it is not taken back when nothing is before it.

    Raises:
        MedGANError: `conflict`, if there is nothing to take back.
    """
    standing: list[Entry] = []
    for entry in entries:
        if entry.undoes is None:
            standing.append(entry)
        else:
            standing.pop()
    if not standing or (len(standing) == 1 and standing[0].action == FOUND):
        raise MedGANError("conflict", "There is no change of this label to take back.")
    return standing[-1], standing[-2] if len(standing) > 1 else None


def current(entries: Sequence[Entry]) -> int | None:
    """The number of the entry that is the label now; None if there is no label."""
    return entries[-1].number if entries and entries[-1].ext else None


def count_voxels(file: Path) -> dict[str, int]:
    """How many voxels have each value but 0; empty for a file that is no label map."""
    try:
        return voxels_of(read_label(file).array)
    except VolumeError:
        return {}


def voxels_of(label: np.ndarray) -> dict[str, int]:
    """How many voxels have each value but 0."""
    values, counts = np.unique(label, return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True) if value}


def now() -> str:
    """The time, UTC, ISO 8601."""
    return iso_time(datetime.now(timezone.utc).timestamp())


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def copy_file(source: Path, target: Path) -> None:
    """Copies a file so that it appears complete."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def write_through(source: Path, target: Path) -> None:
    """Copies a file, and waits until the disk has the copy."""
    shutil.copyfile(source, target)
    with target.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextmanager
def displaced(file: Path | None) -> Iterator[None]:
    """Removes a file; it comes back if the body fails."""
    if file is None:
        yield
        return
    aside = file.with_name(f"{WRITING}{file.name}")
    file.replace(aside)
    try:
        yield
    except BaseException:
        aside.replace(file)
        raise
    aside.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """A file's checksum, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

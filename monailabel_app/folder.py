"""The folder of studies: MONAI Label's local datastore made safe against crashes, other writers and bad names.

The files say which studies and labels there are. What is known of them is in a database in the data folder
(`index.py`), which belongs to the folder whose `.medgan-id` its name has: neither a folder that was moved nor another
one in its place is taken for a folder whose studies were all removed.

Every change is a transaction: lock (threads and processes), read what is on disk, change, write. Files appear complete,
by rename.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel

from monailabel_app.errors import MedGANError
from monailabel_app.index import MISSING, Stamp, StudyIndex, open_index, take_in
from monailabel_app.names import is_lookup
from monailabel_app.storage import QUIET_SECONDS, remove_unfinished
from monailabel_app.synthetic import mark_info
from trainers.files import atomic_write_text

logger = logging.getLogger(__name__)

PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
IDENTITY = ".medgan-id"
IMAGES = 2  # place of the folder of images among the stamps


class StudyFolder(LocalDatastore):
    """A folder of images and labels, of which is known what is on disk now.

    Args:
        studies: the folder. backups: where the database is kept.
    """

    _datastore: LocalDatastoreModel

    def __init__(self, studies: Path, backups: Path) -> None:
        self._studies, self._backups = Path(studies), Path(backups)
        self._threads = threading.RLock()
        self._processes = FileLock(self._studies / ".lock", timeout=60)
        self._depth = 0
        self._seen: tuple[Stamp, ...] = ()
        self._index_stamp: Stamp | None = None
        self._left_out: set[str] = set()
        for folder in (self._studies, self._backups):
            folder.mkdir(parents=True, exist_ok=True)
        with self._processes:
            self._clear()
            self._identity = _identity(self._studies)
            self._index = self._opened()
            super().__init__(str(studies), extensions=PATTERNS, auto_reload=False)
            self._finish_changes()
        self._seen = self._stamps()

    def close(self) -> None:
        """Ends the connection to the database."""
        self._index.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keeps every other writer out until the body is done; sees the newest state. Can be nested."""
        self._check_present()
        with self._threads, self._processes:
            self._renew()
            self._depth += 1
            try:
                yield
                self._note_files()
            except MedGANError:  # raised before anything is changed
                raise
            except BaseException:
                self._forget()
                raise
            finally:
                self._depth -= 1

    def _is_unfinished(self) -> bool:
        """Whether a change was begun and not finished."""
        return False

    def _finish_changes(self) -> None:
        """Finishes what a crash left undone; called while nobody else is changing anything."""

    # What LocalDatastore calls.

    def _reconcile_datastore(self) -> None:
        """Takes in what others put into the folder or removed from it."""
        self._init_from_datastore_file()
        Path(self._datastore.label_path(None)).mkdir(exist_ok=True)  # somebody may have removed it
        changed = self._match_images()
        tags = {p.name for p in Path(self._datastore.label_path(None)).iterdir() if p.is_dir()}
        for tag in sorted(tags | self._datastore.tags()):
            changed |= self._match_labels(tag)
        if changed:
            self._save(*changed)

    def _to_id(self, file: str) -> tuple[str, str]:
        lower = file.lower()
        ext = next((p[1:] for p in PATTERNS if lower.endswith(p[1:])), None) or Path(file).suffix
        return (file[: -len(ext)], file[-len(ext) :]) if ext else (file, "")

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        """Images in a folder, one for each id; names with a leading dot are files that are being written."""
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
        found: dict[str, str] = {}
        for name in (n for pattern in PATTERNS for n in names if n.lower().endswith(pattern[1:])):
            study, _ = self._to_id(name)
            if not is_lookup(study):
                self._leave_out(name, "its name cannot be a study's; rename it")
            elif found.setdefault(study, name) != name:
                self._leave_out(name, f"{found[study]} beside it has the same id; rename or remove one")
        return {name: name for name in found.values()}

    def _leave_out(self, name: str, reason: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            logger.warning("The file %s is left out: %s.", ascii(name), reason)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Loads what is known, if others have changed it."""
        stamp = self._index.stamp()
        if stamp == MISSING:
            logger.error("The database of the studies was removed or replaced while it was in use.")
            self._index = self._opened()
            if not self._index.load():
                self._index.save(self._datastore.objects)
            stamp = self._index.stamp()
        if stamp != self._index_stamp:
            self._datastore = self._datastore.model_copy(update={**self._index.about(), "objects": self._index.load()})
            self._index_stamp = stamp

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Stores the name and the description of the folder; of studies, `_save` does."""
        with self._threads, self._processes:
            self._index.describe(name=self._datastore.name, description=self._datastore.description)

    def _save(self, *names: str) -> None:
        """Stores what is known of some studies, or that they are gone."""
        self._index.save({name: self._datastore.objects.get(name) for name in names})

    # Helpers.

    def _opened(self) -> StudyIndex:
        index = open_index(self._backups / f"studies-{self._identity}.sqlite3")
        take_in(self._studies / "datastore_v2.json", index, self._backups)
        return index

    def _clear(self) -> None:
        """Removes files that a process which died was writing."""
        remove_unfinished(self._studies, older=QUIET_SECONDS, below=False)  # an import writes there without the lock
        for folder in (self._studies / "labels", self._backups):
            remove_unfinished(folder)

    def _match_images(self) -> set[str]:
        """Knows the images that there are, and no others. Returns the studies of which that was news."""
        folder, objects = Path(self._datastore.image_path()), self._datastore.objects
        there, found = self._names(folder), self._list_files(str(folder), PATTERNS)
        gone = {name for name, study in objects.items() if self._filename(name, study.image.ext) not in there}
        for name in gone:
            del objects[name]
        files = {study: (name, ext) for name in found for study, ext in [self._to_id(name)] if study not in objects}
        self._part_from(gone - set(files))
        for study, (name, ext) in files.items():
            info = {"ts": int(time.time()), "name": name, **mark_info(folder / name)}
            objects[study] = ImageLabelModel(image=DataModel(info=info, ext=ext))
        return gone | set(files)

    def _match_labels(self, tag: str) -> set[str]:
        """As `_match_images`, for the labels with a tag."""
        folder, objects = Path(self._datastore.label_path(tag)), self._datastore.objects
        there, found = self._names(folder), self._list_files(str(folder), PATTERNS) if folder.is_dir() else {}
        known = {name: study.labels[tag] for name, study in objects.items() if tag in study.labels}
        gone = {name for name, label in known.items() if self._filename(name, label.ext) not in there}
        for name in gone:
            del objects[name].labels[tag]
        new = {}
        for name in found:
            study, ext = self._to_id(name)
            if study in objects and tag not in objects[study].labels:
                new[study] = DataModel(info={"ts": int(time.time()), "name": name}, ext=ext)
                objects[study].labels[tag] = new[study]
        for study, label in new.items():
            label.info |= self._told_of_label(study, tag)
        return gone | set(new)

    def _part_from(self, gone: Iterable[str]) -> None:
        """Called with the ids of studies whose images others have removed."""

    def _told_of_label(self, study: str, tag: str) -> dict[str, Any]:
        """What is known from elsewhere of a label that was found."""
        return {}

    def _names(self, folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def _check_present(self) -> None:
        """A folder that is gone, with its disk perhaps, must not be taken for one whose studies were all removed."""
        if not Path(self._datastore.image_path()).is_dir():
            raise FileNotFoundError(errno.ENOENT, "The folder of studies is gone")

    def _check_identity(self) -> None:
        """As `_check_present`, for a disk without which the folder is an empty one, or another."""
        if _read_identity(self._studies) != self._identity:
            raise OSError(errno.ENODEV, f"The folder of studies is not the one with {self._identity} in {IDENTITY}")

    def _note_files(self) -> None:
        """Files that the change that ends now has made or removed are no news; those of others are."""
        if self._depth > 1:
            return
        stamps = self._stamps()
        self._seen = stamps if self._knows_all(stamps) else ()

    def _knows_all(self, stamps: tuple[Stamp, ...]) -> bool:
        """False if others added or removed a file while the index was being changed."""
        seen, objects = self._seen or (MISSING,), self._datastore.objects
        new_images = seen[IMAGES : IMAGES + 1] != stamps[IMAGES : IMAGES + 1]
        if new_images and self._ids(Path(self._datastore.image_path())) != set(objects):
            return False
        if seen[IMAGES + 1 :] == stamps[IMAGES + 1 :]:
            return True
        labels = Path(self._datastore.label_path(None))
        tags = {tag for study in objects.values() for tag in study.labels} | {path.name for path in labels.glob("*")}
        known = {tag: {name for name, study in objects.items() if tag in study.labels} for tag in tags}
        return all(self._ids(labels / tag).intersection(objects) == known[tag] for tag in tags)

    def _ids(self, folder: Path) -> set[str]:
        found = self._list_files(str(folder), PATTERNS) if folder.is_dir() else {}
        return {self._to_id(name)[0] for name in found}

    def _forget(self) -> None:
        """Drops what is in memory, which a change that failed may have spoilt; the next access reads the disk."""
        self._datastore = self._datastore.model_copy(update={"objects": {}})
        self._index_stamp, self._seen = None, ()

    def _renew(self) -> None:
        """Takes in what others changed, and finishes what a crash left undone."""
        if self._depth:
            return
        self._check_present()
        stamps = self._stamps()
        if self._seen == stamps and not self._is_unfinished():
            return
        self._check_identity()
        with self._processes:
            if self._seen[1:] == stamps[1:]:  # no file
                self._init_from_datastore_file()
                self._seen = stamps
            else:
                self._seen = ()
                self._reconcile_datastore()
            self._finish_changes()
            self._seen = self._seen or stamps

    def _stamps(self) -> tuple[Stamp, ...]:
        """Changes whenever a file is added or removed, or others change what is known; that comes first."""
        labels = Path(self._datastore.label_path(None))
        folders = [Path(self._datastore.image_path()), labels, *sorted(p for p in labels.glob("*") if p.is_dir())]
        return (self._index.stamp(), *map(file_stamp, [self._studies / IDENTITY, *folders]))


def _identity(folder: Path) -> str:
    """The folder's identity, made at the first call."""
    if not _read_identity(folder):
        atomic_write_text(folder / IDENTITY, f"{uuid.uuid4().hex[:12]}\n")
    return _read_identity(folder)


def _read_identity(folder: Path) -> str:
    """Empty if there is none. It becomes part of a file's name, so nothing else may be in it."""
    try:
        text = (folder / IDENTITY).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return text if text.isalnum() and len(text) <= 64 else ""


def file_stamp(path: Path) -> Stamp:
    """What changes with a file or folder; MISSING if it is not there.

    The inode is part of it: a file replaced twice within one tick of the clock has the same time.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return MISSING
    return stat.st_mtime_ns, stat.st_ino, stat.st_size

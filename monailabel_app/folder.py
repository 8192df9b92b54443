"""The folder of studies and its index: MONAI Label's local datastore made safe against crashes, writers and bad names.

Every change is a transaction: lock (threads and processes), read what is on disk, change, write atomically. Files
appear complete, by rename.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore, LocalDatastoreModel

from monailabel_app.errors import MedGANError
from monailabel_app.names import is_lookup
from monailabel_app.synthetic import mark_info
from trainers.files import atomic_write_json

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
MISSING: Stamp = (0, 0, 0)
PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")


class StudyFolder(LocalDatastore):
    """A folder of images and labels with an index that is always what is on disk now.

    Args:
        studies: the folder. backups: where a damaged index is kept.
    """

    def __init__(self, studies: Path, backups: Path) -> None:
        self._backups = Path(backups)
        self._threads = threading.RLock()
        self._processes = FileLock(Path(studies) / ".lock", timeout=60)
        self._depth = 0
        self._seen: tuple[Stamp, ...] = ()
        self._index_stamp: Stamp = MISSING
        self._left_out: set[str] = set()
        self._backups.mkdir(parents=True, exist_ok=True)
        with self._processes:
            super().__init__(str(studies), extensions=PATTERNS, auto_reload=False)
            self._finish_changes()
        self._seen = self._stamps()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keeps every other writer out until the body is done; sees the newest state. Can be nested."""
        self._check_present()
        with self._threads, self._processes:
            self._renew()
            self._depth += 1
            try:
                yield
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

    def _add_non_existing_images(self) -> int:
        """Takes in files that are new in the folder; one whose header says that it is synthetic is known as such."""
        self._init_from_datastore_file()
        known = set(self._datastore.objects)
        added: int = super()._add_non_existing_images()
        for name in set(self._datastore.objects) - known:
            data = self._datastore.objects[name].image
            data.info |= mark_info(Path(self._datastore.image_path()) / self._filename(name, data.ext))
        return added

    def _to_id(self, file: str) -> tuple[str, str]:
        ext = next((p[1:] for p in PATTERNS if fnmatch.fnmatch(file.lower(), p)), Path(file).suffix)
        return (file[: -len(ext)], file[-len(ext) :]) if ext else (file, "")

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        """Images in a folder, one for each id; names with a leading dot are files that are being written."""
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
        found: dict[str, str] = {}
        for name in (n for pattern in PATTERNS for n in names if fnmatch.fnmatch(n.lower(), pattern)):
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
        """Loads the index; one that is damaged is set aside and made again from the files."""
        path = Path(self._datastore_config_path)
        stamp = _stamp(path)
        if stamp in (MISSING, self._index_stamp):
            return
        try:
            loaded = LocalDatastoreModel.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError:
            kept = self._backups / f"{path.stem}-{time.time_ns()}.damaged"
            path.replace(kept)
            logger.error("The index of the studies was damaged. It is made again; the damaged one is %s.", kept.name)
            return
        loaded.base_path = self._datastore_path
        self._datastore, self._index_stamp = loaded, stamp

    def _update_datastore_file(self, lock: bool = True) -> None:
        path = Path(self._datastore_config_path)
        atomic_write_json(path, json.loads(json.dumps(self._datastore.model_dump(exclude={"base_path"}), default=str)))
        self._index_stamp = _stamp(path)
        stamps = self._stamps()
        self._seen = stamps if self._knows_all() else ()

    # Helpers.

    def _check_present(self) -> None:
        """A folder that is gone, with its disk perhaps, must not be taken for one whose studies were all removed."""
        if not Path(self._datastore.image_path()).is_dir():
            raise FileNotFoundError(errno.ENOENT, "The folder of studies is gone")

    def _knows_all(self) -> bool:
        """False if a study was added or removed by others while the index was being changed."""
        present = self._list_files(self._datastore.image_path(), PATTERNS)
        return {self._to_id(name)[0] for name in present} == set(self._datastore.objects)

    def _forget(self) -> None:
        """Drops what is in memory, which a change that failed may have spoilt; the next access reads the disk."""
        self._datastore = self._datastore.model_copy(update={"objects": {}})
        self._index_stamp, self._seen = MISSING, ()

    def _renew(self) -> None:
        """Takes in what others added, if a folder or the index has changed, and finishes what a crash left undone."""
        self._check_present()
        stamps = self._stamps()
        if self._depth or (self._seen == stamps and not self._is_unfinished()):
            return
        with self._processes:
            self._seen = ()
            Path(self._datastore.label_path(None)).mkdir(exist_ok=True)  # somebody may have removed it
            self._reconcile_datastore()
            self._finish_changes()
            self._seen = self._seen or stamps

    def _stamps(self) -> tuple[Stamp, ...]:
        """Changes whenever a file is added or removed or the index is written."""
        labels = Path(self._datastore.label_path(None))
        folders = [Path(self._datastore.image_path()), labels, *sorted(p for p in labels.glob("*") if p.is_dir())]
        return tuple(map(_stamp, [Path(self._datastore_config_path), *folders]))


def _stamp(path: Path) -> Stamp:
    """The inode is part of it: a file replaced twice within one tick of the clock has the same time."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return MISSING
    return stat.st_mtime_ns, stat.st_ino, stat.st_size

"""What is known of studies and labels, in an SQLite database that neither a crash nor another writer can tear.

    study(id, ext, info)            info is JSON: scores, verdicts, reservations, what clients told
    label(study, tag, ext, info)
    about(key, value)               name and description of the collection

A change is one transaction and on disk when the call returns. Every process has a connection of its own; readers do not
wait for writers. The files in the folder of studies say which studies and labels there are (`folder.py`).
"""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel

from monailabel_app.errors import MedGANError
from monailabel_app.storage import LEAST_BYTES, free_bytes
from trainers.files import atomic_write_bytes

logger = logging.getLogger(__name__)

VERSION = 1  # of the tables, in `user_version`
TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE study (id TEXT PRIMARY KEY, ext TEXT NOT NULL, info TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE label (
    study TEXT NOT NULL REFERENCES study (id) ON DELETE CASCADE, tag TEXT NOT NULL, ext TEXT NOT NULL,
    info TEXT NOT NULL, PRIMARY KEY (study, tag)
) WITHOUT ROWID;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
BUSY_SECONDS = 60.0
FAILURES = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
}

Stamp = tuple[int, int, int]
MISSING: Stamp = (0, 0, 0)
Studies = Mapping[str, ImageLabelModel | None]


class DamagedIndexError(OSError):
    """The file is no database, or has not what it should have."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)


class StudyIndex:
    """The database. Not for several threads at once.

    Args:
        path: the file; made if it is not there.

    Attributes:
        changes: how many transactions this connection has ended.

    Raises:
        DamagedIndexError: see there.
        OSError: the file cannot be made or read.
        MedGANError: `not_ready`, for a database of a later release.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.changes = Path(path), 0
        with self._told():
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._inode = path.stat().st_ino
        try:
            self._prepare()
            self.load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def stamp(self) -> Stamp:
        """Changes whenever another connection has changed something; MISSING if the file is not in its place."""
        try:
            if self._path.stat().st_ino != self._inode:
                return MISSING
        except FileNotFoundError:
            return MISSING
        return self._number("data_version"), self._inode, 0

    def load(self) -> dict[str, ImageLabelModel]:
        """Everything that is known of studies and labels. Raises DamagedIndexError or OSError."""
        with self._told(), self._transaction("BEGIN"):
            studies = self._connection.execute("SELECT id, ext, info FROM study ORDER BY id").fetchall()
            labels = self._connection.execute("SELECT study, tag, ext, info FROM label").fetchall()
        try:
            found = {
                name: ImageLabelModel.model_construct(image=_read(ext, info), labels={}) for name, ext, info in studies
            }
            for study, tag, ext, info in labels:
                found[study].labels[tag] = _read(ext, info)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedIndexError(str(error)) from error
        return found

    def save(self, studies: Studies) -> None:
        """Puts these studies, with all of their labels, in the place of what was known; None removes one.

        Raises:
            ValueError: something cannot be written as JSON; nothing was changed.
            OSError: the disk; nothing was changed.
        """
        rows = [(name, study.image.ext, _text(study.image.info)) for name, study in studies.items() if study]
        labels = [
            (name, tag, label.ext, _text(label.info))
            for name, study in studies.items()
            if study
            for tag, label in study.labels.items()
        ]
        with self._told(), self._transaction():
            self._connection.executemany("DELETE FROM study WHERE id = ?", [(name,) for name in studies])
            self._connection.executemany("INSERT INTO study VALUES (?, ?, ?)", rows)
            self._connection.executemany("INSERT INTO label VALUES (?, ?, ?, ?)", labels)
        self.changes += 1

    def about(self) -> dict[str, str]:
        """What `describe` was told."""
        with self._told():
            return dict(self._connection.execute("SELECT key, value FROM about"))

    def describe(self, **about: str) -> None:
        """Remembers facts of the whole collection. Raises OSError; nothing was changed then."""
        with self._told(), self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())
        self.changes += 1

    # Helpers.

    def _prepare(self) -> None:
        with self._told():
            for pragma in PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            version = self._number("user_version")
            if version == 0:
                self._connection.executescript(TABLES)
            damage = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if version > VERSION:
            hint = "Install that release, or restore the data folder as it was before."
            raise MedGANError("not_ready", "What is known of the studies was written by a later release.", hint)
        if damage != "ok":
            raise DamagedIndexError(damage)

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of SQLite as those of the storage, which the server tells its clients."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise Timeout(str(self._path)) from error
            number = FAILURES.get(str(error), errno.EIO)
            if number == errno.EIO and free_bytes(self._path.parent) < LEAST_BYTES:
                number = errno.ENOSPC
            raise OSError(number, str(error)) from error
        except sqlite3.DatabaseError as error:
            raise DamagedIndexError(str(error)) from error


def open_index(path: Path) -> StudyIndex:
    """Opens the database, or makes it. A damaged one is set aside beside it and an empty one made.

    Nobody else may open it at the same time. Raises OSError or MedGANError, as StudyIndex.
    """
    try:
        return StudyIndex(path)
    except DamagedIndexError as error:
        kept = f"{path.stem}-{time.time_ns()}.damaged"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(path.with_name(kept + suffix))
        logger.error(
            "What is known of the studies was damaged (%s). It is made again from the files and the history of labels; "
            "the damaged database is %s.", error, kept,
        )  # fmt: skip
        return StudyIndex(path)


def take_in(document: Path, index: StudyIndex, backups: Path) -> None:
    """Takes in an index that MONAI Label, or an earlier release, kept as JSON; then moves it to the backups.

    Args:
        document: `datastore_v2.json`; it may be missing or damaged.
        index: where its content goes, if nothing is known there yet.
        backups: where the document is kept.
    """
    if not document.exists():
        return
    ending = "imported"
    try:
        known = LocalDatastoreModel.model_validate_json(document.read_text(encoding="utf-8"))
        if not index.load():
            index.save(known.objects)
            index.describe(name=known.name, description=known.description)
    except ValueError:
        ending = "damaged"
        logger.error("%s is damaged. What is known of the studies is made again from the files.", document.name)
    kept = backups / f"{document.stem}-{time.time_ns()}.{ending}"
    atomic_write_bytes(kept, document.read_bytes())
    document.unlink(missing_ok=True)
    logger.warning("%s is not used any more; it is kept as %s.", document.name, kept.name)


def _read(ext: str, info: str) -> DataModel:
    """Without pydantic, which would take most of the time that opening takes."""
    known = json.loads(info)
    if not isinstance(known, dict):
        raise TypeError("What is known is no object")
    return DataModel.model_construct(ext=ext, info=known)


def _text(info: Mapping[str, Any]) -> str:
    return json.dumps(info, allow_nan=False, default=str)

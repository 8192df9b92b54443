"""Preprocessed images kept at hand: in memory and, if wanted, on the disk, both within a bound.

MONAI's PersistentDataset does not serve here: its folder grows without bound, and a file in it is trusted for as long
as the item's description stays the same, whatever has become of the image.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainers.data.sets import Entry, Sample
from trainers.files import atomic_path

Arrays = dict[str, npt.NDArray[Any]]
Prepare = Callable[[Sample], Mapping[str, npt.NDArray[Any]]]

FORMAT = 1
GIB = 2**30
SLACK = 0.1  # of the disk's bound: freed beyond need, so that not every write has to look through the folder
CHECK = 0.01  # of the disk's bound: written between two looks by each process, so ten processes stay within the slack
STALE_S = 3600.0  # a temporary file this old is of a process that died
LOCK, LOCK_S = ".lock", 120.0  # one process writes at a time
HEADER = 512  # bytes that a file needs for each array beside its voxels, at most


class Memory:
    """Arrays by key, the least recently used given up first; never more than `limit` bytes. One a process.

    Pickled without its content, so that loader processes start empty.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._items: OrderedDict[str, Arrays] = OrderedDict()

    def get(self, key: str) -> Arrays | None:
        """A copy, which the caller may change; None if the key is not held."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return {name: array.copy() for name, array in self._items[key].items()}

    def put(self, key: str, arrays: Arrays) -> None:
        """Keeps a copy, unless it alone is over the limit."""
        size = _bytes(arrays)
        self.bytes -= _bytes(self._items.pop(key, {}))
        if size > self.limit:
            return
        while self.bytes + size > self.limit:
            self.bytes -= _bytes(self._items.popitem(last=False)[1])
        self._items[key] = {name: array.copy() for name, array in arrays.items()}
        self.bytes += size

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "bytes": 0, "_items": OrderedDict()}


class Disk:
    """Arrays by key as `.npz` files in a folder of `limit` bytes; several processes may share it.

    Files appear whole or not at all. One that cannot be read, or that another process has just removed, counts as not
    there. The least recently used go first. A disk that is full or read-only is told once and then not written to.
    """

    def __init__(self, folder: Path | str, limit: int) -> None:
        self.folder, self.limit = Path(folder), limit
        self._unchecked: float = np.inf  # bytes written since the folder was last looked through
        self._works = True

    def get(self, key: str) -> Arrays | None:
        """The arrays, or None."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except Exception:  # whatever is wrong with a file of a cache, its content can be made again
            return None
        with suppress(OSError):
            os.utime(path)
        return arrays

    def put(self, key: str, arrays: Arrays) -> None:
        """Keeps the arrays, if they fit. Raises ValueError if one of them holds Python objects."""
        size = _bytes(arrays) + HEADER * len(arrays)
        if not self._works or size > self.limit * (1 - SLACK):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK, timeout=LOCK_S):
                self._make_room(size)
                with atomic_path(self._path(key)) as temporary:
                    _write(temporary, arrays)
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            self._works = False
            warnings.warn(f"The cache {self.folder} takes no more: {error}. Images are prepared anew.", stacklevel=3)

    def _make_room(self, size: int) -> None:
        """Removes the oldest files if there could be too many."""
        self._unchecked += size
        if self._unchecked <= CHECK * self.limit:
            return
        files = sorted(self._files())
        total = sum(length for _, length, _ in files)
        for _, length, path in files:
            if total + size <= (1 - SLACK) * self.limit:
                break
            path.unlink(missing_ok=True)
            total -= length
        self._unchecked = 0

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, bytes and path of each file; what a dead process left half-written is removed."""
        found = []
        with os.scandir(self.folder) as items:
            for item in items:
                try:
                    state = item.stat()
                except FileNotFoundError:
                    continue
                if item.name.startswith(".writing-") and time.time() - state.st_mtime > STALE_S:
                    Path(item.path).unlink(missing_ok=True)
                elif item.name.endswith(".npz"):
                    found.append((state.st_mtime, state.st_size, Path(item.path)))
        return found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


class CachedData:
    """A data set for `torch.utils.data.DataLoader`: entries read and prepared, each once if the bounds allow.

    Every item is a copy that may be changed. Random augmentation belongs after the cache, not into `prepare`.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        prepare: Prepare,
        settings: Mapping[str, Any],
        memory_bytes: int = GIB,
        folder: Path | str | None = None,
        disk_bytes: int = 10 * GIB,
    ) -> None:
        """Sets the cache up; nothing is read yet.

        Args:
            entries: what is read.
            prepare: what is done with each sample; the same sample must give the same arrays.
            settings: all that `prepare` depends on, as JSON values; with other settings the cache holds other items.
            memory_bytes: bound of what is held in memory, in each process: share it out among loader processes.
            folder: where prepared images are kept from run to run; None keeps none.
            disk_bytes: bound of that folder.

        Raises:
            TypeError: settings that are not JSON values.
        """
        self.entries, self.prepare = list(entries), prepare
        self.settings = json.dumps(settings, sort_keys=True)
        self._memory = Memory(memory_bytes)
        self._disk = Disk(folder, disk_bytes) if folder is not None else None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Arrays:
        """Prepared arrays of an entry. Raises what its `read` and `prepare` raise."""
        entry = self.entries[index]
        key = item_key(entry, self.settings)
        arrays = self._memory.get(key)
        if arrays is None:
            arrays = self._read(entry, key)
            self._memory.put(key, arrays)
        return arrays

    def _read(self, entry: Entry, key: str) -> Arrays:
        arrays = self._disk.get(key) if self._disk else None
        if arrays is None:
            arrays = {name: np.asarray(array) for name, array in self.prepare(entry.read()).items()}
            if self._disk:
                self._disk.put(key, arrays)
        return arrays


def _write(path: Path, arrays: Arrays) -> None:
    """As `numpy.savez` does, which would pickle objects and has no place for an array named `file`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)  # type: ignore[no-untyped-call,unused-ignore]


def item_key(entry: Entry, settings: str) -> str:
    """SHA-256 of an entry's id, its files' names, sizes and times of change, how they are read, and the settings."""
    files = [(str(file.resolve()), *_state(file)) for file in entry.files]
    text = json.dumps([FORMAT, entry.id, entry.patient, files, recipe(entry.read), settings])
    return hashlib.sha256(text.encode()).hexdigest()


def recipe(read: Any) -> Any:
    """What reads an image and with which options, as JSON values: the same in every run, whatever the working folder.

    Functions go by their names, a `partial` by its function and arguments too, paths absolute, all else by its `repr`.
    One that tells the place in memory would only have each run prepare its images anew.
    """
    if isinstance(read, partial):
        return [
            recipe(read.func),
            recipe(read.args),
            [[name, recipe(read.keywords[name])] for name in sorted(read.keywords)],
        ]
    if isinstance(read, (tuple, list)):
        return [recipe(value) for value in read]
    if isinstance(read, MethodType):
        return [recipe(read.__func__), recipe(read.__self__)]
    if isinstance(read, (FunctionType, type)):
        return f"{read.__module__}.{read.__qualname__}"
    return str(read.resolve()) if isinstance(read, Path) else repr(read)


def _state(file: Path) -> tuple[int, int]:
    """Size and time of change; zeros for a file that is gone, which reading will then tell."""
    try:
        state = file.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def _bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())

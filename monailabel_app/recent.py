"""Decoded volumes of the last requests: a study that is asked about again is not decoded again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

from trainers.data.volumes import Limits, Volume, check_file, read_volume

BLOCK = 1 << 20


class RecentVolumes:
    """Volumes of studies in memory, by the content of their files, so that a file that changed is seen.

    Args:
        megabytes: of memory that they may take; 0 keeps none.
        studies: the folder whose images are kept. What a client sends for one request lies elsewhere, and is forgotten.
    """

    def __init__(self, megabytes: int = 0, studies: Path = Path()) -> None:
        self._room, self._studies = megabytes << 20, studies.resolve()
        self._volumes: OrderedDict[str, tuple[Path, Volume]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path | str, limits: Limits = Limits()) -> Volume:
        """As `read_volume`; voxels that are kept cannot be written to. Raises VolumeError."""
        path = Path(path)
        if not self._room:
            return read_volume(path, limits)
        check_file(path, limits)
        key = content_of(path)
        with self._lock:
            if key in self._volumes:
                self._volumes.move_to_end(key)
                return self._volumes[key][1]
        volume, place = read_volume(path, limits), path.resolve()
        stays = place.parent == self._studies and content_of(path) == key
        return self._kept(key, place, volume) if stays else volume

    def forget_removed(self) -> None:
        """Forgets volumes whose files are gone: a patient who was removed is not in memory either."""
        with self._lock:
            for key in [key for key, (place, _) in self._volumes.items() if not place.exists()]:
                del self._volumes[key]

    def megabytes(self) -> float:
        """What the volumes take now."""
        with self._lock:
            return self._bytes() / 2**20

    def _kept(self, key: str, place: Path, volume: Volume) -> Volume:
        if volume.array.nbytes > self._room:
            return volume
        voxels = volume.array.view()
        voxels.setflags(write=False)
        with self._lock:
            for old in [k for k, (where, _) in self._volumes.items() if where == place and k != key]:
                del self._volumes[old]  # the file was replaced
            kept = self._volumes.setdefault(key, (place, volume.like(voxels)))[1]
            while self._bytes() > self._room:
                self._volumes.popitem(last=False)
        return kept

    def _bytes(self) -> int:
        return sum(volume.array.nbytes for _, volume in self._volumes.values())


def content_of(path: Path) -> str:
    """A digest of all that a file, or the files of a DICOM series, holds, with its suffix, which chooses the reader."""
    digest = hashlib.sha256("".join(path.suffixes[-2:]).lower().encode())
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.name.encode() + b"/" if path.is_dir() else b"")
        if file.is_file():
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
    return digest.hexdigest()

"""Training volumes in the network's numbers: read when they are needed, kept within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from trainers.data.cache import GIB, CachedData
from trainers.data.cases import hash_fraction
from trainers.data.sets import Entry, Sample
from trainers.tasks.reconstruction.evaluate import channels_of, prepared, scan_of
from trainers.tasks.reconstruction.measurement import Measurement

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Room:
    """How much of a training set is kept at hand.

    Attributes:
        memory: bytes, for training and validation volumes together; what does not fit is read again each time.
        folder: where prepared volumes are kept, so that to read them again is quick; None keeps none. disk: its bytes.
    """

    memory: int = 4 * GIB
    folder: Path | None = None
    disk: int = 50 * GIB


class PreparedVolumes(Sequence[Floats]):
    """Volumes (k, x, y, z) as `Measurement.prepare` makes them, each an array of the caller's own."""

    def __init__(self, entries: Sequence[Entry], measurement: Measurement, channels: Sequence[str], room: Room) -> None:
        """Reads nothing yet.

        Raises:
            CasesError: the data set lacks a channel that the measurement is about.
        """
        chosen = tuple(channels_of(measurement, channels))
        read = [replace(e, read=partial(_read, e.read, e.id, measurement, chosen)) for e in entries]
        self._cached = CachedData(read, _image, {}, room.memory, room.folder, room.disk)

    def __len__(self) -> int:
        return len(self._cached)

    @overload
    def __getitem__(self, index: int) -> Floats: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Floats]: ...

    def __getitem__(self, index: int | slice) -> Floats | Sequence[Floats]:
        """A volume. Raises VolumeError, naming the entry, if it cannot be read or used."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._cached[index]["image"]


def hash_seed(name: str) -> int:
    """A seed of its own for each image, the same on every machine."""
    return int(hash_fraction(name) * 2**31)


def _read(read: Callable[[], Sample], name: str, measurement: Measurement, chosen: tuple[int, ...]) -> Sample:
    """A sample whose image is prepared; what a measurement draws for it depends on its name."""
    scan = scan_of(read(), name, measurement, chosen)
    return Sample(prepared(name, scan, measurement, hash_seed(name)))


def _image(sample: Sample) -> Mapping[str, npt.NDArray[Any]]:
    return {"image": sample.image}

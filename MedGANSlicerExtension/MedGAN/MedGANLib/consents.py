"""Consent: nothing leaves this computer unless the user said yes for that server."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence, Set, Tuple

from .errors import ConsentDeclined, TooLarge
from .records import ServerInfo
from .state import Consent, ConsentRequest
from .volumes import dimensions

NOT_SENT = "Not sent: the patient's name and ID, dates, other DICOM tags, file and node names, other volumes."
RUN = "Sent: the voxels and the geometry of this volume. The server runs the model on it and does not keep it."
RUN_ON_SEVERAL = (
    "Sent: the voxels and the geometry of these volumes. The server runs the model on them and does not keep them."
)
STORE = (
    "Sent: the voxels and the geometry of this volume, with your label or verdict. "
    "The server keeps both as a study for training."
)
SHAPE = (
    "Sent: the shape of the chosen segments, as a label map. The server makes images that fill it and keeps nothing."
)
KEEP_SHAPE = (
    "Sent: synthetic images, and as their label the shape that you drew on a patient's image. "
    "The server keeps both as studies for training."
)
TEXTS = {(False, False): RUN, (True, False): STORE, (False, True): SHAPE, (True, True): KEEP_SHAPE}
"""What is sent, by whether it is stored and whether it is a mere shape."""
MEGABYTE = 1024.0 * 1024.0


class ConsentBook:
    """Remembers, for each server, what the user has agreed to in this session."""

    def __init__(self, ask: Optional[Consent]) -> None:
        self._ask = ask
        self._given: Set[Tuple[str, bool, bool]] = set()

    def ensure(self, server: str, volumes: Sequence[Any], stored: bool, shape_of: str = "") -> None:
        """Ask unless the user has agreed before; agreeing to storage includes a mere run, to a volume a mere shape.

        Args:
            server: The server's address.
            volumes: What is sent; one question covers all.
            stored: Whether the server keeps it.
            shape_of: Name of the segmentation when it is a label map without any image.

        Raises:
            ConsentDeclined: The user said no, or there is nobody to ask.
        """
        shape = bool(shape_of)
        enough = {(server, kept, only) for kept in (stored, True) for only in (shape, False)}
        if enough & self._given:
            return
        sent = RUN_ON_SEVERAL if len(volumes) > 1 and not stored else TEXTS[stored, shape]
        name = shape_of or ", ".join(volume.GetName() for volume in volumes)
        size = sum(megabytes(volume) for volume in volumes)
        request = ConsentRequest(server, name, size, sent, NOT_SENT, stored, shape)
        if self._ask is None or not self._ask(request):
            thing = "A patient's shape" if shape else "A volume"
            raise ConsentDeclined("Nothing was sent.", f"{thing} leaves this computer only with your consent.")
        self._given.add((server, stored, shape))

    def forget(self, server: str) -> None:
        """Ask again for this server."""
        self._given = {given for given in self._given if given[0] != server}


def check_size(volume: Any, server: Optional[ServerInfo]) -> None:
    """Refuse a volume that the server would refuse after it was sent; raises `TooLarge`."""
    count, size = _voxel_count(volume), megabytes(volume)
    limit = server.max_voxels if server else 0
    if limit and count > limit:
        raise TooLarge(f"The volume has {count:,} voxels; the server takes {limit:,}.", "Crop or resample the volume.")
    limit = server.max_upload_mb if server else 0
    if limit and size > limit:
        raise TooLarge(f"The volume has {size:.0f} MB; the server takes {limit}.", "Crop or resample the volume.")


def check_sizes(volumes: Iterable[Any], server: Optional[ServerInfo]) -> None:
    """Refuse volumes of which one, or all together, are more than the server takes; raises `TooLarge`."""
    total = 0.0
    for volume in volumes:
        check_size(volume, server)
        total += megabytes(volume)
    limit = server.max_upload_mb if server else 0
    if limit and total > limit:
        raise TooLarge(
            f"The volumes have {total:.0f} MB together; the server takes {limit}.", "Crop or resample the volumes."
        )


def megabytes(volume: Any) -> float:
    """Return the size of a volume's voxels."""
    return _voxel_count(volume) * volume.GetImageData().GetScalarSize() / MEGABYTE


def _voxel_count(volume: Any) -> int:
    i, j, k = dimensions(volume)
    return i * j * k

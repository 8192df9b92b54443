"""Consent: nothing leaves this computer unless the user said yes for that server."""

from __future__ import annotations

from typing import Any, Optional, Set, Tuple

from .errors import ConsentDeclined, TooLarge
from .records import ServerInfo
from .state import Consent, ConsentRequest
from .volumes import dimensions

NOT_SENT = "Not sent: the patient's name and ID, dates, other DICOM tags, file and node names, other volumes."
RUN = "Sent: the voxels and the geometry of this volume. The server runs the model on it and does not keep it."
STORE = (
    "Sent: the voxels and the geometry of this volume, with your label. The server keeps both as a study for training."
)
MEGABYTE = 1024.0 * 1024.0


class ConsentBook:
    """Remembers, for each server, what the user has agreed to in this session."""

    def __init__(self, ask: Optional[Consent]) -> None:
        self._ask = ask
        self._given: Set[Tuple[str, bool]] = set()

    def ensure(self, server: str, volume: Any, stored: bool) -> None:
        """Ask unless the user has agreed before; agreeing to storage includes a mere run.

        Raises:
            ConsentDeclined: The user said no, or there is nobody to ask.
        """
        if (server, True) in self._given or (server, stored) in self._given:
            return
        if self._ask is None or not self._ask(_request(server, volume, stored)):
            raise ConsentDeclined("Nothing was sent.", "A volume leaves this computer only with your consent.")
        self._given.add((server, stored))

    def forget(self, server: str) -> None:
        """Ask again for this server."""
        self._given -= {(server, True), (server, False)}


def check_size(volume: Any, server: Optional[ServerInfo]) -> None:
    """Refuse a volume that the server would refuse after it was sent; raises `TooLarge`."""
    count, size = _voxel_count(volume), megabytes(volume)
    limit = server.max_voxels if server else 0
    if limit and count > limit:
        raise TooLarge(f"The volume has {count:,} voxels; the server takes {limit:,}.", "Crop or resample the volume.")
    limit = server.max_upload_mb if server else 0
    if limit and size > limit:
        raise TooLarge(f"The volume has {size:.0f} MB; the server takes {limit}.", "Crop or resample the volume.")


def megabytes(volume: Any) -> float:
    """Return the size of a volume's voxels."""
    return _voxel_count(volume) * volume.GetImageData().GetScalarSize() / MEGABYTE


def _voxel_count(volume: Any) -> int:
    i, j, k = dimensions(volume)
    return i * j * k


def _request(server: str, volume: Any, stored: bool) -> ConsentRequest:
    return ConsentRequest(server, volume.GetName(), megabytes(volume), STORE if stored else RUN, NOT_SENT, stored)

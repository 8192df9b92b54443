"""Consent: nothing leaves this computer unless the user said yes for that server."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence, Set, Tuple

from .errors import ConsentDeclined, TooLarge
from .kspace import MEGABYTE, KSpaceFile
from .records import ServerInfo
from .state import RAW, RESULT, SHAPE, VOLUME, Consent, ConsentRequest
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
RUN_ON_SHAPE = (
    "Sent: the shape of the chosen segments, as a label map. The server makes images that fill it and keeps nothing."
)
KEEP_SHAPE = (
    "Sent: synthetic images, and as their label the shape that you drew on a patient's image. "
    "The server keeps both as studies for training."
)
RUN_ON_RAW = (
    "Sent: the file as it is, with all that its header says. Headers of raw data often name the patient, "
    "the patient's ID and date of birth, and the hospital; nothing of that is taken out. "
    "The server reads the measurement and the size of the voxels, and keeps nothing of the file."
)
EXPORT = (
    "Sent: the voxels and the geometry of this image. The server makes DICOM of it, for you or for the archive, "
    "and does not keep it itself."
)
RAW_NOT_SENT = "Not sent: the file's own name and folder, and all other files and volumes."
TEXTS = {
    (VOLUME, False): RUN,
    (VOLUME, True): STORE,
    (SHAPE, False): RUN_ON_SHAPE,
    (SHAPE, True): KEEP_SHAPE,
    (RAW, False): RUN_ON_RAW,
    (RESULT, False): EXPORT,
}
"""What is sent, by its kind and whether it is stored."""
OWNED = {VOLUME: "A volume", SHAPE: "A patient's shape", RAW: "A raw file", RESULT: "A result"}
Agreement = Tuple[str, bool, str]
"""A server's address, whether it stores what it gets, and the kind of it."""


class ConsentBook:
    """Remembers, for each server, what the user has agreed to in this session."""

    def __init__(self, ask: Optional[Consent]) -> None:
        self._ask = ask
        self._given: Set[Agreement] = set()

    def ensure(self, server: str, volumes: Sequence[Any], stored: bool, kind: str = VOLUME, name: str = "") -> None:
        """Ask unless the user has agreed before; agreeing to storage includes a mere run, to a volume all made of it.

        Args:
            server: The server's address.
            volumes: What is sent; one question covers all.
            stored: Whether the server keeps it.
            kind: What they are: `VOLUME`, `SHAPE` or `RESULT`.
            name: What they are called; by default by their nodes' names.

        Raises:
            ConsentDeclined: The user said no, or there is nobody to ask.
        """
        sent = RUN_ON_SEVERAL if len(volumes) > 1 and not stored else TEXTS[kind, stored]
        called = name or ", ".join(volume.GetName() for volume in volumes)
        size = sum(megabytes(volume) for volume in volumes)
        request = ConsentRequest(server, called, size, sent, NOT_SENT, stored, kind)
        self._ask_once(request, {(server, kept, known) for kept in (stored, True) for known in (kind, VOLUME)})

    def ensure_raw(self, server: str, file: KSpaceFile) -> None:
        """Ask before a scanner's raw file is sent; no agreement to anything else is enough for that.

        Raises:
            ConsentDeclined: The user said no, or there is nobody to ask.
        """
        request = ConsentRequest(server, file.name, file.megabytes, RUN_ON_RAW, RAW_NOT_SENT, False, RAW)
        self._ask_once(request, {(server, False, RAW)})

    def _ask_once(self, request: ConsentRequest, enough: Set[Agreement]) -> None:
        if enough & self._given:
            return
        if self._ask is None or not self._ask(request):
            hint = f"{OWNED[request.kind]} leaves this computer only with your consent."
            raise ConsentDeclined("Nothing was sent.", hint)
        self._given.add((request.server, request.stored, request.kind))

    def covers(self, server: str, stored: bool) -> bool:
        """Whether a volume may be sent to a server without another question in this session."""
        return bool({(server, kept, VOLUME) for kept in (stored, True)} & self._given)

    @property
    def given(self) -> bool:
        """Whether the user has agreed to anything in this session."""
        return bool(self._given)

    def forget(self) -> None:
        """Ask again, for every server."""
        self._given = set()


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

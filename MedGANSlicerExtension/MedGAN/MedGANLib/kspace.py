"""Measured k-space in a file of this computer, which a model may take in place of a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .errors import StorageProblem, TooLarge
from .multipart import suffix_of
from .records import ServerInfo

SUFFIXES = (".h5", ".hdf5", ".npy")
"""fastMRI and ISMRMRD files, and plain arrays; see docs/api.md."""
MEGABYTE = 1024.0 * 1024.0


@dataclass(frozen=True)
class KSpaceFile:
    """Such a file. It is sent as it is, without its name, and is never written to."""

    path: Path

    @property
    def name(self) -> str:
        """Its name, for this computer's screen only: it may be a patient's."""
        return self.path.name

    @property
    def megabytes(self) -> float:
        """Its size; 0 when it is not there any more."""
        return self.path.stat().st_size / MEGABYTE if self.path.is_file() else 0.0


def check_kspace(file: KSpaceFile, server: Optional[ServerInfo]) -> None:
    """Refuse a file that cannot be sent, or that the server would refuse for its size or suffix.

    Raises:
        StorageProblem: It is not there, is empty, or is of another kind.
        TooLarge: It has more bytes than the server takes.
    """
    if suffix_of(file.name) not in SUFFIXES:
        raise StorageProblem("That is no k-space file.", f"Choose one of {', '.join(SUFFIXES)}.")
    if not file.megabytes:
        raise StorageProblem("The k-space file is not there any more, or is empty.", "Choose it again.")
    limit = server.max_upload_mb if server else 0
    if limit and file.megabytes > limit:
        raise TooLarge(
            f"The file has {file.megabytes:.0f} MB; the server takes {limit}.", "Export fewer slices or coils."
        )

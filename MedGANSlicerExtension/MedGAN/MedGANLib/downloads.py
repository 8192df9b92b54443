"""The cache of studies that came from a server: complete, verified files under names without patients in them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Optional, Tuple

from .errors import Disconnected
from .multipart import read_blocks, suffix_of
from .records import Sample


def cached_name(sample: Sample) -> str:
    """Return the file name under which a study is kept: a digest and the extension that its reader needs."""
    digest = hashlib.sha256(f"{sample.id}|{sample.checksum}".encode()).hexdigest()[:32]
    return f"{digest}{suffix_of(sample.name) or '.nii.gz'}"


def is_intact(path: Path, checksum: str) -> bool:
    """Whether the file is there and has this checksum; without a checksum nobody can tell, so it is not."""
    return path.is_file() and _matches(path, checksum) is True


def verify(path: Path, checksum: str) -> None:
    """Remove a damaged file.

    Raises:
        Disconnected: The file does not have the checksum that the server announced.
    """
    if _matches(path, checksum) is False:
        path.unlink()
        raise Disconnected("The study arrived damaged: its checksum is wrong.", "Try again.")


def _matches(path: Path, checksum: str) -> Optional[bool]:
    """Whether a file has a checksum; None when there is none or its method is unknown."""
    method, expected = _parse(checksum)
    if not expected or method not in hashlib.algorithms_available:
        return None
    digest = hashlib.new(method)
    for block in read_blocks(path):
        digest.update(block)
    return digest.hexdigest() == expected


def _parse(checksum: str) -> Tuple[str, str]:
    found = re.fullmatch(r"(?:([A-Za-z0-9_-]+):)?([0-9A-Fa-f]+)", checksum.strip())
    return ((found.group(1) or "sha256").lower(), found.group(2).lower()) if found else ("", "")

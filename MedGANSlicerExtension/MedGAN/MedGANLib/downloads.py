"""The cache of studies that came from a server: complete, verified files under names without patients in them."""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Optional, Tuple

from .errors import Disconnected, NotAnImage
from .multipart import BLOCK, read_blocks, suffix_of
from .records import InferResult, Sample


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


def unpacked(path: Path, folder: Path) -> Path:
    """Return a NIfTI file without gzip, so that the main thread, which reads it, is not held up.

    A compressed file in `folder` itself is replaced; one from elsewhere, such as the cache, stays.
    """
    if path.suffix != ".gz":
        return path
    plain = folder / f"{secrets.token_hex(8)}{path.with_suffix('').suffix or '.nii'}"
    try:
        with gzip.open(path) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK)
    except (OSError, EOFError, zlib.error) as error:
        plain.unlink(missing_ok=True)
        raise NotAnImage("The file that came from the server is damaged.", "Try again.") from error
    if path.parent == folder:
        path.unlink()
    return plain


def unpack_parts(result: InferResult, folder: Path) -> InferResult:
    """Return a result whose files need no unpacking any more; see `unpacked`."""
    return replace(result, parts=tuple(replace(part, path=unpacked(part.path, folder)) for part in result.parts))

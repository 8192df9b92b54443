"""Checksums of images, by which a run that was stopped knows that it goes on with the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt


def checksum(arrays: Iterable[npt.NDArray[Any] | None]) -> str:
    """SHA-256 of arrays in their order, their types and shapes, without a copy of them; None counts as absent."""
    digest = sha256()
    for array in arrays:
        digest.update(b"absent" if array is None else f"{array.dtype}{array.shape}".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

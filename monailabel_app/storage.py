"""Disks that are full, folders that cannot be written to or are gone: told apart from failures of the server."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from monailabel_app.config import ServerConfig
from trainers.files import WRITING

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN}
QUIET_SECONDS = 60.0  # nobody who writes a file lets it rest for so long
LEAST_BYTES = 1 << 20  # less than that is a full disk
STORAGE = {
    "disk_full": (
        "The server's disk is full; nothing was changed.",
        "Tell its administrator; try again when there is room.",
    ),
    "storage_not_available": (
        "The server cannot read or write its folders; nothing was changed.",
        "Tell its administrator; the reason is in the log.",
    ),
    "not_found": ("A file that this request needs is gone.", "Ask again what there is; somebody may have removed it."),
    "busy": ("Others are changing the studies; nothing was changed.", "Try again in a minute."),
}
"""Message and hint for what `storage_failure` finds."""


def storage_failure(error: BaseException, config: ServerConfig | None = None) -> str:
    """The code of an error of the storage; empty for other errors.

    Args:
        error: what happened; libraries that write files themselves tell only that they failed, not why.
        config: names the folders, if they are to be looked at.
    """
    found = next((code for cause in _causes(error) if (code := _code(cause, config))), "")
    return found or ("disk_full" if config and _is_full(config) else "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        # starlette tells of a file that is gone by a RuntimeError without a cause
        error = error.__cause__ or (error.__context__ if isinstance(error, RuntimeError) else None)


def _code(error: BaseException, config: ServerConfig | None) -> str:
    if isinstance(error, Timeout):
        return "busy"
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL:
        return "disk_full"
    if number in CLOSED:
        return "storage_not_available"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "not_found" if config is None or _are_there(config) else "storage_not_available"
    return ""


def _are_there(config: ServerConfig) -> bool:
    return config.studies.is_dir() and config.temporary.is_dir()


def _is_full(config: ServerConfig) -> bool:
    folders = (config.studies, config.data)
    return any(folder.is_dir() and free_bytes(folder) < LEAST_BYTES for folder in folders)


def free_bytes(folder: Path) -> int:
    """Free bytes of a folder's disk; 0 if it is not there."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def remove_unfinished(folder: Path, older: float = 0.0, below: bool = True) -> None:
    """Removes files that were being written when a process died.

    Args:
        folder: where; it may be missing.
        older: seconds since the last write to a file, at least; 0 if nobody writes now.
        below: whether folders in it are looked through too.
    """
    latest = time.time() - older
    for path in folder.glob(f"{'**/' if below else ''}{WRITING}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime <= latest:
                path.unlink()

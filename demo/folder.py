"""The demo's own folder: emptied only if the demo made it."""

from __future__ import annotations

import shutil
from pathlib import Path

MARKER = ".medgan-demo"


class FolderInUse(ValueError):
    """A folder with files that are not the demo's."""


def empty_folder(folder: Path) -> None:
    """Makes `folder` anew and marks it as the demo's.

    Raises:
        FolderInUse: it holds files and no earlier demo made it; nothing is removed.
    """
    if folder.exists() and not _is_ours(folder):
        raise FolderInUse(f"{folder} holds files that are not the demo's. Choose an empty or a new folder for --out.")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MARKER).is_file() or not any(folder.iterdir()))

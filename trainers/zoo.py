"""Finding a model by name or folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trainers.spec import SPEC_FILE, ModelNotAvailable

MODELS_VARIABLE = "MEDGAN_MODELS"
SHIPPED = Path(__file__).resolve().parent.parent / "monailabel_app" / "models"


def model_folders() -> Iterator[Path]:
    """Folders `<models>/<name>` that hold versions, from MEDGAN_MODELS and from the models that ship."""
    for root in (os.environ.get(MODELS_VARIABLE), SHIPPED):
        if root and Path(root).is_dir():
            yield from (f for f in sorted(Path(root).iterdir()) if any(versions(f)))


def versions(folder: Path) -> list[Path]:
    """A model's versions, oldest first."""
    return sorted(f for f in folder.glob("v*") if (f / SPEC_FILE).is_file())


def find_model(name_or_dir: str) -> Path:
    """The folder with weights and spec: `name_or_dir` itself, its newest version, or that of the model of this name.

    Raises:
        ModelNotAvailable: nothing of that name; lists what there is.
    """
    folder = Path(name_or_dir)
    if (folder / SPEC_FILE).is_file():
        return folder
    if folder.is_dir() and versions(folder):
        return versions(folder)[-1]
    known = {f.name: f for f in model_folders()}
    if name_or_dir not in known:
        raise ModelNotAvailable(f"There is no model {name_or_dir!r}. Known: {', '.join(known) or 'none'}.")
    return versions(known[name_or_dir])[-1]

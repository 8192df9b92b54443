"""Finding a model by name or folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trainers.files import read_json
from trainers.spec import SPEC_FILE, ModelNotAvailable

MODELS_VARIABLE = "MEDGAN_MODELS"
CURRENT_FILE = "current"
SHIPPED = Path(__file__).resolve().parent.parent / "monailabel_app" / "models"


def model_folders() -> Iterator[Path]:
    """Folders `<models>/<name>` that hold versions, from MEDGAN_MODELS and then from the models that ship."""
    for root in (os.environ.get(MODELS_VARIABLE), SHIPPED):
        if root and Path(root).is_dir():
            yield from (f for f in sorted(Path(root).iterdir()) if any(versions(f)) or (f / CURRENT_FILE).is_file())


def versions(folder: Path) -> list[Path]:
    """A model's versions, oldest first."""
    found = (f for f in folder.glob("v*") if (f / SPEC_FILE).is_file())
    return sorted(found, key=lambda f: (len(f.name), f.name))


def find_model(name_or_dir: str) -> Path:
    """The folder with weights and spec: `name_or_dir` itself, or a version of the model of this folder or name.

    Of several versions it is the one that `current` names (a server writes that file: `{"version": "v0002"}`), else the
    newest. A name is looked for in MEDGAN_MODELS first, then among the models that ship.

    Raises:
        ModelNotAvailable: nothing of that name, with a list of what there is; or `current` names what is not there.
    """
    folder = Path(name_or_dir)
    if (folder / SPEC_FILE).is_file():
        return folder
    if folder.is_dir() and (versions(folder) or (folder / CURRENT_FILE).is_file()):
        return _chosen([folder, SHIPPED / folder.resolve().name])
    known = list(model_folders())
    places = [f for f in known if f.name == name_or_dir]
    if not places:
        names = ", ".join(dict.fromkeys(f.name for f in known))
        raise ModelNotAvailable(f"There is no model {name_or_dir!r}. Known: {names or 'none'}.")
    return _chosen(places)


def _chosen(places: list[Path]) -> Path:
    """Of one model's folders: the version that the first one's `current` names, in any of them; else its newest."""
    if not (places[0] / CURRENT_FILE).is_file():
        return versions(places[0])[-1]
    try:
        wanted = str(read_json(places[0] / CURRENT_FILE)["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotAvailable(
            f"Which version of {places[0].name} serves is not known: current is damaged."
        ) from error
    found = [version for place in places for version in versions(place) if version.name == wanted]
    if not found:
        raise ModelNotAvailable(f"{places[0].name} {wanted} serves, but is not in {places[0]}.")
    return found[0]

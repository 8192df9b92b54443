"""Versions of every model: which exist, which one serves, and how a candidate becomes the one that serves.

Shipped versions lie in the package and are never written to. Versions made here lie in the data folder:

    <data>/models/<model>/v0002/{model.safetensors, spec.json, card.md, record.json}
    <data>/models/<model>/current            {"version": "v0002"}
    <data>/models/<model>/.lock

A version's folder appears complete, by one rename, and its weights never change; `record.json` (origin, state,
checksum) and `current` are replaced atomically. After a crash at any moment the version that served before still does.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from monailabel_app.errors import MedGANError, choices
from monailabel_app.storage import remove_unfinished
from trainers.files import atomic_write_json, read_json
from trainers.metrics.titles import titled
from trainers.spec import SPEC_FILE, WEIGHTS_FILE, ModelNotAvailable, ModelSpec, weights_checksum

logger = logging.getLogger(__name__)

RECORD = "record.json"
CURRENT = "current"
STAGING = ".staging-"
STATES = ("published", "candidate", "refused")
CHOSEN = "It was chosen by hand."
STALE = "Another version was chosen to serve while this one was trained; it was not compared with that one."
_VERSION = re.compile(r"v\d{4,}")


@dataclass(frozen=True)
class Record:
    """What is remembered of a version beside its weights.

    Attributes:
        origin: `shipped` or `finetuned`. state: `published`, `candidate` or `refused`.
        created: UTC, ISO 8601. parent: the version that it was trained from. run: the training run.
        checksum: of the weights, `sha256:…`; empty if unknown. reason: of the gate's verdict.
    """

    origin: str = "shipped"
    state: str = "published"
    created: str = ""
    parent: str | None = None
    run: str | None = None
    checksum: str = ""
    reason: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Version:
    """One version of one model: its name, its folder and its record."""

    model: str
    name: str
    path: Path
    record: Record

    @property
    def spec(self) -> ModelSpec:
        """Read once for each change of its file; not to be changed. Raises ModelNotAvailable."""
        file = self.path / SPEC_FILE
        return _spec_found(self.path, file.stat().st_mtime_ns if file.is_file() else 0)

    @property
    def checksum(self) -> str:
        """`sha256:…` as recorded or, for a shipped version without a record, as found; empty without weights."""
        try:
            return self.record.checksum or _checksum_found(self.path, (self.path / WEIGHTS_FILE).stat().st_mtime_ns)
        except (OSError, ModelNotAvailable):
            return ""

    def verify(self) -> None:
        """Raises ModelNotAvailable if the weights are missing or are not those that were recorded."""
        found = weights_checksum(self.path)
        if self.record.checksum and found != self.record.checksum:
            raise ModelNotAvailable(f"The weights of {self.model} {self.name} are damaged: their checksum is wrong.")

    def describe(self) -> dict[str, Any]:
        """The version as `GET /models/{name}/versions` shows it."""
        try:
            metrics = titled(self.spec)
        except ModelNotAvailable:
            metrics = {}
        record = {**dataclasses.asdict(self.record), "checksum": self.checksum}
        return {"version": self.name, **record, "metrics": metrics}


class Registry:
    """All versions of all models.

    Args:
        shipped: folder of `<model>/<version>`, read only.
        data: folder for versions made here.
    """

    def __init__(self, shipped: Path, data: Path) -> None:
        self.shipped = Path(shipped)
        self.data = Path(data)

    def models(self) -> list[str]:
        """Names of the models that have at least one version."""
        folders = {p.name for root in (self.shipped, self.data) if root.is_dir() for p in root.iterdir() if p.is_dir()}
        return sorted(name for name in folders if not name.startswith(".") and self._folders(name))

    def versions(self, model: str) -> list[Version]:
        """Every version, oldest first. Raises MedGANError `unknown_model`."""
        folders = self._folders(self._known(model))
        return [self._read(model, name, folders[name]) for name in sorted(folders, key=_number)]

    def get(self, model: str, version: str) -> Version:
        """One version. Raises MedGANError `unknown_model` or `unknown_version`."""
        folders = self._folders(self._known(model))
        if version not in folders:
            hint = f"Versions: {choices(folders)}."
            raise MedGANError("unknown_version", f"{model} has no version {version[:40]!r}.", hint)
        return self._read(model, version, folders[version])

    def current(self, model: str) -> Version:
        """The version that serves.

        Raises:
            MedGANError: `unknown_model`.
            ModelNotAvailable: the record of which version serves is damaged, or that version is gone.
        """
        path = self.data / self._known(model) / CURRENT
        if not path.exists():
            return self._newest_shipped(model)
        try:
            return self.get(model, str(read_json(path)["version"]))
        except (OSError, ValueError, KeyError, TypeError, MedGANError) as error:
            raise ModelNotAvailable(f"Which version of {model} serves is not known: {path.name} is damaged.") from error

    def serving(self, model: str) -> dict[str, str]:
        """The version that serves, since when and why: empty texts where that is not known. Raises `unknown_model`."""
        known = {"version": "", "since": "", "reason": ""}
        try:
            known["version"] = self.current(model).name
            chosen = read_json(self.data / model / CURRENT)
            return {**known, **{key: str(chosen.get(key, "")) for key in ("since", "reason")}}
        except (ModelNotAvailable, OSError, ValueError):
            return known

    def serve(self, model: str, version: str, force: bool = False) -> Version:
        """Makes `version` the one that serves, from the next request on.

        Raises:
            MedGANError: `unknown_model`, `unknown_version`; `conflict` for a version that was not published, unless
                `force`.
            ModelNotAvailable: its weights are damaged.
        """
        with self.lock(self._known(model)):
            chosen = self.get(model, version)
            if chosen.record.state != "published" and not force:
                reason = f"{version} is {chosen.record.state}. {chosen.record.reason}".strip()
                raise MedGANError("conflict", reason, "Use force to serve it all the same.")
            chosen.verify()
            self._point(model, version, CHOSEN)
        logger.warning("%s: %s serves now", model, version)
        return chosen

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Keeps other threads and processes from changing the versions of `model`."""
        folder = self.data / model
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=60, thread_local=True):
            yield

    @contextmanager
    def staging(self, model: str, run: str) -> Iterator[Path]:
        """A folder for a run to write a candidate into; removed afterwards if it was not added."""
        folder = self.data / model / f"{STAGING}{run}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, model: str, staged: Path, parent: str, run: str) -> Version:
        """Turns a staged folder into the next version, a candidate. The folder moves."""
        with self.lock(model):
            name = self._next_name(model)
            ModelSpec.load(staged).replace(version=name).save(staged)
            record = Record("finetuned", "candidate", _now(), parent, run, weights_checksum(staged))
            atomic_write_json(staged / RECORD, dataclasses.asdict(record))
            target = self.data / model / name
            staged.rename(target)
        return self._read(model, name, target)

    def judge(
        self,
        candidate: Version,
        promoted: bool,
        reason: str,
        checks: list[dict[str, Any]],
        before: Callable[[], None] = lambda: None,
    ) -> Version:
        """Records the gate's verdict; a promoted candidate serves, if the version it was compared with still does.

        Args:
            candidate: what was judged.
            promoted: the verdict.
            reason: in plain words.
            checks: the comparisons behind it.
            before: called under the lock; what it raises leaves everything as it was (a run that was cancelled).

        Returns:
            The candidate with its new record: refused after all if another version was chosen in the meantime.
        """
        with self.lock(candidate.model):
            before()
            if promoted and self.current(candidate.model).name != candidate.record.parent:
                promoted, reason = False, STALE
            state = "published" if promoted else "refused"
            record = dataclasses.replace(candidate.record, state=state, reason=reason, checks=checks)
            atomic_write_json(candidate.path / RECORD, dataclasses.asdict(record))
            if promoted:
                self._point(candidate.model, candidate.name, reason)
        return dataclasses.replace(candidate, record=record)

    def seal(self, model: str, version: str) -> Version:
        """Records the checksum of a shipped version, so that damage to it is noticed; for those who ship a model."""
        found = self.get(model, version)
        record = dataclasses.replace(found.record, checksum=weights_checksum(found.path))
        atomic_write_json(found.path / RECORD, dataclasses.asdict(record))
        return dataclasses.replace(found, record=record)

    def remove_unfinished(self, model: str) -> None:
        """Removes what processes that died left behind. Call it under the model's lock."""
        for folder in (self.data / model).glob(f"{STAGING}*"):
            shutil.rmtree(folder, ignore_errors=True)
        remove_unfinished(self.data / model)

    def _known(self, model: str) -> str:
        if not re.fullmatch(r"[\w-]+", model) or not self._folders(model):
            raise MedGANError(
                "unknown_model", f"There is no model {model[:80]!r}.", f"Models: {choices(self.models())}."
            )
        return model

    def _folders(self, model: str) -> dict[str, Path]:
        roots = [root / model for root in (self.shipped, self.data) if (root / model).is_dir()]
        return {p.name: p for root in roots for p in root.iterdir() if p.is_dir() and _VERSION.fullmatch(p.name)}

    def _newest_shipped(self, model: str) -> Version:
        shipped = [v for v in self.versions(model) if v.path.is_relative_to(self.shipped)]
        if not shipped:
            raise ModelNotAvailable(f"No version of {model} has been chosen to serve.")
        return shipped[-1]

    def _next_name(self, model: str) -> str:
        return f"v{max(map(_number, self._folders(model)), default=0) + 1:04d}"

    def _point(self, model: str, version: str, reason: str) -> None:
        chosen = {"version": version, "since": _now(), "reason": reason}
        atomic_write_json(self.data / model / CURRENT, chosen)

    def _read(self, model: str, name: str, path: Path) -> Version:
        try:
            record = Record(**read_json(path / RECORD))
            if record.state not in STATES:
                raise ValueError(record.state)
            return Version(model, name, path, record)
        except FileNotFoundError:
            return Version(model, name, path, self._unrecorded(path))
        except (OSError, ValueError, TypeError):
            return Version(model, name, path, Record("finetuned", "refused", reason=f"Its {RECORD} is damaged."))

    def _unrecorded(self, path: Path) -> Record:
        """A shipped version may come without a record; one made here never does."""
        if path.is_relative_to(self.shipped):
            return Record()
        return Record("finetuned", "refused", reason=f"Its {RECORD} is missing.")


@lru_cache(maxsize=64)
def _spec_found(path: Path, _changed: int) -> ModelSpec:
    return ModelSpec.load(path)


@lru_cache(maxsize=64)
def _checksum_found(path: Path, _changed: int) -> str:
    return weights_checksum(path)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(version: str) -> int:
    return int(version[1:])

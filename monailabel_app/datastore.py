"""The studies and their labels: MONAI Label's local datastore made safe against crashes, writers and bad names.

Every change is a transaction: lock (threads and processes), read what is on disk, change, write atomically. Files
appear complete, by rename. What a label replaces is kept in the data folder.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag

from monailabel_app.errors import MedGANError
from monailabel_app.names import check_lookup, check_new, is_lookup
from monailabel_app.synthetic import KEY, mark_of
from trainers.files import atomic_path, atomic_write_json

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
MISSING: Stamp = (0, 0, 0)
PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
FINAL = DefaultLabelTag.FINAL.value
VERDICTS = "verdicts"  # in what is known of a study: model name to `normal` or `abnormal`


class StudyDatastore(LocalDatastore):
    """A folder of images, its labels, and what is known of each.

    Args:
        studies: the folder. backups: where replaced labels and a damaged index are kept.
    """

    def __init__(self, studies: Path, backups: Path) -> None:
        self._backups = Path(backups)
        self._threads = threading.RLock()
        self._processes = FileLock(Path(studies) / ".lock", timeout=60)
        self._depth = 0
        self._seen: tuple[Stamp, ...] = ()
        self._index_stamp: Stamp = MISSING
        self._left_out: set[str] = set()
        self._backups.mkdir(parents=True, exist_ok=True)
        with self._processes:
            super().__init__(str(studies), extensions=PATTERNS, auto_reload=False)
        self._seen = self._stamps()

    # Reading: always what is on disk now.

    def list_images(self) -> list[str]:
        """Ids of all studies."""
        with self._threads:
            self._renew()
            return sorted(self._datastore.objects)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the studies that have a label with `label_tag`, by default `final`."""
        tag = label_tag or FINAL
        with self._threads:
            return [name for name in self.list_images() if tag in self._datastore.objects[name].labels]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the studies that have no label with `label_tag`, by default `final`."""
        with self._threads:
            labelled = set(self.get_labeled_images(label_tag))
            return [name for name in self.list_images() if name not in labelled]

    def image_path(self, image: str) -> Path:
        """The file of a study. Raises MedGANError `bad_name` or `unknown_image`."""
        return Path(self._datastore.image_path()) / self._filename(image, self._object(image).image.ext)

    def label_path(self, image: str, tag: str) -> Path:
        """The file of a label. Raises MedGANError `bad_name`, `unknown_image` or `unknown_label`."""
        return Path(self._datastore.label_path(tag)) / self._filename(image, self._label(image, tag).ext)

    def get_image_uri(self, image_id: str) -> str:
        """As `image_path`, for MONAI Label."""
        return str(self.image_path(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """As `label_path`, for MONAI Label."""
        return str(self.label_path(label_id, label_tag))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a study; no path."""
        return dict(self._object(image_id).image.info)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label."""
        return dict(self._label(label_id, label_tag).info)

    def synthetic_images(self) -> list[str]:
        """Ids of the studies that no scanner has seen."""
        with self._threads:
            return [name for name in self.list_images() if KEY in self._datastore.objects[name].image.info]

    def verdicts(self, model: str) -> dict[str, str]:
        """`normal` or `abnormal` for each study that was marked for a model."""
        with self._threads:
            known = {name: self.get_image_info(name).get(VERDICTS, {}).get(model) for name in self.list_images()}
        return {name: verdict for name, verdict in known.items() if verdict}

    def status(self) -> dict[str, Any]:
        """How many acquired studies and labels of them there are and, apart, how many synthetic studies."""
        with self._threads:
            made = set(self.synthetic_images())
            acquired = [study for name, study in self._datastore.objects.items() if name not in made]
            tags = Counter(tag for study in acquired for tag in study.labels)
            labelled = len(made.intersection(self.get_labeled_images()))
        synthetic = {"total": len(made), "completed": labelled}
        return {"total": len(acquired), "completed": tags[FINAL], "label_tags": dict(tags), KEY: synthetic}

    def json(self) -> dict[str, Any]:
        """The whole index; no path on the server."""
        with self._threads:
            self._renew()
            index: dict[str, Any] = super().json()
            return index

    def pairs(self) -> list[dict[str, Any]]:
        """Labelled studies as `{"image", "label"}` relative to the studies' folder; some have `"synthetic": true`."""
        made = set(self.synthetic_images())
        return [{**self._pair(name), **({KEY: True} if name in made else {})} for name in self.get_labeled_images()]

    def checksum(self, image: str) -> str:
        """`SHA256:…` of a study's file, remembered while the file is the same."""
        path = self.image_path(image)
        stat = path.stat()
        stamp = f"{stat.st_size}-{stat.st_mtime_ns}"
        known = self._object(image).image.info
        if known.get("checksum_of") != stamp:
            self.update_image_info(image, {"checksum": f"SHA256:{_sha256(path)}", "checksum_of": stamp})
        return str(self._object(image).image.info["checksum"])

    # Changing.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keeps every other writer out until the body is done; sees the newest state. Can be nested."""
        with self._threads, self._processes:
            self._renew()
            self._depth += 1
            try:
                yield
            except MedGANError:  # raised before anything is changed
                raise
            except BaseException:
                self._forget()
                raise
            finally:
                self._depth -= 1

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Stores a copy of a file as a new study, known as synthetic if its header says so.

        Raises:
            MedGANError: `bad_name`, or `conflict` if the id is taken.
        """
        default, ext = self._to_id(Path(image_filename).name)
        name = check_new("study id", image_id or default)
        target = Path(self._datastore.image_path()) / self._filename(name, ext)
        with self.transaction():
            if name in self._datastore.objects or target.exists():
                raise MedGANError("conflict", f"There is already a study {name!r}.", "Choose another id.")
            _place(Path(image_filename), target)
            told = {**_mark_info(target), **(image_info or {})}
            info = {**told, "ts": int(time.time()), "name": self._filename(name, ext)}
            self._datastore.objects[name] = ImageLabelModel(image=DataModel(info=info, ext=ext))
            self._update_datastore_file()
        return name

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Stores a copy of a file as a study's label. The label that it replaces is kept as a backup."""
        check_new("label tag", label_tag)
        _, ext = self._to_id(Path(label_filename).name)
        with self.transaction():
            study = self._object(image_id)
            folder = Path(self._datastore.label_path(label_tag))
            target = folder / self._filename(image_id, ext)
            earlier = study.labels.get(label_tag)
            self._back_up(image_id, label_tag)
            _place(Path(label_filename), target)
            if earlier and earlier.ext != ext:
                (folder / self._filename(image_id, earlier.ext)).unlink(missing_ok=True)
            info = {**(label_info or {}), "ts": int(time.time()), "name": target.name}
            study.labels[label_tag] = DataModel(info=info, ext=ext)
            self._update_datastore_file()
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Removes a study and its labels; the labels stay as backups."""
        with self.transaction():
            path = self.image_path(image_id)
            for tag in list(self._object(image_id).labels):
                self.remove_label(image_id, tag)
            path.unlink(missing_ok=True)
            self._datastore.objects.pop(image_id, None)
            self._update_datastore_file()

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Removes a label; it stays as a backup."""
        with self.transaction():
            path = self.label_path(label_id, label_tag)
            self._back_up(label_id, label_tag)
            path.unlink(missing_ok=True)
            self._object(label_id).labels.pop(label_tag, None)
            self._update_datastore_file()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Adds to what is known of a study."""
        with self.transaction():
            self._object(image_id).image.info.update(info)
            self._update_datastore_file()

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Adds to what is known of a label."""
        with self.transaction():
            self._label(label_id, label_tag).info.update(info)
            self._update_datastore_file()

    # What LocalDatastore calls.

    def _add_non_existing_images(self) -> int:
        """Takes in files that are new in the folder; one whose header says that it is synthetic is known as such."""
        self._init_from_datastore_file()
        known = set(self._datastore.objects)
        added: int = super()._add_non_existing_images()
        for name in set(self._datastore.objects) - known:
            data = self._datastore.objects[name].image
            data.info |= _mark_info(Path(self._datastore.image_path()) / self._filename(name, data.ext))
        return added

    def _to_id(self, file: str) -> tuple[str, str]:
        ext = next((p[1:] for p in PATTERNS if fnmatch.fnmatch(file.lower(), p)), Path(file).suffix)
        return (file[: -len(ext)], file[-len(ext) :]) if ext else (file, "")

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        """Images in a folder, one for each id; names with a leading dot are files that are being written."""
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
        found: dict[str, str] = {}
        for name in (n for pattern in PATTERNS for n in names if fnmatch.fnmatch(n.lower(), pattern)):
            study, _ = self._to_id(name)
            if not is_lookup(study):
                self._leave_out(name, "its name cannot be a study's; rename it")
            elif found.setdefault(study, name) != name:
                self._leave_out(name, f"{found[study]} beside it has the same id; rename or remove one")
        return {name: name for name in found.values()}

    def _leave_out(self, name: str, reason: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            logger.warning("The file %s is left out: %s.", ascii(name), reason)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Loads the index; one that is damaged is set aside and made again from the files."""
        path = Path(self._datastore_config_path)
        stamp = _stamp(path)
        if stamp in (MISSING, self._index_stamp):
            return
        try:
            loaded = LocalDatastoreModel.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError:
            kept = self._backups / f"{path.stem}-{time.time_ns()}.damaged"
            path.replace(kept)
            logger.error("The index of the studies was damaged. It is made again; the damaged one is %s.", kept.name)
            return
        loaded.base_path = self._datastore_path
        self._datastore, self._index_stamp = loaded, stamp

    def _update_datastore_file(self, lock: bool = True) -> None:
        path = Path(self._datastore_config_path)
        atomic_write_json(path, json.loads(json.dumps(self._datastore.model_dump(exclude={"base_path"}), default=str)))
        self._index_stamp = _stamp(path)
        stamps = self._stamps()
        self._seen = stamps if self._knows_all() else ()

    # Helpers.

    def _pair(self, image: str) -> dict[str, str]:
        files = {"image": self.image_path(image), "label": self.label_path(image, FINAL)}
        return {key: str(path.relative_to(self._datastore_path)) for key, path in files.items()}

    def _knows_all(self) -> bool:
        """False if a study was added or removed by others while the index was being changed."""
        present = self._list_files(self._datastore.image_path(), PATTERNS)
        return {self._to_id(name)[0] for name in present} == set(self._datastore.objects)

    def _forget(self) -> None:
        """Drops what is in memory, which a change that failed may have spoilt; the next access reads the disk."""
        self._datastore = self._datastore.model_copy(update={"objects": {}})
        self._index_stamp, self._seen = MISSING, ()

    def _object(self, image: str) -> ImageLabelModel:
        with self._threads:
            self._renew()
            study = self._datastore.objects.get(check_lookup("study id", image))
        if study is None:
            hint = "GET /datastore/?output=all lists the studies."
            raise MedGANError("unknown_image", f"There is no study {image[:80]!r}.", hint)
        return study

    def _label(self, image: str, tag: str) -> DataModel:
        label = self._object(image).labels.get(check_new("label tag", tag))
        if label is None:
            raise MedGANError("unknown_label", f"Study {image!r} has no label {tag!r}.")
        return label

    def _renew(self) -> None:
        """Takes in files and index entries that others added, if a folder or the index has changed."""
        stamps = self._stamps()
        if self._depth or self._seen == stamps:
            return
        with self._processes:
            self._seen = ()
            self._reconcile_datastore()
            self._seen = self._seen or stamps

    def _stamps(self) -> tuple[Stamp, ...]:
        """Changes whenever a file is added or removed or the index is written."""
        labels = Path(self._datastore.label_path(None))
        folders = [Path(self._datastore.image_path()), labels, *sorted(p for p in labels.glob("*") if p.is_dir())]
        return tuple(map(_stamp, [Path(self._datastore_config_path), *folders]))

    def _back_up(self, image: str, tag: str) -> None:
        label = self._object(image).labels.get(tag)
        if label is None:
            return
        source = Path(self._datastore.label_path(tag)) / self._filename(image, label.ext)
        if source.exists():
            folder = self._backups / "labels" / tag / image
            _place(source, folder / f"{time.time_ns()}{label.ext}")


def _stamp(path: Path) -> Stamp:
    """The inode is part of it: a file replaced twice within one tick of the clock has the same time."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return MISSING
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _mark_info(image: Path) -> dict[str, Any]:
    mark = mark_of(image)
    return {} if mark is None else {KEY: mark.info()}


def _place(source: Path, target: Path) -> None:
    """Copies a file so that it appears complete."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

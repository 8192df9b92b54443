"""The studies and their labels, and what is known of each.

Every change of a label is an entry of its history, in the data folder: nothing is overwritten.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.datastore import DefaultLabelTag

from monailabel_app import history
from monailabel_app.errors import MedGANError
from monailabel_app.folder import StudyFolder, file_stamp
from monailabel_app.history import Entry, LabelHistory, displaced, sha256, write_through
from monailabel_app.index import Stamp
from monailabel_app.names import check_lookup, check_new
from monailabel_app.synthetic import KEY, mark_info
from trainers.data.volumes import Limits, check_file, read_label
from trainers.files import atomic_path

logger = logging.getLogger(__name__)

FINAL = DefaultLabelTag.FINAL.value
VERDICTS = "verdicts"  # in what is known of a study: model name to `normal` or `abnormal`
SUBMITTED = "submitted"  # in what is known of a label: when it was, in seconds since 1970


class StudyDatastore(StudyFolder):
    """A folder of images, its labels, and what is known of each.

    Args:
        studies: the folder. backups: where the history of labels and the database are kept.
    """

    def __init__(self, studies: Path, backups: Path) -> None:
        self._history = LabelHistory(Path(backups))
        super().__init__(studies, backups)

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

    def image_stamp(self, image: str) -> Stamp:
        """Changes when another file takes the place of a study's. Raises as `image_path`; MISSING if there is none."""
        return file_stamp(self.image_path(image))

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

    def acquired(self) -> dict[str, dict[str, Any]]:
        """What is known of each acquired study."""
        with self._threads:
            infos = {name: self._datastore.objects[name].image.info for name in self.list_images()}
        return {name: dict(info) for name, info in infos.items() if KEY not in info}

    def submissions(self) -> dict[str, dict[str, Any]]:
        """What is known of the final labels of acquired studies, by study."""
        with self._threads:
            made = set(self.synthetic_images())
            labelled = [name for name in self.get_labeled_images() if name not in made]
            return {name: dict(self._datastore.objects[name].labels[FINAL].info) for name in labelled}

    def verdicts(self, model: str) -> dict[str, str]:
        """`normal` or `abnormal` for each study that was marked for a model."""
        with self._threads:
            infos = {name: self._datastore.objects[name].image.info for name in self.list_images()}
            known = {name: info.get(VERDICTS, {}).get(model) for name, info in infos.items()}
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
        with self._threads:
            studies = {name: self._datastore.objects[name] for name in self.get_labeled_images()}
            made = {name for name, study in studies.items() if KEY in study.image.info}
            return [{**self._pair(name), **({KEY: True} if name in made else {})} for name in studies]

    def checksum(self, image: str) -> str:
        """`SHA256:…` of a study's file, remembered while the file is the same."""
        path = self.image_path(image)
        stat = path.stat()
        stamp = f"{stat.st_size}-{stat.st_mtime_ns}"
        known = self._object(image).image.info
        if known.get("checksum_of") != stamp:
            self.update_image_info(image, {"checksum": f"SHA256:{sha256(path)}", "checksum_of": stamp})
        return str(self._object(image).image.info["checksum"])

    # Changing.

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Stores a copy of a file as a new study, known as synthetic if its header says so.

        Labels and history that an earlier study of this id left are another patient's, perhaps: they are set aside.

        Raises:
            MedGANError: `bad_name`, or `conflict` if the id is taken.
        """
        default, ext = self._to_id(Path(image_filename).name)
        name = check_new("study id", image_id or default)
        target = Path(self._datastore.image_path()) / self._filename(name, ext)
        with self.transaction():
            if name in self._datastore.objects or target.exists():
                raise MedGANError("conflict", f"There is already a study {name!r}.", "Choose another id.")
            self._history.set_aside(name, self._left_labels(name))
            with atomic_path(target) as temporary:
                write_through(Path(image_filename), temporary)
                told = {**mark_info(temporary), **(image_info or {})}
                info = {**told, "ts": int(time.time()), "name": self._filename(name, ext)}
                self._datastore.objects[name] = ImageLabelModel(image=DataModel(info=info, ext=ext))
                self._save(name)
        return name

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        author: str = "",
        voxels: Mapping[str, int] | None = None,
    ) -> str:
        """Stores a copy of a file as a study's label; what it replaces stays in the history.

        Args:
            image_id: the study.
            label_filename: the file.
            label_tag: the label's tag.
            label_info: what is known of it.
            author: who made it.
            voxels: how many have each value, if that was counted.
        """
        check_new("label tag", label_tag)
        _, ext = self._to_id(Path(label_filename).name)
        moment = time.time()
        info = {**(label_info or {}), "ts": int(moment), SUBMITTED: moment, "name": self._filename(image_id, ext)}
        with self.transaction():
            number = self._next_entry(image_id, label_tag)
            entry = Entry(image_id, label_tag, number, author=author, ext=ext, voxels=voxels or {}, info=info)
            self._change(entry, Path(label_filename))
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Removes a study and its labels; their history is set aside."""
        with self.transaction():
            path = self.image_path(image_id)
            for tag in list(self._object(image_id).labels):
                self.remove_label(image_id, tag)
            self._history.set_aside(image_id)
            with displaced(path):
                self._datastore.objects.pop(image_id, None)
                self._save(image_id)

    def remove_label(self, label_id: str, label_tag: str, author: str = "") -> None:
        """Removes a label; it stays in the history."""
        with self.transaction():
            self._label(label_id, label_tag)
            number = self._next_entry(label_id, label_tag)
            self._change(Entry(label_id, label_tag, number, history.REMOVED, author), None)

    def label_history(self, image: str, tag: str) -> list[Entry]:
        """Every change of a label, oldest first. Raises MedGANError `unknown_label` if there never was one."""
        self._object(image)
        check_new("label tag", tag)
        with self.transaction():
            self._take_in(image, tag)
            entries = self._history.entries(image, tag)
        if not entries:
            raise MedGANError("unknown_label", f"Study {image!r} never had a label {tag!r}.")
        return entries

    def label_entry_path(self, image: str, tag: str, number: int) -> Path:
        """The file of an entry of the history. Raises MedGANError `unknown_entry`, and as `label_history`."""
        return self._history.file(history.pick(self.label_history(image, tag), number))

    def restore_label(self, image: str, tag: str, number: int, author: str = "") -> list[Entry]:
        """Makes an earlier label the label again, if it is not. Returns the history; raises as `label_entry_path`."""
        with self.transaction():
            entries = self.label_history(image, tag)
            chosen = history.pick(entries, number)
            if history.current(entries) != number:
                self._return_to(chosen, Entry(image, tag, len(entries) + 1, history.RESTORED, author))
            return self.label_history(image, tag)

    def undo_label(self, image: str, tag: str, author: str = "") -> list[Entry]:
        """Takes back the last change of a label. Returns the history.

        Raises:
            MedGANError: `conflict`, if there is nothing to take back.
            VolumeError: the earlier label does not fit the image that is here now.
        """
        with self.transaction():
            entries = self.label_history(image, tag)
            undone, before = history.step_back(entries)
            entry = Entry(image, tag, len(entries) + 1, history.REMOVED, author, undoes=undone.number)
            if before and before.ext:
                self._return_to(before, replace(entry, action=history.RESTORED))
            else:
                self._change(entry, None)
            return self.label_history(image, tag)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Adds to what is known of a study."""
        with self.transaction():
            self._object(image_id).image.info.update(info)
            self._save(image_id)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Adds to what is known of a label."""
        with self.transaction():
            self._label(label_id, label_tag).info.update(info)
            self._save(label_id)

    # Helpers.

    def _pair(self, image: str) -> dict[str, str]:
        study = self._datastore.objects[image]
        folders = {"image": self._datastore.image_path(), "label": self._datastore.label_path(FINAL)}
        suffixes = {"image": study.image.ext, "label": study.labels[FINAL].ext}
        files = {key: Path(folder) / self._filename(image, suffixes[key]) for key, folder in folders.items()}
        return {key: str(path.relative_to(self._datastore_path)) for key, path in files.items()}

    def _left_labels(self, image: str) -> list[Path]:
        """Files in the folders of labels that are those of an id."""
        files = Path(self._datastore.label_path(None)).glob("*/*")
        return [p for p in files if p.is_file() and not p.name.startswith(".") and self._to_id(p.name)[0] == image]

    def _part_from(self, gone: Iterable[str]) -> None:
        for image in gone:
            self._history.set_aside(image)

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

    # Labels and their history.

    def _next_entry(self, image: str, tag: str) -> int:
        """The number of the next entry, after what others did to the label has been taken in."""
        self._object(image)
        self._take_in(image, tag)
        return len(self._history.entries(image, tag)) + 1

    def _take_in(self, image: str, tag: str) -> None:
        """Makes a label that others put into the folder, or removed from it, an entry."""
        label, file = self._object(image).labels.get(tag), self._label_file(image, tag)
        entries = self._history.entries(image, tag)
        known = entries[-1].checksum if entries else ""
        entry = Entry(image, tag, len(entries) + 1)
        if label and file and sha256(file) != known:
            when = history.iso_time(file.stat().st_mtime)
            self._history.record(replace(entry, action=history.FOUND, time=when, ext=label.ext, info=label.info), file)
        elif known and not file:
            self._history.record(replace(entry, action=history.REMOVED), None)

    def _told_of_label(self, study: str, tag: str) -> dict[str, Any]:
        """What the history knows of the label, if its newest entry is of this file."""
        try:
            entries, file = self._history.entries(study, tag), self._label_file(study, tag)
            same = entries and file and entries[-1].checksum == sha256(file)
            return dict(entries[-1].info) if same else {}
        except (OSError, ValueError, TypeError) as error:
            logger.error("A history of a label cannot be read: %s", error)
            return {}

    def _return_to(self, source: Entry, entry: Entry) -> None:
        """Makes the label what it was after `source`. Raises VolumeError if it does not fit the image."""
        file = self._history.file(source)
        read_label(file, like=check_file(self.image_path(entry.study), Limits(pictures=True)))
        entry = replace(entry, ext=source.ext, voxels=source.voxels, info=source.info, source=source.number)
        self._change(entry, file)

    def _change(self, entry: Entry, file: Path | None) -> None:
        """Makes the label what `entry` says, in steps that are done again after a crash."""
        pending, before = self._history.begin(entry, file), self._index.changes
        try:
            self._settle(pending)
        except BaseException:
            if self._index.changes == before:
                self._history.cancel(pending)
            raise

    def _settle(self, pending: Path) -> None:
        entry = self._history.announced(pending)
        if entry.study in self._datastore.objects:
            self._place(entry) if entry.ext else self._displace(entry)
        self._history.finish(pending)

    def _place(self, entry: Entry) -> None:
        """Whatever may fail for want of room comes before the database has the change, which decides."""
        earlier = self._label_file(entry.study, entry.tag)
        target = Path(self._datastore.label_path(entry.tag)) / self._filename(entry.study, entry.ext)
        with atomic_path(target) as temporary:
            write_through(self._history.file(entry), temporary)
            label = DataModel(info=dict(entry.info), ext=entry.ext)
            self._datastore.objects[entry.study].labels[entry.tag] = label
            self._save(entry.study)
        if earlier and earlier != target:
            earlier.unlink(missing_ok=True)

    def _displace(self, entry: Entry) -> None:
        with displaced(self._label_file(entry.study, entry.tag)):
            self._datastore.objects[entry.study].labels.pop(entry.tag, None)
            self._save(entry.study)

    def _is_unfinished(self) -> bool:
        return bool(self._history.unfinished())

    def _finish_changes(self) -> None:
        for pending in self._history.unfinished():
            try:
                self._settle(pending)
            except (OSError, ValueError, TypeError) as error:
                logger.error("A change of a label that was interrupted cannot be finished yet: %s", error)

    def _label_file(self, image: str, tag: str) -> Path | None:
        """The file of a label as the index knows it; None if there is none."""
        label = self._datastore.objects[image].labels.get(tag)
        path = Path(self._datastore.label_path(tag)) / self._filename(image, label.ext) if label else None
        return path if path and path.exists() else None

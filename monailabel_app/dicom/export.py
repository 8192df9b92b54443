"""Results on their way out: a label or an image as DICOM, named or de-identified, to the archive or into a zip."""

from __future__ import annotations

import re
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pydicom

from monailabel_app import synthetic
from monailabel_app.datastore import FINAL, StudyDatastore
from monailabel_app.dicom import deidentify, derived, provenance, seg
from monailabel_app.dicom.identity import identity_of, nobody
from monailabel_app.dicom.maker import UNKNOWN, Maker
from monailabel_app.dicom.provenance import Source
from monailabel_app.dicom.series import patients, secret_of
from monailabel_app.dicom.web import Archive
from monailabel_app.errors import MedGANError
from monailabel_app.infers.base import any_spec
from monailabel_app.registry import Registry
from trainers.data.volumes import Limits, read_label, read_metadata, read_volume
from trainers.monitor import Monitor
from trainers.spec import ModelNotAvailable, ModelSpec

OLD = (1980, 1, 1, 0, 0, 0)  # the time of every file in a zip: none is told


@dataclass(frozen=True)
class Options:
    """What is asked of an export.

    Attributes:
        deidentify: whether the patient is to be hidden.
        burned_in: whether somebody has looked and found no text in the voxels.
    """

    deidentify: bool = True
    burned_in: bool = False


@dataclass(frozen=True)
class Exporter:
    """Exports results of studies.

    Attributes:
        store: the studies. data: the server's data folder. folder: for files on their way.
        registry: the models. archive: where results can be stored; None if there is none.
        monitor: hears how far an export is, and can cancel it while its files are made.
    """

    store: StudyDatastore
    data: Path
    folder: Path
    registry: Registry
    archive: Archive | None = None
    monitor: Monitor = field(default_factory=Monitor)

    @contextmanager
    def label(self, image: str, tag: str, options: Options) -> Iterator[list[Path]]:
        """Yields the label of a study as DICOM-SEG, removed afterwards.

        Raises:
            MedGANError: `unknown_image`, `unknown_label`, `no_source`, `no_identity`, `may_identify`; and as
                `segmentation`.
            Cancelled: by the monitor; likewise for `image`.
        """
        self.store.image_path(image)
        source = self._source(image, options)
        label = read_label(self.store.label_path(image, tag))
        self.monitor.check()
        maker = self._label_maker(self.store.get_label_info(image, tag), tag == FINAL, options)
        made = seg.segmentation(source, self._who(source, options), label, maker)
        self.monitor.check()
        with self._scratch() as folder:
            pydicom.dcmwrite(folder / "00001.dcm", made, write_like_original=False)
            yield self._hidden([folder / "00001.dcm"], source, options)

    @contextmanager
    def image(self, image: str, file: Path, told: Mapping[str, Any], options: Options) -> Iterator[list[Path]]:
        """Yields an image that a model made of a study as a derived series, removed afterwards.

        Args:
            image: the study.
            file: the result.
            told: `model`, `version` and `modality`, where the file's header does not tell them.
            options: what is asked.

        Raises:
            MedGANError: `bad_request`, if it is not told which model made it; `cannot_process`, for an image that shows
                no patient; as `label`.
            VolumeError: the file is no image.
        """
        self.store.image_path(image)
        source, volume = self._source(image, options), read_volume(file, Limits(pictures=True))
        maker, modality = self._image_maker(file, told, source)
        with self._scratch() as folder:
            who = self._who(source, options)
            files = derived.write_series(folder, source, who, volume, maker, modality, self.monitor)
            yield self._hidden(files, source, options)

    def send(self, files: Sequence[Path]) -> dict[str, Any]:
        """Stores files in the archive, all of them: a series that is there in part would be worse than one too many.

        Returns:
            What a client is told.

        Raises:
            MedGANError: e.g. `no_archive`.
        """
        if self.archive is None:
            hint = "Start with --dicomweb URL, or ask for download=true."
            raise MedGANError("no_archive", "No archive is known to store it in.", hint)
        self.archive.store(files)
        return described(files)

    def _source(self, image: str, options: Options) -> Source:
        source = provenance.load(self.data, image)
        if options.deidentify and not options.burned_in:
            deidentify.check_allowed(source)
        return source

    def _who(self, source: Source, options: Options) -> pydicom.Dataset:
        """Nobody's name is even looked up for what is de-identified."""
        return nobody() if options.deidentify else identity_of(source, Path(self.store._datastore_path), self.archive)

    def _hidden(self, files: list[Path], source: Source, options: Options) -> list[Path]:
        if options.deidentify:
            patient, remap = patients(self.data)[source.name], deidentify.keyed(secret_of(self.data))
            for file in files:
                self.monitor.check()
                deidentify.deidentify_file(file, patient, remap)
        return files

    def _label_maker(self, info: Mapping[str, Any], corrected: bool, options: Options) -> Maker:
        """What a client told in its own words is not taken over into what is de-identified."""
        model, version = str(info.get("model") or ""), _version(info.get("version"))
        spec = _spec(self.registry, model)
        if not spec and options.deidentify:
            return Maker(UNKNOWN if model else "", version, corrected)
        if not spec:
            return Maker(model, version, corrected, _named(info))
        return Maker(model, version, corrected, spec.labels, spec.colors, spec.body_part)

    def _image_maker(self, file: Path, told: Mapping[str, Any], source: Source) -> tuple[Maker, str]:
        """The model, and the modality of what it made."""
        header, mark = read_metadata(file), synthetic.mark_of(file)
        if is_invented(header):
            raise MedGANError("cannot_process", "A synthetic image shows no patient, so no study can have it.")
        model = str(told.get("model") or header.get("MedGAN.Model") or (mark.model if mark else ""))
        version = _version(told.get("version") or header.get("MedGAN.Version") or (mark.version if mark else ""))
        spec = _spec(self.registry, model)
        if not spec:
            raise MedGANError("bad_request", "It is not known which model made the image.", "Tell it: params model=…")
        modality = str(told.get("modality") or spec.preprocess.get("made") or source.modality)
        units = "" if spec.preprocess.get("measurement") == "fusion" or modality != "CT" else "HU"
        return replace(Maker(model, version), body_part=spec.body_part, units=units), modality

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)


def described(files: Sequence[Path]) -> dict[str, Any]:
    """UIDs of what was exported, as a client is told."""
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    told = {"study": first.StudyInstanceUID, "series": first.SeriesInstanceUID, "modality": first.Modality}
    told |= {"description": first.get("SeriesDescription", "")}
    shown = {key: str(value) for key, value in told.items()}
    return {**shown, "instances": len(files), "deidentified": first.get("PatientIdentityRemoved", "NO") == "YES"}


def pack(files: Sequence[Path], target: Path, monitor: Monitor | None = None) -> Path:
    """Puts the files into a zip that tells no time and no name; `monitor` can cancel it."""
    folder, heard = described(files)["modality"], monitor or Monitor()
    with zipfile.ZipFile(target, "w") as bundle:
        for file in files:
            heard.check()
            entry = zipfile.ZipInfo(f"{folder}/{file.name}", OLD)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with file.open("rb") as stream, bundle.open(entry, "w") as packed:
                while block := stream.read(1 << 20):
                    packed.write(block)
    return target


def is_invented(header: Mapping[str, str]) -> bool:
    """Whether an image's header says that it was made out of nothing."""
    told = str(header.get(synthetic.FIELD, "")).strip().lower() not in synthetic.NO
    return told or str(header.get(synthetic.NOTES, "")).startswith("MedGAN synthetic")


def _spec(registry: Registry, model: str) -> ModelSpec | None:
    """The description of a model; None if it is not here any more."""
    try:
        return any_spec(registry, model) if model in registry.models() else None
    except (MedGANError, ModelNotAvailable):
        return None


def _version(told: Any) -> str:
    """The name of a version; what cannot be one is not known."""
    return str(told) if re.fullmatch(r"v\d{4,}", str(told)) else ""


def _named(info: Mapping[str, Any]) -> dict[str, int]:
    """Names of label values that a client told with the label."""
    rows = info.get("label_info")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {str(r["name"]): int(r["idx"]) for r in rows if r.get("name") and str(r.get("idx", "")).isdecimal()}

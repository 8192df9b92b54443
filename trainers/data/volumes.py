"""Medical volumes from and to files, with everything checked that can be wrong with a file.

Arrays are indexed (x, y, z) as in nibabel; affines take voxel indices to RAS millimetres as in NIfTI and 3D Slicer.
nibabel and SimpleITK do the reading and writing; ITK's LPS coordinates never leave this file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from isal.igzip_lib import IsalError

from trainers.data import metaimage, nifti
from trainers.data.instances import damaged_instance
from trainers.data.slices import read_slices, series_fault
from trainers.files import atomic_path

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
DAMAGED: tuple[Any, ...] = (
    RuntimeError,
    OSError,
    EOFError,
    zlib.error,
    IsalError,
    ValueError,
    LookupError,
    OverflowError,
    *nifti.ERRORS,
)
META = (".mha", ".mhd")
FORMATS = {".nrrd": "NrrdImageIO", **dict.fromkeys(META, "MetaImageIO")}
"""ITK's reader by suffix: else it goes by content, and a name could lie, or finds none for a name in capitals."""
DEFLATE_LIMIT = 1032  # no deflate stream expands further (zlib's technical details, "maximum compression factor")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NOTES = "ITK_FileNotes"  # ITK's key for the one free text that a NIfTI header has, `descrip`
NOTES_LENGTH = 79


class VolumeError(ValueError):
    """A file or volume that cannot be used, with the reason and what to do about it.

    Attributes:
        code: `not_an_image`, `too_large`, `cannot_process`, `wrong_geometry`, `wrong_labels` or `needs_region`.
        message: what is wrong. hint: what to do.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code, self.message, self.hint = code, message, hint


@dataclass(frozen=True)
class Limits:
    """What a reader accepts."""

    max_voxels: int = 2**28  # 512 x 512 x 1024
    max_bytes: int = 2**31  # of the volume in memory, before conversion
    pictures: bool = False  # whether one slice, (x, y, 1), will do


class Grid(Protocol):
    """Anything with a shape and an affine."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4, voxel index to RAS mm."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without its voxels."""

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    dtype: str
    components: int
    bytes: int


@dataclass(frozen=True)
class Volume:
    """A 3D scalar volume.

    Attributes:
        array: voxels, (x, y, z).
        affine: 4 x 4, voxel index to RAS mm.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.array.shape

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Voxel size along each axis, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def like(self, array: npt.NDArray[Any]) -> Volume:
        """Returns `array` on this volume's grid. Raises ValueError if the shapes differ."""
        if array.shape != self.shape:
            raise ValueError(f"array {array.shape} is not on the grid {self.shape}")
        return Volume(array, self.affine)


def same_grid(a: Grid, b: Grid, tolerance_mm: float = 1e-2) -> bool:
    """Tells whether two grids have the same shape and all corners within `tolerance_mm`."""
    if tuple(a.shape) != tuple(b.shape):
        return False
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(a.shape) - 1
    return bool(np.abs(corners @ (a.affine - b.affine).T).max() <= tolerance_mm)


def check_file(path: Path | str, limits: Limits = Limits()) -> Header:
    """Reads and checks a volume's header alone; takes milliseconds however large the header claims the volume is.

    Raises:
        VolumeError: not an image, too large, not 3D, not scalar, a file too short for what its header claims, or slices
            that make up no volume.
    """
    path = Path(path)
    reader = _reader(path)
    header = _header(reader, path)
    _check_shape(header, limits)
    _check_size(header, limits)
    _check_length(header, path)
    _check_affine(header)
    if isinstance(reader, sitk.ImageSeriesReader) and (fault := series_fault(reader.GetFileNames())):
        raise VolumeError(
            "cannot_process", f"The DICOM series in {path.name} is no volume. {fault}", "Export it again."
        )
    return header


def read_volume(path: Path | str, limits: Limits = Limits()) -> Volume:
    """Reads a 3D scalar image from a file, or from a folder that holds one DICOM series.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd`, `.mha`, or a folder of DICOM slices.
        limits: what is too large.

    Returns:
        The volume with the file's own number type. Raises VolumeError if the file is not usable as an image.
    """
    check_file(path, limits)
    volume = _read(Path(path))
    if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
        bad = int((~np.isfinite(volume.array)).sum())
        raise VolumeError(
            "cannot_process",
            f"The image has {bad} voxels that are not a number or infinite.",
            "Export it again, or replace those voxels, before sending it.",
        )
    return volume


def read_label(path: Path | str, values: Iterable[int] | None = None, like: Grid | None = None) -> Volume:
    """Reads a label map.

    Args:
        path: the file.
        values: label values that are known, without the background 0; None takes any.
        like: the grid that the label must have.

    Returns:
        The label as an unsigned or signed integer volume.

    Raises:
        VolumeError: unreadable, on another grid, not integer, or with values that are not known.
    """
    header = check_file(path, Limits(pictures=True))
    if like is not None and not same_grid(header, like):
        raise VolumeError(
            "wrong_geometry",
            f"The label's grid {_grid_text(header)} is not the image's {_grid_text(like)}.",
            "Export the segmentation with the image as its reference geometry.",
        )
    volume = _read(Path(path))
    return Volume(_integer_labels(volume.array, values), volume.affine)


def write_volume(
    path: Path | str, volume: Volume, metadata: Mapping[str, str] | None = None, compress: bool | None = None
) -> None:
    """Writes a volume, all or nothing.

    Args:
        path: the suffix chooses the format: `.nii`, `.nii.gz`, `.nrrd`, `.mha`.
        volume: what to write; its number type is kept.
        metadata: text fields for the header, kept by `.nrrd` and `.mha`; NIfTI has a place for NOTES alone, cut to 79
            characters.
        compress: None compresses integers (label maps shrink a hundredfold) and leaves floats alone, which is fast; a
            `.nii.gz` file is gzip then all the same, with its voxels stored as they are.
    """
    if compress is None:
        compress = volume.array.dtype.kind in "iu"
    with atomic_path(path) as temporary:
        encode_volume(temporary, volume, metadata, compress)


def encode_volume(path: Path, volume: Volume, metadata: Mapping[str, str] | None, compress: bool) -> None:
    """Writes a volume as `write_volume` does, but in place and without waiting for the disk: for files on their way."""
    if path.name.lower().endswith(nifti.SUFFIXES) and volume.array.dtype.kind in "iuf":
        nifti.write(path, volume.array, volume.affine, (metadata or {}).get(NOTES, ""), compress)
    else:
        _write_itk(path, volume, metadata or {}, compress)


def _write_itk(path: Path, volume: Volume, metadata: Mapping[str, str], compress: bool) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(o) for o in lps[:3, 3]])
    image.SetDirection([float(d) for d in (lps[:3, :3] / spacing).ravel()])
    for key, value in metadata.items():
        image.SetMetaData(key, value[:NOTES_LENGTH] if key == NOTES else value)
    known = path.with_suffix(path.suffix.lower())  # to a suffix in capitals ITK writes nothing, and does not say
    sitk.WriteImage(image, str(known), useCompression=compress)
    known.replace(path)


def read_metadata(path: Path | str) -> dict[str, str]:
    """Reads the text fields of an image file's header. Raises VolumeError `not_an_image`."""
    reader: Any = _reader(Path(path))
    _read_information(reader, Path(path))
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys() if key.isprintable()}


def _reader(path: Path) -> sitk.ImageFileReader | sitk.ImageSeriesReader:
    if path.is_dir():
        return _series_reader(path)
    if not path.is_file():
        raise VolumeError("not_an_image", f"There is no file {path.name}.", "Check the name.")
    if path.suffix.lower() in META and (fault := metaimage.fault(path)):
        raise VolumeError("not_an_image", f"{path.name} is damaged: {fault}.", "Export and send it again.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(FORMATS.get(path.suffix.lower(), ""))
    reader.SetFileName(str(path))
    return reader


def _series_reader(folder: Path) -> sitk.ImageSeriesReader:
    if damaged_instance(folder):
        raise VolumeError("not_an_image", f"The folder {folder.name} holds a damaged DICOM file.", "Export it again.")
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = "no DICOM series" if not series else f"{len(series)} DICOM series"
        raise VolumeError("not_an_image", f"The folder {folder.name} holds {found}.", "Give a folder with one series.")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    return reader


def _header(reader: Any, path: Path) -> Header:
    """Header of what `reader` points to; a series is described by its first slice times the number of slices."""
    slices = reader.GetFileNames() if isinstance(reader, sitk.ImageSeriesReader) else ()
    if slices:
        reader = _reader(Path(slices[0]))
    _read_information(reader, path)
    size, spacing, origin = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    dimension = reader.GetDimension()
    shape = (*size[:2], len(slices)) if slices else tuple(size)
    pixel = reader.GetPixelIDValue()
    item = sitk.Image([1, 1], pixel, reader.GetNumberOfComponents() if "vector" in _type(pixel) else 0)
    affine = _affine(spacing, origin, reader.GetDirection()) if dimension == 3 else np.eye(4)
    components = reader.GetNumberOfComponents()
    total = int(np.prod([int(n) for n in shape], dtype=object)) * item.GetSizeOfPixelComponent() * components
    return Header(shape, affine, _type(pixel), components, total)


def _read_information(reader: Any, path: Path) -> None:
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(
            "not_an_image", f"{path.name} is not a readable medical image.", "Send NIfTI, NRRD, MetaImage or DICOM."
        ) from error


def _type(pixel: int) -> str:
    return str(sitk.GetPixelIDValueAsString(pixel))


def _affine(spacing: Any, origin: Any, direction: Any) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def _check_shape(header: Header, limits: Limits) -> None:
    shape = header.shape
    if len(shape) != 3 or header.components != 1:
        kind = f"{len(shape)}D" + (f" with {header.components} values a voxel" if header.components > 1 else "")
        raise VolumeError(
            "cannot_process", f"The image is {kind}; a 3D image with one value a voxel is needed.", "Send one volume."
        )
    if min(shape[:2] if limits.pictures else shape) < 2:
        raise VolumeError("cannot_process", f"The image has only {_shape_text(shape)} voxels.", "Send a 3D volume.")


def _check_size(header: Header, limits: Limits) -> None:
    voxels = int(np.prod([int(n) for n in header.shape], dtype=object))
    if voxels > limits.max_voxels or header.bytes > limits.max_bytes:
        raise VolumeError(
            "too_large",
            f"The header claims {_shape_text(header.shape)} voxels ({header.bytes / 2**20:.0f} MB); "
            f"the limit is {limits.max_voxels / 1e6:.0f} million voxels.",
            "Crop or resample the image.",
        )


def _check_affine(header: Header) -> None:
    if not np.isfinite(header.affine).all() or not np.linalg.det(header.affine):
        message = "The image's header does not tell where its voxels lie: position, direction or size is no number."
        raise VolumeError("cannot_process", message, "Export it again.")


def _check_length(header: Header, path: Path) -> None:
    """A file that cannot hold what its header claims is refused before anything is allocated."""
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in (".nhdr", ".mhd"):
        return
    factor = DEFLATE_LIMIT if suffix in (".gz", ".nrrd", ".mha") else 1
    if path.stat().st_size * factor < header.bytes:
        raise VolumeError(
            "not_an_image",
            f"{path.name} is too short for the {_shape_text(header.shape)} voxels that its header claims.",
            "It was probably cut off; send it again.",
        )


def _read(path: Path) -> Volume:
    try:
        return _read_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else _read_itk(path)
    except DAMAGED as error:
        raise VolumeError(
            "not_an_image", f"{path.name} is damaged: its voxels cannot be read.", "Export and send it again."
        ) from error


def _read_itk(path: Path) -> Volume:
    reader = _reader(path)
    image = read_slices(reader.GetFileNames()) if isinstance(reader, sitk.ImageSeriesReader) else reader.Execute()
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return Volume(array, _affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection()))


def _read_nifti(path: Path) -> Volume:
    """Voxels by nibabel: ITK turns NaN into 0 and reads a NIfTI file that was cut off as if the rest were 0."""
    array = nifti.read_array(path)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    header = _header(_reader(path), path)
    return Volume(native.reshape(header.shape), header.affine)  # a fourth axis of length 1 goes


def _integer_labels(array: npt.NDArray[Any], values: Iterable[int] | None) -> npt.NDArray[Any]:
    present = np.unique(array)
    if not np.isfinite(present).all() or (present != np.round(present)).any():
        raise VolumeError("wrong_labels", "The label has values that are not whole numbers.", "Send a label map.")
    unknown = [] if values is None else sorted({int(v) for v in present} - {0, *values})
    if unknown:
        known = ", ".join(map(str, sorted(values or ())))
        raise VolumeError("wrong_labels", f"Label values {unknown} are not known.", f"Known values: {known}.")
    if present.min() < 0 or present.max() > 65535:
        raise VolumeError("wrong_labels", "Label values must lie between 0 and 65535.", "Send a label map.")
    return array.astype(np.uint8 if present.max() < 256 else np.uint16)


def _shape_text(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _grid_text(grid: Grid) -> str:
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    return f"{_shape_text(grid.shape)} at {' x '.join(f'{s:.2f}' for s in spacing)} mm"

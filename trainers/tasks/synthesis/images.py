"""Images as a GAN sees them, in [-1, 1] on a window of fixed size, and the way back to volumes with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainers.data.sets import Entry, Sample
from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Monitor
from trainers.preprocess import CanonicalGrid, Window

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
LABELS = 256  # values that there can be


@dataclass(frozen=True)
class SynthesisPreprocess:
    """Settings, stored in a model's spec.

    Attributes:
        window: size of the images, voxels. spacing: mm; empty for pictures, which have none.
        clip: percentiles of each image that become -1 and 1, for images without units; empty takes `range`.
        range: intensities that become -1 and 1; those of made images.
        mirror: volumes go on mirrored beyond their edge; else their edge is repeated.
    """

    window: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    clip: tuple[float, ...] = ()
    range: tuple[float, float] = (0.0, 255.0)
    mirror: bool = False


@dataclass(frozen=True)
class Images:
    """Prepared images in memory.

    Attributes:
        ids: of their entries. array: (n, channel, *window) in [-1, 1].
        labels: (n, *window) class indices, 0 background, or None.
        targets: (n, categories): the class, the modality or both; None if the set tells neither.
    """

    ids: list[str]
    array: Floats
    labels: Labels | None = None
    targets: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, chosen: Sequence[int] | npt.NDArray[Any]) -> Images:
        """Some of them, by number."""
        index = np.asarray(chosen, int)
        pick = [None if a is None else a[index] for a in (self.labels, self.targets)]
        return Images([self.ids[i] for i in index], self.array[index], pick[0], pick[1])


def prepare(
    entries: Sequence[Entry],
    settings: SynthesisPreprocess,
    values: Sequence[int] = (),
    modalities: int = 0,
    monitor: Monitor = Monitor(),
) -> Images:
    """Reads and prepares entries.

    Args:
        entries: at least one.
        values: label values of the classes, in order; none leaves labels out.
        settings: how.
        modalities: if not 0, each of so many channels becomes an image of its own, told apart by its last target.
        monitor: may cancel between images.

    Raises:
        VolumeError: an image cannot be read, or has other dimensions or channels, or no label where one is needed.
    """
    images, labels = [], []
    for entry in entries:
        monitor.check()
        image, label = prepare_sample(entry.read(), settings, values, entry.id)
        images.append(image)
        labels.append(label)
    channels = {len(image) for image in images}
    if len(channels) > 1 or (modalities and channels != {modalities}):
        found = " and ".join(map(str, sorted(channels)))
        wanted = f"{modalities} are needed" if modalities else "all must have as many"
        raise VolumeError("cannot_process", f"There are images of {found} channels; {wanted}.")
    classes = [entry.target for entry in entries]
    prepared = Images(
        [entry.id for entry in entries],
        np.stack(images),
        np.stack([label for label in labels if label is not None]) if values else None,
        None if None in classes else np.array(classes, np.int64)[:, None],
    )
    return _by_modality(prepared, modalities) if modalities else prepared


def _by_modality(images: Images, modalities: int) -> Images:
    """Each channel as an image of its own, with its number as the last target."""
    count = len(images)
    number = np.tile(np.arange(modalities), count)[:, None]
    known = number if images.targets is None else np.hstack([images.targets.repeat(modalities, 0), number])
    return Images(
        [f"{name}/{m}" for name in images.ids for m in range(modalities)],
        images.array.reshape(count * modalities, 1, *images.array.shape[2:]),
        None if images.labels is None else images.labels.repeat(modalities, 0),
        known,
    )


def prepare_sample(
    sample: Sample, settings: SynthesisPreprocess, values: Sequence[int] = (), name: str = "image"
) -> tuple[Floats, Labels | None]:
    """One image (channel, *window) in [-1, 1], and its label as class indices if `values` are given."""
    if sample.image.ndim - 1 != len(settings.window):
        wanted, found = len(settings.window), sample.image.ndim - 1
        raise VolumeError("cannot_process", f"{name} is {found}D; the model makes {wanted}D images.")
    if values and sample.label is None:
        raise VolumeError("wrong_labels", f"{name} has no label map.", "Give labels/, or train without --masks.")
    if values and sample.label is not None and not 0 <= sample.label.min() <= sample.label.max() < LABELS:
        raise VolumeError("wrong_labels", f"{name} has label values outside 0 to {LABELS - 1}.", "Renumber them.")
    cut = _cut_volume if settings.spacing else _cut_picture
    image, label = cut(sample, settings, bool(values))
    scaled = np.stack([to_unit(channel, settings) for channel in image])
    if label is None:
        return scaled, None
    classes = np.zeros(LABELS, np.uint8)
    for index, value in enumerate(values):
        classes[value] = index + 1
    return scaled, classes[label]


def to_unit(channel: npt.NDArray[Any], settings: SynthesisPreprocess) -> Floats:
    """Intensities to [-1, 1]; a constant image becomes -1."""
    low, high = np.percentile(channel, settings.clip) if settings.clip else settings.range
    share = (channel - low) / max(float(high - low), 1e-9)
    return (2 * np.clip(share, 0, 1) - 1).astype(np.float32)


def to_intensity(image: Floats, settings: SynthesisPreprocess) -> npt.NDArray[Any]:
    """[-1, 1] to whole numbers in `settings.range`; uint8 if they fit, else int16."""
    low, high = settings.range
    values = np.round((np.clip(image, -1, 1) + 1) / 2 * (high - low) + low)
    return values.astype(np.uint8 if low >= 0 and high < 256 else np.int16)


def to_volume(image: npt.NDArray[Any], settings: SynthesisPreprocess, affine: npt.NDArray[np.float64] | None) -> Volume:
    """An array (*window) as a volume; a picture has one slice, seen as on a screen in an axial view.

    Args:
        image: (*window).
        settings: for the spacing.
        affine: where it lies; None centres it on the origin.
    """
    if image.ndim == 2:
        return Volume(image[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    if affine is None:
        affine = np.diag([*settings.spacing, 1.0])
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape) - 1) / 2)
    return Volume(image, affine)


def _cut_volume(
    sample: Sample, settings: SynthesisPreprocess, labelled: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """The window around the labelled organ, or around the image's middle, filled beyond the image."""
    first = Volume(sample.image[0], np.eye(4) if sample.affine is None else sample.affine)
    grid = CanonicalGrid(first, settings.spacing)
    middle = (np.array(grid.shape) - 1) / 2
    whole = None if sample.label is None else grid.extract_label(sample.label, grid.whole())
    if whole is not None and whole.any():
        middle = middle_of(whole > 0)
    window = Window.around(middle, settings.window)
    inside = grid.inside(window)
    channels = [_extend(grid.extract(channel, window), inside, settings.mirror) for channel in sample.image]
    label = grid.extract_label(sample.label, window) if labelled and sample.label is not None else None
    return np.stack(channels), label


def middle_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Middle of the bounding box of a mask that is not empty, voxels."""
    spots = np.argwhere(mask)
    return (spots.min(0) + spots.max(0)) / 2


def _extend(channel: Floats, inside: npt.NDArray[np.bool_], mirror: bool) -> Floats:
    """Fills voxels outside the image with their mirror images at its edge, or with the edge where there is none."""
    if inside.all() or not inside.any():
        return channel
    nearest = np.asarray(ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True))
    if not mirror:
        return channel[tuple(nearest)]
    limit = np.array(channel.shape).reshape(-1, *[1] * channel.ndim) - 1
    mirrored = np.clip(2 * nearest - np.indices(channel.shape), 0, limit)
    source = np.where(inside[tuple(mirrored)], mirrored, nearest)
    return channel[tuple(source)]


def _cut_picture(
    sample: Sample, settings: SynthesisPreprocess, labelled: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """The whole picture, resized to the window."""
    zoom = [w / n for w, n in zip(settings.window, sample.image.shape[1:], strict=True)]
    if all(z == 1 for z in zoom):
        return sample.image, sample.label if labelled else None
    smooth = [max(0.0, (1 / z - 1) / 2) for z in zoom]
    image = [
        ndimage.zoom(ndimage.gaussian_filter(c, smooth), zoom, order=1, grid_mode=True, mode="nearest")
        for c in sample.image
    ]
    label = (
        ndimage.zoom(sample.label, zoom, order=0, grid_mode=True, mode="nearest")
        if labelled and sample.label is not None
        else None
    )
    return np.stack(image), label

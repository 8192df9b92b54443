"""Reconstructing undersampled k-space, of a scanner or simulated from an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from trainers.data.kspace import KSpace
from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Monitor
from trainers.physics.kspace import contradiction
from trainers.tasks.reconstruction.infer import GAN_WARNING, Reconstructed, Reconstructor
from trainers.tasks.reconstruction.measurement import Undersampling

COILS = 8  # at once
SMALLEST = 8
NO_GRID = "The file does not tell its voxel size: the image has voxels of 1 mm at the origin."
NO_PLACE = "The voxel size is that of the file; the place and direction of the slices are not read from k-space."


def reconstruct_kspace(
    reconstructor: Reconstructor,
    measured: KSpace,
    strength: float = 0.0,
    affine: npt.NDArray[np.float64] | None = None,
    monitor: Monitor = Monitor(),
    views: bool = True,
) -> Reconstructed:
    """Reconstructs slices, coil by coil, and joins coils by the root of their sum of squares.

    Args:
        reconstructor: a model of undersampling.
        measured: by a scanner or simulated.
        strength: 0 takes the L1 weights, 1 the adversarial ones, between them a blend of both complex images; each of
            them has the measured lines, so the blend has them too.
        affine: of the image (x, y, slice), if it is known; else it has the voxel size that the file tells, and its
            origin in the middle.
        monitor: hears `progress`; may cancel.
        views: whether the safe image is the mean over mirrored views; much k-space is looked at once.

    Returns:
        The magnitude, without what was measured beside the image along the readout; `contradiction` is the largest
        |M (F x - y)| over the largest |y|.

    Raises:
        VolumeError: a model of another measurement, or slices too small to look at. ValueError: a strength that there
            is not.
    """
    if not isinstance(reconstructor.measurement, Undersampling):
        raise VolumeError("cannot_process", f"{reconstructor.spec.name} does not reconstruct k-space.")
    if min(measured.samples.shape[2:]) < SMALLEST:
        raise VolumeError("cannot_process", f"Slices of {measured.samples.shape[2:]} samples are too small.")
    reconstructor.check_strength(strength)
    views = views and reconstructor.looks_often(measured.samples.size)
    slices, _, width, lines = measured.samples.shape
    mask = torch.from_numpy(measured.lines.astype(np.float32)).reshape(1, 1, 1, lines)
    scale = reconstructor.measurement.unit(measured.samples).scale  # of the image too: the transform is unitary
    image, doubt = (np.zeros((width, lines, slices), np.float32) for _ in range(2))
    worst = 0.0
    for number, coils in enumerate(measured.samples):
        monitor.check()
        for part in torch.from_numpy(coils[:, None] / scale).split(COILS):
            given = {"kspace": part, "mask": mask.expand(len(part), -1, -1, -1)}
            made, error = reconstructor.blend(given, strength, views)
            worst = max(worst, float(contradiction(made, part, mask).max()))
            image[..., number] += made.abs().square().sum((0, 1)).numpy()
            doubt[..., number] += error.square().sum((0, 1)).numpy()
        monitor.report(progress=(number + 1) / slices)
    for joined in (image, doubt):
        np.sqrt(joined, out=joined)
        np.multiply(joined, scale, out=joined)
    largest = float(np.abs(measured.samples).max()) / scale
    whole, told = (affine, []) if affine is not None else _grid(measured, image.shape)
    image_part, doubt_part = (_middle(Volume(x, whole), measured) for x in (image, doubt))
    warnings = [*told, *([GAN_WARNING] if strength > 0 else [])]
    return Reconstructed(image_part, doubt_part, worst / largest, warnings)


def _grid(measured: KSpace, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float64], list[str]]:
    """The affine of all pixels, and what a clinician must know of it."""
    if measured.grid is None:
        return np.eye(4), [NO_GRID]
    affine = np.diag([*measured.grid.spacing, 1.0])
    affine[:3, 3] = -np.array(measured.grid.spacing) * (np.array(shape) - 1) / 2
    return affine, [NO_PLACE]


def _middle(volume: Volume, measured: KSpace) -> Volume:
    """The pixels that are the image: the pixel n // 2, which the transform has in the middle, stays in the middle."""
    if measured.grid is None:
        return volume
    starts = [n // 2 - m // 2 for n, m in zip(volume.shape, measured.grid.size, strict=False)]
    cut = volume.array[tuple(slice(s, s + m) for s, m in zip(starts, measured.grid.size, strict=True))]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :2] @ np.array(starts, float)
    return Volume(np.ascontiguousarray(cut), affine)


def simulate(volume: Volume, acceleration: float = 4.0, kind: str = "random", seed: int = 0) -> KSpace:
    """What a faster scan would have measured of an image: slices along its last axis, lines along its second.

    Args:
        volume: a magnitude image, not negative.
        acceleration: number of all lines over that of measured ones.
        kind: of the mask, `random` or `equispaced`.
        seed: of mask and phase.

    Raises:
        VolumeError: values below 0, which a magnitude does not have. ValueError: no such mask.
    """
    array = np.asarray(volume.array, np.float32)
    settings = replace(Undersampling(), accelerations=(acceleration,), kinds=(kind,))
    settings.check(array)
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 2, 0)[:, None]))
    measured = settings.measure(images, seed)
    lines = measured["mask"][0, 0, 0].numpy().astype(bool)
    return KSpace(measured["kspace"].numpy(), lines)

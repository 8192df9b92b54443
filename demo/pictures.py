"""Pictures for the report: slices with outlines, surfaces in 3D, curves of the training."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import vtk
from scipy import ndimage
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from trainers.data.volumes import Volume

Array = npt.NDArray[Any]
Color = Sequence[float]
PLANES = ("sagittal", "coronal", "axial")
SAGITTAL_REACH_MM = 18.0
INK, PAPER = "#1d2733", "#0f151c"


def slices(
    image: Volume, maps: Mapping[str, Array], colors: Mapping[int, Color], path: Path, reach_mm: float = 27
) -> None:
    """Three planes through the organ, one row for each label map, outlines in the labels' colours.

    Args:
        image: any orientation; shown in the nearest RAS order with square millimetres.
        maps: title to label map on the image's grid.
        colors: of each label value.
        path: PNG.
        reach_mm: how far around the organ's middle is shown.
    """
    view = _ras_view(image, list(maps.values()))
    middle = _middle_of_largest(np.any([m > 0 for m in view.maps], axis=0))
    figure, axes = plt.subplots(len(maps), 3, figsize=(9.6, 3.35 * len(maps)), squeeze=False, facecolor=PAPER)
    for row, (title, label) in enumerate(zip(maps, view.maps, strict=True)):
        for plane in range(3):
            _draw_plane(axes[row][plane], view, label, plane, middle, colors, reach_mm)
        axes[row][0].set_title(title, color="white", loc="left", fontsize=11)
    for plane, name in enumerate(PLANES):
        axes[-1][plane].set_xlabel(name, color="#9fb0c0", fontsize=9)
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=110, facecolor=PAPER)
    plt.close(figure)


def curves(losses: Sequence[Sequence[float]], metrics: Sequence[Sequence[float]], name: str, path: Path) -> None:
    """Loss and validation metric by epoch, one above the other; epoch 0 is the serving version."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.2, 4.4), sharex=True)
    top.plot(*np.transpose(losses), color="#c8553d", lw=1.8)
    top.set_ylabel("training loss")
    bottom.plot(*np.transpose(metrics), color="#2a6f97", lw=1.8, marker="o", ms=4)
    bottom.axhline(metrics[0][1], color="#888888", lw=1, ls="--")
    last = metrics[-1][0]
    bottom.annotate(
        "serving version", (last, metrics[0][1]), xytext=(0, 4), textcoords="offset points", color="#666666", ha="right"
    )
    bottom.set_ylabel(f"{name}, validation")
    bottom.set_xlabel("epoch")
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def surfaces(parts: Sequence[tuple[Any, Color]], head: Volume, path: Path, size: tuple[int, int] = (900, 640)) -> None:
    """The segments' surfaces inside a translucent head, seen from the front left and above."""
    renderer = vtk.vtkRenderer()
    renderer.SetBackground(0.06, 0.08, 0.11)
    renderer.AddActor(_actor(_skin(head), (0.86, 0.72, 0.62), 0.12))
    for surface, color in parts:
        renderer.AddActor(_actor(surface, color, 1.0))
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    renderer.UseDepthPeelingOn()
    camera = renderer.GetActiveCamera()
    camera.SetViewUp(0, 0, 1)
    camera.SetPosition(-1.0, 1.1, 0.55)
    camera.SetFocalPoint(0, 0, 0)
    renderer.ResetCamera()
    camera.Zoom(1.35)
    window.Render()
    _save(window, path)


def beside(rows: Mapping[str, Sequence[tuple[Volume, Volume]]], colors: Mapping[int, Color], path: Path) -> None:
    """Images with their label's outlines, one row a title: the sagittal plane through the organ's middle."""
    columns = max(len(pairs) for pairs in rows.values())
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(1.6 * columns, 1.95 * len(rows)), squeeze=False, facecolor=PAPER
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, (title, pairs) in zip(axes, rows.items(), strict=True):
        row[0].set_title(title, color="white", loc="left", fontsize=11)
        for axis, (image, label) in zip(row, pairs, strict=False):
            axis.axis("on")
            view = _ras_view(image, [label.array])
            middle = _middle_of_largest(view.maps[0] > 0)
            _draw_plane(axis, view, view.maps[0], 0, middle, colors, SAGITTAL_REACH_MM)
    figure.tight_layout(pad=0.5)
    figure.savefig(path, dpi=110, facecolor=PAPER)
    plt.close(figure)


def as_data_url(path: Path) -> str:
    """A PNG as text that an HTML page can hold."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


class _ras_view:  # noqa: N801 - a value, used once
    """An image and label maps in the nearest RAS order."""

    def __init__(self, image: Volume, maps: Sequence[Array]) -> None:
        import nibabel.orientations as orientations

        order = orientations.io_orientation(image.affine)
        self.image = orientations.apply_orientation(image.array, order)
        self.maps = [orientations.apply_orientation(m, order) for m in maps]
        self.spacing = np.array([image.spacing[int(np.flatnonzero(order[:, 0] == axis)[0])] for axis in range(3)])


def _middle_of_largest(mask: Array) -> Array:
    """Middle of the largest connected piece; of the whole if the mask is empty."""
    pieces, count = ndimage.label(mask)
    if not count:
        return (np.array(mask.shape) - 1) / 2
    return np.argwhere(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()).mean(0)


def _draw_plane(
    axis: Any, view: _ras_view, label: Array, plane: int, middle: Array, colors: Mapping[int, Color], reach: float
) -> None:
    across = [a for a in range(3) if a != plane]
    index: list[Any] = [slice(None)] * 3
    index[plane] = int(middle[plane])
    grey, part = view.image[tuple(index)].T, label[tuple(index)].T
    width, height = (n * view.spacing[a] for n, a in zip(grey.shape[::-1], across, strict=True))
    low, high = np.percentile(view.image, (1, 99.5))
    extent = (0, width, 0, height)
    axis.imshow(grey, cmap="gray", origin="lower", extent=extent, vmin=low, vmax=high, interpolation="bicubic")
    for value, color in colors.items():
        if (part == value).any():
            axis.contour(part == value, levels=[0.5], colors=[tuple(color)], linewidths=1.6, extent=extent)
    spot = (middle[across] + 0.5) * view.spacing[across]
    axis.set_xlim(spot[0] - reach, spot[0] + reach)
    axis.set_ylim(spot[1] - reach, spot[1] + reach)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(PAPER)
    axis.spines[:].set_color("#33404d")


def _skin(head: Volume) -> Any:
    """The head's outer surface (vtkPolyData, RAS mm)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*head.shape)
    image.SetDirectionMatrix(*(head.affine[:3, :3] / head.spacing).ravel())
    image.SetSpacing(*head.spacing)
    image.SetOrigin(*head.affine[:3, 3])
    flat = np.ascontiguousarray(head.array.ravel(order="F"), np.float32)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    smooth = vtk.vtkImageGaussianSmooth()
    smooth.SetInputData(image)
    smooth.SetStandardDeviation(2.0)
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputConnection(smooth.GetOutputPort())
    contour.SetValue(0, float(0.25 * np.percentile(head.array, 99)))
    contour.Update()
    return contour.GetOutput()


def _actor(surface: Any, color: Color, opacity: float) -> Any:
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(surface)
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*color)
    actor.GetProperty().SetOpacity(opacity)
    actor.GetProperty().SetInterpolationToPhong()
    actor.GetProperty().SetSpecular(0.2)
    return actor


def _save(window: Any, path: Path) -> None:
    """Writes what a render window shows; matplotlib packs PNG smaller than VTK."""
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    buffer = io.BytesIO()
    plt.imsave(buffer, np.ascontiguousarray(pixels[..., :3]))
    path.write_bytes(buffer.getvalue())

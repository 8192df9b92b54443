"""Draws Slicer's slice and 3D views into pictures, without a window, with slicer-core's displayable managers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer
import vtk

SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
VIEW_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager3D",)
BACKGROUND = ((0.76, 0.76, 0.91), (0.46, 0.47, 0.75))
"""Bottom and top of Slicer's 3D view."""


def draw_slice(
    logic: Any, path: Path, middle: list[float], field_of_view: float, size: int = 480, managers: tuple[str, ...] = ()
) -> Path:
    """Draws the slice through a point.

    Args:
        logic: The slice logic (`slicer.app.layoutManager().sliceWidget("Red").sliceLogic()`).
        path: PNG file.
        middle: What to look at, in RAS millimetres.
        field_of_view: Width and height in millimetres.
        size: Width and height in pixels.
        managers: Further displayable managers, beside that of segmentations.
    """
    node = logic.GetSliceNode()
    node.SetDimensions(size, size, 1)
    node.SetFieldOfView(field_of_view, field_of_view, node.GetFieldOfView()[2])
    node.JumpSliceByCentering(*middle)
    window, renderer = _window(size)
    mapper = vtk.vtkImageMapper()
    mapper.SetInputConnection(logic.GetImageDataConnection())
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    image = vtk.vtkActor2D()
    image.SetMapper(mapper)
    renderer.AddActor2D(image)
    group = _group((*SLICE_MANAGERS, *managers), renderer, node)
    return _save(window, group, path)


def draw_view(scene: Any, path: Path, azimuth: float = 30.0, elevation: float = 20.0, size: int = 480) -> Path:
    """Draws the 3D view of all that is shown in it.

    Args:
        scene: The MRML scene.
        path: PNG file.
        azimuth: Turns the camera, in degrees.
        elevation: Lifts the camera, in degrees.
        size: Width and height in pixels.
    """
    window, renderer = _window(size)
    renderer.SetBackground(*BACKGROUND[0])
    renderer.SetBackground2(*BACKGROUND[1])
    renderer.GradientBackgroundOn()
    group = _group(VIEW_MANAGERS, renderer, scene.GetFirstNodeByClass("vtkMRMLViewNode"))
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 500, 0)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    camera.Azimuth(azimuth)
    camera.Elevation(elevation)
    camera.Zoom(1.1)
    return _save(window, group, path)


def _window(size: int) -> tuple[Any, Any]:
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(4)
    window.SetSize(size, size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    return window, renderer


def _group(names: tuple[str, ...], renderer: Any, node: Any) -> Any:
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    for name in names:
        manager = getattr(slicer, name)()
        manager.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        group.AddDisplayableManager(manager)
    group.SetMRMLDisplayableNode(node)
    return group


def _save(window: Any, group: Any, path: Path) -> Path:
    group.GetRenderer().ResetCameraClippingRange()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grab.GetOutputPort())
    writer.Write()
    return path

"""ISMRMRD's header: how k-space was encoded, and where its pixels lie. fastMRI's files have one too.

Inati et al., "ISMRM raw data format: a proposed standard for MRI raw datasets", MRM 2017.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

from trainers.data.volumes import VolumeError


@dataclass(frozen=True)
class Encoding:
    """The grid: samples of a line, lines, the step that lies in the middle of k-space, and the trajectory."""

    readout: int
    lines: int
    centre: int
    trajectory: str


@dataclass(frozen=True)
class PixelGrid:
    """What a header tells of the image.

    Attributes:
        spacing: mm along readout, phase encoding and slices.
        size: pixels along readout and phase encoding that are the image; scanners measure more along the readout.
    """

    spacing: tuple[float, float, float]
    size: tuple[int, int]


def read_encoding(xml: bytes | str) -> Encoding:
    """How lines were encoded. Raises VolumeError if the header does not tell, or tells of a third dimension."""
    root = ElementTree.fromstring(xml)
    found = {}
    for name in ("encodedSpace", "trajectory"):
        element = root.find(f".//{{*}}encoding/{{*}}{name}")
        if element is None:
            raise VolumeError("not_an_image", f"The ISMRMRD header does not tell its {name}.")
        found[name] = element
    x, y, z = (int(n) for n in _numbers(found["encodedSpace"], "matrixSize"))
    if z > 1:
        raise VolumeError("cannot_process", "The measurement encodes three dimensions; only slices are read.")
    centre = root.findtext(".//{*}encoding/{*}encodingLimits/{*}kspace_encoding_step_1/{*}center")
    return Encoding(x, y, y // 2 if centre is None else int(centre), found["trajectory"].text or "")


def read_grid(xml: bytes | str, shape: Sequence[int]) -> PixelGrid | None:
    """Where the pixels of k-space of a shape (readout, lines) lie; None if the header does not tell.

    The matrix that k-space was stored with counts for the number of pixels, the header's fields of view for their size.
    """
    with contextlib.suppress(ElementTree.ParseError, ValueError):
        root = ElementTree.fromstring(xml)
        space, image = (root.find(f".//{{*}}encoding/{{*}}{name}") for name in ("encodedSpace", "reconSpace"))
        if space is None or image is None:
            return None
        encoded, wanted = (_numbers(part, "fieldOfView_mm") for part in (space, image))
        spacing = [mm / n for mm, n in zip(encoded, _numbers(space, "matrixSize"), strict=True)]
        if min(*spacing, *wanted) <= 0:
            return None
        size = [min(n, round(mm / step)) for n, mm, step in zip(shape, wanted, spacing, strict=False)]
        return PixelGrid((spacing[0], spacing[1], spacing[2]), (size[0], size[1]))
    return None


def _numbers(space: ElementTree.Element, name: str) -> list[float]:
    return [float(space.findtext(f"{{*}}{name}/{{*}}{axis}") or 1) for axis in ("x", "y", "z")]

"""The picture of a sample: which way up, on which scale, with the outline where the label is."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from MedGANLib.previews import BACKGROUND, middle_slices, paint, png

from .scenes import GRIDS, grid


def corner_bright(matrix: np.ndarray) -> np.ndarray:
    """Returns a volume (k, j, i) that is bright where the patient's left, front and top is, whatever its grid."""
    shape = (12, 14, 16)
    k, j, i = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    ras = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    middle = ras.reshape(-1, 3).mean(axis=0)
    left, front, top = ras[..., 0] < middle[0], ras[..., 1] > middle[1], ras[..., 2] > middle[2]
    return left * 1.0 + front * 2.0 + top * 4.0


@pytest.mark.parametrize("name", ["upright", "flipped", "left-handed", "permuted"])
def test_the_right_way_up_on_every_grid(name: str) -> None:
    axial, coronal, sagittal = middle_slices(corner_bright(GRIDS[name]), GRIDS[name])
    for one, right, up in ((axial, 1.0, 2.0), (coronal, 1.0, 4.0), (sagittal, -2.0, 4.0)):
        grey = one.grey
        across = grey[:, -2:].mean() - grey[:, :2].mean()
        upward = grey[:2].mean() - grey[-2:].mean()
        assert np.sign(across) == np.sign(right) and upward > 0
        assert abs(upward / across) == pytest.approx(abs(up / right), rel=0.2)


def test_slices_have_the_scale_of_the_body() -> None:
    """Voxels of 1 x 1.5 x 2.5 mm: a sphere stays round."""
    matrix = grid(np.eye(3))
    k, j, i = np.meshgrid(np.arange(20), np.arange(34), np.arange(50), indexing="ij")
    sphere = (((i - 25) * 1.0) ** 2 + ((j - 17) * 1.5) ** 2 + ((k - 10) * 2.5) ** 2 < 20**2).astype(np.float32)
    rgb = paint(middle_slices(sphere, matrix), {}, 600, 400, 0)
    for place in range(3):
        inside = rgb[:, place * 200 : (place + 1) * 200, 0] > 128
        height, width = inside.any(axis=1).sum(), inside.any(axis=0).sum()
        assert abs(int(height) - int(width)) <= 0.08 * height


def test_a_flat_picture_is_shown_once_and_whole() -> None:
    picture = np.zeros((1, 10, 20), np.float32)
    picture[0, :3] = 1.0
    (one,) = middle_slices(picture, np.diag([-0.5, -0.5, 1.0, 1.0]))
    assert one.grey.shape == (10, 20) and one.size == (5.0, 10.0)
    assert one.grey[0].min() == 1.0 and one.grey[-1].max() == 0.0, "what the file counts first is at the top"
    assert paint([one], {}, 200, 230, 4).shape == (100, 200, 3)


def test_outlines_are_where_the_label_is() -> None:
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[:, 10:20, 10:30] = 7
    labels[:, 20:30, 10:30] = 3
    slices = middle_slices(np.zeros(labels.shape), np.diag([-1.0, -1.0, 1.0, 1.0]), labels)
    rgb = paint(slices[:1], {7: (1.0, 0.0, 0.0), 3: (0.0, 0.0, 1.0)}, 160, 160, 0)
    red, blue = (np.all(rgb == color, axis=2) for color in ((255, 0, 0), (0, 0, 255)))
    assert red[40:80, 40:120].sum() == red.sum() > 0 and blue[80:120, 40:120].sum() == blue.sum() > 0
    assert not red[44:76, 44:116].any(), "an outline, not a filled shape"
    assert red[40, 40:120].all() and blue[119, 40:120].all()


def test_a_label_beside_the_middle_is_found() -> None:
    labels = np.zeros((9, 10, 11), np.uint8)
    labels[1:3, 4:7, 2:9] = 1
    axial, coronal, sagittal = middle_slices(np.zeros(labels.shape), np.diag([-1.0, -1.0, 1.0, 1.0]), labels)
    assert [one.labels.sum() for one in (axial, coronal, sagittal)] == [3 * 7, 2 * 7, 2 * 3]


def test_strange_voxels_do_no_harm() -> None:
    voxels = np.full((4, 5, 6), np.nan, np.float32)
    voxels[0, 0, 0] = np.inf
    rgb = paint(middle_slices(voxels, np.eye(4)), {}, 90, 60, 0)
    assert rgb.dtype == np.uint8 and rgb.max() <= 255
    assert paint(middle_slices(np.full((3, 3, 3), 5, np.int16), np.eye(4)), {}, 90, 60, 0).max() <= BACKGROUND


def test_png_can_be_read_back() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = png(rgb)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    (size,) = struct.unpack(">I", data[start - 8 : start - 4])
    lines = np.frombuffer(zlib.decompress(data[start : start + size]), np.uint8).reshape(height, 1 + 3 * width)
    assert (width, height) == (7, 5) and np.array_equal(lines[:, 1:].reshape(5, 7, 3), rgb)

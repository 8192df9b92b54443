"""LUNA16: patches are where the tables say, in HU, whatever the scan's directions; and what is missing is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.data.files import scan
from trainers.data.cases import CasesError
from trainers.data.readers import open_data, recognise
from trainers.data.readers.patches import AIR, Patch, read_patch
from trainers.data.volumes import VolumeError

SHAPE = (7, 9, 8)
HU = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 200
IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)
FLIPPED = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
ANNOTATIONS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
CANDIDATES = "seriesuid,coordX,coordY,coordZ,class\n"


@pytest.fixture
def luna(tmp_path: Path) -> Path:
    """Two scans of three; nodules and candidates in both, and rows of the third."""
    scan(tmp_path / "subset0/1.2.3.mhd", HU, (-10, 20, -30), (0.5, 0.5, 2.0), IDENTITY)
    scan(tmp_path / "subset4/subset4/1.2.4.mhd", HU, (10, 20, -30), (0.5, 0.5, 2.0), FLIPPED)
    (tmp_path / "annotations.csv").write_text(
        f"{ANNOTATIONS}1.2.3,-8.5,22.0,-20.0,5.25\n1.2.4,8.5,18.0,-20.0,7.5\n1.2.9,0,0,0,9.0\n"
    )
    (tmp_path / "candidates_V2.csv").write_text(
        f"{CANDIDATES}1.2.3,-9.0,20.5,-28.0,0\n1.2.3,-8.4,22.1,-20.0,1\n1.2.4,9.0,19.5,-28.0,0\n1.2.9,0,0,0,0\n"
    )
    return tmp_path


def test_nodules_and_other_candidates(luna: Path) -> None:
    assert recognise(luna) == "luna16"
    data = open_data(luna, patch=(3, 3, 3))
    assert data.classes == ("non-nodule", "nodule") and data.units == "HU" and data.dimensions == 3
    assert [(e.patient, e.target, e.details.get("diameter_mm")) for e in data.entries] == [
        ("1.2.3", 1, 5.25), ("1.2.4", 1, 7.5), ("1.2.3", 0, None), ("1.2.4", 0, None),
    ]  # fmt: skip
    assert data.parts == {
        "subset0": ["1.2.3_nodule_000002", "1.2.3_non-nodule_000002"],
        "subset4": ["1.2.4_nodule_000003", "1.2.4_non-nodule_000004"],
    }


def test_rows_without_a_scan_are_counted(luna: Path) -> None:
    assert open_data(luna).notes == ("2 rows of the tables have no scan here; 2 scans are. Add subsets to use them.",)


def test_world_coordinates_are_lps(luna: Path) -> None:
    """Voxel (3, 4, 5) of both scans is at (-8.5, 22, -20) and, with the first two axes flipped, at (8.5, 18, -20)."""
    for entry in open_data(luna, patch=(3, 3, 3)).entries[:2]:
        sample = pickle.loads(pickle.dumps(entry)).read()
        assert sample.image.shape == (1, 3, 3, 3) and sample.image.dtype == np.float32
        assert (sample.image[0] == HU[2:5, 3:6, 4:7]).all()
        np.testing.assert_allclose((sample.affine @ [1, 1, 1, 1])[:3], entry.details["center"])
    assert open_data(luna).entries[0].details["center"] == (8.5, -22.0, -20.0)


def test_a_patch_in_mm(luna: Path) -> None:
    assert open_data(luna, patch_mm=(2, 3, 4)).entries[0].read().image.shape == (1, 4, 6, 2)


def test_a_patch_reaches_out_of_the_scan_into_air(luna: Path) -> None:
    entry = next(e for e in open_data(luna, patch=(9, 9, 5)).entries if e.target == 0)  # around voxel (2, 1, 1)
    image = entry.read().image[0]
    assert (image[2:, 3:, 1:] == HU[:7, :6, :4]).all()
    assert (image[:2] == -1024).all() and (image[:, :3] == -1024).all() and (image[:, :, 0] == -1024).all()


def test_fewer_non_nodules(luna: Path) -> None:
    data = open_data(luna, non_nodules=1)
    assert [e.target for e in data.entries] == [1, 1, 0]
    assert "1 candidates that are no nodules were left out" in data.notes[1]
    assert [e.id for e in open_data(luna, non_nodules=1).entries] == [e.id for e in data.entries]
    assert len(open_data(luna, non_nodules=None).entries) == 4


def test_candidates_alone_tell_the_nodules_too(luna: Path) -> None:
    (luna / "annotations.csv").unlink()
    (luna / "candidates_V2.csv").rename(luna / "candidates.csv")
    assert [(e.patient, e.target) for e in open_data(luna).entries] == [("1.2.3", 1), ("1.2.3", 0), ("1.2.4", 0)]


def test_what_is_missing_is_named(luna: Path) -> None:
    for file in luna.rglob("*.mhd"):
        file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"None of the 6 rows in annotations\.csv, candidates_V2\.csv .*subset0"
    ):
        open_data(luna, "luna16")
    for file in luna.glob("*.csv"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"neither annotations\.csv nor candidates_V2\.csv"):
        open_data(luna, "luna16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seriesuid,x,y,z\n", r"annotations\.csv has no column coordX, coordY, coordZ, diameter_mm"),
        (f"{ANNOTATIONS}1.2.3,0,zero,0,5\n", r"annotations\.csv, line 2 cannot be read: 1\.2\.3,0,zero"),
        (f"{ANNOTATIONS}\n1.2.3,0\n", r"annotations\.csv, line 3 cannot be read"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(luna: Path, text: str, message: str) -> None:
    (luna / "annotations.csv").write_text(text)
    with pytest.raises(CasesError, match=message):
        open_data(luna)


def test_a_class_beside_0_and_1(luna: Path) -> None:
    (luna / "candidates_V2.csv").write_text(f"{CANDIDATES}1.2.3,0,0,0,2\n")
    with pytest.raises(CasesError, match="a class 0 or 1"):
        open_data(luna)


def test_a_patch_size_that_is_none(luna: Path) -> None:
    with pytest.raises(CasesError, match=r"three numbers above 0, not \(3, 0, 3\)"):
        open_data(luna, patch=(3, 0, 3))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_scan_without_its_voxels(luna: Path, damage: str) -> None:
    raw = luna / "subset0/1.2.3.raw"
    if damage == "missing":
        raw.unlink()
    else:
        raw.write_bytes(raw.read_bytes()[:100])
    with pytest.raises(VolumeError, match=r"1\.2\.3\.mhd: the voxels cannot be read.*\.raw"):
        open_data(luna, patch=(3, 3, 3)).entries[0].read()


def test_a_point_outside_its_scan(luna: Path) -> None:
    (luna / "annotations.csv").write_text(f"{ANNOTATIONS}1.2.3,-30,22,-20,5\n")
    with pytest.raises(
        VolumeError, match=r"1\.2\.3\.mhd: the point \(30\.0, -22\.0, -20\.0\) mm RAS is voxel \(-40\.0"
    ):
        open_data(luna).entries[0].read()


def test_the_rest_of_a_large_scan_stays_on_the_disk(tmp_path: Path) -> None:
    """Half a gigabyte of zeros that take no space: reading a patch of it takes no more than its slices."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("the system does not count what is read")
    file = scan(tmp_path / "a.mhd", HU, (0, 0, 0), (1, 1, 1), IDENTITY)
    file.write_text(file.read_text().replace("DimSize = 7 9 8", "DimSize = 512 512 1000"))
    with (tmp_path / "a.raw").open("wb") as raw:
        raw.truncate(512 * 512 * 1000 * 2)

    def read() -> int:
        return int(counters.read_text().split()[1])

    before = read()
    sample = read_patch(file, Patch((-256.0, -256.0, 500.0), (32, 32, 8)))
    assert sample.image.shape == (1, 32, 32, 8)
    assert read() - before < 512 * 512 * 8 * 2 + 2**20


axes = st.permutations([0, 1, 2])
signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
sizes = st.tuples(*[st.integers(1, 12)] * 3)
indices = st.tuples(*(st.floats(-0.49, n - 0.51) for n in SHAPE))
spacings = st.tuples(*[st.floats(0.3, 3.0)] * 3)


@settings(max_examples=50, deadline=None)
@given(axes=axes, signs=signs, size=sizes, index=indices, spacing=spacings, turn=st.floats(-0.5, 0.5))
def test_every_voxel_of_a_patch_is_the_scans_at_its_place(
    tmp_path_factory: pytest.TempPathFactory, axes: list[int], signs: tuple[float, ...], size: tuple[int, int, int],
    index: tuple[float, ...], spacing: tuple[float, ...], turn: float,
) -> None:  # fmt: skip
    """For permuted, flipped and turned directions, inside and at the border, against ITK's own geometry."""
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    direction = rotation @ (np.eye(3)[:, axes] * signs)
    origin = np.array([-12.5, 30.0, -100.0])
    file = scan(tmp_path_factory.mktemp("scan") / "a.mhd", HU, origin, spacing, direction.ravel())
    lps = origin + direction @ (np.array(index) * spacing)
    sample = read_patch(file, Patch((-lps[0], -lps[1], lps[2]), size))
    assert sample.image.shape == (1, *size)
    voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3)
    ras = voxels @ sample.affine[:3, :3].T + sample.affine[:3, 3]
    exact = (ras * [-1, -1, 1] - origin) @ direction / spacing
    there = np.round(exact).astype(int)
    np.testing.assert_allclose(exact, there, atol=1e-3)
    inside = ((there >= 0) & (there < SHAPE)).all(1)
    expected = np.where(inside, HU[tuple(np.where(inside[:, None], there, 0).T)], AIR)
    np.testing.assert_array_equal(sample.image.ravel(), expected)
    assert inside.any() and (np.abs(exact.mean(0) - index) <= 0.5 + 1e-3).all(), "the point is in the middle"

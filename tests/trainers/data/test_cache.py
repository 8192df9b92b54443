"""The cache: the same arrays as without it, never more than its bounds, never a stale or damaged one."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.data.files import picture, scan, volume
from trainers.data.cache import Arrays, CachedData, Disk, Memory, item_key, recipe
from trainers.data.readers import open_data
from trainers.data.readers.base import read_pair
from trainers.data.sets import Entry, Sample


def doubled(sample: Sample, log: Path | None = None) -> Arrays:
    if log is not None:
        with log.open("a") as file:
            file.write("x")
    return {"image": sample.image * 2, "file": np.array([sample.image.size])}


def filled(value: float, voxels: int = 250) -> Arrays:
    return {"image": np.full(voxels, value, np.float32)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    found = []
    for number in range(3):
        file = volume(tmp_path / f"data/{number}.nii.gz", np.full((4, 5, 6), number, np.float32))
        found.append(Entry(f"{number}", f"{number}", partial(read_pair, file), files=(file,)))
    return found


@pytest.fixture
def open_cache(entries: list[Entry], tmp_path: Path, log: Path) -> Callable[..., CachedData]:
    def make(**changes: object) -> CachedData:
        arguments = {"settings": {"size": 4}, "folder": tmp_path / "cache", "memory_bytes": 0, **changes}
        return CachedData(entries, partial(doubled, log=log), **arguments)  # type: ignore[arg-type]

    return make


def prepared(log: Path) -> int:
    """How often an image has been prepared."""
    return log.stat().st_size


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npz"))


@pytest.mark.parametrize("where", ["memory", "disk", "nowhere"])
def test_the_same_arrays_as_without_a_cache(open_cache: Callable[..., CachedData], log: Path, where: str) -> None:
    data = open_cache(memory_bytes=10**6 if where == "memory" else 0, **({"folder": None} if where != "disk" else {}))
    for _ in range(2):
        for number in range(len(data)):
            item = data[number]
            assert item["image"].shape == (1, 4, 5, 6) and (item["image"] == 2 * number).all()
            assert item["image"].dtype == np.float32 and item["file"] == 120
    assert prepared(log) == (6 if where == "nowhere" else 3)


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_what_a_caller_does_to_an_item_does_not_stay(open_cache: Callable[..., CachedData], memory_bytes: int) -> None:
    data = open_cache(memory_bytes=memory_bytes)
    for _ in range(3):
        item = data[1]
        assert (item["image"] == 2).all()
        item["image"] += 1


def test_the_next_run_finds_the_folder(open_cache: Callable[..., CachedData], log: Path) -> None:
    open_cache()[0]
    assert (open_cache()[0]["image"] == 0).all()
    assert prepared(log) == 1


def test_other_settings_are_prepared_anew(open_cache: Callable[..., CachedData], log: Path) -> None:
    open_cache()[0]
    open_cache(settings={"size": 5})[0]
    assert prepared(log) == 2
    with pytest.raises(TypeError):
        open_cache(settings={"size": np.zeros(3)})


def keys(path: Path, **options: object) -> list[str]:
    """Keys of a set's images; those of the same images are equal if they are read in the same way."""
    return [item_key(entry, "{}") for entry in open_data(path, **options).entries]


def test_other_options_of_a_reader_have_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "pictures/a.png", np.zeros((4, 6, 3), np.uint8))
    scan(tmp_path / "luna/1.2.mhd", np.zeros((7, 9, 8), np.int16), (0, 0, 0), (1, 1, 1), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    (tmp_path / "luna/annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,1,2,3,5.0\n")
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8))
    options: dict[str, list[dict[str, object]]] = {
        "pictures": [{"colour": True}, {"colour": False}],
        "luna": [{}, {"patch": (4, 4, 4)}, {"patch": (4, 4, 5)}, {"patch_mm": (4, 4, 4)}],
        "x.npz": [{}],
    }
    for name, ways in options.items():
        found = [key for way in ways for key in keys(tmp_path / name, **way)]
        assert len(set(found)) == len(found), name
        monkeypatch.chdir(tmp_path)
        assert found == [key for way in ways for key in keys(Path(name), **way)], "the same set by another path"


def test_the_next_run_with_other_options_gets_other_arrays(tmp_path: Path) -> None:
    picture(tmp_path / "set/a.png", np.zeros((4, 6, 3), np.uint8))
    for colour, channels in ((True, 3), (False, 1), (True, 3)):
        entries = open_data(tmp_path / "set", colour=colour).entries
        data = CachedData(entries, doubled, {}, folder=tmp_path / "cache")
        assert data[0]["image"].shape == (channels, 6, 4)
    assert len(files(tmp_path / "cache")) == 2


def test_what_tells_one_way_of_reading_from_another(tmp_path: Path) -> None:
    ways = [
        doubled, filled, partial(filled), partial(filled, 1), partial(filled, 1.5), partial(filled, value=1),
        partial(filled, (1, Path("a"))), partial(filled, (1, Path("b"))), Memory(1).get, Memory,
    ]  # fmt: skip
    assert len({str(recipe(way)) for way in ways}) == len(ways)
    assert recipe(partial(filled, value=1, voxels=2)) == recipe(partial(filled, voxels=2, value=1))
    assert recipe(Path("a")) == str(Path.cwd() / "a")


def test_a_changed_image_is_prepared_anew(open_cache: Callable[..., CachedData], entries: list[Entry]) -> None:
    data = open_cache(memory_bytes=10**6)
    assert (data[2]["image"] == 4).all()
    volume(entries[2].files[0], np.full((4, 5, 6), 9, np.float32))
    assert (data[2]["image"] == 18).all()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "array"])
def test_a_damaged_file_is_made_anew(
    open_cache: Callable[..., CachedData], tmp_path: Path, log: Path, damage: str
) -> None:
    open_cache()[1]
    (file,) = files(tmp_path / "cache")
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[300] ^= 0x40
    elif damage == "array":
        np.save(tmp_path / "x.npy", np.zeros(3))
        content = bytearray((tmp_path / "x.npy").read_bytes())
    file.write_bytes({"empty": b"", "cut": content[:200], "text": b"no"}.get(damage, content))
    assert (open_cache()[1]["image"] == 2).all()
    assert prepared(log) == 2
    assert (open_cache()[1]["image"] == 2).all()
    assert prepared(log) == 2, "the damaged file was not replaced"


def test_no_objects_are_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        Disk(tmp_path, 10**6).put("a", {"x": np.array([{}], object)})
    assert not files(tmp_path)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 400)), max_size=40), st.integers(0, 3000))
def test_memory_never_holds_more_than_its_limit(steps: list[tuple[int, int]], limit: int) -> None:
    memory = Memory(limit)
    for key, voxels in steps:
        held = memory.get(str(key))
        assert held is None or (held["image"] == key).all()
        memory.put(str(key), filled(key, voxels))
        assert memory.bytes <= limit
        assert memory.bytes == sum(a.nbytes for item in memory._items.values() for a in item.values())
        assert (memory.get(str(key)) is not None) == (4 * voxels <= limit)


def test_memory_gives_up_what_was_not_used_for_longest() -> None:
    memory = Memory(3000)
    for key in "abc":
        memory.put(key, filled(0))
    memory.get("a")
    memory.put("d", filled(0))
    assert [key for key in "abcd" if memory.get(key) is not None] == ["a", "c", "d"]


def test_the_folder_never_holds_more_than_its_limit(tmp_path: Path) -> None:
    disk, limit = Disk(tmp_path, 20_000), 20_000
    for number in range(60):
        disk.put(str(number), filled(number, 100 + 13 * number))
        assert sum(file.stat().st_size for file in files(tmp_path)) <= limit
    assert (disk.get("59") or {})["image"][0] == 59, "the newest is kept"
    assert disk.get("0") is None
    assert len(files(tmp_path)) > 2, "the room is used"


def test_the_folder_gives_up_what_was_not_used_for_longest(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 5000)
    for age, key in enumerate("cab"):  # 1.2 kB each
        disk.put(key, filled(0))
        os.utime(tmp_path / f"{key}.npz", (age, age))
    disk.get("c")
    disk.put("d", filled(0))
    assert [file.stem for file in files(tmp_path)] == ["b", "c", "d"]


def test_an_item_larger_than_the_folder_is_not_stored(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 5000)
    disk.put("small", filled(0))
    disk.put("large", filled(0, 2000))
    assert [file.stem for file in files(tmp_path)] == ["small"]


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("new", 10)):
        (tmp_path / f".writing-{name}.npz").write_bytes(b"x" * 100)
        os.utime(tmp_path / f".writing-{name}.npz", (time.time() - age,) * 2)
    Disk(tmp_path, 5000).put("a", filled(0))
    assert sorted(file.name for file in tmp_path.glob(".writing-*")) == [".writing-new.npz"]


def test_a_folder_that_takes_nothing_does_not_stop_training(
    open_cache: Callable[..., CachedData], tmp_path: Path, log: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    data = open_cache()
    with pytest.warns(UserWarning, match="cache takes no more: .*prepared anew"):
        assert (data[1]["image"] == 2).all()
    assert (data[1]["image"] == 2).all()
    assert prepared(log) == 2


def test_loader_processes_start_with_empty_memory(open_cache: Callable[..., CachedData]) -> None:
    data = open_cache(memory_bytes=10**6)
    full = len(pickle.dumps(data))
    data[0], data[1]
    assert len(pickle.dumps(data)) < full + 100
    assert (pickle.loads(pickle.dumps(data))[1]["image"] == 2).all()


def hammer(folder: Path, seed: int) -> int:
    """Reads and writes thirty items in a small folder; returns how many were wrong."""
    disk, wrong = Disk(folder, 30_000), 0
    for key in np.random.default_rng(seed).integers(0, 40, 30).tolist():
        held = disk.get(str(key))
        wrong += held is not None and not (held["image"] == key).all()
        disk.put(str(key), filled(key))
    return wrong


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    with get_context("fork").Pool(3) as pool:
        assert pool.starmap(hammer, [(tmp_path, seed) for seed in range(3)]) == [0, 0, 0]
    assert 10_000 < sum(file.stat().st_size for file in files(tmp_path)) <= 30_000
    assert not list(tmp_path.glob(".writing-*"))

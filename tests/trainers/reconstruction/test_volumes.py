"""Training volumes within a bound: the same as all in memory, read again where they do not fit."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from trainers.data.sets import Entry, Sample
from trainers.data.volumes import VolumeError
from trainers.networks import build
from trainers.tasks.reconstruction.evaluate import prepared, scans
from trainers.tasks.reconstruction.measurement import SuperResolution
from trainers.tasks.reconstruction.task import ReconstructionConfig, ReconstructionTask
from trainers.tasks.reconstruction.volumes import PreparedVolumes, Room, hash_seed

READ: Counter[int] = Counter()
SIZE = (12, 10, 8)
BYTES = 4 * 12 * 10 * 8
MEASUREMENT = SuperResolution(factors=(2, 2, 2))


def read(number: int) -> Sample:
    READ[number] += 1
    if number == 99:
        return Sample(np.zeros((1, *SIZE), np.float32))
    return Sample(np.random.default_rng(number).normal(100, 20, (1, *SIZE)).astype(np.float32), affine=np.eye(4))


def entries(*numbers: int) -> list[Entry]:
    READ.clear()
    return [Entry(f"p{n}", f"p{n}", partial(read, n)) for n in numbers]


def test_volumes_are_those_that_the_measurement_makes() -> None:
    some = entries(0, 1, 2)
    plain = [prepared(e.id, scan, MEASUREMENT, hash_seed(e.id)) for e, scan in scans(some, MEASUREMENT)]
    volumes = PreparedVolumes(some, MEASUREMENT, (), Room())
    assert len(volumes) == 3 and all(np.array_equal(a, b) for a, b in zip(volumes, plain, strict=True))
    assert [len(volumes[1:]), *volumes[2].shape] == [2, 1, *SIZE]


@pytest.mark.parametrize(("memory", "times"), [(10 * BYTES, 1), (0, 3)])
def test_what_fits_into_memory_is_read_once(memory: int, times: int) -> None:
    volumes = PreparedVolumes(entries(0, 1, 2), MEASUREMENT, (), Room(memory))
    for _ in range(3):
        assert len(list(volumes)) == 3
    assert dict.fromkeys(range(3), times) == READ


def test_a_folder_keeps_the_rest_from_run_to_run(tmp_path: Path) -> None:
    room = Room(0, tmp_path / "cache")
    first = list(PreparedVolumes(entries(0, 1, 2), MEASUREMENT, (), room))
    again = list(PreparedVolumes(entries(0, 1, 2), MEASUREMENT, (), room))
    assert not READ and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    list(PreparedVolumes(entries(0), SuperResolution(factors=(1, 1, 2)), (), room))
    assert READ == {0: 1}, "another measurement prepares anew"


def test_a_useless_volume_is_named() -> None:
    volumes = PreparedVolumes(entries(0, 99), MEASUREMENT, (), Room())
    with pytest.raises(VolumeError, match="p99 has no contrast"):
        list(volumes)


def test_a_task_learns_the_same_from_them() -> None:
    network = {"name": "SuperResolver", "spatial_dims": 3, "channels": 4, "fine_channels": 4, "blocks": 1}
    described = {**network, "factors": [2, 2, 2]}
    config = ReconstructionConfig(patch=(8, 8, 8))
    lazy = PreparedVolumes(entries(0, 1, 2), MEASUREMENT, (), Room(BYTES))
    tasks = [ReconstructionTask(build(described), MEASUREMENT, v, v[:1], config) for v in (lazy, list(lazy))]
    assert tasks[0].identity() == tasks[1].identity()
    one, other = (task.batch(7, 4, 0) for task in tasks)
    assert all(bool((one[key] == other[key]).all()) for key in other)

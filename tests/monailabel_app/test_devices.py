"""Models on several devices, and what a training sees of them. No GPU is needed: only their names are real."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from server_world import MODEL, client_of, crop, error

from monailabel_app import processes
from monailabel_app.config import ServerConfig
from monailabel_app.devices import compute_devices, visible_gpus
from monailabel_app.infers import SegmentationInfer
from monailabel_app.processes import Training
from monailabel_app.serving import ModelCache
from trainers.data.volumes import write_volume
from trainers.tasks.segmentation import Segmenter

GPUS = ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("names", "gpus", "found"),
    [
        (["auto"], 0, ("cpu",)),
        (["auto"], 2, GPUS),
        (["cuda:1"], 2, ("cuda:1",)),
        (["cpu", "cuda:0"], 1, ("cpu", "cuda:0")),
    ],
)
def test_devices_of_a_setting(names: list[str], gpus: int, found: tuple[str, ...]) -> None:
    assert compute_devices(names, gpus) == found


@pytest.mark.parametrize("names", [["cuda:1"], ["cuda:0", "cuda:0"], ["cuda"], [""], ["auto", "cpu"]])
def test_devices_that_are_not_there_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="device"):
        compute_devices(names, 1)


@pytest.mark.parametrize(
    ("device", "seen", "visible"),
    [("auto", "", "all"), ("cpu", "", "-1"), ("cuda:1", "", "1"), ("cuda:1", "4,7", "7"), ("cuda:0", "a, b", "a")],
)  # fmt: skip
def test_what_a_training_sees(device: str, seen: str, visible: str) -> None:
    assert visible_gpus(device, {"CUDA_VISIBLE_DEVICES": seen}) == visible


def test_a_training_has_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(processes, "start", lambda _method, request: started.append(request))
    Training({MODEL: None}, "cuda:1").start({"model": MODEL, "run": "r"})
    assert started == [{"model": MODEL, "run": "r", "gpus": "1"}]


def test_requests_are_spread_over_the_devices(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from two requests to a network each; only the network itself is put on the processor."""
    both, used, compute = threading.Barrier(2, timeout=20), [], Segmenter.__call__

    def load(folder: Path, device: str) -> Segmenter:
        loaded = Segmenter(folder)
        loaded.name_of_device = device  # type: ignore[attr-defined]
        return loaded

    def noted(segmenter: Any, *args: Any, **options: Any) -> Any:
        used.append(segmenter.name_of_device)
        both.wait()
        return compute(segmenter, *args, **options)

    monkeypatch.setattr(SegmentationInfer, "load", load)
    monkeypatch.setattr(Segmenter, "__call__", noted)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    write_volume(tmp_path / "studies" / "study_0.nii.gz", crop(0))
    client = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))
    query = {"image": "study_0", "output": "json"}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: client.post(f"/infer/{MODEL}", params=query).status_code, range(2)))
    assert (answers, sorted(used)) == ([200, 200], list(GPUS))


def test_a_model_is_loaded_once_for_each_device() -> None:
    loaded: list[str] = []
    cache = ModelCache(lambda _folder, device: loaded.append(device) or object(), size=1, devices=GPUS)  # type: ignore[func-returns-value]
    version: Any = SimpleNamespace(
        model="m", name="v0001", path=Path(), record=SimpleNamespace(checksum="c"), verify=lambda: None
    )
    first = cache.get(version)
    assert cache.get(version, "cuda:0") is first and cache.get(version, "cuda:1") is not first
    assert loaded == list(GPUS), "the second did not push the first out"


def test_a_model_that_is_loaded_does_not_wait_for_one_that_loads() -> None:
    begun, go_on, loaded = threading.Event(), threading.Event(), list[str]()

    def load(folder: Path, _device: str) -> object:
        loaded.append(folder.name)
        if folder.name == "slow":
            begun.set()
            assert go_on.wait(30)
        return folder.name

    def version(name: str) -> Any:
        record = SimpleNamespace(checksum=name)
        return SimpleNamespace(model=name, name="v0001", path=Path(name), record=record, verify=lambda: None)

    cache = ModelCache(load)
    cache.get(version("quick"))
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(cache.get, version("slow")) for _ in range(2)]
        assert begun.wait(30)
        assert pool.submit(cache.get, version("quick")).result(10) == "quick"
        go_on.set()
        assert [one.result(30) for one in slow] == ["slow", "slow"]
    assert loaded == ["quick", "slow"], "two that want the same load it once"


def test_a_gpu_without_memory_is_busy(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Segmenter, "__call__", full)
    write_volume(tmp_path / "studies" / "study_0.nii.gz", crop(0))
    client = client_of(ServerConfig(tmp_path / "studies", tmp_path / "data", models=models))
    answer = client.post(f"/infer/{MODEL}", params={"image": "study_0"})
    assert error(answer) == (503, "busy") and answer.headers["Retry-After"] == "60"
    assert not list((tmp_path / "data" / "tmp").iterdir())

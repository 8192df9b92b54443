"""Versions: publish, refuse, roll back; crashes, other processes and damage."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from server_world import MODEL

from monailabel_app import registry as module
from monailabel_app.errors import MedGANError
from monailabel_app.registry import Registry, Version
from monailabel_app.serving import ModelCache
from trainers.monitor import Cancelled
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable, ModelSpec, weights_checksum
from trainers.tasks.segmentation import Segmenter


@pytest.fixture
def registry(models: Path, tmp_path: Path) -> Registry:
    return Registry(models, tmp_path / "models")


def candidate(registry: Registry, run: str = "run-1") -> Version:
    """A candidate made of the serving version's files."""
    serving = registry.current(MODEL)
    with registry.staging(MODEL, run) as folder:
        for name in (WEIGHTS_FILE, "spec.json"):
            shutil.copy(serving.path / name, folder)
        return registry.add(MODEL, folder, serving.name, run)


def publish(registry: Registry, run: str = "run-1") -> Version:
    return registry.judge(candidate(registry, run), True, "better", [])


def test_shipped_version_serves_at_first(registry: Registry, models: Path) -> None:
    assert MODEL in registry.models()
    assert set(registry.models()) <= {folder.name for folder in models.iterdir()}
    assert registry.current(MODEL).name == "v0001"
    assert registry.current(MODEL).record.origin == "shipped"


def test_nothing_is_written_into_the_package(registry: Registry, models: Path) -> None:
    before = sorted(p for p in models.rglob("*"))
    publish(registry)
    registry.serve(MODEL, "v0001")
    assert sorted(p for p in models.rglob("*")) == before


def test_candidate_does_not_serve_before_its_verdict(registry: Registry) -> None:
    made = candidate(registry)
    assert (made.name, made.record.state, made.record.parent) == ("v0002", "candidate", "v0001")
    assert registry.current(MODEL).name == "v0001"
    assert ModelSpec.load(made.path).version == "v0002"


def test_promoted_candidate_serves_and_can_be_rolled_back(registry: Registry) -> None:
    publish(registry)
    assert registry.current(MODEL).name == "v0002"
    registry.serve(MODEL, "v0001")
    assert registry.current(MODEL).name == "v0001"
    registry.serve(MODEL, "v0002")
    assert registry.current(MODEL).name == "v0002"


def test_refused_candidate_is_kept_with_its_reason_and_serves_only_by_force(registry: Registry) -> None:
    registry.judge(candidate(registry), False, "Dice fell.", [])
    assert registry.current(MODEL).name == "v0001"
    assert registry.versions(MODEL)[-1].describe()["reason"] == "Dice fell."
    with pytest.raises(MedGANError, match=r"Dice fell") as caught:
        registry.serve(MODEL, "v0002")
    assert caught.value.code == "conflict"
    registry.serve(MODEL, "v0002", force=True)
    assert registry.current(MODEL).name == "v0002"


def test_numbers_are_never_given_twice(registry: Registry) -> None:
    registry.judge(candidate(registry, "a"), False, "no", [])
    assert candidate(registry, "b").name == "v0003"


def test_unknown_names(registry: Registry) -> None:
    for model in ("nothing", "..", "../..", "", "\0"):
        with pytest.raises(MedGANError) as caught:
            registry.versions(model)
        assert caught.value.code == "unknown_model"
        with pytest.raises(MedGANError) as caught:
            registry.serve(model, "v0001")
        assert caught.value.code == "unknown_model"
    assert not registry.data.exists(), "asking for what is not there makes nothing"
    with pytest.raises(MedGANError) as caught:
        registry.get(MODEL, "v0009")
    assert caught.value.code == "unknown_version"


def test_candidate_trained_from_a_version_that_no_longer_serves_is_refused(registry: Registry) -> None:
    made = candidate(registry, "a")
    publish(registry, "b")
    judged = registry.judge(made, True, "better", [])
    assert judged.record.state == "refused"
    assert "Another version" in judged.record.reason
    assert registry.current(MODEL).name == "v0003"


def test_cancelling_before_promotion_changes_nothing(registry: Registry) -> None:
    made = candidate(registry)

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        registry.judge(made, True, "better", [], cancelled)
    assert registry.current(MODEL).name == "v0001"
    assert registry.get(MODEL, made.name).record.state == "candidate"


@pytest.mark.parametrize("broken_write", [1, 2])
def test_crash_between_the_writes_of_a_promotion(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, broken_write: int
) -> None:
    """Whichever write the crash prevents, a whole version serves afterwards and promotion can be repeated."""
    made = candidate(registry)
    writes = []
    real = module.atomic_write_json

    def crashing(path: Path, value: object) -> None:
        writes.append(path)
        if len(writes) == broken_write:
            raise KeyboardInterrupt
        real(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(module, "atomic_write_json", crashing)
        with pytest.raises(KeyboardInterrupt):
            registry.judge(made, True, "better", [])
    assert registry.current(MODEL).name == "v0001"
    registry.current(MODEL).verify()
    registry.judge(registry.get(MODEL, made.name), True, "better", [])
    assert registry.current(MODEL).name == "v0002"


def test_crash_while_a_candidate_is_written_leaves_no_version(registry: Registry) -> None:
    with pytest.raises(OSError), registry.staging(MODEL, "run") as folder:
        (folder / WEIGHTS_FILE).write_bytes(b"half")
        raise OSError
    leftover = registry.data / MODEL / ".staging-killed"
    leftover.mkdir()
    assert [v.name for v in registry.versions(MODEL)] == ["v0001"]
    registry.remove_unfinished(MODEL)
    assert not leftover.exists()


def test_damaged_weights_are_never_served(registry: Registry) -> None:
    made = publish(registry)
    cache = ModelCache(Segmenter)
    weights = made.path / WEIGHTS_FILE
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelNotAvailable, match="damaged"):
        cache.get(registry.current(MODEL))
    assert registry.current(MODEL).name == "v0002", "no silent fall back"
    registry.serve(MODEL, "v0001")
    assert cache.get(registry.current(MODEL)).spec.name == MODEL
    with pytest.raises(ModelNotAvailable):
        registry.serve(MODEL, "v0002")
    assert registry.current(MODEL).name == "v0001"


def test_missing_weights_and_damaged_pointer_are_errors(registry: Registry) -> None:
    made = publish(registry)
    (made.path / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelNotAvailable, match="missing"):
        registry.current(MODEL).verify()
    (registry.data / MODEL / "current").write_text("")
    with pytest.raises(ModelNotAvailable):
        registry.current(MODEL)
    registry.serve(MODEL, "v0001")
    assert registry.current(MODEL).name == "v0001"


def test_version_with_a_damaged_record_counts_as_refused(registry: Registry) -> None:
    made = publish(registry)
    (made.path / "record.json").write_text("{")
    assert registry.get(MODEL, made.name).record.state == "refused"


def test_sealed_shipped_version_is_checked(models: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(models / MODEL, shipped / MODEL)
    registry = Registry(shipped, tmp_path / "data")
    registry.seal(MODEL, "v0001")
    assert registry.current(MODEL).record.checksum == weights_checksum(shipped / MODEL / "v0001")
    (shipped / MODEL / "v0001" / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(ModelNotAvailable):
        registry.current(MODEL).verify()


def _publish_many(shipped: Path, data: Path, name: str) -> None:
    registry = Registry(shipped, data)
    for number in range(5):
        registry.judge(candidate(registry, f"{name}-{number}"), False, name, [])
    os._exit(0)


def test_two_processes_do_not_lose_each_others_versions(registry: Registry, models: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_publish_many, args=(models, registry.data, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    made = registry.versions(MODEL)[1:]
    assert [v.name for v in made] == [f"v{n:04d}" for n in range(2, 12)]
    assert sorted(v.record.reason for v in made) == ["a"] * 5 + ["b"] * 5

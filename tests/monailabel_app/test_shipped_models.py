"""The models that ship: complete, undamaged, described."""

from __future__ import annotations

from pathlib import Path

import pytest

from monailabel_app.config import SHIPPED_MODELS
from monailabel_app.infers import TASKS
from monailabel_app.registry import Registry
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import evaluate, reference_cases


def shipped(folder: Path) -> Registry:
    return Registry(SHIPPED_MODELS, folder)


NAMES = Registry(SHIPPED_MODELS, Path("none")).models()


def test_there_are_some() -> None:
    assert "hippocampus_segmentation" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_version_is_whole_and_sealed(name: str, tmp_path: Path) -> None:
    for version in shipped(tmp_path).versions(name):
        assert version.record.checksum, f"run: python -m monailabel_app seal {name} {version.name}"
        version.verify()
        spec = ModelSpec.load(version.path)
        assert (spec.name, spec.version) == (name, version.name)
        assert spec.task in TASKS
        assert spec.licence and spec.data and spec.metrics
        assert (version.path / "card.md").stat().st_size > 200


@pytest.mark.parametrize("name", NAMES)
def test_reference_cases_are_segmented_well(name: str, tmp_path: Path) -> None:
    version = shipped(tmp_path).current(name)
    cases = reference_cases(version.path)
    assert cases, "without them the gate cannot tell forgetting"
    assert evaluate(version.path, cases[:2]).dice_mean > 0.8

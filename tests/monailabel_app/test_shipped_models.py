"""The models that ship: complete, undamaged, described."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monailabel_app.config import SHIPPED_MODELS
from monailabel_app.infers import TASKS, load
from monailabel_app.infers.base import any_spec
from monailabel_app.registry import Registry
from trainers.data.sets import Sample
from trainers.files import read_json
from trainers.spec import ModelSpec
from trainers.tasks.segmentation import evaluate, reference_cases


def shipped(folder: Path) -> Registry:
    return Registry(SHIPPED_MODELS, folder)


NAMES = Registry(SHIPPED_MODELS, Path("none")).models()


def of_task(task: str) -> list[str]:
    return [name for name in NAMES if any_spec(shipped(Path("none")), name).task == task]


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


@pytest.mark.parametrize("name", of_task("segmentation"))
def test_reference_cases_are_segmented_well(name: str, tmp_path: Path) -> None:
    version = shipped(tmp_path).current(name)
    cases = reference_cases(version.path)
    assert cases, "without them the gate cannot tell forgetting"
    assert evaluate(version.path, cases[:2]).dice_mean > 0.8


@pytest.mark.parametrize("name", of_task("synthesis"))
def test_images_are_made_again_by_their_seed_and_are_not_flat(name: str, tmp_path: Path) -> None:
    model = load(shipped(tmp_path).current(name).path)
    first, second = model(number=2, seed=1)
    again = model(number=1, seed=second.seed, target=second.target, modality=second.modality)[0]
    assert np.array_equal(second.image.array, again.image.array)
    assert first.image.array.std() > 0 and not np.array_equal(first.image.array, second.image.array)


@pytest.mark.parametrize("name", of_task("reconstruction"))
def test_figures_are_told_beside_what_one_has_without_a_network(name: str, tmp_path: Path) -> None:
    version = shipped(tmp_path).current(name)
    load(version.path)
    spec = ModelSpec.load(version.path)
    assert spec.licence.startswith("CC BY"), "weights ship only where their data allow it"
    assert (version.path / "samples.png").is_file() and "95 %" in (version.path / "card.md").read_text()
    assert {"per_case", "pairs"} & set(read_json(version.path / "figures.json")), "of each patient"


@pytest.mark.parametrize("name", of_task("anomaly"))
def test_an_image_without_any_detail_is_as_unusual_as_can_be_said(name: str, tmp_path: Path) -> None:
    detector = load(shipped(tmp_path).current(name).path)
    window, scores = detector.settings.window, detector.calibrations()[0]
    assert len(scores.scores) >= 19, "fewer cannot promise a rate of 0.05"
    gradient = np.broadcast_to(np.linspace(50, 200, window[0]).reshape(-1, *[1] * (len(window) - 1)), window)
    ((heat, score),) = detector.look([Sample(gradient[None].astype(np.float32), None, np.eye(4))])
    assert heat.shape == window and np.isfinite(heat).all() and heat.min() >= 0
    assert scores.chance(score) == scores.least

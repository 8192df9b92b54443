"""Figures of voxels: by hand, and in memory that does not grow with the images."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tests.trainers.anomaly.world import pictures
from trainers.data.sets import Entry, Sample
from trainers.metrics.anomaly import auroc, dice
from trainers.monitor import Monitor
from trainers.tasks.anomaly import evaluate, infer, lesions, voxels
from trainers.tasks.anomaly.infer import BATCH, read_batches
from trainers.tasks.anomaly.methods import MEDGAN
from trainers.tasks.anomaly.report import card_metrics, short
from trainers.tasks.anomaly.voxels import Levels, Marked, voxel_figures


def example(seed: int, size: tuple[int, ...] = (24, 20, 16)) -> tuple[np.ndarray, np.ndarray]:
    """Heat, of which some is below 0, and a box in which it is mostly higher."""
    random = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    mask[4:12, 4:10, 3:9] = 1
    heat = random.normal(0.3, 1, size) + 1.5 * mask
    return (np.sign(heat) * heat**2).astype(np.float32), mask


def marked(number: int = 6) -> Marked:
    made = Marked()
    for seed in range(number):
        made.add(*example(seed))
    return made


def test_figures_by_hand() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    heat = np.arange(16, 0, -1).reshape(4, 4).astype(float)
    for made in (Marked([heat, heat], [mask, mask]), Marked(levels=[Levels.of(heat, mask)] * 2)):
        figures = voxel_figures(made, 11.0, 20)
        assert figures["auroc"]["value"] == 1 and figures["best_dice"]["value"] == 1
        assert figures["calibrated_dice"]["value"] == pytest.approx(2 * 4 / (6 + 4))


def test_an_image_that_is_abnormal_throughout_has_no_area() -> None:
    heat, mask = example(0)
    whole = np.ones_like(mask, bool)
    for made in (
        Marked([heat, heat], [mask > 0, whole]),
        Marked(levels=[Levels.of(heat, m) for m in (mask > 0, whole)]),
    ):
        alone = auroc(heat[mask == 0], heat[mask > 0])
        assert voxel_figures(made, 3.0, 20)["auroc"]["value"] == pytest.approx(alone, abs=1e-3)
    figures = voxel_figures(Marked([heat], [whole]), 3.0, 20)
    assert figures["auroc"]["value"] is None and short(figures["auroc"]) == "–"
    lesions_row = {"images": 1, "methods": {MEDGAN: figures}}
    assert set(card_metrics({"lesions": [lesions_row]})) == {"lesion_best_dice", "lesion_calibrated_dice"}


def test_levels_are_as_good_as_the_map() -> None:
    heat, mask = example(0)
    levels, there = Levels.of(heat, mask > 0), mask > 0
    assert levels.voxels.sum() == heat.size and levels.abnormal.sum() == there.sum()
    assert (np.diff(levels.values) > 0).all() and np.abs(levels.values).max() <= np.abs(heat).max()
    assert levels.auroc() == pytest.approx(auroc(heat[~there], heat[there]), abs=1e-4)
    cuts = np.array([-1.0, 0.1, 1.0, 2.0, 1e6])
    np.testing.assert_allclose(levels.dice(cuts), [dice(heat > cut, there) for cut in cuts], atol=5e-3)
    ties = Levels.of(np.ones((2, 2)), np.eye(2, dtype=bool))
    assert ties.auroc() == 0.5 and ties.dice(np.array([0.5, 1.0])).tolist() == [pytest.approx(2 / 3), 0]


def test_of_many_voxels_the_figures_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = voxel_figures(marked(), 3.0, 100)
    monkeypatch.setattr(voxels, "EXACT", 3 * 24 * 20 * 16)
    condensed = marked()
    assert len(condensed) == len(condensed.levels) == 6 and not condensed.heats and not condensed.masks
    found = voxel_figures(condensed, 3.0, 100)
    for name in ("auroc", "best_dice", "calibrated_dice"):
        for end, value in exact[name].items():
            assert found[name][end] == pytest.approx(value, abs=3e-3), (name, end)
    assert found["best_threshold"] == pytest.approx(exact["best_threshold"], rel=0.01)


def test_maps_of_several_lesions_are_joined_whether_condensed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    few, whole = marked(2), marked(2)
    whole.join(few)
    assert len(whole) == 4 and len(whole.heats) == 4 and whole.heats[2] is few.heats[0]
    monkeypatch.setattr(voxels, "EXACT", 5 * 24 * 20 * 16)
    whole.join(marked(6))
    whole.join(few)
    assert len(whole) == len(whole.levels) == 12 and not whole.heats


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 maps of 0.26 million voxels would be 52 MB, and twice that when they are pooled."""
    monkeypatch.setattr("trainers.tasks.anomaly.voxels.EXACT", 1_000_000, raising=False)
    tracemalloc.start()
    try:
        made = evaluate.Marked()
        for seed in range(40):
            made.add(*example(seed, (64, 64, 64)))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        evaluate.voxel_figures(made, 3.0, 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 15e6 and peak < 40e6


def test_large_images_are_not_read_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = pictures(40, 0).entries
    assert [len(part) for part in read_batches(entries)] == [BATCH, BATCH, 8]
    monkeypatch.setattr(infer, "AT_ONCE", 2 * 20 * 16)
    assert [len(part) for part in read_batches(entries[:5])] == [2, 2, 1]
    monkeypatch.setattr(infer, "AT_ONCE", 1)
    assert [len(part) for part in read_batches(entries[:2])] == [1, 1]


def test_measuring_holds_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.tasks.anomaly.infer.AT_ONCE", 3 * 20 * 16, raising=False)
    detector = Looker()
    found = evaluate.look(detector, pictures(8, 0).entries, marked_pictures(5))  # type: ignore[arg-type]
    assert max(detector.seen) == 3 and len(found.normal) == 8 and len(found.abnormal) == 5
    assert len(found.marked) == 5
    detectors = {"one": Looker(), "two": Looker()}
    made = lesions._marked(detectors, marked_pictures(7), Monitor())  # type: ignore[arg-type]
    assert {name: len(one) for name, one in made.items()} == {"one": 7, "two": 7}
    assert detectors["two"].seen == [3, 3, 1]


class Looker:
    """A detector that takes the image for its heat, and remembers how many images it was given at a time."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def look(self, samples: list[Sample]) -> list[tuple[np.ndarray, float]]:
        self.seen.append(len(samples))
        return [(sample.image[0], float(sample.image.max())) for sample in samples]


def marked_pictures(number: int) -> list[Entry]:
    """Ill pictures with a label map."""
    return [replace(entry, read=_Boxed(entry)) for entry in pictures(0, number).entries]


class _Boxed:
    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __call__(self) -> Sample:
        label = np.zeros((20, 16), np.uint8)
        label[6:14, 4:12] = 1
        return replace(self.entry.read(), label=label)

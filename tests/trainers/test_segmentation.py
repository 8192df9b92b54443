"""A small network learns balls; it finds them anywhere, is measured right, and learns from corrections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.conftest import ball
from trainers.augment import Augmentation
from trainers.data.cases import Case
from trainers.data.volumes import Volume, VolumeError, write_volume
from trainers.fit import fit
from trainers.losses.anchor import l2_sp
from trainers.metrics import label_metrics
from trainers.monitor import Cancelled, Monitor
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable, ModelSpec, save_weights, weights_checksum
from trainers.task import FitConfig
from trainers.tasks.segmentation import (
    FinetuneConfig,
    Roi,
    SegmentationConfig,
    SegmentationTask,
    Segmenter,
    evaluate,
    finetune,
)
from trainers.tasks.segmentation.samples import load_samples, organ_points

MILD = Augmentation(rotate=0.1, scale=0.1, translate=1.0, distortion=0.0, intensity=0.0)
FIT = FitConfig(steps=150, batch_size=2, learning_rate=5e-3, ema=0.9, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned balls (about 10 s), shared by the module's tests; not to be changed."""
    folder = tmp_path_factory.mktemp("ball")
    make: Any = {"tmp_path": folder}
    spec = _fixture_value("tiny_spec")
    cases = _fixture_value("ball_cases", **make)
    torch.manual_seed(0)
    task = SegmentationTask(
        spec, build(spec.network), cases, config=SegmentationConfig((16, 16, 16), augmentation=MILD)
    )
    networks, _ = fit(task, FIT)
    save_weights(networks["generator"], folder / WEIGHTS_FILE)
    spec.save(folder)
    return folder


def _fixture_value(name: str, **arguments: Any) -> Any:
    import tests.trainers.conftest as shared

    return getattr(shared, name).__wrapped__(**arguments)


def two_balls(affine: np.ndarray) -> tuple[Volume, Volume]:
    """A 60 x 40 x 40 image with two balls."""
    one, two = ball((60, 40, 40), (15.0, 20.0, 20.0)), ball((60, 40, 40), (45.0, 18.0, 22.0))
    label = np.where(one[1] > 0, one[1], two[1])
    return Volume(one[0] + two[0], affine), Volume(label, affine)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum() + (b > 0).sum())


def test_it_segments_a_crop_with_the_label_values_of_the_spec(trained: Path, ball_cases: list[Case]) -> None:
    report = evaluate(trained, ball_cases)
    assert report.dice_mean > 0.85
    assert set(report.dice) == {"low", "high"}
    assert report.seconds > 0
    json.dumps(report.as_dict(), allow_nan=False)


FLIPPED = np.array([[0, -1, 0, 40], [0, 0, 1, -3], [-1, 0, 0, 7], [0, 0, 0, 1]], float)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1, -1, 1, 1.0]), FLIPPED])
def test_points_find_each_organ_in_a_large_image_of_any_orientation(trained: Path, affine: np.ndarray) -> None:
    image, truth = two_balls(affine)
    middles = organ_points(truth)
    assert len(middles) == 2
    found = Segmenter(trained)(image, points=[np.add(p, (2.0, -2.0, 2.0)) for p in middles])
    assert dice(found.label.array, truth.array) > 0.85
    assert found.label.array.dtype == np.uint8
    assert np.array_equal(found.label.affine, affine)
    only_one = Segmenter(trained)(image, points=middles[:1])
    assert 0.4 < (only_one.label.array > 0).sum() / (truth.array > 0).sum() < 0.6


def test_a_region_finds_what_it_covers(trained: Path) -> None:
    image, truth = two_balls(np.eye(4))
    found = Segmenter(trained)(image, roi=Roi((30, 20, 20), (56, 20, 20)))
    assert dice(found.label.array, truth.array) > 0.8
    left = Segmenter(trained)(image, roi=Roi((15, 20, 20), (16, 16, 16)))
    assert (left.label.array[30:] > 0).sum() == 0 and (left.label.array[:30] > 0).sum() > 200


def test_uncertainty_is_at_the_border_and_zero_where_it_did_not_look(trained: Path) -> None:
    image, truth = two_balls(np.eye(4))
    found = Segmenter(trained)(image, points=organ_points(truth)[:1])
    values = found.uncertainty.array
    assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= np.log(3) + 1e-4
    assert (values[40:] == 0).all() and values.max() > 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Place a point"),
        ({"points": [(500.0, 0.0, 0.0)]}, "outside the image"),
        ({"roi": Roi((500, 0, 0), (10, 10, 10))}, "outside the image"),
        ({"roi": Roi((30, 20, 20), (10, 0, 10))}, "no extent"),
    ],
)
def test_a_large_image_needs_a_place_to_look(untrained: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message) as caught:
        Segmenter(untrained)(two_balls(np.eye(4))[0], **arguments)
    assert caught.value.code == "needs_region"


class Blind(torch.nn.Module):
    """A network that sees background everywhere, or foreground in one corner of every window."""

    def __init__(self, corner: int = 0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.corner = corner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(image.shape[0], 3, *image.shape[2:])
        logits[:, 0] = 5
        if self.corner:
            logits[:, 1, : self.corner, : self.corner, : self.corner] = 10
        return logits


def test_nothing_found_is_said(tiny_spec: ModelSpec) -> None:
    blind, (image, _) = Segmenter.from_network(tiny_spec, Blind()), two_balls(np.eye(4))
    near = blind(image, points=[(30.0, 20.0, 20.0)])
    assert not near.label.array.any() and "point 1" in near.warnings[0]
    assert "region" in blind(image, roi=Roi((30, 20, 20), (20, 20, 20))).warnings[0]
    assert "image" in blind(Volume(image.array[:16, :16, :16], np.eye(4))).warnings[0]


def test_what_lies_outside_a_region_is_not_taken_for_its_organ(trained: Path) -> None:
    image, _ = two_balls(np.eye(4))
    found = Segmenter(trained)(image, roi=Roi((30, 34, 34), (8, 8, 8)))
    assert not found.label.array.any() and found.warnings


def test_an_image_of_a_few_voxels_is_segmented(tiny_spec: ModelSpec) -> None:
    """A network that halves three times would be left with one voxel, which has no deviation."""
    network = {**tiny_spec.network, "channels": [4, 4, 8, 8], "strides": [2, 2, 2]}
    segmenter = Segmenter.from_network(tiny_spec, build(network))
    image = Volume(np.arange(27, dtype=np.float32).reshape(3, 3, 3), np.eye(4))
    for average in (True, False):
        assert segmenter(image, test_time_augmentation=average).label.shape == (3, 3, 3)


def test_two_organs_in_one_crop_are_both_found(trained: Path) -> None:
    one, two = ball((28, 16, 16), (7.0, 7.5, 7.5)), ball((28, 16, 16), (20.0, 7.5, 7.5))
    image = Volume(one[0] + two[0], np.eye(4))
    for points in ((), [(7.0, 7.0, 7.0), (20.0, 8.0, 8.0)]):
        label = Segmenter(trained)(image, points=points).label.array
        assert (label[:13] > 0).sum() > 200 and (label[15:] > 0).sum() > 200
    only = Segmenter(trained)(image, points=[(20.0, 8.0, 8.0)]).label.array
    assert (only[15:] > 0).sum() > 200 > (only[:11] > 0).sum()


def test_the_window_moves_onto_the_organ(trained: Path) -> None:
    """A point at the organ's edge finds as much of it as one in its middle."""
    image, truth = two_balls(np.eye(4))
    edge = Segmenter(trained)(image, points=[(15.0, 13.0, 14.0)])
    assert dice(edge.label.array[:30], truth.array[:30]) > 0.85


TILTED = np.array([[1, 0, 0, 5], [0, 0.82, -0.574, 3], [0, 0.574, 0.82, -9], [0, 0, 0, 1]])


def test_a_tilted_scan_is_segmented_in_place(trained: Path) -> None:
    image, truth = two_balls(TILTED)
    found = Segmenter(trained)(image, points=organ_points(truth))
    assert ((found.label.array > 0) == (truth.array > 0)).mean() > 0.99
    assert dice(found.label.array, truth.array) > 0.8


def test_views_are_averaged_only_when_asked(tiny_spec: ModelSpec) -> None:
    class Counting(Blind):
        calls = 0

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            Counting.calls += 1
            return super().forward(image)

    image = Volume(ball((16, 16, 16), (8.0, 8.0, 8.0))[0], np.eye(4))
    model = Segmenter.from_network(tiny_spec.replace(views=[0.8, 1.0, 1.2]), Counting())
    model(image, test_time_augmentation=False)
    assert Counting.calls == 1
    model(image)
    assert Counting.calls == 1 + 6


def test_a_region_of_a_whole_body_is_refused_at_once(untrained: Path) -> None:
    body = Volume(np.zeros((200, 200, 200), np.uint8), np.eye(4))
    with pytest.raises(VolumeError, match="closer around"):
        Segmenter(untrained)(body, roi=Roi((100, 100, 100), (200, 200, 200)))


def test_a_large_image_without_labels_is_left_out_of_a_measurement(untrained: Path, tmp_path: Path) -> None:
    image, label = two_balls(np.eye(4))
    case = Case("empty", tmp_path / "i.nrrd", tmp_path / "l.nrrd")
    write_volume(case.image, image)
    write_volume(case.label, label.like(np.zeros_like(label.array)))
    report = evaluate(untrained, [case])
    assert report.skipped == ["empty"] and not report.per_case


def test_inference_can_be_cancelled(untrained: Path) -> None:
    class Stop(Monitor):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        Segmenter(untrained)(two_balls(np.eye(4))[0], points=[(15, 20, 20)], monitor=Stop())


def test_the_sides_of_a_mirrored_image_are_mirrored(trained: Path) -> None:
    """With mirrored averaging the result of a mirrored image is the mirrored result."""
    image, _ = ball((16, 16, 16), (6.0, 8.0, 7.0))
    model = Segmenter(trained)
    plain = model(Volume(image, np.eye(4))).label.array
    mirrored = model(Volume(image[::-1].copy(), np.eye(4))).label.array
    assert dice(mirrored[::-1], plain) > 0.999


def test_metrics_against_hand_counting() -> None:
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[2:6, 2:6, 2:6] = 3
    moved = np.roll(truth, 1, 0)
    got = label_metrics(moved, truth, {"low": 3, "high": 7}, (2.0, 1.0, 1.0))
    assert got["dice"]["low"] == pytest.approx(0.75)
    assert got["hd95_mm"]["low"] == pytest.approx(2.0)
    assert np.isnan(got["dice"]["high"]) and np.isnan(got["hd95_mm"]["high"])
    missed = label_metrics(truth * 0, truth, {"low": 3}, (1, 1, 1))
    assert missed["dice"]["low"] == 0 and np.isinf(missed["hd95_mm"]["low"])


def test_l2_sp_is_half_the_squared_distance() -> None:
    network = torch.nn.Linear(2, 1)
    start = {n: p.detach() - 0.5 for n, p in network.named_parameters()}
    assert float(l2_sp(network, start).detach()) == pytest.approx(0.5 * 3 * 0.25)


def test_samples_of_a_large_image_are_windows_around_each_organ(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    image, label = two_balls(np.diag([-1, 1, 1, 1.0]))
    case = Case("big", tmp_path / "i.nrrd", tmp_path / "l.nrrd")
    write_volume(case.image, image)
    write_volume(case.label, label)
    samples = load_samples([case], tiny_spec)
    assert [s.image.shape for s in samples] == [(16, 16, 16)] * 2
    assert all(set(np.unique(s.label)) == {0, 1, 2} for s in samples)


class Ear(Monitor):
    def __init__(self, stop_at: int = 10**9) -> None:
        self.heard: list[dict[str, Any]] = []
        self.stop_at = stop_at

    def report(self, **state: Any) -> None:
        self.heard.append(state)

    def check(self) -> None:
        if len(self.heard) >= self.stop_at:
            raise Cancelled


def test_finetuning_improves_a_poor_model_and_leaves_it_alone(
    untrained: Path, ball_cases: list[Case], tmp_path: Path
) -> None:
    before, checksum = evaluate(untrained, ball_cases[4:]).dice_mean, weights_checksum(untrained)
    ear = Ear()
    config = FinetuneConfig(epochs=8, least_steps=10, learning_rate=5e-3, anchor=0, device="cpu")
    finetune(untrained, tmp_path / "new", ball_cases[:4], ball_cases[4:], config=config, monitor=ear)
    after = evaluate(tmp_path / "new", ball_cases[4:]).dice_mean
    assert after > before + 0.3
    assert weights_checksum(untrained) == checksum
    metrics = [(s["epoch"], s["metric"]) for s in ear.heard if "metric" in s]
    assert [e for e, _ in metrics] == list(range(1, 9)) and metrics[-1][1] > before
    assert ModelSpec.load(tmp_path / "new").training["finetuned"]["cases"] == 4
    assert (tmp_path / "new" / "card.md").is_file()


def test_a_cancelled_finetune_writes_nothing(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        finetune(untrained, tmp_path / "new", ball_cases, monitor=Ear(stop_at=3))
    assert not (tmp_path / "new").exists()


def test_the_anchor_keeps_weights_near(untrained: Path, ball_cases: list[Case], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    start = load_file(untrained / WEIGHTS_FILE)
    moved = {}
    for name, anchor in (("free", 0.0), ("held", 10.0)):
        config = FinetuneConfig(epochs=1, least_steps=25, learning_rate=3e-3, anchor=anchor, device="cpu")
        finetune(untrained, tmp_path / name, ball_cases[:2], config=config)
        tuned = load_file(tmp_path / name / WEIGHTS_FILE)
        moved[name] = sum(float((tuned[k].float() - start[k]).square().sum()) for k in start)
    assert moved["held"] < 0.5 * moved["free"]


def test_the_adversarial_term_trains_both_networks(tiny_spec: ModelSpec, ball_cases: list[Case]) -> None:
    config = SegmentationConfig((16, 16, 16), adversarial=0.01, augmentation=MILD)
    task = SegmentationTask(tiny_spec, build(tiny_spec.network), ball_cases, config=config)
    before = {n: next(net.parameters()).detach().clone() for n, net in task.networks.items()}
    networks, _ = fit(task, FitConfig(steps=3, precision="fp32", device="cpu"))
    assert set(networks) == {"generator", "discriminator"}
    for name, start in before.items():
        assert not torch.equal(start, next(task.networks[name].parameters()))


def test_a_model_without_weights_does_not_load(untrained: Path) -> None:
    (untrained / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelNotAvailable, match="missing"):
        Segmenter(untrained)

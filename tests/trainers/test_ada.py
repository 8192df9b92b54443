"""Adaptive augmentation (ADA): how often images are changed, by how sure the discriminator is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import diffaugment
from trainers.diffaugment import AdaptiveAugment


def sure(n: int = 100) -> Tensor:
    return torch.full((n, 1), 5.0)


def test_ada_starts_with_nothing_and_rises_with_a_sure_discriminator_to_its_maximum() -> None:
    module = AdaptiveAugment(kimg=1, maximum=0.8)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(module(images), images)
    seen = [module.p.item()]
    for _ in range(20):
        module.update(sure())
        seen.append(module.p.item())
    assert seen == sorted(seen) and seen[-1] == pytest.approx(0.8)
    assert not torch.equal(module(images), images)


def test_ada_falls_with_an_unsure_discriminator_and_not_below_0() -> None:
    module = AdaptiveAugment(kimg=1)
    module.p.fill_(0.35)
    unsure = torch.tensor([1.0, -1.0]).repeat(50)
    values = []
    for _ in range(6):
        module.update(unsure)
        values.append(module.p.item())
    assert values == pytest.approx([0.25, 0.15, 0.05, 0, 0, 0], abs=1e-6)


def test_one_step_of_ada_is_its_images_by_kimg() -> None:
    module = AdaptiveAugment(kimg=2, window=1)
    module.update(sure(50))
    assert module.p.item() == pytest.approx(50 / 2000)
    module.update(torch.tensor([3.0, 3.0, 3.0, -3.0]))  # r = 0.5 is below 0.6
    assert module.sign.item() == pytest.approx(0.5)
    assert module.p.item() == pytest.approx(50 / 2000 - 4 / 2000)


def test_ada_holds_where_certainty_is_on_target() -> None:
    module = AdaptiveAugment(kimg=1, target=0.5, window=1)
    module.p.fill_(0.3)
    module.update(torch.tensor([1.0, 1.0, 1.0, -1.0]))
    assert module.p.item() == pytest.approx(0.3)


def test_certainty_is_averaged_over_recent_updates() -> None:
    module = AdaptiveAugment(window=4)
    module.update(torch.ones(8, 1, 3, 3))
    assert module.sign.item() == pytest.approx(0.25)
    module.update(-torch.ones(8, 1, 3, 3))
    assert module.sign.item() == pytest.approx(0.75 * 0.25 - 0.25)


def test_relativistic_scores_are_judged_against_the_mean_fake_one() -> None:
    alone, against = AdaptiveAugment(window=1), AdaptiveAugment(window=1)
    real, fake = torch.tensor([-7.0, -8.0, -9.0, -10.0]), torch.tensor([-20.0, -21.0])
    alone.update(real)
    against.update(real, fake)
    assert alone.sign.item() == -1 and against.sign.item() == 1
    against.update(real, torch.tensor([-9.5, -7.5]))
    assert against.sign.item() == pytest.approx((1 + 1 - 1 - 1) / 4)


def test_each_patch_has_a_zero_of_its_own_to_a_relativistic_discriminator() -> None:
    """One column of scores lies far above the other; real ones are above fake ones in both."""
    module, offset = AdaptiveAugment(window=1), torch.tensor([100.0, -100.0])
    module.update(torch.full((4, 2), 1.0) + offset, torch.full((3, 2), 0.0) + offset)
    assert module.sign.item() == 1


def test_updates_make_no_graph() -> None:
    module = AdaptiveAugment()
    module.update(torch.ones(4, requires_grad=True) * 2)
    assert not module.sign.requires_grad and not module.p.requires_grad


def test_ada_resumes_from_its_state() -> None:
    first, second = AdaptiveAugment(kimg=1), AdaptiveAugment(kimg=1)
    for _ in range(5):
        first.update(sure())
    second.load_state_dict(first.state_dict())
    for module in (first, second):
        module.update(sure())
    assert second.p.item() == first.p.item() > 0 and second.sign.item() == first.sign.item() > 0


def test_several_processes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process' batch is all real to the discriminator, the other's half; together that is 0.5, below target."""

    def all_reduce(mean: Tensor) -> None:
        mean.add_(0.0)

    for name, value in {
        "is_available": lambda: True, "is_initialized": lambda: True, "get_world_size": lambda: 2,
        "all_reduce": all_reduce,
    }.items():  # fmt: skip
        monkeypatch.setattr(diffaugment.dist, name, value)
    module = AdaptiveAugment(kimg=1, window=1)
    module.p.fill_(0.5)
    module.update(sure(100))
    assert module.sign.item() == pytest.approx(0.5) and module.p.item() == pytest.approx(0.5 - 200 / 1000)


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"kimg": 0}, {"maximum": 1.5}, {"window": 0}])
def test_bad_settings_of_ada_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ADA needs"):
        AdaptiveAugment(**wrong)

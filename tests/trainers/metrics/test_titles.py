"""Names of figures for people: every figure that ships has one, and none is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.metrics.titles import title_of, titled
from trainers.spec import ModelSpec

SHIPPED = sorted((Path(__file__).parents[3] / "monailabel_app" / "models").glob("*/v0001"))


def spec(measurement: str = "", labels: dict[str, int] | None = None) -> ModelSpec:
    preprocess = {"measurement": measurement} if measurement else {}
    return ModelSpec("m", "reconstruction", "M", "", {"name": "unet"}, preprocess, labels or {})


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.parent.name)
def test_every_figure_that_ships_has_a_title_of_its_own(folder: Path) -> None:
    shown = titled(ModelSpec.load(folder))
    titles = [entry.get("title", name) for name, entry in shown.items()]
    assert shown and all("title" in entry for entry in shown.values())
    assert len(set(titles)) == len(titles)
    assert not any("_" in title or title[:1].islower() for title in titles)


@pytest.mark.parametrize(
    ("name", "measurement", "title", "unit"),
    [
        ("psnr_l1_2x", "super_resolution", "PSNR, twice as fine, safe image", "dB"),
        ("psnr_gan_4x", "undersampling", "PSNR, four times as fast, GAN strength 1", "dB"),
        ("ssim_l1", "low_dose", "SSIM, safe image", ""),
        ("dice_mean", "", "Dice", ""),
        ("dice_left", "", "Dice, left", ""),
        ("hd95_mm_left", "", "HD95, left", "mm"),
        ("EN_safe_CT_PET_SUV", "fusion", "Entropy, CT PET SUV, safe image", ""),
    ],
)
def test_titles(name: str, measurement: str, title: str, unit: str) -> None:
    told = title_of(name, spec(measurement, {"left": 1}))
    assert told == {"title": title, **({"unit": unit} if unit else {})}


@pytest.mark.parametrize(
    ("name", "measurement"),
    [("psnr_l1_3x", "super_resolution"), ("psnr_l1_2x", ""), ("dice_right", ""), ("sharpness", ""), ("psnr", "")],
)
def test_what_is_not_known_is_not_guessed(name: str, measurement: str) -> None:
    assert title_of(name, spec(measurement, {"left": 1})) == {}

"""Cards as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainers.card import write_card
from trainers.spec import ModelSpec


def lines(folder: Path, **more: Any) -> list[str]:
    network = {"name": "UNet"}
    spec = ModelSpec(
        name="one", task="synthesis", title="One", description="It does.", network=network, preprocess={}, **more
    )
    write_card(spec, folder)
    return (folder / "card.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ({"validation_kid_by_step": [[250, 1.5], [500, 0.25]]}, "- validation kid by step: 250: 1.5, 500: 0.25"),
        ({"validation_kid_by_step": [[250, 1.5]]}, "- validation kid by step: 250: 1.5"),
        (
            {"validation_psnr_by_step": {"l1": [[1, 2.5], [2, 3.5]], "gan": [[1, 3.0]]}},
            "- validation psnr by step: l1 1: 2.5, 2: 3.5, gan 1: 3.0",
        ),
        ({"task": {"patch": [64, 64], "seed": 0}}, "- task: patch 64 x 64, seed 0"),
        ({"task": {"patch": [], "seed": 0}}, "- task: seed 0"),
        ({"fit": {"betas": [0.9, 0.999]}}, "- fit: betas (0.9, 0.999)"),
        ({"task": {"windows": {"ct": [-160.0, 240.0]}}}, "- task: windows (ct (-160.0, 240.0))"),
        ({"patients": {"train": ["a", "b"], "test": ["c"]}}, "- patients: 2 for train, 1 for test (ids in spec.json)"),
    ],
)
def test_how_a_model_was_trained(tmp_path: Path, training: dict[str, Any], line: str) -> None:
    assert line in lines(tmp_path, training=training)


def test_what_is_empty_is_left_out(tmp_path: Path) -> None:
    assert not [line for line in lines(tmp_path, training={"minutes": 3, "normal": []}) if "normal" in line]


def test_what_is_good(tmp_path: Path) -> None:
    metrics = {
        "kid": {"value": 0.1, "higher_is_better": False},
        "ms_ssim": {"value": 0.6, "higher_is_better": False, "best": 0.57, "note": "of 400"},
    }
    told = lines(tmp_path, metrics=metrics)
    assert "- kid: 0.1 (lower is better)" in told and "- ms_ssim: 0.6 (0.57 is best, of 400)" in told

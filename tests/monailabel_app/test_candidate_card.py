"""The card of a version that was made here tells this version and its own figures."""

from __future__ import annotations

import shutil
from pathlib import Path

from server_world import MODEL
from test_finetune import clinic, train

from trainers.spec import CARD_FILE, ModelSpec


def test_the_card_of_a_candidate_is_its_own(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "shipped" / MODEL / "v0001"
    shutil.copytree(models / MODEL / "v0001", base)
    parent = ModelSpec.load(base)
    figures = {"dice_mean": {"value": 0.98765, "higher_is_better": True}}
    parent.replace(metrics=figures, limits="Only these heads.").save(base)
    task, store = clinic(tmp_path, tmp_path / "shipped")
    train(task, store, epochs=1)
    made = task.registry.get(MODEL, "v0002").path
    card, metrics = (made / CARD_FILE).read_text(encoding="utf-8"), ModelSpec.load(made).metrics
    assert card.startswith(f"# {parent.title} ({MODEL} v0002)")
    assert f"dice_mean: {metrics['dice_mean']['value']} (" in card and "this server's validation patients" in card
    assert "0.98765" not in card and "Only these heads." in card and "## Fine-tuning" in card

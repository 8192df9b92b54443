"""Model cards: what a model is, what it was trained on, how good it is and where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.files import atomic_write_text
from trainers.spec import CARD_FILE, ModelSpec


def write_card(spec: ModelSpec, model_dir: Path | str, limits: str = "") -> None:
    """Writes `model_dir/card.md` from a spec. `limits` is a paragraph on where the model fails."""
    parts = [
        f"# {spec.title} ({spec.name} {spec.version})", spec.description,
        _section("Labels", [f"- {value}: {name}" for name, value in spec.labels.items()]),
        _section("Data", [f"{spec.data} ({spec.licence})."] if spec.data else []),
        _section("Measured", [_metric(name, m) for name, m in spec.metrics.items()]),
        _section("Training", [f"- {key}: {value}" for key, value in spec.training.items()]),
        _section("Limits", [limits] if limits else []),
    ]  # fmt: skip
    atomic_write_text(Path(model_dir) / CARD_FILE, "\n\n".join(part for part in parts if part) + "\n")


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _metric(name: str, metric: dict[str, Any]) -> str:
    better = "higher" if metric.get("higher_is_better", True) else "lower"
    note = f", {metric['note']}" if metric.get("note") else ""
    return f"- {name}: {metric['value']} ({better} is better{note})"

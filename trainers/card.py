"""Model cards: what a model is, what it was trained on, how good it is and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.files import atomic_write_text
from trainers.spec import CARD_FILE, ModelSpec

CURVE = "_by_step"  # ends the names of what was measured during training: pairs of step and value
SIZES = frozenset({"patch", "window", "size", "factors"})


def write_card(
    spec: ModelSpec,
    model_dir: Path | str,
    sections: Mapping[str, Sequence[str]] | None = None,
    picture: str = "",
) -> None:
    """Writes `model_dir/card.md` from a spec.

    Args:
        spec: the model.
        model_dir: its folder.
        sections: more of them, title to lines, behind the figures.
        picture: a file beside the card, to be shown in it.
    """
    training = {key: value for key, value in spec.training.items() if key != "finetuned"}
    tuned = spec.training.get("finetuned", {})
    parts = [
        f"# {spec.title} ({spec.name} {spec.version})", spec.description,
        f"![Samples]({picture})" if picture else "",
        _section("Classes", [f"- {name}" for name in spec.classes]),
        _section("Labels", [f"- {value}: {name}" for name, value in spec.labels.items()]),
        _section("Data", [f"{spec.data} ({spec.licence})."] if spec.data else []),
        _section("Measured", [_metric(name, m) for name, m in spec.metrics.items()] or ["Not measured."]),
        *(_section(title, [f"- {line}" for line in lines]) for title, lines in (sections or {}).items()),
        _section("Fine-tuning", _lines(tuned)),
        _section("Training before the fine-tuning" if tuned else "Training", _lines(training)),
        _section("Limits", [spec.limits] if spec.limits else []),
    ]  # fmt: skip
    atomic_write_text(Path(model_dir) / CARD_FILE, "\n\n".join(part for part in parts if part) + "\n")


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _metric(name: str, metric: dict[str, Any]) -> str:
    better = "higher" if metric.get("higher_is_better", True) else "lower"
    notes = [f"{metric['best']:g} is best" if "best" in metric else f"{better} is better", metric.get("note", "")]
    if "cases" in metric:
        notes.append(f"{metric['cases']} cases, {metric.get('measured_on', '')}".rstrip(", "))
    return f"- {name}: {metric['value']} ({', '.join(note for note in notes if note)})"


def _lines(values: Mapping[str, Any]) -> list[str]:
    patients = ("split", "patients")
    told = [(key, _split(value) if key in patients else _text(value, key)) for key, value in values.items()]
    return [f"- {_words(key)}: {text}" for key, text in told if text]


def _split(parts: Mapping[str, list[str]]) -> str:
    """How many patients were kept away; which ones is in spec.json."""
    named = {part: ids for part, ids in parts.items() if isinstance(ids, list)}
    return ", ".join(f"{len(ids)} for {part}" for part, ids in named.items()) + " (ids in spec.json)"


def _text(value: Any, key: str, nested: bool = False) -> str:
    """A value as one reads it: a mapping as names with values, a curve as `step: value`, sizes as `64 x 64`."""
    if isinstance(value, Mapping):
        told = {k: _text(v, key if key.endswith(CURVE) else k, True) for k, v in value.items()}
        text = ", ".join(f"{_words(k)} {v}" for k, v in told.items() if v)
        return f"({text})" if nested else text
    if not isinstance(value, list | tuple):
        return str(value)
    if key.endswith(CURVE):
        return ", ".join(f"{step}: {measured}" for step, measured in value)
    if key in SIZES:
        return " x ".join(map(str, value))
    text = ", ".join(_text(v, key, True) for v in value)
    return f"({text})" if nested and text else text


def _words(key: str) -> str:
    return key.replace("_", " ")

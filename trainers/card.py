"""Model cards: what a model is, what it was trained on, how good it is and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.files import atomic_write_text
from trainers.spec import CARD_FILE, ModelSpec


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
    return [f"- {_words(key)}: {_split(value) if key in patients else _text(value)}" for key, value in values.items()]


def _split(parts: Mapping[str, list[str]]) -> str:
    """How many patients were kept away; which ones is in spec.json."""
    named = {part: ids for part, ids in parts.items() if isinstance(ids, list)}
    return ", ".join(f"{len(ids)} for {part}" for part, ids in named.items()) + " (ids in spec.json)"


def _text(value: Any, nested: bool = False) -> str:
    """A value as one reads it: a mapping as names with values, pairs as `step: value`."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{_words(k)} {_text(v, nested=True)}" for k, v in value.items())
        return f"({text})" if nested else text
    if isinstance(value, list | tuple):
        separator = ": " if nested and len(value) == 2 else " x " if nested else ", "
        return separator.join(_text(v, nested=True) for v in value)
    return str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")

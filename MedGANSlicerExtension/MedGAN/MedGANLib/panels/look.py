"""Colours and words that all panels share. The colours are readable on Slicer's light and dark styles."""

from __future__ import annotations

import html
from typing import Any, Iterable, Mapping

COLORS = {"info": (84, 110, 122), "success": (46, 125, 50), "warning": (239, 138, 0), "error": (211, 47, 47)}


def frame_style(name: str, kind: str) -> str:
    """Returns the style sheet of a message frame: a coloured edge and a breath of the same colour behind the text."""
    red, green, blue = COLORS.get(kind, COLORS["info"])
    edge = f"border: none; border-left: 4px solid rgb({red}, {green}, {blue})"
    return f"#{name} {{ {edge}; border-radius: 3px; background-color: rgba({red}, {green}, {blue}, 28); }}"


def allow(button: Any, allowed: bool, tip: str, reason: str) -> None:
    """Enables a button, or disables it and lets its tool tip say why.

    Args:
        button: The button.
        allowed: Whether it can be pressed.
        tip: What it does.
        reason: What is missing, when it cannot be pressed.
    """
    button.enabled = allowed
    button.toolTip = tip if allowed else f"{tip}. {reason}"


def put_text(label: Any, text: str) -> None:
    """Shows a text, or hides the label when there is none."""
    if label.text != text:
        label.text = text
    label.setVisible(bool(text))


def safe(text: Any) -> str:
    """Returns a text from elsewhere so that it cannot act as rich text."""
    return html.escape(str(text))


def dots(parts: Iterable[str]) -> str:
    """Joins what is there of `parts` with a raised dot."""
    return " · ".join(p for p in parts if p)


def duration(seconds: float) -> str:
    """Returns a time in words: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


NAMES = {"dice_mean": "Dice", "psnr": "PSNR", "ssim": "SSIM", "auroc": "AUROC", "auprc": "AUPRC"}
"""What servers without titles measure; a name that is not here is shown as it is."""
LABEL_DICE = "dice_"


def metric_name(name: str) -> str:
    """Returns a metric's name for people: `dice_mean` becomes `Dice`, `dice_anterior` becomes `Dice, anterior`."""
    if name in NAMES:
        return NAMES[name]
    return f"Dice, {name[len(LABEL_DICE) :]}" if name.startswith(LABEL_DICE) else name


def main_metric(metrics: Mapping[str, Any]) -> str:
    """Returns the first metric of a model or version, such as `Dice: 0.88`, or `not measured`."""
    for name, told in metrics.items():
        entry = told if isinstance(told, Mapping) else {"value": told}
        value = entry.get("value")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"{entry.get('title') or metric_name(name)}: {value:.3g} {entry.get('unit') or ''}".rstrip()
    return "not measured"


def swatch(color: Iterable[float]) -> str:
    """Returns a coloured square as rich text; the colour is RGB in 0…1."""
    red, green, blue = (round(255 * c) for c in color)
    return f'<span style="color: rgb({red},{green},{blue})">■</span>'

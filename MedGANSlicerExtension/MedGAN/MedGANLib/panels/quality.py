"""How good the result on screen is expected to be, as a traffic light that also speaks."""

from __future__ import annotations

from typing import Optional, Tuple

from ..reviews import AMBER, GREEN, RED, Quality
from ..workflow import State
from .look import put_text, safe
from .shared import Shared

LIGHTS = {GREEN: ("Good", (46, 125, 50)), AMBER: ("Check", (200, 110, 0)), RED: ("Poor", (211, 47, 47))}
"""Light -> its word and its colour (RGB)."""
UNKNOWN = ("Not scored", (120, 130, 140))
TIP = "What the model's judge expects of this result: its overlap (Dice) with a label drawn by hand, 1 at best"


class QualityPanel:
    """The light, the expected Dice with its range, and a sentence, beside the result."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = shared.ui
        self._ui.qualityLabel.toolTip = TIP

    def show(self, state: State) -> None:
        """Draws the light of the result that is on screen; nothing where there is none, or no judge."""
        quality = self._quality(state)
        put_text(self._ui.qualityLabel, quality_text(quality) if quality else "")

    def _quality(self, state: State) -> Optional[Quality]:
        result, segmentation = state.last_result, self._shared.segmentation
        if result is None or segmentation is None or result.segmentation_id != segmentation.GetID():
            return None
        return result.quality


def light_of(light: str) -> Tuple[str, Tuple[int, int, int]]:
    """Returns the word and the colour (RGB) of a light."""
    return LIGHTS.get(light, UNKNOWN)


def light_text(light: str) -> str:
    """Returns a light as rich text: a coloured dot and a word."""
    word, (red, green, blue) = light_of(light)
    return f'<span style="color: rgb({red},{green},{blue})">●</span> <b>{word}</b>'


def quality_text(quality: Quality) -> str:
    """Returns what is expected of a result, as rich text."""
    span = f" ({quality.low:.2f}–{quality.high:.2f})" if quality.high > quality.low else ""
    first = f"{light_text(quality.light)} · expected Dice <b>{quality.expected:.2f}</b>{span}"
    return "<br>".join(line for line in (first, safe(quality.text)) if line)

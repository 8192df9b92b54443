"""Which files are masks and not images, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainers.data.cases import stem

MODALITY = re.compile(r"(ct|mri?|pet|pt|spect|nm|flair|dwi|adc|swi|pd|t[12][a-z]*)([-_][a-z]\w*)*", re.IGNORECASE)
MASK = re.compile(r"mask|label|seg|roi|gtv|lesion|tumou?r|annotation|contour|truth", re.IGNORECASE)
ALONE = re.compile(rf"({MASK.pattern})s?", re.IGNORECASE)
IMAGE = re.compile(rf"image|img|scan|volume|vol|{MODALITY.pattern}", re.IGNORECASE)
PIECES = re.compile(r"[-_. ]+")
NAMED = 3  # masks that a note names


def without_masks(units: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images, and masks of some of them that lie beside them.

    A mask is named like an image with one word for masks more or instead of one for images (`a_seg` beside `a` or
    `a_ct`, `label_a` beside `a`), or with such a word alone (`labels` beside `CT`). Words for masks alone do not make
    one: images of lesions may be called `lesion_1`.

    Args:
        units: files, and folders that stand for a volume.
    """
    beside: dict[Path, set[str]] = {}
    for unit in units:
        beside.setdefault(unit.parent, set()).add(_name(unit).lower())
    masks = [unit for unit in units if _is_mask(_name(unit).lower(), beside[unit.parent])]
    left = [unit for unit in units if unit not in set(masks)]
    return (left, masks) if left else (list(units), [])


def note(masks: Sequence[Path]) -> str:
    """What was left out."""
    some = ", ".join(unit.name for unit in masks[:NAMED]) + (", …" if len(masks) > NAMED else "")
    one = f"1 file ({some}) is a mask by its name and was left out."
    return one if len(masks) == 1 else f"{len(masks)} files ({some}) are masks by their names and were left out."


def _is_mask(name: str, beside: set[str]) -> bool:
    if ALONE.fullmatch(name):
        return any(not ALONE.fullmatch(other) for other in beside)
    return any(base == other or _of_image(base, other) for base in _bases(name) for other in beside - {name})


def _bases(name: str) -> list[str]:
    """What is left of a name without the words for masks at its end, or at its beginning."""
    pieces = PIECES.split(name)
    found = []
    for words in (pieces, pieces[::-1]):
        count = next((n for n, word in enumerate(reversed(words)) if not MASK.search(word)), len(words))
        if 0 < count < len(words):
            rest = words[: len(words) - count]
            found.append(_joined(rest if words is pieces else rest[::-1]))
    return found


def _of_image(base: str, other: str) -> bool:
    """Whether a name is a base with words for images behind or before it."""
    pieces, wanted = PIECES.split(other), base.split("_")
    count = len(wanted)
    ends = ((pieces[:count], pieces[count:]), (pieces[-count:], pieces[:-count]))
    return any(part == wanted and rest and IMAGE.fullmatch("_".join(rest)) is not None for part, rest in ends)


def _joined(pieces: Sequence[str]) -> str:
    return "_".join(pieces)


def _name(unit: Path) -> str:
    return unit.name if unit.is_dir() else stem(unit)

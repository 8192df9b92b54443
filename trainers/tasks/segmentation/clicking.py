"""Measuring corrections: a simulated clinician clicks in the middle of the largest error, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from trainers.data.cases import Case
from trainers.data.volumes import Volume
from trainers.metrics import mean_dice
from trainers.preprocess import CanonicalGrid
from trainers.tasks.segmentation.clicks import Click
from trainers.tasks.segmentation.errors import correct
from trainers.tasks.segmentation.infer import Segmentation, Segmenter
from trainers.tasks.segmentation.regions import is_small
from trainers.tasks.segmentation.samples import load_case, organ_points

POOR = 0.75  # Dice below which a segmentation has to be corrected in any case


@dataclass(frozen=True)
class Curve:
    """One case: mean Dice over labels before the first click and after each, and seconds of each look."""

    id: str
    dice: list[float]
    seconds: list[float]

    def clicks_to(self, wanted: float) -> int | None:
        """How many clicks reach a Dice; None if these do not."""
        return next((number for number, value in enumerate(self.dice) if value >= wanted), None)


def measure_clicks(
    segmenter: Segmenter,
    case: Case,
    clicks: int,
    spoil: Callable[[Volume], Volume] = lambda image: image,
    average: bool = False,
    random: np.random.Generator | None = None,
) -> Curve:
    """Segments a case, then corrects it by one click after another. Clicks end early if nothing is wrong.

    Args:
        segmenter: a model that takes clicks.
        case: with its true label.
        clicks: how many.
        spoil: makes the image harder first.
        average: several views of the image, as long as there is no click.
        random: see `corrected`.
    """
    image, truth = load_case(case, segmenter.spec)
    curve, started = Curve(case.id, [], []), time.perf_counter()
    for found in corrected(segmenter, spoil(image), truth, clicks, average, random):
        curve.seconds.append(time.perf_counter() - started)
        curve.dice.append(mean_dice(found.label.array, truth.array, segmenter.spec.labels))
        started = time.perf_counter()
    return curve


def corrected(
    segmenter: Segmenter,
    image: Volume,
    truth: Volume,
    clicks: int,
    average: bool = False,
    random: np.random.Generator | None = None,
) -> Iterator[Segmentation]:
    """What a model finds before the first click and after each; ends early where nothing is wrong.

    Args:
        segmenter: a model that takes clicks.
        image: to segment.
        truth: its label.
        clicks: how many.
        average: several views of the image, as long as there is no click.
        random: of the places, see `trainers.tasks.segmentation.errors.correct`; None clicks into the middle.
    """
    small = is_small(CanonicalGrid(image, segmenter.settings.spacing), segmenter.settings)
    points = () if small else organ_points(truth)
    given: list[Click] = []
    for number in range(clicks + 1):
        found = segmenter(image, points=points, clicks=given, test_time_augmentation=average)
        yield found
        mark = correct(found.label.array, truth.array, random) if number < clicks else None
        if mark is None:
            break
        place = truth.affine @ [*mark.voxels[0], 1.0]
        given.append(Click(mark.index, (tuple(float(v) for v in place[:3]),)))  # type: ignore[arg-type]

"""How good a segmentation probably is, told without its truth: a discriminator's opinion and the entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainers.networks import load
from trainers.networks.judge import MaskJudge
from trainers.spec import ModelSpec, part_file
from trainers.tasks.segmentation.search import Find, entropy_of

Floats = npt.NDArray[np.float64]
PART = "discriminator"
DICE, ONE_VIEW = "dice", "dice_one_view"  # calibrations in a spec: of averaged views; of one, corrected or not
GOOD, POOR = 0.80, 0.75  # expected Dice: from the first on a label is fine, below the second it needs work
FEWEST = 10  # labels that a calibration is worth something with
SHRINK = 0.1  # of the fit, for each label; some dozen labels of few patients would fit it to chance
OUTSIDE = 0.1  # share of labels with that expectation that lie below the interval, and above it
NEIGHBOURS = 0.3  # share of the calibration's labels, those with the nearest expectation, that give the interval
TEXTS = {
    "green": "Probably good: look it over.",
    "amber": "Not sure to be good: check the borders.",
    "red": "Probably poor: correct it before you use it.",
}


@dataclass(frozen=True)
class Signs:
    """What is seen of one segmentation.

    Attributes:
        guess: the discriminator's guess of the mean Dice. realism: its score, above 0 for what looks like a clinician's
            label, where there is label. entropy: mean over what was labelled, nats. by_label: that of each label.
        features: of image and label, for comparing studies.
    """

    guess: float
    realism: float
    entropy: float
    by_label: dict[str, float]
    features: list[float]

    def numbers(self) -> list[float]:
        """What the calibration looks at."""
        return [self.guess, self.realism, self.entropy]


@dataclass(frozen=True)
class Quality:
    """An expected Dice.

    Attributes:
        expected_dice: mean over labels. low, high: 80 % of the calibration's labels with that expectation lay between.
        signs: what it was told from.
    """

    expected_dice: float
    low: float
    high: float
    signs: Signs

    @property
    def good(self) -> bool:
        """Whether there is nothing to warn of."""
        return self.expected_dice >= GOOD and self.low >= POOR

    @property
    def light(self) -> str:
        """`green`, `amber` or `red`."""
        if self.expected_dice < POOR:
            return "red"
        return "green" if self.good else "amber"

    def as_dict(self) -> dict[str, Any]:
        """What clients are told."""
        numbers = {key: round(getattr(self, key), 3) for key in ("expected_dice", "low", "high")}
        return {**numbers, "light": self.light, "text": TEXTS[self.light]}


@dataclass(frozen=True)
class Calibration:
    """From signs to Dice: a linear fit, and what it missed on patients not trained on.

    What is missed is told of each patient by a fit to the others, as in the jackknife+ of Barber et al., "Predictive
    inference with the jackknife+", Annals of Statistics 2021: a fit is nearer to its own labels than to new ones.

    Attributes:
        weights: of guess, realism, entropy and 1. expected, missed: of the labels of patients that the fit did not see,
            sorted by the first: expectation, and true Dice minus it.
    """

    weights: list[float]
    expected: list[float]
    missed: list[float]

    @classmethod
    def fit(cls, signs: Sequence[Signs], dice: Sequence[float], patients: Sequence[str]) -> Calibration:
        """Least squares with a little shrinkage.

        Args:
            signs: of labels.
            dice: how good each is.
            patients: whose each is.

        Raises:
            ValueError: fewer than 10 labels, or of one patient.
        """
        if len(dice) < FEWEST or len(set(patients)) < 2:
            raise ValueError(f"{len(dice)} labels are too few to calibrate on; {FEWEST} of two patients are the least.")
        seen, true, whose = np.array([[*s.numbers(), 1.0] for s in signs]), np.asarray(dice), np.asarray(patients)
        weights, expected = _least_squares(seen, true), np.empty(len(true))
        for patient in set(patients):
            mine = whose == patient
            expected[mine] = (seen[mine] @ _least_squares(seen[~mine], true[~mine])).clip(0, 1)
        order, missed = expected.argsort(), true - expected
        rounded = [[round(float(v), 4) for v in values] for values in (expected[order], missed[order])]
        return cls([round(float(w), 6) for w in weights], *rounded)

    def __call__(self, signs: Signs) -> Quality:
        """The expected Dice of a label with these signs."""
        value = float(np.clip(np.dot(self.weights, [*signs.numbers(), 1.0]), 0, 1))
        distance = np.abs(np.array(self.expected) - value)
        near = distance.argsort(kind="stable")[: max(5, round(NEIGHBOURS * len(distance)))]
        low, high = _outer(np.sort(np.array(self.missed)[near]))
        return Quality(value, float(np.clip(value + low, 0, 1)), float(np.clip(value + high, 0, 1)), signs)

    def as_dict(self) -> dict[str, list[float]]:
        """For a spec."""
        return asdict(self)


def _least_squares(seen: Floats, dice: Floats) -> Floats:
    """Weights of (label, sign) signs."""
    scale = np.append(seen[:, :-1].std(0) + 1e-6, 1.0)
    scaled = seen / scale
    shrink = np.diag([SHRINK * len(dice)] * (seen.shape[1] - 1) + [0.0])
    return np.linalg.solve(scaled.T @ scaled + shrink, scaled.T @ dice) / scale


def _outer(missed: Floats) -> tuple[float, float]:
    """Between what a next miss lies, all but OUTSIDE on either side, if it is one more of these, which are sorted.

    Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005: of so few, the ranks count the next.
    """
    rank = int(OUTSIDE * (len(missed) + 1))
    return float(missed[max(rank - 1, 0)]), float(missed[min(len(missed) - rank, len(missed) - 1)])


class Judge:
    """A model's own discriminator, ready to judge what the model finds.

    Args:
        network: on its device. labels: names of the model's labels, in the order of their classes.
        calibrations: by `DICE` and `ONE_VIEW`; none before there are any.
    """

    def __init__(
        self, network: MaskJudge, labels: Sequence[str], calibrations: Mapping[str, Calibration] | None = None
    ) -> None:
        self._network, self._labels, self._calibrations = network.eval(), list(labels), dict(calibrations or {})
        self._device = next(network.parameters()).device

    @classmethod
    def load(cls, model_dir: Path | str, spec: ModelSpec, device: torch.device) -> Judge | None:
        """The discriminator beside a model's weights, or None. Raises ModelNotAvailable if it is damaged."""
        if PART not in spec.parts:
            return None
        network = load(spec.parts[PART], part_file(model_dir, PART)).to(device)
        known = {key: spec.calibration[key] for key in (DICE, ONE_VIEW) if key in spec.calibration}
        return cls(network, label_names(spec), {key: Calibration(**c) for key, c in known.items()})  # type: ignore[arg-type]

    def __call__(self, finds: Sequence[Find], one_view: bool = False) -> Quality | None:
        """How good what was found probably is; None if nothing was found, or without a calibration.

        Args:
            finds: of an image.
            one_view: they come of one view, which is surer of itself than the mean of several.
        """
        calibration = self._calibrations.get(ONE_VIEW if one_view else DICE, self._calibrations.get(DICE))
        signs = self.signs(finds) if calibration else None
        return calibration(signs) if calibration and signs else None

    @torch.inference_mode()
    def signs(self, finds: Sequence[Find]) -> Signs | None:
        """What is seen of a segmentation, the mean over its organs; None if nothing was found."""
        seen = [self._look(find) for find in finds if find.foreground.any()]
        if not seen:
            return None
        by_label = {name: _mean([s.by_label[name] for s in seen if name in s.by_label]) for name in self._labels}
        guess, realism, entropy = (float(v) for v in np.mean([s.numbers() for s in seen], axis=0))
        features = np.mean([s.features for s in seen], axis=0)
        return Signs(guess, realism, entropy, by_label, [round(float(v), 4) for v in features])

    def _look(self, find: Find) -> Signs:
        image, maps = (
            torch.from_numpy(np.ascontiguousarray(a))[None].to(self._device) for a in (find.image, find.maps)
        )
        hard = torch.nn.functional.one_hot(maps.argmax(1), maps.shape[1]).movedim(-1, 1).float()
        features, weight = self._network.features(image[None], hard)
        patches = self._network.patch(features)
        _, logits = self._network(image[None], maps)
        total = weight.sum()
        realism = float((patches * weight).sum() / total)
        mean = ((features * weight).flatten(2).sum(2) / total)[0]
        return Signs(float(torch.sigmoid(logits).mean()), realism, *entropies(find, self._labels), mean.tolist())


def entropies(find: Find, labels: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Mean entropy, nats, of all that was labelled, and of each label; labels that were not found are left out."""
    entropy, found = entropy_of(find.maps), find.maps.argmax(0)
    by_label = {name: float(entropy[found == i].mean()) for i, name in enumerate(labels, 1) if (found == i).any()}
    return float(entropy[found > 0].mean()) if by_label else 0.0, by_label


def label_names(spec: ModelSpec) -> list[str]:
    """Names of a model's labels in the order of their classes, which is that of their values."""
    return sorted(spec.labels, key=lambda name: spec.labels[name])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0

"""Which study to label next: strategies of active learning, as pure functions of what a model says of each study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SHORTLIST = 1 / 3  # of the studies, by need, among which the hybrid looks for the one that is most unlike
FIRST_NOISE, NOISE_GONE = 1.0, 32  # of the stratified strategy: power at the start, and labels at which it is 100 times
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What a model says of one study.

    Attributes:
        entropy: mean predictive entropy of what it labelled, nats. by_label: of each label that it found.
        realism: the discriminator's score; higher looks more like a clinician's label. None without one.
        expected_dice: None without a calibrated discriminator.
        features: of image and label. found: whether it labelled anything at all.
    """

    entropy: float
    by_label: Mapping[str, float] = field(default_factory=dict)
    realism: float | None = None
    expected_dice: float | None = None
    features: Sequence[float] = ()
    found: bool = True


@dataclass(frozen=True)
class Pool:
    """What is chosen from.

    Attributes:
        waiting: studies without a label; None for those that the model has not looked at.
        labelled: those with one, or in somebody's hands.
        labels: names of the model's labels.
    """

    waiting: Mapping[str, Seen | None]
    labelled: Mapping[str, Seen | None] = field(default_factory=dict)
    labels: Sequence[str] = ()

    def seen(self) -> dict[str, Seen]:
        """The waiting studies that the model has looked at."""
        return {name: seen for name, seen in sorted(self.waiting.items()) if seen is not None}


@dataclass(frozen=True)
class Pick:
    """A choice, and why in one sentence."""

    study: str
    reason: str


Choose = Callable[[Pool, np.random.Generator], Pick]


def first(pool: Pool, random: np.random.Generator) -> Pick:
    """The first by name."""
    return Pick(min(pool.waiting), "It is the first by name.")


def any_study(pool: Pool, random: np.random.Generator) -> Pick:
    """Any."""
    return Pick(_draw(list(pool.waiting), random), "It was drawn at random.")


def with_foreground(pool: Pool, random: np.random.Generator) -> Pick:
    """Any of those in which the model finds something to label: the honest baseline of every other strategy.

    Random choice among what has foreground, as in nnActive (Luth et al. 2025), for whole studies.
    """
    found = [name for name, seen in pool.seen().items() if seen.found]
    if not found:
        return any_study(pool, random)
    return Pick(
        _draw(found, random), f"It was drawn at random from the {len(found)} in which the model finds the organ."
    )


def most_entropy(pool: Pool, random: np.random.Generator) -> Pick:
    """The one with the highest mean entropy; one in which nothing was found is the least certain of all."""
    seen = pool.seen()
    if not seen:
        return _unseen(pool, random)
    study = max(seen, key=lambda name: (not seen[name].found, seen[name].entropy))
    if not seen[study].found:
        return Pick(study, "The model finds nothing in it.")
    return Pick(study, f"The model is least sure of it: {seen[study].entropy:.2f} nats on average, {_of(len(seen))}.")


def stratified_entropy(pool: Pool, random: np.random.Generator) -> Pick:
    """The least certain one for one label, which chance chooses, with noise that fades as labels come in.

    Class-stratified power-noised predictive entropy (ClaSP PE, Luth et al. 2025): log entropy and Gumbel noise of scale
    1 / beta, which samples in proportion to entropy ** beta; beta grows from 1 to 100.
    """
    seen = {name: s for name, s in pool.seen().items() if s.by_label}
    labels = [name for name in pool.labels if any(name in s.by_label for s in seen.values())]
    if not labels:
        return most_entropy(pool, random)
    label = labels[int(random.integers(len(labels)))]
    names = [name for name, s in seen.items() if label in s.by_label]
    beta = FIRST_NOISE * 100 ** min(1.0, len(pool.labelled) / NOISE_GONE)
    score = [np.log(max(seen[n].by_label[label], 1e-6)) + random.gumbel(0, 1 / beta) for n in names]
    study = names[int(np.argmax(score))]
    return Pick(
        study, f"The model is unsure of its {label}: {seen[study].by_label[label]:.2f} nats, {_of(len(names))}."
    )


def least_real(pool: Pool, random: np.random.Generator) -> Pick:
    """The one whose label map the discriminator takes least for a clinician's."""
    seen = {name: s.realism for name, s in pool.seen().items() if s.realism is not None}
    if not seen:
        return most_entropy(pool, random)
    study = min(seen, key=lambda name: seen[name])
    return Pick(study, f"What the model drew in it looks least like a clinician's label, {_of(len(seen))}.")


def most_unlike(pool: Pool, random: np.random.Generator) -> Pick:
    """The one farthest from all that are labelled: greedy k-center (Sener and Savarese 2018, algorithm 1).

    Without a label yet, the most typical one.
    """
    seen = {name: s for name, s in pool.seen().items() if len(s.features)}
    if not seen:
        return _unseen(pool, random)
    known = [s.features for s in pool.labelled.values() if s is not None and len(s.features)]
    study, alone = _farthest(seen, known)
    reason = "It is the most typical study" if alone else "It is the one most unlike the studies labelled so far"
    return Pick(study, f"{reason}, {_of(len(seen))}.")


def hybrid(pool: Pool, random: np.random.Generator) -> Pick:
    """Of the third that needs a label most, the one most unlike what is labelled.

    Need is the mean rank by entropy, by realism and by expected Dice, as far as the model tells them.
    """
    seen = pool.seen()
    if not seen:
        return _unseen(pool, random)
    names = list(seen)
    need = _need([seen[name] for name in names])
    order = [names[i] for i in np.argsort(-need, kind="stable")]
    shortlist = {name: seen[name] for name in order[: max(1, round(SHORTLIST * len(order)))]}
    known = [s.features for s in pool.labelled.values() if s is not None and len(s.features)]
    if len(shortlist) == 1 or not all(len(s.features) for s in shortlist.values()) or not known:
        study, why = order[0], "needs a label most"
    else:
        study, _ = _farthest(shortlist, known)
        why = "is among those that need a label most, and the most unlike those labelled so far"
    expected = seen[study].expected_dice
    told = f" (expected Dice {expected:.2f})" if expected is not None else ""
    return Pick(study, f"It {why}{told}, {_of(len(seen))}.")


STRATEGIES: dict[str, tuple[str, Choose]] = {
    "hybrid": ("Needs a label most and is unlike those labelled so far; the default.", hybrid),
    "foreground": ("Any study in which the model finds the organ.", with_foreground),
    "entropy": ("The study whose segmentation the model is least sure of.", most_entropy),
    "stratified": (
        "The study with the least certain label, each label in turn by chance, with noise.",
        stratified_entropy,
    ),
    "realism": ("The study whose segmentation looks least like a clinician's to the discriminator.", least_real),
    "diversity": ("The study most unlike those labelled so far.", most_unlike),
    "random": ("Any study without a label.", any_study),
    "first": ("The first study without a label, by name.", first),
}
DEFAULT = "hybrid"


def _need(seen: Sequence[Seen]) -> Floats:
    """How much each needs a label: its mean rank, 0 to 1; what is not known of all does not count."""
    signs = [[s.entropy if s.found else np.inf for s in seen]]
    for name in ("realism", "expected_dice"):
        values = [getattr(s, name) for s in seen]
        if all(v is not None for v in values):
            signs.append([-v for v in values])
    return np.mean([np.argsort(np.argsort(sign, kind="stable"), kind="stable") for sign in signs], axis=0)


def _farthest(seen: Mapping[str, Seen], known: Sequence[Sequence[float]]) -> tuple[str, bool]:
    """The study with the largest distance to its nearest known one, or else the one nearest to the middle of all."""
    names = sorted(seen)
    mine = np.array([seen[name].features for name in names], float)
    known = [k for k in known if len(k) == mine.shape[1]]
    spread = np.concatenate([mine, np.array(known, float).reshape(-1, mine.shape[1])]).std(0) + 1e-6
    if not known:
        return names[int(np.linalg.norm((mine - mine.mean(0)) / spread, axis=1).argmin())], True
    distance = np.linalg.norm((mine[:, None] - np.array(known, float)[None]) / spread, axis=2).min(1)
    return names[int(distance.argmax())], False


def _unseen(pool: Pool, random: np.random.Generator) -> Pick:
    study = _draw(list(pool.waiting), random)
    return Pick(study, "It was drawn at random: the model has not looked at the studies yet.")


def _draw(names: Sequence[str], random: np.random.Generator) -> str:
    return sorted(names)[int(random.integers(len(names)))]


def _of(count: int) -> str:
    return f"of {count} {'study' if count == 1 else 'studies'} without a label"

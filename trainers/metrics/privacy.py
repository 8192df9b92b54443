"""Privacy audit of a generator: do its images give away who it was trained on?

An audit finds leaks, it cannot prove that there is none: it knows the attacks it makes and the images it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.metrics.distribution import check_features
from trainers.metrics.membership import Membership, attack
from trainers.metrics.neighbours import Copies, Distances, Ratios, copies, ratios

Array = npt.NDArray[Any]
FEWEST = 20
MOST = 5000
LEAST_RATIO = 0.9
"""Of the median ratio of synthetic images, times that of real ones if it is below 1. Above 1, where independent images
have it, it is so by chance of the split or because the encoder has seen the training images."""
ALLOWED_NEAR = 0.02
"""Share of near-copies; among independent images it is about 0.01, by definition."""
GUESSING_AUROC, LARGEST_AUROC = 0.52, 0.60

RULES = {
    "no_memorisation": "the nearest-neighbour ratios of synthetic images reach the intervals of those of held-out real "
    f"images, and the median ratio is at least {LEAST_RATIO:g}, or {LEAST_RATIO:g} times theirs if theirs is below 1",
    "no_copies": "synthetic images duplicate training images no more often than held-out images do, and their share of "
    f"near-copies is not shown to exceed {ALLOWED_NEAR:.0%}, or that of held-out images if that is more",
    "no_membership": f"the attack's AUROC is at most {LARGEST_AUROC:g} and its interval reaches down to "
    f"{GUESSING_AUROC:g}, which is all but guessing",
}
"""What must hold for each verdict."""


@dataclass(frozen=True)
class SpaceAudit:
    """The audit by distances in one space, e.g. of features or of grey values.

    Attributes:
        synthetic, real: nearest-neighbour ratios of synthetic images, and of held-out real ones as the measure.
        synthetic_copies, real_copies: near-copies of training images among them.
        membership: the attack on training images.
    """

    synthetic: Ratios
    real: Ratios
    synthetic_copies: Copies
    real_copies: Copies
    membership: Membership

    @property
    def verdicts(self) -> dict[str, bool]:
        """Whether each of `RULES` holds."""
        return {
            "no_memorisation": self._no_memorisation(),
            "no_copies": self._no_copies(),
            "no_membership": self._no_membership(),
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        parts = ("synthetic", "real", "synthetic_copies", "real_copies", "membership")
        return {part: getattr(self, part).as_dict() for part in parts} | {"verdicts": self.verdicts}

    def _no_memorisation(self) -> bool:
        """No nearer to training than to held-out images, as between real patients."""
        made, real = self.synthetic, self.real
        pairs = ((made.median, real.median), (made.low, real.low), (made.whole, real.whole))
        least = LEAST_RATIO * min(1.0, real.median.value)
        return all(m.high >= r.low for m, r in pairs) and bool(made.median.value >= least)

    def _no_copies(self) -> bool:
        made, real = self.synthetic_copies, self.real_copies
        repeated = made.duplicates * real.images > real.duplicates * made.images
        return not repeated and made.near.low <= max(ALLOWED_NEAR, real.near.value)

    def _no_membership(self) -> bool:
        area = self.membership.auroc
        return area.value <= LARGEST_AUROC and area.low <= GUESSING_AUROC


@dataclass(frozen=True)
class PrivacyReport:
    """The audit in every space that was asked for.

    Attributes:
        images: number of training, held-out and synthetic images. spaces: by name.
    """

    images: dict[str, int]
    spaces: dict[str, SpaceAudit]

    @property
    def verdicts(self) -> dict[str, bool]:
        """Whether each of `RULES` holds in every space."""
        return {rule: all(space.verdicts[rule] for space in self.spaces.values()) for rule in RULES}

    @property
    def passed(self) -> bool:
        """Whether all rules hold: synthetic images are no worse than other real patients' images."""
        return all(self.verdicts.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean: no arrays and no NaN."""
        return {
            "images": dict(self.images),
            "passed": self.passed,
            "verdicts": self.verdicts,
            "rules": dict(RULES),
            "spaces": {name: space.as_dict() for name, space in self.spaces.items()},
        }

    def sentences(self) -> list[str]:
        """Plain English for a model card, the verdict first."""
        n = self.images
        lines = [
            f"Privacy audit {'passed' if self.passed else 'FAILED'}: {n['synthetic']} synthetic, {n['train']} training "
            f"and {n['held_out']} held-out real images."
        ]
        for name, space in self.spaces.items():
            lines += _sentences(name, space)
        lines.append("An audit can find a leak; it cannot prove that there is none.")
        return lines


def audit(
    train: Array | Mapping[str, Array],
    held_out: Array | Mapping[str, Array],
    synthetic: Array | Mapping[str, Array],
    draws: int = 100,
    seed: int = 0,
) -> PrivacyReport:
    """Audits synthetic images against the training images and held-out real images of the same kind of patients.

    Args:
        train: what the generator was trained on: features (n, d), or several spaces by name, e.g.
            `{"features": (n, d), "pixels": (n, channel, *spatial)}`; all but the first dimension are flattened.
        held_out: real images that it was not trained on, of other patients, in the same spaces.
        synthetic: its images, in the same spaces.
        draws: of images for the ratios.
        seed: of chance. Of more than 5000 images of a set, as many are drawn.

    Raises:
        ValueError: fewer than 20 images of a set, or spaces that do not match.
    """
    sets = {"train": _spaces(train), "held_out": _spaces(held_out), "synthetic": _spaces(synthetic)}
    names = list(sets["train"])
    if not names or any(set(spaces) != set(names) for spaces in sets.values()):
        raise ValueError(f"The sets have unlike spaces: { {part: list(spaces) for part, spaces in sets.items()} }.")
    chosen = {part: _choose(part, spaces, seed) for part, spaces in sets.items()}
    spaces = {}
    for name in names:
        rows = {part: sets[part][name][chosen[part]] for part in sets}
        spaces[name] = _audit_space(rows["train"], rows["held_out"], rows["synthetic"], draws, seed)
    return PrivacyReport({part: len(rows) for part, rows in chosen.items()}, spaces)


def _audit_space(train: Array, held_out: Array, synthetic: Array, draws: int, seed: int) -> SpaceAudit:
    """The audit by distances between rows (n, d)."""
    known = Distances.between(*check_features(train, held_out, synthetic))
    made, real = ratios(known, draws, seed)
    return SpaceAudit(
        synthetic=made,
        real=real,
        synthetic_copies=copies(known.st, known.nearest_tt),
        real_copies=copies(known.ht, known.nearest_tt),
        membership=attack(known.st.min(0), known.sh.min(0), seed=seed),
    )


def _spaces(given: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Spaces by name, each (n, d)."""
    named = given if isinstance(given, Mapping) else {"features": given}
    return {name: np.asarray(rows).reshape(len(rows), -1) for name, rows in named.items()}


def _choose(part: str, spaces: Mapping[str, Array], seed: int) -> npt.NDArray[np.int64]:
    """Indices of the images of a set that are looked at, in all spaces the same."""
    counts = {len(rows) for rows in spaces.values()}
    if len(counts) > 1:
        raise ValueError(f"The spaces of {part} have unlike numbers of images: {sorted(counts)}.")
    n = counts.pop()
    if n < FEWEST:
        raise ValueError(f"There are {n} {part.replace('_', '-')} images; an audit needs at least {FEWEST}.")
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST])


def _sentences(name: str, space: SpaceAudit) -> list[str]:
    """One line a question."""
    made, real, holds = space.synthetic, space.real, space.verdicts
    near, usual, found = space.synthetic_copies, space.real_copies, space.membership
    rate = f", and at 1 % false alarms finds {found.tpr.value:.1%} of them" if found.tpr else ""
    return [
        f"By {name}, synthetic images are {'no nearer' if holds['no_memorisation'] else 'NEARER'} to training images "
        "than other real patients' images are: the distance to the nearest training image over that to the nearest "
        f"held-out image is {made.median} in the median and {made.low} in the closest twentieth; for held-out real "
        f"images it is {real.median} and {real.low}.",
        f"By {name}, {near.near.value:.1%} of synthetic images are near-copies of a training image and "
        f"{near.duplicates} are duplicates; of held-out real images it is {usual.near.value:.1%} and "
        f"{usual.duplicates}. This is {'acceptable' if holds['no_copies'] else 'TOO MANY'}.",
        f"By {name}, an attacker who has the synthetic images tells training from held-out images with an AUROC of "
        f"{found.auroc}, where 0.5 is guessing{rate}: {'no leak shown' if holds['no_membership'] else 'a LEAK'}.",
    ]

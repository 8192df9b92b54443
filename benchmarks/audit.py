"""Is the privacy audit fair, and does it see leaks? Real patients stand in for images of a perfect generator.

Of the 200 hippocampus crops an encoder learns from 120, as a generator would. The other 80 are parted by chance, many
times, into held-out images and images that pass for synthetic ones. Nothing was learned from those by heart, so an
audit that refuses them raises a false alarm; with training images planted among them, one that passes misses a leak.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.data.readers import open_data
from trainers.metrics.distribution import distances
from trainers.metrics.encoder import extract_features, train_encoder
from trainers.metrics.privacy import SpaceAudit, audit
from trainers.monitor import Monitor
from trainers.recipes import SYNTHESIS_RECIPES
from trainers.tasks.synthesis.images import prepare

Array = npt.NDArray[Any]
Leak = Callable[[Array, Array, np.random.Generator], Array]
TRAINING, HELD_OUT = 120, 40
NOISE = 0.05
"""Standard deviation of what is added to a copy; images range over [-1, 1]."""


def nothing(made: Array, train: Array, random: np.random.Generator) -> Array:
    """Images of other patients."""
    return made


def copied(share: float, made: Array, train: Array, random: np.random.Generator) -> Array:
    """A share of the images are training images under noise."""
    count = round(share * len(made))
    chosen = train[random.choice(len(train), count, replace=False)]
    noisy = np.clip(chosen + random.normal(0, NOISE, chosen.shape), -1, 1).astype(np.float32)
    return np.concatenate([noisy, made[count:]])


def blended(share: float, made: Array, train: Array, random: np.random.Generator) -> Array:
    """Each image is mixed with the training image that is most like it."""
    nearest = distances(made.reshape(len(made), -1), train.reshape(len(train), -1)).argmin(1)
    return ((1 - share) * made + share * train[nearest]).astype(np.float32)


LEAKS: dict[str, Leak] = {
    "none": nothing,
    **{f"{share:.0%} noisy copies": partial(copied, share) for share in (0.05, 0.1, 0.2, 0.5)},
    **{f"{share:.0%} of the nearest mixed in": partial(blended, share) for share in (0.2, 0.3, 0.5)},
}


def measure(data: Path, monitor: Monitor = Monitor(), draws: int = 40) -> list[dict[str, Any]]:
    """One row a leak and space: mean ratios, and the shares of audits that each rule and the whole audit refused."""
    recipe = SYNTHESIS_RECIPES["hippocampus_synthesis"]
    entries = open_data(data).entries
    images = prepare(entries, recipe.preprocess, list(recipe.spec.labels.values()), monitor=monitor).array
    order = np.random.default_rng(100).permutation(len(images))
    train, others = images[order[:TRAINING]], images[order[TRAINING:]]
    monitor.report(stage="encoder of features")
    encoder = train_encoder(train, monitor=monitor)

    def spaces(rows: Array) -> dict[str, Array]:
        return {"features": extract_features(encoder, rows), "grey values": rows}

    known, rest, found = spaces(train), spaces(others), []
    for name, leak in LEAKS.items():
        monitor.report(stage=name)
        reports = []
        for draw in range(draws):
            random = np.random.default_rng(draw)
            parted = random.permutation(len(others))
            held_out = {space: rows[parted[:HELD_OUT]] for space, rows in rest.items()}
            made = leak(others[parted[HELD_OUT:]], train, random)
            reports.append(audit(known, held_out, spaces(made), seed=draw))
            monitor.report(progress=(draw + 1) / draws)
        for space in known:
            found.append({"leak": name, "space": space, **_row([report.spaces[space] for report in reports])})
        found.append({"leak": name, "space": "both", **_refused([report.verdicts for report in reports])})
    return _aligned(found)


def _row(audits: list[SpaceAudit]) -> dict[str, Any]:
    ratios = {
        "ratio": np.array([a.synthetic.median.value for a in audits]),
        "ratio, real": np.array([a.real.median.value for a in audits]),
    }
    told = {name: f"{values.mean():.2f} ± {values.std():.2f}" for name, values in ratios.items()}
    return {**told, **_refused([a.verdicts for a in audits])}


def _refused(verdicts: list[dict[str, bool]]) -> dict[str, str]:
    """Share of audits that each rule refused, and all rules together."""
    each = {f"{rule} refuses": np.mean([not v[rule] for v in verdicts]) for rule in verdicts[0]}
    each["audit refuses"] = np.mean([not all(v.values()) for v in verdicts])
    return {name: f"{share:.0%}" for name, share in each.items()}


def _aligned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns, in the order of the first."""
    return [{column: row.get(column, "") for column in rows[0]} for row in rows]

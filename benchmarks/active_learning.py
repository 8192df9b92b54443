"""Which study should be labelled next? A simulated clinician labels what a strategy chooses; the model learns; again.

All strategies of a seed begin with the same labelled patients and network, learn in the same way, from nothing each
time and at 1.5 mm, and are measured on the same patients, whom the shipped models did not learn from either. A patch
discriminator is trained with each network, on the labelled patients alone; its score of image and label map is
`realism`. What is chosen from are the strategies of `trainers.tasks.segmentation.choosing`, as the server uses them.
Each round is kept in a file of its own, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.synthetic_labels import interval
from benchmarks.two_sequences import is_negative, negative, some_negative
from trainers.data.cases import Case, CasesError, find_cases, split_cases
from trainers.data.volumes import read_volume
from trainers.files import atomic_write_json, read_json
from trainers.fit import fit
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.recipes import RECIPES
from trainers.task import FitConfig
from trainers.tasks.segmentation.choosing import STRATEGIES, Pool, Seen
from trainers.tasks.segmentation.evaluate import Report, evaluate_segmenter
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interactive import without_clicks
from trainers.tasks.segmentation.quality import entropies, label_names
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask

FIRST, FULL = "first-round", "all"
COMPARED = ("foreground", "entropy", "stratified", "realism", "diversity", "hybrid")
SIZES = (2, 4, 8)
SHARE = 0.95
PATCH = (24, 32, 24)
COARSE = {"spacing": [1.5, 1.5, 1.5], "window": [24, 35, 24]}  # a third of the voxels, for many trainings on a CPU
NETWORK = {
    "name": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [12, 24, 48, 96],
    "strides": [2, 2, 2], "num_res_units": 1,
}  # fmt: skip
LINES = {
    "foreground": ("at random", "#7a7a7a"), "entropy": ("entropy", "#2a9df4"), "realism": ("realism", "#d1495b"),
    "stratified": ("stratified entropy", "#00798c"), "diversity": ("diversity", "#ffb000"),
    "hybrid": ("hybrid", "#111111"), "random": ("at random of all", "#b8b8b8"),
}  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How long each network learns: steps, and images a step."""

    steps: int = 800
    batch: int = 2
    threads: int = 1


class Bench:
    """Rounds of active learning on one data set."""

    def __init__(
        self,
        data: Path,
        out: Path,
        effort: Effort = Effort(),
        monitor: Monitor = Monitor(),
        kept: Path | None = None,
        rare: float = 0.0,
    ) -> None:
        """Takes patients from `data`; writes to `out`, and reads rounds of earlier runs from `kept` too.

        With `rare` that share of the patients to learn from comes as another sequence, and each patient to measure on
        as both, which count alike.
        """
        recipe = RECIPES["hippocampus_segmentation"]
        split = split_cases(find_cases(data), recipe.validation, recipe.test)
        train, self.test = split.train, split.test
        if rare:
            train = some_negative(train, rare, out / "images")
            self.test = [*self.test, *(negative(case, out / "images") for case in self.test)]
        self.train = {case.id: case for case in train}
        spec = without_clicks(recipe.spec)
        self.spec = spec.replace(network=NETWORK, preprocess={**spec.preprocess, **COARSE})
        self.out, self.effort, self.monitor, self.rare = out, effort, monitor, rare
        self.folders = [out] if kept is None else [out, kept]

    def measure(
        self, seeds: Sequence[int] = (0, 1, 2), strategies: Sequence[str] = COMPARED, sizes: Sequence[int] = SIZES
    ) -> list[dict[str, Any]]:
        """All rounds: rows of strategy, labelled, seed, dice, by_kind, per_patient and what is chosen `next`.

        Raises:
            CasesError: sizes that do not grow, or that the patients do not suffice for.
        """
        if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1 or sizes[-1] >= len(self.train):
            raise CasesError(f"{list(sizes)} are no growing numbers from 1 to {len(self.train) - 1}, of all patients.")
        rows = []
        for seed in seeds:
            rows.append(self._round(FULL, sorted(self.train), seed))
            start = self._start(seed, sizes[0])
            for strategy in strategies:
                rows += self.play(strategy, seed, start, sizes)
        return rows

    def play(self, strategy: str, seed: int, start: Sequence[str], sizes: Sequence[int]) -> list[dict[str, Any]]:
        """One strategy from its first labelled patients to the last size."""
        labelled, rows = list(start), []
        for place, size in enumerate(sizes):
            name = FIRST if place == 0 else strategy  # the first round is the same for all
            larger = sizes[place + 1] if place + 1 < len(sizes) else 0
            asked = (*COMPARED, strategy) if place == 0 else (strategy,)
            row = self._round(name, labelled, seed, larger, asked)
            assert row["labelled"] == size
            rows.append({**row, "strategy": strategy})
            labelled = [*labelled, *row["next"].get(strategy, [])]
        return rows

    def _start(self, seed: int, count: int) -> list[str]:
        names = sorted(self.train)
        return [names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]]

    def _round(
        self, name: str, labelled: Sequence[str], seed: int, larger: int = 0, strategies: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Trains on what is labelled, measures, and lets strategies choose up to the next size; or reads all that."""
        key = f"{name}-{len(labelled):03d}-{seed}"
        known = self._known(key, labelled)
        if known and all(len(known["next"].get(way, [])) == larger - len(labelled) for way in strategies if larger):
            return known
        started = time.monotonic()
        self.monitor.report(stage=key)
        networks = self._learn(labelled, seed)
        segmenter = Segmenter.from_network(self.spec, networks["generator"])
        report = evaluate_segmenter(segmenter, self.test, test_time_augmentation=False)
        dice = self._by_patient(report)
        pool = self._look(segmenter, networks["discriminator"], labelled) if larger else None
        more = {w: self._choose(w, pool, larger - len(labelled), seed) for w in strategies} if pool else {}
        row = {
            "strategy": name, "labelled": len(labelled), "seed": seed, "dice": float(np.mean(dice)),
            "per_patient": [round(v, 5) for v in dice], "patients": list(labelled), "next": more,
            "rare": self.rare, "by_kind": self._by_kind(report), "minutes": round((time.monotonic() - started) / 60, 2),
            "effort": vars(self.effort),
        }  # fmt: skip
        atomic_write_json(self.out / f"{key}.json", row)
        return row

    def _by_patient(self, report: Report) -> list[float]:
        """The mean of each patient's images."""
        return list(self._means(report, lambda case: case.patient).values())

    def _by_kind(self, report: Report) -> dict[str, float]:
        """The mean of the usual images, and of the rare ones if there are any."""
        return self._means(report, lambda case: "rare" if is_negative(case) else "usual")

    def _means(self, report: Report, group: Callable[[Case], str]) -> dict[str, float]:
        every: dict[str, list[float]] = {}
        for case, measured in zip(self.test, report.per_case, strict=True):
            every.setdefault(group(case), []).append(float(np.mean(list(measured["dice"].values()))))
        return {name: float(np.mean(values)) for name, values in every.items()}

    def _known(self, key: str, labelled: Sequence[str]) -> dict[str, Any] | None:
        for file in (folder / f"{key}.json" for folder in self.folders):
            if file.is_file():
                row: dict[str, Any] = read_json(file)
                same = (row["effort"], row.get("rare", 0.0)) == (vars(self.effort), self.rare)
                if same and row["patients"] == list(labelled):
                    return row
        return None

    def _learn(self, labelled: Sequence[str], seed: int) -> dict[str, nn.Module]:
        config = SegmentationConfig(PATCH, adversarial=0.01, seed=seed)
        torch.manual_seed(seed)
        task = SegmentationTask(self.spec, build(NETWORK), [self.train[name] for name in labelled], config=config)
        loop = FitConfig(self.effort.steps, self.effort.batch, 2e-3, ema=0.98, threads=self.effort.threads)
        return fit(task, loop, None, self.monitor)[0]

    def _look(self, segmenter: Segmenter, critic: nn.Module, labelled: Sequence[str]) -> Pool:
        """What the networks say of every training patient."""
        seen = {name: self._seen(segmenter, critic, case) for name, case in self.train.items()}
        waiting = {name: s for name, s in seen.items() if name not in labelled}
        return Pool(waiting, {name: seen[name] for name in labelled}, label_names(self.spec))

    @torch.inference_mode()
    def _seen(self, segmenter: Segmenter, critic: nn.Module, case: Case) -> Seen:
        (find,) = segmenter(read_volume(case.image), test_time_augmentation=False).finds
        entropy, by_label = entropies(find, label_names(self.spec))
        maps = torch.from_numpy(find.maps)[None]
        hard = nn.functional.one_hot(maps.argmax(1), maps.shape[1]).movedim(-1, 1).float()
        layers = critic(torch.cat([torch.from_numpy(find.image)[None, None], hard], 1))
        features = torch.cat([layer.flatten(2).mean(2) for layer in layers[:-1]], 1)[0]
        found = bool(find.foreground.any())
        return Seen(entropy, by_label, float(layers[-1].mean()), None, features.tolist(), found)

    def _choose(self, strategy: str, pool: Pool, count: int, seed: int) -> list[str]:
        """Several patients at once, each chosen as if those before were labelled."""
        random, chosen = np.random.default_rng([seed, count]), list[str]()
        for _ in range(count):
            pick = STRATEGIES[strategy][1](pool, random).study
            chosen.append(pick)
            waiting = {name: seen for name, seen in pool.waiting.items() if name != pick}
            pool = Pool(waiting, {**pool.labelled, pick: pool.waiting[pick]}, pool.labels)
        return chosen


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean Dice by strategy and number of labels with its 95 % interval, and how many labels reach 95 % of all's."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["strategy"], row["labelled"]), []).append(row)
    means = {key: float(np.mean([m["dice"] for m in members])) for key, members in groups.items()}
    wanted = SHARE * max((value for (name, _), value in means.items() if name == FULL), default=np.inf)
    out = []
    for (strategy, labelled), members in sorted(groups.items(), key=lambda g: (g[0][1], g[0][0])):
        low, high = interval(np.array([m["per_patient"] for m in members]))
        mean = means[strategy, labelled]
        reached = "yes" if mean >= wanted else "no"
        row = {
            "strategy": strategy,
            "labelled": labelled,
            "seeds": len(members),
            "dice": mean,
            "low": low,
            "high": high,
        }
        if share := members[0].get("rare"):
            usual, rare = (float(np.mean([m["by_kind"][kind] for m in members])) for kind in ("usual", "rare"))
            row |= {"usual": usual, "rare": rare, "as mixed": (1 - share) * usual + share * rare}
        out.append({**row, f"{SHARE:.0%} of all labels": reached})
    return out


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Dice against the number of labelled patients, a line a strategy, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8.4, 4.4))
    rows = sorted(rows, key=lambda row: int(row["labelled"]))
    for place, (name, (told, colour)) in enumerate(LINES.items()):
        mine = [row for row in rows if row["strategy"] in (FIRST, name)]  # all begin with the same first round
        if len(mine) > 1:
            x = np.array([row["labelled"] for row in mine]) * (0.96 + 0.016 * place)
            y = np.array([row["dice"] for row in mine])
            error = np.array([[r["dice"] - r["low"] for r in mine], [r["high"] - r["dice"] for r in mine]])
            axis.errorbar(x, y, error, label=told, color=colour, marker="o", capsize=3, linewidth=1.6)
    whole = [row for row in rows if row["strategy"] == FULL]
    if whole:
        axis.axhline(whole[0]["dice"], color="#444444", linewidth=1, label=f"all {whole[0]['labelled']} labels")
        axis.axhline(SHARE * whole[0]["dice"], color="#444444", linewidth=1, linestyle="--", label="95 % of that")
    ticks = sorted({row["labelled"] for row in rows if row["strategy"] != FULL})
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(n) for n in ticks])
    both = ",\neach as both sequences" if any("rare" in row for row in rows) else ""
    axis.set(xlabel="labelled patients", ylabel=f"mean Dice on 30 patients not trained on{both}")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

"""Does MedGAN help where labels are few? Segmentation with 4 to 64 labelled patients, learned in four ways.

- `alone`: the labelled patients, nothing else.
- `classical`: with classical augmentation.
- `pairs`: with classical augmentation and image and label pairs of a GAN. The GAN sees what a clinic would have: the
  labelled patients, and the other images with labels by the `classical` network. That of a larger number goes on from
  the one of the number before, with the better labels.
- `adversarial`: with classical augmentation, and adversarial learning on the other images without labels.

Test patients are those that the shipped models were not trained on; labelled patients are drawn by seed, and the larger
sets of a seed contain its smaller ones. Each run is kept in a file of its own, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainers.augment import Augmentation
from trainers.data.cases import Case, find_cases, split_cases
from trainers.data.readers.base import read_pair
from trainers.data.sets import Entry
from trainers.data.volumes import read_volume, write_volume
from trainers.files import atomic_write_json, read_json
from trainers.fit import fit
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.recipes import RECIPES, SYNTHESIS_RECIPES
from trainers.spec import WEIGHTS_FILE, ModelSpec, load_weights, save_weights
from trainers.task import FitConfig
from trainers.tasks.segmentation.evaluate import evaluate_segmenter
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interactive import without_clicks
from trainers.tasks.segmentation.semi import SemiSupervisedTask
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask
from trainers.tasks.synthesis.images import prepare
from trainers.tasks.synthesis.infer import Synthesizer
from trainers.tasks.synthesis.shapes import label_sizes, map_statistics
from trainers.tasks.synthesis.task import SynthesisTask
from trainers.tasks.synthesis.train import map_task

GUIDED = ("pairs", "adversarial")
ARMS = ("alone", "classical", "pairs", "adversarial")
SIZES, REFERENCE = (4, 8, 16, 32), 64
PAIRS = 100
NETWORK = {
    "name": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [16, 32, 64, 128],
    "strides": [2, 2, 2], "num_res_units": 1,
}  # fmt: skip
NOTHING = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Effort:
    """How long each network learns, in steps.

    Attributes:
        segmentation: of the segmentation.
        images, maps: of the GAN's images and of its label maps at the smallest number of labels.
        more: share of that at each larger number, which goes on from the one before.
        threads: of the CPU.
    """

    segmentation: int = 1000
    images: int = 600
    maps: int = 600
    more: float = 0.3
    threads: int = 1

    def of(self, arm: str) -> dict[str, Any]:
        """What a run of an arm depends on."""
        return vars(self) if arm == "pairs" else {"segmentation": self.segmentation}


@dataclass(frozen=True)
class Run:
    """One training: how, with how many labelled patients, and which."""

    arm: str
    labelled: int
    seed: int

    @property
    def name(self) -> str:
        """Also its file's."""
        return f"{self.arm}-{self.labelled:02d}-{self.seed}"


class Bench:
    """The runs of a benchmark on one data set."""

    def __init__(
        self, data: Path, out: Path, effort: Effort = Effort(), monitor: Monitor = Monitor(), kept: Path | None = None
    ) -> None:
        """Takes patients from `data`; writes to `out`, and reads rows of earlier runs from `kept` too."""
        recipe = RECIPES["hippocampus_segmentation"]
        split = split_cases(find_cases(data), recipe.validation, recipe.test)
        self.train, self.test = split.train, split.test
        self.spec = without_clicks(recipe.spec).replace(network=NETWORK)
        self.out, self.effort, self.monitor = out, effort, monitor
        self.folders = [out] if kept is None else [out, kept]

    def measure(
        self,
        sizes: Sequence[int] = SIZES,
        seeds: Sequence[int] = (0, 1, 2),
        arms: Sequence[str] = ARMS,
        train: bool = True,
    ) -> list[dict[str, Any]]:
        """All runs, those that are done already from their files: rows of arm, labelled, seed, dice and minutes.

        Without `train` others are left out.
        """
        sizes = sorted(sizes)
        wanted = [
            Run(arm, n, seed)
            for seed in seeds
            for arm in arms
            for n in (sizes if arm in GUIDED else [*sizes, REFERENCE])
        ]
        if not train:
            return list(filter(None, map(self.known, wanted)))
        return [self.result(run, sizes) for run in wanted]

    def result(self, run: Run, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
        """One run's row: Dice of each test patient, averaged over labels."""
        return self.known(run) or self.train_one(run, sizes)

    def known(self, run: Run) -> dict[str, Any] | None:
        """The row of a run that is done; None of one that is not, or was not trained for as long."""
        for file in (folder / f"{run.name}.json" for folder in self.folders):
            if file.is_file():
                found: dict[str, Any] = read_json(file)
                if found["effort"] == self.effort.of(run.arm):
                    return found
        return None

    def train_one(self, run: Run, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
        """Trains and measures one run, and keeps its row and its weights."""
        self.monitor.report(stage=run.name)
        started = time.monotonic()
        network = self.learn(run, sizes)
        report = evaluate_segmenter(Segmenter.from_network(self.spec, network), self.test, test_time_augmentation=False)
        dice = [float(np.mean(list(case["dice"].values()))) for case in report.per_case]
        row = {
            "arm": run.arm, "labelled": run.labelled, "seed": run.seed, "dice": float(np.mean(dice)),
            "per_patient": [round(value, 5) for value in dice],
            "minutes": round((time.monotonic() - started) / 60, 2), "effort": self.effort.of(run.arm),
        }  # fmt: skip
        save_weights(network, self._weights(run))
        atomic_write_json(self.out / f"{run.name}.json", row)
        return row

    def learn(self, run: Run, sizes: Sequence[int] = SIZES) -> nn.Module:
        """Trains one network."""
        labelled, others = self.patients(run)
        augmentation = NOTHING if run.arm == "alone" else Augmentation()
        config = SegmentationConfig((32, 48, 32), seed=run.seed, augmentation=augmentation)
        pairs = self.pairs(run, sizes) if run.arm == "pairs" else []
        torch.manual_seed(run.seed)
        network = build(NETWORK)
        task: SegmentationTask
        if run.arm == "adversarial":
            unlabelled = [case.image for case in others]
            task = SemiSupervisedTask(
                self.spec, network, labelled, unlabelled, self.effort.segmentation, replace(config, adversarial=0.01)
            )
        else:
            task = SegmentationTask(self.spec, network, labelled, replay=pairs, config=config)
        loop = FitConfig(self.effort.segmentation, 4, 2e-3, ema=0.99, threads=self.effort.threads)
        return fit(task, loop, None, self.monitor)[0]["generator"]

    def patients(self, run: Run) -> tuple[list[Case], list[Case]]:
        """The labelled patients of a run, and the others."""
        order = np.random.default_rng(run.seed).permutation(len(self.train))
        cases = [self.train[i] for i in order]
        return cases[: run.labelled], cases[run.labelled :]

    def pairs(self, run: Run, sizes: Sequence[int] = SIZES) -> list[Case]:
        """Image and label pairs by a GAN that knows the labels of the run's patients alone."""
        folder = self.out / "pairs" / run.name
        if not (folder / "labels").is_dir() or len(list((folder / "labels").iterdir())) < PAIRS:
            synthesizer = self._gan(run, sizes)
            for sample in synthesizer(PAIRS, seed=1000 * run.seed, monitor=self.monitor):
                assert sample.label is not None
                write_volume(folder / "images" / f"{sample.seed:05d}.nii.gz", sample.image)
                write_volume(folder / "labels" / f"{sample.seed:05d}.nii.gz", sample.label)
        return find_cases(folder)

    def _gan(self, run: Run, sizes: Sequence[int]) -> Synthesizer:
        """A GAN of label maps from the known labels, and one that fills them, from known and guessed ones."""
        recipe = SYNTHESIS_RECIPES["hippocampus_synthesis"]
        masks = recipe.masks
        assert masks is not None
        labelled, others = self.patients(run)
        known = _prepared(labelled, recipe.spec, recipe.preprocess)
        everyone = _prepared([*labelled, *self._guessed(run, others)], recipe.spec, recipe.preprocess)
        assert known.labels is not None
        before = max((n for n in sizes if n < run.labelled), default=None)
        earlier = None if before is None else self.out / replace(run, labelled=before).name
        share = self.effort.more if earlier else 1.0
        steps = {"images": round(share * self.effort.images), "masks": round(share * self.effort.maps)}
        recipe = replace(recipe, config=replace(recipe.config, steps=steps["images"], seed=run.seed))
        maps = replace(masks, fit=replace(masks.fit, steps=steps["masks"], betas=recipe.fit.betas))
        torch.manual_seed(run.seed)
        tasks = {
            "masks": (map_task(recipe, maps, known.labels), maps.fit),
            "images": (SynthesisTask(everyone, recipe.shape(1, ()), recipe.config), recipe.fit),
        }
        made = {part: self._adversaries(part, *tasks[part], steps[part], run, earlier) for part in tasks}
        sizes_known = map_statistics(recipe.spec.labels, label_sizes(known.labels, len(recipe.spec.labels) + 1))
        spec = recipe.spec.replace(
            network=tasks["images"][0].described[0], parts={"masks": tasks["masks"][0].described[0]},
            preprocess=vars(recipe.preprocess), training={"label_voxels": sizes_known},
        )  # fmt: skip
        return Synthesizer.from_networks(spec, made["images"], made["masks"])

    def _adversaries(
        self, part: str, task: SynthesisTask, loop: FitConfig, steps: int, run: Run, earlier: Path | None
    ) -> nn.Module:
        """Trains a generator and its discriminator, from the earlier ones if there are any, and keeps both."""
        for name, network in task.networks.items():
            if earlier is not None:
                load_weights(network, earlier / f"{part}-{name}.safetensors")
        loop = replace(loop, steps=steps, threads=self.effort.threads, ema=0.99, validate_every=0)
        averaged, _ = fit(task, loop, None, self.monitor)
        for name, network in averaged.items():
            save_weights(network, self.out / run.name / f"{part}-{name}.safetensors", half=False)
        return averaged["generator"]

    def _guessed(self, run: Run, others: Sequence[Case]) -> list[Case]:
        """The other patients with labels by the `classical` network of the same labelled patients."""
        teacher = Run("classical", run.labelled, run.seed)
        if not self._weights(teacher).is_file():
            self.train_one(teacher)
        network = build(NETWORK)
        load_weights(network, self._weights(teacher))
        segmenter, folder = Segmenter.from_network(self.spec, network.eval()), self.out / "guessed" / run.name
        guessed = []
        for case in others:
            file = folder / case.label.name
            write_volume(file, segmenter(read_volume(case.image), test_time_augmentation=False).label)
            guessed.append(replace(case, label=file))
        return guessed

    def _weights(self, run: Run) -> Path:
        return self.out / run.name / WEIGHTS_FILE


def _prepared(cases: Sequence[Case], spec: ModelSpec, settings: Any) -> Any:
    entries = [Entry(case.id, case.id, partial(read_pair, case.image, case.label)) for case in cases]
    return prepare(entries, settings, list(spec.labels.values()))


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean Dice of each arm and size over seeds and patients, with a 95 % bootstrap interval over both."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["labelled"], row["arm"]), []).append(row)
    out = []
    for (labelled, arm), members in sorted(groups.items(), key=lambda item: (item[0][0], ARMS.index(item[0][1]))):
        low, high = interval(np.array([m["per_patient"] for m in members]))
        mean = float(np.mean([m["dice"] for m in members]))
        out.append({"labelled": labelled, "arm": arm, "seeds": len(members), "dice": mean, "low": low, "high": high})
    return out


def interval(dice: np.ndarray[Any, Any], draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean of (seeds, patients), by drawing seeds and patients with replacement."""
    random = np.random.default_rng(0)
    seeds, patients = dice.shape
    means = [
        dice[random.integers(seeds, size=seeds)][:, random.integers(patients, size=patients)].mean()
        for _ in range(draws)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Dice against the number of labelled patients, a line an arm, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {
        "alone": "labels alone", "classical": "+ classical augmentation", "pairs": "+ GAN pairs",
        "adversarial": "+ adversarial learning without labels",
    }  # fmt: skip
    figure, axis = pyplot.subplots(figsize=(7.2, 4.4))
    for arm, colour, shift in zip(
        ARMS, ("#7a7a7a", "#2a9df4", "#ffb000", "#d1495b"), (0.97, 0.99, 1.01, 1.03), strict=True
    ):
        mine = [r for r in rows if r["arm"] == arm]
        x, y = np.array([r["labelled"] * shift for r in mine]), np.array([r["dice"] for r in mine])
        error = np.array([[r["dice"] - r["low"] for r in mine], [r["high"] - r["dice"] for r in mine]])
        axis.errorbar(x, y, error, label=names[arm], color=colour, marker="o", capsize=3, linewidth=1.8)
    axis.set_xscale("log", base=2)
    ticks = sorted({r["labelled"] for r in rows})
    axis.set_xticks(ticks, [str(n) for n in ticks])
    axis.set(xlabel="labelled patients", ylabel="mean Dice on 30 patients not trained on")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

"""Training a model that can be corrected and judges itself, in four stages.

1. `automatic`: the network alone.
2. `corrections`: the same network, with a channel more for each class, learns from simulated clicks on hard images.
   What serves is the mean of its weights and the first stage's (Wortsman et al., "Robust fine-tuning of zero-shot
   models", CVPR 2022, equation 1): nearly as good as the one on usual images, and nearly as robust as the other.
3. `second`: a network like the first on half of the patients, briefly: its mistakes on the others are those that a
   network makes on patients it does not know.
4. `discriminator`: learns to tell how good label maps of both are; then it is calibrated on the validation patients.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.data.cases import Case
from trainers.distributed import World
from trainers.monitor import Monitor
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelSpec, load_weights, part_file, plain, save_weights
from trainers.stages import Stage, trained
from trainers.task import FitConfig
from trainers.tasks.segmentation.correcting import CorrectingConfig, CorrectingTask, mean_of, with_more_inputs
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.judging import JudgingConfig, JudgingTask, calibrate
from trainers.tasks.segmentation.quality import PART
from trainers.tasks.segmentation.task import SegmentationConfig, SegmentationTask

STAGES = "stages"


@dataclass(frozen=True)
class Interactive:
    """How the stages after the first are trained.

    Attributes:
        patch: size of their training images, voxels, smaller than the first stage's, which saves half of the time.
        correcting, correcting_fit: of the second stage. second_fit: of the third.
        blend: share of the second stage in the mean of both.
        judge: the discriminator, a network's description. judging, judging_fit: of the fourth stage.
    """

    correcting_fit: FitConfig
    second_fit: FitConfig
    judging_fit: FitConfig
    judge: Mapping[str, Any]
    patch: tuple[int, int, int]
    blend: float = 0.5
    correcting: CorrectingConfig = field(default_factory=CorrectingConfig)
    judging: JudgingConfig = field(default_factory=JudgingConfig)


def train_interactive(
    recipe: Any, train: Sequence[Case], validation: Sequence[Case], out: Path, monitor: Monitor = Monitor()
) -> ModelSpec | None:
    """Trains all stages and puts the model, without its card and test figures, into `out`.

    A run that was stopped goes on; a stage that is done is not done again.

    Args:
        recipe: a `trainers.recipes.Recipe` with `interactive`.
        train: patients to learn from.
        validation: patients to watch and calibrate on.
        out: the model's folder; `out/stages` keeps what the stages made.
        monitor: see `trainers.fit.fit`.

    Returns:
        The spec, as it is saved; None in all processes of torchrun but the first.

    Raises:
        CheckpointMismatch: `out` holds stages that were trained in another way.
    """
    stages = _Stages(recipe.spec, recipe.config, recipe.fit, recipe.interactive, train, validation, out, monitor)
    with World.from_environment() as world:
        told = {
            "automatic": stages.automatic(),
            "corrections": stages.corrections(),
            "second": stages.second(),
            PART: stages.discriminator(),
        }
        return stages.assembled(told) if world.rank == 0 else None


def _half(cases: Sequence[Case]) -> list[Case]:
    """The cases of every second patient."""
    patients = set(list(dict.fromkeys(case.patient for case in cases))[::2])
    return [case for case in cases if case.patient in patients]


def without_clicks(spec: ModelSpec) -> ModelSpec:
    """A model of the image alone, which cannot be corrected and does not judge itself."""
    return spec.replace(clicks=0.0, parts={}, calibration={}, network={**spec.network, "in_channels": 1})


class _Stages:
    """One run's stages, in order."""

    def __init__(
        self,
        spec: ModelSpec,
        config: SegmentationConfig,
        fit: FitConfig,
        how: Interactive,
        train: Sequence[Case],
        validation: Sequence[Case],
        out: Path,
        monitor: Monitor,
    ) -> None:
        self.out, self.work, self.monitor = out, out / STAGES, monitor
        self.config, self.fit, self.how = config, fit, how
        self.smaller = replace(config, patch=how.patch)
        self.train, self.validation = list(train), list(validation)
        self.spec = spec.replace(parts={PART: dict(how.judge)})
        self.plain = without_clicks(spec)
        self.work.mkdir(parents=True, exist_ok=True)

    def automatic(self) -> Stage:
        task = SegmentationTask(self.plain, self._new(self.plain), self.train, self.validation, config=self.config)
        return self._trained("automatic", task, self.fit, "dice_mean")

    def corrections(self) -> Stage:
        network = with_more_inputs(self._made(self.plain, "automatic"), self._new(self.spec))
        task = CorrectingTask(self.spec, network, self.train, self.validation, self.smaller, self.how.correcting)
        return self._trained("corrections", task, self.how.correcting_fit, "dice_corrected")

    def blended(self) -> nn.Module:
        """The network that serves."""
        first = with_more_inputs(self._made(self.plain, "automatic"), self._made(self.spec, "corrections"))
        return mean_of(first, self._made(self.spec, "corrections"), self.how.blend)

    def second(self) -> Stage:
        task = SegmentationTask(self.plain, self._new(self.plain, 1), _half(self.train), config=self.smaller)
        return self._trained("second", task, self.how.second_fit, "")

    def discriminator(self) -> Stage:
        main = self.blended()
        second = with_more_inputs(self._made(self.plain, "second"), self._new(self.spec))
        torch.manual_seed(self.config.seed)
        task = JudgingTask(
            self.spec, build(self.how.judge), [main, second], self.train[1::2], self.validation, self.smaller,
            self.how.judging,
        )  # fmt: skip
        return self._trained(PART, task, self.how.judging_fit, task.key_metric)

    def assembled(self, told: Mapping[str, Stage]) -> ModelSpec:
        """The model's files, its discriminator calibrated, and how it was made."""
        save_weights(self.blended(), self.out / WEIGHTS_FILE)
        shutil.copyfile(part_file(self.work, PART), part_file(self.out, PART))
        spec = self.spec.replace(training=self._record(told))
        spec.save(self.out)
        found = calibrate(Segmenter(self.out), self.validation, self.how.judging)
        spec = spec.replace(calibration={key: calibration.as_dict() for key, calibration in found.items()})
        spec.save(self.out)
        return spec

    def _record(self, told: Mapping[str, Stage]) -> dict[str, Any]:
        curves = {name: s[key] for name, s in told.items() for key in s if key.startswith("validation_")}
        minutes = {name: stage["minutes"] for name, stage in told.items()}
        settings = {
            "correcting": asdict(self.how.correcting),
            "judging": asdict(self.how.judging),
            "blend": self.how.blend,
        }
        return {"minutes": minutes, "validation_by_step": curves, **plain(settings)}

    def _new(self, spec: ModelSpec, seed: int = 0) -> nn.Module:
        torch.manual_seed(self.config.seed + seed)
        return build(spec.network)

    def _made(self, spec: ModelSpec, stage: str) -> nn.Module:
        network = build(spec.network)
        load_weights(network, part_file(self.work, stage))
        return network

    def _trained(self, name: str, task: Any, fit: FitConfig, metric: str) -> Stage:
        network = next(iter(task.networks))
        files = {network: part_file(self.work, name)}
        loop = replace(fit, threads=fit.threads or self.fit.threads, device=self.fit.device)
        return trained(name, task, loop, files, self.work / name, metric, self.monitor)

"""Recipes: how each model that ships was trained, so that anyone can train it again."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.recipes import (
    anomaly,
    chest_xray_synthesis,
    fusion,
    hippocampus_synthesis,
    mr_reconstruction,
    paired_reconstruction,
)
from trainers.recipes.hippocampus_segmentation import CONFIG, FIT, INTERACTIVE, SPEC
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.anomaly.recipe import AnomalyRecipe
from trainers.tasks.fusion.train import FusionRecipe
from trainers.tasks.reconstruction.train import ReconstructionRecipe
from trainers.tasks.segmentation.interactive import Interactive
from trainers.tasks.segmentation.task import SegmentationConfig
from trainers.tasks.synthesis.recipe import SynthesisRecipe


@dataclass(frozen=True)
class Recipe:
    """A segmentation model before it is trained.

    Attributes:
        spec: the model without metrics. config: its task's settings. fit: the loop's.
        interactive: makes a model that can be corrected by clicks and judges itself; None trains the network alone.
        validation: number of patients to watch while training. test: number kept for the card's figures.
    """

    spec: ModelSpec
    config: SegmentationConfig
    fit: FitConfig
    validation: int
    test: int
    interactive: Interactive | None = None


RECIPES = {SPEC.name: Recipe(SPEC, CONFIG, FIT, validation=10, test=30, interactive=INTERACTIVE)}
SYNTHESIS_RECIPES: dict[str, SynthesisRecipe] = {
    module.SPEC.name: module.RECIPE for module in (hippocampus_synthesis, chest_xray_synthesis)
}
RECONSTRUCTION_RECIPES: dict[str, ReconstructionRecipe] = {
    recipe.spec.name: recipe
    for recipe in (
        mr_reconstruction.SUPER_RESOLUTION,
        mr_reconstruction.THICK_SLICES,
        mr_reconstruction.UNDERSAMPLED,
        mr_reconstruction.DENOISING,
        paired_reconstruction.LOW_DOSE,
        paired_reconstruction.CT_TO_MR,
        paired_reconstruction.MR_TO_CT,
        paired_reconstruction.T1_TO_T2,
    )
}
FUSION_RECIPES: dict[str, FusionRecipe] = {fusion.SPEC.name: fusion.RECIPE}
ANOMALY_RECIPES: dict[str, AnomalyRecipe] = {
    recipe.spec.name: recipe
    for recipe in (
        anomaly.HIPPOCAMPUS_CROPS,
        anomaly.CHEST_XRAY,
        anomaly.FUNDUS,
        anomaly.LUNG_NODULES,
        anomaly.BREAST_TUMOURS,
        anomaly.BRAIN_TUMOURS,
    )
}

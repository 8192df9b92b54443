"""Synthesis: GANs by preset, images by seed, class or label map, their figures and what they give away."""

from trainers.tasks.synthesis.evaluate import Report, evaluate
from trainers.tasks.synthesis.generate import generate
from trainers.tasks.synthesis.infer import Synthesizer, Synthetic
from trainers.tasks.synthesis.presets import PRESETS
from trainers.tasks.synthesis.recipe import SynthesisRecipe, recipe_for, with_preset
from trainers.tasks.synthesis.task import SynthesisConfig, SynthesisTask

__all__ = [
    "PRESETS", "Report", "SynthesisConfig", "SynthesisRecipe", "SynthesisTask", "Synthesizer", "Synthetic", "evaluate",
    "generate", "recipe_for", "with_preset",
]  # fmt: skip

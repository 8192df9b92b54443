"""Hippocampus crops on T1 MR with their label maps, learned from the Medical Segmentation Decathlon's Task 04."""

from __future__ import annotations

from trainers.recipes.hippocampus_segmentation import SPEC as SEGMENTATION
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.synthesis.images import SynthesisPreprocess
from trainers.tasks.synthesis.recipe import ARBITRARY, CLIP, MaskConfig, SynthesisRecipe, with_preset
from trainers.tasks.synthesis.task import SynthesisConfig

LIMITS = (
    "Research use only; not a medical device. Made images show no patient and must not pass for acquired ones. "
    "Learned from adults scanned at one centre with one protocol (3D MPRAGE, 1 mm), healthy and with psychosis: other"
    " pathology is not made. The window is 32 x 48 x 36 mm; of the largest hippocampi the tip may be cut off. A label"
    " map that is given is filled as it is, also where no hippocampus has such a shape. Grey values have no unit: 0 "
    "to 1000."
)

SPEC = ModelSpec(
    name="hippocampus_synthesis",
    task="synthesis",
    title="Hippocampus synthesis",
    description=(
        "Makes crops of T1-weighted MR around a hippocampus that no scanner has seen, each with its label map of the "
        "anterior and the posterior part; or fills a segmentation that you give."
    ),
    network={},
    preprocess={},
    labels=SEGMENTATION.labels,
    colors=SEGMENTATION.colors,
    data=SEGMENTATION.data,
    licence=SEGMENTATION.licence,
    body_part=SEGMENTATION.body_part,
    modality=SEGMENTATION.modality,
    limits=LIMITS,
)

RECIPE = with_preset(
    SynthesisRecipe(
        spec=SPEC,
        preprocess=SynthesisPreprocess((32, 48, 36), (1.0, 1.0, 1.0), CLIP, ARBITRARY, mirror=True),
        generator=(64, 32, 8),
        discriminator=(16, 32, 64),
        config=SynthesisConfig(falling=False, ada_kimg=20.0, moves=True),
        fit=FitConfig(1800, 4, weight_decay=0.0, precision="fp32", ema=0.995, validate_every=500, threads=1),
        patches=True,
        masks=MaskConfig(),
        validation=10,
        test=40,
    ),
    "default",
    learning_rate=3e-4,
)

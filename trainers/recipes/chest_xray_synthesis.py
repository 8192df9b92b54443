"""Chest X-rays of children, normal or with pneumonia, at 28 x 28, learned from PneumoniaMNIST."""

from __future__ import annotations

from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.synthesis.images import SynthesisPreprocess
from trainers.tasks.synthesis.recipe import SynthesisRecipe, with_preset
from trainers.tasks.synthesis.task import SynthesisConfig

LIMITS = (
    "Research use only; not a medical device. Made images show no patient and must not pass for acquired ones. "
    "Learned from frontal X-rays of children of one to five years at one hospital, reduced to 28 x 28 pixels: far too"
    " coarse for diagnosis; meant for teaching, for testing and for augmenting small classifiers. The data set names "
    "no patients, so that several images of one child may be on both sides of the split; exact repeats are kept on "
    "one side."
)

SPEC = ModelSpec(
    name="chest_xray_synthesis",
    task="synthesis",
    title="Chest X-ray synthesis",
    description="Makes chest X-rays of 28 x 28 pixels that no scanner has seen, normal or with pneumonia.",
    network={},
    preprocess={},
    classes=["normal", "pneumonia"],
    dimensions=2,
    data="PneumoniaMNIST of MedMNIST v2 (Yang et al. 2023), from Kermany et al. 2018",
    licence="CC BY 4.0",
    body_part="chest",
    modality="X-ray",
    limits=LIMITS,
)

RECIPE = with_preset(
    SynthesisRecipe(
        spec=SPEC,
        preprocess=SynthesisPreprocess((28, 28)),
        generator=(96, 48, 16),
        discriminator=(32, 64, 96),
        config=SynthesisConfig(ada_kimg=100.0),
        fit=FitConfig(4000, 32, weight_decay=0.0, precision="fp32", ema=0.998, validate_every=500, threads=1),
        own_parts=True,
        test=0.1,
    ),
    "default",
    learning_rate=5e-4,
)

"""Anomaly models: two that ship, and those that a user trains with sets that may not be passed on."""

from __future__ import annotations

from typing import Any

from trainers.recipes.chest_xray_synthesis import SPEC as CHEST
from trainers.recipes.hippocampus_segmentation import SPEC as HIPPOCAMPUS
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.anomaly.recipe import AnomalyRecipe, ReferenceConfig
from trainers.tasks.anomaly.restoring import RestoringConfig
from trainers.tasks.synthesis.images import SynthesisPreprocess

CLIP, GREYS = (0.5, 99.5), (0.0, 1000.0)
PICTURE = (0.0, 255.0)
LIMITS = (
    "Research use only; not a medical device. The score says how unusual an image is among the healthy ones that the "
    "model was calibrated with, and nothing of a disease: another scanner, protocol, age or position is unusual too. "
    "Calibrate it with healthy patients of your own before you trust its rates. {more}"
)
ADAM = (0.5, 0.99)


def _fit(steps: int, batch_size: int) -> FitConfig:
    """The loop of restorer and judge."""
    return FitConfig(
        steps, batch_size, 1e-3, betas=ADAM, ema=0.99, weight_decay=1e-4, precision="fp32", gradient_clip=1.0,
        validate_every=250, threads=1,
    )  # fmt: skip


def _reference(
    generator: tuple[int, ...], discriminator: tuple[int, ...], steps: tuple[int, int], batch_size: int
) -> ReferenceConfig:
    """f-AnoGAN: steps of the GAN's critic, and of the encoder."""
    gan = FitConfig(
        steps[0], batch_size, 1e-3, betas=(0.0, 0.9), ema=0.99, weight_decay=0.0, precision="fp32", warmup=0.02,
        threads=1,
    )  # fmt: skip
    mapping = FitConfig(steps[1], batch_size, 1e-3, ema=0.99, weight_decay=0.0, precision="fp32", threads=1)
    return ReferenceConfig(generator, discriminator, gan, mapping)


def _spec(name: str, title: str, description: str, more: str, **about: Any) -> ModelSpec:
    return ModelSpec(
        name=name, task="anomaly", title=title, description=description, network={}, preprocess={},
        limits=LIMITS.format(more=more), **about,
    )  # fmt: skip


CHEST_XRAY = AnomalyRecipe(
    _spec(
        "chest_xray_anomaly", "Chest X-ray anomalies",
        "Tells how unusual a chest X-ray of a child is among normal ones, and where.",
        "Learned from 28 x 28 pixels of children of one to five years, one centre; a small nodule cannot be seen in "
        "them. Images of ill children differ in sharpness as well, which the score uses: it may tell how an image was "
        "taken, not only what it shows.",
        inputs=[{"name": "image", "modality": "X-ray"}], dimensions=2, data=CHEST.data, licence=CHEST.licence,
        body_part=CHEST.body_part, modality=CHEST.modality,
    ),
    SynthesisPreprocess((28, 28), range=PICTURE),
    RestoringConfig(channels=(16, 32, 48, 64)),
    _fit(1500, 16),
    grid=(7, 7),
    reference=_reference((96, 64, 32), (32, 64, 96), (3000, 1500), 32),
    normal="normal",
    validation=250,
    test=150,
)  # fmt: skip

HIPPOCAMPUS_CROPS = AnomalyRecipe(
    _spec(
        "hippocampus_anomaly", "Hippocampus anomalies",
        "Shows what is unusual in a crop of a T1-weighted MR around a hippocampus.",
        "Learned from adults scanned at one centre with one protocol (3D MPRAGE, 1 mm), healthy and with psychosis. "
        "Localisation was measured with simulated lesions; no crop with a real lesion was at hand.",
        inputs=[{"name": "image", "modality": "MR"}], data=HIPPOCAMPUS.data, licence=HIPPOCAMPUS.licence,
        body_part=HIPPOCAMPUS.body_part, modality=HIPPOCAMPUS.modality,
    ),
    SynthesisPreprocess((36, 52, 36), (1.0, 1.0, 1.0), CLIP, GREYS, mirror=True),
    RestoringConfig(patch=(24, 32, 24), channels=(24, 48, 64), fold=2, norm=True),
    _fit(3000, 6),
    grid=(4, 6, 4),
    reference=_reference((64, 48, 24, 8), (8, 24, 48, 64), (1500, 600), 4),
    validation=50,
    test=30,
)  # fmt: skip

FUNDUS = AnomalyRecipe(
    _spec(
        "fundus_anomaly", "Diabetic retinopathy on fundus photographs",
        "Tells how unusual a fundus photograph is among those of people without diabetic retinopathy, and where.",
        "Not shipped: train it with a set of your own.",
        inputs=[{"name": name, "modality": "fundus"} for name in ("red", "green", "blue")], dimensions=2,
        body_part="eye", modality="fundus",
    ),
    SynthesisPreprocess((96, 64), range=PICTURE),
    RestoringConfig(channels=(16, 32, 48, 64)),
    _fit(2000, 8),
    grid=(12, 8),
    sigmas=(0.7, 1.4, 2.8, 5.6),
    reference=_reference((96, 64, 48, 16), (16, 48, 64, 96), (2000, 1000), 16),
    normal="no_dr",
    validation=40,
    test=30,
)  # fmt: skip

LUNG_NODULES = AnomalyRecipe(
    _spec(
        "lung_nodule_anomaly", "Lung nodules on CT",
        "Shows what is unusual in a small box of a chest CT among boxes without a nodule.",
        "Not shipped: train it with LUNA16. It looks at boxes of 32 mm, one at a time.",
        inputs=[{"name": "image", "modality": "CT"}], body_part="chest", modality="CT",
    ),
    SynthesisPreprocess((32, 32, 32), (1.0, 1.0, 1.0), range=(-1000.0, 400.0)),
    RestoringConfig(patch=(24, 24, 24), channels=(24, 48, 64), fold=2, norm=True),
    _fit(6000, 8),
    grid=(4, 4, 4),
    reference=_reference((64, 32, 8), (8, 32, 64), (3000, 1500), 8),
    normal="non-nodule",
    validation=0.15,
    test=0.15,
)  # fmt: skip

BREAST_TUMOURS = AnomalyRecipe(
    _spec(
        "breast_anomaly", "Breast tumours on mammograms or ultrasound",
        "Tells how unusual a breast image is among normal ones, and where.",
        "Not shipped: train it with a folder for each class, one of them called normal.",
        inputs=[{"name": "image", "modality": "X-ray"}], dimensions=2, body_part="breast", modality="X-ray",
    ),
    SynthesisPreprocess((96, 96), range=PICTURE),
    RestoringConfig(channels=(16, 32, 48, 64)),
    _fit(3000, 8),
    grid=(12, 12),
    sigmas=(0.7, 1.4, 2.8, 5.6),
    reference=_reference((96, 64, 48, 16), (16, 48, 64, 96), (3000, 1500), 16),
    normal="normal",
    validation=0.2,
    test=0.15,
)  # fmt: skip

BRAIN_TUMOURS = AnomalyRecipe(
    _spec(
        "brain_anomaly", "Brain tumours on four MR sequences",
        "Shows what is unusual in T1, contrast-enhanced T1, T2 and FLAIR of a brain among healthy ones.",
        "Not shipped: train it with healthy brains in the layout of BraTS; measure it on BraTS.",
        inputs=[{"name": name, "modality": "MR"} for name in ("t1", "t1c", "t2", "flair")], body_part="brain",
        modality="MR",
    ),
    SynthesisPreprocess((80, 96, 80), (2.0, 2.0, 2.0), CLIP, GREYS),
    RestoringConfig(patch=(32, 32, 32), channels=(24, 48, 64), fold=2, norm=True),
    _fit(6000, 6),
    grid=(5, 6, 5),
    validation=0.2,
    test=0.15,
)  # fmt: skip

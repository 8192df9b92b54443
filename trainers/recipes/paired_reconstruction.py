"""CT without the noise of a low dose, and one modality made of another: learned from registered CT and MR."""

from __future__ import annotations

from typing import Any

from trainers.spec import ModelSpec
from trainers.task import FitConfig
from trainers.tasks.reconstruction.task import ReconstructionConfig
from trainers.tasks.reconstruction.train import ReconstructionRecipe

SARCOMA = "Soft-tissue-Sarcoma (TCIA; Vallieres et al. 2015): CT and T1-weighted MR, registered, cropped to the tumour"
LICENCE = "CC BY 3.0"
LIMITS = (
    "Research use only; not a medical device. Learned from {patients} of adults with sarcomas of arms, legs and trunk, "
    "at 1 x 1 x 3.3 mm; other anatomy and scanners were not seen. {more}"
)
INVENTED = (
    "What a modality shows is only partly in the other one: fat can be told from muscle, a tumour's signal cannot, and "
    "a CT made of MR shows hardly any bone. For planning and teaching, never for a diagnosis. With a strength above 0 "
    "a GAN adds texture that was not measured."
)
TRANSLATOR = {"name": "Translator", "inputs": 3, "channels": [24, 48, 96, 96]}


def _spec(name: str, title: str, description: str, network: dict[str, Any], **more: Any) -> ModelSpec:
    return ModelSpec(name=name, task="reconstruction", title=title, description=description, network=network, **more)


def _sarcoma(modality: str, more: str) -> dict[str, Any]:
    """What the models of this set have in common; the modality is that of what is put in."""
    return {
        "data": SARCOMA, "licence": LICENCE, "body_part": "Soft tissue", "modality": modality,
        "inputs": [{"name": "image", "modality": modality}], "limits": LIMITS.format(patients="crops", more=more),
    }  # fmt: skip


def _recipe(spec: ModelSpec, config: ReconstructionConfig, fit: FitConfig, **more: Any) -> ReconstructionRecipe:
    """A recipe for a set of fourteen patients."""
    settings = {"adversarial": 0.005, "steps": 400, "validation": 2, "test": 3, **more}
    return ReconstructionRecipe(spec, config, fit, **settings)


def _fit(steps: int, batch_size: int) -> FitConfig:
    return FitConfig(
        steps, batch_size, 1e-3, ema=0.995, weight_decay=0.0, precision="fp32", gradient_clip=1.0, validate_every=250,
        threads=1,
    )  # fmt: skip


LOW_DOSE = _recipe(
    _spec(
        "ct_denoising", "CT denoising",
        "Takes the noise of a low dose out of a CT: a twentieth to a quarter of the usual one.",
        {"name": "Denoiser", "spatial_dims": 2, "channels": 48, "blocks": 6},
        preprocess={"measurement": "low_dose", "dose": [0.05, 0.25]},
        **_sarcoma(
            "CT",
            "The low dose was simulated in parallel projections of crops, which are thinner than a body; streaks of "
            "metal and of starved photons were not seen. With a strength above 0 a GAN gives back texture, not detail.",
        ),
    ),
    ReconstructionConfig(patch=(64, 64)),
    _fit(3000, 8),
)  # fmt: skip


def _translation(source: str, made: str, title: str, look: str) -> ReconstructionRecipe:
    """CT from MR, or the other way round."""
    named = {"CT": "CT", "MR": "MR_T1"}
    settings = {"source": source, "made": made, "sequences": [named[made], named[source]]}
    spec = _spec(
        f"{source.lower()}_to_{made.lower()}", title,
        f"Makes an image that looks like {look}. No {made} was acquired.",
        TRANSLATOR,
        preprocess={"measurement": "translation", **settings},
        **_sarcoma(source, INVENTED),
    )  # fmt: skip
    return _recipe(spec, ReconstructionConfig(patch=(64, 64)), _fit(1500, 4))


CT_TO_MR = _translation("CT", "MR", "CT to MR-like", "a T1-weighted MR of a CT")
MR_TO_CT = _translation("MR", "CT", "MR to CT-like", "a CT, in Hounsfield units, of a T1-weighted MR")

T1_TO_T2 = ReconstructionRecipe(
    _spec(
        "brain_t1_to_t2", "Brain T1 to T2-like",
        "Makes an image that looks like a T2-weighted MR of a T1-weighted one. No T2 was acquired.",
        TRANSLATOR,
        preprocess={"measurement": "translation", "source": "MR", "made": "MR", "sequences": ["t2", "t1"]},
        data="BraTS, which you bring", licence="that of your data", body_part="Brain", modality="MR",
        inputs=[{"name": "image", "modality": "MR"}],
        limits=LIMITS.format(patients="BraTS scans", more=INVENTED).replace("adults with sarcomas of arms, legs and "
        "trunk, at 1 x 1 x 3.3 mm", "adults with gliomas, at 1 mm"),
    ),
    ReconstructionConfig(patch=(96, 96)),
    FitConfig(
        20000, 8, 1e-3, ema=0.999, weight_decay=0.0, gradient_clip=1.0, validate_every=1000, workers=2,
    ),
    steps=5000, validation=20, test=50,
)  # fmt: skip

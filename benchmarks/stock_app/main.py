"""A stock MONAI Label app with the networks of `benchmarks.beside_stock`, written as MONAI Label's sample apps are.

Started by `python -m monailabel.main start_server --app benchmarks/stock_app --conf models FOLDER`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import (
    AsDiscreted,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    ScaleIntensityRanged,
    Spacingd,
    SqueezeDimd,
)
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask
from monailabel.transform.post import Restored

from trainers.networks import load
from trainers.spec import WEIGHTS_FILE, ModelSpec

STRIDE = 8  # sizes that the segmentation network takes are its multiples
AT_ONCE = 8  # slices
LOWEST, HIGHEST, UNIT = -1024.0, 3071.0, 500.0  # HU


class Whole(Inferer):
    """The network on the whole volume, padded as it needs."""

    def __call__(self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **more: Any) -> Any:
        """(b, 1, x, y, z) to logits of the same size."""
        x, y, z = inputs.shape[2:]
        padded = torch.nn.functional.pad(inputs, [p for n in (z, y, x) for p in (0, -n % STRIDE)])
        return network(padded)[..., :x, :y, :z]


class SliceWise(Inferer):
    """The network on some slices at a time."""

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """(1, 1, x, y, z) to the same."""
        made = torch.empty_like(inputs)
        for start in range(0, inputs.shape[4], AT_ONCE):
            part = inputs[0, ..., start : start + AT_ONCE].permute(3, 0, 1, 2).contiguous()
            made[0, ..., start : start + AT_ONCE] = network(part).image.permute(1, 2, 3, 0)
        return made


class Task(BasicInferTask):
    """What both tasks share: the network of one of our model folders."""

    def __init__(self, folder: Path, kind: InferType, **more: Any) -> None:
        spec = ModelSpec.load(folder)
        network = load(spec.network, folder / WEIGHTS_FILE)
        self.spacing = spec.preprocess.get("spacing", 1.0)
        super().__init__(None, network, kind, spec.labels, 3, spec.description, preload=True, **more)

    def is_valid(self) -> bool:
        """The network came with its weights."""
        return True


class Label(Task):
    """2 mm, network, argmax, then back to the image's grid, which is MONAI Label's cheaper order."""

    def pre_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """As the sample apps do."""
        _drop_path(data)
        return [
            LoadImaged(keys="image"),
            EnsureChannelFirstd(keys="image"),
            Spacingd(keys="image", pixdim=self.spacing),
            NormalizeIntensityd(keys="image"),
        ]

    def inferer(self, data: dict[str, Any] | None = None) -> Inferer:
        """The whole volume at once, as ours does."""
        return Whole()

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """As the sample apps do."""
        return [
            AsDiscreted(keys="pred", argmax=True),
            Restored(keys="pred", ref_image="image"),
        ]


class Image(Task):
    """Slices, network, the same grid, float32."""

    def pre_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """HU to the network's numbers."""
        _drop_path(data)
        numbers = ScaleIntensityRanged("image", LOWEST, HIGHEST, LOWEST / UNIT, HIGHEST / UNIT, clip=True)
        return [LoadImaged(keys="image"), EnsureChannelFirstd(keys="image"), numbers]

    def inferer(self, data: dict[str, Any] | None = None) -> Inferer:
        """Slice by slice, as ours does."""
        return SliceWise()

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """The network's numbers to HU."""
        return [ScaleIntensityRanged("pred", 0.0, 1.0, 0.0, UNIT), SqueezeDimd(keys="pred", dim=0)]


class StockApp(MONAILabelApp):
    """The app. `--conf models FOLDER`: our model folders `label` and `image`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.models = Path(conf["models"])
        super().__init__(app_dir, studies, conf, name="stock", description="Stock MONAI Label, to be measured against")

    def init_infers(self) -> dict[str, InferTask]:
        """One task for each kind of result."""
        return {
            "label": Label(self.models / "label" / "v0001", InferType.SEGMENTATION),
            "image": Image(self.models / "image" / "v0001", InferType.OTHERS, config={"result_dtype": "float32"}),
        }


def _drop_path(data: dict[str, Any] | None) -> None:
    """Spacingd would take the request's path for the image's own metadata."""
    if data:
        data.pop("image_path", None)

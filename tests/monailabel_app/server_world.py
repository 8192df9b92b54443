"""A small world for the server's tests: real anatomy, labels that a small network learns in seconds, a live server."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from fastapi.testclient import TestClient
from scipy import ndimage

from demo import mni
from demo.server import server_process
from monailabel_app.config import ServerConfig
from monailabel_app.main import MedGANApp
from monailabel_app.server import create_app
from monailabel_app.services import Services
from trainers.data.cases import Case
from trainers.data.volumes import Volume, write_volume
from trainers.networks import build
from trainers.spec import WEIGHTS_FILE, ModelSpec, load_weights, part_file, save_weights
from trainers.tasks.segmentation import FinetuneConfig, finetune

MODEL = "tissue_segmentation"
LABELS = {"light": 1, "bright": 2}
FINER, CLEANER, FASTER = "finer", "cleaner", "faster"


def crop(number: int) -> Volume:
    """The surroundings of one hippocampus of MNI152: side, place, contrast and noise vary with `number`."""
    random = np.random.default_rng(number)
    side = list(mni.HIPPOCAMPUS.values())[number % 2]
    part = mni.crop(mni.head(), tuple(np.add(side, random.integers(-6, 7, 3))))
    array = part.array * random.uniform(0.5, 2) * 500
    return part.like((array + random.normal(0, 0.02 * array.std(), array.shape)).astype(np.float32))


def truth(image: Volume) -> Volume:
    """Labels by brightness: the largest light piece of tissue, and what is bright in it."""
    smooth = ndimage.gaussian_filter(image.array, 1.0)
    level = (smooth - smooth.mean()) / smooth.std()
    pieces, _ = ndimage.label(level > 0.2)
    inside = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    return image.like((inside.astype(np.uint8) + (inside & (level > 1.0))).astype(np.uint8))


def swapped(label: Volume) -> Volume:
    """A poisoned label: the two values exchanged."""
    return label.like(np.array([0, 2, 1], np.uint8)[label.array])


def write_case(folder: Path, number: int) -> Case:
    """`folder/images/case_N.nii.gz` and its label."""
    image = crop(number)
    case = Case(
        f"case_{number}", folder / "images" / f"case_{number}.nii.gz", folder / "labels" / f"case_{number}.nii.gz"
    )
    write_volume(case.image, image)
    write_volume(case.label, truth(image))
    return case


def make_models(folder: Path) -> Path:
    """A folder of models with one small model: v0001, half trained, with two reference cases."""
    spec = ModelSpec(
        name=MODEL, task="segmentation", title="Tissue", description="Light and bright tissue.", labels=LABELS,
        network={"name": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 16],
                 "strides": [2], "norm": "INSTANCE"},
        preprocess={"spacing": [1.0, 1.0, 1.0], "window": list(mni.CROP), "clip": [0.5, 99.5]},
        colors={"light": [0.9, 0.7, 0.2], "bright": [0.3, 0.6, 0.9]},
        inputs=[{"name": "image", "modality": "MR T1"}], body_part="tissue", modality="MR T1",
        metrics={"dice_mean": {"value": 0.7, "higher_is_better": True}}, data="MNI152", licence="none",
        training={"task": {"patch": [40, 56, 40], "augmentation": {"intensity": 0.0, "distortion": 0.0}}},
    )  # fmt: skip
    blank, half, whole = (folder / MODEL / name for name in (".blank", ".half", "v0001"))
    torch.manual_seed(0)
    blank.mkdir(parents=True)
    spec.save(blank)
    save_weights(build(spec.network), blank / WEIGHTS_FILE)
    cases = [write_case(folder / ".training", 100 + n) for n in range(4)]
    config = FinetuneConfig(epochs=1, learning_rate=1e-2, anchor=0.0, least_steps=40)
    finetune(blank, half, cases, [], [], config)
    half.rename(whole)
    for number in (200, 201):
        write_case(folder / MODEL / "reference", number)
    return folder


def weaken(source: Path, target: Path, strength: float = 0.5) -> None:
    """A worse version of a model: its weights with noise."""
    spec = ModelSpec.load(source)
    network = build(spec.network)
    load_weights(network, source / WEIGHTS_FILE)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += strength * weight.std(unbiased=False) * torch.randn_like(weight)
    target.mkdir(parents=True, exist_ok=True)
    save_weights(network, target / WEIGHTS_FILE)
    spec.save(target)


PICTURES, SHAPES = "picture_synthesis", "shape_synthesis"


def make_synthesis(folder: Path) -> Path:
    """Adds two models of random weights to a folder: pictures of two classes, and volumes that fill label maps."""
    common = {"name": "ResidualGenerator", "channels": [8, 8], "latent": 8}
    pictures = ModelSpec(
        name=PICTURES, task="synthesis", title="Pictures", description="Noise of two classes.", dimensions=2,
        network={**common, "spatial_dims": 2, "size": [16, 12], "categories": [2]},
        preprocess={"window": [16, 12]}, classes=["healthy", "pneumonia"], modality="X-ray",
    )  # fmt: skip
    shapes = ModelSpec(
        name=SHAPES, task="synthesis", title="Shapes", description="Noise in shapes.", labels=LABELS,
        network={**common, "spatial_dims": 3, "size": [20, 24, 20], "maps": 3},
        preprocess={"window": [20, 24, 20], "spacing": [1.0, 1.0, 1.0], "range": [-200, 300]}, modality="CT",
        parts={"masks": {**common, "spatial_dims": 3, "size": [10, 12, 10], "out_channels": 2, "output": "tanh"}},
        training={"label_voxels": {"light": [0, 9600], "bright": [0, 9600]}},
    )  # fmt: skip
    torch.manual_seed(0)
    for spec in (pictures, shapes):
        version = folder / spec.name / "v0001"
        version.mkdir(parents=True)
        spec.save(version)
        save_weights(build(spec.network), version / WEIGHTS_FILE)
        for part, network in spec.parts.items():
            save_weights(build(network), part_file(version, part))
    return folder


def make_reconstruction(folder: Path) -> Path:
    """Adds models of random weights to a folder: finer images with a GAN, cleaner ones, and undersampled k-space."""
    finer = ModelSpec(
        name=FINER, task="reconstruction", title="Finer", description="Voxels of voxels.", modality="MR",
        network={"name": "SuperResolver", "spatial_dims": 3, "factors": [2, 2, 2], "channels": 4, "blocks": 1},
        preprocess={"measurement": "super_resolution", "factors": [2, 2, 2]},
        inputs=[{"name": "image", "modality": "MR"}],
    )  # fmt: skip
    cleaner = finer.replace(
        name=CLEANER, network={"name": "Denoiser", "spatial_dims": 3, "channels": 4, "blocks": 1},
        preprocess={"measurement": "noise"},
    )  # fmt: skip
    faster = finer.replace(
        name=FASTER, network={"name": "UnrolledReconstructor", "cascades": 1, "channels": [4, 8]},
        preprocess={"measurement": "undersampling"},
    )  # fmt: skip
    for seed, spec in enumerate((finer, cleaner, faster)):
        torch.manual_seed(seed)
        version = folder / spec.name / "v0001"
        version.mkdir(parents=True)
        spec = spec.replace(parts={"gan": spec.network} if spec is finer else {})
        spec.save(version)
        for file in (WEIGHTS_FILE, "gan.safetensors")[: 1 + len(spec.parts)]:
            network = build(spec.network)
            for parameter in network.parameters():
                parameter.data += 0.05 * torch.randn_like(parameter)
            save_weights(network, version / file)
    return folder


def make_studies(folder: Path, count: int = 8) -> Path:
    """A folder of studies `study_0.nii.gz`, …"""
    for number in range(count):
        write_volume(folder / f"study_{number}.nii.gz", crop(number))
    return folder


@dataclasses.dataclass
class Server:
    """A live server."""

    url: str
    studies: Path
    data: Path
    process: subprocess.Popen[bytes]
    output: Path

    def client(self, **more: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, **more)

    def label_file(self, study: int, folder: Path, poisoned: bool = False) -> Path:
        """A file with the true, or a poisoned, label of a study."""
        label = truth(crop(study))
        path = folder / f"label_{study}.nii.gz"
        write_volume(path, swapped(label) if poisoned else label)
        return path


@contextlib.contextmanager
def serving(studies: Path, models: Path, output: Path, *options: str, **environment: str) -> Iterator[Server]:
    """A live server, started as an administrator would, stopped at the end."""
    variables = {"OMP_NUM_THREADS": "1", **environment}
    with server_process(studies, output, "--models", str(models), *options, **variables) as (url, process):
        yield Server(url, studies, studies / ".medgan", process, output)


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error answer, after checking its shape."""
    body = response.json()
    assert set(body) == {"error", "detail"}
    assert set(body["error"]) == {"code", "message", "hint", "id"}
    assert body["error"]["message"] in body["detail"]
    return response.status_code, body["error"]["code"]


def client_of(config: ServerConfig) -> TestClient:
    """The whole application, in this process."""
    api = create_app(config)
    api.state.services = Services.of(MedGANApp(str(config.data), str(config.studies), config.to_conf()))
    return TestClient(api, base_url="http://127.0.0.1", raise_server_exceptions=False)


def infer(client: TestClient, model: str, query: dict[str, Any] | None = None, files: Any = None, **params: Any) -> Any:
    """The answer of a model, asked without a study."""
    data = {"params": json.dumps(params)}
    return client.post(f"/infer/{model}", params=query or {}, data=data, files=files)

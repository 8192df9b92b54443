"""CT at a lower dose and one modality made of another: units, what the network sees, and volumes from any side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Cancelled, Monitor
from trainers.networks import build
from trainers.networks.reconstruction import expected_error
from trainers.spec import ModelSpec, save_weights
from trainers.tasks.reconstruction.infer import GAN_WARNING
from trainers.tasks.reconstruction.measurement import Scan
from trainers.tasks.reconstruction.measurements import measurement_of, settings_of
from trainers.tasks.reconstruction.models import open_model
from trainers.tasks.reconstruction.paired import BINS, LowDoseCT, Translation, numbers_of, to_numbers
from trainers.tasks.reconstruction.slices import SliceReconstructor

TRANSLATOR = {"name": "Translator", "inputs": 3, "channels": [4, 8, 8]}
DENOISER = {"name": "Denoiser", "spatial_dims": 2, "channels": 6, "blocks": 1}
MADE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "low_dose": ({"measurement": "low_dose"}, DENOISER),
    "translation": ({"measurement": "translation"}, TRANSLATOR),
}


def body(shape: tuple[int, ...] = (25, 30, 5)) -> np.ndarray:
    """Soft tissue in air with a bone, HU."""
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:2]], indexing="ij")
    slice_ = np.where(np.hypot(*grids) < 0.8, 40.0, -1000.0)
    slice_[np.hypot(grids[0] - 0.2, grids[1]) < 0.25] = 900
    return np.repeat(slice_[..., None], shape[2], 2).astype(np.float32)


def both() -> Scan:
    """An MR of it beside it: bone is dark, tissue is 200."""
    ct = body()
    mr = np.where(ct > 500, 20, np.where(ct > 0, 200, 0)).astype(np.float32)
    return Scan(np.stack([mr, ct]), (1.0, 1.0, 3.0))


def model(kind: str, seed: int = 0) -> SliceReconstructor:
    preprocess, network = MADE[kind]
    spec = ModelSpec("m", "reconstruction", "M", "", network, preprocess)
    networks = []
    for number in (seed, seed + 1):
        torch.manual_seed(number)
        networks.append(build(network))
        with torch.no_grad():
            for parameter in networks[-1].parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return SliceReconstructor.from_networks(spec, *networks)  # type: ignore[return-value]


def test_a_lower_dose_adds_noise_in_tissue_and_is_the_same_again() -> None:
    scan = Scan(body()[None], (1.0, 1.0, 3.0))
    high, low = (LowDoseCT(dose=(d, d), views=90).prepare(scan, 3) for d in (0.5, 0.02))
    clean = LowDoseCT().target.to_values(high[0])
    assert np.allclose(clean, body(), atol=1e-3)
    noise = [np.std((x[1] - x[0])[8:18, 10:20]) for x in (high, low)]
    assert noise[1] > 3 * noise[0] > 0
    assert np.array_equal(low, LowDoseCT(dose=(0.02, 0.02), views=90).prepare(scan, 3))
    thin = LowDoseCT(dose=(0.02, 0.02), views=90).prepare(Scan(scan.array, (0.25, 0.25, 3.0)), 3)
    assert np.std((thin[1] - thin[0])[8:18, 10:20]) != pytest.approx(noise[1], rel=0.1), "the pixel size counts"


def test_pixels_that_are_not_square_are_told() -> None:
    with pytest.raises(VolumeError, match=r"pixels of 1 x 1\.5 mm"):
        LowDoseCT(views=60).prepare(Scan(body()[None], (1.0, 1.5, 3.0)), 3)
    LowDoseCT(views=60).prepare(Scan(body()[None], (1.0, 1.004, 3.0)), 3)


def test_units_of_a_modality() -> None:
    assert numbers_of("CT", body()).to_numbers(body()).max() == pytest.approx(1.8)
    mr = both().array[0]
    assert to_numbers("MR", mr).max() == pytest.approx(1, rel=0.2), "the mean of tissue is one"
    assert to_numbers("MR", 7 * mr) == pytest.approx(to_numbers("MR", mr), rel=1e-4), "whatever the scanner's scale"
    assert to_numbers("CT", body() - 5000).min() == pytest.approx(-1024 / 500)
    with pytest.raises(VolumeError, match="not in Hounsfield units"):
        to_numbers("CT", body() + 1024)
    with pytest.raises(VolumeError, match="below 0"):
        to_numbers("MR", body())
    with pytest.raises(ValueError, match="no unit for US"):
        to_numbers("US", mr)


def test_the_network_sees_the_slices_beside() -> None:
    made = Translation()
    array = np.arange(4, dtype=np.float32) * 100 - 1000 + np.zeros((16, 16, 1), np.float32)
    seen = (made.sources(array)[:, 0, 0] * 500 + 1000).round()
    assert seen.tolist() == [[0, 0, 100, 200], [0, 100, 200, 300], [100, 200, 300, 300]]
    scan = both()
    prepared = made.prepare(scan)
    measured = made.measure(torch.from_numpy(np.moveaxis(prepared, 3, 0)), 0)
    assert measured["source"].shape == (5, 3, 25, 30)


def test_the_curve_is_the_mean_of_what_is_made_by_value() -> None:
    scan = both()
    fitted = Translation().fitted([Translation().prepare(scan)])
    assert isinstance(fitted, Translation) and len(fitted.curve) == BINS
    prepared = fitted.prepare(scan)
    plain = fitted.plain(fitted.measure(torch.from_numpy(np.moveaxis(prepared, 3, 0)), 0))["lookup"]
    assert plain.numpy()[:, 0] == pytest.approx(np.moveaxis(prepared[0], 2, 0), abs=0.02), "here it tells everything"
    assert measurement_of(settings_of(fitted)) == fitted
    assert list(Translation().plain({"source": torch.zeros(1, 3, 8, 8)})) == ["source"]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_a_volume_from_any_side_gives_the_same(kind: str, axes: tuple[int, ...]) -> None:
    array, affine = body() + np.arange(5) * 20, np.diag([1.0, 1.0, 3.0, 1.0])
    plain = model(kind)(Volume(array, affine), 0.5)
    turned = Volume(np.ascontiguousarray(array.transpose(axes)[::-1]), affine[:, [*axes, 3]].copy())
    turned.affine[:3, 3] = turned.affine[:3, 0] * (turned.shape[0] - 1)
    turned.affine[:3, 0] *= -1
    found = model(kind)(turned, 0.5)
    for part in ("image", "uncertainty"):
        a, b = getattr(plain, part).array, getattr(found, part).array
        assert np.allclose(a, b[::-1].transpose(np.argsort(axes)), atol=1e-2)
    assert np.allclose(found.image.affine, turned.affine) and found.image.shape == turned.shape
    assert found.contradiction is None and found.warnings[-1] == GAN_WARNING
    assert found.uncertainty.array.min() >= 0


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_the_image_alone_is_the_same_image(strength: float) -> None:
    volume, kind = Volume(body() + np.arange(5) * 20, np.diag([1.0, 1.0, 3.0, 1.0])), next(iter(MADE))
    both = model(kind)(volume, strength)
    alone = model(kind).reconstruct({"image": volume}, strength, uncertainty=False)
    assert alone.uncertainty is None and np.array_equal(alone.image.array, both.image.array)


def test_what_a_model_makes_is_in_its_unit() -> None:
    """An untrained denoiser, whose output begins at its input, changes nothing."""
    spec = ModelSpec("m", "reconstruction", "M", "", DENOISER, MADE["low_dose"][0])
    network = build(DENOISER)
    with torch.no_grad():
        for parameter in network.last.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    found = SliceReconstructor.from_networks(spec, network)(Volume(body(), np.eye(4)))
    assert found.image.array == pytest.approx(body(), abs=1e-2)
    assert found.warnings == []


def test_translation_says_that_nothing_was_acquired() -> None:
    assert any("No MR was acquired" in warning for warning in model("translation")(Volume(body(), np.eye(4))).warnings)


def test_mistakes_and_cancelling(tmp_path: Any) -> None:
    mine = model("low_dose")
    with pytest.raises(VolumeError, match="too small"):
        mine(Volume(body((8, 30, 5)), np.eye(4)))
    with pytest.raises(VolumeError, match="Hounsfield"):
        mine(Volume(body() + 1100, np.eye(4)))
    with pytest.raises(ValueError, match="no strength 2"):
        mine(Volume(body(), np.eye(4)), 2.0)

    class Stop(Monitor):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        mine(Volume(body(), np.eye(4)), monitor=Stop())


def test_a_folder_is_opened_as_what_it_is(tmp_path: Any) -> None:
    spec = ModelSpec("m", "reconstruction", "M", "", DENOISER, MADE["low_dose"][0])
    spec.save(tmp_path)
    save_weights(build(DENOISER), tmp_path / "model.safetensors")
    opened = open_model(tmp_path)
    assert isinstance(opened, SliceReconstructor)
    assert opened.reconstruct({"image": Volume(body(), np.eye(4))}).image.shape == (25, 30, 5)


def test_a_denoiser_learns_to_take_noise_away() -> None:
    from trainers.fit import fit
    from trainers.task import FitConfig
    from trainers.tasks.reconstruction.task import ReconstructionConfig, ReconstructionTask, as_images

    measurement = LowDoseCT(dose=(0.02, 0.02), views=60)
    random = np.random.default_rng(0)
    scans = [ndimage.rotate(body((32, 32, 3)), a, order=1, reshape=False, cval=-1000) for a in random.uniform(0, 90, 3)]
    prepared = [measurement.prepare(Scan(s[None], (1.0, 1.0, 3.0)), n) for n, s in enumerate(scans)]
    torch.manual_seed(0)
    config = ReconstructionConfig(patch=(24, 24))
    task = ReconstructionTask(build({**DENOISER, "channels": 16}), measurement, prepared[:2], prepared[2:], config)
    networks, _ = fit(task, FitConfig(80, 4, 3e-3, ema=0.9, precision="fp32", threads=1))
    images = as_images(prepared[2], measurement)
    with torch.inference_mode():
        found = networks["generator"](**measurement.measure(images, 0))
    before, after = ((x - images[:, :1]).abs().mean() for x in (images[:, 1:], found.image))
    assert after < 0.85 * before
    assert float(expected_error(found.log_error).mean()) == pytest.approx(float(after), rel=0.6)

"""Measurements can be simulated again from their seed, inverted plainly, and tell what contradicts them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import ndimage

from trainers.networks import build
from trainers.tasks.reconstruction.measurement import Measurement, cubic
from trainers.tasks.reconstruction.measurements import MEASUREMENTS, measurement_of, settings_of

SETTINGS: list[dict[str, Any]] = [
    {"measurement": "super_resolution", "factors": [2, 2, 2]},
    {"measurement": "super_resolution", "factors": [1, 1, 2]},
    {"measurement": "undersampling", "accelerations": [2.0, 4.0], "kinds": ["equispaced"]},
    {"measurement": "noise", "deviation": [0.2, 0.2]},
]
NETWORKS: dict[str, dict[str, Any]] = {
    "super_resolution": {"name": "SuperResolver", "spatial_dims": 3, "channels": 8, "blocks": 1},
    "undersampling": {"name": "UnrolledReconstructor", "cascades": 1, "channels": [4, 8]},
    "noise": {"name": "Denoiser", "spatial_dims": 3, "channels": 8, "blocks": 1},
}


def images(measurement: Measurement, seed: int = 0) -> torch.Tensor:
    """Smooth images in the measurement's unit, magnitudes where it takes them."""
    torch.manual_seed(seed)
    size = (16, 24, 16)[: measurement.dimensions]
    smooth = ndimage.gaussian_filter(torch.randn(2, 1, *size).numpy(), (0, 0, *[2] * len(size)))
    magnitude = smooth - smooth.min() if measurement.magnitude else smooth
    return torch.from_numpy(measurement.unit(magnitude).to_numbers(magnitude))


def test_all_are_looked_at() -> None:
    assert {s["measurement"] for s in SETTINGS} == set(NETWORKS)
    assert set(MEASUREMENTS) - set(NETWORKS) == {"low_dose", "translation"}, "those have tests of their own"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_can_be_told(settings: dict[str, Any]) -> None:
    told = settings_of(measurement_of(settings))
    assert measurement_of(told) == measurement_of(settings) and told["measurement"] == settings["measurement"]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_measured_fits_the_network_and_repeats(settings: dict[str, Any]) -> None:
    measurement = measurement_of(settings)
    truth = images(measurement)
    measured, again = measurement.measure(truth, 3), measurement.measure(truth, 3)
    assert all(torch.equal(measured[key], again[key]) for key in measured)
    more = {"factors": settings["factors"]} if "factors" in settings else {}
    network = build({**NETWORKS[settings["measurement"]], **more})
    found = network(**measured)
    assert found.image.shape == found.log_error.shape == truth.shape
    assert measurement.residual(found.image, measured).shape == truth.shape


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_plain_inversions_are_real_images_and_the_last_is_the_strongest(settings: dict[str, Any]) -> None:
    measurement = measurement_of(settings)
    truth = images(measurement)
    plain = measurement.plain(measurement.measure(truth, 0))
    errors = [float((image - truth).abs().mean()) for image in plain.values()]
    assert all(image.shape == truth.shape and not image.is_complex() for image in plain.values())
    if settings["measurement"] != "undersampling":
        assert errors[-1] == min(errors) and errors[-1] < 0.3


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_the_truth_does_not_contradict_its_measurement_and_another_image_does(settings: dict[str, Any]) -> None:
    measurement = measurement_of({**settings, **({"phase": 0.0} if "kinds" in settings else {})})
    truth, other = images(measurement), images(measurement, 1)
    measured = measurement.measure(truth, 0)
    assert measurement.residual(truth.to(next(iter(measured.values())).dtype), measured).max() < 1e-5
    assert measurement.residual(other.to(next(iter(measured.values())).dtype), measured).max() > 0.1


def test_a_magnitude_image_gets_a_smooth_phase() -> None:
    measurement = measurement_of({"measurement": "undersampling", "accelerations": [1.0]})
    truth = images(measurement) + 5
    found = measurement.plain(measurement.measure(truth, 0))["zero-filled"]
    assert torch.allclose(found, truth, atol=1e-4), "it turns, it does not change the magnitude"
    kspace = measurement.measure(truth, 0)["kspace"][0, 0]
    mirrored = kspace.flip(0, 1).roll((1, 1), (0, 1)).conj()
    assert (kspace - mirrored).abs().max() > 0.1 * kspace.abs().max(), "k-space is not symmetric"


def test_units_can_be_undone_and_zero_magnitude_stays_zero() -> None:
    values = torch.rand(5, 6, 7).numpy() * 700 + 300
    for settings in SETTINGS:
        unit = measurement_of(settings).unit(values)
        numbers = unit.to_numbers(values)
        assert float((numbers**2).mean()) == pytest.approx(1, rel=1e-3)
        assert unit.to_values(numbers) == pytest.approx(values, rel=1e-4)
        assert (unit.offset == 0) == (settings["measurement"] != "super_resolution")
    assert measurement_of(SETTINGS[0]).unit(values * 0).scale == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_served_units_are_found_of_the_measurement_alone(settings: dict[str, Any]) -> None:
    """Whatever unit the truth comes in, the network sees the same."""
    measurement = measurement_of({**settings, "deviation": [0.0, 0.0]} if "deviation" in settings else settings)
    truth = images(measurement)
    other = 3 * truth if measurement.magnitude else 3 * truth + 5
    served = [measurement.as_served(x, measurement.measure(x, 2)) for x in (truth, other)]
    assert torch.allclose(served[0][0], served[1][0], atol=1e-4)
    for key, value in served[0][1].items():
        assert torch.allclose(value, served[1][1][key], atol=1e-4)
    unit = measurement.unit(served[0][1][measurement.given].numpy())
    assert unit == pytest.approx((0, 1), abs=1e-4)


def test_cubic_interpolation_keeps_voxel_edges() -> None:
    ramp = torch.arange(12.0).reshape(1, 1, 12, 1, 1).expand(1, 1, 12, 4, 4)
    fine = cubic(ramp, (2, 1, 1))[0, 0, 6:18, 0, 0]
    assert torch.allclose(fine, torch.arange(6, 18) / 2 - 0.25, atol=0.02)


@pytest.mark.parametrize("settings", [{"measurement": "tomosynthesis"}, {"measurement": "noise", "dose": 1}, {}])
def test_what_there_is_not_is_told(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no measurement|other settings"):
        measurement_of(settings)

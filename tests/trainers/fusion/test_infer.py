"""Fusing volumes: grids, orientations, sources beside, what is refused and what is warned of."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import nibabel.orientations as orientations
import numpy as np
import pytest

from trainers.data.volumes import Volume, VolumeError
from trainers.monitor import Cancelled, Monitor
from trainers.spec import WEIGHTS_FILE, ModelNotAvailable, ModelSpec, part_file, save_weights
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.fusion.windows import Window
from trainers.tasks.reconstruction.infer import GAN_WARNING
from trainers.tasks.reconstruction.models import open_model

from .conftest import NETWORK, network

AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 10], [0, 0, 3.0, -30], [0, 0, 0, 1]])


@pytest.fixture
def images() -> dict[str, Volume]:
    """CT of 20 x 18 x 7 with thick slices, and a PET of 8 x 8 x 9 that reaches farther on all sides."""
    random = np.random.default_rng(0)
    ct = random.integers(-200, 300, (20, 18, 7)).astype(np.int16)
    wide = np.array([[-4.0, 0, 0, 24], [0, -4.0, 0, 14], [0, 0, 3.0, -33], [0, 0, 0, 1]])
    return {"image": Volume(ct, AFFINE), "second": Volume(random.uniform(0, 9, (8, 8, 9)).astype(np.float32), wide)}


def test_the_image_is_on_the_first_ones_grid(fuser: Fuser, images: dict[str, Volume]) -> None:
    found = fuser.reconstruct(images)
    for volume in (found.image, found.uncertainty, *found.beside.values()):
        assert volume.shape == (20, 18, 7)
        np.testing.assert_array_equal(volume.affine, AFFINE)
    assert found.image.array.dtype == np.float32 == found.uncertainty.array.dtype
    assert found.image.array.min() >= 0 and 150 < found.image.array.max() <= 255
    assert found.uncertainty.array.min() > 0
    assert found.contradiction is None and found.warnings == []


def test_the_sources_are_beside_in_their_own_units(fuser: Fuser, images: dict[str, Volume]) -> None:
    beside = fuser.reconstruct(images).beside
    assert list(beside) == ["CT", "PET"]
    np.testing.assert_array_equal(beside["CT"].array, images["image"].array)
    assert beside["CT"].array.dtype == np.int16
    pet = images["second"].array
    middle = (pet[1, 1, 1] * 9 + pet[1, 2, 1] * 3 + pet[2, 1, 1] * 3 + pet[2, 2, 1]) / 16  # a quarter voxel farther
    np.testing.assert_allclose(beside["PET"].array[1, 1, 0], middle, rtol=1e-5)
    assert list(fuser.reconstruct(images, modality="MR", second_modality="MR").beside) == ["MR 1", "MR 2"]


def test_full_strength_is_the_adversarial_image(fuser: Fuser, images: dict[str, Volume]) -> None:
    """Those weights take the brighter of both, each through its window."""
    ct, pet = (np.asarray(v.array) for v in fuser.reconstruct(images).beside.values())
    brighter = 255 * np.maximum(Window(-160, 240).grey(ct), Window(0, max(5, np.percentile(pet, 99.5))).grey(pet))
    safe, half, gan = (fuser.reconstruct(images, strength) for strength in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(gan.image.array, brighter, atol=1e-3)
    np.testing.assert_allclose(half.image.array, (safe.image.array + gan.image.array) / 2, atol=1e-3)
    change = np.abs(gan.image.array - safe.image.array)
    np.testing.assert_allclose(gan.uncertainty.array, np.maximum(safe.uncertainty.array, change), atol=1e-3)
    assert gan.warnings == half.warnings == [GAN_WARNING]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_any_orientation_gives_the_same_image(
    fuser: Fuser, images: dict[str, Volume], order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    expected = fuser.reconstruct(images).image.array
    turn = np.array([order, flips], float).T
    first = images["image"]
    turned = Volume(
        np.ascontiguousarray(orientations.apply_orientation(first.array, turn)),
        first.affine @ orientations.inv_ornt_aff(turn, first.shape),
    )
    found = fuser.reconstruct({**images, "image": turned}).image
    np.testing.assert_array_equal(found.affine, turned.affine)
    np.testing.assert_allclose(found.array, orientations.apply_orientation(expected, turn), atol=1e-2)


def test_fields_that_overlap_in_part(fuser: Fuser, images: dict[str, Volume]) -> None:
    moved = images["second"].affine.copy()
    moved[2, 3] += 12  # four of the first one's slices
    found = fuser.reconstruct({**images, "second": Volume(images["second"].array, moved)})
    assert found.warnings == ["The PET covers 57% of the CT; elsewhere only the CT is seen."]
    assert (found.beside["PET"].array[..., :3] == images["second"].array.min()).all()


def test_what_cannot_be_fused(fuser: Fuser, images: dict[str, Volume]) -> None:
    far = images["second"].affine.copy()
    far[:3, 3] += 900
    flat = Volume(np.zeros((20, 18, 1)), AFFINE)
    wrong = {
        "do not overlap. .*register": {**images, "second": Volume(images["second"].array, far)},
        "'second' is missing. .*Choose two images": {"image": images["image"]},
        "'image' is missing": {"second": images["second"]},
        "'second' of 20 x 18 x 1 is no volume": {**images, "second": flat},
        "'image' of 20 x 18 is no volume": {**images, "image": Volume(np.zeros((20, 18)), AFFINE)},
    }
    for message, given in wrong.items():
        with pytest.raises(VolumeError, match=message) as caught:
            fuser.reconstruct(given)
        assert caught.value.hint
    for options in ({"strength": 1.5}, {"modality": "US"}, {"second_modality": "SPECT"}):
        with pytest.raises(ValueError, match=r"has no strength 1\.5|There is no (second_)?modality"):
            fuser.reconstruct(images, **options)


def test_an_image_of_another_modality_is_noticed(fuser: Fuser, images: dict[str, Volume]) -> None:
    found = fuser.reconstruct({**images, "image": Volume(np.full((20, 18, 7), 900), AFFINE)})
    assert found.warnings == ["The CT shows next to nothing in the usual window of CT; is that its modality?"]


def test_a_pet_that_is_not_in_suv_is_noticed(fuser: Fuser, images: dict[str, Volume]) -> None:
    counts = images["second"].like(images["second"].array * np.float32(3000))
    (warning,) = fuser.reconstruct({**images, "second": counts}).warnings
    assert warning.startswith("The PET has values up to") and "Bq/ml" in warning


def test_progress_and_cancel(fuser: Fuser, images: dict[str, Volume]) -> None:
    class Listener(Monitor):
        told: list[float] = []

        def report(self, **state: float) -> None:
            self.told.append(state["progress"])

        def check(self) -> None:
            if self.told and self.told[-1] < 1 and len(self.told) > 2:
                raise Cancelled

    listener = Listener()
    fuser.reconstruct(images, monitor=listener)
    assert listener.told == [4 / 7, 1]
    listener.told[:] = [0, 0, 0.5]
    with pytest.raises(Cancelled):
        fuser.reconstruct(images, monitor=listener)


def test_a_model_is_found_by_its_measurement(spec: ModelSpec, tmp_path: Path, images: dict[str, Volume]) -> None:
    with pytest.raises(ModelNotAvailable):
        Fuser(tmp_path)
    spec.replace(parts={"gan": NETWORK}).save(tmp_path)
    save_weights(network(0.3), tmp_path / WEIGHTS_FILE)
    save_weights(network(), part_file(tmp_path, "gan"))
    model = open_model(tmp_path)
    assert isinstance(model, Fuser) and model.names == ["safe", "gan"]
    assert model.reconstruct(images, 1.0, modality="CT", second_modality="PET").image.shape == (20, 18, 7)
    alone = Fuser.from_networks(spec, network())
    with pytest.raises(ValueError, match="no adversarial weights"):
        alone.reconstruct(images, 0.5)

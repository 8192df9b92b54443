"""Windows to grey, by hand, and modalities by name."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.data.cases import CasesError
from trainers.recipes import FUSION_RECIPES
from trainers.tasks.fusion.windows import GREY, Window, Windows, modality_of


def test_ct_is_soft_tissue() -> None:
    grey = Windows().of_image(np.zeros(1), "CT").grey(np.array([-1000, -160, -60, 40, 240, 3000], np.int16))
    np.testing.assert_allclose(grey, [0, 0, 0.25, 0.5, 1, 1])
    assert grey.dtype == np.float32


def test_mr_goes_by_percentiles() -> None:
    window = Windows().of_image(np.arange(1001.0), "MR")
    assert window == Window(10, 995)
    flat = Windows().of_image(np.full(5, 7.0), "MR").grey(np.full(5, 7.0))
    assert (flat == 0).all(), "an MR without contrast is black, not a division by zero"


def test_pet_is_suv_from_zero() -> None:
    cold, hot = np.full(1000, 1.0), np.linspace(0, 20, 1001)
    assert Windows().of_image(cold, "PET") == Window(0, 5)
    assert Windows().of_image(hot, "PET") == Window(0, pytest.approx(19.9))
    np.testing.assert_allclose(Windows().of_image(cold, "PET").grey(cold[:2]), 0.2)


def test_pictures_stay_as_they_are() -> None:
    np.testing.assert_allclose(Windows().of_image(np.zeros(1), GREY).grey(np.array([0, 51, 255])), [0, 0.2, 1])
    with pytest.raises(ValueError, match=r"no modality 'XR'\. Known: CT, MR, PET, grey"):
        Windows().of_image(np.zeros(1), "XR")


def test_the_spec_has_the_windows() -> None:
    for recipe in FUSION_RECIPES.values():
        assert Windows.of(recipe.spec.preprocess) == recipe.config.windows
    for wrong in ({"measurement": "noise"}, {"measurement": "fusion", "us": 1}):
        with pytest.raises(ValueError, match="ettings"):
            Windows.of(wrong)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CT", "CT"), ("ct_low", "CT"), ("MR_T1", "MR"), ("MRI", "MR"), ("T1ce", "MR"), ("flair", "MR"),
        ("PET_SUV", "PET"), ("pt", "PET"), ("A/CT", "CT"),
    ],
)  # fmt: skip
def test_modalities_by_name(name: str, expected: str) -> None:
    assert modality_of(name) == expected


@pytest.mark.parametrize("name", ["image", "SPECT", "octet", "PET_CT", ""])
def test_names_that_tell_no_modality_or_two(name: str) -> None:
    with pytest.raises(CasesError, match="tells no modality"):
        modality_of(name)

"""How good a generator's images are as a set: all figures, each beside what real images get."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from trainers.metrics.coverage import precision_recall_density_coverage
from trainers.metrics.distribution import check_features, fid, kid, mmd
from trainers.metrics.diversity import ms_ssim_diversity
from trainers.metrics.intervals import Estimate, compare

Array = npt.NDArray[Any]
LOWER_IS_BETTER = ("kid", "fid", "mmd")
NEIGHBOURS = 5


@dataclass(frozen=True)
class Figure:
    """One figure of generated images and the same of real ones, which a perfect generator would get.

    Attributes:
        fake: between real and generated images. real: between real and other real images.
        better: `lower`, `higher`, or `near real` where it is best to be as the real images are.
    """

    fake: Estimate
    real: Estimate
    better: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean."""
        return {"fake": self.fake.as_dict(), "real": self.real.as_dict(), "better": self.better}


@dataclass(frozen=True)
class FidelityReport:
    """All figures by name: kid, fid (if there are enough images), mmd, precision, recall, density, coverage, ms_ssim.

    Attributes:
        images: number of real and of generated images.
        sample: size of the halves that the figures on features are measured on.
    """

    figures: dict[str, Figure]
    images: dict[str, int]
    sample: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-clean: no arrays and no NaN."""
        return {
            "images": dict(self.images),
            "sample": self.sample,
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
        }

    def sentences(self) -> list[str]:
        """One line a figure for a model card."""
        return [
            f"{name}: {figure.fake}; between real images {figure.real}; {figure.better} is better."
            for name, figure in self.figures.items()
        ]


def fidelity(
    real_features: Array,
    fake_features: Array,
    real_images: Array | None = None,
    fake_images: Array | None = None,
    seed: int = 0,
    replicates: int = 40,
    most: int = 1000,
    pairs: int = 200,
) -> FidelityReport:
    """Measures generated images against real ones that the generator did not see, if there are enough of these.

    Args:
        real_features: (n, d), from `trainers.metrics.encoder.extract_features`; n at least 12.
        fake_features: (m, d), m at least 12.
        real_images: (n, channel, *spatial) in [-1, 1], for MS-SSIM; without images there is none.
        fake_images: (m, channel, *spatial).
        seed: of chance.
        replicates: draws of halves, as for `trainers.metrics.intervals.compare`.
        most: largest half.
        pairs: of images for MS-SSIM.

    Raises:
        ValueError: features or images of unlike or wrong shape, or too few.
    """
    real_features, fake_features = check_features(real_features, fake_features, least=2 * NEIGHBOURS + 2)
    if (real_images is None) != (fake_images is None):
        raise ValueError("Give real and fake images, or neither.")
    sample = min(len(real_features) // 2, len(fake_features) // 2, most)
    measured = compare(_on_features, real_features, fake_features, replicates, most, seed)
    figures = {
        name: Figure(fake, real, "lower" if name in LOWER_IS_BETTER else "higher")
        for name, (fake, real) in measured.items()
    }
    if real_images is not None and fake_images is not None:
        fake, real = (ms_ssim_diversity(images, pairs, seed) for images in (fake_images, real_images))
        figures["ms_ssim"] = Figure(fake, real, "near real")
    return FidelityReport(figures, {"real": len(real_features), "fake": len(fake_features)}, sample)


def _on_features(real: Array, other: Array) -> dict[str, float]:
    """All figures of two sets of features of one size; no FID if there are too few."""
    whole = kid(real, other, subsets=1, subset_size=min(len(real), len(other)))
    figures = {"kid": whole.mean}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        frechet = fid(real, other)
    if frechet is not None:
        figures["fid"] = frechet
    figures["mmd"] = mmd(real, other)
    return figures | precision_recall_density_coverage(real, other, NEIGHBOURS)

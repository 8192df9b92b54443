"""Looking for an organ in an image, window by window, and pasting what was found back into the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import entr

from trainers.data.volumes import Volume
from trainers.monitor import Monitor
from trainers.preprocess import CanonicalGrid, Preprocess, Window, normalise
from trainers.tasks.segmentation.clicks import Clicks, Mark, by_class, obey
from trainers.tasks.segmentation.regions import Roi, holds

Floats = npt.NDArray[np.float32]
RECENTRE_MM = 2.0  # a window is moved until the organ's middle is this near its own
RECENTRE_ROUNDS = 4
UNSURE = 0.9  # mean probability of the chosen class; hippocampi on T1 MR gave 0.91 or more, other tissue 0.89 or less
REGION_MARGIN_MM = 5.0  # the middle of an organ may lie this far outside a region that was drawn for it
SECOND_SHARE = 0.5  # in a crop, another organ is at least half as large as the largest
SMALLEST_MM3 = 200.0  # less than a tenth of the smallest adult hippocampus is not one
SURENESS_GAP = 0.04  # in a region, what is this much less sure than the surest find is taken for something else


@dataclass(frozen=True)
class Find:
    """An organ: where, the image as the network saw it (x, y, z), and its class probabilities (class, x, y, z)."""

    window: Window
    image: Floats
    maps: Floats

    @cached_property
    def foreground(self) -> npt.NDArray[np.bool_]:
        """Voxels that are not background."""
        return likeliest(self.maps) > 0

    @property
    def sureness(self) -> float:
        """Mean probability of the chosen class over the organ; 0 if there is none."""
        return float(self.maps.max(0)[self.foreground].mean()) if self.foreground.any() else 0.0

    def middle(self) -> npt.NDArray[np.float64] | None:
        """Middle of the organ's bounding box, canonical index; None if there is none."""
        spots = np.argwhere(self.foreground)
        return (spots.min(0) + spots.max(0)) / 2 + self.window.start if len(spots) else None


class Search:
    """One image, the windows that were looked at, and what was found.

    Attributes:
        grid: the image as the network sees it. warnings: sentences for the clinician. seconds: `pre, infer, post`.
    """

    def __init__(
        self,
        volume: Volume,
        settings: Preprocess,
        organs: int,
        probabilities: Callable[[Floats, bool, Sequence[Mark]], Floats],
        average: bool,
        monitor: Monitor,
        clicks: Callable[[CanonicalGrid], Clicks | None] = lambda grid: None,
    ) -> None:
        """Looks at nothing yet.

        Args:
            volume: the image.
            settings: how it is seen.
            organs: how many a patient has.
            probabilities: runs the network on a window, in more views if asked, with the marks of corrections.
            average: whether more views are asked for.
            monitor: hears of progress.
            clicks: the corrections, on the image's grid.
        """
        self.volume, self.settings, self.organs = volume, settings, organs
        self.probabilities, self.average, self.monitor = probabilities, average, monitor
        self.grid = CanonicalGrid(volume, settings.spacing)
        self.clicks = clicks(self.grid)
        self.finds: list[Find] = []
        self.warnings: list[str] = []
        self.seconds = {"pre": 0.0, "infer": 0.0, "post": 0.0}

    def take(self, window: Window) -> None:
        """Segments one window as it is, all organs in it."""
        self.finds.append(self._look(window, self.average, self.organs))
        if self.finds[0].middle() is None:
            self.warnings.append("Nothing was found in the image.")

    def near_points(self, windows: Sequence[Window]) -> None:
        """Segments the organ near the middle of each window."""
        for number, window in enumerate(windows):
            self.monitor.report(progress=number / len(windows))
            find = self._settle(self._glance(window))
            if self._too_small(find):
                self.warnings.append(f"Nothing was found near point {number + 1}. Place it nearer to the organ.")
            elif not self._known(find):
                self.finds.append(self._look(find.window, self.average))

    def in_region(self, windows: Sequence[Window], roi: Roi | None) -> None:
        """Segments the organs in windows that cover a region: the surest ones, as many as a patient has."""
        candidates = []
        for number, window in enumerate(windows):
            self.monitor.report(progress=0.8 * number / len(windows))
            find = self._glance(window)
            if not self._too_small(find):
                find = self._settle(find)
                if not self._too_small(find) and self._belongs(find, roi):
                    candidates.append(find)
        self._keep_surest(candidates)
        if not self.finds:
            self.warnings.append("Nothing was found in the region of interest.")

    def where_clicked(self) -> None:
        """Segments also where a correction says that there is an organ and none was looked for."""
        for place in self.clicks.places() if self.clicks else ():
            if not any(_holds(find.window, place) for find in self.finds):
                self.finds.append(self._look(Window.around(place, self.settings.window), self.average))

    def _keep_surest(self, candidates: Sequence[Find]) -> None:
        best = max((c.sureness for c in candidates), default=0.0)
        for find in sorted(candidates, key=lambda c: c.sureness, reverse=True):
            sure = find.sureness > best - SURENESS_GAP
            if sure and len(self.finds) < self.organs and not self._known(find):
                self.finds.append(self._look(find.window, self.average))

    def _belongs(self, find: Find, roi: Roi | None) -> bool:
        """Whether the organ's middle lies in the region that was drawn."""
        middle = find.middle()
        if roi is None or middle is None:
            return middle is not None
        return holds(roi, (self.grid.affine @ [*middle, 1.0])[:3], REGION_MARGIN_MM)

    def warn_if_unsure(self) -> None:
        """Tells the clinician where the model hesitated over all of an organ, not only over its border."""
        for find in self.finds:
            if 0 < find.sureness < UNSURE:
                hesitates = f"its mean probability there is {find.sureness:.2f}"
                self.warnings.append(f"The model hesitates over what it found: {hesitates}. Check it with care.")

    def label(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The label map, classes replaced by `values`, on the image's own voxels."""
        started = time.perf_counter()
        label = self.grid.oriented_zeros(np.uint8)
        for find in self.finds:
            for block, slices in self.grid.paste(find.maps, find.window, around(find.foreground)):
                found = values[likeliest(block)]
                label[slices] = np.where(found > 0, found, label[slices])
        self.seconds["post"] += time.perf_counter() - started
        self.monitor.report(progress=1.0)
        return self.grid.to_native(label)

    def entropy(self) -> Floats:
        """The entropy in nats on the image's own voxels; 0 where nothing was looked at."""
        entropy = self.grid.oriented_zeros(np.float32)
        for find in self.finds:
            for block, slices in self.grid.paste(find.maps, find.window):
                entropy[slices] = np.maximum(entropy[slices], entropy_of(block))
        return self.grid.to_native(entropy)

    def _glance(self, window: Window) -> Find:
        """One view without corrections: they say what an organ is like, and not where to look for one."""
        return self._look(window, average=False, heed=False)

    def _look(self, window: Window, average: bool, organs: int = 1, heed: bool = True) -> Find:
        """Runs the network on a window and keeps the largest pieces that it shows, one for each organ."""
        self.monitor.check()
        started = time.perf_counter()
        image = self.grid.extract(self.volume.array, window)
        image = normalise(image, self.grid.inside(window), self.settings.clip)
        marks = self.clicks.inside(window) if self.clicks and heed else []
        prepared = time.perf_counter()
        maps = obey(self.probabilities(image, average, marks), by_class(marks))
        maps = largest_pieces(maps, organs, [v for index, places in marks if index for v in places])
        self.seconds["pre"] += prepared - started
        self.seconds["infer"] += time.perf_counter() - prepared
        return Find(window, image, maps)

    def _settle(self, find: Find) -> Find:
        """Moves the window until the organ that it shows is in its middle."""
        for _ in range(RECENTRE_ROUNDS):
            middle = find.middle()
            if middle is None:
                break
            better = Window.around(middle, find.window.size)
            moved = np.abs(np.subtract(better.start, find.window.start)) * self.settings.spacing
            if moved.max() < RECENTRE_MM:
                break
            find = self._glance(better)
        return find

    def _too_small(self, find: Find) -> bool:
        return float(find.foreground.sum() * np.prod(self.settings.spacing)) < SMALLEST_MM3

    def _known(self, find: Find) -> bool:
        """Whether the window shows an organ that was found already: nearer than half a window."""
        half = np.array(find.window.size) / 2
        return any(np.all(np.abs(np.subtract(find.window.start, f.window.start)) < half) for f in self.finds)


def largest_pieces(maps: Floats, most: int = 1, wanted: Sequence[npt.NDArray[np.int_]] = ()) -> Floats:
    """Turns all but the largest connected pieces of foreground into background.

    Args:
        maps: class probabilities (class, x, y, z).
        most: how many pieces stay; those beside the largest only if they are at least half as large.
        wanted: voxels whose pieces stay in any case.
    """
    pieces, count = ndimage.label(likeliest(maps) > 0)
    if count < 2:
        return maps
    sizes = np.bincount(pieces.ravel())[1:]
    order = sizes.argsort()[::-1][:most]
    kept = [number + 1 for number in order if sizes[number] >= SECOND_SHARE * sizes.max()]
    kept += [pieces[tuple(place)] for place in wanted]
    stray = (pieces > 0) & ~np.isin(pieces, kept)
    out = maps.copy()
    out[:, stray] = 0
    out[0, stray] = 1
    return out


def around(foreground: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box in which voxels between those of a coarser map can be foreground: its own, and one voxel around it."""
    found = []
    for axis in range(3):
        rows = np.flatnonzero(foreground.any(tuple(a for a in range(3) if a != axis)))
        low, high = (rows[0] - 1, rows[-1] + 2) if rows.size else (0, 0)
        found.append(slice(max(0, int(low)), min(foreground.shape[axis], int(high))))
    return tuple(found)


def likeliest(maps: Floats) -> npt.NDArray[np.uint8]:
    """`maps.argmax(0)` of a few classes; several times faster, for they lie far apart in memory."""
    best, chosen = maps[0].copy(order="K"), np.zeros_like(maps[0], np.uint8)
    for number in range(1, len(maps)):
        better = maps[number] > best
        np.copyto(best, maps[number], where=better)
        chosen[better] = number
    return chosen


def entropy_of(maps: Floats) -> Floats:
    """Shannon entropy over the first axis, nats."""
    return entr(maps).sum(0)


def _holds(window: Window, place: npt.NDArray[np.float64]) -> bool:
    """Whether a canonical index lies in a window."""
    local = place - np.asarray(window.start)
    return bool(np.all(local >= -0.5) and np.all(local <= np.asarray(window.size) - 0.5))

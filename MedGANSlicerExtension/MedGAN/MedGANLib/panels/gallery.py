"""Page through the samples, judge them, put them in the scene, add the good ones to the training studies."""

from __future__ import annotations

from typing import Optional

import slicer

from ..gallery import ADDED, FAILED, THERE, UNTRIED, Gallery, Sample
from ..state import counted
from ..workflow import State
from .look import COLORS, allow, dots, put_text, safe
from .sample_picture import SamplePicture
from .shared import Shared

PLACE_TIP = "Adds image and segments to the scene, marked as synthetic, and shows them in the views"
TAKE_TIP = "Takes image and segments of this sample out of the scene again"
ADD_TIP = "Uploads image and label of every accepted sample; the server keeps them marked as synthetic"
WORDS = {
    ADDED: ("success", "added"),
    THERE: ("info", "at the server already"),
    FAILED: ("error", "not added"),
    UNTRIED: ("warning", "not added yet"),
}
"""Colour and words for what became of a sample at the server."""


class GalleryPanel:
    """One sample at a time, with a picture of its middle slices."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self.picture = SamplePicture(ui.pictureLabel, ui.synthesiseSection, shared.workflow.folder)
        ui.previousButton.connect("clicked()", lambda: self._page(-1))
        ui.nextSampleButton.connect("clicked()", lambda: self._page(1))
        ui.acceptBox.connect("clicked(bool)", self._judge)
        ui.placeButton.connect("clicked()", self._place)
        ui.addButton.connect("clicked()", self._add)

    def show(self, state: State) -> None:
        """Draws the sample that is looked at, and what can be done with it."""
        gallery = state.gallery
        self._ui.galleryFrame.setVisible(gallery is not None)
        self.draw()
        if gallery is None:
            return
        self._show_pager(gallery)
        self._ui.acceptBox.checked = gallery.current.number in gallery.accepted
        self._show_place(gallery.current)
        self._show_add(gallery, state)

    def draw(self) -> None:
        """Draws the picture anew when the sample or the panel's width has changed."""
        gallery = self._shared.state.gallery
        problem = self.picture.draw(gallery.current if gallery else None)
        put_text(self._ui.pictureNote, safe(problem))

    def _show_pager(self, gallery: Gallery) -> None:
        self._ui.previousButton.enabled = gallery.index > 0
        self._ui.nextSampleButton.enabled = gallery.index < len(gallery.samples) - 1
        put_text(self._ui.sampleLabel, sample_text(gallery))

    def _show_place(self, sample: Sample) -> None:
        placed = self._shared.workflow.is_placed(sample.number)
        button = self._ui.placeButton
        button.text = "Take out of the scene" if placed else "Put in the scene"
        button.toolTip = TAKE_TIP if placed else PLACE_TIP

    def _show_add(self, gallery: Gallery, state: State) -> None:
        reason = self._shared.workflow.why_not_add()
        missing = reason or ("" if gallery.waiting else "Accept the samples that are good enough.")
        missing = missing or ("" if state.job is None else "Busy.")
        count = f" {len(gallery.waiting)}" if gallery.waiting else ""
        self._ui.addButton.text = f"Add{count} accepted to the training studies"
        allow(self._ui.addButton, not missing, ADD_TIP, missing)
        put_text(self._ui.addLabel, f"Cannot be trained on: {safe(reason)}" if reason else accepted_text(gallery))

    def _page(self, step: int) -> None:
        gallery = self._shared.state.gallery
        if gallery:
            self._shared.workflow.look_at(gallery.index + step)

    def _judge(self, accepted: bool) -> None:
        self._shared.workflow.judge(bool(accepted))

    def _place(self) -> None:
        workflow, gallery = self._shared.workflow, self._shared.state.gallery
        if gallery is None:
            return
        if workflow.is_placed(gallery.current.number):
            workflow.take_out_sample()
            self._look(self._shared.volume)
        else:
            placed = workflow.place_sample()
            self._look(placed.volume if placed else None)

    @staticmethod
    def _look(volume: Optional[object]) -> None:
        if volume is not None:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def _add(self) -> None:
        self._shared.workflow.add_accepted()


def sample_text(gallery: Gallery) -> str:
    """Returns which sample is shown, and what became of it, as rich text."""
    sample = gallery.current
    place = f"<b>{gallery.index + 1} of {len(gallery.samples)}</b>"
    addition = gallery.additions.get(sample.number)
    became = ""
    if addition:
        kind, words = WORDS[addition.kind]
        red, green, blue = COLORS[kind]
        became = f'<span style="color: rgb({red},{green},{blue})">{words}</span>'
    return dots([place, safe(sample.class_name), f"seed {sample.seed}", became])


def accepted_text(gallery: Gallery) -> str:
    """Returns what is accepted, and what adding means, as rich text."""
    if not gallery.accepted:
        return "Accept the samples whose image and label are good enough to train on."
    added = sum(gallery.additions[n].kind in (ADDED, THERE) for n in gallery.accepted & set(gallery.additions))
    done = f"{added} at the server" if added else ""
    accepted = f"{len(gallery.accepted)} of {counted(len(gallery.samples), 'sample')} accepted"
    shape = "<br>Their label is the shape of your segments: use those of no patient that models are checked on."
    return dots([accepted, done]) + (shape if gallery.from_shape else "")

"""The studies that wait for a label, those on which the model is expected to be worst first."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import qt

from ..reviews import ReviewList, ReviewStudy
from ..workflow import State
from .look import allow, put_text
from .quality import light_of
from .shared import Shared
from .tables import choose_row, fill_table, prepare_table

COLUMNS = ("Study", "Expected", "Dice", "Version")
STUDY, LIGHT = 0, 1
ROWS = 8
OPEN_TIP = "Fetches the chosen study and opens it beside what is open"
REFRESH_TIP = "Asks the server again"


class ReviewPanel:
    """A table behind a button of the section *Study*."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._listed: Optional[ReviewList] = None
        self._asked: Tuple[str, str] = ("", "")
        prepare_table(ui.reviewTable, COLUMNS, STUDY)
        ui.reviewFrame.setVisible(False)
        ui.reviewButton.connect("toggled(bool)", self._toggled)
        ui.openReviewButton.connect("clicked()", self._open)
        ui.refreshReviewButton.connect("clicked()", self._refresh)
        ui.reviewTable.connect("itemSelectionChanged()", lambda: self._allow(shared.state))
        ui.reviewTable.connect("cellDoubleClicked(int,int)", self._open_row)

    def show(self, state: State) -> None:
        """Draws the list of the model that corrections are about."""
        model = self._shared.learner
        offered = state.serving is not None and model is not None and bool(model.labels)
        self._ui.reviewButton.setVisible(offered)
        self._ui.reviewFrame.setVisible(offered and bool(self._ui.reviewButton.checked))
        self._read_once(state)
        self._fill(state.reviews.get(model.name) if model else None)
        self._allow(state)

    def chosen(self) -> Optional[ReviewStudy]:
        """Returns the selected study, or None."""
        row, studies = self._ui.reviewTable.currentRow(), self._listed.studies if self._listed else ()
        return studies[row] if 0 <= row < len(studies) else None

    def _toggled(self, checked: bool) -> None:
        self._asked = ("", "")
        self.show(self._shared.state)

    def _read_once(self, state: State) -> None:
        """Asks for the list of another model or server, unless nobody looks."""
        model = self._shared.learner
        wanted = (state.address, model.name) if model and state.connected else ("", "")
        looked_at = bool(self._ui.reviewButton.checked) and state.serving is not None
        if looked_at and wanted not in (self._asked, ("", "")):
            self._asked = wanted
            self._refresh()

    def _refresh(self) -> None:
        model = self._shared.learner
        if model is not None and self._shared.state.connected:
            self._shared.workflow.read_review(model.name)

    def _fill(self, listed: Optional[ReviewList]) -> None:
        if listed == self._listed:
            return
        chosen, self._listed = self.chosen(), listed
        studies = listed.studies if listed else ()
        fill_table(self._ui.reviewTable, [row_texts(s) for s in studies], [tip_of(s) for s in studies], ROWS)
        choose_row(self._ui.reviewTable, [s.id for s in studies], chosen.id if chosen else None)
        for row, study in enumerate(studies):
            self._ui.reviewTable.item(row, LIGHT).setForeground(_brush(study.light))
        put_text(self._ui.reviewLabel, review_text(listed) if listed else "The list has not come yet.")

    def _allow(self, state: State) -> None:
        missing = "" if self.chosen() else "Choose a study in the table."
        busy = "" if state.job is None else "Busy."
        allow(self._ui.openReviewButton, not (missing or busy), OPEN_TIP, missing or busy)
        allow(self._ui.refreshReviewButton, state.connected, REFRESH_TIP, "Connect to a server first.")

    def _open_row(self, row: int, column: int) -> None:
        if self._shared.idle:
            self._ui.reviewTable.selectRow(row)
            self._open()

    def _open(self) -> None:
        study = self.chosen()
        if study is not None:
            self._shared.workflow.open_study(study.id)


def row_texts(study: ReviewStudy) -> Tuple[str, ...]:
    """Returns the cells of a study's row: name, light in words, expected Dice, version that was scored."""
    dice = "–" if study.expected is None else f"{study.expected:.2f}"
    light = f"● {light_of(study.light)[0]}" if study.expected is not None else light_of("")[0]
    return (study.id, light, dice, f"{study.version} (older)" if study.stale else study.version)


def tip_of(study: ReviewStudy) -> str:
    """Returns what else is known of a study."""
    lines = [study.id]
    if study.low is not None and study.high is not None:
        lines.append(f"Expected Dice {study.low:.2f} to {study.high:.2f}")
    lines += ["Somebody is working on it"] * study.reserved
    return "\n".join(lines)


def review_text(review: ReviewList) -> str:
    """Returns how many studies are scored; what is missing is scored while the server has time."""
    if not review.studies:
        return "No study waits for a label."
    waiting = f", {review.waiting} still to be scored" if review.waiting else ""
    return f"{review.scored} scored{waiting}. A double click opens a study."


def _brush(light: str) -> Any:
    return qt.QBrush(qt.QColor(*light_of(light)[1]))

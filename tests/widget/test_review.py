"""The review list, the next study's strategy and reason, and the history of a label."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A connected user; the server's judge has looked at two of three studies."""
    server.world.expected = {"case_1": 0.84, "case_2": 0.55}
    user.connect(server.url)
    user.until(lambda: user.state.serving is not None, "what serves")
    return user


def _rows(table: Any) -> list[list[str]]:
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def _open_list(user: User) -> Any:
    user.ui.reviewButton.checked = True
    user.until(lambda: user.ui.reviewTable.rowCount == 3, "the list")
    return user.ui.reviewTable


def test_the_worst_is_first_in_words_and_colour(ready: User) -> None:
    table = _open_list(ready)
    assert _rows(table) == [
        ["case_2", "● Poor", "0.55", "v0001"],
        ["case_1", "● Good", "0.84", "v0001"],
        ["case_3", "Not scored", "–", ""],
    ]
    assert table.item(0, 1).foreground().color().name() == "#d32f2f"
    assert "2 scored, 1 still to be scored" in ready.ui.reviewLabel.text
    assert not ready.ui.openReviewButton.enabled
    ready.open_only("studySection")
    ready.picture("review-list")


def test_a_double_click_opens_the_study(ready: User) -> None:
    table = _open_list(ready)
    table.cellDoubleClicked.emit(0, 0)
    ready.idle()
    assert ready.state.study.image_id == "case_2"
    table.selectRow(2)
    ready.press("openReviewButton")
    ready.idle()
    assert ready.state.study.image_id == "case_3"


def test_refresh(ready: User, server: Any) -> None:
    _open_list(ready)
    server.world.expected["case_3"] = 0.4
    ready.press("refreshReviewButton")
    ready.until(lambda: _rows(ready.ui.reviewTable)[0][0] == "case_3", "the new order")


def test_nothing_is_asked_while_nobody_looks(ready: User, server: Any) -> None:
    ready.host.process(50)
    assert not any("/review/" in request for request in server.world.requests)


def test_the_servers_strategy_is_chosen_and_its_reason_shown(ready: User, server: Any) -> None:
    box = ready.ui.strategyBox
    assert box.currentText == "hybrid" and box.isVisibleTo(ready.ui.studySection)
    ready.take_next()
    assert "The model expects a Dice of 0.84 on it." in ready.ui.studyLabel.text
    box.currentIndex = box.findText("random")
    ready.take_next()
    assert any(request == "POST /activelearning/random" for request in server.world.requests)


def test_the_reason_goes_with_its_study(ready: User) -> None:
    ready.take_next()
    ready.choose(ready.module.python.add_phantom("mine"))
    assert "The model expects" not in ready.ui.studyLabel.text


def test_undo_submit_and_restore(ready: User, server: Any) -> None:
    ready.ui.authorEdit.text = "Dr A"
    ready.take_next()
    ready.run()
    ready.submit()
    ready.ui.historyButton.checked = True
    ready.until(lambda: ready.ui.historyTable.rowCount == 1, "the history")
    assert _rows(ready.ui.historyTable)[0][0::2] == ["1", "Dr A"]
    assert _rows(ready.ui.historyTable)[0][3] == "corrected from v0001 (counts)"
    ready.press("undoSubmitButton")
    ready.idle()
    assert "case_1" not in server.world.labels
    assert "The study has no final label now." in ready.ui.historyLabel.text
    ready.ui.historyTable.selectRow(1)
    ready.open_only("correctSection")
    ready.picture("history")
    ready.press("restoreButton")
    ready.idle()
    assert "case_1" in server.world.labels
    assert _rows(ready.ui.historyTable)[0][3] == "restored 1 (counts)"
    assert not ready.ui.restoreButton.enabled
    assert "It counts already." in ready.ui.restoreButton.toolTip, "the chosen label stays chosen"


def test_nothing_to_undo_is_said(ready: User) -> None:
    ready.take_next()
    ready.run()
    ready.press("undoSubmitButton")
    ready.idle()
    assert "nothing to undo" in ready.says
    ready.ui.historyButton.checked = True
    ready.until(lambda: "Nothing was submitted" in ready.ui.historyLabel.text, "the empty history")
    assert not ready.ui.undoSubmitButton.enabled


def test_the_name_is_remembered(ready: User) -> None:
    from MedGANLib.panels import preferences

    ready.ui.authorEdit.text = " Dr Ä. Öz "
    assert preferences.author() == "Dr Ä. Öz"
    assert ready.module.widget.logic.workflow.author == "Dr Ä. Öz"
    ready.module.reload()
    fresh = User(ready.host, ready.module, ready._pictures)
    assert fresh.ui.authorEdit.text == "Dr Ä. Öz"
    assert fresh.module.widget.logic.workflow.author == "Dr Ä. Öz"


def test_an_older_server_offers_neither(user: User, server: Any) -> None:
    server.world.older = True
    user.connect(server.url)
    user.until(lambda: user.module.widget.logic.workflow._watch.finished, "the question")
    assert not user.ui.reviewButton.isVisibleTo(user.ui.studySection)
    user.take_next()
    user.run()
    assert not user.ui.historyButton.isVisibleTo(user.ui.correctSection)
    assert user.ui.strategyBox.currentText == "uncertainty"


def test_a_list_that_cannot_be_read_says_so(user: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    user.connect(server.url)
    user.until(lambda: user.state.serving is not None, "what serves")
    server.world.trouble["/review"] = Refusal(503, "not_ready", "The database is locked.", "Try again.")
    user.ui.reviewButton.click()
    user.until(lambda: "The database is locked" in user.says, "the reason")
    server.world.trouble.clear()
    user.press("refreshReviewButton")
    user.until(lambda: user.ui.reviewTable.rowCount == 3, "the list")

"""Training as a service: the queue, the list of runs, and the notice of new versions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user whose server has two labelled studies."""
    user.ui.authorEdit.text = "Dr A"
    user.connect(server.url)
    for _ in range(2):
        user.take_next()
        user.run()
        user.submit()
    user.until(lambda: user.state.serving and user.state.serving.submitted_since.get("hippocampus_segmentation") == 2)
    return user


def _rows(user: User) -> list[list[str]]:
    table = user.ui.runsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def _start(user: User) -> None:
    user.until(lambda: user.ui.startButton.enabled, "the button")
    user.press("startButton")
    user.idle()


def test_a_second_training_waits_and_can_be_cancelled(ready: User, server: Any) -> None:
    ready.module.widget._pollTimer.stop()
    ready.open_only("trainSection")
    _start(ready)
    assert ready.ui.startButton.text == "Queue &training"
    _start(ready)
    assert "waits at place 1" in ready.says
    ready.until(lambda: "Waiting, place 1: Hippocampus segmentation (asked by Dr A)" in ready.ui.progressLabel.text)
    assert not ready.ui.startButton.enabled and "waits in the queue already" in ready.ui.startButton.toolTip
    ready.until(lambda: [row[3] for row in _rows(ready)] == ["waits (1)", "training"], "the list")
    ready.picture("queued")
    ready.ui.runsTable.selectRow(0)
    ready.press("cancelRunButton")
    ready.until(lambda: server.world.queue == [], "the cancel")
    assert server.world.run.running, "the other run goes on"
    ready.until(lambda: sorted(row[3] for row in _rows(ready)) == ["cancelled", "training"], "the list")


def test_the_list_has_author_and_verdict(ready: User, server: Any) -> None:
    ready.open_only("trainSection")
    _start(ready)
    ready.until(lambda: ready.state.training.verdict is not None, "the verdict", 60)
    ready.until(lambda: [row[3] for row in _rows(ready)] == ["promoted"], "the list")
    (row,) = _rows(ready)
    assert row[1:3] == ["Hippocampus segmentation", "Dr A"] and "0.82 -> 0.87" in row[4]
    ready.ui.runsTable.selectRow(0)
    assert not ready.ui.cancelRunButton.enabled and "It is over." in ready.ui.cancelRunButton.toolTip
    ready.picture("runs")


def test_labels_until_the_next_training(ready: User, server: Any) -> None:
    server.world.auto_train = 5
    ready.module.widget._lookForNews()
    ready.until(lambda: "2 of 5 labels until the next training." in ready.ui.trainLabel.text, "the count")


def test_a_new_version_is_told_until_dismissed(ready: User, server: Any) -> None:
    from MedGANLib.testing.running import Version

    assert not ready.ui.noticeFrame.isVisibleTo(ready.module.panel)
    server.world.versions.append(Version("v0002", "fine-tuned", "published", 0.87, "v0001", "Dice 0.82 -> <0.87>."))
    server.world.current = "v0002"
    ready.module.widget._lookForNews()
    ready.until(lambda: ready.ui.noticeFrame.isVisibleTo(ready.module.panel), "the notice")
    text = ready.ui.noticeLabel.text
    assert "hippocampus_segmentation v0002 serves now</b>: Dice 0.82 -&gt; &lt;0.87&gt;." in text
    ready.until(lambda: "v0002" in ready.ui.modelLabel.text, "the new description")
    ready.open_only("studySection")
    ready.picture("notice")
    ready.press("dismissButton")
    assert not ready.ui.noticeFrame.isVisibleTo(ready.module.panel)


def test_it_is_looked_for_by_itself_while_connected(ready: User, server: Any) -> None:
    timer = ready.module.widget._watchTimer
    assert timer.active and timer.interval == 20_000
    timer.interval = 20
    count = len([request for request in server.world.requests if "/serving" in request])
    ready.until(lambda: len([r for r in server.world.requests if "/serving" in r]) > count + 1, "the questions")
    ready.module.widget.logic.workflow.disconnect()
    ready.host.process(60)
    count = len(server.world.requests)
    ready.host.process(60)
    assert len(server.world.requests) == count


def test_an_older_server_has_no_queue(user: User, server: Any) -> None:
    server.world.older = True
    user.connect(server.url)
    for _ in range(2):
        user.take_next()
        user.run()
        user.submit()
    user.open_only("trainSection")
    _start(user)
    user.until(lambda: user.state.training.running, "the run")
    assert not user.ui.startButton.enabled and "A training run is going on." in user.ui.startButton.toolTip
    assert not user.ui.runsFrame.isVisibleTo(user.ui.trainSection)
    user.until(lambda: user.state.training.verdict is not None, "the verdict", 60)

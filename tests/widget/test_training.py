"""Training: progress, curves, verdict, stop; and the versions that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host import Host
from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user whose server has two labelled studies."""
    user.connect(server.url)
    for _ in range(2):
        user.take_next()
        user.run()
        user.submit()
    return user


def _train(user: User) -> None:
    user.press("startButton")
    user.until(lambda: user.state.training.verdict is not None, "the verdict", 60)
    user.idle()


def _versions(user: User) -> list[list[str]]:
    table = user.ui.versionsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def _choose(user: User, name: str) -> None:
    names = [row[0] for row in _versions(user)]
    user.ui.versionsTable.selectRow(names.index(name))


def test_training_is_watched_to_its_end(ready: User, server: Any) -> None:
    ready.open_only("trainSection")
    ready.until(lambda: "2 of 3 studies" in ready.ui.trainLabel.text, "the count of labels")
    ready.ui.epochsSpin.value = 8
    ready.press("startButton")
    ready.until(lambda: ready.state.training.epoch >= 5, "progress", 30)
    assert ready.ui.stopButton.isVisibleTo(ready.ui.trainSection)
    assert "left" in ready.ui.progressLabel.text
    assert "epoch" in ready.ui.progressLabel.text
    assert "Learns from 1 study, is checked on 2 others." in ready.ui.progressLabel.text
    assert ready.ui.plotLabel.isVisibleTo(ready.ui.trainSection)
    assert ready.ui.nextButton.enabled, "work goes on while the model learns"
    ready.picture("training")
    ready.until(lambda: ready.state.training.verdict is not None, "the verdict", 30)
    ready.idle()
    assert "v0002 serves now" in ready.ui.verdictLabel.text
    assert not ready.ui.stopButton.isVisibleTo(ready.ui.trainSection)
    assert server.world.train_requests[0]["max_epochs"] == 8
    ready.picture("promoted")


def test_the_model_panel_shows_the_new_version(ready: User) -> None:
    _train(ready)
    ready.until(lambda: "v0002" in ready.ui.modelLabel.text, "the new version")


def test_a_refused_version_is_explained(ready: User, server: Any) -> None:
    server.world.candidate_dice = 0.5
    _train(ready)
    assert "was refused" in ready.ui.verdictLabel.text
    assert "v0001 serves on" in ready.ui.verdictLabel.text
    assert "0.820 → 0.500 on 2 validation cases" in ready.ui.verdictLabel.text
    assert server.world.current == "v0001"
    ready.open_only("trainSection")
    ready.picture("refused")


def test_stop(ready: User, server: Any) -> None:
    ready.press("startButton")
    ready.until(lambda: ready.state.training.running, "the start")
    ready.press("stopButton")
    ready.until(lambda: ready.state.training.state == "cancelled", "the stop")
    ready.idle()
    assert server.world.current == "v0001"
    assert ready.ui.startButton.enabled


def test_too_few_labels(user: User, server: Any) -> None:
    user.connect(server.url)
    user.press("startButton")
    user.idle()
    assert "Training needs 2 labelled studies" in user.says
    assert user.ui.startButton.enabled


def test_a_run_of_someone_else_is_said(ready: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    server.world.trouble["/train/hippo"] = Refusal(409, "busy", "A training run is going on.", "Wait until it is done.")
    ready.press("startButton")
    ready.idle()
    assert "A training run is going on." in ready.says


def test_roll_back_and_forward(ready: User, server: Any) -> None:
    _train(ready)
    ready.ui.versionsSection.collapsed = False
    ready.until(lambda: len(_versions(ready)) == 2, "the versions")
    assert [row[:3] for row in _versions(ready)] == [
        ["v0001", "shipped", "published"],
        ["v0002", "fine-tuned", "serving"],
    ]
    assert not ready.ui.serveButton.enabled
    _choose(ready, "v0001")
    ready.open_only("versionsSection")
    ready.picture("versions")
    ready.press("serveButton")
    ready.idle()
    assert server.world.current == "v0001"
    ready.until(lambda: _versions(ready)[0][2] == "serving", "the table")
    _choose(ready, "v0002")
    ready.press("serveButton")
    ready.idle()
    assert server.world.current == "v0002"


def test_a_refused_version_serves_only_when_insisted(ready: User, server: Any, host: Host) -> None:
    server.world.candidate_dice = 0.5
    _train(ready)
    ready.ui.versionsSection.collapsed = False
    ready.until(lambda: len(_versions(ready)) == 2, "the versions")
    _choose(ready, "v0002")
    assert "would be worse" in ready.ui.versionLabel.text
    host.desk.answers = ["Leave it"]
    ready.press("serveButton")
    assert server.world.current == "v0001"
    host.desk.answers = ["Serve it anyway"]
    ready.press("serveButton")
    ready.idle()
    assert server.world.current == "v0002"

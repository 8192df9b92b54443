"""What the panel says while things change under it: servers that fall silent, voxels that are edited, other scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util

from tests.host import Host, fake_server
from tests.host.user import User


def _edit(user: User, change: int = 100) -> None:
    volume = user.module.widget.shared.volume
    slicer.util.arrayFromVolume(volume)[0, 0, 0] += change
    slicer.util.arrayFromVolumeModified(volume)


def _says_study(user: User, words: str) -> None:
    user.until(lambda: words in user.ui.studyLabel.text, f"'{words}' in '{user.ui.studyLabel.text}'", 5)


def test_another_server_can_be_connected_to_while_one_is_silent(user: User, server: Any) -> None:
    with fake_server.answering(None) as address:
        user.ui.addressBox.setEditText(address)
        user.press("connectButton")
        user.until(lambda: user.state.job is not None)
        assert not user.ui.connectButton.enabled and "another server's address" in user.ui.connectButton.toolTip
        user.ui.addressBox.setEditText(server.url)
        assert "Cancels what is under way" in user.ui.connectButton.toolTip
        user.press("connectButton")
        user.until(lambda: user.state.connected, "the connection", 3)
    assert user.state.address == server.url and user.state.job is None


def test_enter_in_the_address_does_not_cancel_a_run_on_the_same_server(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    server.world.infer_seconds = 0.5
    user.press("runButton")
    user.ui.addressBox.lineEdit().returnPressed.emit()
    user.idle()
    assert user.state.last_result is not None


def test_the_study_line_follows_edits_of_the_voxels(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    assert "nothing is sent" in user.ui.studyLabel.text
    _edit(user)
    _says_study(user, "not those that the server has: it is sent when you run a model, after you agree")
    assert "Submitting adds" not in user.ui.submitLabel.text
    _edit(user, -100)
    _says_study(user, "nothing is sent")
    _edit(user)
    _says_study(user, "after you agree")
    host.desk.answers = ["Send"]
    user.run()
    assert len(server.world.received) == 1
    _says_study(user, "as you agreed, without another question")
    assert "adds this volume to the server's studies, after you agree" in user.ui.submitLabel.text
    user.run()
    assert len(server.world.received) == 2 and len(host.desk.shown) == 1


def test_an_agreement_for_good_is_told(user: User, server: Any) -> None:
    from MedGANLib.panels import preferences

    preferences.remember_consent(server.url, stored=True)
    user.connect(server.url)
    volume = user.module.python.add_phantom("mine")
    user.choose(volume)
    assert "after you agree" in user.ui.studyLabel.text
    preferences.remember_consent(server.url, stored=False)
    user.module.widget._redraw()
    assert "as you agreed" in user.ui.studyLabel.text


def _saved(text: str) -> str:
    return f'{{"hippocampus_segmentation": {{"tiles": {text}}}}}'


def test_a_scene_that_is_opened_brings_its_options(user: User, server: Any, host: Host, tmp_path: Path) -> None:
    user.connect(server.url)
    user.take_next()
    form = user.panel("RunPanel").form
    form.field("tiles").widget.value = 7
    user.run()
    path = str(tmp_path / "scene.mrml")
    host.scene.SetURL(path)
    host.scene.Commit(path)
    form.field("tiles").widget.value = 3
    user.run()
    for _ in range(2):
        host.scene.Clear(0)
        host.scene.Import()
        user.host.process(50)
        assert form.values()["tiles"] == 7
        form.field("tiles").widget.value = 4


def test_a_run_leaves_the_form_as_it_is(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    form = user.panel("RunPanel").form
    points = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    form.field("points").selector.setCurrentNode(points)
    for tiles in (5, 6):
        field = form.field("tiles")
        field.widget.value = tiles
        user.run()
        assert form.field("tiles") is field and form.node("points") is points


def test_a_new_scene_without_options_leaves_what_is_set(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    form = user.panel("RunPanel").form
    form.field("tiles").widget.value = 5
    host.scene.Clear(0)
    user.host.process(50)
    assert form.values()["tiles"] == 5
    user.module.widget.shared.parameters.options = _saved("6")
    assert form.values()["tiles"] == 6


def test_a_failed_connection_leaves_what_is_set(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    form = user.panel("RunPanel").form
    form.field("tiles").widget.value = 5
    points = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    form.field("points").selector.setCurrentNode(points)
    inputs = user.panel("ReconstructPanel").inputs
    volume = user.module.python.add_phantom("mine")
    (name, *_) = inputs.selectors
    inputs.selectors[name].setCurrentNode(volume)
    user.connect(fake_server.closed_port())
    assert not user.ui.optionsFrame.isVisibleTo(user.ui.runSection)
    user.connect(server.url)
    assert form.values()["tiles"] == 5 and form.node("points") is points
    assert inputs.nodes()[name] is volume
    assert user.ui.optionsFrame.isVisibleTo(user.ui.runSection)


def test_the_chosen_run_stays_chosen_when_another_one_comes_before_it(user: User, server: Any) -> None:
    """Else *Cancel the chosen run* would cancel somebody else's."""
    user.connect(server.url)
    table = user.ui.runsTable
    server.world.labels = {"case_1": b"", "case_2": b""}
    mine = server.world.start_training()
    user.ui.trainSection.collapsed = False
    user.until(lambda: table.rowCount == 1, "the run")
    table.selectRow(0)
    server.world.start_training("another")
    user.module.widget.logic.workflow.read_runs()
    user.until(lambda: table.rowCount == 2, "the second run")
    assert table.currentRow() == 1 and user.panel("RunsPanel").chosen().run == mine.name


def test_a_chosen_study_that_is_gone_is_not_replaced_by_the_next(user: User, server: Any) -> None:
    user.connect(server.url)
    user.until(lambda: user.state.serving is not None, "what serves")
    user.ui.reviewButton.checked = True
    table = user.ui.reviewTable
    user.until(lambda: table.rowCount == 3, "the list")
    table.selectRow(1)
    server.world.labels["case_1"] = b""
    user.press("refreshReviewButton")
    user.until(lambda: table.rowCount == 2, "the list without the first")
    assert user.panel("ReviewPanel").chosen().id == "case_2"
    server.world.labels["case_2"] = b""
    user.press("refreshReviewButton")
    user.until(lambda: table.rowCount == 1, "the list without the second")
    assert user.panel("ReviewPanel").chosen() is None and not user.ui.openReviewButton.enabled


def test_the_chosen_version_and_label_stay_chosen(user: User, server: Any) -> None:
    from MedGANLib.testing.world import Version

    user.connect(server.url)
    user.ui.versionsSection.collapsed = False
    table, panel = user.ui.versionsTable, user.panel("VersionsPanel")
    server.world.versions.insert(0, Version("v0009", "fine-tuned", "refused", 0.5, "v0001"))
    user.until(lambda: table.rowCount > 0, "the versions")
    user.press("refreshButton")
    user.until(lambda: table.rowCount == 2, "both versions")
    table.selectRow(1)
    server.world.versions.insert(0, Version("v0010", "fine-tuned", "refused", 0.5, "v0001"))
    user.press("refreshButton")
    user.until(lambda: table.rowCount == 3, "the third")
    assert panel.chosen().version == "v0001"

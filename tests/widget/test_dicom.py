"""DICOM from the panel: which buttons there are and when, the folder, the archive's question, text in the voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_reconstruct import reconstruct, shows

from tests.host import Host
from tests.host.user import User


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user with a submitted label, at a server that has an archive."""
    server.world.archive = True
    user.connect(server.url)
    user.take_next()
    user.run()
    user.submit()
    user.until(lambda: user.state.history is not None, "the history")
    return user


def save(user: User, host: Host, folder: Path | str, button: str = "saveLabelDicomButton") -> None:
    host.desk.paths = [str(folder)]
    user.press(button)
    user.idle()


def test_the_label_is_saved_into_the_chosen_folder(ready: User, host: Host, server: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    save(ready, host, "")
    assert server.world.exports == [], "the dialog was cancelled"
    save(ready, host, tmp_path / "out")
    assert "Saved 1 file without the patient" in ready.says and str(tmp_path / "out") in ready.says
    assert len(list((tmp_path / "out").glob("MedGAN SEG */00001.dcm"))) == 1


def test_the_archive_is_asked_about_first(ready: User, host: Host, server: Any) -> None:
    host.desk.answers = ["Do not send"]
    ready.press("sendLabelDicomButton")
    assert server.world.exports == [] and "under the patient's name" in host.desk.shown[-1]
    host.desk.answers = ["Send to the archive"]
    ready.press("sendLabelDicomButton")
    ready.idle()
    assert "The archive has it" in ready.says and server.world.exports[-1]["tag"] == "final"


def test_text_in_the_voxels_is_asked_about_once(ready: User, host: Host, server: Any, tmp_path: Path) -> None:
    server.world.text_in_voxels = True
    host.desk.answers = ["Do not save"]
    save(ready, host, tmp_path)
    ready.until(lambda: not host.desk.answers, "the question")
    assert "Look at all slices" in host.desk.shown[-1] and len(server.world.exports) == 1
    host.desk.answers = ["I looked: there is none"]
    save(ready, host, tmp_path)
    ready.until(lambda: len(server.world.exports) == 3, "the second try")
    ready.idle()
    assert server.world.exports[-1]["burned_in"] == "true" and list(tmp_path.glob("MedGAN SEG *"))


def test_an_image_is_saved(ready: User, host: Host, server: Any, tmp_path: Path) -> None:
    ready.open_only("reconstructSection")
    assert not shows(ready, "imageDicomFrame")
    reconstruct(ready)
    assert shows(ready, "imageDicomFrame")
    host.desk.answers = ["Send"]
    save(ready, host, tmp_path, "saveImageDicomButton")
    assert "Send this result to the server?" in host.desk.shown[-1] and "does not keep it" in host.desk.shown[-1]
    assert len(list(tmp_path.glob("MedGAN MR */*.dcm"))) == 3


def test_what_cannot_be_exported_says_why(user: User, server: Any) -> None:
    server.world.archive = False
    user.connect(server.url)
    user.open_only("correctSection")
    assert not shows(user, "labelDicomFrame"), "no study"
    user.take_next()
    user.run()
    user.open_only("correctSection")
    assert shows(user, "labelDicomFrame") and user.ui.saveLabelDicomButton.enabled
    assert not user.ui.sendLabelDicomButton.enabled and "has no archive" in user.ui.sendLabelDicomButton.toolTip
    user.ui.historyButton.checked = True
    user.until(lambda: not user.ui.saveLabelDicomButton.enabled, "the empty history")
    assert "Nothing was submitted" in user.ui.saveLabelDicomButton.toolTip


def test_a_server_that_gives_no_dicom_shows_no_buttons(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    reconstruct(user)
    user.open_only("correctSection", "reconstructSection")
    assert not shows(user, "labelDicomFrame") and not shows(user, "imageDicomFrame")


def test_what_is_said_of_one_study_is_not_taken_for_another(
    ready: User, host: Host, server: Any, tmp_path: Path
) -> None:
    server.world.text_in_voxels, server.world.infer_seconds = True, 0.5
    study = ready.state.study.image_id
    other = ready.module.python.add_phantom()
    host.desk.paths, host.desk.answers = [str(tmp_path)], ["I looked: there is none"]
    ready.press("saveLabelDicomButton")
    ready.choose(other)
    ready.until(lambda: len(server.world.exports) == 2, "the second try")
    ready.idle()
    assert [asked["image"] for asked in server.world.exports] == [study, study]


def test_the_archives_question_names_the_study(ready: User, host: Host, server: Any) -> None:
    host.desk.answers = ["Do not send"]
    ready.press("sendLabelDicomButton")
    assert f"<b>{ready.state.study.image_id}</b>" in host.desk.shown[-1]


def test_without_its_volume_nothing_of_a_study_can_be_given_back(ready: User, host: Host) -> None:
    host.scene.RemoveNode(ready.module.widget.shared.volume)
    ready.module.widget._redraw()
    for name in ("saveLabelDicomButton", "sendLabelDicomButton", "undoSubmitButton"):
        button = getattr(ready.ui, name)
        assert not button.enabled and "Choose a volume" in button.toolTip

"""K-space in the section Reconstruct: the button, the file's name, the way back, the question before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_reconstruct import FINER, choose, reconstruct, selectors, shows

from tests.host import Host
from tests.host.user import User

MEASURED = "mr_undersampled"
NAME = "Smith^John abdominal MR of 3 February.npy"


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected to a server with such a model, and has opened the section, without any study."""
    from MedGANLib.testing.reconstruction import measured_json

    server.world.reconstructions[MEASURED] = measured_json()
    user.connect(server.url)
    user.open_only("reconstructSection")
    choose(user, MEASURED)
    return user


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / NAME, (rng.normal(size=(24, 16)) + 1j).astype(np.complex64))
    return tmp_path / NAME


def field(user: User) -> Any:
    return user.panel("ReconstructPanel").inputs._fields["image"]


def take(user: User, host: Host, path: Path | str) -> None:
    host.desk.paths = [str(path)]
    field(user).button.click()


def test_a_file_is_chosen_and_taken_back(ready: User, host: Host, file: Path) -> None:
    assert not ready.ui.reconstructButton.enabled
    take(ready, host, "")
    assert field(ready).file is None, "the dialog was cancelled"
    take(ready, host, file)
    assert ready.ui.reconstructButton.enabled and not selectors(ready)["image"].enabled
    assert field(ready)._name.text == "Smith^John a…ebruary.npy"
    field(ready).back.click()
    assert not ready.ui.reconstructButton.enabled and selectors(ready)["image"].enabled
    assert "Choose a volume first" in ready.ui.reconstructButton.toolTip


def test_it_is_asked_for_plainly_and_its_image_is_shown(
    ready: User, host: Host, server: Any, file: Path, tmp_path: Path
) -> None:
    take(ready, host, file)
    host.desk.answers = ["Do not send"]
    assert reconstruct(ready) is None and server.world.received == []
    assert "Send this raw file to the server?" in host.desk.shown[-1]
    assert "as it is" in host.desk.shown[-1] and "name the patient" in host.desk.shown[-1]
    host.desk.answers = ["Send"]
    made = reconstruct(ready)
    assert (
        made.inputs == {}
        and "K-space – MR from fewer lines" in ready.module.python.slicer.mrmlScene.GetNodeByID(made.image).GetName()
    )
    assert shows(ready, "reconstructionFrame") and not shows(ready, "viewBox"), "there is nothing to compare it with"
    assert shows(ready, "uncertaintyBox") and ready.ui.uncertaintyBox.enabled
    ready.press("undoReconstructionButton")
    ready.idle()
    assert not shows(ready, "reconstructionFrame")


def test_remembering_is_apart_from_volumes(ready: User, host: Host, server: Any, file: Path) -> None:
    from MedGANLib.panels import preferences

    take(ready, host, file)
    host.desk.answers, host.desk.on_show = ["Send"], lambda box: box.checkBox().setChecked(True)
    reconstruct(ready)
    assert preferences.has_consent(server.url, False, "raw file") and not preferences.has_consent(server.url, False)
    preferences.forget_consents()
    assert not preferences.has_consents()


def test_only_models_that_take_it_have_the_button(ready: User, host: Host, file: Path) -> None:
    take(ready, host, file)
    choose(ready, FINER)
    inputs = ready.panel("ReconstructPanel").inputs
    assert inputs._fields == {} and inputs.files() == {} and selectors(ready)["image"].enabled


def test_another_study_lets_go_of_the_file(ready: User, host: Host, file: Path) -> None:
    take(ready, host, file)
    ready.take_next()
    assert field(ready).file is None and selectors(ready)["image"].currentNode() is not None

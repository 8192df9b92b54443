"""Correct and submit: exact label values, of the active volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from tests.host import Host
from tests.host.user import User


def _stored_label(server: Any, name: str) -> np.ndarray:
    from MedGANLib.testing.images import read_nrrd

    return read_nrrd(server.world.labels[name])[0]


def _run_on_next(user: User, server: Any) -> Any:
    user.connect(server.url)
    user.take_next()
    user.run()
    return user.module.widget.shared.volume


def test_submits_exactly_what_is_on_screen(user: User, server: Any, host: Host) -> None:
    volume = _run_on_next(user, server)
    node = user.module.widget.shared.segmentation
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("", "background")
    segmentation.SetSegmentIndex(segmentation.GetNthSegmentID(2), 0)
    expected = server.world.segment(slicer.util.arrayFromVolume(volume))
    user.submit()
    assert user.state.message.kind in ("success", "warning"), user.says
    np.testing.assert_array_equal(_stored_label(server, "case_1"), expected)
    user.open_only("correctSection")
    user.picture("submitted")


def test_the_active_volume_is_submitted_not_the_first(user: User, server: Any) -> None:
    user.module.python.add_phantom("someone else")
    _run_on_next(user, server)
    user.submit()
    assert set(server.world.labels) == {"case_1"}


def test_own_volume_is_added_to_the_studies_after_consent(user: User, server: Any, host: Host) -> None:
    volume = user.module.python.add_phantom("Smith^John")
    user.connect(server.url)
    user.choose(volume)
    host.desk.answers = ["Send", "Send"]
    user.run()
    assert "Submitting adds this volume" in user.ui.submitLabel.text
    user.submit()
    assert len(server.world.labels) == 1
    (name,) = server.world.labels
    assert "Smith" not in name, "the volume's name stays here"
    assert b"Smith" not in server.world.studies[name]


def test_a_failed_submission_can_be_repeated(user: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    _run_on_next(user, server)
    server.world.trouble["/datastore/label"] = Refusal(422, "wrong_labels", "Label 9 is not one of the model's labels.")
    user.submit()
    assert "Label 9" in user.says
    server.world.trouble.clear()
    user.submit()
    assert "case_1" in server.world.labels


def test_all_labelled_is_said_kindly(user: User, server: Any) -> None:
    user.connect(server.url)
    for name in list(server.world.studies):
        server.world.labels[name] = b""
    user.take_next()
    assert "Every study has a label" in user.says
    assert user.ui.nextButton.enabled

"""The module in the application: self-test, sample data, closing the scene, leaving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util

from tests.host import Host, LoadedModule
from tests.host.user import User


def test_the_self_test_passes(module: LoadedModule) -> None:
    """Also when the module was not opened by the user, as on the command line."""
    from slicer.testing import runUnitTest

    module.exit()
    runUnitTest([], "MedGAN.MedGANTest")


def test_the_self_test_notices_a_shifted_label(module: LoadedModule) -> None:
    """The self-test fails when the server's labels and the segments disagree."""
    import pytest
    from MedGANLib.testing.world import World
    from slicer.testing import runUnitTest

    right = World.segment
    try:
        World.segment = lambda self, voxels: right(self, voxels) if voxels.flags.writeable else right(self, voxels) // 2
        with pytest.raises(RuntimeError, match="is not where it belongs"):
            runUnitTest([], "MedGAN.MedGANTest.test_label_values_and_geometry")
    finally:
        World.segment = right


def test_sample_data_is_computed(module: LoadedModule) -> None:
    (source,) = slicer.modules.sampleDataSources["MedGAN"]
    (volume,) = source.customDownloader(source)
    assert volume.GetName() == "MedGANPhantom"
    assert slicer.util.arrayFromVolume(volume).shape == (40, 56, 48)


def test_describes_itself(module: LoadedModule) -> None:
    parent = module.instance.parent
    assert parent.title == "MedGAN"
    assert "not for diagnosis" in parent.helpText
    assert "SegmentEditor" in parent.dependencies


def test_closing_the_scene_and_going_on(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    host.scene.Clear(0)
    user.host.process(50)
    assert user.module.widget.shared.volume is None
    assert not user.ui.runButton.enabled
    user.take_next()
    user.run()
    assert user.module.widget.shared.segmentation is not None
    editor = user.panel("CorrectPanel").editor
    assert editor.segmentationNode() is user.module.widget.shared.segmentation


def test_deleting_the_volume_does_no_harm(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    host.scene.RemoveNode(user.module.widget.shared.volume)
    user.host.process(50)
    assert not user.ui.runButton.enabled
    assert "Choose a volume" in user.ui.runButton.toolTip


def test_the_volume_on_screen_is_chosen_on_entering(user: User, host: Host) -> None:
    volume = user.module.python.add_phantom()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(volume.GetID())
    user.module.exit()
    user.module.enter()
    assert user.module.widget.shared.volume is volume


def test_a_label_map_on_screen_is_not_chosen(user: User, host: Host) -> None:
    labels = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(labels.GetID())
    user.module.exit()
    user.module.enter()
    assert user.module.widget.shared.volume is None
    assert user.state.message.kind == "info"


def test_entering_again_leaves_no_old_connection(user: User) -> None:
    before = user.module.widget.shared.parameters
    user.module.exit()
    user.module.enter()
    assert user.module.widget.shared.parameters is not before
    assert before._guis == {}


def test_reloading_the_module_while_it_is_open(user: User, server: Any, host: Host) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    old = user.module.widget
    editor = user.panel("CorrectPanel").editor
    user.module.reload()
    assert not old._pumpTimer.active
    assert not old._pollTimer.active
    assert not editor._qt._observing, "the editor that is hidden now hears no clicks"
    assert not old.logic.workflow.folder.exists()
    host.scene.Clear(0)
    fresh = User(host, user.module, Path(old.logic.workflow.folder))
    fresh.connect(server.url)
    fresh.take_next()
    assert fresh.ui.runButton.enabled, fresh.ui.runButton.toolTip
    fresh.run()
    assert fresh.module.widget.shared.segmentation is not None
    assert fresh.panel("CorrectPanel").editor._qt._observing


def test_leaving_the_module_silences_the_editor(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    editor = user.panel("CorrectPanel").editor
    user.module.exit()
    assert not editor._qt._observing
    assert not editor._qt._shortcuts
    user.module.enter()
    assert editor._qt._observing
    assert editor._qt._shortcuts


def test_a_result_that_comes_while_another_module_is_open_takes_no_clicks(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    user.press("runButton")
    user.module.exit()
    user.idle()
    editor = user.panel("CorrectPanel").editor
    assert editor.segmentationNode() is user.module.widget.shared.segmentation
    assert not editor._qt._observing
    assert not editor._qt._shortcuts
    user.module.enter()
    assert editor._qt._observing


def test_quitting_while_a_run_goes_on(user: User, server: Any) -> None:
    server.world.infer_seconds = 30.0
    user.connect(server.url)
    user.take_next()
    user.press("runButton")
    user.until(lambda: any("/infer/" in r for r in server.world.requests))
    user.module.unload()
    assert not user.module.widget._pumpTimer.active

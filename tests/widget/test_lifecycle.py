"""The module in the application: self-test, sample data, closing the scene, leaving."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util

from tests.host import Host, LoadedModule
from tests.host.user import User


def test_the_self_test_passes(module: LoadedModule) -> None:
    """Also when the module was not opened by the user, as on the command line."""
    from slicer.testing import runUnitTest

    module.widget.exit()
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
    user.module.widget.exit()
    user.module.widget.enter()
    assert user.module.widget.shared.volume is volume


def test_leaving_the_module_silences_the_editor(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    editor = user.panel("CorrectPanel").editor
    user.module.widget.exit()
    assert not editor._qt._observing
    user.module.widget.enter()
    assert editor._qt._observing


def test_quitting_while_a_run_goes_on(user: User, server: Any) -> None:
    server.world.infer_seconds = 30.0
    user.connect(server.url)
    user.take_next()
    user.press("runButton")
    user.until(lambda: any("/infer/" in r for r in server.world.requests))
    user.module.unload()
    assert not user.module.widget._pumpTimer.active

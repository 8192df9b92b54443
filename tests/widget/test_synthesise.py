"""The panel Synthesise: options, generating, paging, the picture, the scene, the mark in the views, adding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util

from tests.host import Host
from tests.host.user import User

MODEL = "hippocampus_synthesis"


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected and has opened the section."""
    user.connect(server.url)
    user.open_only("synthesiseSection")
    return user


def generate(user: User, number: int = 3, seed: int = 40) -> None:
    form = user.panel("SynthesisePanel").form
    form.field("number").widget.value = number
    form.field("seed").spin.value = seed
    user.press("generateButton")
    user.idle()


def annotations(user: User) -> set[str]:
    """What is written at the upper edge of the slice views."""
    manager = slicer.app.layoutManager()
    views = [manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()]
    return {view.cornerAnnotation().GetText(7) or "" for view in views}


def nodes(host: Host) -> list[str]:
    kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
    return [host.scene.GetNthNodeByClass(0, k).GetName() for k in kinds if host.scene.GetNumberOfNodesByClass(k)]


def pixels(user: User) -> np.ndarray:
    """The picture in the panel, RGB (rows, columns, 3)."""
    image = user.ui.pictureLabel._qt.pixmap().toImage().convertToFormat(_rgb32())
    array = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.width(), 4)
    return array[..., 2::-1].astype(int)


def _rgb32() -> Any:
    from PySide6 import QtGui

    return QtGui.QImage.Format.Format_RGB32


# What there is to choose


def test_each_panel_lists_its_own_models(ready: User) -> None:
    assert [ready.ui.modelBox.itemData(i) for i in range(ready.ui.modelBox.count)] == ["hippocampus_segmentation"]
    assert [ready.ui.synthesisModelBox.itemData(i) for i in range(ready.ui.synthesisModelBox.count)] == [MODEL]
    assert "synthetic" in ready.ui.synthesisLabel.text
    assert not ready.ui.galleryFrame.isVisibleTo(ready.module.panel), "nothing to look at yet"


def test_without_a_synthesis_model_the_section_says_so(user: User, server: Any) -> None:
    assert not user.ui.synthesiseSection.enabled and "Connect" in user.ui.synthesiseSection.toolTip
    server.world.synthesis = {}
    user.connect(server.url)
    assert not user.ui.synthesiseSection.enabled
    assert "no model that makes images" in user.ui.synthesiseSection.toolTip
    assert user.ui.modelBox.count == 1


def test_options_are_the_servers(ready: User, server: Any) -> None:
    form = ready.panel("SynthesisePanel").form
    assert list(form.fields) == ["number", "seed", "class", "mask"]
    form.field("class").widget.currentIndex = 2
    generate(ready, number=2, seed=7)
    sent = server.world.infer_params[-1]
    assert (sent["number"], sent["seed"], sent["class"]) == (2, 7, "atrophy") and "mask" not in sent


def test_a_new_seed(ready: User) -> None:
    field = ready.panel("SynthesisePanel").form.field("seed")
    drawn = set()
    for _ in range(5):
        field.button.click()
        drawn.add(field.value())
    assert len(drawn) > 1 and all(0 <= seed < 2**31 for seed in drawn)


def test_options_are_kept_with_the_scene(ready: User) -> None:
    generate(ready, number=2, seed=77)
    ready.module.exit()
    ready.module.enter()
    assert '"seed": 77' in ready.module.widget.shared.parameters.options


# Looking through the samples


def test_paging(ready: User) -> None:
    generate(ready)
    ui = ready.ui
    assert ui.sampleLabel.text == "<b>1 of 3</b> · healthy · seed 40"
    assert not ui.previousButton.enabled and ui.nextSampleButton.enabled
    first = pixels(ready)
    ready.press("nextSampleButton")
    ready.press("nextSampleButton")
    assert ui.sampleLabel.text == "<b>3 of 3</b> · healthy · seed 42" and not ui.nextSampleButton.enabled
    assert not np.array_equal(first, pixels(ready)), "another sample, another picture"
    ready.press("previousButton")
    ready.press("previousButton")
    assert np.array_equal(first, pixels(ready))


def test_the_picture_shows_three_slices_with_outlines(ready: User) -> None:
    generate(ready, number=1)
    ready.picture("synthesise")
    rgb = pixels(ready)
    assert rgb.shape[1] == 2 * (ready.ui.synthesiseSection.width - 20), "sharp, and as wide as the section"
    wide = rgb.shape[1] // 3
    orange, blue = (np.all(abs(rgb - np.array(c)) < 4, axis=2) for c in ((230, 178, 51), (77, 153, 230)))
    for place in range(3):
        pane = slice(place * wide, (place + 1) * wide)
        assert blue[:, pane].any() or orange[:, pane].any(), f"no outline in slice {place}"
    axial = slice(0, wide)
    assert np.argwhere(orange[:, axial])[:, 0].mean() < np.argwhere(blue[:, axial])[:, 0].mean(), "front is up"
    yellow = np.all(abs(rgb - np.array((255, 196, 0))) < 30, axis=2)
    assert yellow[:40, :160].any(), "the word SYNTHETIC"
    assert not list(ready.module.widget.logic.workflow.folder.glob("preview-*")), "no picture is left behind"


def test_a_flat_picture(ready: User, tmp_path: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedGANLib.testing import synthesis

    ramp = np.tile(np.arange(64, dtype=np.int16), (48, 1))[None]
    flat = (ramp, np.zeros(ramp.shape, np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]))
    monkeypatch.setattr(synthesis, "make_sample", lambda *args: flat)
    generate(ready, number=1)
    ready.picture("synthesise-flat")
    rgb = pixels(ready)
    assert rgb.shape[0] > 300, "one picture, larger than three would be"
    middle = rgb[rgb.shape[0] // 2, :, 0]
    bright = np.flatnonzero(middle > 200)
    assert middle.size / 2 < bright.mean() and middle[middle.size // 4] < middle[3 * middle.size // 4]
    ready.press("placeButton")
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert np.array_equal(slicer.util.arrayFromVolume(volume), ramp)


def test_a_damaged_sample_is_explained(ready: User) -> None:
    generate(ready, number=2)
    ready.state.gallery.samples[1].image.write_bytes(b"broken")
    ready.press("nextSampleButton")
    assert "cannot be read" in ready.ui.pictureNote.text
    assert not ready.ui.pictureLabel.isVisibleTo(ready.module.panel)
    ready.press("previousButton")
    assert not ready.ui.pictureNote.isVisibleTo(ready.module.panel)


# In the scene


def test_put_in_the_scene_and_take_out(ready: User, host: Host) -> None:
    generate(ready)
    ready.press("placeButton")
    name = "SYNTHETIC – Hippocampus synthesis, healthy, seed 40"
    assert nodes(host) == [name, f"{name} segmentation"]
    assert annotations(ready) == {"SYNTHETIC"}, "in every slice view that shows it"
    assert ready.ui.placeButton.text == "Take out of the scene"
    ready.press("nextSampleButton")
    assert ready.ui.placeButton.text == "Put in the scene", "that one is not there"
    ready.press("previousButton")
    ready.press("placeButton")
    assert nodes(host) == [] and ready.ui.placeButton.text == "Put in the scene"
    host.process()
    assert annotations(ready) == {""}


def test_views_that_show_something_acquired_have_no_mark(ready: User, host: Host) -> None:
    generate(ready, number=1)
    ready.press("placeButton")
    acquired = ready.module.python.add_phantom("acquired")
    assert annotations(ready) == {""}
    slicer.util.setSliceViewerLayers(background=acquired, foreground=host.scene.GetFirstNodeByName(_placed(host)))
    assert annotations(ready) == {"SYNTHETIC"}, "also when it lies above"


def _placed(host: Host) -> str:
    return next(n for n in nodes(host) if n.startswith("SYNTHETIC") and not n.endswith("segmentation"))


def test_the_mark_goes_with_the_module(ready: User) -> None:
    generate(ready, number=1)
    ready.press("placeButton")
    ready.module.widget.cleanup()
    assert annotations(ready) == {""}


def test_chosen_as_volume_it_says_that_it_stays_marked(ready: User, host: Host) -> None:
    generate(ready, number=1)
    ready.press("placeButton")
    ready.choose(host.scene.GetFirstNodeByName(_placed(host)))
    assert "Synthetic:" in ready.ui.studyLabel.text and "marked as synthetic" in ready.ui.studyLabel.text


# Adding


def test_accept_and_add(ready: User, server: Any) -> None:
    generate(ready)
    ui = ready.ui
    assert not ui.addButton.enabled and "Accept" in ui.addButton.toolTip
    ui.acceptBox.click()
    ready.press("nextSampleButton")
    assert not ui.acceptBox.checked, "each sample has its own tick"
    ui.acceptBox.click()
    assert ui.addButton.text == "Add 2 accepted to the training studies" and "2 of 3 samples" in ui.addLabel.text
    ui.acceptBox.click()
    assert ui.addButton.text == "Add 1 accepted to the training studies"
    ready.press("addButton")
    ready.idle()
    (added,) = server.world.labels
    assert added.startswith(f"synthetic_{MODEL}_40_") and "1 synthetic study was added" in ready.says
    ready.press("previousButton")
    assert "added" in ui.sampleLabel.text and not ui.addButton.enabled
    ready.until(lambda: "1 synthetic study" in ui.trainLabel.text, "the count of synthetic studies")


def test_one_that_is_there_already(ready: User, server: Any) -> None:
    for _ in range(2):
        generate(ready, number=2, seed=40)
        ready.ui.acceptBox.click()
        ready.press("addButton")
        ready.idle()
    assert "already" in ready.says and "at the server already" in ready.ui.sampleLabel.text


def test_why_samples_cannot_be_added(ready: User, server: Any) -> None:
    server.world.synthesis["labels"] = {"lung": 1}
    from MedGANLib.testing import synthesis

    kept = synthesis.LABELS
    synthesis.LABELS = {"<b>lung": 1}
    try:
        generate(ready, number=1)
    finally:
        synthesis.LABELS = kept
    ready.ui.acceptBox.click()
    assert not ready.ui.addButton.enabled
    assert "No trainable segmentation model" in ready.ui.addLabel.text and "&lt;b&gt;lung (1)" in ready.ui.addLabel.text


def test_accepted_samples_are_not_lost_unasked(ready: User, server: Any, host: Host) -> None:
    generate(ready, number=2, seed=40)
    ready.ui.acceptBox.click()
    host.desk.answers = ["Keep them"]
    generate(ready, number=1, seed=7)
    assert "1 accepted sample is not among the training studies" in host.desk.shown[-1]
    assert [sample.seed for sample in ready.state.gallery.samples] == [40, 41]
    host.desk.answers = ["Generate new ones"]
    generate(ready, number=1, seed=7)
    assert [sample.seed for sample in ready.state.gallery.samples] == [7]


# A shape


def drawn(host: Host, user: User) -> Any:
    """A segmentation with one segment of the model's name and one of another."""
    volume = user.module.python.add_phantom("Smith^John")
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, start in (("anterior", 5), ("mine", 15)):
        array = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
        array[start : start + 4, 5:9, 5:9] = 1
        segment = node.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, volume)
    return node


def test_a_shape_from_segments(ready: User, server: Any, host: Host) -> None:
    from MedGANLib.panels import preferences
    from MedGANLib.testing.images import read_nrrd

    node = drawn(host, ready)
    field = ready.panel("SynthesisePanel").form.field("mask")
    field.selector.setCurrentNode(node)
    assert list(field.boxes) == ["anterior", "posterior"]
    assert field.boxes["anterior"].currentText == "anterior", "the segment of the label's name is proposed"
    field.boxes["posterior"].currentIndex = field.boxes["posterior"].findText("mine")
    ready.picture("synthesise-shape")
    host.desk.answers = ["Do not send"]
    generate(ready)
    ready.until(lambda: "Nothing was sent" in ready.says, "the refusal")
    assert server.world.shapes == []
    host.desk.answers = ["Send"]
    host.desk.on_show = lambda box: box.checkBox().setChecked(True)
    generate(ready)
    assert "shape" in host.desk.shown[-1] and "Not sent" in host.desk.shown[-1]
    labels, _ = read_nrrd(server.world.shapes[0])
    assert [(labels == value).sum() for value in (1, 2)] == [64, 64]
    assert preferences.has_consent(server.url, stored=False, kind="shape")
    assert not preferences.has_consent(server.url, stored=False), "an image is another question"


def test_segments_drawn_later_can_be_chosen(ready: User, host: Host) -> None:
    node = drawn(host, ready)
    field = ready.panel("SynthesisePanel").form.field("mask")
    field.selector.setCurrentNode(node)
    field.boxes["anterior"].currentIndex = field.boxes["anterior"].findText("mine")
    node.GetSegmentation().AddEmptySegment("", "posterior")
    ready.until(lambda: field.boxes["posterior"].currentText == "posterior", "the new segment")
    assert field.boxes["anterior"].currentText == "mine", "what was chosen stays"


def test_a_model_without_labels_map_option_has_no_shape(user: User, server: Any) -> None:
    del server.world.synthesis["medgan"]["options"]["properties"]["mask"]
    user.connect(server.url)
    assert user.panel("SynthesisePanel").form.shape() is None
    generate(user, number=1)
    assert len(user.state.gallery.samples) == 1


# When it goes wrong


def test_cancel_while_generating(ready: User, server: Any) -> None:
    server.world.infer_seconds = 20.0
    ready.longest_gap = 0.0
    ready.press("generateButton")
    ready.until(lambda: any("/infer/" in r for r in server.world.requests), "the request")
    assert ready.ui.cancelButton.enabled and not ready.ui.generateButton.enabled
    ready.press("cancelButton")
    ready.idle(3)
    ready.until(lambda: any(r.startswith("DELETE /jobs/") for r in server.world.requests), "the cancel at the server")
    assert ready.state.gallery is None and ready.ui.generateButton.enabled
    assert ready.longest_gap < 0.6, "the interface stood still"


def test_a_refusal_is_shown(ready: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    server.world.trouble["/infer"] = Refusal(503, "no_weights", "There are no weights.", "Install them.")
    ready.press("generateButton")
    ready.idle()
    assert "There are no weights." in ready.says and "Install them." in ready.says


def test_closing_the_scene_while_samples_come(ready: User, server: Any, host: Host) -> None:
    server.world.infer_seconds = 0.3
    ready.press("generateButton")
    host.scene.Clear(0)
    ready.idle()
    assert ready.state.gallery is None and "scene was closed" in ready.says
    assert not ready.ui.galleryFrame.isVisibleTo(ready.module.panel)
    server.world.infer_seconds = 0.0
    generate(ready, number=1)
    ready.press("placeButton")
    assert annotations(ready) == {"SYNTHETIC"}

"""The panel Reconstruct: its models, inputs and options; the result, the views, undo; when it goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
import slicer
import slicer.util

from tests.host import Host
from tests.host.user import User

FINER, FUSION = "mr_super_resolution", "ct_pet_fusion"
FOUR_UP, SIDE_BY_SIDE = (
    slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView,
    slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView,
)
RESULT, BESIDE, BLEND = range(3)


@pytest.fixture
def ready(user: User, server: Any) -> User:
    """A user who is connected, has a study and has opened the section."""
    user.connect(server.url)
    user.take_next()
    user.open_only("reconstructSection")
    return user


def choose(user: User, model: str) -> None:
    user.ui.reconstructionModelBox.currentIndex = user.ui.reconstructionModelBox.findData(model)


def reconstruct(user: User, **options: float) -> Any:
    for name, value in options.items():
        user.panel("ReconstructPanel").form.field(name).widget.value = value
    user.press("reconstructButton")
    user.idle()
    return user.state.reconstruction


def selectors(user: User) -> dict[str, Any]:
    return user.panel("ReconstructPanel").inputs.selectors


def layers(view: str) -> tuple[str, str, float]:
    """IDs of background and foreground, and the opacity, of a view."""
    composite = slicer.app.layoutManager().sliceWidget(view).sliceLogic().GetSliceCompositeNode()
    over = composite.GetForegroundVolumeID() or ""
    return composite.GetBackgroundVolumeID() or "", over, composite.GetForegroundOpacity() if over else 0.0


def plane(view: str) -> list[float]:
    matrix = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode().GetSliceToRAS()
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]


def layout() -> int:
    return slicer.app.layoutManager().layout


def shows(user: User, name: str) -> bool:
    return getattr(user.ui, name).isVisibleTo(user.module.panel)


# What there is to choose


def test_its_models_left_the_section_model(ready: User) -> None:
    listed = [ready.ui.reconstructionModelBox.itemData(i) for i in range(ready.ui.reconstructionModelBox.count)]
    assert listed == [FINER, FUSION]
    assert [ready.ui.modelBox.itemData(i) for i in range(ready.ui.modelBox.count)] == ["hippocampus_segmentation"]
    assert "made by a network from what was measured" in ready.ui.reconstructionLabel.text
    assert "MSD Task04" in ready.ui.reconstructionLabel.toolTip
    assert not shows(ready, "reconstructionFrame"), "nothing to look at yet"


def test_without_a_reconstruction_model_the_section_says_so(user: User, server: Any) -> None:
    assert not user.ui.reconstructSection.enabled and "Connect" in user.ui.reconstructSection.toolTip
    server.world.reconstructions = {}
    user.connect(server.url)
    assert not user.ui.reconstructSection.enabled
    assert "no model that reconstructs" in user.ui.reconstructSection.toolTip


def test_there_is_a_selector_for_each_input(ready: User, host: Host) -> None:
    inputs = ready.panel("ReconstructPanel").inputs
    assert list(selectors(ready)) == ["image"] and inputs._captions == {"image": "Image (MR)"}
    assert selectors(ready)["image"].currentNode() is ready.module.widget.shared.volume, "the study"
    choose(ready, FUSION)
    assert inputs._captions == {"image": "Image (CT)", "second": "Second (PET)"}
    assert selectors(ready)["image"].currentNode() is ready.module.widget.shared.volume, "it stays chosen"
    assert not ready.ui.reconstructButton.enabled
    assert "Choose a volume for 'Second (PET)'" in ready.ui.reconstructButton.toolTip
    pet = ready.module.python.add_phantom("PET")
    selectors(ready)["second"].setCurrentNode(pet)
    assert ready.ui.reconstructButton.enabled
    selectors(ready)["image"].setCurrentNode(pet)
    assert "chosen twice" in ready.ui.reconstructButton.toolTip and not ready.ui.reconstructButton.enabled


def test_the_first_input_follows_the_study(ready: User, server: Any, host: Host) -> None:
    mine = ready.module.python.add_phantom("mine")
    selectors(ready)["image"].setCurrentNode(mine)
    reconstruct_tip = ready.ui.reconstructButton.toolTip
    assert selectors(ready)["image"].currentNode() is mine, "the user's choice stands for this study"
    server.world.labels["case_1"] = b""
    ready.take_next()
    assert selectors(ready)["image"].currentNode().GetName() == "case_2"
    assert ready.ui.reconstructButton.enabled, reconstruct_tip


def test_connecting_again_chooses_the_study_again(ready: User, server: Any) -> None:
    ready.module.widget.logic.workflow.disconnect()
    ready.connect(server.url)
    assert selectors(ready)["image"].currentNode() is ready.module.widget.shared.volume


def test_why_it_cannot_be_pressed(user: User, server: Any) -> None:
    assert "Connect" in user.ui.reconstructButton.toolTip and not user.ui.reconstructButton.enabled
    assert "nothing to undo" in user.ui.undoReconstructionButton.toolTip
    user.connect(server.url)
    assert "Choose a volume first" in user.ui.reconstructButton.toolTip


def test_options_are_the_servers_and_are_kept(ready: User, server: Any) -> None:
    form = ready.panel("ReconstructPanel").form
    assert list(form.fields) == ["scale", "strength"] and form.values() == {"scale": "2x", "strength": 0.0}
    reconstruct(ready, strength=0.35)
    sent = server.world.infer_params[-1]
    assert (sent["scale"], sent["strength"], sent["result_extension"]) == ("2x", 0.35, ".zip")
    assert '"strength": 0.35' in ready.module.widget.shared.parameters.options
    choose(ready, FUSION)
    assert ready.module.widget.shared.parameters.reconstructionModel == FUSION
    choose(ready, FINER)
    assert form.values()["strength"] == 0.35


# Consent


def test_two_volumes_are_sent_after_one_question(ready: User, server: Any, host: Host) -> None:
    choose(ready, FUSION)
    for name in ("image", "second"):
        selectors(ready)[name].setCurrentNode(ready.module.python.add_phantom(f"{name}^Smith"))
    host.desk.answers = ["Do not send"]
    assert reconstruct(ready) is None
    ready.until(lambda: "Nothing was sent" in ready.says, "the refusal")
    assert server.world.received == []
    host.desk.answers = ["Send"]
    assert reconstruct(ready).altered
    assert len(host.desk.shown) == 2 and "image^Smith, second^Smith" in host.desk.shown[-1]
    assert "these volumes" in host.desk.shown[-1]


# The result


def test_the_result_is_shown_with_how_far_it_can_be_trusted(ready: User) -> None:
    made = reconstruct(ready)
    assert shows(ready, "reconstructionFrame")
    assert {layers(view) for view in ("Red", "Green", "Yellow")} == {(made.image, "", 0.0)}
    assert "<b>Averaged back, it equals what was measured to 3e-7.</b>" in ready.ui.consistencyLabel.text
    assert not shows(ready, "warningsLabel")
    assert ready.ui.uncertaintyLabel.text == f"at most {made.largest:.3g} in the image's own units"
    made = reconstruct(ready, strength=0.5)
    assert "a GAN added what was not measured" in ready.ui.consistencyLabel.text
    assert "marked as altered" in ready.ui.consistencyLabel.text
    assert "fine detail may be invented" in ready.ui.warningsLabel.text and shows(ready, "warningsLabel")


def test_words_from_the_server_cannot_be_markup(ready: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedGANLib.testing import server as testing

    right = testing.make_reconstruction
    evil = (b"Averaged back", b"<img src=x>")
    monkeypatch.setattr(testing, "make_reconstruction", lambda *a: right(*a).replace(*evil).replace(b"fine d", b"<i>"))
    assert reconstruct(ready, strength=0.5) is None and "arrived damaged" in ready.says, "a bundle has check sums"
    monkeypatch.setattr(testing, "make_reconstruction", lambda *a: _with_words(right(*a), *evil))
    reconstruct(ready)
    assert "<img" not in ready.ui.consistencyLabel.text and "&lt;img" in ready.ui.consistencyLabel.text


def _with_words(bundle: bytes, old: bytes, new: bytes) -> bytes:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    return stream.getvalue()


def test_before_and_after_side_by_side(ready: User) -> None:
    made = reconstruct(ready)
    yellow = plane("Yellow")
    ready.ui.viewBox.currentIndex = BESIDE
    assert layout() == SIDE_BY_SIDE
    assert layers("Red") == (made.inputs["image"], "", 0.0) and layers("Yellow") == (made.image, "", 0.0)
    assert plane("Yellow") == pytest.approx(plane("Red")) and plane("Yellow") != pytest.approx(yellow), "the same plane"
    linked = [
        slicer.app.layoutManager().sliceWidget(view).sliceLogic().GetSliceCompositeNode().GetLinkedControl()
        for view in ("Red", "Yellow")
    ]
    assert linked == [1, 1]
    ready.ui.viewBox.currentIndex = RESULT
    assert layout() == FOUR_UP and plane("Yellow") == pytest.approx(yellow)
    assert layers("Yellow")[0] == layers("Red")[0] == made.image


def test_a_layout_that_the_user_chose_meanwhile_stays(ready: User) -> None:
    reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    three = slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    slicer.app.layoutManager().setLayout(three)
    ready.ui.viewBox.currentIndex = RESULT
    assert layout() == three


def test_blend(ready: User) -> None:
    made = reconstruct(ready)
    assert not shows(ready, "blendSlider")
    ready.ui.viewBox.currentIndex = BLEND
    assert shows(ready, "blendSlider") and layers("Green") == (made.inputs["image"], made.image, 0.5)
    ready.ui.blendSlider.value = 0.8
    assert {layers(view) for view in ("Red", "Green", "Yellow")} == {(made.inputs["image"], made.image, 0.8)}
    ready.ui.viewBox.currentIndex = BESIDE
    ready.ui.viewBox.currentIndex = BLEND
    assert layout() == FOUR_UP


def test_uncertainty_over_the_image(ready: User, host: Host) -> None:
    made = reconstruct(ready)
    assert not shows(ready, "opacitySlider")
    ready.ui.uncertaintyBox.checked = True
    assert shows(ready, "opacitySlider") and layers("Red") == (made.image, made.uncertainty, 0.6)
    display = host.scene.GetNodeByID(made.uncertainty).GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.1 * made.usual, rel=0.1)
    ready.ui.thresholdSlider.value = made.usual
    ready.ui.opacitySlider.value = 0.3
    assert display.GetLowerThreshold() == pytest.approx(made.usual, rel=0.01) and layers("Red")[2] == 0.3
    assert display.GetUpperThreshold() >= made.largest, "the largest is never hidden"
    ready.ui.viewBox.currentIndex = BESIDE
    assert layers("Red") == (made.inputs["image"], "", 0.0) and layers("Yellow")[1] == made.uncertainty
    ready.ui.viewBox.currentIndex = BLEND
    assert not ready.ui.uncertaintyBox.enabled and "Choose another view" in ready.ui.uncertaintyBox.toolTip
    assert layers("Red")[1] == made.image and not shows(ready, "opacitySlider")
    ready.ui.viewBox.currentIndex = RESULT
    ready.ui.uncertaintyBox.checked = False
    assert layers("Red") == (made.image, "", 0.0)


def test_with_which_input_it_is_compared(ready: User, host: Host) -> None:
    choose(ready, FUSION)
    pet = ready.module.python.add_phantom("PET")
    selectors(ready)["second"].setCurrentNode(pet)
    host.desk.answers = ["Send"]
    made = reconstruct(ready)
    assert not shows(ready, "compareBox"), "the result alone is shown"
    ready.ui.viewBox.currentIndex = BESIDE
    assert shows(ready, "compareBox")
    assert [ready.ui.compareBox.itemText(i) for i in (0, 1)] == ["Image (case_1)", "Second (PET)"]
    ready.ui.compareBox.currentIndex = 1
    assert layers("Red")[0] == pet.GetID() and layers("Yellow")[0] == made.image


def test_views_say_what_they_show(ready: User, host: Host) -> None:
    def words() -> list[str]:
        views = [slicer.app.layoutManager().sliceWidget(name).sliceView() for name in ("Red", "Yellow")]
        return [view.cornerAnnotation().GetText(7) or "" for view in views]

    reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    assert words() == ["", "RECONSTRUCTED"]
    ready.ui.viewBox.currentIndex = BLEND
    assert words() == ["RECONSTRUCTED", "RECONSTRUCTED"]
    reconstruct(ready, strength=1.0)
    assert words() == ["ALTERED", "ALTERED"]
    ready.ui.viewBox.currentIndex = BESIDE
    assert words() == ["", "ALTERED"]


# Undo, other studies, leaving


def test_undo(ready: User, host: Host) -> None:
    study = ready.module.widget.shared.volume.GetID()
    first = reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    ready.ui.uncertaintyBox.checked = True
    second = reconstruct(ready, strength=0.5)
    assert layers("Yellow")[:2] == (second.image, second.uncertainty), "the same view of the new result"
    ready.press("undoReconstructionButton")
    assert layers("Yellow")[0] == first.image and "marked as altered" not in ready.ui.consistencyLabel.text
    ready.press("undoReconstructionButton")
    assert layout() == FOUR_UP and layers("Red") == (study, "", 0.0)
    assert not ready.ui.undoReconstructionButton.enabled and not shows(ready, "reconstructionFrame")
    assert [v.GetName() for v in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["case_1"]


def test_another_study_takes_over_the_views(ready: User, server: Any) -> None:
    reconstruct(ready)
    ready.ui.viewBox.currentIndex = BLEND
    server.world.labels["case_1"] = b""
    ready.take_next()
    study = ready.module.widget.shared.volume
    assert study.GetName() == "case_2"
    assert {layers(view) for view in ("Red", "Green", "Yellow")} == {(study.GetID(), "", 0.0)}
    assert ready.ui.viewBox.currentIndex == RESULT and layout() == FOUR_UP


def test_a_result_that_the_user_removed(ready: User, host: Host) -> None:
    made = reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    host.scene.RemoveNode(host.scene.GetNodeByID(made.image))
    ready.ui.blendSlider.value = 0.1
    ready.module.exit()
    ready.module.enter()
    assert not shows(ready, "reconstructionFrame") and layout() == FOUR_UP
    reconstruct(ready)
    assert shows(ready, "reconstructionFrame")


def test_closing_the_scene(ready: User, server: Any, host: Host) -> None:
    reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    host.scene.Clear(0)
    ready.host.process(50)
    assert layout() == FOUR_UP and not shows(ready, "reconstructionFrame")
    assert not ready.ui.reconstructButton.enabled and not ready.ui.undoReconstructionButton.enabled
    assert selectors(ready)["image"].currentNode() is None
    ready.take_next()
    made = reconstruct(ready)
    assert layers("Red")[0] == made.image


def test_unloading_the_module_gives_the_views_back(ready: User) -> None:
    reconstruct(ready)
    ready.ui.viewBox.currentIndex = BESIDE
    ready.module.widget.cleanup()
    assert layout() == FOUR_UP


# When it goes wrong


def test_cancel_while_it_runs(ready: User, server: Any) -> None:
    server.world.infer_seconds = 20.0
    ready.longest_gap = 0.0
    ready.press("reconstructButton")
    ready.until(lambda: any("/infer/" in r for r in server.world.requests), "the request")
    assert ready.ui.cancelButton.enabled and not ready.ui.reconstructButton.enabled
    assert "Busy" in ready.ui.reconstructButton.toolTip
    ready.press("cancelButton")
    ready.idle(3)
    ready.until(lambda: any(r.startswith("DELETE /jobs/") for r in server.world.requests), "the cancel at the server")
    assert ready.state.reconstruction is None and ready.ui.reconstructButton.enabled
    assert ready.longest_gap < 0.6, "the interface stood still"


def test_a_refusal_is_shown(ready: User, server: Any) -> None:
    from MedGANLib.testing.world import Refusal

    server.world.trouble["/infer"] = Refusal(422, "cannot_process", "It is too small.", "Give a larger one.")
    assert reconstruct(ready) is None
    assert "It is too small." in ready.says and "Give a larger one." in ready.says
    server.world.trouble.clear()
    assert reconstruct(ready) is not None


def test_a_result_without_uncertainty(ready: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedGANLib.testing import server as testing

    right = testing.make_reconstruction
    words = (b'"name": "uncertainty"', b'"name": "other"')
    monkeypatch.setattr(testing, "make_reconstruction", lambda *a: _with_words(right(*a), *words))
    made = reconstruct(ready)
    assert made.uncertainty == "" and not ready.ui.uncertaintyBox.enabled
    assert not shows(ready, "uncertaintyLabel") and layers("Red") == (made.image, "", 0.0)

"""The stand-ins are strict: what PythonQt or Slicer would refuse is refused here."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import slicer

from tests.host import Host, dialogs, install


@pytest.fixture
def qt(host: Host) -> Any:
    import qt

    return qt


def test_properties_are_attributes(qt: Any) -> None:
    button = qt.QPushButton("Run")
    assert button.text == "Run"
    button.enabled = False
    assert not button.enabled
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(TypeError):
        button.width()


def test_unknown_attributes_are_refused(qt: Any) -> None:
    button = qt.QPushButton("Run")
    with pytest.raises(AttributeError, match="no attribute named 'caption'"):
        _ = button.caption
    with pytest.raises(AttributeError, match="creating new attributes on C"):
        button.myData = 1
    with pytest.raises(AttributeError, match="does not accept"):
        button.text = 5
    with pytest.raises(AttributeError, match="does not accept"):
        button.enabled = "yes"


def test_unknown_classes_are_refused(qt: Any, host: Host) -> None:
    import ctk

    with pytest.raises(AttributeError):
        _ = qt.QWebEngineView
    with pytest.raises(AttributeError):
        _ = ctk.ctkNoSuchWidget
    with pytest.raises(AttributeError):
        _ = slicer.qMRMLNoSuchWidget
    with pytest.raises(AttributeError):
        _ = slicer.app.noSuchThing
    with pytest.raises(ImportError):
        importlib.import_module("slicer.noSuchPackage")


def test_enumerators_are_plain(qt: Any) -> None:
    assert qt.Qt.AlignRight | qt.Qt.AlignVCenter
    with pytest.raises(AttributeError):
        _ = qt.Qt.AlignmentFlag
    with pytest.raises(AttributeError):
        _ = qt.Qt.AlignSomewhere


def test_signals_by_signature(qt: Any) -> None:
    button, heard = qt.QPushButton("Run"), []
    button.connect("clicked()", lambda: heard.append("plain"))
    button.connect("clicked(bool)", lambda checked: heard.append(checked))
    button.clicked.connect(lambda: heard.append("attribute"))
    button.click()
    assert heard == ["plain", False, "attribute"]
    for wrong in ("pressed(int)", "click()", "clicked"):
        with pytest.raises(ValueError, match="has no signal"):
            button.connect(wrong, print)
    with pytest.raises(ValueError, match="not callable"):
        button.connect("clicked()", None)


def test_signals_can_be_disconnected(qt: Any) -> None:
    button, heard = qt.QPushButton("Run"), []

    def slot() -> None:
        heard.append(1)

    button.connect("clicked()", slot)
    assert button.disconnect("clicked()", slot)
    button.click()
    assert heard == []


def test_keywords_and_subclasses_are_refused(qt: Any) -> None:
    with pytest.raises(TypeError):
        qt.QPushButton(text="Run")
    with pytest.raises(TypeError, match="does not support subclassing"):

        class Mine(qt.QPushButton):  # type: ignore[misc]
            pass


def test_members_newer_than_pythonqt_are_refused(qt: Any) -> None:
    widget = qt.QWidget()
    layout = qt.QFormLayout(widget)
    with pytest.raises(AttributeError, match="removeRow"):
        layout.removeRow(0)


def test_errors_inside_slots_are_kept(qt: Any, host: Host) -> None:
    button = qt.QPushButton("Run")
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in host.slot_errors[0]
    host.slot_errors.clear()


def test_qt_warnings_are_kept(qt: Any, host: Host) -> None:
    widget = qt.QWidget()
    qt.QVBoxLayout(widget)
    qt.QVBoxLayout(widget)
    assert "already has a layout" in host.slot_errors[0]
    host.slot_errors.clear()


def test_unexpected_dialogs_are_errors(qt: Any, host: Host) -> None:
    with pytest.raises(dialogs.UnexpectedDialog):
        slicer.util.errorDisplay("boo") or slicer.util.confirmYesNoDisplay("really?")
    host.desk.answers = ["Perhaps"]
    with pytest.raises(dialogs.UnexpectedDialog, match="no button 'Perhaps'"):
        slicer.util.confirmYesNoDisplay("really?")
    host.desk.answers = ["Yes"]
    assert slicer.util.confirmYesNoDisplay("really?")


def test_unknown_widgets_in_a_file_are_refused(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "a.ui"
    file.write_text('<ui version="4.0"><class>A</class><widget class="ctkMagicBox" name="A"/></ui>')
    with pytest.raises(ValueError, match="ctkMagicBox"):
        slicer.util.loadUI(str(file))


def test_node_combo_box_follows_the_scene(host: Host) -> None:
    combo, heard = slicer.qMRMLNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    combo.setMRMLScene(host.scene)
    assert combo.currentNode() is None
    first = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
    host.scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    assert combo.currentNode() is first
    assert combo.nodeCount() == 1
    host.scene.RemoveNode(first)
    assert combo.currentNode() is None
    assert heard == [first, None]


def test_parameter_node_is_typed_and_kept(host: Host, module: Any) -> None:
    parameters = module.widget.logic.getParameterNode()
    volume = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "v")
    parameters.volume, parameters.model = volume, "x"
    again = module.widget.logic.getParameterNode()
    assert again.volume is volume
    assert again.model == "x"
    with pytest.raises(TypeError):
        parameters.model = 3
    with pytest.raises(TypeError):
        parameters.volume = host.scene.AddNewNodeByClass("vtkMRMLModelNode", "m")


def test_it_leaves_no_trace(tmp_path: Path) -> None:
    before = set(dir(slicer))
    host = install(tmp_path)
    with pytest.raises(RuntimeError, match="installed already"):
        install(tmp_path)
    host.load_module().unload()
    host.close()
    left = set(dir(slicer)) - before
    assert not left, left
    assert not {"qt", "ctk", "MedGAN", "SampleData"} & set(sys.modules)

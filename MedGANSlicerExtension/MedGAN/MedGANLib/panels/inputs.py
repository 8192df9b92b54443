"""The images that a model needs: one selector for each, with the modality in its caption, or a file of k-space."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Sequence

import qt
import slicer

from .kspace_field import KSpaceField


class InputsForm:
    """Rows of volume selectors; the first one follows the study."""

    def __init__(self, frame: Any, changed: Callable[[], None]) -> None:
        """Draws into `frame`; `changed` is called when another volume is chosen."""
        self._changed = changed
        self._frame_layout = qt.QVBoxLayout(frame)
        self._frame_layout.setContentsMargins(0, 0, 0, 0)
        self._rows: Any = None
        self._captions: Dict[str, str] = {}
        self._fields: Dict[str, KSpaceField] = {}
        self._followed = ""
        self.selectors: Dict[str, Any] = {}

    def draw(self, names: Sequence[str], inputs: Sequence[Mapping[str, Any]]) -> None:
        """Draws the selectors of another model; volumes and files stay chosen where a name is the same.

        Args:
            names: The inputs' names.
            inputs: What the server says of them: `name`, `modality`, perhaps `kspace`.
        """
        chosen, files = self._volumes(), self.files()
        modalities = {str(entry.get("name")): str(entry.get("modality") or "") for entry in inputs}
        measured = {str(entry.get("name")) for entry in inputs if entry.get("kspace")}
        layout = self._make_rows()
        self._captions = {name: caption(name, modalities.get(name, "")) for name in names}
        self.selectors = {name: self._make_selector(self._captions[name]) for name in names}
        self._fields = {}
        for name, selector in self.selectors.items():
            title = qt.QLabel(self._captions[name])
            title.setBuddy(selector)
            layout.addRow(title, selector)
            selector.setCurrentNode(chosen.get(name))
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._node_changed)
            if name in measured:
                self._fields[name] = KSpaceField(layout, self._file_changed, files.get(name))
        self._allow_selectors()
        if not self._volumes():
            self._followed = ""

    def follow(self, volume: Any) -> None:
        """Chooses the study's volume as the first input, once for each study: the user can choose another one.

        A file of k-space belongs to the study before, and is let go of.
        """
        study = volume.GetID() if volume else ""
        if study != self._followed and self.selectors:
            self._followed = study
            self._let_go_of_files()
            next(iter(self.selectors.values())).setCurrentNode(volume)

    def nodes(self) -> Dict[str, Any]:
        """Returns the volumes that count, by the input's name; inputs without one, or with a file, are absent."""
        return {name: node for name, node in self._volumes().items() if name not in self.files()}

    def files(self) -> Dict[str, Any]:
        """Returns the chosen files of k-space, by the input's name."""
        return {name: field.file for name, field in self._fields.items() if field.file is not None}

    def chosen(self) -> Dict[str, Any]:
        """Returns what the model is to run on, by the input's name: volumes, and files of k-space."""
        return {**self.nodes(), **self.files()}

    def _volumes(self) -> Dict[str, Any]:
        chosen = {name: selector.currentNode() for name, selector in self.selectors.items()}
        return {name: node for name, node in chosen.items() if node is not None}

    def missing(self) -> str:
        """Returns what is still to be chosen, or nothing."""
        nodes, chosen = self.nodes(), self.chosen()
        for name, text in self._captions.items():
            if name not in chosen:
                return f"Choose a volume for '{text}' first." if len(self._captions) > 1 else "Choose a volume first."
        same = len({node.GetID() for node in nodes.values()}) < len(nodes)
        return "Choose different volumes: one is chosen twice." if same else ""

    def forget_scene(self) -> None:
        """Lets go of all nodes and files; called when the scene is closed."""
        self._followed = ""
        self._let_go_of_files()
        for selector in self.selectors.values():
            selector.setCurrentNode(None)

    def _node_changed(self, node: Any) -> None:
        self._changed()

    def _file_changed(self) -> None:
        self._allow_selectors()
        self._changed()

    def _allow_selectors(self) -> None:
        """A volume in whose place a file counts cannot be chosen."""
        for name, selector in self.selectors.items():
            selector.enabled = name not in self.files()

    def _let_go_of_files(self) -> None:
        for field in self._fields.values():
            field.forget()

    def _make_rows(self) -> Any:
        if self._rows is not None:
            self._frame_layout.removeWidget(self._rows)
            self._rows.hide()
            self._rows.deleteLater()
        self._rows = qt.QWidget()
        layout = qt.QFormLayout(self._rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
        self._frame_layout.addWidget(self._rows)
        return layout

    @staticmethod
    def _make_selector(text: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.noneEnabled = True
        selector.addEnabled = selector.removeEnabled = False
        selector.noneDisplay = "choose a volume"
        selector.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        when = "it is sent when you run the model, once you have agreed, unless it is the server's own"
        selector.toolTip = f"{text}: {when}"
        selector.setMRMLScene(slicer.mrmlScene)
        return selector


def caption(name: str, modality: str) -> str:
    """Returns an input's name for people: `Image (MR)`."""
    title = name.replace("_", " ").capitalize()
    return f"{title} ({modality})" if modality else title

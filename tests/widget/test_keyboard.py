"""The panel without a mouse and without colours: mnemonics, the way of the Tab key, names for screen readers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from detecting import detect, opened

from tests.host.user import User

MODULE = Path(__file__).resolve().parents[2] / "MedGANSlicerExtension" / "MedGAN"
MENUS = {"File": "F", "Edit": "E", "View": "V", "Help": "H"}
"""Slicer's menus, whose letters belong to them wherever the focus is."""
SILENT = {"QWidget", "QLabel", "QFrame", "QProgressBar", "qMRMLWidget"}
"""Widgets that take no focus."""
SPEAKING = {"QPushButton", "QToolButton", "QCheckBox", "ctkCollapsibleButton"}
"""Widgets whose text is their name."""


def _ui() -> ElementTree.Element:
    return ElementTree.parse(MODULE / "Resources" / "UI" / "MedGAN.ui").getroot()


def _widgets() -> list[tuple[str, str, dict[str, str]]]:
    found = []
    for widget in _ui().iter("widget"):
        texts = {str(p.get("name")): "".join(p.itertext()).strip() for p in widget.findall("property")}
        found.append((str(widget.get("class")), str(widget.get("name")), texts))
    return found


def _controls() -> list[tuple[str, str, dict[str, str]]]:
    return [(kind, name, texts) for kind, name, texts in _widgets() if kind not in SILENT]


def _mnemonics() -> Iterator[tuple[str, str]]:
    """Returns letter and text of all of MedGAN.ui and of the panels."""
    texts = [text.get("text", "") for _, _, text in _widgets()]
    for path in sorted((MODULE / "MedGANLib" / "panels").glob("*.py")):
        texts += re.findall(r'"([^"\n]*&[A-Za-z][^"\n]*)"', path.read_text(encoding="utf-8"))
    for text in texts:
        for letter in re.findall(r"(?<!&)&([A-Za-z])(?!\w*;)", text):
            yield letter.upper(), text


def test_mnemonics_are_neither_slicers_nor_twice() -> None:
    found = list(_mnemonics())
    assert len(found) > 10
    assert not [text for letter, text in found if letter in MENUS.values()]
    for letter in {letter for letter, _ in found}:
        texts = {text for other, text in found if other == letter}
        assert len(texts) == 1 or texts == {"S&tart training", "Queue &training"}, texts


def test_tab_comes_to_every_control_in_the_order_of_the_panel() -> None:
    stops = [stop.text for stop in _ui().iter("tabstop")]
    assert stops == [name for _, name, _ in _controls()]


def test_tab_leaves_tables() -> None:
    for kind, name, texts in _controls():
        assert kind != "QTableWidget" or texts["tabKeyNavigation"] == "false", name


def test_every_control_has_a_name_and_a_tool_tip() -> None:
    buddies = {texts["buddy"] for _, _, texts in _widgets() if "buddy" in texts}
    for kind, name, texts in _controls():
        assert texts.get("toolTip"), name
        assert name in buddies or texts.get("accessibleName") or (kind in SPEAKING and texts.get("text")), name


def test_translators_do_not_see_what_is_no_text() -> None:
    for entry in _ui().iter("property"):
        if entry.get("name") in ("styleSheet", "nodeTypes", "settingKey"):
            assert entry[0].get("notr") == "true", "".join(entry.itertext()).strip()


def _chain(user: User) -> list[Any]:
    first = user.ui.serverSection
    chain, widget = [first], first.nextInFocusChain()
    while widget is not first and widget._qt is not first._qt:
        chain.append(widget)
        widget = widget.nextInFocusChain()
    return [widget._qt for widget in chain]


def test_tab_comes_to_options_inputs_and_labels_in_their_place(user: User, server: Any) -> None:
    user.connect(server.url)
    user.take_next()
    user.run()
    chain, ui = _chain(user), user.ui
    options = user.panel("RunPanel").form
    order = [ui.modelBox, options.field("smoothing").widget, options.field("tiles").widget, ui.runButton]
    order += list(user.panel("ClicksPanel").buttons.values())
    order += [ui.scribbleBox, ui.reconstructionModelBox]
    order += [user.panel("ReconstructPanel").form.field("strength").widget.findChildren(_spin_box())[0]]
    order += [ui.reconstructButton]
    places = [chain.index(widget._qt) for widget in order]
    assert places == sorted(places)


def _spin_box() -> Any:
    import qt

    return qt.QDoubleSpinBox


def test_messages_do_not_speak_by_colour_alone(user: User, server: Any) -> None:
    from tests.host import fake_server

    user.connect(fake_server.closed_port())
    assert "✗" in user.ui.messageLabel.text
    user.connect(server.url)
    assert "✓" in user.ui.messageLabel.text


def test_enter_shows_a_finding(user: User, server: Any) -> None:
    shown: list[Any] = []
    detect(opened(user, server))
    user.panel("FindingsPanel")._pointer.point_at = shown.append
    user.ui.findingsTable._qt.cellActivated.emit(0, 0)
    assert len(shown) == 1

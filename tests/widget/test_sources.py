"""What the extension's files may import, and that old Slicer Pythons can read them; that the build files name them."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedGANSlicerExtension" / "MedGAN"
SOURCES = sorted([MODULE / "MedGAN.py", *(MODULE / "MedGANLib").rglob("*.py")])
IN_SLICER = {"slicer", "vtk", "numpy", "qt", "ctk", "SampleData", "MedGANLib"}
NO_SLICER = ("client.py", "jobs.py", "errors.py", "records.py", "cancel.py", "signals.py", "transport.py")


def _imports(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def _id(path: Path) -> str:
    return str(path.relative_to(MODULE))


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_reads_in_python_3_9(path: Path) -> None:
    """Syntax of 3.9, and no `X | Y` outside annotations that are never evaluated."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    postponed = "from __future__ import annotations" in text
    unions = [n for n in ast.walk(tree) if isinstance(n, ast.AnnAssign | ast.arg | ast.FunctionDef)]
    assert postponed or not any(" | None" in ast.unparse(n).split("\n")[0] for n in unions)
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Match)]


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_imports_only_what_slicer_has(path: Path) -> None:
    """Standard library, numpy, and what Slicer ships; never torch, monai, requests, the server or the trainers."""
    assert _imports(ast.parse(path.read_text(encoding="utf-8"))) <= set(sys.stdlib_module_names) | IN_SLICER


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_only_panels_and_module_touch_qt(path: Path) -> None:
    used = _imports(ast.parse(path.read_text(encoding="utf-8")))
    if "panels" not in path.parts and path.name != "MedGAN.py":
        assert not used & {"qt", "ctk"}
    if path.name in NO_SLICER and path.parent.name == "MedGANLib":
        assert not used & {"slicer", "vtk"}


def test_every_widget_of_the_panels_is_in_the_file() -> None:
    """Names that the panels use as `ui.name` exist in MedGAN.ui, and every named control of it is used."""
    names = {w.get("name") for w in ElementTree.parse(MODULE / "Resources/UI/MedGAN.ui").iter("widget")}
    text = "".join(p.read_text(encoding="utf-8") for p in SOURCES if "panels" in p.parts or p.name == "MedGAN.py")
    used = set(re.findall(r"(?:\b|_)ui\.(\w+)", text)) | set(re.findall(r'"(\w+Section)"', text))
    assert used <= names
    controls = {n for n in names if n and n.endswith(("Button", "Box", "Selector", "Edit", "Spin", "Bar", "Table"))}
    assert controls <= used, "a control that nothing listens to"


def test_every_button_says_what_it_does() -> None:
    for widget in ElementTree.parse(MODULE / "Resources/UI/MedGAN.ui").iter("widget"):
        if widget.get("class") in (
            "QPushButton",
            "QToolButton",
            "QComboBox",
            "qMRMLNodeComboBox",
            "QLineEdit",
            "QSpinBox",
        ):
            tips = [p for p in widget.findall("property") if p.get("name") == "toolTip"]
            assert tips, f"{widget.get('name')} has no tool tip"


def test_tab_order_follows_the_eye() -> None:
    tree = ElementTree.parse(MODULE / "Resources/UI/MedGAN.ui")
    stops = [t.text for t in tree.iter("tabstop")]
    inputs = [w.get("name") for w in tree.iter("widget") if w.get("name") in stops]
    assert set(stops) == set(inputs)
    assert stops[2:6] == ["serverSection", "addressBox", "connectButton", "accessButton"]


def test_extension_description_is_complete() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for key in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf"set\(EXTENSION_{key} \S", text), key
    for url in re.findall(r"https://raw\.githubusercontent\.com/medgan/MedGAN/main/(\S+?)[\s\"]", text):
        assert (ROOT / url).is_file(), f"{url} is not in the repository"


def test_catalogue_entry() -> None:
    entry = json.loads((ROOT / "MedGAN.json").read_text(encoding="utf-8"))
    required = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}
    assert set(entry) == required
    assert entry["scm_url"] in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_icon_is_128_pixels() -> None:
    data = (MODULE / "Resources/Icons/MedGAN.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [128, 128]

"""Arrows: MedGANSlicerExtension -> HTTP -> monailabel_app -> trainers -> MONAI, torch. Never the other way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SLICER_SIDE = "MedGANSlicerExtension"
HOUSES = {"trainers", "monailabel_app", "demo", "benchmarks", "tests", "MedGANLib", "MedGAN"}
ALLOWED = {
    "trainers": {"trainers"},
    "monailabel_app": {"monailabel_app", "trainers"},
    SLICER_SIDE: {"MedGANLib", "MedGAN"},
    "demo": {"demo", "trainers", "MedGANLib"},
    "benchmarks": {"benchmarks", "demo", "monailabel_app", "trainers", "MedGANLib"},
}
FOREIGN = {
    "trainers": {"monailabel", "fastapi", "slicer", "qt", "ctk", "nilearn"},
    "monailabel_app": {"slicer", "qt", "ctk", "nilearn"},
    SLICER_SIDE: {"torch", "monai", "monailabel", "SimpleITK", "requests", "scipy", "nibabel", "matplotlib"},
    "demo": {"monailabel"},
    "benchmarks": set(),
}
NO_SLICER = ("client.py", "jobs.py", "transport.py", "records.py", "errors.py")


def imports(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def files(house: str) -> list[Path]:
    found = sorted(p for p in (ROOT / house).rglob("*.py") if "out" not in p.parts)
    assert found, house
    return found


@pytest.mark.parametrize("house", sorted(ALLOWED))
def test_arrows_point_one_way(house: str) -> None:
    for path in files(house):
        used = imports(path)
        assert not (used & HOUSES) - ALLOWED[house], f"{path} imports {(used & HOUSES) - ALLOWED[house]}"
        assert not used & FOREIGN[house], f"{path} imports {used & FOREIGN[house]}"


def test_the_client_needs_nothing_of_slicer() -> None:
    folder = ROOT / SLICER_SIDE / "MedGAN" / "MedGANLib"
    for name in NO_SLICER:
        assert not imports(folder / name) & {"slicer", "vtk", "qt", "ctk", "numpy"}, name


def test_a_wrong_arrow_would_be_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from monailabel_app.server import app\n")
    assert imports(bad) == {"monailabel_app"}


def test_the_library_loads_without_the_server_and_slicer() -> None:
    code = (
        "import sys, trainers.__main__\n"
        "bad = {'monailabel', 'slicer', 'vtk', 'nilearn'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_shipped_files_are_small_and_name_no_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    ).stdout
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size < 8 * 2**20, f"{name} is too large to ship"
        if path.suffix in {".py", ".md", ".json", ".toml", ".txt", ".html"}:
            for place in ("/" + "root/", "/" + "work/"):
                assert place not in path.read_text(encoding="utf-8"), f"{name} names a folder of one machine"

"""The build files, configured by the real CMake; Slicer's macros only write down what they are given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedGANSlicerExtension" / "MedGAN"
SLICER = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
"""
USE = """
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(GIVEN "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  file(WRITE ${CMAKE_BINARY_DIR}/scripts.txt "${GIVEN_SCRIPTS}")
  file(WRITE ${CMAKE_BINARY_DIR}/resources.txt "${GIVEN_RESOURCES}")
endfunction()
function(slicer_add_python_unittest)
  cmake_parse_arguments(GIVEN "" "SCRIPT" "" ${ARGN})
  file(WRITE ${CMAKE_BINARY_DIR}/test.txt "${GIVEN_SCRIPT}")
endfunction()
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_the_extension_packs_everything(tmp_path: Path) -> None:
    stub, build = tmp_path / "slicer", tmp_path / "build"
    stub.mkdir()
    for name, text in (("SlicerConfig.cmake", SLICER), ("use.cmake", USE), ("empty.cmake", "")):
        (stub / name).write_text(text)
    command = ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={stub}", "-DBUILD_TESTING=ON"]
    done = subprocess.run([*command, "-Wno-dev"], capture_output=True, text=True, encoding="utf-8", timeout=120)
    if "CMAKE_C_COMPILER" in done.stderr or "CMAKE_CXX_COMPILER" in done.stderr:
        pytest.skip("no compiler for CMake's project()")
    assert done.returncode == 0, done.stderr
    scripts = set((build / "scripts.txt").read_text(encoding="utf-8").split(";"))
    assert scripts == {"MedGAN.py"} | {str(p.relative_to(MODULE)) for p in (MODULE / "MedGANLib").rglob("*.py")}
    resources = (build / "resources.txt").read_text(encoding="utf-8").split(";")
    assert {MODULE / name for name in resources} == {p for p in (MODULE / "Resources").rglob("*.*") if p.is_file()}
    assert Path((build / "test.txt").read_text(encoding="utf-8")).resolve() == MODULE / "MedGAN.py"

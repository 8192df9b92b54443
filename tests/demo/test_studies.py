"""The demo removes nothing but its own files, and says when there are too few patients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.folder import FolderInUse, empty_folder
from demo.studies import DATA_VARIABLE, TooFewPatients, make_studies
from trainers.spec import SPEC_FILE, ModelSpec

ROOT = Path(__file__).parents[2]


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderInUse, match="--out"):
        empty_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("text")
    with pytest.raises(FolderInUse):
        empty_folder(tmp_path / "out")


def test_the_demos_own_folder_is_emptied(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    empty_folder(out)
    (out / "studies").mkdir()
    empty_folder(out)
    assert not (out / "studies").exists() and out.is_dir()


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    empty_folder(tmp_path)
    empty_folder(tmp_path)


def test_the_command_refuses_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    command = [sys.executable, "-m", "demo", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=90, check=False
    )
    assert done.returncode == 2 and "not the demo's" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "thesis.txt").is_file()


def patients(folder: Path, number: int) -> list[str]:
    """Makes empty files of that many hippocampus patients."""
    names = [f"hippocampus_{n:03}" for n in range(number)]
    for part in ("images", "labels"):
        (folder / "hippocampus" / part).mkdir(parents=True)
        for name in names:
            (folder / "hippocampus" / part / f"{name}.nii.gz").touch()
    return names


def test_too_few_patients_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    spec = ModelSpec("m", "segmentation", "M", "", {}, {}, training={"split": {"test": patients(tmp_path, 5)}})
    spec.save(tmp_path)
    with pytest.raises(TooFewPatients, match=r"needs 7 patients.*\(4 to correct, 3 held out\).*has 5") as caught:
        make_studies(tmp_path / "out", tmp_path, 4, 3)
    assert f"unset {DATA_VARIABLE}" in str(caught.value)
    assert json.loads((tmp_path / SPEC_FILE).read_text(encoding="utf-8")) and not (tmp_path / "out").exists()

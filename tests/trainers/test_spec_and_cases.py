"""Specs, weights, lists of cases, and finding models by name."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainers import zoo
from trainers.data.cases import Case, find_cases, hash_fraction, split_cases
from trainers.files import atomic_path, atomic_write_text
from trainers.networks import build
from trainers.recipes import RECIPES
from trainers.spec import (
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelNotAvailable,
    ModelSpec,
    load_weights,
    save_weights,
    weights_checksum,
)
from trainers.zoo import find_model


def test_a_spec_comes_back_as_it_was(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    tiny_spec.save(tmp_path)
    assert ModelSpec.load(tmp_path) == tiny_spec


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 99}', "not json"])
def test_a_bad_spec_is_an_unavailable_model(tmp_path: Path, text: str) -> None:
    (tmp_path / SPEC_FILE).write_text(text)
    with pytest.raises(ModelNotAvailable):
        ModelSpec.load(tmp_path)


def test_a_spec_of_a_later_format_is_refused(untrained: Path) -> None:
    """Though it has keys that this program does not know."""
    value = json.loads((untrained / SPEC_FILE).read_text(encoding="utf-8"))
    (untrained / SPEC_FILE).write_text(json.dumps({**value, "format": 99, "latent": 64}))
    with pytest.raises(ModelNotAvailable, match="format 99"):
        ModelSpec.load(untrained)


def test_weights_round_trip_with_shared_tensors(tmp_path: Path) -> None:
    """DynUNet knows its layers by two names; the file has each once and both names are filled."""
    network = build(RECIPES["hippocampus_segmentation"].spec.network).eval()
    save_weights(network, tmp_path / WEIGHTS_FILE)
    parameters = sum(p.numel() for p in network.parameters())
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 2.2 * parameters
    other = build(RECIPES["hippocampus_segmentation"].spec.network).eval()
    load_weights(other, tmp_path / WEIGHTS_FILE)
    image = torch.randn(1, 4, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(other(image), network(image), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("damage", ["missing", "cut", "other network", "not finite"])
def test_damaged_weights_are_an_error_never_random_output(tiny_spec: ModelSpec, untrained: Path, damage: str) -> None:
    path = untrained / WEIGHTS_FILE
    network = build(tiny_spec.network)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "other network":
        save_weights(build({**tiny_spec.network, "channels": [8, 16, 32]}), path)
    else:
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        save_weights(network, path)
    with pytest.raises(ModelNotAvailable):
        load_weights(build(tiny_spec.network), path)


def test_the_checksum_is_that_of_the_file(untrained: Path) -> None:
    before = weights_checksum(untrained)
    assert before.startswith("sha256:") and len(before) == 71
    with (untrained / WEIGHTS_FILE).open("ab") as stream:
        stream.write(b"x")
    assert weights_checksum(untrained) != before


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o007, 0o660)])
def test_new_files_obey_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """The umask that a program is started with, which is left as it was."""
    code = (
        "import os; from trainers.files import atomic_write_text; "
        f"atomic_write_text(r'{tmp_path}/a.txt', 'label'); assert os.umask(0) == {umask}"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, umask=umask, timeout=60, check=True)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "label.txt"
    path.write_text("old")
    path.chmod(0o640)
    atomic_write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_hidden_files_are_no_cases(ball_cases: list[Case], tmp_path: Path) -> None:
    """As copies from a Mac bring along, and unfinished writes."""
    for name in ("._p0.nii.gz", ".writing-x.nii.gz"):
        (tmp_path / "data" / "images" / name).touch()
    assert [c.id for c in find_cases(tmp_path / "data")] == [c.id for c in ball_cases]


def test_cases_are_pairs_and_missing_partners_are_named(ball_cases: list[Case], tmp_path: Path) -> None:
    assert [c.id for c in find_cases(tmp_path / "data")] == [c.id for c in ball_cases]
    ball_cases[2].label.unlink()
    with pytest.raises(FileNotFoundError, match=r"p2\.nii\.gz"):
        find_cases(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="images"):
        find_cases(tmp_path / "nowhere")


def test_the_split_is_by_patient_and_does_not_depend_on_order() -> None:
    cases = [Case(f"{patient}_{side}", Path(), Path()) for patient in range(30) for side in "LR"]
    one = split_cases(cases, 5, 6, lambda c: c.id.split("_")[0])
    two = split_cases(cases[::-1], 5, 6, lambda c: c.id.split("_")[0])
    patients = [{c.id.split("_")[0] for c in part} for part in (one.train, one.validation, one.test)]
    assert [len(p) for p in patients] == [19, 5, 6]
    assert not (patients[0] & patients[1] | patients[1] & patients[2] | patients[0] & patients[2])
    assert {c.id for c in one.test} == {c.id for c in two.test}


def test_hash_fractions_are_spread_and_stable() -> None:
    assert hash_fraction("hippocampus_001") == pytest.approx(0.5208, abs=1)
    assert hash_fraction("a") == hash_fraction("a") != hash_fraction("b")
    values = [hash_fraction(str(i)) for i in range(1000)]
    assert 0.45 < sum(v < 0.5 for v in values) / 1000 < 0.55


def test_models_are_found_by_name_folder_and_newest_version(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_MODELS", str(untrained.parents[1]))
    assert find_model("ball") == untrained
    assert find_model(str(untrained)) == untrained
    assert find_model(str(untrained.parent)) == untrained
    with pytest.raises(ModelNotAvailable, match="Known: ball"):
        find_model("cube")


@pytest.fixture
def here(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's folder of models with versions 2 and 10000 of the ball, whose version 1 ships."""
    monkeypatch.setattr(zoo, "SHIPPED", untrained.parents[1])
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(tmp_path / "server"))
    for version in ("v0002", "v9999", "v10000"):
        shutil.copytree(untrained, tmp_path / "server" / "ball" / version)
    return tmp_path / "server" / "ball"


def test_the_models_of_the_variable_come_before_those_that_ship(here: Path) -> None:
    assert find_model("ball") == here / "v10000"


@pytest.mark.parametrize("by", ["name", "folder"])
@pytest.mark.parametrize("version", ["v0001", "v0002"])
def test_the_version_that_serves_is_taken(here: Path, untrained: Path, by: str, version: str) -> None:
    """Also if it is the one that ships, and the server's folder has others."""
    atomic_write_text(here / "current", json.dumps({"version": version}))
    expected = untrained if version == "v0001" else here / "v0002"
    assert find_model("ball" if by == "name" else str(here)) == expected


def test_a_server_that_went_back_to_the_shipped_version_may_have_no_other(here: Path, untrained: Path) -> None:
    for folder in here.glob("v*"):
        shutil.rmtree(folder)
    (here / "current").write_text('{"version": "v0001"}')
    assert find_model("ball") == find_model(str(here)) == untrained


@pytest.mark.parametrize(("text", "message"), [('{"version": "v0007"}', "v0007"), ("{}", "damaged"), ("", "damaged")])
def test_a_version_that_is_not_there_is_not_replaced_by_another(here: Path, text: str, message: str) -> None:
    (here / "current").write_text(text)
    with pytest.raises(ModelNotAvailable, match=message):
        find_model("ball")

"""Making synthetic studies, looking through them, putting them in the scene, against the module's own test server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from MedGANLib import errors
from MedGANLib.exports import label_map
from MedGANLib.gallery import Gallery
from MedGANLib.headers import marks
from MedGANLib.marks import upload_params
from MedGANLib.scene import Scene
from MedGANLib.segments import LabelTable, segment_ids, segment_of
from MedGANLib.synthesising import place, take_out
from MedGANLib.testing import synthesis
from MedGANLib.testing.server import TestServer
from MedGANLib.testing.world import Refusal
from MedGANLib.volumes import affine, dimensions, is_synthetic, voxels
from MedGANLib.workflow import Workflow

from .clinic import Asked, fails, until
from .scenes import GRIDS, SHAPE, labels, names
from .synthetic import LABELS, make_gallery, make_sample

MODEL = synthesis.SYNTHESIS


def generate(studio: Workflow, **options: Any) -> Gallery:
    return studio.wait(studio.generate(MODEL, {"number": 3, "seed": 40, **options}), 10)


def label_voxels(segmentation: Any, volume: Any, values: dict[str, int]) -> np.ndarray:
    """Voxels (k, j, i) of a segmentation on the volume's grid, by label value."""
    return label_map(segmentation, volume, LabelTable(values)).array


def node_count(scene: Scene) -> int:
    return int(scene.mrml.GetNumberOfNodes())


def left_behind(studio: Workflow) -> list[str]:
    return [path.name for path in studio.folder.iterdir() if path.is_file()]


# Generating


def test_generate_sends_options_alone(studio: Workflow, served: TestServer, user: Asked) -> None:
    gallery = generate(studio, **{"class": "atrophy"})
    assert [(s.number, s.seed, s.class_name) for s in gallery.samples] == [
        (1, 40, "atrophy"),
        (2, 41, "atrophy"),
        (3, 42, "atrophy"),
    ]
    sent = served.world.infer_params[-1]
    assert {k: sent[k] for k in ("number", "seed", "class", "result_extension")} == {
        "number": 3,
        "seed": 40,
        "class": "atrophy",
        "result_extension": ".zip",
    }
    assert "mask" not in sent and served.world.received == [] and served.world.shapes == []
    assert user.requests == [], "nothing of a patient leaves, so nobody is asked"
    assert studio.state.gallery is gallery and studio.state.message.kind == "success"
    assert gallery.labels == {"anterior": 1, "posterior": 2} and gallery.version == "v0001"


def test_the_next_samples_take_the_place_of_the_earlier_ones(studio: Workflow) -> None:
    first = generate(studio)
    second = generate(studio, number=1, seed=9)
    assert studio.state.gallery is second and not first.samples[0].image.exists()
    assert len(left_behind(studio)) == 2, "image and label of the one sample"


def test_paging_stays_within_the_gallery(studio: Workflow) -> None:
    generate(studio)
    for wanted, index in ((1, 1), (2, 2), (3, 2), (-1, 0)):
        studio.look_at(wanted)
        assert studio.state.gallery.index == index and studio.state.gallery.current.seed == 40 + index


def test_judging(studio: Workflow) -> None:
    generate(studio)
    studio.judge(True)
    studio.judge(True, 3)
    assert [s.number for s in studio.state.gallery.waiting] == [1, 3]
    studio.judge(False)
    assert [s.number for s in studio.state.gallery.waiting] == [3]


def test_cancel_reaches_the_server_and_keeps_the_earlier_samples(studio: Workflow, served: TestServer) -> None:
    kept = generate(studio)
    files = sorted(left_behind(studio))
    served.world.infer_seconds = 20.0
    job = studio.generate(MODEL, {"seed": 1})
    until(studio, lambda: sum("/infer/" in r for r in served.world.requests) == 2)
    studio.cancel()
    fails(studio, job, errors.Cancelled, said="info")
    until(studio, lambda: any(r.startswith("DELETE /jobs/") for r in served.world.requests))
    assert studio.state.gallery is kept and sorted(left_behind(studio)) == files


def test_samples_that_come_after_the_scene_was_closed_are_not_kept(
    studio: Workflow, served: TestServer, scene: Scene
) -> None:
    served.world.infer_seconds = 0.3
    job = studio.generate(MODEL, {"number": 2})
    scene.mrml.Clear(0)
    fails(studio, job, errors.SceneProblem, "scene was closed")
    assert studio.state.gallery is None and left_behind(studio) == []
    served.world.infer_seconds = 0.0
    assert len(generate(studio).samples) == 3


def test_closing_the_scene_throws_the_samples_away(studio: Workflow, scene: Scene) -> None:
    generate(studio)
    studio.place_sample()
    scene.mrml.Clear(0)
    assert studio.state.gallery is None and not studio.is_placed(1) and left_behind(studio) == []
    assert not studio.take_out_sample() and studio.place_sample() is None


def test_samples_of_another_server_go(studio: Workflow) -> None:
    generate(studio)
    with TestServer() as another:
        studio.wait(studio.connect(another.url), 10)
    assert studio.state.gallery is None


def test_a_refusal_is_told_and_the_next_try_works(studio: Workflow, served: TestServer) -> None:
    served.world.trouble["/infer"] = Refusal(503, "no_weights", "The model has no weights.", "Install them.")
    fails(studio, studio.generate(MODEL), errors.ModelNotAvailable, "no weights")
    assert studio.state.message.hint == "Install them." and studio.state.gallery is None
    served.world.trouble.clear()
    assert generate(studio)


def test_a_model_that_needs_a_study_is_not_asked_for_samples(studio: Workflow, served: TestServer) -> None:
    fails(studio, studio.generate("hippocampus_segmentation"), errors.NotFound, "makes no synthetic images")
    fails(studio, studio.generate("unknown"), errors.NotFound, "no model")
    assert not any("/infer" in r for r in served.world.requests)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda parts: parts.clear(), "gave no samples"),
        (lambda parts: [part.pop("seed") for part in parts], "of what seed sample 1"),
    ],
)
def test_an_answer_that_cannot_be_used(
    studio: Workflow, monkeypatch: pytest.MonkeyPatch, spoil: Any, words: str
) -> None:
    dumps = synthesis.json.dumps

    def spoiled(document: dict[str, Any]) -> str:
        spoil(document["parts"])
        return dumps(document)

    monkeypatch.setattr(synthesis, "json", type("Json", (), {"dumps": staticmethod(spoiled)}))
    fails(studio, studio.generate(MODEL), errors.CannotProcess, words)
    assert left_behind(studio) == []


# In the scene


def test_a_sample_in_the_scene_is_exact_and_marked(studio: Workflow, scene: Scene) -> None:
    generate(studio)
    studio.look_at(1)
    placed = studio.place_sample()
    image, label, matrix = synthesis.make_sample(41, "healthy")
    assert np.array_equal(voxels(placed.volume), image) and voxels(placed.volume).dtype == image.dtype
    assert np.allclose(affine(placed.volume), matrix, atol=1e-6)
    assert names(placed.segmentation) == ["anterior", "posterior"]
    assert np.array_equal(label_voxels(placed.segmentation, placed.volume, synthesis.LABELS), label)
    for node in (placed.volume, placed.segmentation):
        assert node.GetName().startswith("SYNTHETIC – Hippocampus synthesis")
        marks = {name: node.GetAttribute(f"MedGAN.{name}") for name in ("Synthetic", "Model", "Version", "Seed")}
        assert marks == {"Synthetic": "true", "Model": MODEL, "Version": "v0001", "Seed": "41"}
    assert studio.place_sample().volume is placed.volume, "a second press adds no second copy"


@pytest.mark.parametrize("name", GRIDS)
def test_label_values_and_geometry_on_every_grid(scene: Scene, tmp_path: Path, name: str) -> None:
    """Slicer turns left-handed files round; image and label turn together."""
    sample = make_sample(tmp_path, GRIDS[name])
    before = node_count(scene)
    run = place(make_gallery(sample), sample, scene)
    segmentation = run.placements[0].segmentation
    values = {segment_of(segmentation, i).GetName(): segment_of(segmentation, i) for i in segment_ids(segmentation)}
    assert {n: segment.GetLabelValue() for n, segment in values.items()} == {"anterior": 3, "posterior": 7}
    noise = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    turned = -1 if np.linalg.det(GRIDS[name][:3, :3]) < 0 else 1
    assert np.array_equal(voxels(run.volume)[::turned], noise)
    assert np.array_equal(label_voxels(segmentation, run.volume, LABELS)[::turned], labels())
    assert run.volume.GetAttribute("MedGAN.Class") == "pneumonia"
    take_out(run, scene)
    assert node_count(scene) == before, "volume, segmentation and their display nodes are gone"


def test_a_flat_picture_without_label(scene: Scene, tmp_path: Path) -> None:
    array = np.arange(30, dtype=np.float32).reshape(1, 5, 6)
    sample = make_sample(tmp_path, np.diag([-0.5, -0.5, 1.0, 1.0]), array)
    run = place(make_gallery(sample), sample, scene)
    assert dimensions(run.volume) == (6, 5, 1) and np.array_equal(voxels(run.volume), array)
    assert run.placements == [] and is_synthetic(run.volume)


def test_a_label_on_another_grid_leaves_nothing_in_the_scene(scene: Scene, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, GRIDS["upright"])
    wrong = make_sample(tmp_path, GRIDS["oblique"], seed=6)
    before = node_count(scene)
    mixed = type(sample)(1, 5, sample.image, wrong.label, "", {"anterior": 3})
    with pytest.raises(errors.WrongGrid):
        place(make_gallery(mixed), mixed, scene)
    assert node_count(scene) == before


def test_take_out_in_one_step(studio: Workflow, scene: Scene) -> None:
    generate(studio)
    before = node_count(scene)
    studio.place_sample()
    assert studio.is_placed(1) and studio.take_out_sample()
    assert node_count(scene) == before and not studio.is_placed(1)
    assert "was taken out" in studio.state.message.text


def test_what_the_user_deleted_can_be_put_in_again(studio: Workflow, scene: Scene) -> None:
    generate(studio)
    scene.remove(studio.place_sample().volume)
    assert not studio.is_placed(1)
    assert scene.has(studio.place_sample().volume)


def test_a_damaged_file_is_told(studio: Workflow, scene: Scene) -> None:
    generate(studio).samples[0].image.write_bytes(b"no image")
    assert studio.place_sample() is None
    assert studio.state.message.kind == "error" and "cannot be read" in studio.state.message.text


# The mark goes with the volume


def test_submit_of_a_synthetic_volume_keeps_the_mark(studio: Workflow, served: TestServer, user: Asked) -> None:
    generate(studio, number=1, **{"class": "atrophy"})
    placed = studio.place_sample()
    studio.wait(studio.use_volume(placed.volume), 10)
    assert "marked as synthetic" in studio.state.message.details[0]
    studio.wait(studio.submit("hippocampus_segmentation", placed.segmentation), 10)
    mark = {"model": MODEL, "version": "v0001", "seed": 40, "class": "atrophy"}
    assert list(served.world.synthetic.values()) == [mark] and len(served.world.labels) == 1
    assert any("marked as synthetic" in line for line in studio.state.message.details)


def test_upload_keeps_the_mark_and_an_acquired_volume_has_none(
    studio: Workflow, served: TestServer, scene: Scene
) -> None:
    generate(studio, number=1)
    studio.wait(studio.use_volume(studio.place_sample().volume), 10)
    name = studio.wait(studio.upload_study(), 10)
    assert served.world.synthetic[name]["model"] == MODEL and "synthetic" in studio.state.message.text
    acquired = studio.wait(studio.next_sample(), 10)
    assert upload_params(acquired) == {} and not is_synthetic(acquired)


def test_a_file_that_says_it_is_synthetic_comes_marked(studio: Workflow, served: TestServer) -> None:
    image, _, matrix = synthesis.make_sample(3)
    served.world.studies = {"made": synthesis.write_nrrd(image, matrix, synthesis.MARK)}
    volume = studio.wait(studio.next_sample(), 10)
    assert is_synthetic(volume) and volume.GetName().startswith("SYNTHETIC – made")
    assert volume.GetAttribute("MedGAN.Model") == MODEL


def test_a_sample_saved_and_opened_again_is_still_marked(
    studio: Workflow, served: TestServer, scene: Scene, tmp_path: Path
) -> None:
    """Slicer itself forgets what a header says; the module looks at the file before the volume is used or sent."""
    generate(studio, number=1, **{"class": "atrophy"})
    volume = studio.place_sample().volume
    storage = volume.GetStorageNode()
    storage.SetFileName(str(tmp_path / "saved.nrrd"))
    assert storage.WriteData(volume)
    again = scene.add("vtkMRMLScalarVolumeNode", "saved")
    reader = scene.mrml.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    reader.SetFileName(str(tmp_path / "saved.nrrd"))
    assert reader.ReadData(again)
    again.SetAndObserveStorageNodeID(reader.GetID())
    studio.wait(studio.use_volume(again), 10)
    assert "made by a model" in studio.state.message.details[0]
    assert upload_params(again) == upload_params(volume)
    studio.wait(studio.upload_study(), 10)
    assert list(served.world.synthetic.values()) == [upload_params(volume)["synthetic"]]


def test_marks_in_headers(tmp_path: Path) -> None:
    header = bytearray(348)
    note = b"MedGAN synthetic: chest v0001 seed 123 pneumonia"
    header[148 : 148 + len(note)] = note
    (tmp_path / "a.nii").write_bytes(bytes(header))
    found = {"Synthetic": "true", "Model": "chest", "Version": "v0001", "Seed": "123", "Class": "pneumonia"}
    assert marks(tmp_path / "a.nii") == {f"MedGAN.{name}": text for name, text in found.items()}
    (tmp_path / "b.nii").write_bytes(bytes(348))
    (tmp_path / "c.nrrd").write_bytes(b"NRRD0005\nMedGAN.Synthetic:=false\nMedGAN.Model:=x\n\n")
    (tmp_path / "d.nrrd").write_bytes(b"NRRD0005\r\nMedGAN.Synthetic:=true\r\n\r\nMedGAN.Model:=voxels")
    assert marks(tmp_path / "b.nii") == marks(tmp_path / "c.nrrd") == marks(tmp_path / "gone.nrrd") == {}
    assert marks(tmp_path / "d.nrrd") == {"MedGAN.Synthetic": "true"}


def test_what_a_gan_altered_counts_as_synthetic(tmp_path: Path) -> None:
    header = bytearray(348)
    note = b"MedGAN altered: finer v0001 strength 0.5"
    header[148 : 148 + len(note)] = note
    (tmp_path / "a.nii").write_bytes(bytes(header))
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0005\nMedGAN.Altered:=true\nMedGAN.Model:=finer\nMedGAN.Version:=v0001\n\n")
    found = {"MedGAN.Synthetic": "true", "MedGAN.Model": "finer", "MedGAN.Version": "v0001"}
    assert marks(tmp_path / "a.nii") == found
    assert marks(tmp_path / "b.nrrd") == {**found, "MedGAN.Altered": "true"}

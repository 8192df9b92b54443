"""Synthesis: out of a seed, perhaps a class and a segmentation to fill, come images that no scanner has seen."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from monailabel_app.errors import MedGANError
from monailabel_app.infers.base import ModelInfer, Outcome
from monailabel_app.infers.masks import cut_warning, fitting_mask
from monailabel_app.infers.result import BUNDLE, Part
from monailabel_app.options import Schema, choice, label_map, whole_number
from monailabel_app.synthetic import LARGEST_SEED
from trainers.data.volumes import read_label
from trainers.monitor import Monitor
from trainers.tasks.synthesis import Synthesizer, Synthetic

MOST, USUAL = 16, 4  # images a request
ARBITRARY = "arbitrary"


class SynthesisInfer(ModelInfer):
    """Makes images, with their label maps if the model knows labels. Needs no image."""

    task = "synthesis"
    reads = ("label",)
    load = Synthesizer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.output = "both" if self.labels_images else "volume"

    @property
    def labels_images(self) -> bool:
        """Whether each image comes with its label map: a spec also names labels of images that it learned without."""
        return bool(self.spec.labels and self.spec.network.get("maps"))

    @property
    def fills_masks(self) -> bool:
        """Whether it can be given a segmentation to fill; a picture has no voxel size to bring one to."""
        return self.labels_images and bool(self.spec.preprocess.get("spacing"))

    def schema(self) -> Schema:
        """Number, seed and what the model can be told of the images."""
        spec = self.spec
        properties = {
            "number": whole_number("Images", "How many images to make.", USUAL, 1, MOST),
            "seed": whole_number("Seed", "The same seed makes the same images again.", 0, 0, LARGEST_SEED),
        }
        told = bool(spec.network.get("categories"))
        if spec.classes and told:
            properties["class"] = choice("Class", "What the images show; left open, it is drawn.", spec.classes)
        if len(spec.modalities) > 1 and told:
            properties["modality"] = choice("Modality", "The kind of image; left open, it is drawn.", spec.modalities)
        if self.fills_masks:
            use = "A segmentation whose shapes the images fill; left open, shapes are made up too."
            properties["mask"] = label_map("Mask from a segmentation", use)
        return {"type": "object", "properties": properties}

    def check_sent(self, sent: Collection[str], options: Mapping[str, Any]) -> None:
        """Takes no image, and a label map only if the model fills masks."""
        if "image" in sent:
            hint = "Leave out image, file and session_id, or send image=none."
            raise MedGANError("bad_request", f"{self.model} makes images of its own and takes none.", hint)
        if "label" in sent and not self.fills_masks:
            raise MedGANError("bad_request", f"{self.model} cannot fill a mask.", "Leave out the part 'label'.")
        if options.get("mask") and "label" not in sent:
            hint = "Send the label map as the part 'label', or leave the option out."
            raise MedGANError("bad_request", "The option 'mask' is on, but there is no label map.", hint)

    def answer(
        self, loaded: Synthesizer, request: Mapping[str, Any], options: Mapping[str, Any], monitor: Monitor
    ) -> Outcome:
        """Makes the images; one alone if the result is to be a single file, which can hold no more."""
        start = time.perf_counter()
        label = read_label(request["label"], self.spec.labels.values()) if request.get("label") else None
        mask = None if label is None else fitting_mask(label, self.spec)
        number = options["number"] if request.get("result_extension") == BUNDLE else 1
        read = time.perf_counter()
        samples = loaded(
            number=number,
            seed=options["seed"],
            target=options.get("class"),
            mask=mask,
            modality=options.get("modality"),
            monitor=monitor,
        )
        parts = [part for place, sample in enumerate(samples, 1) for part in self._parts(place, sample)]
        about = {"synthetic": True, "samples": [self._told(sample) for sample in samples]}
        seconds = {"read": read - start, "infer": time.perf_counter() - read}
        warnings = _fewer_warning(request.get("number") or 1, number)
        if mask is not None and samples[0].label is not None:
            warnings += cut_warning(mask, samples[0].label)
        return Outcome(parts, warnings, seconds, about)

    def _told(self, sample: Synthetic) -> dict[str, Any]:
        """What makes a sample again."""
        modality = {"modality": sample.modality} if sample.modality else {}
        return {"seed": sample.seed, "class": sample.target, **modality}

    def _parts(self, place: int, sample: Synthetic) -> list[Part]:
        about = {"sample": place, "synthetic": True, **self._told(sample)}
        units = "HU" if self.spec.modality.upper().startswith("CT") else ARBITRARY
        parts = [Part(f"image_{place:03d}", "volume", sample.image, {"units": units, **about})]
        if sample.label is not None:
            details = {"labels": self.spec.labels, "colors": self.spec.colors, **about}
            parts.append(Part(f"label_{place:03d}", "labelmap", sample.label, details))
        return parts


def _fewer_warning(asked: int, made: int) -> list[str]:
    if asked <= made:
        return []
    return [f"A single file holds one image; {asked} were asked for. Set result_extension to {BUNDLE} to get them all."]

"""Makes the small reference cases that ship with the hippocampus model: the gate sees by them what was forgotten.

Run once for a newly trained first version, then look at the pictures that it writes:
`python -m demo.reference monailabel_app/models/hippocampus_segmentation/v0001`.
The images are the MNI152 T1 template, left and right, as it is and in another contrast; the labels are the model's own,
to be reviewed by eye. They say how far a later version has drifted, not how good it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from demo import pictures
from demo.mni import HIPPOCAMPUS, Variation, crop, head, vary_image
from trainers.data.volumes import Volume, write_volume
from trainers.files import atomic_write_text
from trainers.tasks.segmentation import Segmenter

SHOWN = Path("build") / "reference"
LICENCE = """The images in this folder are parts of the MNI152 T1 template (MNI ICBM 152 non-linear, 2009) that nilearn
distributes.

Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and
without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for any purpose. It is provided "as is"
without express or implied warranty. The authors are not responsible for any data loss, equipment damage, property loss,
or injury to subjects or patients resulting from the use or misuse of this software package.

The labels were made by `python -m demo.reference` with the first version of the model in the folder beside this one.
"""


def dim(image: Volume) -> Volume:
    """The template in another contrast, with some noise; the anatomy stays where it is."""
    still = np.zeros((3, *image.shape), np.float32)
    change = Variation(np.eye(3), still, 1.3, np.ones(image.shape, np.float32), 0.02)
    return vary_image(image, change, np.random.default_rng(0))


def main(model_dir: Path) -> None:
    """Writes `<model>/reference/{images,labels}` and pictures of them to build/reference."""
    segmenter, folder = Segmenter(model_dir), model_dir.parent / "reference"
    found = segmenter(head(), points=list(HIPPOCAMPUS.values())).label
    colors = {v: segmenter.spec.colors[n] for n, v in segmenter.spec.labels.items()}
    SHOWN.mkdir(parents=True, exist_ok=True)
    for side, point in HIPPOCAMPUS.items():
        image, label = crop(head(), point), crop(found, point)
        for name, version in ((side, image), (f"{side}_dim", dim(image))):
            grey = version.like(np.round(version.array / version.array.max() * 255).astype(np.uint8))
            write_volume(folder / "images" / f"mni152_{name}.nii.gz", grey)
            write_volume(folder / "labels" / f"mni152_{name}.nii.gz", label)
            pictures.slices(grey, {name: label.array}, colors, SHOWN / f"{name}.png")
    atomic_write_text(folder / "LICENCE.txt", LICENCE)
    print(f"Look at {SHOWN} before you commit {folder}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

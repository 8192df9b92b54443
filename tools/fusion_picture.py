"""Draws two images of a patient beside what a fusion model makes of them, as in docs/images/fusion.png.

`python tools/fusion_picture.py --model ct_mr_pet_fusion --data STS_DIR --patient STS_028 --out docs/images/fusion.png`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainers.data.readers.sequences import open_sequences
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.fusion.picture import save_panel
from trainers.zoo import find_model


def main() -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model's name or folder")
    parser.add_argument("--data", required=True, type=Path, help="a folder with a folder a patient")
    parser.add_argument("--patient", required=True, help="one that the model did not learn from")
    parser.add_argument("--sequences", nargs="+", default=["CT", "PET_SUV"], help="file names without suffix")
    parser.add_argument("--out", required=True, type=Path, help="a .png")
    told = parser.parse_args()
    data = open_sequences(told.data, told.sequences)
    entries = [entry for entry in data.entries if entry.patient == told.patient]
    if not entries:
        parser.error(f"{told.data} has no patient {told.patient}.")
    save_panel(told.out, Fuser(find_model(told.model)), data, entries)


if __name__ == "__main__":
    main()

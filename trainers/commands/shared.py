"""What all commands share: the console, and mistakes that a user can mend told in one line."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from trainers.data.cases import CasesError
from trainers.data.readers import READERS, open_data
from trainers.data.sets import DataSet
from trainers.data.volumes import VolumeError
from trainers.fit import CheckpointMismatch
from trainers.spec import ModelNotAvailable
from trainers.tasks.synthesis.generate import NotEmpty

Kind = Annotated[str, typer.Option(help=f"Layout of the data: auto, {', '.join(READERS)}.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto.")]
Model = Annotated[str, typer.Option(help="Name of a model, or a folder with spec.json and model.safetensors.")]
PatientPattern = Annotated[
    str,
    typer.Option(
        help="Regular expression whose match in a file's name, or its first group, is the patient; of plain folders. "
        "Give the same to train and to evaluate."
    ),
]
console = Console()
errors = Console(stderr=True, soft_wrap=True)
MENDABLE = (
    FileNotFoundError, VolumeError, ModelNotAvailable, CasesError, CheckpointMismatch, FloatingPointError, NotEmpty,
)  # fmt: skip


class Mendable(Exception):
    """A mistake of the user's, with what to do."""


class explained:  # noqa: N801 - reads as a statement
    """Turns what a user can mend into one line and exit code 2."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (*MENDABLE, Mendable)):
            errors.print(f"[red]{escape(str(error))}[/red]")
            raise typer.Exit(2) from error


def open_told(path: Path, kind: str, patient_pattern: str = "") -> DataSet:
    """Opens a data set, and tells what people should know of how it was read; raises as `open_data`."""
    data = open_data(path, kind, **({"patient_pattern": patient_pattern} if patient_pattern else {}))
    for note in data.notes:
        errors.print(f"[yellow]{escape(f'{data.name}: {note}')}[/yellow]")
    return data


def command_line() -> str:
    """The command line without the places on this machine."""
    words, hide = [], False
    for word in sys.argv[1:]:
        words.append("DIR" if hide else word)
        hide = word in ("--data", "--out")
    return "python -m trainers " + shlex.join(words)
